package catalog

import (
	"encoding/binary"
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
)

// The most names that the Find methods return.
const (
	maxStampNames   = 64
	maxContentNames = 8
	maxLinkNames    = 1024
)

// FindStamp returns the names of this very file or directory (the same
// device, inode and birth), at most 64 of them.
func (t *Tx) FindStamp(s journal.Stamp) ([]journal.Path, error) {
	if s.Inode == 0 {
		return nil, nil
	}
	prefix := binary.BigEndian.AppendUint64([]byte{spaceStamp}, s.Inode)
	return t.findAll(prefix, maxStampNames, func(r *record) bool { return r.Stamp.SameFile(s) })
}

// FindContent returns names of files that have this content, at most 8 of
// them, and none that is Missing.
func (t *Tx) FindContent(id journal.ContentID) ([]journal.Path, error) {
	if !id.Known() {
		return nil, nil
	}
	prefix := append([]byte{spaceContent}, id[:contentPrefix]...)
	return t.findAll(prefix, maxContentNames, func(r *record) bool { return r.Facts.Content == id })
}

// FindLink returns the names in a group of hard links, at most 1024 of them.
func (t *Tx) FindLink(link uint64) ([]journal.Path, error) {
	if link == 0 {
		return nil, nil
	}
	prefix := binary.BigEndian.AppendUint64([]byte{spaceLink}, link)
	return t.findAll(prefix, maxLinkNames, func(r *record) bool { return r.Link == link })
}

// Missing returns at most limit names of files whose content never came.
func (t *Tx) Missing(limit int) ([]journal.Path, error) {
	if limit <= 0 {
		return nil, nil
	}
	return t.findAll([]byte{spaceMissing}, limit, func(r *record) bool { return r.Missing })
}

func (t *Tx) findAll(prefix []byte, limit int, match func(*record) bool) (paths []journal.Path, err error) {
	err = t.eachRef(prefix, prefix, func(_ []byte, p journal.Path, r *record) error {
		if match(r) {
			paths = append(paths, p)
		}
		if len(paths) >= limit {
			return errStop
		}
		return nil
	})
	return paths, err
}

// eachRef calls f with the items that an index leads to under prefix, from
// the key from on. Items that only wait to be swept are left out.
func (t *Tx) eachRef(prefix, from []byte, f func(key []byte, p journal.Path, r *record) error) error {
	return scan(t.r, from, after(prefix), func(key, _ []byte) error {
		head := len(prefix)
		dir, name, err := parseRef(key[head:])
		if err != nil {
			return err
		}
		p, live, err := t.path(dir, name)
		if err != nil || !live {
			return err
		}
		r, err := t.child(dir, name)
		if isNotFound(err) {
			return fmt.Errorf("%w: index without an item: %q", errRecord, p)
		}
		if err != nil {
			return err
		}
		return f(key, p, r)
	})
}

// Cursor is a place in the walk of Unread or EachMissing. The zero Cursor is its beginning.
// It may be kept: it stays right whatever changes in between.
type Cursor string

// Unread calls f with up to limit files whose content is not known yet, those
// of one directory together, beginning after the place next of an earlier
// call. It returns where to go on: the zero Cursor after the last file. An
// error of f ends the walk and is returned, with the place before that file.
func (t *Tx) Unread(after Cursor, limit int, f func(p journal.Path, it Item) error) (next Cursor, err error) {
	return t.walk(spaceUnread, after, limit, f)
}

// EachMissing is Unread for the files whose content never came.
func (t *Tx) EachMissing(after Cursor, limit int, f func(p journal.Path, it Item) error) (next Cursor, err error) {
	return t.walk(spaceMissing, after, limit, f)
}

// walk goes through an index whose keys are nothing but (directory, name).
func (t *Tx) walk(space byte, after Cursor, limit int, f func(p journal.Path, it Item) error) (next Cursor, err error) {
	prefix := []byte{space}
	from := append(prefix[:1:1], after...)
	if after != "" {
		from = append(from, 0) // the least key above it
	}
	next = after
	more := false
	err = t.eachRef(prefix, from, func(key []byte, p journal.Path, r *record) error {
		if limit <= 0 {
			more = true
			return errStop
		}
		limit--
		place := Cursor(key[len(prefix):])
		if err := f(p, r.Item); err != nil {
			return err
		}
		next = place
		return nil
	})
	if err == nil && !more {
		next = ""
	}
	return next, err
}
