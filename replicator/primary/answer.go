package primary

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/blake3"
	"golang.org/x/sync/errgroup"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/content"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

const (
	// prefetchDepth bounds the requests that are prepared ahead of the sender.
	prefetchDepth = 32
	// prefetchReaders is how many files are read at one time, if whoever paces
	// reads allows it: a slow one must not keep the disks idle.
	prefetchReaders = 12
	// prefetchSize is the largest file that is read ahead as a whole; larger
	// ones are read while they are sent.
	prefetchSize = 1 << 20
	// evacuationTries is how often an array that is about to be lost is asked for
	// a file: the mirror asks a second time when it has all that can be had.
	evacuationTries = 2
	// maxPage is the bytes of a listing after which another page begins.
	maxPage = 256 << 10
)

// answer is what was prepared for one request.
type answer struct {
	request
	item     catalog.Item
	at       journal.Sequence  // the place in the journal where item was so,
	seen     uint64            // and the version of the catalog
	activity *wire.Activity    // of a survey
	src      *source           // if the content was read ahead; closed
	data     []byte            // that content, lent by the server's buffers
	have     journal.ContentID // the mirror has the very content, which this is
	err      error             // why there is none
}

// toPrepare is a request for a content, and where its answer is waited for.
type toPrepare struct {
	request
	promise chan<- *answer
}

// prefetch prepares answers, several at a time, and hands them over in the
// order of the requests. Who prepares them goes on with the next ones: a goroutine
// for each would have to grow its stack each time.
func prefetch(ctx context.Context, s *session, out chan<- chan *answer) error {
	group, ctx := errgroup.WithContext(ctx)
	work := make(chan toPrepare)
	for range prefetchReaders {
		group.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case w := <-work:
					w.promise <- s.server.prepare(ctx, w.request)
				}
			}
		})
	}
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
			if req.fetch == nil {
				promise <- &answer{request: req}
				continue
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case work <- toPrepare{req, promise}:
			}
		}
	})
	return group.Wait()
}

// prepare looks a file up and reads it, unless it is too large for that. No
// file is open when it returns.
func (s *Server) prepare(ctx context.Context, req request) *answer {
	a := &answer{request: req}
	a.err = s.cfg.Catalog.View(func(t *catalog.Tx) error {
		var err error
		a.at, a.seen = t.Position().Sequence, t.Version()
		a.item, err = t.Lookup(req.fetch.Path)
		return err
	})
	facts, have := &a.item.Facts, req.fetch.Have
	switch {
	case errors.Is(a.err, catalog.ErrNotFound):
		a.err = errGone
	case a.err != nil:
	case facts.Type != journal.TypeFile:
		a.err = errChanged
	case have.Known() && have == facts.Content:
		a.have = have
	case a.item.Missing:
		a.err = errNeverCame
	case req.fetch.Proof && !facts.Content.Known() && !s.cfg.Proving():
		a.err = errLater
	case s.cfg.Evacuating() && s.damaged.tries(req.fetch.Path) >= evacuationTries:
		a.err = errGivenUp
	case facts.Size <= prefetchSize || have.Known() && !facts.Content.Known():
		a.err = s.readAhead(ctx, a)
	}
	return a
}

// readAhead reads a content, keeps it if it is not too large, and compares it
// with the one that the mirror has.
func (s *Server) readAhead(ctx context.Context, a *answer) error {
	leave, err := s.besideFirstLook(ctx)
	if err != nil {
		return err
	}
	defer leave()
	src, err := s.openBulk(ctx, a.fetch.Path, a.item)
	if err != nil {
		return err
	}
	defer src.settle()
	in := &stoppable{ctx, src.reader()}
	var hasher *blake3.Hasher // of 10 KiB, and most contents are wanted and not compared
	if a.fetch.Have.Known() {
		hasher = blake3.New()
	}
	var data []byte
	size := a.item.Facts.Size
	if size > prefetchSize {
		size, err = io.CopyBuffer(hasher, in, make([]byte, pieceOfBulk))
	} else {
		data = s.buffers.lend(size)
		var n int
		if n, err = io.ReadFull(in, data); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil // it is shorter by now, and found out to be
		}
		data, size = data[:n], int64(n)
		if a.fetch.Have.Known() {
			_, _ = hasher.Write(data) // never fails
		}
	}
	if err != nil {
		return fmt.Errorf("read %q: %w", string(a.fetch.Path), err)
	}
	if a.fetch.Have.Known() {
		var id journal.ContentID
		hasher.Sum(id[:0])
		if id == a.fetch.Have && src.check(id, size) == nil {
			a.have = id
			if data != nil {
				s.buffers.takeBack(data)
			}
			return nil
		}
	}
	if data != nil {
		a.src, a.data = src, data
	}
	return nil
}

// besideFirstLook has contents read one at a time while the first look at the store
// goes on: only that finds what is of the most value, and where the array is what it
// waits for it must not wait for very many reads of other things. Where the array is
// about to be lost, contents are worth as much as names, and nothing is held back. It
// returns what to call when the content was read.
func (s *Server) besideFirstLook(ctx context.Context) (leave func(), err error) {
	if s.cfg.Evacuating() || s.cfg.Store().Reached == "" {
		return func() {}, nil
	}
	select {
	case s.beside <- struct{}{}:
		return func() { <-s.beside }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// stoppable is a reader that ends with a context, so that a session that is
// over does not go on reading.
type stoppable struct {
	ctx context.Context //nolint:containedctx // it is used for one copy
	r   io.Reader
}

// Read implements io.Reader.
func (s *stoppable) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(b)
}

// answer waits for one answer and sends it; entries that come up meanwhile
// go first.
func (s *sender) answer(promise chan *answer) error {
	select {
	case a := <-promise:
		return s.give(a)
	default: // it takes a while: what is ready need not wait for it
	}
	if err := s.flush(); err != nil {
		return err
	}
	for {
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
		case a := <-promise:
			return s.give(a)
		}
	}
}

// give sends an answer.
func (s *sender) give(a *answer) error {
	switch {
	case a.compare != nil:
		return s.answerCompare(a.compare)
	case a.survey != nil:
		return s.takeSurvey(a.survey)
	case a.fetch != nil:
		return s.answerFetch(a)
	case a.err != nil:
		return a.err
	}
	return s.giveActivity(a.activity)
}

// errPageFull ends the walk of a directory at the end of a page.
var errPageFull = errors.New("page full")

// answerCompare sends the listing of a directory, page by page. Each page is
// made from one snapshot of the catalog, and follows the entries up to it: of
// the names from its first to its last it says what there is at that place in
// the stream.
//
// Of a mailbox that the mirror was told of before the store was looked at as a
// whole there is a listing before that too, though a partial one.
func (s *sender) answerCompare(c *wire.CompareItem) error {
	if err := s.waitListable(c.Path); err != nil {
		return err
	}
	if err := s.saveLearned(); err != nil {
		return err
	}
	if err := s.flush(); err != nil { // the answers before this one
		return err
	}
	for from := ""; ; {
		page, err := s.sendPage(c, from)
		if err != nil || page.Last {
			return err
		}
		from = page.Items[len(page.Items)-1].Name + "\x00"
		if err := s.sendWaiting(); err != nil {
			return err
		}
	}
}

// sendPage sends one page of a listing.
func (s *sender) sendPage(c *wire.CompareItem, from string) (wire.Listing, error) {
	var page wire.Listing
	partial := !s.server.cfg.Store().Complete // before the catalog is looked at
	at, err := s.snapshot(func(t *catalog.Tx) error {
		var err error
		page, err = s.server.pageOf(t, c, from, partial)
		return err
	})
	if err != nil {
		return page, fmt.Errorf("list %q: %w", string(c.Path), err)
	}
	if err := s.sendUpTo(at); err != nil {
		return page, err
	}
	plain, err := wire.MarshalListing(page)
	if err != nil {
		return page, err
	}
	packed, err := s.entries.Compress(plain)
	if err != nil {
		return page, err
	}
	s.marked.outdated = true
	return page, s.send(wire.ListingMessage(packed, len(plain)))
}

// pageOf makes one page of a listing, of the names from from on; partial says that
// there may be others.
func (s *Server) pageOf(t *catalog.Tx, c *wire.CompareItem, from string, partial bool) (wire.Listing, error) {
	l := wire.Listing{Path: c.Path, Outcome: wire.OK, Last: true}
	item, err := t.Lookup(c.Path)
	switch {
	case errors.Is(err, catalog.ErrNotFound), err == nil && item.Facts.Type != journal.TypeDirectory:
		l.Outcome = wire.Gone
		return l, nil
	case err != nil:
		return l, err
	case from == "" && item.Digest == c.Digest:
		l.Outcome = wire.Same
		return l, nil
	}
	l.Facts, l.Partial = item.Facts, partial || s.cfg.Unseen(c.Path, item.Observed)
	size := 0
	err = t.List(c.Path, from, func(name string, it catalog.Item) error {
		if len(l.Items) == wire.MaxListingItems || size >= maxPage {
			l.Last = false
			return errPageFull
		}
		if c.Since != 0 && (it.Facts.Type != journal.TypeFile || it.Facts.Attr.MTime < c.Since) {
			return nil
		}
		size += fixedSize + len(name) + factsSize(&it.Facts)
		item := wire.Item{Name: name, Facts: it.Facts, Link: it.Link, Turn: s.cfg.Order.turn(&it)}
		if c.Digest != (catalog.Digest{}) { // else the mirror has nothing there
			item.Digest = it.Digest
		}
		l.Items = append(l.Items, item)
		return nil
	})
	if errors.Is(err, errPageFull) {
		err = nil
	}
	return l, err
}

// waitListable waits until a directory may be listed. A survey is answered meanwhile:
// it may have been asked for before, and its answer is what makes a listing possible early.
func (s *sender) waitListable(p journal.Path) error {
	for !s.listable(p) {
		if err := s.flush(); err != nil { // what was asked for before
			return err
		}
		if err := s.wait(nil); err != nil {
			return err
		}
		if err := s.answerSurvey(); err != nil {
			return err
		}
		if err := s.sendWaiting(); err != nil {
			return err
		}
	}
	return nil
}

// listable reports whether a directory may be listed now: the store was looked at
// as a whole once, for before, what is not in the catalog is not known to be absent;
// or the mirror is to compare the whole store later anyway.
func (s *sender) listable(p journal.Path) bool {
	store := s.server.cfg.Store()
	return store.Complete || s.survey.early && p != journal.Root && store.Reached != ""
}

// answerFetch sends a content, if the catalog still knows the file as it was
// when it was read.
func (s *sender) answerFetch(a *answer) error {
	end := wire.ContentEnd{Outcome: wire.OK}
	var err error
	switch {
	case a.err != nil:
		end.Outcome = s.failed(a.fetch.Path, a.err)
	case a.have.Known():
		end.Outcome, end.Facts.Content = wire.Same, a.have
		s.server.damaged.remove(a.fetch.Path)
		err = s.learn(a.fetch.Path, a.item, a.have)
	case a.src != nil:
		end.Facts.Content, end.Outcome, err = s.transfer(a.fetch.Transfer, a.src, func(emit func(content.Piece) error) (content.Result, error) {
			return s.bulk.EncodeBytes(a.data, a.fetch.Plain, emit)
		})
		s.batch.lent = append(s.batch.lent, a.data)
	default:
		end.Facts.Content, end.Outcome, err = s.sendLarge(a)
	}
	if err != nil {
		return err
	}
	return s.closeFetch(a, end)
}

// sendLarge sends a content while it is read; entries go between its pieces.
func (s *sender) sendLarge(a *answer) (journal.ContentID, wire.Outcome, error) {
	var src *source
	var failure error
	if err := s.await(func() {
		if src, failure = s.server.openItem(a.fetch.Path, a.item); failure == nil {
			failure = s.server.kindly(s.ctx, src)
		}
	}); err != nil {
		return journal.ContentID{}, 0, err
	}
	if failure != nil {
		return journal.ContentID{}, s.failed(a.fetch.Path, failure), nil
	}
	defer src.settle()
	r := &patientReader{s: s, r: src.reader(), between: s.bulk}
	return s.transfer(a.fetch.Transfer, src, func(emit func(content.Piece) error) (content.Result, error) {
		res, err := s.bulk.Encode(r, a.fetch.Plain, emit)
		return res, cmp.Or(r.over, err)
	})
}

// closeFetch ends a transfer at a place in the stream where the catalog says
// of the file what it said when it was read; else the file has changed, and
// the entries that say how are on their way.
func (s *sender) closeFetch(a *answer, end wire.ContentEnd) error {
	now, at, found, err := s.lookAgain(a)
	good := end.Outcome == wire.OK || end.Outcome == wire.Same
	switch {
	case err != nil:
		return fmt.Errorf("look up %q: %w", string(a.fetch.Path), err)
	case !found:
		end = wire.ContentEnd{Outcome: wire.Gone}
	case end.Outcome == wire.Gone, good && !still(now, a.item, end.Facts.Content):
		// The entry that says what became of it is still to come.
		end = wire.ContentEnd{Outcome: wire.Changed}
	case good:
		id := end.Facts.Content
		end.Facts, end.Link = now.Facts, now.Link
		end.Facts.Content = id
	}
	if err := s.sendUpTo(at); err != nil {
		return err
	}
	s.endTransfer(a.fetch.Transfer, end)
	s.marked.outdated = true
	if s.batch.full(s.stride) {
		return s.flush()
	}
	return nil
}

// lookAgain looks up what the catalog says now of the file of an answer, and at
// which place in the journal.
func (s *sender) lookAgain(a *answer) (now catalog.Item, at journal.Sequence, found bool, err error) {
	if a.item.Facts.Type == journal.TypeFile && a.at >= s.last.Sequence && a.seen == s.server.cfg.Catalog.Version() {
		return a.item, a.at, true, nil // nothing has changed since it was prepared
	}
	at, err = s.snapshot(func(t *catalog.Tx) error {
		var err error
		now, err = t.Lookup(a.fetch.Path)
		if found = !errors.Is(err, catalog.ErrNotFound); !found {
			return nil
		}
		return err
	})
	return now, at, found, err
}

// still reports whether the catalog knows the file as it was when it was read
// with the content id.
func still(now, then catalog.Item, id journal.ContentID) bool {
	return now.Stamp.SameInode(then.Stamp) && now.Facts.Size == then.Facts.Size &&
		now.Facts.Attr.MTime == then.Facts.Attr.MTime &&
		(!now.Facts.Content.Known() || now.Facts.Content == id)
}
