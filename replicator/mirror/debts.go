package mirror

import (
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// maxDebts bounds the files that are known by name to be owed. Beyond it, all
// files that the catalog calls missing are taken to be.
const maxDebts = 4096

// debts are the entries that were applied without the content that they need,
// which is still to come. What is older than the oldest of them can be
// acknowledged. A content that the primary itself cannot read is no debt, or it
// would hold up all others for ever; the status tells how many those are.
type debts struct {
	files map[journal.Path]journal.Sequence
	// floor, unless 0, says that files which the catalog calls missing may be
	// owed since then. It ends with the round that asks for all of them; next
	// is the floor after that.
	floor, next journal.Sequence
}

// begin takes over what an earlier stream owed.
func (d *debts) begin(since journal.Sequence) {
	*d = debts{files: make(map[journal.Path]journal.Sequence), floor: since}
}

// oldest returns the first entry that is not complete; 0 if all are.
func (d *debts) oldest() journal.Sequence {
	var low journal.Sequence
	take := func(s journal.Sequence) {
		if s > 0 && (low == 0 || s < low) {
			low = s
		}
	}
	take(d.floor)
	take(d.next)
	for _, s := range d.files {
		take(s)
	}
	return low
}

func (d *debts) has(p journal.Path) bool { _, ok := d.files[p]; return ok }

// since returns since when the content of p is owed, or s if it is not.
func (d *debts) since(p journal.Path, s journal.Sequence) journal.Sequence {
	if was := d.files[p]; was > 0 {
		return was
	}
	return s
}

// owe notes that the content of p is owed since an entry; what was owed there
// before no longer is.
func (d *debts) owe(p journal.Path, since journal.Sequence) {
	if since == 0 {
		return
	}
	if len(d.files) >= maxDebts && !d.has(p) {
		if d.next == 0 || since < d.next {
			d.next = since
		}
		return
	}
	d.files[p] = since
}

// pay notes that the content of p is here, or that it is not needed any more.
func (d *debts) pay(p journal.Path) { delete(d.files, p) }

// forget pays everything at p and beneath.
func (d *debts) forget(p journal.Path) {
	d.pay(p)
	for q := range d.files {
		if q.Within(p) {
			delete(d.files, q)
		}
	}
}

// move gives everything beneath a directory the name that it has now, and
// returns those names.
func (d *debts) move(from, to journal.Path) []journal.Path {
	var moved []journal.Path
	for q, since := range d.files {
		if q.Within(from) && q != from {
			delete(d.files, q)
			moved = append(moved, to+q[len(from):])
			d.files[moved[len(moved)-1]] = since
		}
	}
	return moved
}

// asked ends a round in which all missing files were asked for.
func (d *debts) asked() { d.floor, d.next = d.next, 0 }

const metaProgress = "mirror.progress"

// progressMeta is what the catalog remembers beside its position.
type progressMeta struct {
	// Epoch is the highest that a primary of this mirror has had.
	Epoch journal.Epoch `json:"epoch"`
	// Applied is the last entry that was applied. It can be beyond the
	// position, whose digest is known for the last entry of each batch only.
	Applied journal.Sequence `json:"applied"`
	// Owed is the first entry whose content is still to come; 0 if none is.
	Owed journal.Sequence `json:"owed"`
	// Open says that something is being made in the store, or was when the mirror
	// crashed, that the catalog does not say.
	Open bool `json:"open,omitempty"`
	// Stream numbers the streams of this catalog, as the footprint in the store does;
	// 0: there was none.
	Stream uint64 `json:"stream,omitempty"`
}

func readProgress(t *catalog.Tx) (progressMeta, error) {
	var p progressMeta
	if err := t.MetaJSON(metaProgress, &p); err != nil {
		return p, fmt.Errorf("read how far the mirror was: %w", err)
	}
	return p, nil
}

// writeProgress keeps the epoch, and the number of the stream, if p has a lower one.
func writeProgress(t *catalog.Tx, p progressMeta) error {
	was, err := readProgress(t)
	if err != nil {
		return err
	}
	p.Epoch, p.Stream = max(p.Epoch, was.Epoch), max(p.Stream, was.Stream)
	if p == was {
		return nil
	}
	return t.SetMetaJSON(metaProgress, p)
}
