package watch

import (
	"slices"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/journal"
)

// reason is why a name has to be looked at again.
type reason uint8

const (
	reasonGone       reason = iota + 1 // to be confirmed
	reasonWriting                      // somebody has it open for writing, or it changed while it was read
	reasonIncomplete                   // a control file at a moment at which it may not be copied
	reasonMessages                     // a uidlist that waits for messages which it names
	reasonHashing                      // large: its content is being hashed in the background
	reasonUnreadable                   // a read error
	reasonUnlisted                     // a directory that could not be listed
)

// waiting is one name that is to be looked at again.
type waiting struct {
	why   reason
	since time.Duration // when it first was looked at for this reason
	due   time.Duration
	delay time.Duration // the last delay; it grows
	looks int           // unstable listings so far, of a gone name
	scan  bool          // gone, found by a walk: due at its end
	poll  bool          // found while polling: due at the end of a scan of everything
	lost  bool          // gone from a directory that nobody had changed since this node became primary; until it is seen
	heir  journal.Stamp // of the directory that was believed to have taken the place of a gone one
	// accepted says that a person has said that it is gone.
	accepted bool
	seen     int64 // ctime of a file whose writers cannot be asked for, or that is held back
	held     bool  // a message that was changed in place; that is marked in the catalog
}

// agenda is what has to be looked at again, and when, by the observer's own
// clock. Only the observer uses it, but for left. It holds no more than its limit.
type agenda struct {
	limit int
	mu    sync.Mutex // held to change names, and by others than the observer
	names map[journal.Path]*waiting
	count [reasonUnlisted + 1]int
	next  time.Duration // nothing is due before it
}

// never is a time that does not come.
const never = time.Duration(1<<63 - 1)

func newAgenda(limit int) *agenda {
	return &agenda{limit: limit, names: make(map[journal.Path]*waiting), next: never}
}

// put makes p due after a delay that begins with first and doubles up to last
// as long as the reason stays the same. It returns nil if there is no room.
func (a *agenda) put(p journal.Path, why reason, now, first, last time.Duration) *waiting {
	w := a.names[p]
	if w == nil && len(a.names) >= a.limit {
		return nil
	}
	if w == nil || w.why != why {
		lost := w != nil && w.lost
		a.drop(p)
		w = &waiting{why: why, since: now, lost: lost}
		a.mu.Lock()
		a.names[p] = w
		a.mu.Unlock()
		a.count[why]++
	}
	w.delay = min(max(first, 2*w.delay), last)
	w.due = now + w.delay
	a.next = min(a.next, w.due)
	return w
}

// drop forgets p.
func (a *agenda) drop(p journal.Path) {
	if w := a.names[p]; w != nil {
		a.count[w.why]--
		a.mu.Lock()
		delete(a.names, p)
		a.mu.Unlock()
	}
}

// clear forgets everything.
func (a *agenda) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.names, a.next = make(map[journal.Path]*waiting), never
	clear(a.count[:])
}

// onlyGone reports whether all messages that are there are known: what is waited
// for is gone, or no message.
func (a *agenda) onlyGone() bool {
	return len(a.names) == a.count[reasonGone]+a.count[reasonIncomplete]+a.count[reasonMessages]
}

// left returns the names on the agenda, and the directories on it that could not
// be listed. It may be called by anyone.
func (a *agenda) left() (names, dirs []journal.Path) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for p, w := range a.names {
		if w.why == reasonUnlisted {
			dirs = append(dirs, p)
		} else {
			names = append(names, p)
		}
	}
	return names, dirs
}

// unsure reports whether p is to be looked at again, and nothing else says so.
func (a *agenda) unsure(p journal.Path) bool {
	w := a.names[p]
	return w != nil && !w.held
}

// get returns what is known of p, or nil.
func (a *agenda) get(p journal.Path) *waiting { return a.names[p] }

// replaced reports whether a directory that has taken the place of another one is
// still to be confirmed.
func (a *agenda) replaced() bool {
	if a.count[reasonGone] == 0 {
		return false
	}
	for _, w := range a.names {
		if w.why == reasonGone && w.heir != (journal.Stamp{}) {
			return true
		}
	}
	return false
}

// lose notes of names that are gone that they were lost, see lostIn. That holds
// until they are seen, whatever keeps them from being decided.
func (a *agenda) lose(names []journal.Path) {
	for _, p := range names {
		if w := a.names[p]; w != nil && (w.why == reasonGone || w.why == reasonUnreadable) {
			w.lost = true
		}
	}
}

// deciding returns of how many names it is still to be decided whether they are gone.
func (a *agenda) deciding() int {
	return a.count[reasonGone] + a.count[reasonUnreadable] + a.count[reasonUnlisted]
}

// undecided returns those for which of says so, but none that no catalog can have.
func (a *agenda) undecided(of func(journal.Path) bool) (names []journal.Path) {
	if a.deciding() == 0 {
		return nil
	}
	for p, w := range a.names {
		open := w.why == reasonGone || w.why == reasonUnreadable || w.why == reasonUnlisted
		if open && len(p) <= journal.MaxPath && of(p) {
			names = append(names, p)
		}
	}
	return names
}

// saw says that p is there: when it is gone again, somebody has removed it.
func (a *agenda) saw(p journal.Path) {
	if w := a.names[p]; w != nil {
		w.lost = false
	}
}

// within returns the names in some directories.
func (a *agenda) within(dirs []journal.Path) (names []journal.Path) {
	for p := range a.names {
		if slices.Contains(dirs, p.Dir()) {
			names = append(names, p)
		}
	}
	return names
}

// due returns the names whose time has come: the gone ones, and the others.
// They stay on the agenda, without a time: who looks at them drops them or puts
// them again.
func (a *agenda) due(now time.Duration) (gone, others []journal.Path) {
	if now < a.next {
		return nil, nil
	}
	a.next = never
	for p, w := range a.names {
		switch {
		case w.due > now:
			a.next = min(a.next, w.due)
		case w.why == reasonGone:
			gone = append(gone, p)
			w.due = never
		default:
			others = append(others, p)
			w.due = never
		}
	}
	return gone, others
}

// release makes everything due that waits for the end of a walk; all says that it was
// one of the whole store.
func (a *agenda) release(now time.Duration, all bool) {
	for _, w := range a.names {
		if w.scan && (all || !w.poll) {
			w.scan, w.poll = false, false
			w.due = now
			a.next = min(a.next, now)
		}
	}
}
