package mirror

import (
	"errors"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// What a mirror had before the first sync was hashed here (see adoption), but
// of most contents the primary does not know an id: it has not read them, and
// to have them read for a comparison is what a copy was carried over to avoid.
// So a message that is here under its name, or under the same base name in its
// mailbox, and has the size that it has on the primary, is assumed to be the
// same: the catalog notes the content as a guess. It is proven afterwards, when
// nothing else is to be done, as fast as the primary gives leave; a guess that
// was wrong is answered with the right content. Until then the digests cover it
// as a content that nobody has read, so nothing is proven equal by them.

// assumption is a content that the mirror takes for the primary's.
type assumption struct {
	content journal.ContentID
	asIs    bool // the attributes are the primary's too
}

// ownContent returns the content that the mirror has at a name, if it knows which.
func ownContent(it catalog.Item) journal.ContentID {
	switch {
	case it.Missing:
		return journal.ContentID{}
	case it.Facts.Content.Known():
		return it.Facts.Content
	}
	return it.Guess
}

// equal sees to a file of the primary whose content is here as a guess, or is
// assumed to be here: then nothing is to be fetched. p is its name, which ours
// has or is being given.
func (d *differ) equal(p journal.Path, it *wire.Item, ours catalog.Item) bool {
	mine, theirs := ownContent(ours), it.Facts.Content
	same := sameAttributes(it.Facts.Attr, ours.Facts.Attr)
	switch {
	case !mine.Known():
		return false
	case theirs.Known():
		if theirs != ours.Guess {
			return false
		}
		// The primary has read it since.
		d.change(journal.KindSetAttributes, p, it.Facts)
		return true
	case ours.Facts.Size != it.Facts.Size, !d.isMessage(p):
		return false
	case ours.Guess.Known() && same:
		return true
	}
	ch := &change{link: it.Link, assumed: &assumption{content: mine, asIs: same}}
	ch.Kind, ch.Path, ch.Facts, ch.Outcome = journal.KindSetAttributes, p, it.Facts, wire.OK
	d.add(ch)
	return true
}

// look finds out whether a file is there, and which one it is.
func (a *applier) look(c *change) error {
	d, err := a.dir(c.Path.Dir())
	if err == nil {
		var info beneath.Info
		info, err = d.Stat(c.Path.Name())
		c.stamp = info.Stamp
	}
	if absent(err) {
		return nil
	}
	return err
}

// assume notes a guess, if the file is still the one that it was made of; else
// its content is asked for.
func (r *recorder) assume(c *change, item catalog.Item) error {
	if ownContent(item) != c.assumed.content || !c.stamp.SameInode(item.Stamp) {
		r.wants = append(r.wants, want{path: c.Path, size: c.Facts.Size})
		return nil
	}
	return r.tx.Put(c.Path, catalog.Item{Facts: c.Facts, Stamp: c.stamp, Link: c.link, Guess: c.assumed.content})
}

const (
	// proofsInFlight bounds the proofs that are asked for at one time: what is
	// needed waits behind them.
	proofsInFlight = 16
	// proofPage is how many unread files are looked through for guesses at one time.
	proofPage = 1024
)

// proofs goes through the guesses of the catalog again and again, and asks the
// primary to prove them.
type proofs struct {
	pending int            // asked for, or about to be
	after   catalog.Cursor // where to go on
	resting bool           // until the next tick of Config.Retry
}

// answered takes note of an answer.
func (p *proofs) answered(o wire.Outcome) {
	p.pending--
	p.resting = p.resting || o == wire.Later
}

// prove asks for some proofs, if nothing else is to be done.
func (r *resync) prove() error {
	p := &r.proofs
	needed := len(r.queue) + len(r.held) + len(r.inFlight) - p.pending
	if p.resting || p.pending > proofsInFlight/2 || needed > 0 || r.running || r.round.running {
		return nil
	}
	if r.k.m.Status().Totals.Guessed == 0 {
		return nil
	}
	return inCatalog(r.k.m.cfg.Catalog.View(func(t *catalog.Tx) error {
		next, err := t.Unread(p.after, proofPage, func(path journal.Path, it catalog.Item) error {
			if p.pending == proofsInFlight {
				return errPageEnd
			}
			if _, asked := r.asking[path]; it.Guess.Known() && !asked {
				r.want(want{path: path, size: it.Facts.Size, have: it.Guess, proof: true})
			}
			return nil
		})
		if err != nil && !errors.Is(err, errPageEnd) {
			return err
		}
		p.after = next
		p.resting = next == "" && err == nil // once around: what is left is asked for after a while
		return nil
	}))
}
