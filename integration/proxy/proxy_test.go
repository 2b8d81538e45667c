package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// echo starts a server that sends back what it gets, and a proxy to it.
func echo(t *testing.T) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	p, err := New(l.Addr().String(), 1)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	return c
}

// roundTrip sends data and returns what comes back.
func roundTrip(t *testing.T, c net.Conn, data []byte) []byte {
	t.Helper()
	go func() { _, _ = c.Write(data) }()
	got := make([]byte, len(data))
	_, err := io.ReadFull(c, got)
	must(t, err)
	return got
}

func TestPassesAndCounts(t *testing.T) {
	p := echo(t)
	c := dial(t, p)
	data := bytes.Repeat([]byte("mail "), 40_000)
	if got := roundTrip(t, c, data); !bytes.Equal(got, data) {
		t.Error("other bytes came back")
	}
	must(t, c.(*net.TCPConn).CloseWrite())
	if rest, err := io.ReadAll(c); err != nil || len(rest) != 0 {
		t.Errorf("%d bytes more, %v; want the end", len(rest), err)
	}
	if sent, received := p.Bytes(); sent != int64(len(data)) || received != sent {
		t.Errorf("counted %d and %d, want %d", sent, received, len(data))
	}
}

func TestCutAndMend(t *testing.T) {
	p := echo(t)
	c := dial(t, p)
	roundTrip(t, c, []byte("x"))
	p.Cut()
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the open connection gave %v, want its end", err)
	}
	refused := dial(t, p)
	if _, err := refused.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a new connection gave %v, want its end", err)
	}
	p.Mend()
	roundTrip(t, dial(t, p), []byte("x"))
}

func TestStall(t *testing.T) {
	p := echo(t)
	c := dial(t, p)
	roundTrip(t, c, []byte("x"))
	p.Stall()
	_, err := c.Write([]byte("y"))
	must(t, err)
	must(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v from a stalled link, want nothing at all", err)
	}
	must(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	p.Mend()
	got := make([]byte, 1)
	if _, err := io.ReadFull(c, got); err != nil || got[0] != 'y' {
		t.Errorf("%q, %v after the stall, want what was sent", got, err)
	}
}

func TestThrottle(t *testing.T) {
	p := echo(t)
	c := dial(t, p)
	p.Throttle(100_000)
	start := time.Now()
	roundTrip(t, c, make([]byte, 20_000))
	if took := time.Since(start); took < 200*time.Millisecond {
		t.Errorf("20,000 bytes at 100,000 a second took %v", took)
	}
}

func TestCorrupt(t *testing.T) {
	p := echo(t)
	c := dial(t, p)
	data := make([]byte, 100_000)
	p.Corrupt(1000)
	got := roundTrip(t, c, data)
	changed := 0
	for _, b := range got {
		if b != 0 {
			changed++
		}
	}
	if changed < 100 || changed > 400 {
		t.Errorf("%d bytes were changed on the way there and back, want about 200", changed)
	}
}

func TestCloseWhileStalled(t *testing.T) {
	p := echo(t)
	c := dial(t, p)
	p.Stall()
	_, err := c.Write([]byte("x"))
	must(t, err)
	must(t, p.Close())
}
