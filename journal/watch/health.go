package watch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// metaStore holds, in the catalog, which store it is of: a storeIdentity.
const metaStore = "watch.store"

// storeIdentity is what is remembered of the store's root.
type storeIdentity struct {
	Identity beneath.Identity
	// Devices are the numbers that its file system had, the newest last. Stamps
	// in the catalog may have any of them.
	Devices []uint64
}

// maxDevices bounds storeIdentity.Devices.
const maxDevices = 16

// errSuspended says that the store is not as it was. The store's condition is
// in the watcher's suspension.
var errSuspended = errors.New("the store is not as it was")

// suspend ends what is being done, for a reason that is written for operators.
func (w *Watcher) suspend(format string, args ...any) error {
	w.suspension = fmt.Sprintf(format, args...)
	return errSuspended
}

// checkSoon has the store's health checked at the next opportunity.
func (w *Watcher) checkSoon() { w.healthDue = 0 }

// checkNow checks the health of the store: nil, or errSuspended with the
// suspension set.
func (w *Watcher) checkNow() error {
	w.healthDue = w.now() + w.cfg.Timing.Health
	id, err := w.cfg.Root.Identity()
	if errors.Is(err, fs.ErrNotExist) {
		return w.suspend("the store directory %s does not exist", w.cfg.Root.Path())
	}
	if err != nil {
		return w.suspend("the store cannot be looked at: %v", err)
	}
	if !id.Same(w.store.Identity) {
		return w.suspend("%s is another directory or file system than the store (is it not mounted?): found %v, expected %v",
			w.cfg.Root.Path(), id, w.store.Identity)
	}
	opened, err := w.cfg.Root.Opened()
	if err != nil {
		return w.suspend("the store cannot be looked at: %v", err)
	}
	if !opened.Same(id) || opened.Device != id.Device {
		return w.suspend("the store was mounted again")
	}
	mounts, err := mountsWithin(w.root)
	if err == nil && !slices.Equal(mounts, w.mounts) {
		return w.suspend("what is mounted at or below the store has changed")
	}
	return nil
}

// checkContent makes sure that the root can be listed, and is not empty though
// the catalog knows of content: that would be an unmounted store too. One that was
// seen to be empty is the store again when something is in it that was before, and
// not what a mail server makes where it finds nothing.
func (w *Watcher) checkContent() error {
	d, err := w.cfg.Root.Dir(journal.Root)
	if err != nil {
		return w.suspend("the store cannot be opened: %v", err)
	}
	defer d.Close()
	some, err := w.hasContent(d)
	if err != nil {
		return err
	}
	known, familiar := uint64(0), false
	err = w.cfg.Catalog.View(func(tx *catalog.Tx) (err error) {
		t := tx.Totals()
		known, familiar = t.Files+t.Directories+t.Symlinks, some
		if known > 0 && some && w.emptied {
			familiar, err = w.familiarIn(tx, d)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case known == 0 || familiar:
		w.emptied = false
		return nil
	case !some:
		w.emptied = true
		return w.suspend("%s is empty, but %d files and directories are known to be in it", w.cfg.Root.Path(), known)
	}
	return w.suspend("nothing that is in %s now was in it before, and %d files and directories are known to be in it", w.cfg.Root.Path(), known)
}

// familiarIn reports whether there is anything in the root that the catalog knows,
// under whatever name.
func (w *Watcher) familiarIn(tx *catalog.Tx, root *beneath.Dir) (bool, error) {
	var own error // as opposed to one of the store
	err := root.Each(func(names []beneath.Name) error {
		for _, n := range names {
			info, err := root.Stat(n.Name)
			if err != nil || w.cfg.Rules.Classify(journal.Path(n.Name), info.Facts.Type) == ClassIgnored {
				continue
			}
			for _, s := range w.aliases(info.Stamp) {
				found, err := tx.FindStamp(s)
				if own = err; err != nil {
					return err
				}
				if len(found) > 0 {
					return errEnough
				}
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, errEnough):
		return true, nil
	case own == nil && err != nil:
		return false, w.suspend("the store cannot be listed: %v", err)
	}
	return false, own
}

// hasContent is meaningIn of a root that is observed.
func (w *Watcher) hasContent(root *beneath.Dir) (bool, error) {
	some, err := w.meaningIn(root)
	if err != nil {
		err = w.suspend("the store cannot be listed: %v", err)
	}
	return some, err
}

// meaningIn reports whether there is anything in a root that means something.
func (w *Watcher) meaningIn(root *beneath.Dir) (bool, error) {
	name, err := SomethingIn(root, w.cfg.Rules)
	return name != "", err
}

// SomethingIn returns the name of something in a root that means something by the
// rules; "" if there is nothing.
func SomethingIn(root *beneath.Dir, rules Rules) (found string, err error) {
	err = root.Each(func(names []beneath.Name) error {
		for _, n := range names {
			if rules.Classify(journal.Path(n.Name), n.Type) != ClassIgnored {
				found = n.Name
				return errEnough
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return found, err
}

// identify loads which store the catalog is of, or records it.
func (w *Watcher) identify() error {
	var value []byte
	err := w.cfg.Catalog.View(func(tx *catalog.Tx) (err error) {
		value, err = tx.Meta(metaStore)
		return err
	})
	if errors.Is(err, catalog.ErrNotFound) {
		id, err := w.cfg.Root.Opened()
		if err != nil {
			return fmt.Errorf("identify the store: %w", err)
		}
		return w.remember(id)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(value, &w.store); err != nil {
		return fmt.Errorf("the store's identity in the catalog: %w", err)
	}
	return nil
}

// remember records who the store is.
func (w *Watcher) remember(id beneath.Identity) error {
	w.store.Identity = id
	devices := slices.DeleteFunc(w.store.Devices, func(d uint64) bool { return d == id.Device })
	if len(devices) >= maxDevices {
		devices = devices[1:]
	}
	w.store.Devices = append(devices, id.Device)
	return w.cfg.Catalog.UpdateDurably(func(tx *catalog.Tx) error { return tx.SetMetaJSON(metaStore, w.store) })
}

// ErrNothingThere says that there is nothing at the store's path that could be
// accepted as the store.
var ErrNothingThere = errors.New("there is nothing in the store")

// Accept says on behalf of the operator that what is at the store's path now
// is the store, though it is another directory or file system than before, and
// that directories which are in doubt, and messages which were changed in place, are
// right as they are. Everything is scanned and compared by content then; what is
// missing is journaled as removed. It takes effect when the watcher looks at the store next.
//
// ErrNothingThere: what is there is empty, as the place where a file system is not
// mounted, or cannot be listed. Nobody can say that this is the store.
func (w *Watcher) Accept() error {
	if err := w.anythingThere(); err != nil {
		return err
	}
	w.accept.Store(true)
	w.dirty.signal()
	return nil
}

// anythingThere makes sure that something is at the store's path now, whatever was
// opened there before.
func (w *Watcher) anythingThere() error {
	root, err := beneath.Open(w.cfg.Root.Path())
	if err != nil {
		return err
	}
	defer root.Close()
	top, err := root.Dir(journal.Root)
	if err != nil {
		return err
	}
	defer top.Close()
	switch some, err := w.meaningIn(top); {
	case err != nil:
		return fmt.Errorf("%w: it cannot be listed: %w", ErrNothingThere, err)
	case !some:
		return fmt.Errorf("%w: %s is empty", ErrNothingThere, w.cfg.Root.Path())
	}
	return nil
}

// recover tries to go on with the store: it is opened anew, and if it is the
// one that it was, everything is scanned.
func (w *Watcher) recover() error {
	id, err := w.cfg.Root.Identity()
	accepted := err == nil && w.accept.Swap(false) && w.anythingThere() == nil
	if accepted {
		w.emptied = false
		w.lookAgain()
		w.doubts.accept()
		w.rewrites = w.cfg.Clock.Now().UnixNano() // they are found by the scan
		err = w.remember(id)
	}
	if err == nil && id.Same(w.store.Identity) {
		err = w.cfg.Root.Reopen()
		if err == nil && id.Device != w.store.Identity.Device {
			err = w.remember(id)
		}
		if err == nil {
			w.mounts, err = mountsWithin(w.root)
		}
		if err == nil {
			err = w.noteMounts()
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return w.suspend("the store cannot be opened: %v", err)
	}
	if err := w.checkNow(); err != nil || accepted {
		return err
	}
	return w.checkContent()
}

// same reports whether two stamps are of one file, also when its file system
// has another device number since.
func (w *Watcher) same(a, b journal.Stamp) bool {
	return a.Inode == b.Inode && a.Inode != 0 && a.Birth == b.Birth && w.sameDevice(a, b)
}

func (w *Watcher) sameDevice(a, b journal.Stamp) bool {
	return a.Device == b.Device || slices.Contains(w.store.Devices, a.Device) && slices.Contains(w.store.Devices, b.Device)
}

// aliases returns the stamps by which the catalog may know a file.
func (w *Watcher) aliases(s journal.Stamp) []journal.Stamp {
	all := []journal.Stamp{s}
	if !slices.Contains(w.store.Devices, s.Device) {
		return all
	}
	for _, d := range w.store.Devices {
		if d != s.Device {
			alias := s
			alias.Device = d
			all = append(all, alias)
		}
	}
	return all
}

// networkFS names the file systems on which other machines' changes raise no
// events here.
func networkFS(fsType int64) string {
	switch uint32(fsType) {
	case 0x6969:
		return "NFS"
	case 0xff534d42, 0xfe534d42, 0x517b:
		return "SMB"
	case 0x01021997:
		return "9p"
	case 0x00c36400:
		return "Ceph"
	case 0x6b414653, 0x5346414f:
		return "AFS"
	}
	return ""
}

// now returns the time since the observer began. It never goes back, whatever
// the clock does.
func (w *Watcher) now() time.Duration {
	t := w.cfg.Clock.Now()
	if d := t.Sub(w.lastNow); d > 0 {
		w.elapsed += d
	}
	w.lastNow = t
	return w.elapsed
}

// racy reports whether a time stamp of a file is so recent that another change
// could get the same one. A time in the future is.
func (w *Watcher) racy(stamp int64) bool {
	return w.cfg.Clock.Now().UnixNano()-stamp < int64(w.cfg.Timing.Racy)
}
