package watch

import (
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/journal/beneath"
)

// freeLooks is how many names of a tree that was renamed are looked at without
// leave. A folder that somebody renames is live mail, and may have just been
// made; a tree of thousands is not what mail clients rename.
const freeLooks = 256

// leave waits until that many names may be looked at, and returns what to call
// when they have been. Meanwhile hints are served, directories that have just
// appeared are listed, and those that were renamed are walked: live mail never
// waits for what can wait.
func (w *Watcher) leave(names int) (done func(), err error) {
	if w.free > 0 {
		w.free -= names
		return func() {}, nil
	}
	for {
		if w.alone.Load() {
			return func() {}, nil
		}
		done, wait := w.ask(names)
		if wait <= 0 {
			return done, nil
		}
		if err := w.meanwhile(nil, min(wait, w.cfg.Timing.Health)); err != nil {
			return nil, err
		}
	}
}

// meanwhile waits for a while, or until done is closed, and does what must not
// wait so long.
func (w *Watcher) meanwhile(done <-chan struct{}, wait time.Duration) error {
	select {
	case <-w.ctx.Done():
		return w.ctx.Err()
	case <-done:
	case <-w.dirty.wake:
	case <-w.cfg.Clock.After(wait):
	}
	if err := w.serve(); err != nil {
		return err
	}
	if p, ok := w.dirty.takeDir(); ok {
		err := w.list(p)
		w.looked(1)
		if err != nil {
			return err
		}
	}
	return w.walkMeanwhile()
}

// walkMeanwhile walks a directory that was renamed, while another walk waits for
// leave. If it has to wait for leave too, no third one begins. The baseline comes
// to everything by itself.
func (w *Watcher) walkMeanwhile() error {
	if w.within || w.baseline {
		return nil
	}
	p, ok := w.dirty.takeWalk()
	if !ok {
		return nil
	}
	w.within = true
	defer func() { w.within = false }()
	return w.walkDirty(p)
}

// leaveToRead waits, in a scan, until the next names of the directory may be
// read, and returns what to call when they have been, or will not be. What was read
// ahead of the walk needs no leave.
func (l *listing) leaveToRead() (done func(), err error) {
	if !l.scan || l.read {
		return func() {}, nil
	}
	done, err = l.leave(1)
	if err != nil {
		return func() {}, err
	}
	return sync.OnceFunc(done), nil
}

// inodesOfABlock is how many inodes lie in one block of most file systems: of
// names in the order of their inodes, the first one costs a read and the next
// ones nothing.
const inodesOfABlock = 16

// glance brings the inodes of names into memory, those of one block with each
// leave, so that looking at them costs nothing. Directories lie far from each
// other, and file systems read ahead of each block. What cannot be looked at is
// found out then. The names must be in the order of their inodes.
func (l *listing) glance(names []beneath.Name) error {
	for len(names) > 0 {
		n := 1
		for n < len(names) && names[n].Inode-names[0].Inode < inodesOfABlock {
			n++
		}
		done, err := l.leave(n)
		if err != nil {
			return err
		}
		for _, name := range names[:n] {
			_, _ = l.dir.Stat(name.Name)
		}
		done()
		names = names[n:]
	}
	return nil
}
