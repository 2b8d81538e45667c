package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/pair"
)

// checksOf runs a dry run, which ends with a code, and returns what it says of each
// thing: the verdict, and why.
func checksOf(t *testing.T, n *pair.Node, code int) map[string]string {
	t.Helper()
	out, err := n.Run(t.Context(), "failover", "--dry-run", "--json")
	got := 0
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		got = exit.ExitCode()
	}
	var plan struct {
		Checks []struct{ Name, Verdict, Detail string }
	}
	if jerr := json.Unmarshal(out, &plan); jerr != nil || got != code {
		t.Fatalf("the dry run ends with %d, not %d: %v, %v\n%s", got, code, err, jerr, out)
	}
	all := map[string]string{}
	for _, c := range plan.Checks {
		all[c.Name] = c.Verdict + ": " + c.Detail
	}
	return all
}

func mustCheck(t *testing.T, checks map[string]string, wanted map[string]string) {
	t.Helper()
	for name, want := range wanted {
		if !strings.Contains(checks[name], want) {
			t.Errorf("%s is %q, not %q; all: %q", name, checks[name], want, checks)
		}
	}
}

// TestADryRunTellsWhatIsWrong spoils one thing after the other that a failover needs.
// The dry run says each of them, and changes nothing of a node.
func TestADryRunTellsWhatIsWrong(t *testing.T) {
	primary, _ := stores(t)
	disk := smallDisk(t, "32m")
	mirror := filepath.Join(disk, "store")
	p := pair.New(t, pair.Options{Binary: plainBinary(t), PrimaryStore: primary, MirrorStore: mirror})
	path := p.Mirror.State + ".hook"
	hook := func(mode os.FileMode, body string) {
		must(t, os.RemoveAll(path))
		must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body), mode))
	}
	hook(0o755, "")
	text, err := os.ReadFile(p.Mirror.Config())
	must(t, err)
	must(t, os.WriteFile(p.Mirror.Config(), []byte(strings.Replace(string(text), "\n[hooks]\n",
		fmt.Sprintf("\n[hooks]\nfence = %[1]q\npromote = %[1]q\n", path), 1)), 0o600))
	must(t, errors.Join(p.Mirror.Stop(), p.Mirror.Start(), p.Mirror.WaitUntilAnswers(t.Context())))
	deliverTo(t, primary, "example.org/ann", 20, 3_000)
	p.MustBeEqual(t, time.Minute)
	// At its root a mirror keeps what is being brought, and tidies up now and then.
	look := func() string {
		return state(t, filepath.Join(mirror, "example.org")) + state(t, filepath.Join(primary, "example.org")) + digests(t, p)
	}
	before := look()

	mustCheck(t, checksOf(t, p.Mirror, 0), map[string]string{
		"peers": "good", "completeness": "good", "fence hook": "good", "promote hook": "good", "mail server": "good",
		"space for the mail": "good", "clock of primary": "good",
	})
	hook(0o644, "")
	mustCheck(t, checksOf(t, p.Mirror, 1), map[string]string{"fence hook": "bad: ", "promote hook": "bad: "})
	must(t, os.Remove(path))
	mustCheck(t, checksOf(t, p.Mirror, 1), map[string]string{"fence hook": "bad: ", "promote hook": "it does not exist"})
	hook(0o755, "echo bad settings; exit 1\n")
	mustCheck(t, checksOf(t, p.Mirror, 1), map[string]string{"fence hook": "good", "mail server": "bad: "})
	hook(0o755, "")
	filler := filepath.Join(disk, "filler")
	must(t, os.WriteFile(filler, make([]byte, 31<<20), 0o600))
	mustCheck(t, checksOf(t, p.Mirror, 0), map[string]string{"space for the mail": "warning: "})
	must(t, os.Remove(filler))
	mustCheck(t, checksOf(t, p.Mirror, 0), map[string]string{"space for the mail": "good"})
	if now := look(); now != before {
		t.Errorf("it was\n%s\nand is\n%s", before, now)
	}

	// A primary that does not answer.
	p.Link.Cut()
	eventually(t, time.Minute, "the mirror knows", func() bool {
		s, err := p.Mirror.Status(t.Context())
		return err == nil && !s.Primary.Connected
	})
	must(t, p.Primary.Kill())
	mustCheck(t, checksOf(t, p.Mirror, 0), map[string]string{"peers": "warning: primary does not answer", "clock of primary": "unknown: "})
}

// TestADryRunTellsThatTheFirstSyncIsNotFinished asks in the midst of it.
func TestADryRunTellsThatTheFirstSyncIsNotFinished(t *testing.T) {
	store, _ := stores(t)
	deliverTo(t, store, "example.org/ann", 100, 20_000)
	_, mirror, _, join := lonePrimary(t, store, "20KiB")
	join()
	must(t, mirror.Start())
	must(t, mirror.WaitUntilAnswers(t.Context()))
	eventually(t, time.Minute, "the mirror has some of it", func() bool { return countMail(t, mirror.Store) > 0 })
	mustCheck(t, checksOf(t, mirror, 1), map[string]string{"completeness": "bad: the initial sync is not finished"})
}

// digests are what both nodes durably know of themselves.
func digests(t *testing.T, p *pair.Pair) string {
	t.Helper()
	all := ""
	for _, n := range []*pair.Node{p.Primary, p.Mirror} {
		s, err := n.Status(t.Context())
		must(t, err)
		var d struct {
			Journal struct{ Digest string }
		}
		must(t, json.Unmarshal(s.Document, &d))
		all += fmt.Sprintf("%s %s %d %d %s\n", n.Name, s.Role, s.Epoch, s.Journal.Sequence, d.Journal.Digest)
	}
	return all
}
