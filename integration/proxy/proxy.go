package proxy

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// bufferSize is the most that is passed on at once.
const bufferSize = 32 << 10

// Proxy passes connections on to one target. All methods may be called from
// several goroutines.
type Proxy struct {
	target   string
	listener net.Listener
	sent     atomic.Int64 // from who dials to the target
	received atomic.Int64 // from the target to who dials
	running  sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed when one of the states below changes
	closed  bool
	cut     bool
	stalled bool
	rate    int64   // bytes a second of each direction of each connection; 0 is no limit
	corrupt float64 // chance of each byte to be changed
	random  *rand.Rand
	conns   map[net.Conn]struct{}
}

// New starts a proxy to target, host:port, which need not listen yet. The
// seed decides which bytes Corrupt changes.
func New(target string, seed uint64) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting a proxy to %s: %w", target, err)
	}
	p := &Proxy{
		target:   target,
		listener: l,
		changed:  make(chan struct{}),
		random:   rand.New(rand.NewPCG(seed, 0)),
		conns:    map[net.Conn]struct{}{},
	}
	p.running.Go(p.accept)
	return p, nil
}

// Addr returns where to dial, host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Bytes returns how many bytes have passed: sent to the target, and received
// from it. They are those of the connections' streams, without the headers of
// TCP and IP.
func (p *Proxy) Bytes() (sent, received int64) { return p.sent.Load(), p.received.Load() }

// Cut ends all connections and refuses new ones until Mend.
func (p *Proxy) Cut() {
	p.set(func() { p.cut = true })
	p.Break()
}

// Break ends all connections; new ones are welcome.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close() // who uses it finds out
	}
}

// Stall keeps connections open and passes nothing on until Mend.
func (p *Proxy) Stall() { p.set(func() { p.stalled = true }) }

// Throttle passes on that many bytes a second in each direction of each
// connection, until Mend. Connections that are made meanwhile hold little that
// has not been passed on, as a link does.
func (p *Proxy) Throttle(bytesPerSecond int64) { p.set(func() { p.rate = bytesPerSecond }) }

// Corrupt changes one byte in n, at random, until Mend.
func (p *Proxy) Corrupt(n int) { p.set(func() { p.corrupt = 1 / float64(n) }) }

// Mend makes the network good again.
func (p *Proxy) Mend() {
	p.set(func() { p.cut, p.stalled, p.rate, p.corrupt = false, false, 0, 0 })
}

// Close ends all connections and the proxy, and returns when nothing of it
// runs any more.
func (p *Proxy) Close() error {
	p.set(func() { p.closed = true })
	err := p.listener.Close()
	p.Break()
	p.running.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// set changes the state and wakes who waits for a change.
func (p *Proxy) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.running.Go(func() { p.serve(client) })
	}
}

// serve passes one connection on until either side ends it.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	if !p.register(client) {
		return
	}
	defer p.forget(client)
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.register(server) {
		return
	}
	defer p.forget(server)
	var directions sync.WaitGroup
	directions.Go(func() { p.pass(server, client, &p.sent) })
	directions.Go(func() { p.pass(client, server, &p.received) })
	directions.Wait()
}

// register notes an open connection, or reports that there shall be none.
func (p *Proxy) register(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut || p.closed {
		return false
	}
	if tcp, ok := c.(*net.TCPConn); ok && p.rate > 0 {
		_ = tcp.SetReadBuffer(bufferSize) // else the kernel's, which is large
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// pass copies one direction. When its source has said all it lets the other
// direction finish; an error ends both.
func (p *Proxy) pass(to, from net.Conn, count *atomic.Int64) {
	if errors.Is(p.copy(to, from, count), io.EOF) {
		if tcp, ok := to.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
			return
		}
	}
	_ = to.Close()
	_ = from.Close()
}

// errGone says that bytes shall never arrive.
var errGone = errors.New("the link was cut")

func (p *Proxy) copy(to, from net.Conn, count *atomic.Int64) error {
	buf := make([]byte, bufferSize)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !p.delay(n) {
				return errGone
			}
			p.damage(buf[:n])
			count.Add(int64(n)) // before whoever gets them can ask for the count
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// delay waits as long as n bytes take now. It reports false when they shall
// never arrive.
func (p *Proxy) delay(n int) bool {
	for {
		p.mu.Lock()
		changed, stalled, rate, gone := p.changed, p.stalled, p.rate, p.closed || p.cut
		p.mu.Unlock()
		switch {
		case gone:
			return false
		case stalled:
			<-changed
			continue
		case rate == 0:
			return true
		}
		timer := time.NewTimer(time.Duration(n) * time.Second / time.Duration(rate))
		select {
		case <-timer.C:
			return true
		case <-changed:
			timer.Stop()
		}
	}
}

// damage changes bytes at random.
func (p *Proxy) damage(data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.corrupt == 0 {
		return
	}
	for i := range data {
		if p.random.Float64() < p.corrupt {
			data[i] ^= byte(1 + p.random.IntN(255))
		}
	}
}
