package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

const (
	cursorsName  = "cursors"
	cursorsMagic = "mtcursor"

	// MaxCursors is how many mirrors a journal can remember.
	MaxCursors = 256
	// MaxCursorName is how many bytes the name of a mirror can have.
	MaxCursorName = 255

	cursorsFixed = 8 + 4 + 32 + 2 // of the file, without the cursors and the checksum
	maxCursors   = cursorsFixed + MaxCursors*(1+MaxCursorName+32) + 4
)

// Cursor is the place up to which one mirror has made everything durable.
type Cursor struct {
	Name     string
	Position Position
	Behind   bool // what it needs next was dropped; it must resync
}

// SetCursor remembers that the mirror called name is at p. It is cheap: the
// cursor is durable after the next SaveCursors or Close, the next Trim that
// drops something, or the next Append that begins a segment. A cursor that is
// found older after a crash does no harm. It is ErrDiverged if p is beyond the
// head.
func (l *Log) SetCursor(name string, p Position) error {
	if name == "" || len(name) > MaxCursorName {
		return fmt.Errorf("setting a cursor: a name of %d bytes", len(name))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old, known := l.cursors[name]
	switch {
	case l.closed:
		return ErrClosed
	case p.Sequence > l.head.Sequence:
		return fmt.Errorf("setting the cursor %q: %w: %v is beyond the head %v", name, ErrDiverged, p, l.head)
	case !known && len(l.cursors) == MaxCursors:
		return fmt.Errorf("setting the cursor %q: there are %d already", name, MaxCursors)
	case known && old == p:
		return nil
	}
	l.cursors[name] = p
	l.dirty = true
	return nil
}

// DropCursor forgets a cursor, durably when it returns. Dropping one that is
// not there does nothing.
func (l *Log) DropCursor(name string) error {
	l.mu.Lock()
	old, known := l.cursors[name]
	closed := l.closed
	if known && !closed {
		delete(l.cursors, name)
		l.dirty = true
	}
	l.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if !known {
		return nil
	}
	err := l.saveCursors(false)
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if _, again := l.cursors[name]; !again {
			l.cursors[name] = old
		}
	}
	return err
}

// Cursors returns all cursors, by name.
func (l *Log) Cursors() []Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	start := l.segments[0].before.Sequence
	all := make([]Cursor, 0, len(l.cursors))
	for _, name := range slices.Sorted(maps.Keys(l.cursors)) {
		p := l.cursors[name]
		all = append(all, Cursor{Name: name, Position: p, Behind: p.Sequence < start})
	}
	return all
}

// SaveCursors makes all cursors durable.
func (l *Log) SaveCursors() error {
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return l.saveCursors(false)
}

// saveCursors writes the file if the cursors differ from it or, with andHead,
// the head does.
func (l *Log) saveCursors(andHead bool) error {
	l.saveMu.Lock()
	defer l.saveMu.Unlock()
	l.mu.Lock()
	state := cursorState{head: l.head, cursors: maps.Clone(l.cursors)}
	needed := l.dirty || (andHead && l.head != l.saved)
	if needed {
		l.dirty = false
	}
	l.mu.Unlock()
	if !needed {
		return nil
	}
	path := filepath.Join(l.dir, cursorsName)
	file, err := writeDurably(l.fs, path, state.encode())
	if err == nil {
		l.saved = state.head
		err = file.Close()
	}
	if err != nil {
		l.mu.Lock()
		l.dirty = true
		l.mu.Unlock()
		return fmt.Errorf("saving the cursors in %q: %w", path, err)
	}
	return nil
}

func (l *Log) loadCursors() (_ cursorState, err error) {
	path := filepath.Join(l.dir, cursorsName)
	file, err := l.fs.Open(path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return cursorState{cursors: map[string]Position{}}, nil
	}
	if err != nil {
		return cursorState{}, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	b, err := io.ReadAll(io.NewSectionReader(file, 0, maxCursors+1))
	if err != nil {
		return cursorState{}, fmt.Errorf("reading %q: %w", path, err)
	}
	state, err := decodeCursors(b)
	switch {
	case errors.Is(err, ErrNewer):
		return cursorState{}, fmt.Errorf("%q: %w; use the program that wrote it", path, err)
	case err != nil:
		return cursorState{}, fmt.Errorf("%w: %q: %w; remove it: the mirrors say again where they are", ErrCorrupt, path, err)
	}
	return state, nil
}

// cursorState is what the file of cursors holds.
type cursorState struct {
	head    Position // what was durable when the file was written
	cursors map[string]Position
}

func (s cursorState) encode() []byte {
	b := append([]byte(nil), cursorsMagic...)
	b = binary.BigEndian.AppendUint32(b, formatVersion)
	b = appendPosition(b, s.head)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.cursors)))
	for _, name := range slices.Sorted(maps.Keys(s.cursors)) {
		b = append(append(b, byte(len(name))), name...)
		b = appendPosition(b, s.cursors[name])
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeCursors(b []byte) (cursorState, error) {
	if err := checkFormat(b, cursorsMagic); err != nil {
		return cursorState{}, err
	}
	if len(b) < cursorsFixed+4 || len(b) > maxCursors {
		return cursorState{}, fmt.Errorf("it is %d bytes long", len(b))
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return cursorState{}, errors.New("its checksum does not match")
	}
	d := decoder{b: body[len(cursorsMagic)+4:]}
	s := cursorState{head: d.position(), cursors: map[string]Position{}}
	count := int(binary.BigEndian.Uint16(d.take(2)))
	d.check(count <= MaxCursors)
	for last := ""; count > 0 && !d.failed; count-- {
		name := string(d.take(int(d.byte())))
		d.check(name > last)
		s.cursors[name] = d.position()
		last = name
	}
	if d.failed || len(d.b) > 0 {
		return cursorState{}, errors.New("its cursors are malformed")
	}
	return s, nil
}

func appendPosition(b []byte, p Position) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(p.Epoch))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Sequence))
	return append(b, p.Digest[:]...)
}

func (d *decoder) position() Position {
	p := Position{Epoch: Epoch(d.fixed64()), Sequence: Sequence(d.fixed64())}
	copy(p.Digest[:], d.take(len(p.Digest)))
	return p
}
