package salvage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/zeebo/blake3"
	"google.golang.org/grpc"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/content"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// Config is what a salvage is made of.
type Config struct {
	Name    string
	Root    *beneath.Root
	Catalog *catalog.Catalog // as the own journal left it
	Journal *journal.Log     // the own one; nil if it cannot be had
	Rules   Rules
	Log     hclog.Logger
	Now     func() time.Time
	// Epoch is the highest known: the new primary's is no lower.
	Epoch journal.Epoch
	// Reign is the epoch in which this node was primary last; the history is
	// kept under it.
	Reign journal.Epoch
	// Dir is a directory of the node's own for sorting. It is made if need be.
	Dir string
	// LookOnly changes nothing, on neither side.
	LookOnly bool
	Subjects bool // tell them
	// Again says that a rejoin to another primary has begun since this node was primary
	// last: what that delivered is on that one, and what it took stock of is in the
	// catalog, and in no journal.
	Again bool
	// Begin is called before anything is delivered, and not with LookOnly; an error ends
	// it. nil: nobody needs to know.
	Begin func() error
	// Seen gets what is found and was not in the catalog, for taking stock behind the
	// salvage. nil: nothing is taken stock of.
	Seen *Seen
	// Report is told what became of each message, in an order of no meaning. It
	// has to return before the salvage goes on; an error ends it.
	Report func(Line) error
}

// errChanging says that somebody writes into the store.
var errChanging = errors.New("the store changes while its mail is salvaged")

// changing is that error, with what to do.
func changing(format string, args ...any) error {
	return hint.Add(fmt.Errorf("%w: %s", errChanging, fmt.Sprintf(format, args...)),
		"stop the mail server on this node, and run the command again")
}

// salvager is one salvage, on the fenced node.
type salvager struct {
	cfg     Config
	link    *link
	past    *past
	history *history
	encoder *content.Compressor
	summary Summary
	batch   []*candidate
	matched map[string]bool // messages of the new primary that were taken for one here
	left    map[string]bool // messages that the journal says are gone from their mailboxes
	whole   time.Time       // when all that was in the store was in the catalog; zero: not known
	changed uint64          // messages that changed under our eyes
	// between says that another node was primary between this one and the new primary:
	// what was removed and changed in that time is written down nowhere. With Again it is
	// so also where the new primary has nothing of the other one's.
	between bool
}

// maxMatched bounds what is remembered of those; more are delivered.
const maxMatched = 64 << 10

// candidate is a message that the new primary is asked for.
type candidate struct {
	offer  wire.Offer
	path   journal.Path // here; "" if it was removed
	change Change
	line   Line
	keep   bool // in the history
	old    bool // it had gone from here, and has come back, as with a backup
	action wire.Action
}

// Run hands over to the new primary what only this node has. It may be ended
// at any moment and done again, also with another primary if Again says so: nothing
// is delivered twice. When it returns
// nil, all that this node has and may lose is durable on the new primary or in
// the history here; with LookOnly, nothing has changed anywhere.
//
// The mail server must not run on the store; if something changes in it
// meanwhile, Run says so at its end.
func Run(ctx context.Context, cfg Config, conn grpc.ClientConnInterface) (Summary, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &salvager{
		cfg: cfg, history: &history{root: cfg.Root, epoch: cfg.Reign},
		encoder: content.NewCompressor(cfg.Now), matched: make(map[string]bool),
	}
	s.summary.LookOnly, s.summary.Outcomes = cfg.LookOnly, make(map[Outcome]uint64)
	link, welcome, err := greet(ctx, cfg, conn)
	if err != nil {
		return s.summary, err
	}
	s.link, s.summary.Primary = link, welcome.Name
	s.parted(&welcome)
	if err := s.find(ctx, welcome); err != nil {
		return s.summary, fmt.Errorf("find what was not replicated: %w", err)
	}
	defer s.past.sort.close()
	if !cfg.LookOnly && cfg.Begin != nil {
		if err := cfg.Begin(); err != nil {
			return s.summary, err
		}
	}
	if err := s.each(ctx); err != nil {
		return s.summary, err
	}
	if err := s.link.end(); err != nil {
		return s.summary, err
	}
	if s.history.kept > 0 {
		s.summary.History = string(mailstore.History(cfg.Reign))
	}
	if s.changed > 0 {
		return s.summary, changing("%d messages", s.changed)
	}
	return s.summary, nil
}

// parted finds out whether another node was primary in between, and from where the one
// began that came next after this one, if the new primary knows that.
func (s *salvager) parted(w *wire.SalvageWelcome) {
	if s.between = s.cfg.Again || w.Start.Epoch > s.cfg.Reign; !s.between {
		return
	}
	next := slices.IndexFunc(w.Reigns, func(r wire.Reign) bool { return r.Epoch > s.cfg.Reign })
	if next < 0 {
		return
	}
	w.Start = w.Reigns[next].Start
	for _, r := range w.Reigns[next:] {
		w.Whole = w.Whole && r.Whole
	}
}

// find learns what happened here since the new primary began.
func (s *salvager) find(ctx context.Context, w wire.SalvageWelcome) error {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	if err := s.cfg.Catalog.View(func(t *catalog.Tx) (err error) {
		s.whole, err = watch.WholeAt(t)
		return err
	}); err != nil {
		return err
	}
	s.past = &past{rules: s.cfg.Rules, sort: newSorter(s.cfg.Dir), controls: true}
	f := &finder{root: s.cfg.Root, catalog: s.cfg.Catalog, past: s.past, seen: s.cfg.Seen}
	s.summary.Uncertain = s.uncertain(w)
	s.past.all, s.past.again = s.summary.Uncertain != "", s.cfg.Again
	if s.cfg.Journal != nil {
		var err error
		if s.left, err = s.past.left(ctx, s.cfg.Journal); err != nil {
			s.past.sort.close()
			return err
		}
	}
	if !s.past.all {
		head, err := s.past.read(ctx, s.cfg.Journal, w.Start.Sequence)
		if err != nil {
			s.past.sort.close()
			return err
		}
		f.head = head
	}
	if err := f.walk(ctx, journal.Root); err != nil {
		s.past.sort.close()
		return err
	}
	return nil
}

// uncertain says why the journal does not tell what was replicated, and "" if
// it does.
func (s *salvager) uncertain(w wire.SalvageWelcome) string {
	switch {
	case s.cfg.Again:
		return "a rejoin to another primary has begun, and what it delivered there and took stock of here is not known"
	case !w.Whole:
		return "the new primary had not yet received everything, or not proven it, when it was promoted"
	case s.cfg.Journal == nil:
		return "this node's journal cannot be read"
	}
	err := s.cfg.Journal.Contains(w.Start)
	switch {
	case errors.Is(err, journal.ErrTrimmed):
		return "this node's journal does not reach back any more to where the new primary began"
	case err != nil && s.between:
		return "another node was primary in between, and began at a place that is not in this node's journal"
	case err != nil:
		return "the new primary began at a place that is not in this node's journal"
	}
	return ""
}

// each asks for all that was found, batch by batch.
func (s *salvager) each(ctx context.Context) error {
	groups, err := s.past.groups()
	if err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		g, err := groups.next()
		if errors.Is(err, io.EOF) {
			return s.flush()
		}
		if err != nil {
			return err
		}
		if err := s.take(s.past.life(g)); err != nil {
			return err
		}
	}
}

// take adds what became of a base to the batch.
func (s *salvager) take(l life) error {
	if l.control != "" {
		return s.control(l.control)
	}
	var found []*candidate
	for _, line := range l.lines {
		c, err := s.candidate(l.base, line)
		if err != nil {
			return err
		}
		if c != nil {
			found = append(found, c)
		}
	}
	slices.SortStableFunc(found, func(a, b *candidate) int {
		switch {
		case a.offer.Before(&b.offer):
			return -1
		case b.offer.Before(&a.offer):
			return 1
		}
		return 0
	})
	for i, c := range found {
		if i > 0 && !found[i-1].offer.Before(&c.offer) {
			if err := s.double(c); err != nil {
				return err
			}
			continue
		}
		if len(s.batch) == wire.MaxOffers {
			if err := s.flush(); err != nil {
				return err
			}
		}
		s.batch = append(s.batch, c)
	}
	return nil
}

// candidate makes an offer of a line; nil if there is nothing to ask for.
func (s *salvager) candidate(base string, l *line) (*candidate, error) {
	c := &candidate{path: l.path, offer: wire.Offer{Base: base}}
	o := &c.offer
	switch {
	case l.path == "" && (l.origin == "" || l.unknown):
		return nil, nil // it came and went
	case l.path == "":
		o.Origin, c.change = wire.OriginRemoved, ChangeRemoved
		o.Mailbox = mailboxOf(l.origin)
		o.WasIn = o.Mailbox
		c.line = Line{Change: c.change, Mailbox: o.Mailbox, Path: l.last}
		return c, nil
	case l.unknown:
		o.Origin, c.change = wire.OriginUnknown, ChangePresent
		if l.origin != "" {
			o.WasIn = mailboxOf(l.origin)
		}
	case l.origin == "":
		o.Origin, c.change = wire.OriginNew, ChangeNew
	default:
		o.Origin, c.change = wire.OriginKnown, ChangeFlags
		o.WasIn = mailboxOf(l.origin)
	}
	here := mailboxOf(l.path)
	o.Mailbox = s.past.then(here, ^journal.Sequence(0))
	if o.WasIn != "" && o.WasIn != o.Mailbox {
		c.change = ChangeMoved
	}
	c.line = Line{Change: c.change, Mailbox: here, Path: l.path}
	return s.look(c, l)
}

// look completes an offer by what is on disk.
func (s *salvager) look(c *candidate, l *line) (*candidate, error) {
	o := &c.offer
	table, err := keywordsOf(s.cfg.Root, c.line.Mailbox)
	if err != nil {
		return nil, err
	}
	_, sub, name, _ := mailstore.Split(c.path)
	var unnamed string
	if o.Flags, unnamed = mailstore.ParseFlags(sub, name, &table); unnamed != "" {
		c.line.Detail = "keywords without a name were dropped: " + unnamed
	}
	if o.Origin == wire.OriginKnown {
		_, sub, name, _ := mailstore.Split(l.origin)
		o.Was, _ = mailstore.ParseFlags(sub, name, &table)
		if c.change == ChangeFlags && o.Was.Equal(o.Flags) && o.Was.Unseen == o.Flags.Unseen {
			return nil, nil
		}
	}
	info, err := s.cfg.Root.Stat(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		s.changed++
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Facts.Type != journal.TypeFile {
		return nil, nil
	}
	if c.old, err = s.cameBack(c.path, o.Base, info); err != nil {
		return nil, err
	}
	o.Size, o.MTime = info.Facts.Size, info.Facts.Attr.MTime
	c.line.Size, c.line.Date = o.Size, time.Unix(0, o.MTime)
	if o.Content, err = s.contentOf(c.path, info); err != nil {
		return nil, s.kept(c, "it cannot be read: "+err.Error())
	}
	if s.cfg.Subjects {
		if r, err := openPath(s.cfg.Root, c.path); err == nil {
			c.line.Subject = subject(r)
			_ = r.Close()
		}
	}
	return c, nil
}

// contentOf returns the content id of a message: that in the catalog, if the
// file is the one that the catalog knows.
func (s *salvager) contentOf(p journal.Path, info beneath.Info) (id journal.ContentID, err error) {
	err = s.cfg.Catalog.View(func(t *catalog.Tx) error {
		it, err := t.Lookup(p)
		if errors.Is(err, catalog.ErrNotFound) {
			return nil
		}
		if err == nil && it.Stamp.SameInode(info.Stamp) && it.Facts.Size == info.Facts.Size && it.Facts.Attr.MTime == info.Facts.Attr.MTime {
			id = it.Facts.Content
		}
		return err
	})
	if err != nil || id.Known() {
		return id, err
	}
	r, err := openPath(s.cfg.Root, p)
	if err != nil {
		return id, err
	}
	defer func() { _ = r.Close() }()
	hasher := blake3.New()
	if _, err := io.Copy(hasher, r); err != nil {
		return id, err
	}
	hasher.Sum(id[:0])
	return id, nil
}

// double takes a second file of one message in one mailbox.
func (s *salvager) double(c *candidate) error {
	if c.path == "" {
		return nil
	}
	return s.kept(c, "it has the name of another message in the mailbox")
}

// kept keeps a message that is not offered.
func (s *salvager) kept(c *candidate, why string) error {
	c.line.Outcome, c.line.Detail, c.keep = OutcomeKept, why, true
	return s.report([]*candidate{c})
}

// control keeps a file that is no message: the new primary has its own.
func (s *salvager) control(p journal.Path) error {
	info, err := s.cfg.Root.Stat(p)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, beneath.ErrNotDirectory) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Facts.Type != journal.TypeFile && info.Facts.Type != journal.TypeSymlink {
		return nil
	}
	c := &candidate{path: p, keep: true, line: Line{
		Change: ChangeControl, Outcome: OutcomeKept, Path: p, Size: info.Facts.Size, Date: time.Unix(0, info.Facts.Attr.MTime),
	}}
	return s.report([]*candidate{c})
}

// report keeps what is to be kept, durably, and then tells.
func (s *salvager) report(batch []*candidate) error {
	if !s.cfg.LookOnly {
		for _, c := range batch {
			if !c.keep {
				continue
			}
			err := s.history.keep(c.path)
			if errors.Is(err, fs.ErrNotExist) {
				s.changed++
			} else if err != nil {
				return err
			}
		}
		if err := s.history.sync(); err != nil {
			return err
		}
	}
	for _, c := range batch {
		if c.line.Outcome == "" {
			continue
		}
		c.line.Kept = c.keep && c.line.Outcome != OutcomeExpunged
		s.summary.Outcomes[c.line.Outcome]++
		if err := s.cfg.Report(c.line); err != nil {
			return err
		}
	}
	return nil
}
