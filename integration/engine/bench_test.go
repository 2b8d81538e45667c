package engine_test

import (
	"testing"

	"github.com/mailtwin/mailtwin/integration/tree"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// BenchmarkFirstSync copies a store of 5,000 messages, 245 MB, to a new mirror
// in the same process, durable and proven equal. The tree is made anew by its
// seed each time and is in the page cache: what is measured is the engine.
func BenchmarkFirstSync(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		p := newPair(b)
		made, err := tree.Generate(b.Context(), p.primary.Store.Path, tree.Default(5000))
		if err != nil {
			b.Fatal(err)
		}
		p.until(p.primary, "scanned", func(d status.Document) bool {
			return d.Store.Files >= uint64(made.Messages) && d.Store.State == "watching"
		})
		b.SetBytes(made.Bytes)
		b.StartTimer()
		p.startMirror()
		p.inSync()
		b.StopTimer()
		p.stopMirror()
		p.stopPrimary()
		b.StartTimer()
	}
}
