package watch

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// snapshot is what was read of the files of ClassDerived in one directory, on
// its way into the journal. It was read before the messages beside it were
// looked at, and is journaled behind all that was found to differ then.
type snapshot struct {
	dir      journal.Path
	members  []member // in the order of Snapshots.Members; nil: to be read
	size     int64    // bytes that are held
	awaits   map[journal.Path]struct{}
	since    time.Duration // when it was read
	due      time.Duration // of the next attempt at reading
	attempts int
}

// member is one file of a snapshot.
type member struct {
	look look
	data []byte // nil: there is no such file
}

// Limits on the snapshots that wait between being read and being journaled,
// and on how long they do.
const (
	maxSnapshots     = 16
	maxSnapshotBytes = 16 << 20
	maxReadings      = 20 // attempts to read files that belong together
	snapshotPause    = 50 * time.Millisecond
	maxSnapshotRest  = time.Second
	maxTooLarge      = 1024 // directories that are known to be too large
)

// derivedFile notes that a file of ClassDerived has changed: its snapshot is
// taken when the directory has become quiet.
func (c *cycle) derivedFile(l look, it catalog.Item, known bool) {
	c.resolved(l.path)
	if known && c.same(it.Stamp, l.info.Stamp) && it.Stamp.Change == l.info.Stamp.Change &&
		it.Facts.Attr.MTime == l.info.Facts.Attr.MTime && !c.inDoubt(l, it) {
		return
	}
	for _, s := range c.taken {
		if s.has(l) {
			return
		}
	}
	c.derived(l.path)
}

// has reports whether a file was read into the snapshot as it is.
func (s *snapshot) has(l look) bool {
	return slices.ContainsFunc(s.members, func(m member) bool {
		was, is := m.look.info, l.info
		return m.look.path == l.path && was.Stamp == is.Stamp && sameSize(was.Facts, is.Facts)
	})
}

// derived has a snapshot taken of what p belongs to.
func (w *Watcher) derived(p journal.Path) {
	if w.cfg.Snapshots != nil {
		w.snapshots.touch(p.Dir(), w.now())
	}
}

// unknownMembers returns the members in a directory that the catalog does not
// know: nothing else remembers that they have yet to be journaled.
func (w *Watcher) unknownMembers(tx *catalog.Tx, dir journal.Path) (unknown []journal.Path, err error) {
	if w.cfg.Snapshots == nil {
		return nil, nil
	}
	members := w.cfg.Snapshots.Members(dir)
	if ok, err := w.isMailbox(tx, members[0]); !ok || err != nil {
		return nil, err
	}
	for _, p := range members {
		if _, err := tx.Lookup(p); errors.Is(err, catalog.ErrNotFound) {
			unknown = append(unknown, p)
		} else if err != nil {
			return nil, err
		}
	}
	return unknown, nil
}

// isMailbox reports whether there are messages beside a member. Where there are
// not, nothing says how new it may be.
func (w *Watcher) isMailbox(tx *catalog.Tx, member journal.Path) (bool, error) {
	for _, dir := range w.cfg.Rules.MessageDirs(member) {
		it, err := tx.Lookup(dir)
		if err == nil && it.Facts.Type == journal.TypeDirectory {
			return true, nil
		}
		if err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return false, err
		}
	}
	return false, nil
}

// snapshotDue returns when something is to be done about snapshots.
func (w *Watcher) snapshotDue() time.Duration {
	due, now := never, w.now()
	if w.hurry.Load() {
		w.snapshotRest = 0
		w.snapshots.rush(now)
	}
	if w.snapshotRoom() {
		due = max(w.snapshots.next, w.snapshotRest)
	}
	for _, s := range w.taken {
		if s.members == nil {
			due = min(due, max(s.due, w.snapshotRest))
		} else {
			due = min(due, now+w.cfg.Timing.Confirm)
		}
	}
	return due
}

func (w *Watcher) snapshotRoom() bool {
	size := int64(0)
	for _, s := range w.taken {
		size += s.size
	}
	return len(w.taken) < maxSnapshots && size < maxSnapshotBytes
}

// snapshot takes or journals one snapshot, and reports whether there was one.
func (w *Watcher) snapshot() (bool, error) {
	now := w.now()
	if w.hurry.Load() {
		w.snapshotRest = 0
		w.snapshots.rush(now)
	}
	for i, s := range w.taken {
		switch {
		case s.members != nil && !w.awaiting(s):
			w.taken = slices.Delete(w.taken, i, i+1)
			return true, w.journalSnapshot(s)
		case s.members != nil && now-s.since > w.cfg.Timing.MessagesAtMost:
			w.taken = slices.Delete(w.taken, i, i+1)
			w.snapshots.touch(s.dir, now) // what it waits for may take for ever
			return true, nil
		case s.members == nil && now >= max(s.due, w.snapshotRest):
			w.taken = slices.Delete(w.taken, i, i+1)
			return true, w.takeSnapshot(s)
		}
	}
	if now < w.snapshotRest || !w.snapshotRoom() {
		return false, nil
	}
	dir, ok := w.snapshots.take(now)
	if !ok {
		return false, nil
	}
	return true, w.takeSnapshot(&snapshot{dir: dir})
}

// takeSnapshot reads the files of a snapshot, and then finds out what differs
// in the mailbox. Afterwards none is taken for a while: they never take more
// than a tenth of the time that passes, unless one takes very long.
func (w *Watcher) takeSnapshot(s *snapshot) error {
	started := w.now()
	defer func() {
		now := w.now()
		w.snapshotRest = now + min(restFactor*(now-started), maxSnapshotRest)
	}()
	s.attempts++
	ready, err := w.readSnapshot(s)
	if err != nil {
		return err
	}
	if !ready {
		w.snapshotLater(s)
		return nil
	}
	if s.members == nil {
		return nil // there is none
	}
	s.since = w.now()
	w.taken = append(w.taken, s)
	complete, err := w.observeMailbox(s)
	if !complete || err != nil {
		w.taken = slices.DeleteFunc(w.taken, func(t *snapshot) bool { return t == s })
		s.members, s.size = nil, 0
		w.snapshotLater(s)
	}
	return err
}

// snapshotLater has a snapshot read soon once more, or when its turn comes.
func (w *Watcher) snapshotLater(s *snapshot) {
	now := w.now()
	if s.attempts >= maxReadings {
		w.snapshots.touch(s.dir, now)
		return
	}
	s.due = now + snapshotPause
	w.taken = append(w.taken, s)
}

// observeMailbox observes everything in the mailbox of a snapshot that was just
// read, and remembers the names that are not journaled yet. It returns false if
// that could not be done.
func (w *Watcher) observeMailbox(s *snapshot) (bool, error) {
	dirs := append(w.cfg.Rules.MessageDirs(s.members[0].look.path), s.dir)
	forgotten := w.forgotten
	for _, dir := range dirs {
		complete, err := w.compare(&listing{Watcher: w, path: dir})
		if err != nil {
			return false, err
		}
		if complete {
			continue
		}
		if _, err := w.cfg.Root.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
	}
	dirty, known := w.dirty.within(dirs)
	s.awaits = make(map[journal.Path]struct{})
	for _, p := range append(dirty, w.agenda.within(dirs)...) {
		if w.pending(p) {
			s.awaits[p] = struct{}{}
		}
	}
	return known && forgotten == w.forgotten, nil
}

// pending reports whether a name has yet to be observed, or looked at again.
// What cannot be read is not waited for.
func (w *Watcher) pending(p journal.Path) bool {
	a := w.agenda.get(p)
	return w.dirty.has(p) || a != nil && a.why != reasonUnreadable && a.why != reasonUnlisted
}

// awaiting reports whether one of the names that a snapshot waits for has been
// pending ever since.
func (w *Watcher) awaiting(s *snapshot) bool {
	for p := range s.awaits {
		if !w.pending(p) {
			delete(s.awaits, p)
		}
	}
	return len(s.awaits) > 0
}

// journalSnapshot journals a snapshot: in the reverse order, so that at every
// moment what refers to another member is the older one.
func (w *Watcher) journalSnapshot(s *snapshot) error {
	names := make([]journal.Path, 0, len(s.members))
	for _, m := range s.members {
		names = append(names, m.look.path)
	}
	return w.cycle(names, func(c *cycle) error {
		if same, err := c.sameMailbox(s.dir, names[0]); !same || err != nil {
			return err
		}
		for _, m := range slices.Backward(s.members) {
			if m.data == nil {
				continue // that it is gone is found as of any other file
			}
			if err := c.putMember(m); err != nil {
				return err
			}
		}
		return nil
	})
}

// sameMailbox reports whether the directories of a mailbox are those that the
// catalog knows. If one was replaced, or is gone, then what was found in it may
// be too: another snapshot is taken, unless the mailbox is gone or renamed, for
// then it is found where it is.
func (c *cycle) sameMailbox(dir, member journal.Path) (bool, error) {
	if !c.opens(dir) {
		return false, nil
	}
	for _, d := range c.cfg.Rules.MessageDirs(member) {
		_, err := c.tx.Lookup(d)
		switch {
		case errors.Is(err, catalog.ErrNotFound):
		case err != nil:
			return false, err
		case !c.opens(d):
			c.snapshots.touch(dir, c.now())
			return false, nil
		}
	}
	return true, nil
}

// opens reports whether a directory is the one that the catalog knows.
func (c *cycle) opens(p journal.Path) bool { return c.dir(p).err == nil }

// putMember journals what was read of one file, if it differs.
func (c *cycle) putMember(m member) error {
	l := m.look
	it, err := c.tx.Lookup(l.path)
	known := err == nil && it.Facts.Type == journal.TypeFile
	if err != nil && !errors.Is(err, catalog.ErrNotFound) {
		return err
	}
	facts := l.info.Facts
	facts.Size = int64(len(m.data))
	held := &journal.Held{Data: m.data}
	facts.Content = c.hasher.bytes(m.data)
	if known && facts.Content == it.Facts.Content {
		return c.attributes(l, it, facts.Content)
	}
	if n := it.Facts.Size; known && it.Facts.Content.Known() && n > 0 && n < facts.Size &&
		c.hasher.bytes(m.data[:n]) == it.Facts.Content {
		held = &journal.Held{Base: it.Facts.Content, Keep: n, Data: bytes.Clone(m.data[n:])}
	}
	if facts.Attr.Xattrs, err = c.xattrs(l); err != nil {
		return c.failed(l, err)
	}
	if c.racy(facts.Attr.MTime) {
		c.after = append(c.after, func() { c.derived(l.path) }) // it may have changed within the same tick
	}
	return c.emit(journal.Entry{Kind: journal.KindPut, Path: l.path, Facts: facts, Held: held, Stamp: l.info.Stamp})
}
