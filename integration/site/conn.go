package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// isReady is what a server's greeting says behind the name of its host.
const isReady = " is ready"

// longestGreeting is in how many bytes a server has to say who it is.
const longestGreeting = 1024

// errWho says that a server has not said which of the hosts it is.
var errWho = errors.New("the server did not say which host it is on")

// conn is a connection of somebody with bounded patience: when nothing comes,
// or nothing can be sent, it breaks. It knows what it has heard up to the greeting,
// which has the name of who is at the other end. That need not be the first line: a
// Dovecot whose login process does not reach its authentication yet, as on a machine
// that has much to do, says so first.
type conn struct {
	net.Conn
	patience time.Duration
	mu       sync.Mutex
	greeting []byte
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
	if n > 0 && len(c.greeting) < longestGreeting && !bytes.Contains(c.greeting, []byte(isReady)) {
		c.greeting = append(c.greeting, b[:n]...)
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

// greeted returns an error if the server has not said which of the hosts it is on:
// what it promises cannot be written down then, for it may be one that is replicated
// no more.
func (s *Site) greeted(c *conn) error {
	_, err := s.server(c)
	return err
}

// server returns which of the hosts greeted.
func (s *Site) server(c *conn) (*Machine, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, _, ready := strings.Cut(string(c.greeting), isReady)
	words := strings.Fields(before)
	if ready && len(words) > 0 {
		if m := s.Machines[words[len(words)-1]]; m != nil {
			return m, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", errWho, c.greeting)
}

// told calls f with who has said something on a connection that was greeted, and
// whether that is loose. Meanwhile it does not change: else something that was said
// at the moment of a failover would be written down as firm behind it.
func (s *Site) told(c *conn, f func(by string, loose bool)) error {
	s.answers.Lock()
	defer s.answers.Unlock()
	m, err := s.server(c)
	if err == nil {
		f(m.Name, m.Abandoned())
	}
	return err
}

// done writes down that what was asked was acknowledged on a connection.
func (s *Site) done(c *conn, asked ledger.Asked) error {
	return s.told(c, func(by string, loose bool) { asked.By(by).Loosely(loose).Done() })
}
