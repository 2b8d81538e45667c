package site

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/integration/ledger"
)

// How long somebody waits for a connection, and then for the next bytes.
const (
	patience = 3 * time.Second // users and those who bring mail
	// Who looks whether all is well does not mind a server that is slow, as one is
	// that has hardly any of the machine's time.
	longPatience = 30 * time.Second
)

// conn is a connection of somebody with bounded patience: when nothing comes,
// or nothing can be sent, it breaks. It knows the first line that it has
// heard, which has the name of who is at the other end.
type conn struct {
	net.Conn
	patience time.Duration
	mu       sync.Mutex
	first    []byte
	broken   error // why nothing is read any more
}

// dial connects from the client.
func (s *Site) dial(ctx context.Context, address string, waits time.Duration) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := s.Client.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, patience: waits}, nil
}

// Read reads, if something comes in time. Once it has failed it fails for good:
// libraries ask again after an error, and would wait as long each time.
func (c *conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	err := c.broken
	c.mu.Unlock()
	if err == nil {
		err = c.Conn.SetReadDeadline(time.Now().Add(c.patience))
	}
	if err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = err
	if n > 0 && !bytes.Contains(c.first, []byte("\n")) {
		c.first = append(c.first, b[:n]...)
	}
	return n, err
}

// Write writes, if it can be done in time.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// The deadlines of others are longer, and not for this place.

// SetDeadline does nothing.
func (c *conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// server returns which of the hosts greeted; nil before it did.
func (s *Site) server(c *conn) *Machine {
	c.mu.Lock()
	defer c.mu.Unlock()
	line, _, _ := strings.Cut(string(c.first), "\n")
	for name, m := range s.Machines {
		for word := range strings.FieldsSeq(line) {
			if word == name {
				return m
			}
		}
	}
	return nil
}

// told calls f with whether what was said on a connection is loose. Meanwhile that
// does not change: else something that was said at the moment of a failover would be
// written down as firm behind it.
func (s *Site) told(c *conn, f func(loose bool)) {
	s.answers.Lock()
	defer s.answers.Unlock()
	m := s.server(c)
	f(m != nil && m.Abandoned())
}

// done writes down that what was asked was acknowledged on a connection.
func (s *Site) done(c *conn, asked ledger.Asked) {
	s.told(c, func(loose bool) { asked.Loosely(loose).Done() })
}
