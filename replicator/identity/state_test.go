package identity

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/hint"
)

func TestStateIsRemembered(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadState(dir); !errors.Is(err, fs.ErrNotExist) || hint.Of(err) == "" {
		t.Fatalf("LoadState of nothing: %v", err)
	}
	for _, s := range []State{
		{Primary, 1, "pair-x", "mx1"}, {Mirror, 0, "pair-x", "mx2"}, {Fenced, 1<<64 - 1, "p", "n.example.net"},
	} {
		if err := SaveState(dir, s); err != nil {
			t.Fatal(err)
		}
		if got, err := LoadState(dir); err != nil || got != s {
			t.Fatalf("saved %+v, loaded %+v, %v", s, got, err)
		}
	}
	for _, s := range []State{{}, {"boss", 1, "p", "n"}, {Primary, 1, "", "n"}, {Primary, 1, "p", "n\nname x"}} {
		if err := SaveState(dir, s); !errors.Is(err, ErrCorrupt) {
			t.Errorf("SaveState(%+v) = %v, want ErrCorrupt", s, err)
		}
	}
}

// The bytes of version 1, for ever.
const goldenState = "mailtwin-node 1\nrole primary\nepoch 3\npair pair-x\nname mx1\n" +
	"sha256 95dccbfdc8b264c025182dffd1f9be04159964a2e8f85b244e45cfba8587bd32\n"

func TestStateGoldenBytes(t *testing.T) {
	dir := t.TempDir()
	want := State{Primary, 3, "pair-x", "mx1"}
	if err := SaveState(dir, want); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, stateFile)
	data, err := os.ReadFile(path)
	if err != nil || string(data) != goldenState {
		t.Fatalf("the file is %q (%v)", data, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v (%v)", info.Mode(), err)
	}
}

func TestStateThatCannotBeUsed(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		want error
	}{
		"empty":         {"", ErrCorrupt},
		"other kind":    {string(seal(invitationsKind, 1, "")), ErrCorrupt},
		"newer":         {"mailtwin-node 2\nsomething else\x00", ErrNewer},
		"much newer":    {"mailtwin-node 99999\n", ErrNewer},
		"version 0":     {"mailtwin-node 0\n", ErrCorrupt},
		"version 01":    {"mailtwin-node 01\n", ErrCorrupt},
		"cut":           {goldenState[:len(goldenState)-1], ErrCorrupt},
		"cut in half":   {goldenState[:40], ErrCorrupt},
		"one bit":       {strings.Replace(goldenState, "epoch 3", "epoch 2", 1), ErrCorrupt},
		"longer":        {goldenState + "\n", ErrCorrupt},
		"too large":     {goldenState + strings.Repeat("x", maxSealed), ErrCorrupt},
		"unknown role":  {string(seal(stateKind, 1, "role boss\nepoch 1\npair p\nname n\n")), ErrCorrupt},
		"epoch +1":      {string(seal(stateKind, 1, "role primary\nepoch +1\npair p\nname n\n")), ErrCorrupt},
		"no name":       {string(seal(stateKind, 1, "role primary\nepoch 1\npair p\n")), ErrCorrupt},
		"name of a bad": {string(seal(stateKind, 1, "role primary\nepoch 1\npair p\nname ../x\n")), ErrCorrupt},
		"more lines":    {string(seal(stateKind, 1, "role primary\nepoch 1\npair p\nname n\nx\n")), ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(c.data), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := LoadState(dir)
			if !errors.Is(err, c.want) || hint.Of(err) == "" {
				t.Errorf("LoadState = %+v, %v (hint %q), want %v", s, err, hint.Of(err), c.want)
			}
		})
	}
}

func FuzzUnseal(f *testing.F) {
	f.Add([]byte(goldenState))
	f.Add(seal(stateKind, 1, ""))
	f.Fuzz(func(t *testing.T, data []byte) {
		content, err := unseal(stateKind, stateVersion, data)
		if err != nil {
			return
		}
		if got := seal(stateKind, stateVersion, content); string(got) != string(data) {
			t.Fatalf("%q is read as %q, which is written %q", data, content, got)
		}
	})
}

func FuzzState(f *testing.F) {
	f.Add(State{Primary, 3, "pair-x", "mx1"}.String())
	f.Fuzz(func(t *testing.T, content string) {
		s, err := parseState(content)
		if err == nil && s.String() != content {
			t.Fatalf("%q is read as %+v", content, s)
		}
	})
}

func FuzzInvitations(f *testing.F) {
	f.Add(invitation{expires: 1}.String() + invitation{expires: -1, used: true}.String())
	f.Fuzz(func(t *testing.T, content string) {
		all, err := parseInvitations(content)
		if err != nil {
			return
		}
		again, err := unseal(invitationsKind, invitationsVersion, formatInvitations(all))
		if err != nil || again != content {
			t.Fatalf("%q is written %q, %v", content, again, err)
		}
	})
}
