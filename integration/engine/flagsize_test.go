package engine_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// Bars for what a flag change costs on the wire from the primary to the mirror,
// in bytes, everything above TCP counted.
const (
	maxSingleFlag = 150
	maxBulkFlag   = 100
	markSize      = 45 // of a heartbeat, at most
)

// TestFlagChangeBytes measures flag changes with a proxy that counts the bytes
// of real TLS between the nodes.
func TestFlagChangeBytes(t *testing.T) {
	p := newPair(t)
	wire := countBetween(t, p)
	const messages = 1000
	name := func(i int, flags string) string {
		return fmt.Sprintf("example.org/alice/Maildir/cur/%d.M%06dP4711.mail1,S=%d,W=%d:2,%s", 1700000000+i*97, (i*7919)%1000000, 4000+i, 4100+i, flags)
	}
	for i := range messages {
		p.write(name(i, ""), fmt.Sprintf("Subject: %d\n\nbody\n", i))
	}
	p.startMirror()
	p.inSync()
	change := func(i int, from, to string) {
		t.Helper()
		store := p.primary.Store.Path
		if err := os.Rename(filepath.Join(store, name(i, from)), filepath.Join(store, name(i, to))); err != nil {
			t.Fatal(err)
		}
	}
	beat := wire.heartbeat()
	var there, back []int
	for i := range 7 {
		before := wire.mark()
		seq := p.status(p.primary).Journal.Sequence
		change(i*100, "", "S")
		p.until(p.primary, "acknowledged", func(d status.Document) bool { return d.Mirrors[0].AckedSequence > seq })
		wire.quiet(50 * time.Millisecond)
		a, b := wire.since(before)
		t.Logf("single %d: %v there, %v back", i, a, b)
		there, back = append(there, beyond(a, beat)), append(back, sum(b))
	}
	cold := there[0]
	slices.Sort(there)
	slices.Sort(back)
	t.Logf("a single flag change: %d bytes there (the first one of the stream %d), %d back", there[3], cold, back[3])
	if there[3]+back[3] > maxSingleFlag || there[3]+markSize > maxSingleFlag {
		t.Errorf("a single flag change costs %d bytes there, %d with a mark, and %d back; at most %d is allowed",
			there[3], there[3]+markSize, back[3], maxSingleFlag)
	}

	p.inSync()
	before := wire.mark()
	for i := range messages {
		if i%100 == 0 {
			continue
		}
		change(i, "", "RS")
	}
	p.inSync()
	a, b := wire.since(before)
	t.Logf("in bulk: %d bytes there, %d back, for each of %d flag changes", sum(a)/messages, sum(b)/messages, messages)
	if (sum(a)+sum(b))/messages > maxBulkFlag {
		t.Errorf("%d flag changes in bulk cost %d bytes each; at most %d is allowed", messages, (sum(a)+sum(b))/messages, maxBulkFlag)
	}
}

// beyond adds up a batch and what follows it, but for heartbeats, each of which
// may have a mark in it: one that comes early takes the place of the next.
func beyond(records []int, beat int) int {
	n := 0
	for i, r := range records {
		if i == 0 || r < beat || r > beat+markSize {
			n += r
		}
	}
	return n
}

func sum(records []int) int {
	n := 0
	for _, r := range records {
		n += r
	}
	return n
}

// recordLog keeps the sizes of the TLS records that passed, in both directions.
type recordLog struct {
	mu          sync.Mutex
	there, back []int
	passed      chan struct{}
}

type recordMark struct{ there, back int }

func (l *recordLog) mark() recordMark {
	l.mu.Lock()
	defer l.mu.Unlock()
	return recordMark{len(l.there), len(l.back)}
}

func (l *recordLog) since(m recordMark) (there, back []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.there[m.there:]), slices.Clone(l.back[m.back:])
}

// heartbeat returns the size of a heartbeat, on a stream that is quiet: of two
// records in a row from the primary that come alone and are equally long, but for
// numbers that grow. Answers to the vigil, which passes here too, are neither.
func (l *recordLog) heartbeat() int {
	last := 0
	for {
		before := l.mark()
		for there, _ := l.since(before); len(there) == 0; there, _ = l.since(before) {
			<-l.passed
		}
		l.quiet(50 * time.Millisecond)
		there, _ := l.since(before)
		switch alone := len(there) == 1; {
		case alone && max(there[0]-last, last-there[0]) <= 2:
			return there[0]
		case alone:
			last = there[0]
		default:
			last = 0
		}
	}
}

// quiet waits until nothing has passed for d.
func (l *recordLog) quiet(d time.Duration) {
	for {
		select {
		case <-l.passed:
		case <-time.After(d):
			return
		}
	}
}

// countBetween puts a proxy between the mirror and the primary.
func countBetween(t *testing.T, p *testPair) *recordLog {
	t.Helper()
	l := &recordLog{passed: make(chan struct{}, 1)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	primary := p.mirror.Node.Peer
	p.mirror.Node.Peer = listener.Addr().String()
	go func() {
		for {
			mirror, err := listener.Accept()
			if err != nil {
				return
			}
			conn, err := net.Dial("tcp", primary)
			if err != nil {
				_ = mirror.Close()
				continue
			}
			go l.pass(mirror, conn, &l.there)
			go l.pass(conn, mirror, &l.back)
		}
	}()
	return l
}

// pass copies TLS records.
func (l *recordLog) pass(to, from net.Conn, sizes *[]int) {
	defer func() { _, _ = to.Close(), from.Close() }()
	record := make([]byte, 5+1<<16)
	for {
		if _, err := io.ReadFull(from, record[:5]); err != nil {
			return
		}
		n := 5 + int(binary.BigEndian.Uint16(record[3:]))
		if _, err := io.ReadFull(from, record[5:n]); err != nil {
			return
		}
		if _, err := to.Write(record[:n]); err != nil {
			return
		}
		l.mu.Lock()
		*sizes = append(*sizes, n)
		l.mu.Unlock()
		select {
		case l.passed <- struct{}{}:
		default:
		}
	}
}

// status returns the status of a node now.
func (p *testPair) status(cfg config.Config) status.Document {
	p.t.Helper()
	return p.until(cfg, "there", func(status.Document) bool { return true })
}
