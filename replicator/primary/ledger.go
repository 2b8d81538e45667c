package primary

import (
	"sort"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/journal"
)

// ledgerSize bounds the spans that a ledger keeps; when it is full each two
// become one, and lag is told a little more coarsely.
const ledgerSize = 4096

// span is some consecutive entries, at first one.
type span struct {
	last  journal.Sequence
	bytes int64     // of all contents put up to last, since the ledger began
	at    time.Time // when the first of them was journaled
}

// ledger remembers when the newest entries were journaled and how many bytes
// they put, so that the lag of each mirror can be told in entries, bytes and
// seconds, all by the monotonic clock of this node. Where it does not know
// exactly it says more, never less.
type ledger struct {
	mu    sync.Mutex
	spans []span // ascending, without gaps
}

// add notes that an entry of that many bytes was journaled at that time.
func (l *ledger) add(seq journal.Sequence, bytes int64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.spans)
	if n > 0 {
		bytes += l.spans[n-1].bytes
	}
	if n == ledgerSize {
		for i := range n / 2 {
			first, second := l.spans[2*i], l.spans[2*i+1]
			second.at = first.at
			l.spans[i] = second
		}
		l.spans = l.spans[:n/2]
	}
	l.spans = append(l.spans, span{last: seq, bytes: bytes, at: at})
}

// lag returns what lies between acked and head: bytes of contents, and the
// time since the oldest of those entries was journaled.
func (l *ledger) lag(acked, head journal.Sequence, now time.Time) (int64, time.Duration) {
	if acked >= head {
		return 0, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.spans)
	i := sort.Search(n, func(i int) bool { return l.spans[i].last > acked })
	if i == n {
		return 0, 0 // the entries are so new that they are not noted yet
	}
	before := int64(0)
	if i > 0 {
		before = l.spans[i-1].bytes
	}
	return l.spans[n-1].bytes - before, max(now.Sub(l.spans[i].at), 0)
}
