package beneath

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
)

// Info is what one statx says of a file, itself and not what it links to.
type Info struct {
	// Facts has neither the Content, the Target nor the extended attributes,
	// which each take calls of their own. The Type is 0 for what is never
	// replicated: pipes, sockets and devices.
	Facts journal.Facts
	// Stamp tells the file from others on this node.
	Stamp journal.Stamp
	// Links counts the names of the file.
	Links uint64
	// DirMTime is the mtime of a directory in nanoseconds since 1970. It is
	// local to the node, and so not among the facts.
	DirMTime int64
}

const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

// stat looks at name in the directory dirfd, or at dirfd itself if name is
// empty. It never follows a link and never mounts anything.
func stat(dirfd int, name string) (Info, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	for {
		err := unix.Statx(dirfd, name, flags, statMask, &st)
		if err == nil {
			return infoOf(&st), nil
		}
		if err != unix.EINTR {
			return Info{}, err
		}
	}
}

func infoOf(st *unix.Statx_t) Info {
	info := Info{
		Facts: journal.Facts{
			Type: typeOf(st.Mode),
			Attr: journal.Attributes{Mode: uint32(st.Mode & 0o7777), UID: st.Uid, GID: st.Gid},
		},
		Stamp: journal.Stamp{
			Device: unix.Mkdev(st.Dev_major, st.Dev_minor),
			Inode:  st.Ino,
			Change: nanoseconds(st.Ctime),
		},
		Links: uint64(st.Nlink),
	}
	if st.Mask&unix.STATX_BTIME != 0 {
		info.Stamp.Birth = nanoseconds(st.Btime)
	}
	switch info.Facts.Type {
	case journal.TypeDirectory:
		info.DirMTime = nanoseconds(st.Mtime)
	case journal.TypeFile:
		info.Facts.Size = int64(st.Size)
		info.Facts.Attr.MTime = nanoseconds(st.Mtime)
	default:
		info.Facts.Attr.MTime = nanoseconds(st.Mtime)
	}
	return info
}

func nanoseconds(t unix.StatxTimestamp) int64 { return t.Sec*1e9 + int64(t.Nsec) }

func typeOf(mode uint16) journal.Type {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return journal.TypeFile
	case unix.S_IFDIR:
		return journal.TypeDirectory
	case unix.S_IFLNK:
		return journal.TypeSymlink
	}
	return 0
}

// FileInfo looks at an open file with one call of statx.
func FileInfo(f *os.File) (info Info, err error) {
	err = Control(f, func(fd int) error {
		info, err = stat(fd, "")
		return err
	})
	if err != nil {
		return Info{}, fmt.Errorf("stat %q: %w", f.Name(), err)
	}
	return info, nil
}
