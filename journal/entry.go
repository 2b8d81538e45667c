package journal

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Limits on what an entry may hold. They are part of the format: a record
// beyond them is refused as corrupt.
const (
	MaxPath      = 4096     // bytes in a path
	MaxName      = 255      // bytes in one name of a path
	MaxTarget    = 4096     // bytes in the target of a symbolic link
	MaxXattrs    = 64       // extended attributes of one file
	MaxXattrSize = 64 << 10 // bytes of all names and values together
	MaxHeld      = 4 << 20  // bytes of content that an entry carries itself
)

// ErrPath says that a path is not one that may name something in a store.
var ErrPath = errors.New("unusable path")

// Path names something in the store: relative to its root, separated by
// slashes, in any bytes that the file system allows (mail users choose them).
// The root itself is Root.
type Path string

// Root is the path of the store's root directory.
const Root Path = "."

// ParsePath accepts s if it can be a path in a store: no empty name, no "."
// or "..", no NUL, no name above MaxName and no path above MaxPath. Everything
// else is allowed, newlines and invalid UTF-8 included.
func ParsePath(s string) (Path, error) {
	if s == string(Root) {
		return Root, nil
	}
	if s == "" || len(s) > MaxPath {
		return "", fmt.Errorf("%w: %d bytes long", ErrPath, len(s))
	}
	for name := range strings.SplitSeq(s, "/") {
		switch {
		case name == "" || name == "." || name == "..":
			return "", fmt.Errorf("%w: %q has the name %q in it", ErrPath, s, name)
		case len(name) > MaxName:
			return "", fmt.Errorf("%w: a name of %d bytes", ErrPath, len(name))
		case strings.IndexByte(name, 0) >= 0:
			return "", fmt.Errorf("%w: %q has a NUL in it", ErrPath, s)
		}
	}
	return Path(s), nil
}

// Dir returns the directory that p is in; that of Root is Root.
func (p Path) Dir() Path {
	if i := strings.LastIndexByte(string(p), '/'); i >= 0 {
		return p[:i]
	}
	return Root
}

// Name returns the last name of p.
func (p Path) Name() string {
	return string(p[strings.LastIndexByte(string(p), '/')+1:])
}

// Join returns the path of name in the directory p.
func (p Path) Join(name string) Path {
	if p == Root {
		return Path(name)
	}
	return p + "/" + Path(name)
}

// Within reports whether p is dir or lies beneath it.
func (p Path) Within(dir Path) bool {
	if dir == Root || p == dir {
		return true
	}
	return len(p) > len(dir) && p[len(dir)] == '/' && p[:len(dir)] == dir
}

// ContentID is the BLAKE3-256 of a file's bytes. The zero value means that
// the content has not been read yet.
type ContentID [32]byte

// Known reports whether the content has been read.
func (c ContentID) Known() bool { return c != ContentID{} }

// String returns the id in hexadecimal.
func (c ContentID) String() string { return hex.EncodeToString(c[:]) }

// Type is what a name in the store stands for.
type Type uint8

// The types of things that a store holds. Sockets, devices and pipes are
// never replicated.
const (
	TypeFile Type = iota + 1
	TypeDirectory
	TypeSymlink
)

// Xattr is one extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// Attributes are what a file carries beside its content.
type Attributes struct {
	Mode   uint32 // permission bits with set-uid, set-gid and sticky (07777)
	UID    uint32
	GID    uint32
	MTime  int64   // nanoseconds since 1970; of a message this is INTERNALDATE. Directories: 0
	Xattrs []Xattr // in the order of their names
}

// Facts say what a name in the store stands for. They are the same on every
// node that is in sync.
type Facts struct {
	Type    Type
	Attr    Attributes
	Size    int64     // bytes; files only
	Content ContentID // files only
	Target  string    // symbolic links only
}

// Stamp is how this node's file system knows a file: it recognizes one that
// was renamed, and tells it from another that was given the same inode later.
// It is local and never leaves the node.
type Stamp struct {
	Device uint64
	Inode  uint64
	Birth  int64 // nanoseconds since 1970; 0 where the file system has none
	Change int64 // ctime, nanoseconds since 1970; in a catalog negative if journal/watch holds the file back
}

// SameFile reports whether both stamps are of one file.
func (s Stamp) SameFile(o Stamp) bool { return s.Device == o.Device && s.SameInode(o) }

// SameInode reports whether both stamps are of one file, if they are of one file
// system: that can have another device number after each start of the machine,
// so a stamp that was kept over a start may name a device that is no more.
func (s Stamp) SameInode(o Stamp) bool {
	return s.Inode == o.Inode && s.Birth == o.Birth && s.Inode != 0
}

// Kind is what an entry does.
type Kind uint8

// The kinds of entries. Their numbers are part of the format.
const (
	KindPut           Kind = iota + 1 // a regular file appeared at Path, or another content did
	KindMove                          // the file or link From is now called Path
	KindRemove                        // the file or link Path is gone
	KindLink                          // Path is a further name of the file From
	KindSymlink                       // a symbolic link appeared at Path, or has another target
	KindMakeDir                       // a directory appeared at Path
	KindRemoveDir                     // the directory Path is gone, with all that was in it
	KindMoveDir                       // the directory From is now called Path, with all that is in it
	KindSetAttributes                 // Path has other attributes
)

// Held is content that was captured when the change was observed, for files
// that go on changing: the first Keep bytes of the content Base, which was at
// the same path before, followed by Data.
type Held struct {
	Base ContentID
	Keep int64
	Data []byte
}

// Entry is one change of the store. Entries are values: who has appended one
// does not change it again.
type Entry struct {
	Kind  Kind
	Path  Path
	From  Path  // KindMove, KindMoveDir, KindLink
	Facts Facts // of Path after the change; nothing for the removals
	Held  *Held // KindPut of a file whose content was captured; else nil
	Stamp Stamp // of Path after the change, on the node that observed it
}

// Record is an entry at its place in the journal.
type Record struct {
	Position Position
	Time     time.Time // when it was appended, by the clock of the node that did
	Entry    Entry
}

// String returns the kind in a word.
func (k Kind) String() string {
	names := [...]string{"", "put", "move", "remove", "link", "symlink", "mkdir", "rmdir", "mvdir", "attr"}
	if k == 0 || int(k) >= len(names) {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return names[k]
}
