package site

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/hosts"
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

// TestWhoGreets reads greetings as Dovecot gives them: on a machine that has much to
// do, the name is not in the first line.
func TestWhoGreets(t *testing.T) {
	s := &Site{Machines: map[string]*Machine{"mx1": {Host: &hosts.Host{Name: "mx1"}}}}
	for heard, who := range map[string]string{
		"220 mx1 mx1 is ready\r\n":                     "mx1",
		"+OK mx1 is ready.\r\n":                        "mx1",
		"* OK [CAPABILITY IMAP4rev1] mx1 is ready\r\n": "mx1",
		"* OK Waiting for authentication process to respond..\r\n* OK [CAPABILITY IMAP4rev1] mx1 is ready\r\nT1 OK Logged in": "mx1",
		"* OK Waiting for authentication process to respond..\r\n":                                                            "",
		"* OK mx1 will serve you\r\n": "",
		"* OK mx2 is ready\r\n":       "",
		" is ready":                   "",
		strings.Repeat("*", longestGreeting) + " mx1 is ready\r\n": "",
	} {
		here, there := net.Pipe()
		c := &conn{Conn: here, patience: time.Minute}
		go func() {
			for b := range slices.Chunk([]byte(heard), 10) {
				_, _ = there.Write(b) // what is missing is found below
			}
			_ = there.Close()
		}()
		_, _ = io.ReadAll(c) // it ends with an error when the other end is closed
		must(t, here.Close())
		name := ""
		if err := s.told(c, func(by string, _ bool) { name = by }); name != who || (err == nil) != (who != "") || (err != nil) != errors.Is(err, errWho) {
			t.Errorf("%q: %q, %v, want %q", heard, name, err, who)
		}
	}
}
