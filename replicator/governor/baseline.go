package governor

import (
	"slices"
	"time"
)

const (
	batchReads   = 8   // reads whose mean is one batch
	batchesKept  = 128 // the batches that a baseline rests on
	batchesKnown = 2   // with fewer the baseline is not known
)

// baseline learns what something takes while the array is idle: the value that
// a fifth of the batches are below. The zero value knows nothing.
type baseline struct {
	batches []time.Duration // a ring
	next    int
	sum     time.Duration
	reads   int
	value   time.Duration
}

// add notes reads which took sum together. quiet says that nobody else used
// the array much: only then do they count, except that a baseline which is not
// known yet takes what there is, and that what is below it is always believed.
func (b *baseline) add(sum time.Duration, reads int, quiet bool) {
	if !quiet && b.known() && sum/time.Duration(reads) > b.value {
		b.sum, b.reads = 0, 0
		return
	}
	b.sum += sum
	b.reads += reads
	if b.reads < batchReads {
		return
	}
	mean := b.sum / time.Duration(b.reads)
	b.sum, b.reads = 0, 0
	if len(b.batches) < batchesKept {
		b.batches = append(b.batches, mean)
	} else {
		b.batches[b.next] = mean
		b.next = (b.next + 1) % batchesKept
	}
	sorted := slices.Sorted(slices.Values(b.batches))
	b.value = sorted[len(sorted)/5]
}

// known reports whether there is a baseline.
func (b *baseline) known() bool { return len(b.batches) >= batchesKnown }
