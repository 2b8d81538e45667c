package primary

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/content"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// model is the simplest mirror there can be: it applies what comes when it
// comes, to a catalog and a map of contents. It lives in Send, so the sender
// is its only goroutine.
type model struct {
	stream  *fakeStream
	catalog *catalog.Catalog
	blobs   map[journal.ContentID][]byte
	forget  func(journal.ContentID) bool // contents that it loses

	window   *content.Received
	entries  *content.StreamDecompressor
	open     map[uint64]*transfer
	ended    map[uint64]*transfer
	compares []compared
	fetches  map[uint64]journal.Path
	order    []uint64 // of the fetches
	number   uint64
	at       journal.Position
	kinds    map[journal.Kind]int
	outcomes map[wire.Outcome]int
	between  int // entries that came while a fetched content was half sent
	ahead    int // entries whose content came before them
	runs     int
	mark     *wire.Mark       // not looked at yet
	theirs   *catalog.Catalog // for what differs

	mu      sync.Mutex
	proven  journal.Sequence
	proofs  int
	failure error
}

type compared struct {
	path journal.Path
	from string
}

type transfer struct {
	data    bytes.Buffer
	decoder *content.Decoder
	end     wire.ContentEnd
	lost    bool
}

func newModel(p *primaryStore) *model {
	m := &model{
		catalog: openCatalog(p.t), theirs: p.catalog, blobs: make(map[journal.ContentID][]byte), forget: func(journal.ContentID) bool { return false },
		fetches: make(map[uint64]journal.Path), kinds: make(map[journal.Kind]int), outcomes: make(map[wire.Outcome]int),
	}
	return m
}

// connect begins a stream: it says hello and grants credit.
func (m *model) connect(ctx context.Context, whole bool) *fakeStream {
	m.window = content.NewReceived(wire.ChunkWindow, content.DefaultCache)
	m.entries, _ = content.NewStreamDecompressor(wire.MaxEntriesSize)
	m.open, m.ended = make(map[uint64]*transfer), make(map[uint64]*transfer)
	m.mu.Lock()
	m.proofs = 0
	m.mu.Unlock()
	m.mark, m.compares, m.fetches, m.order = nil, nil, make(map[uint64]journal.Path), nil
	m.stream = newStream(ctx, m.take)
	m.stream.say(wire.Hello(wire.HelloMessage{Name: "mx2", Position: m.at, Whole: whole}))
	m.stream.say(credit(1<<20, 200))
	return m.stream
}

// take acts on a message of the primary.
func (m *model) take(r *pb.ReplicateResponse) error {
	err := m.act(r)
	if err == nil {
		err = m.check()
	}
	if err != nil {
		m.mu.Lock()
		m.failure = errors.Join(m.failure, err)
		m.mu.Unlock()
	}
	return err
}

func (m *model) act(r *pb.ReplicateResponse) error {
	switch {
	case r.GetWelcome() != nil:
		w, err := wire.ParseWelcome(r.GetWelcome())
		if err != nil {
			return err
		}
		m.at = w.Position
		if w.Resync != "" {
			return m.compare(journal.Root)
		}
		return nil
	case r.GetBatch() != nil:
		return m.batch(r.GetBatch())
	case r.GetListing() != nil:
		plain, err := m.entries.Decompress(r.GetListing().GetListing(), int(r.GetListing().GetSize()))
		if err != nil {
			return err
		}
		l, err := wire.UnmarshalListing(plain)
		if err != nil {
			return err
		}
		return m.listing(&l)
	}
	m.stream.say(wire.ReportMessage(wire.Report{State: "following", Applied: m.at.Sequence}))
	beat, err := wire.ParseHeartbeat(r.GetHeartbeat())
	if beat.Mark != nil {
		m.mark = beat.Mark
	}
	return err
}

func (m *model) compare(p journal.Path) error {
	item := wire.CompareItem{Path: p}
	err := m.catalog.View(func(t *catalog.Tx) error {
		it, err := t.Lookup(p)
		item.Digest = it.Digest
		return err
	})
	if err != nil && !errors.Is(err, catalog.ErrNotFound) {
		return err
	}
	m.compares = append(m.compares, compared{path: p})
	m.stream.say(wire.Compare([]wire.CompareItem{item}))
	return nil
}

func (m *model) fetch(p journal.Path, have journal.ContentID, plain bool) {
	m.number++
	m.fetches[m.number] = p
	m.order = append(m.order, m.number)
	m.stream.say(wire.Fetch([]wire.FetchItem{{Transfer: m.number, Path: p, Have: have, Plain: plain}}))
}

func (m *model) batch(b *pb.Batch) error {
	for _, c := range b.GetContents() {
		if err := m.content(c); err != nil {
			return err
		}
	}
	count := 0
	if b.GetEntriesSize() > 0 {
		plain, err := m.entries.Decompress(b.GetEntries(), int(b.GetEntriesSize()))
		if err != nil {
			return err
		}
		entries, err := wire.UnmarshalEntries(plain)
		if err != nil {
			return err
		}
		count = len(entries.Entries)
		for n := range m.open {
			if n < wire.PrimaryTransfer {
				m.between += count
			}
		}
		for i := range entries.Entries {
			if seq := entries.First + journal.Sequence(i); seq != m.at.Sequence+1 {
				return fmt.Errorf("entry %d came, %d is next", seq, m.at.Sequence+1)
			}
			m.at.Sequence++
			if err := m.entry(&entries.Entries[i]); err != nil {
				return err
			}
		}
		if len(m.ended) > 0 {
			clear(m.ended) // of entries whose outcome was not OK after all
		}
		m.at = entries.Last
		m.stream.say(acknowledgement(m.at.Sequence))
	}
	bytes, entries := wire.Cost(b, count)
	m.stream.say(credit(uint64(bytes), uint64(entries)))
	return nil
}

// content takes what a batch has of a transfer.
func (m *model) content(c *pb.Content) error {
	n := c.GetTransfer()
	tr := m.open[n]
	if tr == nil {
		tr = &transfer{}
		tr.decoder = content.NewDecoder(m.window, nil)
		m.open[n] = tr
	}
	for _, p := range c.GetPieces() {
		piece := wire.ParsePiece(p)
		if piece.Run.Count > 0 {
			m.runs++
		}
		if err := tr.decoder.Write(piece, &tr.data); errors.Is(err, content.ErrChunkLost) {
			tr.lost = true
		} else if err != nil {
			return err
		}
	}
	if c.GetEnd() == nil {
		return nil
	}
	delete(m.open, n)
	var err error
	if tr.end, err = wire.ParseContentEnd(c.GetEnd()); err != nil {
		return err
	}
	if tr.end.Outcome == wire.OK && !tr.lost && tr.decoder.Sum() != tr.end.Facts.Content {
		return fmt.Errorf("transfer %x: the bytes are not those of its content id", n)
	}
	if n >= wire.PrimaryTransfer {
		m.ended[n] = tr
		return nil
	}
	return m.answer(n, tr)
}

// answer takes a content that was asked for.
func (m *model) answer(n uint64, tr *transfer) error {
	path, asked := m.fetches[n]
	if !asked || m.order[0] != n {
		return fmt.Errorf("transfer %d was not asked for now", n)
	}
	delete(m.fetches, n)
	m.order = m.order[1:]
	m.outcomes[tr.end.Outcome]++
	m.mark = nil // another one follows
	switch {
	case tr.lost:
		m.fetch(path, journal.ContentID{}, true)
		return nil
	case tr.end.Outcome == wire.OK:
		m.blobs[tr.end.Facts.Content] = tr.data.Bytes()
	case tr.end.Outcome == wire.Gone:
		return nil
	}
	return m.catalog.Update(func(t *catalog.Tx) error {
		if tr.end.Outcome == wire.Changed || tr.end.Outcome == wire.Unreadable {
			// What it is now is still to come; a move may come first.
			if _, err := t.Lookup(path); !errors.Is(err, catalog.ErrNotFound) {
				return err
			}
			return t.Put(path, catalog.Item{Facts: journal.Facts{Type: journal.TypeFile}, Missing: true})
		}
		return t.Put(path, catalog.Item{Facts: tr.end.Facts})
	})
}

// entry applies an entry.
func (m *model) entry(e *wire.Entry) error {
	m.kinds[e.Kind]++
	tr := m.ended[e.Transfer]
	if e.Transfer&aheadTransfer == aheadTransfer {
		m.ahead++
	}
	delete(m.ended, e.Transfer)
	missing := false
	if e.Kind == journal.KindPut {
		missing = !m.provide(e, tr)
	}
	again := journal.Path("")
	err := m.catalog.Update(func(t *catalog.Tx) error {
		if e.From != "" {
			from, err := t.Lookup(e.From)
			if errors.Is(err, catalog.ErrNotFound) {
				again = e.Path
				return nil
			}
			if err != nil {
				return err
			}
			e.Facts = from.Facts
		}
		if e.Kind == journal.KindSetAttributes {
			// Of a file that is still to come nothing else is known.
			_, err := t.Lookup(e.Path)
			missing = errors.Is(err, catalog.ErrNotFound)
		}
		if missing {
			facts := e.Facts
			facts.Type = journal.TypeFile
			return t.Put(e.Path, catalog.Item{Facts: facts, Missing: true})
		}
		return t.Apply(&e.Entry)
	})
	switch {
	case err != nil:
		return err
	case e.Kind == journal.KindMoveDir && m.busy():
		return m.compare(e.Path)
	case again != "":
		m.fetch(again, journal.ContentID{}, false)
	case missing && e.Kind == journal.KindPut:
		m.fetch(e.Path, journal.ContentID{}, tr != nil && tr.lost)
	}
	return nil
}

// provide finds the content of a new file.
func (m *model) provide(e *wire.Entry, tr *transfer) bool {
	id := e.Facts.Content
	var data []byte
	switch {
	case e.Outcome != wire.OK:
		m.outcomes[e.Outcome]++
		return false
	case e.Transfer != 0:
		data = tr.data.Bytes()
	case e.Held != nil:
		data = append(append(data, m.blobs[e.Held.Base][:min(int(e.Held.Keep), len(m.blobs[e.Held.Base]))]...), e.Held.Data...)
	case e.Facts.Size == 0:
	default:
		data = m.blobs[id]
	}
	if contentID(data) != id {
		return false
	}
	if !m.forget(id) {
		m.blobs[id] = bytes.Clone(data)
	}
	return true
}

// listing takes one page.
func (m *model) listing(l *wire.Listing) error {
	if len(m.compares) == 0 || m.compares[0].path != l.Path {
		return fmt.Errorf("a listing of %q was not asked for now", l.Path)
	}
	c := &m.compares[0]
	var dirs []journal.Path
	if l.Outcome == wire.OK {
		err := m.catalog.Update(func(t *catalog.Tx) error {
			var err error
			dirs, err = m.page(t, c, l)
			return err
		})
		if err != nil {
			return err
		}
		if len(l.Items) > 0 {
			c.from = l.Items[len(l.Items)-1].Name + "\x00"
		}
	}
	if l.Last {
		m.compares = m.compares[1:]
	}
	for _, d := range dirs {
		if err := m.compare(d); err != nil {
			return err
		}
	}
	return nil
}

// page makes the names of a page what they are on the primary.
func (m *model) page(t *catalog.Tx, c *compared, l *wire.Listing) (dirs []journal.Path, err error) {
	theirs := make(map[string]wire.Item)
	end := ""
	for _, it := range l.Items {
		theirs[it.Name], end = it, it.Name
	}
	var gone []journal.Path
	errEnd := errors.New("end")
	err = t.List(l.Path, c.from, func(name string, it catalog.Item) error {
		if !l.Last && name > end {
			return errEnd
		}
		if _, there := theirs[name]; !there {
			gone = append(gone, l.Path.Join(name))
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnd) && !errors.Is(err, catalog.ErrNotFound) {
		return nil, err
	}
	for _, p := range gone {
		if err := t.Remove(p); err != nil {
			return nil, err
		}
	}
	if err := t.Apply(&journal.Entry{Kind: journal.KindMakeDir, Path: l.Path, Facts: l.Facts}); err != nil {
		return nil, err
	}
	for _, it := range l.Items {
		p := l.Path.Join(it.Name)
		ours, err := t.Lookup(p)
		if err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return nil, err
		}
		switch {
		case it.Facts.Type == journal.TypeDirectory:
			if err := t.Apply(&journal.Entry{Kind: journal.KindMakeDir, Path: p, Facts: it.Facts}); err != nil {
				return nil, err
			}
			if ours.Digest != it.Digest || it.Digest == (catalog.Digest{}) {
				dirs = append(dirs, p)
			}
		case it.Facts.Type == journal.TypeSymlink:
			if err := t.Put(p, catalog.Item{Facts: it.Facts}); err != nil {
				return nil, err
			}
		case ours.Missing || !ours.Facts.Content.Known() || ours.Facts.Content != it.Facts.Content:
			have := ours.Facts.Content
			if it.Facts.Content.Known() {
				have = journal.ContentID{}
			}
			m.fetch(p, have, false)
		default:
			if err := t.Put(p, catalog.Item{Facts: it.Facts}); err != nil {
				return nil, err
			}
		}
	}
	return dirs, nil
}

func (m *model) busy() bool { return len(m.compares)+len(m.fetches) > 0 }

// check proves the model equal once it waits for nothing, if no entry came
// since the last mark.
func (m *model) check() error {
	mark := m.mark
	if mark == nil || m.busy() || mark.Sequence < m.at.Sequence {
		return nil
	}
	m.mark = nil
	if mark.Sequence > m.at.Sequence {
		return fmt.Errorf("a mark of %d at %d", mark.Sequence, m.at.Sequence)
	}
	var ours catalog.Digest
	var missing []journal.Path
	if err := m.catalog.View(func(t *catalog.Tx) error {
		ours = t.Digest()
		var err error
		missing, err = t.Missing(100)
		return err
	}); err != nil {
		return err
	}
	for _, p := range missing { // a later entry may have moved it away from where it was asked for
		m.fetch(p, journal.ContentID{}, false)
	}
	if len(missing) > 0 {
		m.mark = mark
		return nil
	}
	if ours != catalog.Digest(mark.Digest) {
		n, list := m.differences()
		return fmt.Errorf("%w at %d in %d names, as %v", errUnequal, mark.Sequence, n, list)
	}
	m.mu.Lock()
	m.proven, m.proofs = mark.Sequence, m.proofs+1
	m.mu.Unlock()
	return nil
}

var errUnequal = errors.New("the stores differ")

// provenAt returns up to where the model was proven equal, and what went wrong.
func (m *model) provenAt() (journal.Sequence, int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.proven, m.proofs, m.failure
}
