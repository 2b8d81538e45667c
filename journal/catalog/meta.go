package catalog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
)

// formatVersion is the version of the whole catalog. Version 2 has guesses; a
// catalog of version 1 is one without any, and becomes one of this version when
// it is opened.
const formatVersion = 2

// The keys of the meta space.
const (
	keyFormat = "mf" // format version (uvarint), then the check of the digest key
	keyState  = "ms" // see appendState
	keyUser   = "mu" // followed by a key of Tx.Meta
)

// state is what is stored with each update beside the items.
type state struct {
	position journal.Position
	next     dirID // the id of the next directory
	trash    queue // of directories that wait to be swept
}

// queue is the numbers from first up to but not including next.
type queue struct{ first, next uint64 }

func appendState(b []byte, s state) []byte {
	b = binary.AppendUvarint(b, uint64(s.next))
	b = binary.AppendUvarint(b, s.trash.first)
	b = binary.AppendUvarint(b, s.trash.next)
	b = binary.AppendUvarint(b, uint64(s.position.Epoch))
	b = binary.AppendUvarint(b, uint64(s.position.Sequence))
	return append(b, s.position.Digest[:]...)
}

func parseState(b []byte) (s state, err error) {
	p := &parser{b: b}
	s.next = dirID(p.uvarint())
	s.trash = queue{p.uvarint(), p.uvarint()}
	s.position.Epoch = journal.Epoch(p.uvarint())
	s.position.Sequence = journal.Sequence(p.uvarint())
	copy(s.position.Digest[:], p.take(len(s.position.Digest)))
	if p.bad || len(p.b) != 0 {
		return state{}, fmt.Errorf("%w: state", errRecord)
	}
	return s, nil
}

func readState(r reader) (s state, err error) {
	found, err := get(r, []byte(keyState), func(v []byte) (err error) {
		s, err = parseState(v)
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: no state", errRecord)
	}
	return s, err
}

func writeState(b *batch, s state) error {
	return b.Set([]byte(keyState), appendState(nil, s), nil)
}

// checkFormat reports whether there is a catalog in the store at all, and of
// which version.
func checkFormat(r reader, key Digest) (found bool, version uint64, err error) {
	found, err = get(r, []byte(keyFormat), func(v []byte) error {
		p := &parser{b: v}
		switch version = p.uvarint(); {
		case p.bad:
			return fmt.Errorf("%w: format", errRecord)
		case version > formatVersion:
			return fmt.Errorf("%w: version %d, this mailtwin knows %d", ErrNewer, version, formatVersion)
		case !bytes.Equal(p.b, key[:]):
			return ErrKey
		}
		return nil
	})
	return found, version, err
}

func writeFormat(b *batch, key Digest) error {
	return b.Set([]byte(keyFormat), append(binary.AppendUvarint(nil, formatVersion), key[:]...), nil)
}

// openError names what Pebble reports otherwise: a newer format in words
// only, and a file that it lacks as one that does not exist.
func openError(err error) error {
	switch {
	case strings.Contains(err.Error(), "unknown format major version"):
		return fmt.Errorf("%w: %w", ErrNewer, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: a file is missing: %w", errRecord, err)
	case errors.Is(err, unix.EAGAIN): // of its lock
		return fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return err
}

// Position returns the place in the journal up to which the catalog has
// applied it.
func (t *Tx) Position() journal.Position { return t.state.position }

// Version returns what Catalog.Version returned when the view began.
func (t *Tx) Version() uint64 { return t.version }

// SetPosition sets Position; it is stored together with the update's changes.
func (t *Tx) SetPosition(p journal.Position) {
	if t.b == nil {
		t.err = ErrReadOnly
	}
	t.state.position = p
}

// Meta returns a small value that the node keeps by SetMeta, or ErrNotFound.
func (t *Tx) Meta(key string) (value []byte, err error) {
	found, err := get(t.r, []byte(keyUser+key), func(v []byte) error {
		value = bytes.Clone(v)
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: meta %q", ErrNotFound, key)
	}
	return value, err
}

// EachMeta calls f with what follows prefix in the keys that begin with it, in the order
// of their bytes, until f returns an error, which EachMeta returns.
func (t *Tx) EachMeta(prefix string, f func(rest string) error) error {
	head := []byte(keyUser + prefix)
	return scan(t.r, head, after(head), func(key, _ []byte) error { return f(string(key[len(head):])) })
}

// MetaJSON reads a value that SetMetaJSON has kept into v, which stays as it is if
// there is none.
func (t *Tx) MetaJSON(key string, v any) error {
	value, err := t.Meta(key)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(value, v)
}

// SetMetaJSON keeps a small value as JSON under key.
func (t *Tx) SetMetaJSON(key string, v any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return t.SetMeta(key, value)
}

// SetMeta keeps a small value under key; nil forgets it.
func (t *Tx) SetMeta(key string, value []byte) error {
	if t.b == nil {
		return ErrReadOnly
	}
	k := []byte(keyUser + key)
	if value == nil {
		return t.b.Delete(k, nil)
	}
	return t.b.Set(k, value, nil)
}
