package content

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// sizes returns the lengths of chunks, those without a number negative.
func sizes(all []Chunk) []int {
	var s []int
	for _, c := range all {
		n := len(c.Data)
		if !c.Numbered {
			n = -n
		}
		s = append(s, n)
	}
	return s
}

// checkChunks checks what holds of the chunks of any content.
func checkChunks(t *testing.T, data []byte, all []Chunk) {
	t.Helper()
	var whole []byte
	for _, c := range all {
		if len(c.Data) == 0 || len(c.Data) > MaxChunk {
			t.Fatalf("a chunk of %d bytes", len(c.Data))
		}
		whole = append(whole, c.Data...)
	}
	if !bytes.Equal(whole, data) {
		t.Fatalf("%d bytes were cut into %d others", len(data), len(whole))
	}
	if len(data) <= MinChunk && len(all) > 1 {
		t.Fatalf("%d bytes were cut into %d chunks", len(data), len(all))
	}
}

// The cuts are nobody's format; but whoever changes them should know it.
func TestChunkerGolden(t *testing.T) {
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"mail", join(header(3), body(5, 400<<10)), "[-722 23115 60531 57486 69342 87048 53742 64662 16872 -15]"},
		{"prose", words(6, 300<<10, false), "[66176 64093 24567 92824 59540]"},
		{"binary", random(7, 300<<10), "[58036 59883 67757 59688 31212 30624]"},
		{"no lines", bytes.ReplaceAll(random(7, 300<<10), []byte("\n"), []byte("\r")), "[17242 57806 37190 58153 18356 24603 53401 26944 13505]"},
		{"zeros", make([]byte, 600<<10), "[262144 262144 90112]"},
		{"small", words(8, MinChunk, false), "[-16384]"},
		{"lf header", []byte("A: b\nC: d\n\n" + strings.Repeat("x", 20000)), "[-11 20000]"},
	}
	for _, test := range tests {
		got := fmt.Sprint(sizes(chunks(t, bytes.NewReader(test.data))))
		if got != test.want {
			t.Errorf("%s: cut into %s, want %s", test.name, got, test.want)
		}
	}
}

func TestChunkerBodyIsCutAlike(t *testing.T) {
	b := body(9, 1<<20)
	want := chunks(t, bytes.NewReader(join(header(0), b)))
	for user := range 20 {
		got := chunks(t, bytes.NewReader(join(header(user), b)))
		if len(got) != len(want) {
			t.Fatalf("user %d: %d chunks, want %d", user, len(got), len(want))
		}
		for i := 1; i < len(want); i++ { // 0 is what differs
			numbered := len(want[i].Data) >= minNumbered
			if got[i].Numbered != numbered || !bytes.Equal(got[i].Data, want[i].Data) {
				t.Errorf("user %d: chunk %d differs", user, i)
			}
		}
	}
}

// The same attachment in messages that have nothing else in common.
func TestChunkerFindsAttachment(t *testing.T) {
	attachment := encoded(10, 1<<20)
	known := map[string]bool{}
	for _, c := range chunks(t, bytes.NewReader(join(header(1), words(1, 4001, false), attachment))) {
		known[string(c.Data)] = true
	}
	found := 0
	for _, c := range chunks(t, bytes.NewReader(join(header(2), words(2, 31337, true), attachment))) {
		if known[string(c.Data)] {
			found += len(c.Data)
		}
	}
	if found < len(attachment)*3/4 {
		t.Errorf("%d of %d bytes were found again", found, len(attachment))
	}
}

func TestChunkerCutsAtBoundaries(t *testing.T) {
	part := strings.Repeat("x", 20000)
	data := "H: 1\r\n\r\n--b\r\n" + part + "\r\n--b\r\n" + part + "\r\n-- \r\nme\r\n--b--\r\n"
	got := sizes(chunks(t, strings.NewReader(data)))
	want := []int{-8, 5 + 20000 + 2, 5 + 20000 + 2 + 9, -7}
	if !slices.Equal(got, want) {
		t.Errorf("cut into %v, want %v", got, want)
	}
}

func TestCutHeader(t *testing.T) {
	long := strings.Repeat("X-Long: header\r\n", 40)
	tests := []struct {
		data          string
		trace, origin int
	}{
		{"", 0, 0},
		{"no header", 0, 0},
		{"\nbody", 0, 0},
		{"\r\n\r\nbody", 4, 0},
		{"A: b\n\nbody", 6, 0},
		{"A: b\r\n\r\nbody\r\n\r\n", 8, 0},
		{"A: b\r\n", 0, 0},
		{"A: b\nReceived: x\n\ty\n\nbody", 21, 0},
		{"A: b\r\nReceived: x\r\n\ty\r\n" + long + "\r\nbody", 23, len(long) + 2},
		{"Received: x\r\n" + long + "\r\nReceived: in the body", 13, len(long) + 2},
		{"A: b\r\n" + long + "Received: x\r\n\r\nbody", 6 + len(long) + 15, 0},
	}
	for _, test := range tests {
		trace, origin := cutHeader([]byte(test.data))
		if trace != test.trace || origin != test.origin {
			t.Errorf("%.40q: %d and %d bytes, want %d and %d", test.data, trace, origin, test.trace, test.origin)
		}
	}
}

func TestChunkerReaders(t *testing.T) {
	data := join(header(4), body(11, 200<<10))
	want := sizes(chunks(t, bytes.NewReader(data)))
	readers := map[string]io.Reader{
		"halves":         iotest.HalfReader(bytes.NewReader(data)),
		"bytes":          iotest.OneByteReader(bytes.NewReader(data)),
		"error and data": iotest.DataErrReader(bytes.NewReader(data)),
	}
	for name, r := range readers {
		if got := sizes(chunks(t, r)); !slices.Equal(got, want) {
			t.Errorf("%s: cut into %v, want %v", name, got, want)
		}
	}
}

func TestChunkerErrors(t *testing.T) {
	broken := errors.New("broken")
	data := random(12, 700<<10)
	c := NewChunker(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken)))
	var err error
	for err == nil {
		_, err = c.Next()
	}
	if err != broken {
		t.Errorf("got %v, want the reader's error", err)
	}
	if _, err = c.Next(); err != broken {
		t.Errorf("afterwards: got %v, want the reader's error", err)
	}
	c.Reset(neverReader{})
	if _, err = c.Next(); err != io.ErrNoProgress {
		t.Errorf("got %v, want %v", err, io.ErrNoProgress)
	}
	c.Reset(strings.NewReader("again"))
	if chunk, err := c.Next(); err != nil || string(chunk.Data) != "again" || chunk.Numbered {
		t.Errorf("after Reset: %q, %v", chunk.Data, err)
	}
	if _, err = c.Next(); err != io.EOF {
		t.Errorf("got %v, want %v", err, io.EOF)
	}
}

// neverReader has nothing to say and no end.
type neverReader struct{}

func (neverReader) Read([]byte) (int, error) { return 0, nil }

func FuzzChunker(f *testing.F) {
	f.Add(words(1, 20000, true), uint8(3), uint8(7))
	f.Add([]byte("A: b\n\nbody"), uint8(1), uint8(2))
	f.Add(random(2, 300), uint8(200), uint8(0))
	f.Fuzz(func(t *testing.T, seed []byte, repeat, user uint8) {
		seed = seed[:min(len(seed), 8<<10)]
		// Repetition with a counter in it reaches the sizes that are cut.
		var b []byte
		for i := range int(repeat) + 1 {
			b = append(append(b, seed...), byte(i), byte(i*i))
		}
		checkChunks(t, b, chunks(t, bytes.NewReader(b)))
		if len(b) <= MinChunk {
			return
		}
		// The same behind two headers: but for the first, the chunks are the same.
		one := chunks(t, bytes.NewReader(join(header(1), b)))
		two := chunks(t, bytes.NewReader(join(header(int(user)+2), b)))
		if !slices.Equal(sizes(one)[1:], sizes(two)[1:]) {
			t.Errorf("cut into %v and %v", sizes(one), sizes(two))
		}
	})
}

// A content is cut in the same places whether it is read or in memory.
func TestChunkerOfBytes(t *testing.T) {
	for size := range 40 {
		data := random(uint64(size), size*size*700)
		c := NewChunker(bytes.NewReader(data))
		var read [][]byte
		for chunk, err := c.Next(); err == nil; chunk, err = c.Next() {
			read = append(read, bytes.Clone(chunk.Data))
		}
		c.ResetBytes(data)
		for i, want := range read {
			chunk, err := c.Next()
			if err != nil || !bytes.Equal(chunk.Data, want) {
				t.Fatalf("%d bytes: chunk %d has %d bytes, want %d (%v)", len(data), i, len(chunk.Data), len(want), err)
			}
		}
		if _, err := c.Next(); err != io.EOF {
			t.Fatalf("%d bytes: after the last chunk: %v", len(data), err)
		}
	}
}
