package engine_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/salvage"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// rejoinTold logs what a rejoin says.
type rejoinTold struct{ t *testing.T }

func (r rejoinTold) Step(words string) error {
	r.t.Log(words)
	return nil
}

func (r rejoinTold) Line(l salvage.Line) error {
	r.t.Logf("%+v", l)
	return nil
}

// TestMirrorThatLostMail: mail is lost from a mirror's store behind its back, as by a
// repair of its file system, and then it is promoted. Nobody has removed that mail:
// the former primary keeps it, and gives it back when it rejoins.
func TestMirrorThatLostMail(t *testing.T) {
	p := newPair(t)
	p.stopPrimary()
	server1, _ := p.hooks(&p.primary)
	p.hooks(&p.mirror)
	if err := os.WriteFile(server1, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	mail := []string{"1.M1P1.host", "2.M2P1.host", "3.M3P1.host"}
	for _, name := range mail {
		deliverInto(t, p.primary.Store.Path, name)
	}
	p.write("d/u/Maildir/.Work/cur/4.M4P1.host:2,S", "Subject: 4\n\nin a folder\n")
	p.startMirror()
	p.inSync()
	p.until(p.mirror, "in sync", func(d status.Document) bool { return d.State == status.InSync })
	p.stopMirror()
	for _, lost := range []string{"d/u/Maildir/new/2.M2P1.host", "d/u/Maildir/.Work"} {
		if err := os.RemoveAll(filepath.Join(p.mirror.Store.Path, lost)); err != nil {
			t.Fatal(err)
		}
	}
	p.startMirror()
	p.inSync()
	p.stopPrimary()
	if _, _, err := p.promote(p.mirror, false); err != nil {
		t.Fatal(err)
	}
	p.until(p.mirror, "a primary that lacks what it lost", func(d status.Document) bool {
		return d.Role == string(identity.Primary) && d.Store.State == "watching" && d.Store.Missing == 2
	})
	p.start()
	p.until(p.primary, "fenced", func(d status.Document) bool { return d.Role == string(identity.Fenced) })
	client, err := operator.Dial(p.primary.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	result, err := client.Rejoin(t.Context(), operator.RejoinOptions{}, rejoinTold{t})
	if err != nil || result.Outcomes[salvage.OutcomeDelivered] == 0 {
		t.Fatalf("%+v: %v", result, err)
	}
	p.until(p.mirror, "a primary with a mirror", func(d status.Document) bool {
		return len(d.Mirrors) == 1 && d.Mirrors[0].Proven && d.Journal.Sequence == d.Mirrors[0].AckedSequence
	})
	for _, store := range []string{p.primary.Store.Path, p.mirror.Store.Path} {
		mustHold(t, store, mail)
	}
	if _, err := os.Stat(filepath.Join(p.primary.Store.Path, "d/u/Maildir/.Work/cur/4.M4P1.host:2,S")); err != nil {
		t.Errorf("what was in the folder: %v", err)
	}
}
