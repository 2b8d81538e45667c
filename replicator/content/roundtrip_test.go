package content

import (
	"testing"
)

// The bar: one body of 5 MB to 200 users with different headers costs at most
// 1.05 times one compressed body. What each further user costs is found with
// some of them; that all do the same is for whoever has the time.
func TestOneBodyToManyUsers(t *testing.T) {
	const all = 200
	users := 40
	if raceEnabled || testing.Short() {
		users = 2
	}
	b := body(7, 5<<20)
	for _, cacheBytes := range []int{DefaultCache, 0} {
		one := newLink(t, DefaultWindow, 0)
		one.must(b)
		l := newLink(t, DefaultWindow, cacheBytes)
		l.must(join(header(0), b))
		first := l.wire
		for user := 1; user <= users; user++ {
			l.must(join(header(user), b))
		}
		further := float64(l.wire-first) / float64(users)
		ratio := (float64(first) + (all-1)*further) / float64(one.wire)
		t.Logf("cache %d: one body %d bytes, a further message %.0f bytes in %d runs: %.4f for %d",
			cacheBytes, one.wire, further, l.runs/users, ratio, all)
		if ratio > 1.05 || l.runs != users {
			t.Errorf("%d messages cost %.4f times one body, at most 1.05 is allowed; %d runs for %d messages",
				all, ratio, l.runs, users)
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
