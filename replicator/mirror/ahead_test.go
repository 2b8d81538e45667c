package mirror

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
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
