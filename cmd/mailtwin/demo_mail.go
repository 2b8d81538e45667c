package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// The sample mailstore.
const (
	sampleUsers    = 20
	sampleMessages = 25 // of each user's own
	sampleBody     = 24 << 10
	newsletterBody = 512 << 10 // one body, delivered to every user

	loadInterval = 20 * time.Millisecond // between two things that users do
	appearWithin = 5 * time.Second       // a delivery on the mirror, or it counts as lost
)

// sample is a mailstore with the habits of one: Maildirs, flags, and a
// newsletter that everybody gets under headers of their own.
type sample struct {
	root       string
	random     *rand.Rand
	newsletter []byte
	seen       []message // what may be flagged or expunged
	next       int
}

// message is one file: the path of its Maildir, and its name there.
type message struct{ maildir, name string }

func (m message) path(root string) string { return filepath.Join(root, m.maildir, m.name) }

func newSample(root string) (*sample, error) {
	s := &sample{root: root, random: rand.New(rand.NewPCG(1, 2))}
	s.newsletter = s.body(newsletterBody)
	for u := range sampleUsers {
		maildir := fmt.Sprintf("user%02d", u)
		for _, dir := range []string{"cur", "new", "tmp", ".Sent/cur", ".Sent/new", ".Sent/tmp"} {
			if err := os.MkdirAll(filepath.Join(root, maildir, dir), 0o700); err != nil {
				return nil, err
			}
		}
		for range sampleMessages {
			m := message{maildir, "cur/" + s.name() + ":2,S"}
			if err := os.WriteFile(m.path(root), s.text(maildir, s.body(s.random.IntN(2*sampleBody))), 0o600); err != nil {
				return nil, err
			}
			s.seen = append(s.seen, m)
		}
		m := message{maildir, "cur/" + s.name() + ":2,"}
		if err := os.WriteFile(m.path(root), s.text(maildir, s.newsletter), 0o600); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// name makes the base name of a message.
func (s *sample) name() string {
	s.next++
	return fmt.Sprintf("%d.M%06dP1.demo", 1700000000+s.next, s.next)
}

// body makes one attachment of about n bytes.
func (s *sample) body(n int) []byte {
	raw := make([]byte, n*3/4)
	for i := range raw {
		raw[i] = byte(s.random.Uint32())
	}
	var b bytes.Buffer
	for chunk := range slices.Chunk(raw, 57) {
		b.WriteString(base64.StdEncoding.EncodeToString(chunk))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// text puts the headers of a delivery to a user before a body.
func (s *sample) text(user string, body []byte) []byte {
	header := fmt.Sprintf("Return-Path: <sender@example.org>\nDelivered-To: %s@example.net\n"+
		"Received: from mx.example.org by mx1.example.net with LMTP id %016x\nFrom: A Sender <sender@example.org>\n"+
		"To: %[1]s@example.net\nSubject: Sample %[3]d\nMIME-Version: 1.0\nContent-Type: application/octet-stream\n"+
		"Content-Transfer-Encoding: base64\n\n", user, s.random.Uint64(), s.next)
	return append([]byte(header), body...)
}

// load is what users do meanwhile, and how fast it shows on the mirror.
type load struct {
	*sample
	mirror string

	delivered, flagged, expunged int

	wait      sync.WaitGroup
	mu        sync.Mutex
	latencies []time.Duration
	lost      int // deliveries that did not appear
}

func newLoad(s *sample, mirror string) *load { return &load{sample: s, mirror: mirror} }

// run delivers, flags and expunges until ctx ends.
func (l *load) run(ctx context.Context) error {
	defer l.wait.Wait()
	tick := time.NewTicker(loadInterval)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var err error
		switch {
		case n%4 == 1:
			err = l.flag()
		case n%8 == 3:
			err = l.expunge()
		case n%50 == 2:
			err = l.deliver(l.newsletter)
		default:
			err = l.deliver(l.body(l.random.IntN(2 * sampleBody)))
		}
		if err != nil {
			return fmt.Errorf("playing a mail server: %w", err)
		}
	}
}

// deliver puts a message into a new directory as a mail server does: by way of
// tmp, and named when it is whole.
func (l *load) deliver(body []byte) error {
	maildir := fmt.Sprintf("user%02d", l.random.IntN(sampleUsers))
	base := l.name()
	temp, m := message{maildir, "tmp/" + base}, message{maildir, "new/" + base}
	if err := os.WriteFile(temp.path(l.root), l.text(maildir, body), 0o600); err != nil {
		return err
	}
	if err := os.Rename(temp.path(l.root), m.path(l.root)); err != nil {
		return err
	}
	began := time.Now()
	l.delivered++
	l.wait.Go(func() { l.await(m.path(l.mirror), began) })
	return nil
}

// await measures how long a file takes to appear on the mirror.
func (l *load) await(path string, began time.Time) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for now := began; now.Sub(began) < appearWithin; now = <-tick.C {
		if _, err := os.Lstat(path); err == nil {
			l.mu.Lock()
			l.latencies = append(l.latencies, time.Since(began))
			l.mu.Unlock()
			return
		}
	}
	l.mu.Lock()
	l.lost++
	l.mu.Unlock()
}

// flag marks a message as answered or takes the mark away.
func (l *load) flag() error {
	i := l.random.IntN(len(l.seen))
	from := l.seen[i]
	to := from
	if answered, ok := strings.CutSuffix(from.name, ":2,RS"); ok {
		to.name = answered + ":2,S"
	} else {
		to.name = strings.TrimSuffix(from.name, ":2,S") + ":2,RS"
	}
	l.seen[i] = to
	l.flagged++
	return os.Rename(from.path(l.root), to.path(l.root))
}

// expunge removes a message for good.
func (l *load) expunge() error {
	if len(l.seen) <= sampleUsers { // keep some to flag
		return l.flag()
	}
	i := l.random.IntN(len(l.seen))
	m := l.seen[i]
	l.seen = slices.Delete(l.seen, i, i+1)
	l.expunged++
	return os.Remove(m.path(l.root))
}
