package catalog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
)

// Tx is what a View or an Update works with. It is for one goroutine, and
// only until the function that it was given to has returned. Paths are
// expected to be as journal.ParsePath accepts them.
type Tx struct {
	r       reader
	state   state
	version uint64     // of a view
	paths   *pathCache // of the catalog; has nothing that is not committed
	err     error      // what could not be reported where it happened

	// The rest is of updates only.
	b       *batch // nil in a view
	hash    *digester
	old     dirID           // directories from here on are new in this update
	own     *pathCache      // what must not be in the catalog's cache (yet)
	moved   bool            // a directory was moved or removed: paths is not to be used
	nodes   map[dirID]*node // see tree.go
	touched bool            // some of nodes are
	changes int
	key     []byte // scratch
	value   []byte // scratch
}

// Lookup returns the item at p, or ErrNotFound.
func (t *Tx) Lookup(p journal.Path) (Item, error) {
	dir, err := t.dirOf(parent(p))
	if err != nil {
		return Item{}, fmt.Errorf("look up %q: %w", p, err)
	}
	r, err := t.child(dir, name(p))
	if err == nil && r.isDir() && t.touched {
		if err = t.settle(); err == nil {
			r, err = t.child(dir, name(p))
		}
	}
	if err != nil {
		return Item{}, fmt.Errorf("look up %q: %w", p, err)
	}
	return r.Item, nil
}

// List calls f with what is in the directory p under names from the name
// from on, in the order of their bytes, until f returns an error, which List
// returns. In an update it lists what was there when it began, so f may make
// changes. ErrNotFound: there is no such directory.
func (t *Tx) List(p journal.Path, from string, f func(name string, it Item) error) error {
	return t.list(p, from, "", f)
}

// ListPrefix is List of the names that begin with prefix.
func (t *Tx) ListPrefix(dir journal.Path, prefix string, f func(name string, it Item) error) error {
	return t.list(dir, prefix, prefix, f)
}

func (t *Tx) list(p journal.Path, from, prefix string, f func(name string, it Item) error) error {
	dir, err := t.dirOf(p)
	if err == nil && dir == noDir {
		err = ErrNotFound
	}
	if err == nil {
		err = t.settle()
	}
	if err != nil {
		return fmt.Errorf("list %q: %w", p, err)
	}
	head := refKey(nil, spaceChild, dir, "")
	lower := refKey(nil, spaceChild, dir, from)
	upper := after(refKey(nil, spaceChild, dir, prefix))
	return scan(t.r, lower, upper, func(key, value []byte) error {
		r, err := parseRecord(value)
		if err != nil {
			return fmt.Errorf("list %q: %w", p, err)
		}
		return f(string(key[len(head):]), r.Item)
	})
}

// Below returns what is counted beneath the directory p, or ErrNotFound. In an
// update it may lack what the update has changed.
func (t *Tx) Below(p journal.Path) (Totals, error) {
	_, r, err := t.find(p)
	if err == nil && !r.isDir() {
		err = ErrNotFound
	}
	if err != nil {
		return Totals{}, fmt.Errorf("count what is beneath %q: %w", p, err)
	}
	return r.Totals, nil
}

// Totals returns what is counted beneath the root.
func (t *Tx) Totals() Totals {
	if r := t.settledRoot(); r != nil {
		return r.Totals
	}
	return Totals{}
}

// Digest returns the digest of the root directory.
func (t *Tx) Digest() Digest {
	if r := t.settledRoot(); r != nil {
		return r.Digest
	}
	return Digest{}
}

// spoil makes the update fail when it ends, unless err is one that left
// everything as it was.
func (t *Tx) spoil(err error) error {
	if err != nil && t.err == nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrNotFound) {
		t.err = err
	}
	return err
}

// settledRoot returns the root's record; if it cannot be had, then the
// update fails when it ends.
func (t *Tx) settledRoot() *record {
	if t.b == nil {
		root, err := t.child(noDir, "")
		t.err = errors.Join(t.err, err)
		return root
	}
	err := t.settle()
	if err == nil {
		var n *node
		if n, err = t.node(rootDir); err == nil {
			return &n.record
		}
	}
	t.err = errors.Join(t.err, err)
	return nil
}

// parent is the directory that the name of p is in; the root's is none.
func parent(p journal.Path) journal.Path {
	if p == journal.Root {
		return ""
	}
	return p.Dir()
}

// name is the name under which p is in its directory.
func name(p journal.Path) string {
	if p == journal.Root {
		return ""
	}
	return p.Name()
}

// child returns the record of a name in a directory, or ErrNotFound. Of a
// touched directory its digest and totals are not up to date.
func (t *Tx) child(dir dirID, name string) (r *record, err error) {
	t.key = refKey(t.key[:0], spaceChild, dir, name)
	found, err := get(t.r, t.key, func(v []byte) (err error) {
		r, err = parseRecord(v)
		return err
	})
	if err == nil && !found {
		return nil, ErrNotFound
	}
	return r, err
}

// dirOf returns the id of the directory p, or ErrNotFound.
func (t *Tx) dirOf(p journal.Path) (dirID, error) {
	switch p {
	case "":
		return noDir, nil
	case journal.Root:
		return rootDir, nil
	}
	if id, ok := t.recall(p); ok {
		return id, nil
	}
	up, err := t.dirOf(p.Dir())
	if err != nil {
		return 0, err
	}
	r, err := t.child(up, p.Name())
	if err != nil {
		return 0, err
	}
	if !r.isDir() {
		return 0, fmt.Errorf("%w: %q is no directory", ErrNotFound, p)
	}
	t.remember(p, r.Dir)
	return r.Dir, nil
}

// recall asks the caches for a directory. The catalog's may know some that
// were made after this view's snapshot.
func (t *Tx) recall(p journal.Path) (dirID, bool) {
	if t.own != nil {
		if id, ok := t.own.get(p); ok {
			return id, true
		}
	}
	if t.moved {
		return 0, false
	}
	id, ok := t.paths.get(p)
	return id, ok && id < t.state.next
}

func (t *Tx) remember(p journal.Path, id dirID) {
	if t.b == nil || !t.moved && id < t.old {
		t.paths.set(p, id)
		return
	}
	if t.own == nil {
		t.own = newPathCache()
	}
	t.own.set(p, id)
}

// path returns the path of a name in a directory; false if that directory
// was removed and only waits to be swept.
func (t *Tx) path(dir dirID, name string) (journal.Path, bool, error) {
	if dir == noDir {
		return journal.Root, true, nil
	}
	names := []string{name}
	size := len(name)
	for dir != rootDir {
		up, n, err := t.dirName(dir)
		if err != nil || up == noDir {
			return "", false, err
		}
		names = append(names, n)
		size += 1 + len(n)
		dir = up
	}
	b := make([]byte, 0, size)
	for i := len(names) - 1; i >= 0; i-- {
		b = append(b, names[i]...)
		if i > 0 {
			b = append(b, '/')
		}
	}
	return journal.Path(b), true, nil
}

// dirName returns where a directory is; its parent is noDir if it is the
// root, or was removed.
func (t *Tx) dirName(dir dirID) (up dirID, name string, err error) {
	t.key = dirKey(t.key[:0], dir)
	found, err := get(t.r, t.key, func(v []byte) (err error) {
		up, name, err = parseRef(v)
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: no directory %d", errRecord, dir)
	}
	return up, name, err
}

func dirKey(b []byte, dir dirID) []byte { return refKey(b, spaceDir, dir, "") }

// refValue is (dir, name) as a value.
func refValue(dir dirID, name string) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(dir)), name...)
}
