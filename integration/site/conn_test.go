package site

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// TestPatienceEnds reads from somebody who says nothing in time, and then speaks:
// who has given up hears nothing of it, and does not wait once more.
func TestPatienceEnds(t *testing.T) {
	here, there := net.Pipe()
	t.Cleanup(func() { must(t, errors.Join(here.Close(), there.Close())) })
	c := &conn{Conn: here, patience: time.Millisecond}
	b := make([]byte, 10)
	if _, err := c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%v, want that it was too late", err)
	}
	c.patience = time.Minute
	go func() { _, _ = there.Write([]byte("late")) }() // it ends with the connection
	if n, err := c.Read(b); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%q, %v, want that it is still too late", b[:n], err)
	}
}
