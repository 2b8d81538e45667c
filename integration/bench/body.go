package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/mailtwin/mailtwin/integration/tree"
)

// What case f delivers.
const (
	bodySize   = 5 << 20
	recipients = 200
)

// oneBody is case f: one body of 5 MB to 200 users, under headers of
// different lengths, delivered to a running pair and found by a first sync.
func (b *bench) oneBody(ctx context.Context) error {
	mail := tree.NewWriter(5)
	body := mail.Body(bodySize)
	encoder, err := zstd.NewWriter(nil, zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		return err
	}
	compressed := int64(len(encoder.EncodeAll(body, nil)))
	store, live, first, copied := b.path("primary"), b.path("mirror"), b.path("mirror"), b.path("rsync")
	boxes := make([]string, recipients)
	for i := range boxes {
		boxes[i] = filepath.Join(store, fmt.Sprintf("example.org/u%03d/Maildir", i))
		if err := makeMailbox(boxes[i]); err != nil {
			return err
		}
	}
	liveBytes, err := b.onTheWire(ctx, store, live, func() error {
		for i, box := range boxes {
			data := mail.WithBody(fmt.Sprintf("u%03d@example.org", i), body)
			if err := deliverTo(box, fmt.Sprintf("1800000000.M%dP1.bench", i), data); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("measuring one body to many, live: %w", err)
	}
	firstBytes, err := b.onTheWire(ctx, store, first, nil)
	if err != nil {
		return fmt.Errorf("measuring one body to many, first sync: %w", err)
	}
	_, peers, err := b.ssh.rsyncCounted(ctx, store, copied)
	if err != nil {
		return err
	}
	for _, r := range []struct {
		how   string
		bytes int64
	}{{"delivered live", liveBytes}, {"found by a first sync", firstBytes}} {
		ratio := float64(r.bytes) / float64(compressed)
		b.rows = append(b.rows, row{
			what: fmt.Sprintf("one body of 5 MB to %d users, %s, bytes on the wire", recipients, r.how),
			ours: megabytes(r.bytes), peers: fmt.Sprintf("one compressed body: %s (rsync: %s)", megabytes(compressed), megabytes(peers)),
			ratio: fmt.Sprintf("%.3f", ratio), bar: "≤ 1.05", met: ratio <= 1.05,
		})
	}
	return b.remove(store, live, first, copied)
}

// onTheWire makes a pair and returns the bytes that pass from when the mirror
// is there, or, with a change to make, from when the change begins.
func (b *bench) onTheWire(ctx context.Context, store, mirror string, change func() error) (int64, error) {
	p, err := b.pair(ctx, store, mirror, false)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	if err := p.WaitInSync(ctx); err != nil {
		return 0, err
	}
	var before int64
	if change != nil {
		before = bytesOf(p.Link)
		if err := change(); err != nil {
			return 0, err
		}
		if err := p.WaitInSync(ctx); err != nil {
			return 0, err
		}
	}
	passed := bytesOf(p.Link) - before
	b.say("one body: %d bytes", passed)
	if err := p.Close(); err != nil {
		return 0, err
	}
	return passed, equal(ctx, store, mirror)
}
