package catalog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
)

// What a directory adds to the digest and totals of its parent changes with
// each file in it. So that a thousand files cost one update of their
// ancestors, an update takes what a directory adds out of its parent when it
// first touches it, and puts it back in when it settles. Whoever is touched
// has touched ancestors, up to the root.

// keptNodes bounds how many directories an update remembers once they are settled.
const keptNodes = 1024

// swept is how many items an update sweeps, at least, out of directories that
// were removed; also twice as many as it has made changes, so that what
// waits to be swept becomes less.
const swept = 512

// node is a directory that an update works on.
type node struct {
	record
	up      dirID // noDir: the root
	name    string
	touched bool
}

// writeTx begins an update that collects its changes in b.
func (c *Catalog) writeTx(b *batch) (*Tx, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.store.failure(); err != nil {
		return nil, err
	}
	return &Tx{
		r: b, b: b, state: c.state, paths: c.paths, hash: c.hash.clone(),
		old: c.state.next, nodes: map[dirID]*node{},
	}, nil
}

// finish completes the batch of an update.
func (t *Tx) finish() error {
	if err := t.settle(); err != nil {
		return err
	}
	if err := t.sweep(max(swept, 2*t.changes)); err != nil {
		return err
	}
	if t.err != nil {
		return t.err
	}
	return writeState(t.b, t.state)
}

// node returns a directory to work on.
func (t *Tx) node(dir dirID) (*node, error) {
	if n, ok := t.nodes[dir]; ok {
		return n, nil
	}
	up, name, err := t.dirName(dir)
	if err != nil {
		return nil, err
	}
	r, err := t.child(up, name)
	if err != nil {
		return nil, fmt.Errorf("directory %d: %w: %w", dir, errRecord, err)
	}
	n := &node{record: *r, up: up, name: name}
	t.nodes[dir] = n
	return n, nil
}

// touch returns a directory whose digest, totals and record may be changed.
func (t *Tx) touch(dir dirID) (*node, error) {
	n, err := t.node(dir)
	if err != nil || n.touched {
		return n, err
	}
	if n.up != noDir {
		up, err := t.touch(n.up)
		if err != nil {
			return nil, err
		}
		t.unaccount(up, n.name, &n.record)
	}
	n.touched, t.touched = true, true
	return n, nil
}

func (t *Tx) account(up *node, name string, r *record) {
	up.Digest.add(t.hash.child(name, r))
	up.Totals.add(r.counts())
}

func (t *Tx) unaccount(up *node, name string, r *record) {
	up.Digest.sub(t.hash.child(name, r))
	up.Totals.sub(r.counts())
}

// settle brings the digests and totals of all directories up to date.
func (t *Tx) settle() error {
	if !t.touched {
		return nil
	}
	children := map[dirID][]*node{}
	for _, n := range t.nodes {
		if n.touched && n.up != noDir {
			children[n.up] = append(children[n.up], n)
		}
	}
	root, err := t.node(rootDir)
	if err == nil {
		err = t.settleNode(root, children)
	}
	if err != nil {
		return err
	}
	for id, n := range t.nodes {
		// Who is still touched was removed with a directory above it.
		if n.touched || len(t.nodes) > keptNodes {
			delete(t.nodes, id)
		}
	}
	t.touched = false
	return nil
}

func (t *Tx) settleNode(n *node, children map[dirID][]*node) error {
	for _, c := range children[n.Dir] {
		if err := t.settleNode(c, children); err != nil {
			return err
		}
		t.account(n, c.name, &c.record)
	}
	n.touched = false
	return t.set(n.up, n.name, &n.record)
}

// set writes a record.
func (t *Tx) set(dir dirID, name string, r *record) error {
	t.key = refKey(t.key[:0], spaceChild, dir, name)
	t.value = appendRecord(t.value[:0], r)
	return t.b.Set(t.key, t.value, nil)
}

// unset removes a record.
func (t *Tx) unset(dir dirID, name string) error {
	t.key = refKey(t.key[:0], spaceChild, dir, name)
	return t.b.Delete(t.key, nil)
}

// place writes where a directory is.
func (t *Tx) place(dir, up dirID, name string) error {
	t.key = dirKey(t.key[:0], dir)
	return t.b.Set(t.key, refValue(up, name), nil)
}

// index brings the indexes from what a record was marked with to what it is
// marked with now.
func (t *Tx) index(dir dirID, name string, was, is marks) error {
	if was == is {
		return nil
	}
	var err error
	move := func(changed, del, set bool, key func(m marks) []byte) {
		if err != nil || !changed {
			return
		}
		if del {
			t.key = key(was)
			err = t.b.Delete(t.key, nil)
		}
		if set && err == nil {
			t.key = key(is)
			err = t.b.Set(t.key, nil, nil)
		}
	}
	b := t.key[:0]
	move(was.inode != is.inode, was.inode != 0, is.inode != 0, func(m marks) []byte {
		return numberKey(b, spaceStamp, m.inode, dir, name)
	})
	move(was.link != is.link, was.link != 0, is.link != 0, func(m marks) []byte {
		return numberKey(b, spaceLink, m.link, dir, name)
	})
	move(was.content != is.content, was.content.Known(), is.content.Known(), func(m marks) []byte {
		return contentKey(b, m.content, dir, name)
	})
	move(was.unread != is.unread, was.unread, is.unread, func(marks) []byte {
		return refKey(b, spaceUnread, dir, name)
	})
	move(was.missing != is.missing, was.missing, is.missing, func(marks) []byte {
		return refKey(b, spaceMissing, dir, name)
	})
	return err
}

// sweep removes up to n items of the directories that were removed, the
// oldest first.
func (t *Tx) sweep(n int) error {
	for q := &t.state.trash; n > 0 && q.first < q.next; {
		key := trashKey(q.first)
		var dir dirID
		var from string
		found, err := get(t.r, key, func(v []byte) (err error) {
			dir, from, err = parseRef(v)
			return err
		})
		if err == nil && !found {
			err = fmt.Errorf("%w: no trash %d", errRecord, q.first)
		}
		if err == nil {
			n, from, err = t.sweepDir(dir, from, n)
		}
		switch {
		case err != nil:
			return err
		case n <= 0:
			return t.b.Set(key, refValue(dir, from), nil)
		}
		t.key = dirKey(t.key[:0], dir)
		if err := errors.Join(t.b.Delete(t.key, nil), t.b.Delete(key, nil)); err != nil {
			return err
		}
		q.first++
	}
	return nil
}

// sweepDir removes up to n items. It goes on where the last sweep ended, not
// over all that was removed before, and returns where it ended, and how many
// more it might have removed.
func (t *Tx) sweepDir(dir dirID, from string, n int) (left int, last string, err error) {
	lower := refKey(nil, spaceChild, dir, from)
	upper := after(refKey(nil, spaceChild, dir, ""))
	err = scan(t.r, lower, upper, func(key, value []byte) error {
		if n <= 0 {
			return errStop
		}
		n--
		r, err := parseRecord(value)
		if err != nil {
			return err
		}
		if _, from, err = parseRef(key[1:]); err != nil {
			return err
		}
		if r.isDir() {
			if err := t.discard(r.Dir); err != nil {
				return err
			}
		}
		if err := t.index(dir, from, r.marks(), marks{}); err != nil {
			return err
		}
		return t.unset(dir, from)
	})
	return n, from, err
}

// discard leaves a directory that is nowhere any more to be swept.
func (t *Tx) discard(dir dirID) error {
	delete(t.nodes, dir)
	if err := t.place(dir, noDir, ""); err != nil {
		return err
	}
	key := trashKey(t.state.trash.next)
	t.state.trash.next++
	return t.b.Set(key, refValue(dir, ""), nil)
}

func trashKey(n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{spaceTrash}, n)
}

// relocated tells the caches that paths have changed.
func (t *Tx) relocated() { t.moved, t.own = true, nil }

// mkdirs returns the directory p, making it and those above it as need be;
// what is in the way is replaced.
func (t *Tx) mkdirs(p journal.Path) (dirID, error) {
	id, err := t.dirOf(p)
	if err == nil || !isNotFound(err) {
		return id, err
	}
	up, err := t.mkdirs(p.Dir())
	if err != nil {
		return 0, err
	}
	return t.makeDir(up, p, Item{Facts: journal.Facts{Type: journal.TypeDirectory}})
}

// makeDir makes the directory p in up.
func (t *Tx) makeDir(up dirID, p journal.Path, it Item) (dirID, error) {
	if err := t.clear(up, p.Name()); err != nil {
		return 0, err
	}
	into, err := t.touch(up)
	if err != nil {
		return 0, err
	}
	into.Observed = 0
	r := newRecord(it)
	r.Dir = t.state.next
	t.state.next++
	t.changes++
	n := &node{record: *r, up: up, name: p.Name(), touched: true}
	t.nodes[r.Dir] = n
	if err := t.place(r.Dir, up, n.name); err != nil {
		return 0, err
	}
	if err := t.index(up, n.name, marks{}, r.marks()); err != nil {
		return 0, err
	}
	t.remember(p, r.Dir)
	return r.Dir, t.set(up, n.name, r)
}
