package primary

import (
	"sort"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/journal"
)

// ledgerSize bounds the samples that a ledger keeps; when it is full every
// second one is dropped, and lag is told a little more coarsely.
const ledgerSize = 4096

// sample says what had been journaled when.
type sample struct {
	sequence journal.Sequence
	bytes    int64 // of all contents put up to here
	at       time.Time
}

// ledger remembers when the newest entries were journaled and how many bytes
// they put, so that the lag of each mirror can be told in entries, bytes and
// seconds, all by the monotonic clock of this node.
type ledger struct {
	mu      sync.Mutex
	samples []sample // ascending; the first is the place before all others
}

// add notes that an entry of that many bytes was journaled at that time.
func (l *ledger) add(seq journal.Sequence, bytes int64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.samples) == 0 {
		l.samples = append(l.samples, sample{sequence: seq - 1, at: at})
	}
	if len(l.samples) == ledgerSize {
		kept := l.samples[:1]
		for i := 2; i < len(l.samples); i += 2 {
			kept = append(kept, l.samples[i])
		}
		l.samples = kept
	}
	last := l.samples[len(l.samples)-1]
	l.samples = append(l.samples, sample{sequence: seq, bytes: last.bytes + bytes, at: at})
}

// lag returns what lies between acked and head: bytes of contents, and the
// time since the oldest of those entries was journaled.
func (l *ledger) lag(acked, head journal.Sequence, now time.Time) (int64, time.Duration) {
	if acked >= head {
		return 0, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.samples)
	if n == 0 {
		return 0, 0
	}
	i := sort.Search(n, func(i int) bool { return l.samples[i].sequence > acked })
	if i == n {
		return 0, 0
	}
	before := l.samples[max(i-1, 0)]
	return l.samples[n-1].bytes - before.bytes, max(now.Sub(l.samples[i].at), 0)
}
