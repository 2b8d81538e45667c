package watch

import (
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// errRead says that the store could not be read, as opposed to the catalog.
var errRead = errors.New("read error")

// captured is what was taken of a control file.
type captured struct {
	id   journal.ContentID
	size int64
	held *journal.Held // nil: too large to be carried by an entry
	same bool          // the content is the one that was journaled before
}

// capture observes a control file, whose content goes on changing: what is
// journaled is what was read now.
func (c *cycle) capture(l look, it catalog.Item, known bool) error {
	known = known && it.Facts.Type == journal.TypeFile
	f, err := c.open(l)
	if errors.Is(err, errChanged) {
		c.busy(l.path)
		return nil
	}
	if err != nil {
		return c.failed(l, err)
	}
	got, ok, err := c.take(f, l, it, known)
	if err == nil && !unchanged(f, l.info) {
		c.busy(l.path)
		ok = false
	}
	if ok && err == nil && !got.same && l.class == ClassUIDList {
		ok, err = c.messagesFirst(f, l, got)
		if err != nil && !errors.Is(err, errRead) {
			return errors.Join(err, f.Close())
		}
	}
	if ok && err == nil && !got.same {
		if ok, err = c.referredFirst(l); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			c.busy(l.path)
			return nil
		}
		return c.failed(l, err)
	}
	if !ok {
		return nil
	}
	if got.same && got.size < l.info.Facts.Size {
		c.resolved(l.path) // somebody is writing to it: there will be more
		return nil
	}
	if got.same {
		return c.attributes(l, it, it.Facts.Content)
	}
	facts := l.info.Facts
	facts.Content, facts.Size = got.id, got.size
	if facts.Attr.Xattrs, err = c.xattrs(l); err != nil {
		return c.failed(l, err)
	}
	c.resolved(l.path)
	return c.emit(journal.Entry{Kind: journal.KindPut, Path: l.path, Facts: facts, Held: got.held, Stamp: l.info.Stamp})
}

// referredFirst journals what a control file, which was read just now, refers
// into. It returns false, with the name on the agenda, where that cannot be
// journaled as it is: somebody is writing to it.
func (c *cycle) referredFirst(l look) (bool, error) {
	if c.cfg.Snapshots == nil {
		return true, nil
	}
	for _, p := range c.cfg.Snapshots.Before(l.path) {
		other, ok := c.look(p)
		if ok && other.gone {
			continue
		}
		if ok {
			if err := c.name(other); err != nil {
				return false, err
			}
			it, err := c.tx.Lookup(p)
			if err != nil && !errors.Is(err, catalog.ErrNotFound) {
				return false, err
			}
			ok = err == nil && c.same(it.Stamp, other.info.Stamp) && sameSize(it.Facts, other.info.Facts)
		}
		if !ok {
			c.busy(l.path)
			return false, nil
		}
	}
	return true, nil
}

// take reads a control file. It returns false, with the name on the agenda, if
// it is not at a place at which a copy may be taken.
func (c *cycle) take(f *os.File, l look, it catalog.Item, known bool) (captured, bool, error) {
	size := l.info.Facts.Size
	c.read += size
	if size > journal.MaxHeld {
		return c.takeLarge(f, l, it, known)
	}
	if int64(cap(c.captureBuf)) < size {
		c.captureBuf = make([]byte, size, size+size/4)
	}
	data := c.captureBuf[:size]
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, size), data); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return captured{}, false, err
	}
	data = c.cfg.Rules.Complete(l.path, data)
	if data == nil {
		c.incomplete(l.path)
		return captured{}, false, nil
	}
	got := captured{size: int64(len(data))}
	keep := 0
	if n := it.Facts.Size; known && it.Facts.Content.Known() && n > 0 && n <= int64(len(data)) &&
		c.hasher.bytes(data[:n]) == it.Facts.Content {
		keep = int(n)
	}
	if keep == 0 {
		got.id = c.hasher.bytes(data)
		got.same = known && got.id == it.Facts.Content
		got.held = &journal.Held{Data: bytes.Clone(data)}
		return got, true, nil
	}
	_, _ = c.hasher.blake.Write(data[keep:])
	got.id = c.hasher.sum()
	got.same = keep == len(data)
	got.held = &journal.Held{Base: it.Facts.Content, Keep: int64(keep), Data: bytes.Clone(data[keep:])}
	return got, true, nil
}

// takeLarge reads a control file that does not fit into an entry: only what
// was appended to it is carried, if that does.
func (c *cycle) takeLarge(f *os.File, l look, it catalog.Item, known bool) (captured, bool, error) {
	size, n := l.info.Facts.Size, it.Facts.Size
	if known && it.Facts.Content.Known() && n > 0 && n <= size && size-n <= journal.MaxHeld {
		c.hasher.blake.Reset()
		if err := c.hasher.add(c.ctx, f, 0, n); err != nil {
			return captured{}, false, err
		}
		if c.hasher.sum() == it.Facts.Content {
			tail := make([]byte, size-n)
			if _, err := io.ReadFull(io.NewSectionReader(f, n, size-n), tail); err != nil && err != io.EOF {
				return captured{}, false, err
			}
			tail = c.cfg.Rules.Complete(l.path, tail)
			if len(tail) == 0 {
				return captured{same: true, size: n}, true, nil
			}
			_, _ = c.hasher.blake.Write(tail)
			held := &journal.Held{Base: it.Facts.Content, Keep: n, Data: tail}
			return captured{id: c.hasher.sum(), size: n + int64(len(tail)), held: held}, true, nil
		}
	}
	// Where it is complete shows at its end.
	end := make([]byte, min(size, 64<<10))
	from := size - int64(len(end))
	if _, err := io.ReadFull(io.NewSectionReader(f, from, int64(len(end))), end); err != nil {
		return captured{}, false, err
	}
	whole := c.cfg.Rules.Complete(l.path, end)
	if whole == nil {
		c.incomplete(l.path)
		return captured{}, false, nil
	}
	got := captured{size: from + int64(len(whole))}
	var err error
	got.id, err = c.hasher.file(c.ctx, f, got.size)
	got.same = err == nil && known && got.id == it.Facts.Content
	return got, err == nil, err
}

// incomplete puts a control file on the agenda whose writer is in the middle
// of it.
func (c *cycle) incomplete(p journal.Path) {
	c.later(p, reasonIncomplete, c.cfg.Timing.WriterFirst, c.cfg.Timing.WriterLast)
}
