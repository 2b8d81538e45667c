package content

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// pair is both ends of a stream of blocks.
type pair struct {
	t testing.TB
	c *StreamCompressor
	d *StreamDecompressor
}

func newPair(t testing.TB) pair {
	t.Helper()
	c, err := NewStreamCompressor()
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewStreamDecompressor(4 << 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return pair{t, c, d}
}

// carry sends a block across and returns how long it was on the way.
func (p pair) carry(plain []byte) int {
	p.t.Helper()
	block, err := p.c.Compress(plain)
	if err != nil {
		p.t.Fatal(err)
	}
	got, err := p.d.Decompress(block, len(plain))
	if err != nil {
		p.t.Fatalf("%d bytes in %d: %v", len(plain), len(block), err)
	}
	if !bytes.Equal(got, plain) {
		p.t.Fatalf("%d bytes came out changed", len(plain))
	}
	return len(block)
}

// flagChange is about what a batch of one flag change has in it.
func flagChange(i int) []byte {
	digest := random(uint64(i), 16)
	name := fmt.Sprintf("%d.M%dP%d.store1,S=%d,W=%d:2,", 1767225600+i*37, 100000+i*7919%899999, 1000+i%30000, 4000+i*31%90000, 4100+i*31%90000)
	return fmt.Appendf(nil, "\x08%c\x12\x50\x08\x02\x12\x4cexample.net/user%d/Maildir/.Sent/cur/%sS\x18\x01\x22\x01R\x1a\x10%s\x20\x01",
		byte(i), i%50, name, digest)
}

// Batches of one change each: what the context saves.
func TestStreamSmallBatches(t *testing.T) {
	p := newPair(t)
	plain, wire := 0, 0
	var sizes []int
	for i := range 3000 {
		b := flagChange(i)
		n := p.carry(b)
		sizes = append(sizes, n)
		if i >= 100 {
			plain, wire = plain+len(b), wire+n
		}
	}
	mean := float64(wire) / 2900
	t.Logf("batches of %d bytes: the first %d, then %v; warm %.1f on average", plain/2900, sizes[0], sizes[1:8], mean)
	if mean > 75 {
		t.Errorf("a warm batch costs %.1f bytes, at most 75 are allowed", mean)
	}
}

// Batches of many changes.
func TestStreamBulk(t *testing.T) {
	p := newPair(t)
	wire := 0
	for i := range 10 {
		var b []byte
		for j := range 1000 {
			b = append(b, flagChange(i*1000+j)...)
		}
		wire += p.carry(b)
	}
	t.Logf("a change in bulk, with 16 random bytes in it: %.1f bytes", float64(wire)/10000)
}

func TestStreamSizes(t *testing.T) {
	p := newPair(t)
	sizes := []int{0, 1, 2, 3, 9, 100, 0, 128 << 10, 128<<10 - 1, 128<<10 + 1, 1, 300 << 10, 5, 1 << 20, 0, 7}
	for round := range 2 {
		for i, n := range sizes {
			p.carry(words(uint64(i), n, true))
			p.carry(random(uint64(i+round), n))
			p.carry(make([]byte, n))
		}
	}
}

func TestStreamRefuses(t *testing.T) {
	first, second := words(1, 5000, false), words(2, 3000, false)
	tests := map[string]func(block []byte) ([]byte, int){
		"too short a size":  func(b []byte) ([]byte, int) { return b, len(second) - 1 },
		"size 0":            func(b []byte) ([]byte, int) { return b, 0 },
		"too long a size":   func(b []byte) ([]byte, int) { return b, len(second) + 1 },
		"negative":          func(b []byte) ([]byte, int) { return b, -1 },
		"beyond the limit":  func(b []byte) ([]byte, int) { return b, 4<<20 + 1 },
		"cut":               func(b []byte) ([]byte, int) { return b[:len(b)-1], len(second) },
		"empty":             func([]byte) ([]byte, int) { return nil, len(second) },
		"bytes behind":      func(b []byte) ([]byte, int) { return append(b, 0), len(second) },
		"not of the stream": func([]byte) ([]byte, int) { return []byte("nonsense, and quite long"), len(second) },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			p.carry(first)
			good, _ := p.c.Compress(second)
			block, size := spoil(bytes.Clone(good))
			if _, err := p.d.Decompress(block, size); !errors.Is(err, ErrCorrupt) {
				t.Errorf("got %v, want ErrCorrupt", err)
			}
			if _, err := p.d.Decompress(good, len(second)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("afterwards: got %v, want ErrCorrupt", err)
			}
		})
	}
}

func FuzzStreamDecompress(f *testing.F) {
	c, _ := NewStreamCompressor()
	for _, plain := range [][]byte{words(1, 300, false), random(1, 300), nil} {
		block, _ := c.Compress(plain)
		f.Add(block, len(plain))
	}
	f.Fuzz(func(t *testing.T, block []byte, size int) {
		d, err := NewStreamDecompressor(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		plain, err := d.Decompress(block, size)
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("an error of another kind: %v", err)
		}
		if err == nil && len(plain) != size {
			t.Errorf("%d bytes, want %d", len(plain), size)
		}
	})
}

func BenchmarkStream(b *testing.B) {
	p := newPair(b)
	for i := 0; b.Loop(); i++ {
		p.carry(flagChange(i))
	}
}
