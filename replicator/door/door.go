package door

import (
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Door leads to a server while there is one, and else says why there is none.
// Its methods may be called concurrently.
type Door[S any] struct {
	mu     sync.Mutex
	server *S
	why    string
}

// New returns a Door that is shut, and says why.
func New[S any](why string) *Door[S] { return &Door[S]{why: why} }

// Open lets callers in to s.
func (d *Door[S]) Open(s *S) {
	d.mu.Lock()
	d.server = s
	d.mu.Unlock()
}

// Shut lets nobody in any more, and returns to whom they were let in, if to
// anybody. Those who are in stay.
func (d *Door[S]) Shut(why string) *S {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.server
	d.server, d.why = nil, why
	return s
}

// Server returns to whom the door leads, or the status of a call that finds it
// shut: unavailable, and why.
func (d *Door[S]) Server() (*S, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server == nil {
		return nil, status.Error(codes.Unavailable, d.why)
	}
	return d.server, nil
}
