package content

import (
	"errors"
	"io"
	"testing"
)

// Whatever is sent comes out the same, whatever was sent before.
func FuzzRoundTrip(f *testing.F) {
	f.Add(words(1, 3000, true), words(2, 500, false), uint8(20))
	f.Add(random(3, 300), []byte("A: b\r\n\r\n"), uint8(255))
	f.Fuzz(func(t *testing.T, a, b []byte, repeat uint8) {
		a, b = a[:min(len(a), 8<<10)], b[:min(len(b), 64<<10)]
		var long []byte
		for i := range int(repeat) + 1 {
			long = append(append(long, a...), byte(i))
		}
		l := newLink(t, 8, MaxChunk)
		for _, data := range [][]byte{long, b, join(b, long), long, join(long, long), a} {
			l.must(data)
		}
		if l.enc.sent.next != l.window.next {
			t.Errorf("the next number is %d here and %d there", l.enc.sent.next, l.window.next)
		}
	})
}

// No piece makes a Decoder do anything but write at most its chunks, or say
// what is wrong with one of the two errors.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("raw"), []byte(nil), []byte(nil), 0, uint64(0), uint64(0), false)
	f.Add([]byte(nil), []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x00, 0x01, 0x00, 0x00}, []byte(nil), 0, uint64(0), uint64(0), true)
	f.Add([]byte(nil), []byte(nil), []byte(nil), 0, uint64(2), uint64(2), false)
	f.Add([]byte(nil), []byte(nil), []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x00, 0x01, 0x00, 0x00}, 1, uint64(0), uint64(0), true)
	f.Fuzz(func(t *testing.T, raw, frame, block []byte, size int, first, count uint64, unnumbered bool) {
		l := newLink(t, 4, 0)
		for i := range uint64(5) {
			l.must(big(i))
		}
		var written int64
		count64 := writerFunc(func(p []byte) (int, error) {
			written += int64(len(p))
			return len(p), nil
		})
		d := NewDecoder(l.window, &store{})
		for range 2 {
			err := d.Write(Piece{Raw: raw, Zstd: frame, Packed: Packed{block, size}, Run: Run{first, count}, Unnumbered: unnumbered}, count64)
			if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrChunkLost) {
				t.Errorf("an error of another kind: %v", err)
			}
			if err == nil && written == 0 {
				t.Errorf("nothing was written and nothing is wrong")
			}
		}
		if written > 8*MaxChunk || written != d.Size() {
			t.Errorf("%d bytes were written, %d are said to be", written, d.Size())
		}
		if err := NewDecoder(l.window, nil).Write(Piece{Raw: []byte("x")}, io.Discard); err != nil {
			t.Errorf("the window is of no use afterwards: %v", err)
		}
	})
}
