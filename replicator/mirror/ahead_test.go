package mirror

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// A content may come before the entry that needs it, and is nothing without.
func TestContentsComeAhead(t *testing.T) {
	f := newFixture(t)
	p := f.whole()
	a, b := text("message a"), text("message b")
	for round := range 20 {
		name := fmt.Sprintf("u/new/%d", round)
		with := p.batch(put(name, a))
		ahead := &pb.Batch{Contents: append(with.Contents, transfer(wire.PrimaryTransfer|1<<20|uint64(round), b.data,
			wire.ContentEnd{Outcome: wire.OK, Facts: b.facts()}))}
		with.Contents = nil
		p.send(asBatch(ahead))
		p.send(asBatch(with))
		p.untilAcked(journal.Sequence(round) + 1)
	}
	want := map[string]file{}
	for round := range 20 {
		want[fmt.Sprintf("u/new/%d", round)] = a
	}
	f.holds(want)
	p.hangUp()
	p = f.connect()
	p.welcome(p.hello.Position, "")
	if left, _ := os.ReadDir(filepath.Join(f.store, "..mailtwin", stageName)); len(left) > 0 {
		t.Errorf("still staged in the next stream: %v", left)
	}
	p.journal(put("u/new/last", b))
	p.untilAcked(21)
}

// TestSpareStagedFile: the file that was prepared is taken for the next content, once;
// whoever has removed it is no hindrance, and a stage that ends leaves none.
func TestSpareStagedFile(t *testing.T) {
	f := newFixture(t)
	stage, err := openStage(f.m.cfg.Root)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(f.store, mailstore.Staging, stageName)
	create := func() string {
		t.Helper()
		staged, file, err := stage.create()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString("content"); err != nil {
			t.Error(err)
		}
		_ = file.Close()
		if data, err := os.ReadFile(filepath.Join(dir, staged.name)); err != nil || string(data) != "content" {
			t.Errorf("%q has %q, %v", staged.name, data, err)
		}
		return staged.name
	}
	stage.prepare()
	stage.prepare() // there is one
	spare := stage.spare.Load().name
	if got := create(); got != spare {
		t.Errorf("the content is in %q, %q was prepared", got, spare)
	}
	if got := create(); got == spare {
		t.Error("it was taken twice")
	}
	stage.prepare()
	spare = stage.spare.Load().name
	if err := os.Remove(filepath.Join(dir, spare)); err != nil {
		t.Fatal(err)
	}
	if got := create(); got == spare {
		t.Error("a file that was removed was taken")
	}
	stage.prepare()
	spare = stage.spare.Load().name
	stage.close()
	if _, err := os.Stat(filepath.Join(dir, spare)); !os.IsNotExist(err) {
		t.Errorf("what was prepared is still there: %v", err)
	}
}
