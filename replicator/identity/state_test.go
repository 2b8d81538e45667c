package identity

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/sealedfile"
)

func TestStateIsRemembered(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadState(dir); !errors.Is(err, fs.ErrNotExist) || hint.Of(err) == "" {
		t.Fatalf("LoadState of nothing: %v", err)
	}
	for _, s := range []State{
		primaryState(1), {Role: Mirror, Pair: "pair-x", Name: "mx2"}, {Role: Fenced, Epoch: 1<<64 - 1, Pair: "p", Name: "n.example.net"},
		{Role: Mirror, Epoch: 4, Leader: "mx1", Promised: Claim{5, "mx2"}, Pair: "pair-x", Name: "mx2"},
		{Role: Primary, Epoch: 4, Leader: "mx1", Promised: Claim{9, "mx2"}, Sealed: true, Pair: "pair-x", Name: "mx1"},
		{Role: Fenced, Epoch: 4, Leader: "mx3", Pair: "pair-x", Name: "mx1"},
	} {
		if err := SaveState(dir, s); err != nil {
			t.Fatal(err)
		}
		if got, err := LoadState(dir); err != nil || got != s {
			t.Fatalf("saved %+v, loaded %+v, %v", s, got, err)
		}
	}
	for _, s := range []State{
		{}, {Role: "boss", Pair: "p", Name: "n"}, {Role: Mirror, Name: "n"}, {Role: Mirror, Pair: "p", Name: "n\nname x"},
		{Role: Primary, Epoch: 1, Pair: "p", Name: "n"},
		{Role: Primary, Epoch: 1, Leader: "m", Pair: "p", Name: "n"},
		{Role: Mirror, Leader: "m\nsealed", Pair: "p", Name: "n"},
		{Role: Mirror, Epoch: 2, Promised: Claim{2, "m"}, Pair: "p", Name: "n"},
		{Role: Mirror, Epoch: 2, Promised: Claim{3, ""}, Pair: "p", Name: "n"},
		{Role: Mirror, Epoch: 2, Promised: Claim{3, "m"}, Sealed: true, Pair: "p", Name: "n"},
		{Role: Primary, Epoch: 2, Leader: "n", Sealed: true, Pair: "p", Name: "n"},
		{Role: Primary, Epoch: 2, Leader: "n", Promised: Claim{3, "n"}, Sealed: true, Pair: "p", Name: "n"},
	} {
		if err := SaveState(dir, s); !errors.Is(err, sealedfile.ErrCorrupt) {
			t.Errorf("SaveState(%+v) = %v, want ErrCorrupt", s, err)
		}
	}
}

// primaryState is of a primary of an epoch.
func primaryState(epoch journal.Epoch) State {
	return State{Role: Primary, Epoch: epoch, Leader: "mx1", Pair: "pair-x", Name: "mx1"}
}

// The bytes of both versions, for ever.
const (
	goldenState1 = "mailtwin-node 1\nrole primary\nepoch 3\npair pair-x\nname mx1\n" +
		"sha256 95dccbfdc8b264c025182dffd1f9be04159964a2e8f85b244e45cfba8587bd32\n"
	goldenState = "mailtwin-node 2\nrole primary\nepoch 3\nleader mx1\npromised 4 mx2\nsealed true\npair pair-x\nname mx1\n" +
		"sha256 7c2de9ff608b3cf8fa8021348b355adf63093a3cda8cb24864417268c62e2527\n"
)

func TestStateGoldenBytes(t *testing.T) {
	dir := t.TempDir()
	want := primaryState(3)
	want.Promised, want.Sealed = Claim{4, "mx2"}, true
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

// TestStateOfVersion1: it says nothing of a leader, but a primary is its own.
func TestStateOfVersion1(t *testing.T) {
	for content, want := range map[string]State{
		goldenState1: primaryState(3),
		string(sealedfile.Seal(stateKind, 1, "role mirror\nepoch 0\npair p\nname n\n")): {Role: Mirror, Pair: "p", Name: "n"},
		string(sealedfile.Seal(stateKind, 1, "role fenced\nepoch 7\npair p\nname n\n")): {Role: Fenced, Epoch: 7, Pair: "p", Name: "n"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := LoadState(dir)
		if err != nil || s != want {
			t.Fatalf("%q is read as %+v, %v", content, s, err)
		}
		if err := SaveState(dir, s); err != nil {
			t.Fatal(err)
		}
		if again, err := LoadState(dir); err != nil || again != want {
			t.Errorf("written again it is %+v, %v", again, err)
		}
	}
}

func TestStateThatCannotBeUsed(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		want error
	}{
		"empty":         {"", sealedfile.ErrCorrupt},
		"other kind":    {string(sealedfile.Seal(invitationsKind, 1, "")), sealedfile.ErrCorrupt},
		"newer":         {"mailtwin-node 3\nsomething else\x00", sealedfile.ErrNewer},
		"much newer":    {"mailtwin-node 99999\n", sealedfile.ErrNewer},
		"version 0":     {"mailtwin-node 0\n", sealedfile.ErrCorrupt},
		"version 01":    {"mailtwin-node 01\n", sealedfile.ErrCorrupt},
		"cut version 1": {goldenState1[:len(goldenState1)-1], sealedfile.ErrCorrupt},
		"version lies":  {strings.Replace(goldenState1, "node 1", "node 2", 1), sealedfile.ErrCorrupt},
		"old in new":    {string(sealedfile.Seal(stateKind, 2, "role mirror\nepoch 1\npair p\nname n\n")), sealedfile.ErrCorrupt},
		"new in old":    {string(sealedfile.Seal(stateKind, 1, primaryState(1).String())), sealedfile.ErrCorrupt},
		"sealed perhaps": {string(sealedfile.Seal(stateKind, 2,
			"role primary\nepoch 1\nleader n\npromised 2 m\nsealed yes\npair p\nname n\n")), sealedfile.ErrCorrupt},
		"cut":           {goldenState[:len(goldenState)-1], sealedfile.ErrCorrupt},
		"cut in half":   {goldenState[:40], sealedfile.ErrCorrupt},
		"one bit":       {strings.Replace(goldenState, "epoch 3", "epoch 2", 1), sealedfile.ErrCorrupt},
		"longer":        {goldenState + "\n", sealedfile.ErrCorrupt},
		"too large":     {goldenState + strings.Repeat("x", sealedfile.MaxSize), sealedfile.ErrCorrupt},
		"unknown role":  {string(sealedfile.Seal(stateKind, 1, "role boss\nepoch 1\npair p\nname n\n")), sealedfile.ErrCorrupt},
		"epoch +1":      {string(sealedfile.Seal(stateKind, 1, "role primary\nepoch +1\npair p\nname n\n")), sealedfile.ErrCorrupt},
		"no name":       {string(sealedfile.Seal(stateKind, 1, "role primary\nepoch 1\npair p\n")), sealedfile.ErrCorrupt},
		"name of a bad": {string(sealedfile.Seal(stateKind, 1, "role primary\nepoch 1\npair p\nname ../x\n")), sealedfile.ErrCorrupt},
		"more lines":    {string(sealedfile.Seal(stateKind, 1, "role primary\nepoch 1\npair p\nname n\nx\n")), sealedfile.ErrCorrupt},
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

func FuzzState(f *testing.F) {
	f.Add(primaryState(3).String())
	f.Add("role mirror\nepoch 1\nleader \npromised 0 \nsealed false\npair p\nname n\n")
	f.Add("role mirror\nepoch 1\npair p\nname n\n")
	f.Fuzz(func(t *testing.T, content string) {
		s, err := parseState(content)
		if err == nil && s.String() != content {
			t.Fatalf("%q is read as %+v", content, s)
		}
		s, err = parseState1(content)
		if err != nil {
			return
		}
		if again, err := parseState(s.String()); err != nil || again != s {
			t.Fatalf("%q of version 1 is read as %+v, and written and read again as %+v, %v", content, s, again, err)
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
		again, _, err := sealedfile.Unseal(invitationsKind, invitationsVersion, formatInvitations(all))
		if err != nil || again != content {
			t.Fatalf("%q is written %q, %v", content, again, err)
		}
	})
}
