package journal

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/mailtwin/mailtwin/journal/vfs"
)

func benchLog(b *testing.B) *Log {
	b.Helper()
	l := mustOpen(b, vfs.OS(), b.TempDir(), Options{Now: newTestClock().Now, Epoch: 1})
	b.Cleanup(func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	})
	return l
}

// One caller, each entry durable before the next.
func BenchmarkAppend(b *testing.B) {
	l := benchLog(b)
	for b.Loop() {
		mustAppend(b, l, testEntry(1))
	}
}

// Many callers that share their syncs.
func BenchmarkAppendParallel(b *testing.B) {
	l := benchLog(b)
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := l.Append(testEntry(1)); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkAppend1000(b *testing.B) {
	l := benchLog(b)
	entries := testEntries(0, 1000)
	for b.Loop() {
		mustAppend(b, l, entries...)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(entries)), "ns/entry")
}

// A whole segment and where its records are.
func benchSegment(b *testing.B) (*Log, int) {
	l := benchLog(b)
	n := 0
	for l.segments[0].size < DefaultSegmentSize*9/10 {
		n += len(mustAppend(b, l, testEntries(n, 1000)...))
	}
	return l, n
}

func BenchmarkRead(b *testing.B) {
	l, n := benchSegment(b)
	r, err := l.Read(0)
	for i := 0; b.Loop(); i++ {
		if i%n == 0 {
			if err = errors.Join(err, r.Close()); err != nil {
				b.Fatal(err)
			}
			if r, err = l.Read(0); err != nil {
				b.Fatal(err)
			}
		}
		if _, ok, err := r.TryNext(); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// Opening a reader somewhere in a whole segment.
func BenchmarkSeek(b *testing.B) {
	l, n := benchSegment(b)
	rng := rand.New(rand.NewPCG(1, 1))
	for b.Loop() {
		r, err := l.Read(Sequence(rng.IntN(n)))
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
