package content

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestHurry: the default level gives way to the fastest one, no other does, and
// what is encoded decodes to the same.
func TestHurry(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var text []byte
	for len(text) < 50_000 {
		text = fmt.Appendf(text, "%x ", rng.IntN(3000)*rng.IntN(40))
	}
	sizes := map[string]int64{}
	for _, level := range []Level{LevelOff, LevelFastest, LevelDefault, LevelBetter} {
		for _, hurry := range []bool{false, true} {
			e := NewEncoder(NewSent(DefaultWindow), NewFixedCompressor(level))
			e.Hurry(hurry, false)
			d := NewDecoder(NewReceived(DefaultWindow, DefaultCache), nil)
			var got bytes.Buffer
			res, err := e.EncodeBytes(bytes.Clone(text), false, func(p Piece) error { return d.Write(p, &got) })
			if err != nil || d.Sum() != res.ID || !bytes.Equal(got.Bytes(), text) {
				t.Fatalf("%v, hurry %v: %v", level, hurry, err)
			}
			sizes[fmt.Sprint(level, hurry)] = res.Sent
		}
	}
	if len(sizes) != 8 || sizes["off false"] == 0 {
		t.Fatalf("sizes: %v", sizes)
	}
	for _, equal := range [][2]string{
		{"off true", "off false"}, {"fastest true", "fastest false"}, {"default true", "fastest false"}, {"better true", "better false"},
	} {
		if sizes[equal[0]] != sizes[equal[1]] {
			t.Errorf("%s: %d bytes, %s: %d bytes", equal[0], sizes[equal[0]], equal[1], sizes[equal[1]])
		}
	}
	if sizes["default false"] == sizes["fastest false"] {
		t.Error("the default level makes what the fastest one does: the test shows nothing")
	}
}

// TestNearby: what somebody nearby waits for is not compressed, a chunk without a
// number as little as others; it is referred to, and those behind it are read, as
// ever.
func TestNearby(t *testing.T) {
	e := NewEncoder(NewSent(DefaultWindow), NewFixedCompressor(LevelDefault))
	d := NewDecoder(NewReceived(DefaultWindow, DefaultCache), nil)
	large, small := bytes.Repeat([]byte("some line of a message\n"), 2000), bytes.Repeat([]byte("a few words "), 20)
	for i, tt := range []struct {
		on, near bool
		data     []byte
		sent     func(int64) bool
	}{
		{true, true, large, func(n int64) bool { return n == int64(len(large)) }},
		{true, true, large, func(n int64) bool { return n < int64(len(large))/2 }},
		{true, true, small, func(n int64) bool { return n == int64(len(small)) }},
		{true, false, small, func(n int64) bool { return n < int64(len(small)) }},
		{false, true, append([]byte("X-Other: 1\n\n"), small...), func(n int64) bool { return n < int64(len(small)) }},
	} {
		e.Hurry(tt.on, tt.near)
		d.Reset(nil)
		var got bytes.Buffer
		res, err := e.EncodeBytes(bytes.Clone(tt.data), false, func(p Piece) error { return d.Write(p, &got) })
		if err != nil || d.Sum() != res.ID || !bytes.Equal(got.Bytes(), tt.data) {
			t.Fatalf("%d: %v", i, err)
		}
		if !tt.sent(res.Sent) {
			t.Errorf("%d: %d bytes sent of %d", i, res.Sent, len(tt.data))
		}
	}
}
