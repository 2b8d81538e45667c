package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes compares mode, owner and extended attributes.
func (c *comparison) attributes(path string, infoA, infoB fs.FileInfo) error {
	const bits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	symlink := infoA.Mode()&fs.ModeSymlink != 0
	if a, b := infoA.Mode()&bits, infoB.Mode()&bits; a != b && !symlink {
		c.differ(path, "has mode %v, but %v in the second store", a, b)
	}
	statA, statB := infoA.Sys().(*syscall.Stat_t), infoB.Sys().(*syscall.Stat_t)
	if !c.opt.IgnoreOwner && (statA.Uid != statB.Uid || statA.Gid != statB.Gid) {
		c.differ(path, "belongs to %d:%d, but to %d:%d in the second store", statA.Uid, statA.Gid, statB.Uid, statB.Gid)
	}
	if symlink {
		return nil
	}
	xattrsA, err := xattrs(filepath.Join(c.a, path))
	if err != nil {
		return err
	}
	xattrsB, err := xattrs(filepath.Join(c.b, path))
	if err != nil {
		return err
	}
	if xattrsA != xattrsB {
		c.differ(path, "has the extended attributes [%s], but [%s] in the second store", xattrsA, xattrsB)
	}
	return nil
}

// xattrs returns the extended attributes of a file that users and their
// programs set, as text in the order of the names.
func xattrs(path string) (string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.ENOTSUP) || n == 0 && err == nil {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("listing the extended attributes of %q: %w", path, err)
	}
	var list []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_") {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", fmt.Errorf("reading the extended attribute %q of %q: %w", name, path, err)
		}
		list = append(list, fmt.Sprintf("%s=%q", name, value[:n]))
	}
	slices.Sort(list)
	return strings.Join(list, " "), nil
}

// compareContents compares the bytes of the files that it is given.
func (c *comparison) compareContents(ctx context.Context) error {
	bufA, bufB := make([]byte, 256<<10), make([]byte, 256<<10)
	for {
		select {
		case path, ok := <-c.files:
			if !ok {
				return nil
			}
			at, err := firstDifference(filepath.Join(c.a, path), filepath.Join(c.b, path), bufA, bufB)
			if err != nil {
				return err
			}
			if at >= 0 {
				c.differ(path, "has other bytes in the second store, from byte %d on", at)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// firstDifference returns where two files of the same size begin to differ,
// or -1.
func firstDifference(pathA, pathB string, bufA, bufB []byte) (int64, error) {
	a, err := os.Open(pathA)
	if err != nil {
		return 0, err
	}
	defer a.Close()
	b, err := os.Open(pathB)
	if err != nil {
		return 0, err
	}
	defer b.Close()
	for at := int64(0); ; {
		n, err := io.ReadFull(a, bufA)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return 0, err
		}
		if _, errB := io.ReadFull(b, bufB[:n]); errB != nil && n > 0 {
			return 0, fmt.Errorf("reading %q: %w", pathB, errB)
		}
		if !bytes.Equal(bufA[:n], bufB[:n]) {
			for i := range n {
				if bufA[i] != bufB[i] {
					return at + int64(i), nil
				}
			}
		}
		if err != nil {
			return -1, nil
		}
		at += int64(n)
	}
}
