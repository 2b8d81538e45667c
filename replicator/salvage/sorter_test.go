package salvage

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestSorter sorts more than fits into memory, and leaves nothing on disk.
func TestSorter(t *testing.T) {
	dir := t.TempDir()
	s := newSorter(dir)
	defer s.close()
	s.limit = 1 << 10
	rng := rand.New(rand.NewPCG(1, 2))
	var want []string
	for i := range 3000 {
		key := fmt.Sprintf("%03d", rng.IntN(200))
		want = append(want, fmt.Sprintf("%s %04d", key, i))
		if err := s.add(key, fmt.Appendf(nil, "%04d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.runs) < 2 || len(s.runs) > sortRuns {
		t.Errorf("%d runs", len(s.runs))
	}
	slices.Sort(want)
	m, err := s.sorted()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		ahead, err := m.peek()
		if errors.Is(err, io.EOF) {
			break
		}
		r, nerr := m.next()
		if err != nil || nerr != nil || r.key != ahead.key {
			t.Fatal(err, nerr)
		}
		got = append(got, r.key+" "+string(r.data))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d records out of order or lost; want %d", len(got), len(want))
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("left on disk: %v, %v", names, err)
	}
}

func TestSubject(t *testing.T) {
	for message, want := range map[string]string{
		"Subject: hello\n\nbody":                        "hello",
		"From: a\nSubject: =?utf-8?q?gr=C3=BCn?=\n":     "grün",
		"Subject: a\n b\n\n":                            "a b",
		"subject: \x1b[2Jclear\r\n\r\n":                 "",
		"From: a\n\nSubject: of the body\n":             "",
		"":                                              "",
		"Subject: " + strings.Repeat("x", 300) + "\n\n": strings.Repeat("x", maxSubject) + "…",
	} {
		if got := subject(strings.NewReader(message)); got != want {
			t.Errorf("%.40q: %q, want %q", message, got, want)
		}
	}
}
