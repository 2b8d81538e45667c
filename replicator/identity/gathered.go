package identity

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	// maxRecord is how much of what is written goes into one TLS record.
	maxRecord = 16 << 10
	// gatheredSize is from how many bytes on gathered records are sent.
	gatheredSize = 128 << 10
)

// gathered is a connection under TLS which sends the records of one large write
// together. TLS hands each record of 16 KiB down by itself, and each would be a
// system call, a segment, and something that wakes the other side.
type gathered struct {
	net.Conn
	mu   sync.Mutex // a record of the reading side, such as an alert, may come at any time
	hold bool       // more records follow at once
	held []byte
}

// Write implements net.Conn. What is held is sent with what comes next, or by
// release, which tells of its errors.
func (g *gathered) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.hold {
		return g.Conn.Write(b)
	}
	g.held = append(g.held, b...)
	if len(g.held) < gatheredSize {
		return len(b), nil
	}
	if err := g.flush(); err != nil {
		return 0, err
	}
	return len(b), nil
}

// gather begins to hold what is written.
func (g *gathered) gather() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold = true
}

// release sends what is held.
func (g *gathered) release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold = false
	return g.flush()
}

func (g *gathered) flush() error {
	if len(g.held) == 0 {
		return nil
	}
	_, err := g.Conn.Write(g.held)
	g.held = g.held[:0]
	return err
}

// farewell is how long the end of a connection may take.
const farewell = time.Second

// secured is a TLS connection over one that gathers.
type secured struct {
	*tls.Conn
	below *gathered
}

// Write implements net.Conn. There is one writer at a time.
func (s *secured) Write(b []byte) (int, error) {
	if len(b) <= maxRecord {
		return s.Conn.Write(b)
	}
	s.below.gather()
	n, err := s.Conn.Write(b)
	if ferr := s.below.release(); err == nil && ferr != nil {
		n, err = 0, ferr
	}
	return n, err
}

// Close implements net.Conn. TLS says goodbye before it closes the connection, and
// has five seconds for that: it takes all of them where the other side takes nothing
// any more, or while a large write is stuck, and so long a stop or another attempt
// would wait.
func (s *secured) Close() error {
	enough := time.AfterFunc(farewell, func() { _ = s.below.Conn.Close() })
	err := s.Conn.Close()
	if !enough.Stop() && errors.Is(err, net.ErrClosed) {
		return nil // nobody was there to say goodbye to
	}
	return err
}
