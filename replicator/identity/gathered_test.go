package identity

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// counted counts the writes to a connection, and fails those after the last.
type counted struct {
	net.Conn
	mu     sync.Mutex
	writes int
	broken error
}

func (c *counted) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.writes++
	broken := c.broken
	c.mu.Unlock()
	if broken != nil {
		return 0, broken
	}
	return c.Conn.Write(b)
}

// secure makes a connection over loopback, and returns both sides of it.
func secure(t *testing.T) (*secured, *counted, net.Conn) {
	t.Helper()
	id := create(t, &clock{}, "mx1")
	mirror := second(t, id, id.pair, "mx2")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan net.Conn, 1)
	go func() {
		conn, err := tls.Dial("tcp", listener.Addr().String(), mirror.ClientTLS())
		if err != nil {
			t.Error(err)
		}
		done <- conn
	}()
	near, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	raw := &counted{Conn: near}
	t.Cleanup(func() { _ = near.Close() })
	conn, _, err := newTransport(id.ServerTLS(), nil).ServerHandshake(raw)
	if err != nil {
		t.Fatal(err)
	}
	s, ok := conn.(*secured)
	if !ok {
		t.Fatalf("a %T", conn)
	}
	return s, raw, <-done
}

func TestLargeWritesAreGathered(t *testing.T) {
	s, raw, far := secure(t)
	for _, size := range []int{1, maxRecord, maxRecord + 1, gatheredSize, 3*gatheredSize + 7} {
		data := bytes.Repeat([]byte("mail\n"), size/5+1)[:size]
		wrote := make(chan error, 1)
		go func() {
			_, err := s.Write(data)
			wrote <- err
		}()
		got := make([]byte, size)
		if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes did not arrive as they were sent: %v", size, err)
		}
		if err := <-wrote; err != nil {
			t.Fatalf("write %d bytes: %v", size, err)
		}
	}
	raw.mu.Lock()
	before := raw.writes
	raw.mu.Unlock()
	go func() { _, _ = s.Write(make([]byte, 8*gatheredSize)) }()
	if _, err := io.ReadFull(far, make([]byte, 8*gatheredSize)); err != nil {
		t.Fatal(err)
	}
	raw.mu.Lock()
	defer raw.mu.Unlock()
	if n := raw.writes - before; n > 10 {
		t.Errorf("%d writes for %d bytes", n, 8*gatheredSize)
	}
}

func TestGatheredWriteTellsOfFailure(t *testing.T) {
	s, raw, _ := secure(t)
	broken := errors.New("broken")
	raw.mu.Lock()
	raw.broken = broken
	raw.mu.Unlock()
	for _, size := range []int{2 * maxRecord, 2 * gatheredSize} {
		if n, err := s.Write(make([]byte, size)); err == nil || n == size {
			t.Errorf("%d bytes written, %v", n, err)
		}
	}
}

// stuck is a connection of which the other side takes nothing any more: a write to
// it ends when it is closed, and not by a deadline.
type stuck struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *stuck) Write([]byte) (int, error) {
	<-c.closed
	return 0, net.ErrClosed
}

func (c *stuck) SetWriteDeadline(time.Time) error { return nil }

func (c *stuck) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// TestCloseDoesNotWait: a connection to somebody who takes nothing is closed all the
// same, whether or not a large write is on its way.
func TestCloseDoesNotWait(t *testing.T) {
	for _, size := range []int{0, 2 * maxRecord} {
		s, raw, _ := secure(t)
		s.below.Conn = &stuck{Conn: raw, closed: make(chan struct{})}
		wrote := make(chan error, 1)
		go func() {
			_, err := s.Write(make([]byte, size))
			wrote <- err
		}()
		if err := s.Close(); err != nil {
			t.Errorf("Close with %d bytes on their way: %v", size, err)
		}
		if err := <-wrote; err == nil && size > 0 {
			t.Error("what nobody has taken was written")
		}
	}
}
