package watch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// readSnapshot reads the members. It returns false if they do not belong
// together now, and true with nothing read if there is nothing to be taken.
func (w *Watcher) readSnapshot(s *snapshot) (ready bool, err error) {
	paths := w.cfg.Snapshots.Members(s.dir)
	var d *beneath.Dir
	mailbox := false
	err = w.cfg.Catalog.View(func(tx *catalog.Tx) (err error) {
		if mailbox, err = w.isMailbox(tx, paths[0]); err != nil || !mailbox {
			return err
		}
		k, err := w.openKnown(tx, s.dir)
		d = k.Dir
		return err
	})
	switch {
	case errors.Is(err, errObserveFirst):
		return true, nil // a walk follows
	case err != nil && w.ctx.Err() == nil && !mailbox:
		return true, err // of the catalog
	case err != nil:
		w.unlisted(s.dir, err)
		return true, w.ctx.Err()
	case !mailbox:
		return true, nil
	}
	defer d.Close()
	members, err := w.readMembers(d, paths)
	switch {
	case errors.Is(err, errLarge):
		w.tooLarge(s.dir)
		return true, nil
	case errors.Is(err, errChanged), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		w.unreadable(s.dir, err)
		return true, w.ctx.Err()
	}
	if w.locked(d, s.dir) || !w.wholeSnapshot(members) {
		return false, nil
	}
	delete(w.large, s.dir)
	if !slices.ContainsFunc(members, func(m member) bool { return m.data != nil }) {
		return true, nil
	}
	s.members = members
	for _, m := range members {
		s.size += int64(len(m.data))
	}
	return true, nil
}

// errLarge says that a file is larger than an entry may carry.
var errLarge = errors.New("too large to be carried by an entry")

// readMembers reads files in their order, and makes sure that they were all
// there at one time: behind the last, each name still is of the file that was
// read.
func (w *Watcher) readMembers(d *beneath.Dir, paths []journal.Path) ([]member, error) {
	members := make([]member, len(paths))
	for i, p := range paths {
		m, err := w.readMember(d, p)
		if err != nil {
			return nil, err
		}
		members[i] = m
	}
	for _, m := range members {
		info, err := d.Stat(m.look.path.Name())
		gone := errors.Is(err, fs.ErrNotExist)
		switch {
		case err != nil && !gone:
			return nil, err
		case gone != m.look.gone, !gone && !info.Stamp.SameFile(m.look.info.Stamp):
			return nil, errChanged
		}
	}
	return members, nil
}

// readMember reads as many bytes of a file as it has now.
func (w *Watcher) readMember(d *beneath.Dir, p journal.Path) (member, error) {
	m := member{look: look{path: p, class: ClassDerived}}
	info, err := d.Stat(p.Name())
	if errors.Is(err, fs.ErrNotExist) || err == nil && w.cfg.Rules.Classify(p, info.Facts.Type) != ClassDerived {
		m.look.gone = errors.Is(err, fs.ErrNotExist)
		m.look.info = info
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if info.Facts.Size > journal.MaxHeld {
		return m, errLarge
	}
	m.look.info = info
	f, err := d.Open(p.Name())
	if err != nil {
		return m, err
	}
	defer f.Close()
	w.opened++
	if !sameInode(f, info) {
		return m, errChanged
	}
	m.data = make([]byte, info.Facts.Size)
	if _, err := io.ReadFull(f, m.data); err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return m, io.ErrUnexpectedEOF
	} else if err != nil {
		return m, fmt.Errorf("read %q: %w", p, err)
	}
	return m, nil
}

func sameInode(f *os.File, info beneath.Info) bool {
	now, err := beneath.FileInfo(f)
	return err == nil && now.Stamp.SameFile(info.Stamp)
}

// locked reports whether someone has written into a member what he has yet to
// write elsewhere.
func (w *Watcher) locked(d *beneath.Dir, dir journal.Path) bool {
	for _, p := range w.cfg.Snapshots.Locks(dir) {
		if _, err := d.Stat(p.Name()); !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

// wholeSnapshot cuts the members to what may be journaled, and reports whether
// they belong together.
func (w *Watcher) wholeSnapshot(members []member) bool {
	data := make([][]byte, len(members))
	some := false
	for i, m := range members {
		data[i] = m.data
		some = some || m.data != nil
	}
	if !some {
		return true
	}
	whole, ok := w.cfg.Snapshots.Whole(data)
	if !ok {
		return false
	}
	for i := range members {
		members[i].data = whole[i]
	}
	return true
}

// tooLarge notes that a snapshot cannot be taken.
func (w *Watcher) tooLarge(dir journal.Path) {
	if _, ok := w.large[dir]; !ok && len(w.large) < maxTooLarge {
		w.cfg.Log.Warn("derived files are too large to be replicated", "directory", string(dir), "limit", journal.MaxHeld)
		w.large[dir] = struct{}{}
	}
}
