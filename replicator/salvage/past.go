package salvage

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// Limits of what is held in memory of the past.
const (
	maxDirChanges = 32 << 10 // directories that were renamed or removed
	maxEvents     = 32 << 10 // of one base
)

// errTooMany says that more has happened than these limits allow.
var errTooMany = errors.New("too much has happened since")

// event is something that happened to a message.
type event struct {
	kind     eventKind
	sequence journal.Sequence
	path     journal.Path
	from     journal.Path // eventMove and eventLink
}

type eventKind byte

// The kinds of events. The first are entries of the journal.
const (
	eventPut eventKind = iota + 1
	eventMove
	eventLink
	eventRemove
	eventSeen      // on disk, and nothing knew of it
	eventMissing   // not on disk, where it was known to be
	eventPresent   // is there, since when is not known
	eventDelivered // a salvage delivered it there
	eventControl   // a file that is no message changed
)

func (e *event) encode() []byte {
	b := []byte{byte(e.kind)}
	b = binary.AppendUvarint(b, uint64(e.sequence))
	b = binary.AppendUvarint(b, uint64(len(e.path)))
	b = append(b, e.path...)
	return append(b, e.from...)
}

// decodeEvent reads what encode wrote a moment ago.
func decodeEvent(b []byte) event {
	e := event{kind: eventKind(b[0])}
	sequence, n := binary.Uvarint(b[1:])
	b = b[1+n:]
	length, n := binary.Uvarint(b)
	b = b[n:]
	e.sequence, e.path, e.from = journal.Sequence(sequence), journal.Path(b[:length]), journal.Path(b[length:])
	return e
}

// dirChange is a directory that was renamed, or removed if to is "".
type dirChange struct {
	sequence journal.Sequence
	from, to journal.Path
}

// past is what happened to the messages of a store since a place in its
// journal. Messages are in the sorter, by base; directories are in memory.
type past struct {
	rules Rules
	dirs  []dirChange
	sort  *sorter
	// controls says that other files are of interest too.
	controls bool
	// all says that every message is offered: nobody knows what was at the beginning.
	all bool
	// again says that what is in no catalog may be on another node all the same.
	again bool
}

// read takes all of the journal after the place, up to its head, and returns
// where that is.
func (p *past) read(ctx context.Context, log *journal.Log, after journal.Sequence) (journal.Sequence, error) {
	r, err := log.Read(after)
	if err != nil {
		return after, err
	}
	defer func() { _ = r.Close() }()
	for ctx.Err() == nil {
		rec, more, err := r.TryNext()
		if err != nil || !more {
			return after, err
		}
		after = rec.Position.Sequence
		events, err := p.eventsOf(rec)
		if err != nil {
			return after, err
		}
		for i := range events {
			if err := p.addEvent(events[i]); err != nil {
				return after, err
			}
		}
	}
	return after, context.Cause(ctx)
}

// eventsOf returns what a record says of files, and notes what it says of
// directories. What a message was called before may have had another base:
// then it is another message.
func (p *past) eventsOf(rec journal.Record) ([]event, error) {
	r := &rec.Entry
	e := event{sequence: rec.Position.Sequence, path: r.Path, from: r.From}
	switch r.Kind {
	case journal.KindMoveDir:
		return nil, p.addDir(dirChange{e.sequence, r.From, r.Path})
	case journal.KindRemoveDir:
		return nil, p.addDir(dirChange{e.sequence, r.Path, ""})
	case journal.KindPut, journal.KindSymlink:
		e.kind = eventPut
	case journal.KindMove:
		e.kind = eventMove
	case journal.KindLink:
		e.kind = eventLink
	case journal.KindRemove:
		e.kind = eventRemove
	default:
		return nil, nil
	}
	if e.from == "" {
		return []event{e}, nil
	}
	base, _ := p.base(e.path)
	before, was := p.base(e.from)
	if base == before {
		return []event{e}, nil
	}
	put := event{kind: eventPut, sequence: e.sequence, path: e.path}
	if !was || e.kind == eventLink {
		return []event{put}, nil
	}
	return []event{{kind: eventRemove, sequence: e.sequence, path: e.from}, put}, nil
}

func (p *past) addDir(d dirChange) error {
	if len(p.dirs) == maxDirChanges {
		return fmt.Errorf("%w: more than %d directories were renamed or removed", errTooMany, maxDirChanges)
	}
	p.dirs = append(p.dirs, d)
	return nil
}

// addEvent takes one event of a file.
func (p *past) addEvent(e event) error {
	if base, message := p.base(e.path); message {
		return p.sort.add(base, e.encode())
	}
	if e.kind == eventRemove || p.rules.Classify(e.path, journal.TypeFile) != watch.ClassControl {
		return nil
	}
	return p.addControl(e.path)
}

// addControl takes a file that is no message and has changed.
func (p *past) addControl(path journal.Path) error {
	if !p.controls {
		return nil
	}
	e := event{kind: eventControl, path: path}
	return p.sort.add("\x00"+string(path), e.encode()) // no base begins so
}

// base returns the base of a message; false for other files.
func (p *past) base(path journal.Path) (string, bool) {
	_, _, name, ok := mailstore.Split(path)
	if !ok || p.rules.Classify(path, journal.TypeFile) != watch.ClassMessage {
		return "", false
	}
	return p.rules.Base(name), true
}

// then returns what path, of the time before a sequence, was called at the
// place where the past begins.
func (p *past) then(path journal.Path, before journal.Sequence) journal.Path {
	for i := len(p.dirs) - 1; i >= 0; i-- {
		if d := &p.dirs[i]; d.sequence < before && d.to != "" && path.Within(d.to) {
			path = rebase(path, d.to, d.from)
		}
	}
	return path
}

// now returns what became of a directory that was at path where the past
// begins: "" if it was removed.
func (p *past) now(path journal.Path) journal.Path {
	for i := range p.dirs {
		d := &p.dirs[i]
		if !path.Within(d.from) {
			continue
		}
		if d.to == "" {
			return ""
		}
		path = rebase(path, d.from, d.to)
	}
	return path
}

// rebase moves path from beneath one directory to beneath another.
func rebase(path, from, to journal.Path) journal.Path {
	switch {
	case path == from:
		return to
	case from == journal.Root:
		return to + "/" + path
	case to == journal.Root:
		return path[len(from)+1:]
	}
	return to + path[len(from):]
}

// group is all that happened to messages of one base.
type group struct {
	base      string
	events    []event // moves of one message that follow one another are one
	reflagged bool    // one of them changed flags
}

// groups reads the past base by base. There must be no more to add.
type groups struct {
	p *past
	m *merge
}

func (p *past) groups() (*groups, error) {
	m, err := p.sort.sorted()
	return &groups{p, m}, err
}

// next returns the group of the next base; io.EOF after the last.
func (g *groups) next() (group, error) {
	first, err := g.m.next()
	if err != nil {
		return group{}, err
	}
	out := group{base: first.key}
	if err := out.add(g.p, decodeEvent(first.data)); err != nil {
		return group{}, err
	}
	for {
		r, err := g.m.peek()
		if errors.Is(err, io.EOF) || err == nil && r.key != first.key {
			return out, nil
		}
		if err == nil {
			_, err = g.m.next()
		}
		if err == nil {
			err = out.add(g.p, decodeEvent(r.data))
		}
		if err != nil {
			return group{}, err
		}
	}
}

// add adds an event. Renames that follow each other become one, for flags may
// have been changed any number of times.
func (g *group) add(p *past, e event) error {
	g.reflagged = g.reflagged || e.reflags()
	if n := len(g.events); n > 0 && e.kind == eventMove {
		last := &g.events[n-1]
		if last.kind == eventMove && last.path == e.from && !p.dirsBetween(last.sequence, e.sequence) {
			last.path, last.sequence = e.path, e.sequence
			return nil
		}
	}
	if len(g.events) == maxEvents {
		return fmt.Errorf("%w: to messages called %q", errTooMany, g.base)
	}
	g.events = append(g.events, e)
	return nil
}

// dirsBetween reports whether directories were changed between two places.
func (p *past) dirsBetween(after, before journal.Sequence) bool {
	i, _ := slices.BinarySearchFunc(p.dirs, after, func(d dirChange, s journal.Sequence) int { return cmp.Compare(d.sequence, s) })
	return i < len(p.dirs) && p.dirs[i].sequence < before
}

// reflags reports whether it changed the flags of a message.
func (e event) reflags() bool {
	_, before, _ := strings.Cut(e.from.Name(), ":2,")
	_, after, _ := strings.Cut(e.path.Name(), ":2,")
	return e.kind == eventMove && before != after
}

func mailboxOf(path journal.Path) journal.Path { return path.Dir().Dir() }
