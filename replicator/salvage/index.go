package salvage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// maxTail bounds the changes that are held in memory while a salvage goes on.
const maxTail = 64 << 10

// index answers what the primary has of a message, and what became of it since
// it is primary. Questions come in the order of the bases.
type index struct {
	cfg      *ServerConfig
	past     *past
	groups   *groups
	current  group
	done     bool
	tail     map[string][]event // of what happens meanwhile, by base
	tailSize int
	reader   *journal.Reader
	complete bool // the journal reaches back to the start of the reign
	whole    bool // nothing that is known here lacks its content, or has one that is only a guess
}

// newIndex reads the journal since the start of the reign.
func newIndex(ctx context.Context, cfg *ServerConfig, l *ledger) (*index, error) {
	x := &index{cfg: cfg, tail: make(map[string][]event), complete: !cfg.Reign.Guess}
	x.past = &past{rules: cfg.Rules, sort: newSorter(cfg.Dir)}
	err := x.load(ctx, l)
	if err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

func (x *index) load(ctx context.Context, l *ledger) error {
	if l == nil {
		return x.loadJournal(ctx)
	}
	if err := l.each(func(d delivery) error {
		return x.past.sort.add(d.base, (&event{kind: eventDelivered, path: d.mailbox}).encode())
	}); err != nil {
		return err
	}
	return x.loadJournal(ctx)
}

func (x *index) loadJournal(ctx context.Context) error {
	if err := x.cfg.Catalog.View(func(t *catalog.Tx) error {
		totals := t.Totals()
		x.whole = totals.Missing == 0 && totals.Guessed == 0
		return nil
	}); err != nil {
		return err
	}
	after := x.cfg.Reign.Start.Sequence
	if start := x.cfg.Journal.Start().Sequence; start > after {
		after, x.complete = start, false
	}
	after, err := x.past.read(ctx, x.cfg.Journal, after)
	if err != nil {
		return err
	}
	if x.reader, err = x.cfg.Journal.Read(after); err != nil {
		return err
	}
	if x.groups, err = x.past.groups(); err != nil {
		return err
	}
	return x.advance()
}

func (x *index) close() {
	if x.reader != nil {
		_ = x.reader.Close()
	}
	x.past.sort.close()
}

// advance goes to the next base that something happened to.
func (x *index) advance() (err error) {
	x.current, err = x.groups.next()
	if errors.Is(err, io.EOF) {
		x.done, err = true, nil
	}
	return err
}

// follow takes what was journaled in the meantime.
func (x *index) follow() error {
	for {
		rec, more, err := x.reader.TryNext()
		if err != nil || !more {
			return err
		}
		events, err := x.past.eventsOf(rec)
		if err != nil {
			return err
		}
		for _, e := range events {
			base, message := x.past.base(e.path)
			if !message {
				continue
			}
			if x.tailSize++; x.tailSize > maxTail {
				return fmt.Errorf("%w: more than %d changes while the salvage goes on; begin again", errTooMany, maxTail)
			}
			x.tail[base] = append(x.tail[base], e)
		}
	}
}

// life returns what became of a base.
func (x *index) life(base string) (life, error) {
	if err := x.follow(); err != nil {
		return life{}, err
	}
	for !x.done && x.current.base < base {
		if err := x.advance(); err != nil {
			return life{}, err
		}
	}
	g := group{base: base}
	if !x.done && x.current.base == base {
		g.events, g.reflagged = slices.Clone(x.current.events), x.current.reflagged
	}
	for _, e := range x.tail[base] {
		if err := g.add(x.past, e); err != nil {
			return life{}, err
		}
	}
	return x.past.life(g), nil
}

// answer says what the primary has of a message. The catalog is asked first:
// what is not in it any more is in the journal by then.
func (x *index) answer(ctx context.Context, o *wire.Offer) (wire.Answer, error) {
	places, err := x.places(o)
	if err != nil {
		return wire.Answer{}, err
	}
	life, err := x.life(o.Base)
	if err != nil {
		return wire.Answer{}, err
	}
	a, err := x.judge(ctx, o, places, life)
	if err == nil && a.Verdict != wire.VerdictHave {
		_, err = x.content(o.Content, func(p journal.Path, _ catalog.Item) bool {
			a.ContentHere = true
			return false
		})
	}
	return a, err
}

// place is where a message is.
type place struct {
	path journal.Path
	item catalog.Item
}

// places returns where the message is in its mailbox, and in that which it was
// in before, as far as it is there.
func (x *index) places(o *wire.Offer) (found []place, err error) {
	mailboxes := []journal.Path{o.Mailbox}
	if o.WasIn != "" && o.WasIn != o.Mailbox {
		mailboxes = append(mailboxes, o.WasIn)
	}
	if o.Origin == wire.OriginRemoved {
		mailboxes = []journal.Path{o.WasIn}
	}
	for _, m := range mailboxes {
		here := x.past.now(m)
		if here == "" {
			continue
		}
		p, err := findMessage(x.cfg.Catalog, x.cfg.Rules, here, o.Base)
		if err != nil {
			return nil, err
		}
		if p != nil && !p.item.Missing {
			found = append(found, *p)
		}
	}
	return found, nil
}

// findMessage looks a message up in its mailbox; nil if it is not there. One
// that has its content is preferred to one that has not.
func findMessage(c *catalog.Catalog, rules Rules, mailbox journal.Path, base string) (found *place, err error) {
	err = c.View(func(t *catalog.Tx) error {
		for _, sub := range []string{"cur", "new"} {
			dir := mailbox.Join(sub)
			take := func(name string, it catalog.Item) error {
				if it.Facts.Type == journal.TypeFile && rules.Base(name) == base && (found == nil || found.item.Missing) {
					found = &place{dir.Join(name), it}
				}
				return nil
			}
			it, err := t.Lookup(dir.Join(base))
			if err == nil {
				err = take(base, it)
			}
			if err != nil && !errors.Is(err, catalog.ErrNotFound) {
				return err
			}
			if err := t.ListPrefix(dir, base+":", take); err != nil && !errors.Is(err, catalog.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	return found, err
}

// judge finds the verdict.
func (x *index) judge(ctx context.Context, o *wire.Offer, places []place, life life) (wire.Answer, error) {
	if slices.ContainsFunc(offeredIn(o), func(p journal.Path) bool { return slices.Contains(life.delivered, p) }) {
		return wire.Answer{Verdict: wire.VerdictDelivered}, nil
	}
	if len(places) > 0 {
		return x.have(ctx, o, places[0], life)
	}
	if a, known := x.trace(o, life); known {
		return a, nil
	}
	if a, found, err := x.alike(o); found || err != nil {
		return a, err
	}
	if !x.complete && o.Origin != wire.OriginNew {
		return wire.Answer{Verdict: wire.VerdictDoubt}, nil
	}
	return wire.Answer{Verdict: wire.VerdictWanted}, nil
}

// have says that a message is there.
func (x *index) have(ctx context.Context, o *wire.Offer, p place, life life) (wire.Answer, error) {
	other, unreadable, err := x.differs(ctx, o, &p)
	if err != nil {
		return wire.Answer{}, err
	}
	if (other || unreadable) && o.Origin == wire.OriginNew {
		return wire.Answer{Verdict: wire.VerdictTaken, Unreadable: unreadable}, nil
	}
	flags, err := x.flags(p.path)
	// Where it is known how the message was, looking at it is no change; but
	// flags that were changed back were changed.
	touched := life.reflagged
	if o.Origin == wire.OriginUnknown {
		touched = !x.complete || len(life.lines) > 0
	}
	a := wire.Answer{Verdict: wire.VerdictHave, Flags: flags, Touched: touched, OtherContent: other, Unreadable: unreadable}
	if is := mailboxOf(p.path); is != x.past.now(o.Mailbox) {
		a.OtherMailbox = is
	}
	return a, err
}

// differs reports whether what is there has another content than was offered, or one
// that cannot be read, so that nobody can tell. It is not asked of a message that this
// primary had, content and all, when it began. What nobody has read here yet is read
// now, with leave: a copy that a mirror was made from may have been damaged, and is not
// taken for the message by its name.
func (x *index) differs(ctx context.Context, o *wire.Offer, p *place) (other, unreadable bool, err error) {
	if o.Origin != wire.OriginNew && o.Origin != wire.OriginUnknown {
		return false, false, nil
	}
	id := p.item.Facts.Content
	if !id.Known() {
		id = p.item.Guess
	}
	if !id.Known() {
		if id, err = x.read(ctx, p.path); err != nil && ctx.Err() == nil {
			x.cfg.Log.Warn("cannot tell whether a message is the one that is offered", "path", string(p.path), "error", err)
			return false, true, nil
		}
	}
	return err == nil && id != o.Content, false, err
}

// read reads a message, a piece with each leave.
func (x *index) read(ctx context.Context, p journal.Path) (id journal.ContentID, err error) {
	file, err := openPath(x.cfg.Root, p)
	if err != nil {
		return id, err
	}
	defer func() { _ = file.Close() }()
	return hashOf(bufio.NewReaderSize(&paced{ctx: ctx, pace: x.cfg.Pace, r: file}, piece))
}

// piece is how much is read with one leave.
const piece = 128 << 10

// paced reads with leave.
type paced struct {
	ctx  context.Context
	pace Pace
	r    io.Reader
}

// Read implements io.Reader.
func (p *paced) Read(b []byte) (int, error) {
	done, err := p.pace.Read(p.ctx, int64(len(b)))
	if err != nil {
		return 0, err
	}
	defer done(true)
	return p.r.Read(b)
}

// flags returns the flags of a message by its name.
func (x *index) flags(p journal.Path) (mailstore.Flags, error) {
	mailbox, sub, name, _ := mailstore.Split(p)
	table, err := keywordsOf(x.cfg.Root, mailbox)
	if err != nil {
		return mailstore.Flags{}, err
	}
	f, _ := mailstore.ParseFlags(sub, name, &table)
	return f, nil
}

// trace says what became of a message that is not there.
func (x *index) trace(o *wire.Offer, life life) (wire.Answer, bool) {
	was := o.Mailbox
	if o.WasIn != "" {
		was = o.WasIn
	}
	began := []journal.Path{was}
	if o.Origin == wire.OriginUnknown {
		began = offeredIn(o)
	}
	for _, l := range life.lines {
		switch {
		case l.origin != "" && (o.Origin == wire.OriginNew || !slices.Contains(began, mailboxOf(l.origin))),
			l.origin == "" && (l.path != "" || !x.isNow(offeredIn(o), mailboxOf(l.last))):
		case l.path == "":
			return wire.Answer{Verdict: wire.VerdictExpunged}, true
		case !x.isNow(began, mailboxOf(l.path)):
			return wire.Answer{Verdict: wire.VerdictElsewhere, OtherMailbox: mailboxOf(l.path)}, true
		}
	}
	if o.Origin == wire.OriginRemoved || o.Origin != wire.OriginNew && x.past.now(was) == "" {
		return wire.Answer{Verdict: wire.VerdictExpunged}, true
	}
	return wire.Answer{}, false
}

// offeredIn returns the mailboxes in which an offered message was, as far as that
// can be told from the journal here. One that was renamed, nobody knows when, may
// have been in either when this primary began, or when it was salvaged before.
func offeredIn(o *wire.Offer) []journal.Path {
	if o.Origin == wire.OriginUnknown && o.WasIn != "" {
		return []journal.Path{o.Mailbox, o.WasIn}
	}
	return []journal.Path{o.Mailbox}
}

// isNow reports whether a mailbox is one of those that had these names when this
// primary began.
func (x *index) isNow(then []journal.Path, mailbox journal.Path) bool {
	return slices.ContainsFunc(then, func(p journal.Path) bool { return x.past.now(p) == mailbox })
}

// alike looks for a message that may be the same one: of the same base and
// content in another mailbox, if it is not known that this one is new; or of
// the same content in the same mailbox. The other node decides, for it can
// tell whether it has that one too.
func (x *index) alike(o *wire.Offer) (wire.Answer, bool, error) {
	here := x.past.now(o.Mailbox)
	a := wire.Answer{}
	found, err := x.content(o.Content, func(p journal.Path, _ catalog.Item) bool {
		mailbox, _, name, ok := mailstore.Split(p)
		base := x.cfg.Rules.Base(name)
		switch {
		case !ok:
		case base == o.Base && mailbox != here && o.Origin == wire.OriginUnknown:
			a = wire.Answer{Verdict: wire.VerdictElsewhere, OtherMailbox: mailbox}
			return false
		case base != o.Base && mailbox == here && len(a.OtherBases) < wire.MaxOtherBases:
			a.Verdict = wire.VerdictSameContent
			a.OtherBases = append(a.OtherBases, base)
		}
		return true
	})
	return a, found && a.Verdict != 0, err
}

// content calls f with files that have a content, until it returns false. It
// reports whether there was any.
func (x *index) content(id journal.ContentID, f func(journal.Path, catalog.Item) bool) (found bool, err error) {
	if !id.Known() {
		return false, nil
	}
	err = x.cfg.Catalog.View(func(t *catalog.Tx) error {
		paths, err := t.FindContent(id)
		if err != nil {
			return err
		}
		for _, p := range paths {
			it, err := t.Lookup(p)
			if err != nil {
				return err
			}
			found = true
			if !f(p, it) {
				return nil
			}
		}
		return nil
	})
	return found, err
}
