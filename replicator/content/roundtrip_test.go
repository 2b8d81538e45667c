package content

import (
	"testing"
)

// The bar: one body of 5 MB to 200 users with different headers costs at most
// 1.05 times one compressed body.
func TestOneBodyToManyUsers(t *testing.T) {
	b := body(7, 5<<20)
	for _, cacheBytes := range []int{DefaultCache, 0} {
		one := newLink(t, DefaultWindow, 0)
		one.must(b)
		l := newLink(t, DefaultWindow, cacheBytes)
		for user := range 200 {
			l.must(join(header(user), b))
		}
		ratio := float64(l.wire) / float64(one.wire)
		t.Logf("cache %d: one body %d bytes, 200 messages %d bytes in %d runs: %.4f",
			cacheBytes, one.wire, l.wire, l.runs, ratio)
		if ratio > 1.05 {
			t.Errorf("200 messages cost %.4f times one body, at most 1.05 is allowed", ratio)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	tests := map[string][]byte{
		"empty":        {},
		"one byte":     {'x'},
		"one line":     []byte("\n"),
		"small":        join(header(1), words(1, 800, false)),
		"MinChunk":     words(2, MinChunk, false),
		"MinChunk + 1": words(2, MinChunk+1, false),
		"zeros":        make([]byte, 3<<20),
		"random":       random(3, 2<<20),
		"prose":        words(4, 1<<20, false),
		"message":      join(header(2), body(5, 1<<20)),
		"no header":    body(5, 300<<10),
		"one header":   make([]byte, MaxChunk),
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLink(t, 64, DefaultCache)
			l.must(data)
			l.must(data)
		})
	}
}
