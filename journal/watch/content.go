package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/zeebo/blake3"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
)

// readSize is how much is read at once.
const readSize = 256 << 10

// errChanged says that a file changed while it was read.
var errChanged = errors.New("file changed while it was read")

// hasher hashes contents with memory of its own.
type hasher struct {
	blake *blake3.Hasher
	buf   []byte
}

func newHasher() *hasher { return &hasher{blake: blake3.New(), buf: make([]byte, readSize)} }

// file hashes the first size bytes of f. io.ErrUnexpectedEOF says that there
// are fewer.
func (h *hasher) file(ctx context.Context, f io.ReaderAt, size int64) (id journal.ContentID, err error) {
	h.blake.Reset()
	if err := h.add(ctx, f, 0, size); err != nil {
		return id, err
	}
	return h.sum(), nil
}

// add hashes the bytes of f from the offset from to the offset to.
func (h *hasher) add(ctx context.Context, f io.ReaderAt, from, to int64) error {
	for from < to {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.ReadAt(h.buf[:min(int64(len(h.buf)), to-from)], from)
		_, _ = h.blake.Write(h.buf[:n]) // never fails
		from += int64(n)
		if err == io.EOF && from < to {
			return io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

func (h *hasher) sum() (id journal.ContentID) {
	h.blake.Sum(id[:0])
	return id
}

// bytes hashes b.
func (h *hasher) bytes(b []byte) journal.ContentID {
	h.blake.Reset()
	_, _ = h.blake.Write(b)
	return h.sum()
}

// open opens the file of a look, and makes sure that it is the one which the
// look is of, unchanged.
func (c *cycle) open(l look) (*os.File, error) {
	d := c.dir(l.path.Dir())
	if d.err != nil {
		return nil, d.err
	}
	f, err := d.Open(l.path.Name())
	if err != nil {
		return nil, err
	}
	c.opened++
	if !unchanged(f, l.info) {
		_ = f.Close()
		return nil, errChanged
	}
	return f, nil
}

// unchanged reports whether an open file is the one of info, as it was then.
func unchanged(f *os.File, info beneath.Info) bool {
	fi, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && st.Ino == info.Stamp.Inode && st.Size == info.Facts.Size &&
		st.Mtim.Nano() == info.Facts.Attr.MTime && st.Ctim.Nano() == info.Stamp.Change
}

// content hashes the content of a message, now or in the background. It
// returns false, with the name on the agenda, if the content is not to be had
// yet. The returned info is of the file as it was read.
func (c *cycle) content(l look) (id journal.ContentID, info beneath.Info, ok bool, err error) {
	if done, found := c.background.take(l.path); found {
		if done.err == nil && done.info.Stamp == l.info.Stamp && sameSize(done.info.Facts, l.info.Facts) {
			return done.id, l.info, true, nil
		}
		if done.err != nil && !errors.Is(done.err, errChanged) {
			return id, l.info, false, done.err
		}
	}
	f, err := c.open(l)
	if errors.Is(err, errChanged) {
		c.busy(l.path)
		return id, l.info, false, nil
	}
	if err != nil {
		return id, l.info, false, err
	}
	defer func() {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if c.beingWritten(f, l) {
		return id, l.info, false, nil
	}
	if l.info.Facts.Size > c.cfg.Limits.LargeFile {
		if c.background.start(l.path, l.info, f) {
			f = nil // it is the background's now
		}
		c.later(l.path, reasonHashing, c.cfg.Timing.WriterLast, c.cfg.Timing.WriterLast)
		return id, l.info, false, nil
	}
	c.read += l.info.Facts.Size
	id, err = c.hasher.file(c.ctx, f, l.info.Facts.Size)
	if errors.Is(err, io.ErrUnexpectedEOF) || err == nil && !unchanged(f, l.info) {
		c.busy(l.path)
		return id, l.info, false, nil
	}
	return id, l.info, err == nil, err
}

// hashNow hashes the first size bytes of a file without asking who has it open. It
// returns errChanged or errRead, or why the observer ends.
func (c *cycle) hashNow(l look, size int64) (journal.ContentID, error) {
	f, err := c.open(l)
	if errors.Is(err, errChanged) {
		return journal.ContentID{}, err
	}
	if err != nil {
		return journal.ContentID{}, fmt.Errorf("%w: %w", errRead, err)
	}
	defer f.Close()
	c.read += size
	id, err := c.hasher.file(c.ctx, f, size)
	switch {
	case c.ctx.Err() != nil:
		err = c.ctx.Err()
	case errors.Is(err, io.ErrUnexpectedEOF), err == nil && !unchanged(f, l.info):
		err = errChanged
	case err != nil:
		err = fmt.Errorf("%w: %w", errRead, err)
	}
	return id, err
}

// beingWritten reports whether a message is not complete yet, and puts it on
// the agenda then.
func (c *cycle) beingWritten(f *os.File, l look) bool {
	writing, err := beneath.BeingWritten(f)
	if err != nil {
		// Nobody can be asked: who has not written for a while is done.
		return c.unsettledContent(l)
	}
	if writing {
		c.busy(l.path)
	}
	return writing
}

// busy puts a file that is being written on the agenda.
func (c *cycle) busy(p journal.Path) {
	c.later(p, reasonWriting, c.cfg.Timing.WriterFirst, c.cfg.Timing.WriterLast)
}

// unsettledContent does what beingWritten does where leases are not to be had:
// a file whose mtime is fresh must stay as it is for Timing.WriterStill.
func (c *cycle) unsettledContent(l look) bool {
	still := c.cfg.Timing.WriterStill
	if age := c.cfg.Clock.Now().UnixNano() - l.info.Facts.Attr.MTime; age >= int64(still) {
		return false
	}
	w := c.agenda.get(l.path)
	if w != nil && w.why == reasonWriting && w.seen == l.info.Stamp.Change && c.now()-w.since >= still {
		return false
	}
	if w == nil || w.seen != l.info.Stamp.Change {
		c.agenda.drop(l.path)
	}
	c.later(l.path, reasonWriting, still, still)
	if w = c.agenda.get(l.path); w != nil {
		w.seen = l.info.Stamp.Change
	}
	return true
}
