package catalog

import (
	"encoding/binary"
	"errors"

	"github.com/mailtwin/mailtwin/journal"
)

// dirID names a directory for as long as it exists, whatever it is called
// and wherever it is moved. Ids are never given again.
type dirID uint64

const (
	noDir   dirID = 0 // the parent of what is in no directory
	rootDir dirID = 1 // the store's root: the child "" of noDir
)

// The key spaces. Each key begins with one of these bytes; numbers in keys
// are big endian, so that keys sort by them; a name is always the last part.
const (
	spaceMeta    byte = 'm' // see meta.go
	spaceChild   byte = 'c' // dir, name → record
	spaceDir     byte = 'd' // dir → parent, name
	spaceTrash   byte = 't' // number → dir that was removed, the last name swept from it
	spaceStamp   byte = 's' // inode, dir, name
	spaceContent byte = 'i' // first 16 bytes of the content id, dir, name
	spaceLink    byte = 'l' // link group, dir, name
	spaceUnread  byte = 'u' // dir, name
	spaceMissing byte = 'x' // dir, name
)

// contentPrefix is how much of a content id is in its index: enough that two
// contents never share it by accident, and the record has the whole.
const contentPrefix = 16

var errKey = errors.New("malformed key")

// refKey appends the key of (dir, name) in a space to b.
func refKey(b []byte, space byte, dir dirID, name string) []byte {
	b = append(b, space)
	b = binary.BigEndian.AppendUint64(b, uint64(dir))
	return append(b, name...)
}

// numberKey appends the key of (n, dir, name) in a space to b.
func numberKey(b []byte, space byte, n uint64, dir dirID, name string) []byte {
	b = append(b, space)
	b = binary.BigEndian.AppendUint64(b, n)
	b = binary.BigEndian.AppendUint64(b, uint64(dir))
	return append(b, name...)
}

// contentKey appends the key of (id, dir, name) in the content index to b.
func contentKey(b []byte, id journal.ContentID, dir dirID, name string) []byte {
	b = append(b, spaceContent)
	b = append(b, id[:contentPrefix]...)
	b = binary.BigEndian.AppendUint64(b, uint64(dir))
	return append(b, name...)
}

// parseRef takes (dir, name) apart.
func parseRef(b []byte) (dirID, string, error) {
	if len(b) < 8 {
		return 0, "", errKey
	}
	return dirID(binary.BigEndian.Uint64(b)), string(b[8:]), nil
}

// after returns the first key that does not begin with prefix, nil if there
// is none.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
