package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/mailtwin/mailtwin/journal/vfs"
)

// ErrCrashed is what every operation says after the crash.
var ErrCrashed = errors.New("the machine has crashed")

// Kind is what an operation does.
type Kind string

// The kinds of operations: those of vfs.FS, then those of vfs.File.
const (
	OpOpen     Kind = "open" // of a file that exists
	OpCreate   Kind = "create"
	OpRemove   Kind = "remove"
	OpRename   Kind = "rename"
	OpList     Kind = "list"
	OpSyncDir  Kind = "syncdir"
	OpRead     Kind = "read"
	OpWrite    Kind = "write"
	OpTruncate Kind = "truncate"
	OpSync     Kind = "sync"
	OpClose    Kind = "close"
)

// Changes reports whether operations of this kind change what is found after
// a crash.
func (k Kind) Changes() bool {
	return k != OpOpen && k != OpList && k != OpRead && k != OpClose
}

// Op is one operation on its way.
type Op struct {
	Kind Kind
	Name string // of the file or directory; of a rename the old name
}

// FS is a file system that can crash.
type FS struct {
	mu      sync.Mutex
	before  func(Op) error
	crashed bool
	live    map[string]*node
	durable map[string]*node
	pending []nameChange // since they were synced, in order
}

var _ vfs.FS = (*FS)(nil)

// New returns an empty file system.
func New() *FS {
	return &FS{live: map[string]*node{}, durable: map[string]*node{}}
}

// Before sets a function that is called before each operation and can make it
// fail by an error. A write that fails has written half; a sync that fails has
// lost what it should have made durable; any other failure changes nothing.
// If the error is ErrCrashed the operation has its whole effect, not yet
// durable, and it and all later ones say ErrCrashed. The function must not use
// the file system.
func (f *FS) Before(hook func(Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = hook
}

// nameChange is a directory operation that is not durable yet. A rename is one
// of the file, whatever its old name stands for when it reaches the disk.
type nameChange struct {
	dir      string
	from, to string // both: rename; to only: creation; from only: removal
	node     *node  // that to stands for
}

func (c nameChange) apply(names map[string]*node) {
	if c.from != "" {
		delete(names, c.from)
	}
	if c.to != "" {
		names[c.to] = c.node
	}
}

// start begins an operation. With ErrCrashed the operation is carried out all
// the same if it was the first to crash.
func (f *FS) start(kind Kind, name string) (carryOut bool, err error) {
	if f.crashed {
		return false, ErrCrashed
	}
	if f.before == nil {
		return true, nil
	}
	err = f.before(Op{kind, name})
	f.crashed = errors.Is(err, ErrCrashed)
	return err == nil || f.crashed, err
}

func (f *FS) change(c nameChange) {
	c.apply(f.live)
	f.pending = append(f.pending, c)
}

// Open implements vfs.FS.
func (f *FS) Open(name string, flag int) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, exists := f.live[name]
	kind := OpOpen
	if !exists && flag&os.O_CREATE != 0 {
		kind = OpCreate
	}
	carryOut, err := f.start(kind, name)
	switch {
	case carryOut && kind == OpCreate:
		n = &node{}
		f.change(nameChange{dir: filepath.Dir(name), to: name, node: n})
	case carryOut && !exists:
		err = errors.Join(err, fs.ErrNotExist)
	case carryOut && flag&os.O_TRUNC != 0:
		n.truncate(0)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &file{fs: f, name: name, node: n}, nil
}

// Remove implements vfs.FS.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	carryOut, err := f.start(OpRemove, name)
	if carryOut && f.live[name] == nil {
		err = errors.Join(err, fs.ErrNotExist)
	} else if carryOut {
		f.change(nameChange{dir: filepath.Dir(name), from: name})
	}
	return pathError("remove", name, err)
}

// Rename implements vfs.FS.
func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	carryOut, err := f.start(OpRename, from)
	if carryOut && f.live[from] == nil {
		err = errors.Join(err, fs.ErrNotExist)
	} else if carryOut {
		f.change(nameChange{dir: filepath.Dir(from), from: from, to: to, node: f.live[from]})
	}
	return pathError("rename", from, err)
}

// List implements vfs.FS.
func (f *FS) List(dir string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.start(OpList, dir); err != nil {
		return nil, pathError("list", dir, err)
	}
	var names []string
	for name := range f.live {
		if filepath.Dir(name) == filepath.Clean(dir) {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// SyncDir implements vfs.FS.
func (f *FS) SyncDir(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.start(OpSyncDir, dir); err != nil {
		return pathError("sync", dir, err)
	}
	f.pending = slices.DeleteFunc(f.pending, func(c nameChange) bool {
		if c.dir != filepath.Clean(dir) {
			return false
		}
		c.apply(f.durable)
		return true
	})
	return nil
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Loss is how much of what was not synced a crash takes.
type Loss int

// The losses that Crash knows.
const (
	LoseAll  Loss = iota // nothing is left of what was not synced
	LoseNone             // everything reached the disk, as when only the process is killed
	LoseEnd              // the first changes reached the disk, the last one of them in part
	LoseSome             // any changes reached the disk, in sectors
)

// Losses returns all kinds of loss.
func Losses() []Loss { return []Loss{LoseAll, LoseNone, LoseEnd, LoseSome} }

// Crash returns the file system that is found after a power cut now. f itself
// stays as it is. What is lost, where loss leaves it open, rng says.
func (f *FS) Crash(loss Loss, rng *rand.Rand) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := make(map[string]*node, len(f.durable))
	for name, n := range f.durable {
		names[name] = n
	}
	for _, c := range surviving(f.pending, loss, rng) {
		c.apply(names)
	}
	after := New()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		data := names[name].crash(loss, rng)
		n := &node{live: data, durable: slices.Clone(data)}
		after.live[name], after.durable[name] = n, n
	}
	return after
}

// surviving chooses the changes that reached the disk.
func surviving[T any](pending []T, loss Loss, rng *rand.Rand) []T {
	switch {
	case loss == LoseAll || len(pending) == 0:
		return nil
	case loss == LoseNone:
		return pending
	case loss == LoseEnd:
		return pending[:rng.IntN(len(pending)+1)]
	}
	var some []T
	for _, c := range pending {
		if rng.IntN(2) == 0 {
			some = append(some, c)
		}
	}
	return some
}

// Bytes returns a copy of what a file holds now, or nil if there is none.
func (f *FS) Bytes(name string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.live[name]; n != nil {
		return slices.Clone(n.live)
	}
	return nil
}

// Put gives a file a content, durably, whether it existed or not.
func (f *FS) Put(name string, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := &node{live: slices.Clone(data), durable: slices.Clone(data)}
	f.live[name], f.durable[name] = n, n
}

var errClosedFile = &fs.PathError{Op: "use", Path: "a file", Err: fs.ErrClosed}

// file is an open file.
type file struct {
	fs     *FS
	name   string
	node   *node
	closed bool
}

func (f *file) start(kind Kind) (bool, error) {
	if f.closed {
		return false, errClosedFile
	}
	return f.fs.start(kind, f.name)
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if _, err := f.start(OpRead); err != nil {
		return 0, pathError("read", f.name, err)
	}
	if off >= int64(len(f.node.live)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.live[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	carryOut, err := f.start(OpWrite)
	switch {
	case carryOut:
		f.node.write(p, off)
	case err != nil && !f.fs.crashed && !f.closed:
		f.node.write(p[:len(p)/2], off)
	}
	if err != nil {
		return len(p) / 2, pathError("write", f.name, err)
	}
	return len(p), nil
}

func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	carryOut, err := f.start(OpTruncate)
	if carryOut {
		f.node.truncate(size)
	}
	return pathError("truncate", f.name, err)
}

func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	_, err := f.start(OpSync)
	switch {
	case err == nil:
		f.node.sync()
	case !f.fs.crashed:
		f.node.pending = nil
	}
	return pathError("sync", f.name, err)
}

func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	_, err := f.start(OpClose)
	f.closed = true
	return pathError("close", f.name, err)
}
