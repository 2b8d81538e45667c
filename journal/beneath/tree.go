package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
)

// maxHandles bounds the directories that RemoveTree has open at once.
const maxHandles = 64

// RemoveTree removes name with all that is in it. It goes down by handles and
// follows no link, and stops with EXDEV at what is mounted within. Descriptors
// and memory do not grow with the depth of the tree. After an error some of the
// tree may be gone; it can be called again. fs.ErrNotExist if there is nothing
// of that name. It goes on for as long as something else adds to the tree.
func (d *Dir) RemoveTree(name string) error {
	if err := checkName(name); err != nil {
		return d.fail("remove tree", name, err)
	}
	r := remover{}
	if err := r.remove(d, name); err != nil {
		return d.fail("remove tree", name, err)
	}
	return nil
}

// remover removes one tree.
type remover struct {
	open  []*Dir // from the top of the tree down
	moved int    // how many deep directories were moved to the top
}

// remove removes whatever is called name in parent. What it is may change
// between two looks, so it is not asked: the calls themselves say it.
func (r *remover) remove(parent *Dir, name string) error {
	for {
		err := restart(func() error { return unix.Unlinkat(parent.fd, name, 0) })
		if err != unix.EISDIR {
			return err
		}
		err = r.removeDir(parent, name)
		if !errors.Is(err, unix.ELOOP) && !errors.Is(err, unix.ENOTDIR) {
			return err
		}
	}
}

// removeDir removes the directory name in parent. What lies deeper than
// maxHandles is moved to the top of the tree, and found there on a next pass.
func (r *remover) removeDir(parent *Dir, name string) error {
	if len(r.open) == maxHandles {
		return r.lift(parent, name)
	}
	how := unix.OpenHow{Flags: uint64(openDirectory), Resolve: resolveBeneath | unix.RESOLVE_NO_XDEV}
	fd := -1
	err := restart(func() (err error) {
		fd, err = unix.Openat2(parent.fd, name, &how)
		return err
	})
	if err != nil {
		return fmt.Errorf("open directory %q: %w", name, err)
	}
	dir := &Dir{root: parent.root, path: parent.path.Join(name), fd: fd}
	r.open = append(r.open, dir)
	defer func() {
		r.open = r.open[:len(r.open)-1]
		_ = dir.Close()
	}()
	for {
		done, err := r.empty(dir)
		if err != nil {
			return err
		}
		err = restart(func() error { return unix.Unlinkat(parent.fd, name, unix.AT_REMOVEDIR) })
		if !errors.Is(err, fs.ErrExist) || done == 0 {
			return err
		}
	}
}

// empty makes one pass over dir and returns how much it did.
func (r *remover) empty(dir *Dir) (done int, err error) {
	err = dir.Each(func(names []Name) error {
		for _, n := range names {
			err := r.remove(dir, n.Name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("remove %q: %w", n.Name, err)
			}
			done++
		}
		return nil
	})
	return done, err
}

// lift moves the directory name to the top of the tree.
func (r *remover) lift(parent *Dir, name string) error {
	top := r.open[0]
	for {
		r.moved++
		to := ".removing-" + strconv.Itoa(r.moved)
		err := restart(func() error {
			return unix.Renameat2(parent.fd, name, top.fd, to, unix.RENAME_NOREPLACE)
		})
		if err != unix.EEXIST {
			return err
		}
	}
}

// MakeDirs opens a directory beneath the root, and makes what there is not of
// the way to it, name by name, each durable before the next.
func (r *Root) MakeDirs(names ...string) (*Dir, error) {
	dir, err := r.Dir(journal.Root)
	for _, name := range names {
		if err != nil {
			return nil, err
		}
		var next *Dir
		if merr := dir.Mkdir(name, 0o700); merr == nil {
			err = dir.Sync()
		} else if !errors.Is(merr, fs.ErrExist) {
			err = merr
		}
		if err == nil {
			next, err = dir.Dir(name)
		}
		_ = dir.Close()
		dir = next
	}
	return dir, err
}
