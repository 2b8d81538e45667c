package salvage

import (
	"slices"

	"github.com/mailtwin/mailtwin/journal"
)

// line is the life of one file of a message.
type line struct {
	origin  journal.Path // where it was at the beginning; "" if it came later
	path    journal.Path // where it is; "" if it is gone
	last    journal.Path // where it was before it was gone
	copyOf  journal.Path // the origin of the file that it is a further name of
	unknown bool         // whether it was there at the beginning is not known
	missing bool         // it is gone, and nobody knows how
}

// life is all that is known of a base.
type life struct {
	base      string
	reflagged bool // its flags were changed since the primary's start, or changed back
	lines     []*line
	delivered []journal.Path // mailboxes that salvages delivered it for
	control   journal.Path   // not "": a file that is no message, and nothing else
}

// life tells what became of the messages of one base.
func (p *past) life(g group) life {
	f := folder{p: p, life: life{base: g.base}, live: make(map[journal.Path]*line)}
	for _, e := range g.events {
		f.take(e)
	}
	f.finish()
	f.life.reflagged = g.reflagged
	return f.life
}

// folder makes a life of events.
type folder struct {
	p    *past
	life life
	live map[journal.Path]*line
	seen []journal.Path
	dirs int // how many of the directories' changes were taken
}

// take takes the next event, and before it what happened to directories.
func (f *folder) take(e event) {
	f.takeDirs(e.sequence)
	switch e.kind {
	case eventPut:
		if f.live[e.path] == nil {
			f.begin(e.path, &line{})
		}
	case eventMove:
		l := f.at(e.from, e.sequence)
		f.leave(l)
		f.begin(e.path, l)
	case eventLink:
		from := f.at(e.from, e.sequence)
		f.begin(e.path, &line{copyOf: from.origin})
	case eventRemove:
		f.end(f.at(e.path, e.sequence))
	case eventMissing:
		l := f.at(e.path, e.sequence)
		l.missing, l.unknown = true, f.p.all
		f.end(l)
	case eventSeen:
		f.seen = append(f.seen, e.path)
	case eventPresent:
		f.begin(e.path, &line{unknown: true})
	case eventDelivered:
		f.life.delivered = append(f.life.delivered, e.path)
	case eventControl:
		f.life.control = e.path
	}
}

// takeDirs does what happened to directories before a sequence.
func (f *folder) takeDirs(before journal.Sequence) {
	for ; f.dirs < len(f.p.dirs) && f.p.dirs[f.dirs].sequence < before; f.dirs++ {
		d := f.p.dirs[f.dirs]
		for _, l := range f.life.lines {
			switch {
			case l.path == "" || !l.path.Within(d.from):
			case d.to == "":
				f.end(l)
			default:
				f.leave(l)
				f.place(rebase(l.path, d.from, d.to), l)
			}
		}
	}
}

// at returns the line of a path, which was there from the beginning if nothing
// has been said of it.
func (f *folder) at(path journal.Path, sequence journal.Sequence) *line {
	if l := f.live[path]; l != nil {
		return l
	}
	l := &line{origin: f.p.then(path, sequence)}
	f.begin(path, l)
	return l
}

// begin puts a line at a path.
func (f *folder) begin(path journal.Path, l *line) {
	if !slices.Contains(f.life.lines, l) {
		f.life.lines = append(f.life.lines, l)
	}
	f.place(path, l)
}

// place puts a line where there may be another, which is gone then.
func (f *folder) place(path journal.Path, l *line) {
	if old := f.live[path]; old != nil && old != l {
		f.end(old)
	}
	l.path = path
	f.live[path] = l
}

func (f *folder) leave(l *line) {
	if f.live[l.path] == l {
		delete(f.live, l.path)
	}
}

func (f *folder) end(l *line) {
	f.leave(l)
	l.last, l.path = l.path, ""
}

// finish joins what was seen to what is missing, and what is new to what is
// gone: a server moves a message by a further name for it and the removal of
// the first, and a file of the same base that was not seen to be renamed is the
// same message all the same. The surest are joined first, or a copy could take
// the place of the message that stayed in its mailbox.
func (f *folder) finish() {
	f.takeDirs(^journal.Sequence(0))
	for _, path := range f.join(f.seen, f.missingIn) {
		f.begin(path, &line{unknown: f.p.again})
	}
	var fresh []journal.Path
	for _, l := range f.life.lines {
		if l.path == "" || l.origin != "" || l.unknown {
			continue
		}
		if from := f.gone(func(g *line) bool { return l.copyOf != "" && g.origin == l.copyOf }); from != nil {
			l.takeOver(from)
		} else {
			fresh = append(fresh, l.path)
		}
	}
	f.join(fresh, f.goneFrom)
}

// join gives each path a line that ended, by take: first to those of which one
// ended in their own mailbox, then to the others. It returns those that none is
// left for.
func (f *folder) join(paths []journal.Path, take func(path journal.Path, near bool) bool) []journal.Path {
	for _, near := range []bool{true, false} {
		paths = slices.DeleteFunc(paths, func(p journal.Path) bool { return take(p, near) })
	}
	return paths
}

// missingIn has a missing line go on as path; with near, only one of the same
// mailbox.
func (f *folder) missingIn(path journal.Path, near bool) bool {
	for _, l := range f.life.lines {
		if l.path == "" && l.missing && (!near || mailboxOf(l.last) == mailboxOf(path)) {
			l.missing = false
			f.begin(path, l)
			return true
		}
	}
	return false
}

// goneFrom has the new line at path take over one that is gone; with near, only
// one that began in the same mailbox. A copy has none but that which it is of.
func (f *folder) goneFrom(path journal.Path, near bool) bool {
	l := f.live[path]
	if l.copyOf != "" {
		return false
	}
	from := f.gone(func(g *line) bool { return !near || f.p.now(mailboxOf(g.origin)) == mailboxOf(path) })
	if from == nil {
		return false
	}
	l.takeOver(from)
	return true
}

// gone returns a line that is like it, was there from the beginning, and is gone.
func (f *folder) gone(like func(*line) bool) *line {
	for _, l := range f.life.lines {
		if l.path == "" && l.origin != "" && like(l) {
			return l
		}
	}
	return nil
}

// takeOver makes l the message that from was.
func (l *line) takeOver(from *line) {
	l.origin, l.copyOf = from.origin, ""
	from.origin = ""
}
