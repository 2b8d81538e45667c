package primary

import (
	"time"

	"github.com/mailtwin/mailtwin/replicator/wire"
)

// What one batch may take of the network's time. What comes meanwhile, new mail
// or a sign of life, waits for it and for one more that gRPC has taken already.
const (
	longSend  = 100 * time.Millisecond
	shortSend = longSend / 4
	minStride = 16 << 10
)

// stride is the bytes after which a batch is sent: as many as the network took
// in a moment lately. On a slow link that keeps the bulk of an initial sync from
// standing before new mail; on a fast one large batches cost less.
type stride int

// newStride returns the stride of a network of which nothing is known yet.
func newStride() stride { return wire.MaxBatchBytes / 8 }

// took follows a batch of so many bytes that was handed over in d.
func (s *stride) took(bytes int, d time.Duration) {
	switch {
	case d > longSend:
		*s = max(*s/2, minStride)
	case d < shortSend && bytes >= int(*s):
		*s = min(*s*2, wire.MaxBatchBytes)
	}
}
