package primary

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/zeebo/blake3"
	"golang.org/x/sync/errgroup"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

const (
	// prefetchDepth bounds the requests that are prepared ahead of the sender.
	prefetchDepth = 32
	// prefetchReaders is how many files are read at one time.
	prefetchReaders = 4
	// prefetchSize is the largest file that is read ahead as a whole; larger
	// ones are read while they are sent.
	prefetchSize = 1 << 20
)

// answer is what was prepared for one request.
type answer struct {
	request
	item catalog.Item
	src  *source
	data []byte // all of the content, if it was read ahead
	err  error  // why there is none
}

// prefetch prepares answers, several at a time, and hands them over in the
// order of the requests.
func prefetch(ctx context.Context, s *session, out chan<- chan *answer) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(prefetchReaders + 1)
	group.Go(func() error {
		for {
			var req request
			select {
			case <-ctx.Done():
				return ctx.Err()
			case req = <-s.requests:
			}
			promise := make(chan *answer, 1)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case out <- promise:
			}
			if req.compare != nil {
				promise <- &answer{request: req}
				continue
			}
			group.Go(func() error {
				promise <- s.server.prepare(req)
				return nil
			})
		}
	})
	return group.Wait()
}

// prepare looks a file up and reads it.
func (s *Server) prepare(req request) *answer {
	a := &answer{request: req}
	a.err = s.cfg.Catalog.View(func(t *catalog.Tx) error {
		var err error
		a.item, err = t.Lookup(req.fetch.Path)
		return err
	})
	switch {
	case errors.Is(a.err, catalog.ErrNotFound):
		a.err = errGone
	case a.err == nil && a.item.Facts.Type != journal.TypeFile:
		a.err = errChanged
	}
	if a.err != nil {
		return a
	}
	if a.src, a.err = s.openItem(req.fetch.Path, a.item); a.err != nil {
		return a
	}
	if a.item.Facts.Size <= prefetchSize {
		a.data, a.err = io.ReadAll(a.src.reader())
	}
	return a
}

// answer waits for one answer and sends it; entries that come up meanwhile
// go first.
func (s *sender) answer(promise chan *answer) error {
	for {
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case rec := <-s.records:
			s.next = &rec
			if err := s.sendWaiting(); err != nil {
				return err
			}
		case a := <-promise:
			if a.src != nil {
				defer a.src.close()
			}
			if a.compare != nil {
				return s.answerCompare(a.compare)
			}
			return s.answerFetch(a)
		}
	}
}

// errPageFull ends the walk of a directory at the end of a page.
var errPageFull = errors.New("page full")

// answerCompare sends the listing of a directory, page by page. Each page is
// made from one snapshot of the catalog, and follows the entries up to it: of
// the names from its first to its last it says what there is at that place in
// the stream.
func (s *sender) answerCompare(c *wire.CompareItem) error {
	if err := s.waitComplete(); err != nil {
		return err
	}
	if err := s.saveLearned(); err != nil {
		return err
	}
	from := ""
	for {
		page, at, err := s.server.page(c, from)
		if err != nil {
			return err
		}
		if err := s.sendUpTo(at); err != nil {
			return err
		}
		if err := s.send(wire.ListingMessage(page)); err != nil {
			return err
		}
		if page.Last {
			return nil
		}
		from = page.Items[len(page.Items)-1].Name + "\x00"
		if err := s.sendWaiting(); err != nil {
			return err
		}
	}
}

// page makes one page of a listing, of the names from from on, and says at
// which place in the journal it is right.
func (s *Server) page(c *wire.CompareItem, from string) (wire.Listing, journal.Sequence, error) {
	l := wire.Listing{Path: c.Path, Outcome: wire.OK, Last: true}
	var at journal.Sequence
	err := s.cfg.Catalog.View(func(t *catalog.Tx) error {
		at = t.Position().Sequence
		item, err := t.Lookup(c.Path)
		switch {
		case errors.Is(err, catalog.ErrNotFound), err == nil && item.Facts.Type != journal.TypeDirectory:
			l.Outcome = wire.Gone
			return nil
		case err != nil:
			return err
		case from == "" && item.Digest == c.Digest:
			l.Outcome = wire.Same
			return nil
		}
		l.Facts = item.Facts
		return t.List(c.Path, from, func(name string, it catalog.Item) error {
			if len(l.Items) == wire.MaxListingItems {
				l.Last = false
				return errPageFull
			}
			l.Items = append(l.Items, wire.Item{Name: name, Facts: it.Facts, Digest: it.Digest, Link: it.Link})
			return nil
		})
	})
	if errors.Is(err, errPageFull) {
		err = nil
	}
	return l, at, err
}

// waitComplete waits until the store was looked at as a whole once: before,
// what is not in the catalog is not known to be absent.
func (s *sender) waitComplete() error {
	for !s.server.cfg.Store().Complete {
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case rec := <-s.records:
			s.next = &rec
			if err := s.sendWaiting(); err != nil {
				return err
			}
		case <-s.tick.C:
			if err := s.heartbeat(); err != nil {
				return err
			}
		}
	}
	return nil
}

// answerFetch sends a content, if the catalog still knows the file as it was
// when it was read.
func (s *sender) answerFetch(a *answer) error {
	f := a.fetch
	end := wire.ContentEnd{Outcome: wire.OK, Facts: a.item.Facts, Link: a.item.Link}
	if a.err == nil && a.data != nil && f.Have.Known() {
		if id := journal.ContentID(blake3.Sum256(a.data)); id == f.Have && a.src.check(id, int64(len(a.data))) == nil {
			end.Outcome, end.Facts.Content = wire.Same, id
			s.learn(a, id)
		}
	}
	if a.err == nil && end.Outcome == wire.OK {
		var err error
		if end.Facts.Content, end.Outcome, err = s.sendFetched(a); err != nil {
			return err
		}
	}
	if a.err != nil {
		end.Outcome = s.failed(f.Path, a.err)
	}
	return s.closeFetch(a, end)
}

// sendFetched sends the bytes; entries go between the pieces of a large one.
func (s *sender) sendFetched(a *answer) (journal.ContentID, wire.Outcome, error) {
	r := a.src.reader()
	if a.data != nil {
		r = bytes.NewReader(a.data)
	}
	return s.transfer(s.bulk, a.fetch.Transfer, a.src, r, a.fetch.Plain, s.sendWaiting)
}

// learn notes the id of a content that the catalog did not know yet.
func (s *sender) learn(a *answer, id journal.ContentID) {
	if !a.item.Facts.Content.Known() {
		s.learned = append(s.learned, identified{a.src.path, a.item.Stamp, id})
	}
}

// closeFetch ends a transfer at a place in the stream where the catalog says
// of the file what it said when it was read; else the file has changed, and
// the entries that say how are on their way.
func (s *sender) closeFetch(a *answer, end wire.ContentEnd) error {
	var at journal.Sequence
	var now catalog.Item
	err := s.server.cfg.Catalog.View(func(t *catalog.Tx) error {
		at = t.Position().Sequence
		var err error
		now, err = t.Lookup(a.fetch.Path)
		return err
	})
	switch {
	case errors.Is(err, catalog.ErrNotFound):
		end = wire.ContentEnd{Outcome: wire.Gone}
	case err != nil:
		return err
	case end.Outcome == wire.OK || end.Outcome == wire.Same:
		if !still(now, a.item, end.Facts.Content) {
			end = wire.ContentEnd{Outcome: wire.Changed}
			break
		}
		id := end.Facts.Content
		end.Facts, end.Link = now.Facts, now.Link
		end.Facts.Content = id
	}
	if s.last.Sequence < at {
		if err := s.sendUpTo(at); err != nil {
			return err
		}
	}
	s.endTransfer(a.fetch.Transfer, end)
	if s.batch.full() || len(s.answers) == 0 {
		return s.flush(nil)
	}
	return nil
}

// still reports whether the catalog knows the file as it was when it was read
// with the content id.
func still(now, then catalog.Item, id journal.ContentID) bool {
	return now.Stamp.SameFile(then.Stamp) && now.Facts.Size == then.Facts.Size &&
		now.Facts.Attr.MTime == then.Facts.Attr.MTime &&
		(!now.Facts.Content.Known() || now.Facts.Content == id)
}
