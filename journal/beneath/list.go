package beneath

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
)

// Name is one name that a listing found.
type Name struct {
	Name  string
	Type  journal.Type // 0: something that is never replicated
	Inode uint64       // of a mount point, that of the directory beneath the mount
}

// List returns all names of the directory, without "." and "..", in the order
// of the file system. What is renamed meanwhile may be in it once, twice or not
// at all.
func (d *Dir) List() ([]Name, error) {
	var all []Name
	err := d.Each(func(names []Name) error {
		all = append(all, names...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Each calls f with the names of the directory, some hundred at a time, in a
// memory that does not depend on how many there are. The slice is f's until it
// returns, the strings for good. An error of f ends the listing and is
// returned as it is.
//
// Each listing has a place of its own in the directory: they may overlap, and
// f may change the directory.
func (d *Dir) Each(f func([]Name) error) error {
	fd, err := openBeneath(d.fd, ".", openDirectory)
	if err != nil {
		return fmt.Errorf("list directory %q: %w", d.path, err)
	}
	defer unix.Close(fd)
	l := d.root.buffers.Get().(*listing)
	defer d.root.buffers.Put(l)
	for {
		names, err := l.next(fd)
		if err != nil {
			return fmt.Errorf("list directory %q: %w", d.path, err)
		}
		if names == nil {
			return nil
		}
		if len(names) == 0 {
			continue
		}
		if err := f(names); err != nil {
			return err
		}
	}
}

// listing is the memory that one listing needs.
type listing struct {
	buf   []byte
	names []Name
}

func newListing() *listing {
	return &listing{buf: make([]byte, 32<<10), names: make([]Name, 0, 512)}
}

// next returns further names, in a slice that is good until the next call, and
// nil at the end.
func (l *listing) next(fd int) ([]Name, error) {
	clear(l.names)
	n := 0
	err := restart(func() (err error) {
		n, err = unix.Getdents(fd, l.buf)
		return err
	})
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, nil
	}
	if l.names, err = parseDirents(l.names[:0], l.buf[:n]); err != nil {
		return nil, err
	}
	kept := l.names[:0]
	for _, name := range l.names {
		if name.Type == typeUnknown {
			info, err := stat(fd, name.Name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			name.Type = info.Facts.Type
		}
		kept = append(kept, name)
	}
	return kept, nil
}

// typeUnknown is the type of a name whose file system does not say it in the
// listing. It never leaves the package.
const typeUnknown journal.Type = 0xff

// errDirent says that a file system returned something else than names.
var errDirent = fmt.Errorf("malformed directory entry: %w", unix.EIO)

// parseDirents adds the names in buf to names. buf holds what getdents64 fills
// in: for each name the inode (8 bytes), an offset (8), the record's length
// (2), the type (1), and the name up to a NUL, in the byte order of the
// machine.
func parseDirents(names []Name, buf []byte) ([]Name, error) {
	const header = 19
	for len(buf) > 0 {
		if len(buf) < header {
			return names, errDirent
		}
		length := int(binary.NativeEndian.Uint16(buf[16:]))
		if length <= header || length > len(buf) {
			return names, errDirent
		}
		record := buf[:length]
		buf = buf[length:]
		end := bytes.IndexByte(record[header:], 0)
		if end <= 0 {
			return names, errDirent
		}
		name := record[header : header+end]
		if bytes.IndexByte(name, '/') >= 0 {
			return names, errDirent
		}
		inode := binary.NativeEndian.Uint64(record)
		if inode == 0 || string(name) == "." || string(name) == ".." {
			continue // an inode of 0 stands for a name that was removed
		}
		names = append(names, Name{Name: string(name), Type: direntType(record[18]), Inode: inode})
	}
	return names, nil
}

func direntType(t byte) journal.Type {
	switch t {
	case unix.DT_REG:
		return journal.TypeFile
	case unix.DT_DIR:
		return journal.TypeDirectory
	case unix.DT_LNK:
		return journal.TypeSymlink
	case unix.DT_UNKNOWN:
		return typeUnknown
	}
	return 0
}
