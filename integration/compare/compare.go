package compare

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// DefaultLimit is how many differences are told when Options says nothing.
const DefaultLimit = 20

// Options say what is compared.
type Options struct {
	// Ignored says which paths, relative to the store's root, are left out
	// with all beneath; nil means NotReplicated.
	Ignored func(path string, dir bool) bool
	// Limit is the most differences that are described; all are counted.
	// 0 means DefaultLimit.
	Limit int
	// IgnoreOwner leaves out owner and group: only root can set them.
	IgnoreOwner bool
	// IgnoreLinks leaves out which names are one file: what they hold and how
	// they are is compared all the same.
	IgnoreLinks bool
}

// Difference is one way in which the stores are not equal, in words.
type Difference struct {
	Path string // relative to the root
	What string
}

// String returns the quoted path and what is wrong there.
func (d Difference) String() string { return fmt.Sprintf("%q %s", d.Path, d.What) }

// Result is what was compared and found.
type Result struct {
	Files, Directories, Symlinks int64 // in both stores
	Bytes                        int64 // of the files in both stores
	Differences                  []Difference
	Total                        int64 // of all differences, the untold too
}

// Equal reports whether no difference was found.
func (r Result) Equal() bool { return r.Total == 0 }

// String tells the differences, one a line.
func (r Result) String() string {
	if r.Equal() {
		return fmt.Sprintf("equal: %d files in %d directories, %d symbolic links, %d bytes", r.Files, r.Directories, r.Symlinks, r.Bytes)
	}
	s := fmt.Sprintf("%d differences:", r.Total)
	for _, d := range r.Differences {
		s += "\n  " + d.String()
	}
	return s
}

// comparison is one run of Trees.
type comparison struct {
	a, b string
	opt  Options

	files chan string // paths of files in both whose bytes are to be compared

	mu     sync.Mutex // of result
	result Result

	linksA, linksB map[inode]string // the first name of each file with several
}

type inode struct{ device, number uint64 }

// Trees compares the stores a and b, which must not change meanwhile. The
// error says that it could not be done; differences are no error. It reads
// every byte of both, with all processors.
func Trees(ctx context.Context, a, b string, opt Options) (Result, error) {
	if opt.Ignored == nil {
		opt.Ignored = NotReplicated
	}
	if opt.Limit == 0 {
		opt.Limit = DefaultLimit
	}
	c := &comparison{
		a: a, b: b, opt: opt,
		files:  make(chan string, 1024),
		linksA: map[inode]string{},
		linksB: map[inode]string{},
	}
	group, ctx := errgroup.WithContext(ctx)
	for range max(2, runtime.GOMAXPROCS(0)) {
		group.Go(func() error { return c.compareContents(ctx) })
	}
	group.Go(func() error {
		defer close(c.files)
		return c.directory(ctx, ".")
	})
	if err := group.Wait(); err != nil {
		return Result{}, fmt.Errorf("comparing %q with %q: %w", a, b, err)
	}
	sort.Slice(c.result.Differences, func(i, j int) bool { return c.result.Differences[i].Path < c.result.Differences[j].Path })
	return c.result, nil
}

func (c *comparison) differ(path, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.result.Total++
	if len(c.result.Differences) < c.opt.Limit {
		c.result.Differences = append(c.result.Differences, Difference{Path: path, What: fmt.Sprintf(format, args...)})
	}
}

// count adds to the numbers of what is in both stores.
func (c *comparison) count(f func(r *Result)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.result)
}

// directory compares what is in the directory path of both stores, and all
// beneath.
func (c *comparison) directory(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.count(func(r *Result) { r.Directories++ })
	listA, err := os.ReadDir(filepath.Join(c.a, path))
	if err != nil {
		return err
	}
	listB, err := os.ReadDir(filepath.Join(c.b, path))
	if err != nil {
		return err
	}
	for len(listA) > 0 || len(listB) > 0 {
		switch {
		case len(listB) == 0 || len(listA) > 0 && listA[0].Name() < listB[0].Name():
			c.onlyOne(path, listA[0], "is missing in the second store")
			listA = listA[1:]
		case len(listA) == 0 || listB[0].Name() < listA[0].Name():
			c.onlyOne(path, listB[0], "is only in the second store")
			listB = listB[1:]
		default:
			if err := c.both(ctx, filepath.Join(path, listA[0].Name()), listA[0].IsDir()); err != nil {
				return err
			}
			listA, listB = listA[1:], listB[1:]
		}
	}
	return nil
}

// onlyOne notes a name that only one of the stores has.
func (c *comparison) onlyOne(dir string, entry fs.DirEntry, what string) {
	path := filepath.Join(dir, entry.Name())
	if neverReplicated(entry.Type()) || c.opt.Ignored(path, entry.IsDir()) {
		return
	}
	if entry.IsDir() {
		what += " (a directory)"
	}
	c.differ(path, "%s", what)
}

// neverReplicated reports the types that no node sends: sockets, pipes and
// devices.
func neverReplicated(mode fs.FileMode) bool {
	return mode&(fs.ModeSocket|fs.ModeNamedPipe|fs.ModeDevice|fs.ModeIrregular) != 0
}

// both compares a name that both stores have.
func (c *comparison) both(ctx context.Context, path string, dir bool) error {
	if c.opt.Ignored(path, dir) {
		return nil
	}
	infoA, err := os.Lstat(filepath.Join(c.a, path))
	if err != nil {
		return err
	}
	infoB, err := os.Lstat(filepath.Join(c.b, path))
	if err != nil {
		return err
	}
	if neverReplicated(infoA.Mode()) && neverReplicated(infoB.Mode()) {
		return nil
	}
	if infoA.Mode().Type() != infoB.Mode().Type() {
		c.differ(path, "is a %s, but a %s in the second store", typeName(infoA), typeName(infoB))
		return nil
	}
	if err := c.attributes(path, infoA, infoB); err != nil {
		return err
	}
	switch {
	case infoA.IsDir():
		return c.directory(ctx, path)
	case infoA.Mode()&fs.ModeSymlink != 0:
		return c.symlink(path)
	default:
		return c.file(ctx, path, infoA, infoB)
	}
}

func typeName(info fs.FileInfo) string {
	switch {
	case info.IsDir():
		return "directory"
	case info.Mode()&fs.ModeSymlink != 0:
		return "symbolic link"
	case info.Mode().IsRegular():
		return "file"
	}
	return "special file"
}

func (c *comparison) symlink(path string) error {
	c.count(func(r *Result) { r.Symlinks++ })
	targetA, err := os.Readlink(filepath.Join(c.a, path))
	if err != nil {
		return err
	}
	targetB, err := os.Readlink(filepath.Join(c.b, path))
	if err != nil {
		return err
	}
	if targetA != targetB {
		c.differ(path, "points to %q, but to %q in the second store", targetA, targetB)
	}
	return nil
}

// file compares all of a regular file but its bytes, which others do.
func (c *comparison) file(ctx context.Context, path string, infoA, infoB fs.FileInfo) error {
	c.count(func(r *Result) { r.Files++; r.Bytes += infoA.Size() })
	c.links(path, infoA.Sys().(*syscall.Stat_t), infoB.Sys().(*syscall.Stat_t))
	if !infoA.ModTime().Equal(infoB.ModTime()) {
		const layout = "2006-01-02 15:04:05.000000000"
		c.differ(path, "was modified at %s, but at %s in the second store", infoA.ModTime().UTC().Format(layout), infoB.ModTime().UTC().Format(layout))
	}
	if infoA.Size() != infoB.Size() {
		c.differ(path, "has %d bytes, but %d in the second store", infoA.Size(), infoB.Size())
		return nil
	}
	if infoA.Size() == 0 {
		return nil
	}
	select {
	case c.files <- path:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// links compares the groups of hard links: names of one file in one store
// must be names of one file in the other. Only names that are compared count,
// so a further name in tmp/ is no matter.
func (c *comparison) links(path string, a, b *syscall.Stat_t) {
	if c.opt.IgnoreLinks || a.Nlink == 1 && b.Nlink == 1 {
		return
	}
	firstA, firstB := firstName(c.linksA, a, path), firstName(c.linksB, b, path)
	if firstA == firstB {
		return
	}
	c.differ(path, "is %s, but %s in the second store", linkWords(path, firstA), linkWords(path, firstB))
}

func firstName(names map[inode]string, stat *syscall.Stat_t, path string) string {
	key := inode{stat.Dev, stat.Ino}
	if first, ok := names[key]; ok {
		return first
	}
	names[key] = path
	return path
}

func linkWords(path, first string) string {
	if first == path {
		return "a file of its own"
	}
	return fmt.Sprintf("a hard link of %q", first)
}
