package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The user's own store is replicated, proven equal, and left as it was.
func TestDemoOfAStore(t *testing.T) {
	s := &shellTest{t: t, dir: shortDir(t), host: "mx1"}
	t.Setenv("TMPDIR", s.mkdir("tmp"))
	store := s.mkdir("vmail")
	for _, dir := range []string{"cur", "new", "tmp"} {
		s.mkdir("vmail/" + dir)
	}
	path := filepath.Join(store, "cur", "1.demo:2,S")
	if err := os.WriteFile(path, []byte("Subject: one\n\nhello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := s.run(0, "demo", "--store", store)
	for _, want := range []string{"replicated   1 files", "proof        both nodes have the same digest"} {
		if !strings.Contains(out, want) {
			t.Errorf("printed %q, want %q in it", out, want)
		}
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if names, err := os.ReadDir(store); err != nil || len(names) != 3 {
		t.Errorf("the store has %v now, %v", names, err)
	}
	s.run(1, "demo", "--store", store+"/missing")
}

func TestTreesAreCompared(t *testing.T) {
	s := &shellTest{t: t, dir: t.TempDir()}
	one, other := s.mkdir("one"), s.mkdir("other")
	put := func(path, data string) {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Unix(1700000000, 1)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want string) {
		t.Helper()
		if n, err := sameTrees(one, other); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d files, %v; want %q", n, err, want)
		}
	}
	check("")
	put(one+"/a", "1")
	check("no such file")
	put(other+"/a", "2")
	check("another content")
	put(other+"/a", "1")
	check("")
	put(other+"/b", "")
	check(`"b" is on the mirror alone`)
	put(one+"/b", "")
	if err := os.Chtimes(one+"/b", time.Time{}, time.Unix(1700000000, 2)); err != nil {
		t.Fatal(err)
	}
	check("other attributes")
}

func TestPercentiles(t *testing.T) {
	var values []time.Duration
	if got := percentile(values, 50); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	for i := range 100 {
		values = append(values, time.Duration(i+1)*time.Millisecond)
	}
	for p, want := range map[int]time.Duration{0: 1, 50: 50, 99: 99, 100: 100} {
		if got := percentile(values, p); got != want*time.Millisecond {
			t.Errorf("p%d = %v, want %v", p, got, want)
		}
	}
}

// One sample is like another, and its messages are what they say.
func TestTheSampleIsAMailstore(t *testing.T) {
	root := t.TempDir()
	s, err := newSample(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.seen) != sampleUsers*sampleMessages {
		t.Errorf("%d messages", len(s.seen))
	}
	l := newLoad(s, root)
	for range 3 * len(s.seen) {
		if err := l.flag(); err != nil {
			t.Fatal(err)
		}
		if err := l.expunge(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.deliver(s.newsletter); err != nil {
		t.Fatal(err)
	}
	l.wait.Wait()
	if len(l.latencies) != 1 || l.lost != 0 {
		t.Errorf("latencies %v, lost %d", l.latencies, l.lost)
	}
}
