package vfs

// FS is a file system. Names are paths as the operating system takes them.
// All methods may be used concurrently. Errors of names that do not exist are
// [io/fs.ErrNotExist].
type FS interface {
	// Open opens a file with the flags of package os (os.O_RDWR, os.O_CREATE,
	// ...). What it creates has mode 0600, and its name is durable only after
	// SyncDir.
	Open(name string, flag int) (File, error)
	// Remove removes a file. It is durable only after SyncDir.
	Remove(name string) error
	// Rename gives a file another name in the same directory, atomically, and
	// replaces what had that name. It is durable only after SyncDir.
	Rename(from, to string) error
	// List returns the names in a directory, sorted.
	List(dir string) ([]string, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
}

// File is an open file. Its methods may be used concurrently.
type File interface {
	// ReadAt reads as io.ReaderAt says.
	ReadAt(p []byte, off int64) (int, error)
	// WriteAt writes as io.WriterAt says. After an error some of p may have
	// been written.
	WriteAt(p []byte, off int64) (int, error)
	// Truncate sets the length of the file.
	Truncate(size int64) error
	// Sync makes the content and length of the file durable. After an error
	// nothing that was written since the last success may be trusted, not even
	// after another Sync that succeeds.
	Sync() error
	// Close releases the file. It makes nothing durable.
	Close() error
}
