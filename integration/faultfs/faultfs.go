package faultfs

import (
	"context"
	"fmt"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Fault is what does not work.
type Fault int

// The faults.
const (
	Read Fault = iota + 1 // the content of a file
	List                  // the names in a directory
	Look                  // whether there is such a name, and what it is
	Rest                  // the names in a directory, but for the first of them
)

// FirstNames is how many names of a directory can be had in spite of Rest.
const FirstNames = 500

// FS is a file system that is mounted. Its methods may be called concurrently.
type FS struct {
	server *fuse.Server
	delay  atomic.Int64 // of each read, in nanoseconds
	read   atomic.Int64
	failed atomic.Int64

	mu     sync.Mutex
	faults map[fault]struct{}
	opened []string
	hung   chan struct{} // nil, or closed when it answers again
}

type fault struct {
	what Fault
	path string
}

// Mount shows the directory backing at dir, which must exist.
func Mount(backing, dir string) (*FS, error) {
	f := &FS{faults: make(map[fault]struct{})}
	var st syscall.Stat_t
	if err := syscall.Stat(backing, &st); err != nil {
		return nil, fmt.Errorf("look at %s: %w", backing, err)
	}
	root := &node{fs: f, LoopbackNode: &fs.LoopbackNode{RootData: &fs.LoopbackRoot{Path: backing, Dev: st.Dev}}}
	root.RootData.RootNode = root
	var never time.Duration // nothing but contents is kept by the kernel
	server, err := fs.Mount(dir, root, &fs.Options{
		EntryTimeout: &never, AttrTimeout: &never, NegativeTimeout: &never,
		MountOptions: fuse.MountOptions{
			DirectMountStrict: true, FsName: "faultfs", Name: "faultfs",
			MaxBackground: 64,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("mount a file system at %s: %w", dir, err)
	}
	f.server = server
	return f, nil
}

// Unmount ends it.
func (f *FS) Unmount() error { return f.server.Unmount() }

// Fail makes something fail with EIO from now on, at a path beneath the root.
func (f *FS) Fail(what Fault, path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[fault{what, path}] = struct{}{}
}

// Hang has whoever opens, reads, writes or syncs something wait until Heal. What
// can be had without that, such as what a file is, still can.
func (f *FS) Hang() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hung == nil {
		f.hung = make(chan struct{})
	}
}

// Heal makes everything work again.
func (f *FS) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.faults)
	f.delay.Store(0)
	if f.hung != nil {
		close(f.hung)
		f.hung = nil
	}
}

// wait waits while it hangs; whoever waits may be interrupted.
func (f *FS) wait(ctx context.Context) syscall.Errno {
	f.mu.Lock()
	hung := f.hung
	f.mu.Unlock()
	if hung == nil {
		return fs.OK
	}
	select {
	case <-hung:
		return fs.OK
	case <-ctx.Done():
		return syscall.EINTR
	}
}

// Delay makes each read of a content take at least that long.
func (f *FS) Delay(d time.Duration) { f.delay.Store(int64(d)) }

// Bytes tells how many bytes of contents were read.
func (f *FS) Bytes() int64 { return f.read.Load() }

// Failures tells how often something failed.
func (f *FS) Failures() int64 { return f.failed.Load() }

// Opened tells which files were opened, in that order, by their paths.
func (f *FS) Opened() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.opened)
}

// check returns EIO where something fails.
func (f *FS) check(what Fault, path string) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, fails := f.faults[fault{what, path}]; !fails {
		return fs.OK
	}
	f.failed.Add(1)
	return syscall.EIO
}

// node is a file or a directory.
type node struct {
	*fs.LoopbackNode
	fs *FS
}

var (
	_ fs.NodeWrapChilder    = (*node)(nil)
	_ fs.NodeLookuper       = (*node)(nil)
	_ fs.NodeOpendirHandler = (*node)(nil)
	_ fs.NodeOpener         = (*node)(nil)
	_ fs.NodeCreater        = (*node)(nil)
	_ fs.NodeReader         = (*node)(nil)
	_ fs.NodeWriter         = (*node)(nil)
	_ fs.NodeFsyncer        = (*node)(nil)
)

// WrapChild makes every node beneath one of these.
func (n *node) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{LoopbackNode: ops.(*fs.LoopbackNode), fs: n.fs}
}

func (n *node) at() string { return n.Path(n.Root()) }

// Lookup implements fs.NodeLookuper.
func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.fs.check(Look, path.Join(n.at(), name)); errno != fs.OK {
		return nil, errno
	}
	return n.LoopbackNode.Lookup(ctx, name, out)
}

// OpendirHandle implements fs.NodeOpendirHandler.
func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.fs.wait(ctx); errno != fs.OK {
		return nil, 0, errno
	}
	if errno := n.fs.check(List, n.at()); errno != fs.OK {
		return nil, 0, errno
	}
	h, fuseFlags, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if stream, ok := h.(dirStream); ok && errno == fs.OK {
		h = &dirHandle{dirStream: stream, n: n}
	}
	return h, fuseFlags, errno
}

// dirStream is what an open directory can do.
type dirStream interface {
	fs.FileReaddirenter
	fs.FileSeekdirer
	fs.FileReleasedirer
	fs.FileFsyncdirer
}

// dirHandle is an open directory, in which a listing may fail on its way.
type dirHandle struct {
	dirStream
	n     *node
	names atomic.Int64 // that were had
}

// Readdirent implements fs.FileReaddirenter.
func (h *dirHandle) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	if h.names.Add(1) > FirstNames {
		if errno := h.n.fs.check(Rest, h.n.at()); errno != fs.OK {
			return nil, errno
		}
	}
	return h.dirStream.Readdirent(ctx)
}

// Seekdir implements fs.FileSeekdirer.
func (h *dirHandle) Seekdir(ctx context.Context, off uint64) syscall.Errno {
	if off == 0 {
		h.names.Store(0)
	}
	return h.dirStream.Seekdir(ctx, off)
}

// handle is an open file that the kernel may not read past this file system.
type handle struct{ *fs.LoopbackFile }

// PassthroughFd implements fs.FilePassthroughFder: there is none.
func (handle) PassthroughFd() (int, bool) { return 0, false }

func handled(h fs.FileHandle) fs.FileHandle {
	if file, ok := h.(*fs.LoopbackFile); ok {
		return handle{file}
	}
	return h
}

// Open implements fs.NodeOpener.
func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.fs.wait(ctx); errno != fs.OK {
		return nil, 0, errno
	}
	h, fuseFlags, errno := n.LoopbackNode.Open(ctx, flags)
	n.fs.mu.Lock()
	n.fs.opened = append(n.fs.opened, n.at())
	n.fs.mu.Unlock()
	return handled(h), fuseFlags, errno
}

// Create implements fs.NodeCreater.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (
	*fs.Inode, fs.FileHandle, uint32, syscall.Errno,
) {
	if errno := n.fs.wait(ctx); errno != fs.OK {
		return nil, nil, 0, errno
	}
	inode, h, fuseFlags, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return inode, handled(h), fuseFlags, errno
}

// Read implements fs.NodeReader.
func (n *node) Read(ctx context.Context, h fs.FileHandle, buf []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if d := time.Duration(n.fs.delay.Load()); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, syscall.EINTR
		}
	}
	if errno := n.fs.wait(ctx); errno != fs.OK {
		return nil, errno
	}
	if errno := n.fs.check(Read, n.at()); errno != fs.OK {
		return nil, errno
	}
	file, ok := h.(fs.FileReader)
	if !ok {
		return nil, syscall.EBADF
	}
	result, errno := file.Read(ctx, buf, off)
	if errno != fs.OK {
		return nil, errno
	}
	data, status := result.Bytes(make([]byte, len(buf)))
	result.Done()
	n.fs.read.Add(int64(len(data)))
	return fuse.ReadResultData(data), syscall.Errno(status)
}

// Write implements fs.NodeWriter.
func (n *node) Write(ctx context.Context, h fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if errno := n.fs.wait(ctx); errno != fs.OK {
		return 0, errno
	}
	file, ok := h.(fs.FileWriter)
	if !ok {
		return 0, syscall.EBADF
	}
	return file.Write(ctx, data, off)
}

// Fsync implements fs.NodeFsyncer.
func (n *node) Fsync(ctx context.Context, h fs.FileHandle, flags uint32) syscall.Errno {
	if errno := n.fs.wait(ctx); errno != fs.OK {
		return errno
	}
	file, ok := h.(fs.FileFsyncer)
	if !ok {
		return fs.OK // a directory
	}
	return file.Fsync(ctx, flags)
}
