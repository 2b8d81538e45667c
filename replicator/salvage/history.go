package salvage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// history keeps files of the store under further names, beneath a directory
// that is never replicated and that no mail server looks into: a file stays
// there when the store loses it. Its path there is that in the store.
type history struct {
	root  *beneath.Root
	epoch journal.Epoch
	kept  uint64
	dirty bool
}

// maxCopies is how many different files may be kept under one name.
const maxCopies = 1000

// keep keeps a file. It is durable after sync. Keeping it again does nothing.
func (h *history) keep(p journal.Path) error {
	from, err := h.root.Dir(p.Dir())
	if err != nil {
		return fmt.Errorf("keep %q in the history: %w", string(p), err)
	}
	defer func() { _ = from.Close() }()
	place := mailstore.History(h.epoch)
	if dir := p.Dir(); dir != journal.Root {
		place = place.Join(string(dir))
	}
	to, err := h.root.MakeDirs(strings.Split(string(place), "/")...)
	if err == nil {
		err = h.link(from, to, p.Name())
		_ = to.Close()
	}
	if err != nil {
		return fmt.Errorf("keep %q in the history: %w", string(p), err)
	}
	h.kept++
	h.dirty = true
	return nil
}

// link gives a file its further name. What is there already under it may be
// another one, of a salvage before.
func (h *history) link(from, to *beneath.Dir, name string) error {
	file, err := from.Stat(name)
	if err != nil {
		return err
	}
	for i := range maxCopies {
		as := name
		if i > 0 {
			mark := "~" + strconv.Itoa(i)
			as = name[:min(len(name), journal.MaxName-len(mark))] + mark
		}
		err := from.Link(name, to, as)
		if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EMLINK) {
			err = copyFile(from, name, to, as, file)
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		there, err := to.Stat(as)
		if err != nil {
			return err
		}
		if there.Stamp.SameFile(file.Stamp) || there.Facts.Size == file.Facts.Size && there.Facts.Attr.MTime == file.Facts.Attr.MTime {
			return nil
		}
	}
	return fmt.Errorf("more than %d files of that name are kept", maxCopies)
}

// copyFile copies what cannot be linked: it is on another file system than the
// store's root, or is another user's and links to those are forbidden.
func copyFile(from *beneath.Dir, name string, to *beneath.Dir, as string, info beneath.Info) error {
	if info.Facts.Type == journal.TypeSymlink {
		target, err := from.Readlink(name)
		if err != nil {
			return err
		}
		return to.Symlink(target, as)
	}
	r, err := from.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	w, err := to.Create(as)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	if err == nil {
		err = w.Sync()
	}
	if err == nil {
		err = beneath.SetFileAttributes(w, info.Facts.Attr)
	}
	if errors.Is(err, beneath.ErrOwner) || errors.Is(err, beneath.ErrXattrs) {
		err = nil
	}
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return errors.Join(err, to.Remove(as))
	}
	return nil
}

// sync makes durable what was kept.
func (h *history) sync() error {
	if !h.dirty {
		return nil
	}
	if err := h.root.SyncFS(); err != nil {
		return fmt.Errorf("make the history durable: %w", err)
	}
	h.dirty = false
	return nil
}
