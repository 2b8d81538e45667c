package watch

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// How many names a uidlist may bring that are looked up one by one, and how
// many messages that nobody hinted are observed in one cycle.
const (
	fewNames    = 64
	maxUnhinted = 256
)

// messagesFirst sees to it that every message which a captured uidlist names
// is in the journal before it, or is gone. It returns false, with the uidlist
// on the agenda, if that takes longer than this cycle.
//
// The uidlist was read before the directories are: a message that it names and
// that is in neither of them was expunged since.
func (c *cycle) messagesFirst(f *os.File, l look, got captured) (bool, error) {
	dirs := c.cfg.Rules.MessageDirs(l.path)
	unknown, err := c.unknownIn(f, l.path, got, dirs)
	if err != nil || len(unknown) == 0 {
		return err == nil, err
	}
	found, stable, err := c.findBases(dirs, unknown)
	if err != nil {
		return false, fmt.Errorf("%w: %w", errRead, err)
	}
	if len(found) > maxUnhinted {
		for _, d := range dirs {
			c.dirty.dir(d)
		}
		c.awaitMessages(l.path)
		return false, nil
	}
	waits := false
	for _, p := range found {
		if c.baseline {
			if err := c.putUnread(p); err != nil {
				return false, err
			}
			continue
		}
		m, ok := c.look(p)
		if !ok {
			continue // it cannot be read: the uidlist does not wait for that
		}
		if err := c.name(m); err != nil {
			return false, err
		}
		waits = waits || c.awaited(p)
	}
	if !stable {
		waits = true
	}
	if waits && c.mayWait(l.path) {
		c.awaitMessages(l.path)
		return false, nil
	}
	return true, nil
}

// awaited reports whether a message will be journaled soon.
func (w *Watcher) awaited(p journal.Path) bool {
	a := w.agenda.get(p)
	return a != nil && (a.why == reasonWriting || a.why == reasonHashing)
}

// awaitMessages puts a uidlist on the agenda.
func (c *cycle) awaitMessages(p journal.Path) {
	c.later(p, reasonMessages, c.cfg.Timing.WriterFirst, c.cfg.Timing.WriterLast)
}

// mayWait reports whether a uidlist has not waited for too long yet.
func (c *cycle) mayWait(p journal.Path) bool {
	w := c.agenda.get(p)
	return w == nil || w.why != reasonMessages || c.now()-w.since < c.cfg.Timing.MessagesAtMost
}

// unknownIn returns the base names in the new part of a uidlist that the
// catalog does not know in dirs.
func (c *cycle) unknownIn(f *os.File, p journal.Path, got captured, dirs []journal.Path) (map[string]struct{}, error) {
	known := knownBases{cycle: c, dirs: dirs}
	unknown := make(map[string]struct{})
	add := func(data []byte) error {
		names := c.cfg.Rules.Named(p, data)
		for _, base := range names {
			ok, err := known.has(base, len(names))
			if err != nil {
				return err
			}
			if !ok {
				unknown[base] = struct{}{}
			}
		}
		return nil
	}
	if got.held != nil {
		return unknown, add(got.held.Data)
	}
	return unknown, eachLines(f, got.size, add)
}

// eachLines calls f with whole lines of the first size bytes of a file, about
// a mebibyte at a time.
func eachLines(file io.ReaderAt, size int64, f func([]byte) error) error {
	buf := make([]byte, 1<<20)
	for from := int64(0); from < size; {
		n, err := file.ReadAt(buf[:min(int64(len(buf)), size-from)], from)
		if err != nil && err != io.EOF {
			return fmt.Errorf("%w: %w", errRead, err)
		}
		if n == 0 {
			return fmt.Errorf("%w: %w", errRead, io.ErrUnexpectedEOF)
		}
		whole := bytes.LastIndexByte(buf[:n], '\n') + 1
		if whole == 0 {
			whole = n // no line at all
		}
		if err := f(buf[:whole]); err != nil {
			return err
		}
		from += int64(whole)
	}
	return nil
}

// knownBases tells which base names the catalog has in some directories: few
// are looked up, for many the directories are read once.
type knownBases struct {
	cycle  *cycle
	dirs   []journal.Path
	seed   maphash.Seed
	hashes []uint64 // sorted; nil until it is needed
}

func (k *knownBases) has(base string, of int) (bool, error) {
	if of <= fewNames {
		return k.lookup(base)
	}
	if k.hashes == nil {
		if err := k.read(); err != nil {
			return false, err
		}
	}
	_, ok := slices.BinarySearch(k.hashes, maphash.String(k.seed, base))
	return ok, nil
}

func (k *knownBases) lookup(base string) (found bool, err error) {
	rules := k.cycle.cfg.Rules
	for _, dir := range k.dirs {
		err := k.cycle.tx.ListPrefix(dir, base, func(name string, _ catalog.Item) error {
			found = found || rules.Base(name) == base
			return nil
		})
		if found || err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return found, err
		}
	}
	return false, nil
}

func (k *knownBases) read() error {
	k.seed = maphash.MakeSeed()
	k.hashes = make([]uint64, 0, 1024)
	for _, dir := range k.dirs {
		err := k.cycle.tx.List(dir, "", func(name string, _ catalog.Item) error {
			k.hashes = append(k.hashes, maphash.String(k.seed, k.cycle.cfg.Rules.Base(name)))
			return nil
		})
		if err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return err
		}
	}
	slices.Sort(k.hashes)
	return nil
}

// maxListings is how often directories are listed that change meanwhile.
const maxListings = 3

// findBases lists directories and returns the names in them with these base
// names. stable is false if some were not found, but a directory changed
// during each listing, so that one that is renamed may have been missed.
func (w *Watcher) findBases(dirs []journal.Path, bases map[string]struct{}) (found []journal.Path, stable bool, err error) {
	missing := len(bases)
	seen := make(map[string]struct{})
	for range maxListings {
		before, err := w.dirTimes(dirs)
		if err != nil {
			return nil, false, err
		}
		for _, dir := range dirs {
			err := w.eachName(dir, func(name beneath.Name) {
				base := w.cfg.Rules.Base(name.Name)
				if _, ok := bases[base]; !ok || name.Type != journal.TypeFile {
					return
				}
				if w.cfg.Rules.Classify(dir.Join(name.Name), name.Type) != ClassMessage {
					return
				}
				if _, ok := seen[base]; !ok {
					seen[base] = struct{}{}
					missing--
				}
				if p := dir.Join(name.Name); !slices.Contains(found, p) {
					found = append(found, p)
				}
			})
			if err != nil {
				return nil, false, err
			}
		}
		// All of them must have stayed as they were from before the first listing
		// until after the last: a message may move from one to the other.
		after, err := w.dirTimes(dirs)
		if err != nil {
			return nil, false, err
		}
		if missing == 0 || w.unmoved(before, after) {
			return found, true, nil
		}
		// What was found once is alive, even if the next listing misses it.
	}
	return found, false, nil
}

// eachName lists a directory. One that does not exist has nothing in it.
func (w *Watcher) eachName(p journal.Path, f func(beneath.Name)) error {
	d, err := w.cfg.Root.Dir(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	w.listed++
	return d.Each(func(names []beneath.Name) error {
		for _, n := range names {
			f(n)
		}
		return w.ctx.Err()
	})
}

// dirTimes looks at directories. One that does not exist has no times.
func (w *Watcher) dirTimes(dirs []journal.Path) ([]beneath.Info, error) {
	infos := make([]beneath.Info, len(dirs))
	for i, dir := range dirs {
		info, err := w.cfg.Root.Stat(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		infos[i] = info
	}
	return infos, nil
}

// unmoved reports whether nothing happened in directories between two looks at
// their times, nor so shortly before the first that it would not show.
func (w *Watcher) unmoved(before, after []beneath.Info) bool {
	now := w.cfg.Clock.Now().UnixNano()
	for i, b := range before {
		a := after[i]
		if b.Stamp != a.Stamp || b.DirMTime != a.DirMTime || time.Duration(now-a.DirMTime).Abs() <= tick {
			return false
		}
	}
	return true
}

// tick is longer than the time between two values of the clock by which a
// kernel stamps files (4 ms, or 10 ms on machines of long ago).
const tick = 10 * time.Millisecond
