package replicator

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal/beneath"
)

// TestSuspicion: a store with some files that cannot be read is tried now and then,
// and at once when there are more of them.
func TestSuspicion(t *testing.T) {
	var tr trial
	begin := time.Now()
	for _, ask := range []struct {
		after      time.Duration
		suspicious int
		want       bool
	}{
		{0, 0, false}, {0, 1, true}, {3 * time.Second, 1, false}, {6 * time.Second, 2, true},
		{9 * time.Second, 1, false}, {9 * time.Second, 1, false}, {35 * time.Second, 1, false},
		{36 * time.Second, 1, true}, {100 * time.Second, 0, false}, {101 * time.Second, 1, true},
	} {
		if got := tr.suspects(ask.suspicious, begin.Add(ask.after)); got != ask.want {
			t.Errorf("after %v, with %d files: %t", ask.after, ask.suspicious, got)
		}
	}
}

// TestStoreThatReplacedOneThatHangs: what hangs on a device for ever says nothing of the
// store that was mounted in its place, neither while it hangs nor when it ends.
func TestStoreThatReplacedOneThatHangs(t *testing.T) {
	root, err := beneath.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	hung := &attempt{device: root.Device(), done: make(chan struct{})}
	tr := trial{running: map[uint64]*attempt{hung.device: hung}, asked: hung}
	asks, stop := context.WithCancel(t.Context())
	stop()
	if err := tr.try(asks, root); !errors.Is(err, context.Canceled) {
		t.Errorf("there is a second attempt on the device that hangs: %v", err)
	}
	tr.noteHung(hung)
	if tr.last() == "" {
		t.Error("it is not told that the device hangs")
	}

	// It turns out to have been another device.
	delete(tr.running, hung.device)
	hung.device++
	tr.running[hung.device] = hung
	if err := tr.try(t.Context(), root); err != nil || tr.last() != "" {
		t.Errorf("the store in its place: %v, %q", err, tr.last())
	}
	tr.noteHung(hung)
	tr.end(hung, errors.New("it was given up"))
	if tr.last() != "" || len(tr.running) > 0 {
		t.Errorf("when the former one has ended: %q, and %d go on", tr.last(), len(tr.running))
	}
	for i := range uint64(maxTried) {
		hung = &attempt{device: root.Device() + 1 + i, done: make(chan struct{})}
		tr.running[hung.device], tr.asked = hung, hung
	}
	if tr.begin(root) != hung {
		t.Error("there are more attempts than are allowed")
	}
}

// TestLooksThatHang: who looks again does not wait for those that hang, and there are
// only so many.
func TestLooksThatHang(t *testing.T) {
	var l looks
	hang := make(chan struct{})
	asks, stop := context.WithCancel(t.Context())
	stop()
	for range maxLooks - 1 {
		if err := l.await(asks, func() error { <-hang; return nil }); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if err := l.await(t.Context(), func() error { return nil }); err != nil {
		t.Errorf("one that does not hang: %v", err)
	}
	if err := l.await(asks, func() error { <-hang; return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := l.await(t.Context(), func() error { return nil }); err == nil {
		t.Error("there is no end to them")
	}
	close(hang)
}
