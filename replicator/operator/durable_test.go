package operator_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/operator"
)

// fake is a node of which only the durability is asked.
type fake struct {
	operator.Node

	mu  sync.Mutex
	now operator.Durability
	err error
}

func (f *fake) Durability() (operator.Durability, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now, f.err
}

func (f *fake) set(d operator.Durability) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = d
}

// serve serves a node; the client is of its socket.
func serve(t *testing.T, f *fake) (*operator.Server, *operator.Client) {
	t.Helper()
	dir, err := os.MkdirTemp("", "mt") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	server := operator.NewServer(f, nil, nil)
	client, err := operator.Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, dir) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, client.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	late := time.After(time.Minute)
	for {
		// The first answer shows that the server listens.
		asked, stop := context.WithTimeout(ctx, time.Minute)
		err := client.FollowDurable(asked, func(operator.Durability) error { return errEnough })
		stop()
		if errors.Is(err, errEnough) || f.err != nil && !errors.Is(err, operator.ErrNotRunning) {
			return server, client
		}
		select {
		case <-late:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
}

var errEnough = errors.New("enough")

func TestDurableTellsWhatMoves(t *testing.T) {
	f := &fake{now: operator.Durability{Durable: 3, Mirrors: 1, Observed: 5, Settled: true}}
	server, client := serve(t, f)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	steps := []operator.Durability{
		{Durable: 3, Mirrors: 1, Observed: 5, Settled: true},
		// What the node had settled at is told until it settles anew.
		{Durable: 4, Mirrors: 1, Observed: 5, Settled: true},
		{Durable: 6, Mirrors: 1, Observed: 6, Settled: true},
	}
	nodes := []operator.Durability{
		{Durable: 4, Mirrors: 1, Observed: 6},
		{Durable: 6, Mirrors: 1, Observed: 6, Settled: true},
	}
	told := 0
	err := client.FollowDurable(ctx, func(d operator.Durability) error {
		if d != steps[told] {
			t.Errorf("step %d: told %+v, want %+v", told, d, steps[told])
		}
		if told == len(nodes) {
			return errEnough
		}
		if told == len(nodes)-1 { // it is no news that more was observed
			f.set(operator.Durability{Durable: 4, Mirrors: 1, Observed: 6, Settled: true})
			server.Changed()
		}
		f.set(nodes[told])
		told++
		server.Changed()
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Error(err)
	}
}

func TestWaitDurable(t *testing.T) {
	f := &fake{now: operator.Durability{Durable: 3, Mirrors: 1, Observed: 9}}
	_, client := serve(t, f)
	late := func(want string) {
		t.Helper()
		var err error
		for limit := 100 * time.Millisecond; limit < time.Minute; limit *= 2 {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			err = client.WaitDurable(ctx)
			cancel()
			if errors.Is(err, operator.ErrNotDurable) {
				break // else there was not even time for an answer
			}
		}
		if err == nil || err.Error() != operator.ErrNotDurable.Error()+want {
			t.Errorf("waited: %v, want %q", err, want)
		}
	}
	late(": the store is still being looked at")
	f.set(operator.Durability{Durable: 3, Mirrors: 1, Observed: 9, Settled: true})
	late(": change 3 of 9 is")
	f.set(operator.Durability{Observed: 9, Settled: true})
	late(": there is no mirror")

	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f.set(operator.Durability{Durable: 3, Mirrors: 2, Observed: 9})
	go func() { done <- client.WaitDurable(ctx) }()
	// Nobody tells that a node has settled: it is asked again.
	f.set(operator.Durability{Durable: 9, Mirrors: 2, Observed: 9, Settled: true})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDurableOfNoPrimary(t *testing.T) {
	f := &fake{err: errors.New("this node is mirror: ask the primary")}
	_, client := serve(t, f)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := client.WaitDurable(ctx); err == nil || err.Error() != f.err.Error() {
		t.Errorf("waited on a mirror: %v", err)
	}
}
