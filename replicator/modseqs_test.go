package replicator

import (
	"testing"

	"github.com/mailtwin/mailtwin/replicator/status"
)

// TestModseqIsPassedOn: each node knows to what HIGHESTMODSEQ was raised anywhere, also
// behind a restart, and by way of a third one.
func TestModseqIsPassedOn(t *testing.T) {
	_, mx1, mx2, mx3 := twoMirrors(t, 1)
	mx1.n.noteModseq(maxModseq + 1) // no number that anybody gave
	mx1.n.noteModseq(1 << 60)
	mx1.n.noteModseq(7) // an older one
	mx2.until("told", func(status.Document) bool { return mx2.n.knownModseq() == 1<<60 })
	mx2.n.modseqs.Lock() // as while it is written to a disk that hangs
	if got := mx2.n.highestModseq(); got != 1<<60 {
		t.Errorf("others are told %d", got)
	}
	mx2.n.modseqs.Unlock()
	mx1.stop()
	mx2.stop()
	mx2.start()
	if got := mx2.n.knownModseq(); got != 1<<60 {
		t.Errorf("after a restart it knows of %d", got)
	}
	mx3.until("told", func(status.Document) bool { return mx3.n.knownModseq() == 1<<60 })
}
