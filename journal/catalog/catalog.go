package catalog

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
	"github.com/mailtwin/mailtwin/journal"
)

var (
	// ErrNotFound says that the catalog has nothing by that name.
	ErrNotFound = errors.New("not in the catalog")
	// ErrNewer says that the catalog was written by a newer mailtwin.
	ErrNewer = errors.New("catalog of a newer format")
	// ErrCorrupt says that the catalog's files are not as they were written.
	// Its directory can be removed: the store is scanned anew then.
	ErrCorrupt = errors.New("catalog is corrupt")
	// ErrKey says that the catalog was made with another Options.DigestKey.
	ErrKey = errors.New("catalog was made with another digest key")
	// ErrFailed says that a write to the catalog's files failed, so that it
	// takes no more until it is opened again.
	ErrFailed = errors.New("catalog cannot be written")
	// ErrInUse says that another process has the catalog.
	ErrInUse = errors.New("already in use")
	// ErrClosed says that the catalog was closed.
	ErrClosed = errors.New("catalog is closed")
	// ErrReadOnly says that a View tried to change something.
	ErrReadOnly = errors.New("change in a view of the catalog")
	// ErrInvalid says that an entry or an item cannot be meant: a directory
	// moved into itself, a file at the root, a type that does not exist.
	ErrInvalid = errors.New("not possible in a catalog")
)

// Options are the settings of a catalog. The zero value can be used.
type Options struct {
	// CacheBytes is how much of what is on disk is kept in memory; 0 means 8 MiB.
	CacheBytes int64
	// DigestKey keys the digests, so that who does not know it cannot make
	// files whose digests cancel out. Both nodes of a pair need the same one,
	// and a catalog the same one each time.
	DigestKey [32]byte
	// Log is told at level debug what the key-value store does, and what
	// fails in its background; nil means nobody.
	Log hclog.Logger
}

const defaultCacheBytes = 8 << 20

// Catalog holds what is known of each name in a mailstore. Its methods may
// be called by many goroutines at once.
type Catalog struct {
	dir   string
	store *store
	hash  *digester // cloned by each update

	writer sync.Mutex   // held by the one update
	life   sync.RWMutex // held by each use, and for writing by Close
	closed bool

	mu         sync.Mutex // guards what is below
	paths      *pathCache
	state      state
	commits    uint64           // committed since Open
	durable    uint64           // of these, known to be durable
	durablePos journal.Position // after the last of those
}

// Open opens the catalog in dir, which it makes if need be, and which it
// locks: a second Open of it fails. It returns ErrNewer, ErrKey or ErrCorrupt
// wrapped with what to do.
func Open(dir string, opt Options) (*Catalog, error) { return open(vfs.Default, dir, opt) }

func open(fsys vfs.FS, dir string, opt Options) (*Catalog, error) {
	if opt.CacheBytes <= 0 {
		opt.CacheBytes = defaultCacheBytes
	}
	if opt.Log == nil {
		opt.Log = hclog.NewNullLogger()
	}
	hash, err := newDigester(opt.DigestKey)
	if err != nil {
		return nil, err
	}
	c := &Catalog{dir: dir, hash: hash, paths: newPathCache()}
	if c.store, err = openStore(fsys, dir, opt.CacheBytes, opt.Log); err != nil {
		return nil, c.explain("open the catalog", openError(err))
	}
	if err := c.begin(); err != nil {
		return nil, errors.Join(c.explain("open the catalog", err), c.store.close())
	}
	return c, nil
}

// begin reads the catalog's state, or writes that of an empty one. What Open
// finds is durable: the key-value store writes and syncs what it recovers
// from its log before it opens.
func (c *Catalog) begin() error {
	found, version, err := checkFormat(c.store.db, c.hash.check())
	if err != nil {
		return err
	}
	if !found {
		return c.create()
	}
	if c.state, err = readState(c.store.db); err != nil {
		return err
	}
	c.durablePos = c.state.position
	if version < formatVersion {
		return c.upgrade()
	}
	return nil
}

// upgrade makes an older catalog one of this version, durably, before anything
// is written that the older one does not know.
func (c *Catalog) upgrade() error {
	b := c.store.batch()
	defer b.Close()
	if err := writeFormat(b, c.hash.check()); err != nil {
		return err
	}
	if err := c.store.commit(b); err != nil {
		return err
	}
	return c.store.sync()
}

func (c *Catalog) create() error {
	b := c.store.batch()
	defer b.Close()
	c.state = state{next: rootDir + 1}
	root := newRecord(Item{Facts: journal.Facts{Type: journal.TypeDirectory}})
	root.Dir = rootDir
	err := errors.Join(
		b.Set(refKey(nil, spaceChild, noDir, ""), appendRecord(nil, root), nil),
		b.Set(dirKey(nil, rootDir), refValue(noDir, ""), nil),
		writeFormat(b, c.hash.check()),
		writeState(b, c.state),
	)
	if err != nil {
		return err
	}
	if err := c.store.commit(b); err != nil {
		return err
	}
	return c.store.sync()
}

// Close makes all updates durable and closes the catalog, once every use of
// it has ended. After it, everything fails with ErrClosed.
func (c *Catalog) Close() error {
	c.life.Lock()
	defer c.life.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	err := c.store.sync()
	return c.explain("close the catalog", errors.Join(err, c.store.close()))
}

// use keeps the catalog from being closed until the function that it returns
// is called.
func (c *Catalog) use() (release func(), err error) {
	c.life.RLock()
	if c.closed {
		c.life.RUnlock()
		return nil, ErrClosed
	}
	return c.life.RUnlock, nil
}

// View calls f with a consistent snapshot, which is not to be used after f
// has returned, nor by several goroutines. Views are cheap, wait for nobody
// and hold up nobody, but an old one keeps what was removed since on disk.
// A View must not begin within another or within an Update.
func (c *Catalog) View(f func(*Tx) error) error {
	release, err := c.use()
	if err != nil {
		return err
	}
	defer release()
	c.mu.Lock()
	// No update is committed meanwhile, so the state is the snapshot's.
	t := &Tx{r: c.store.snapshot(), state: c.state, version: c.commits, paths: c.paths}
	c.mu.Unlock()
	defer t.r.Close()
	if err := f(t); err != nil {
		return c.explain("read the catalog", err)
	}
	return t.err
}

// Update calls f with a transaction that sees its own changes, and then makes
// them all, or none of them if f returns an error or panics. It waits for
// another Update to end. The changes are not durable yet: after a crash the
// catalog is as some earlier Update left it, with that one's Position.
//
// The changes are held in memory until the end, a few hundred bytes for each.
func (c *Catalog) Update(f func(*Tx) error) error {
	release, err := c.use()
	if err != nil {
		return err
	}
	defer release()
	return c.explain("update the catalog", c.update(f))
}

func (c *Catalog) update(f func(*Tx) error) error {
	c.writer.Lock()
	defer c.writer.Unlock()
	b := c.store.batch()
	defer b.Close()
	t, err := c.writeTx(b)
	if err != nil {
		return err
	}
	if err := f(t); err != nil {
		return err
	}
	if err := t.finish(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.store.commit(b); err != nil {
		return err
	}
	c.state = t.state
	c.commits++
	if t.moved {
		c.paths = newPathCache() // views that are under way keep the old one
	}
	return nil
}

// UpdateDurably is Update and then Sync. Several at once share a sync. If
// only the sync fails, the changes are made, but not durable.
func (c *Catalog) UpdateDurably(f func(*Tx) error) error {
	if err := c.Update(f); err != nil {
		return err
	}
	return c.Sync()
}

// Sync makes all updates so far durable.
func (c *Catalog) Sync() error {
	release, err := c.use()
	if err != nil {
		return err
	}
	defer release()
	c.mu.Lock()
	n, pos, done := c.commits, c.state.position, c.commits == c.durable
	c.mu.Unlock()
	if done {
		return nil
	}
	if err := c.store.sync(); err != nil {
		return c.explain("sync the catalog", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > c.durable {
		c.durable, c.durablePos = n, pos
	}
	return nil
}

// Version returns a number that is another one after each update since Open, so
// that what a view found can be known to be still so.
func (c *Catalog) Version() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.commits
}

// DurablePosition returns the position that survives a crash one instant
// later; the journal must keep the records after it.
func (c *Catalog) DurablePosition() journal.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.durablePos
}

// explain wraps an error from the key-value store with what was being done
// and what can be done. It leaves the errors of callers alone.
func (c *Catalog) explain(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case isCorruption(err), errors.Is(err, errRecord), errors.Is(err, errKey):
		detail, _, _ := strings.Cut(err.Error(), "\n") // of Pebble's, more lines say nothing to an operator
		return fmt.Errorf("%s: %w: %s; stop mailtwin, remove the directory %q and start it again: it scans the store anew (no mail is touched)",
			doing, ErrCorrupt, detail, c.dir)
	case errors.Is(err, errVersion):
		return c.explain(doing, fmt.Errorf("%w: %v", ErrNewer, err))
	case errors.Is(err, ErrNewer):
		return fmt.Errorf("%s: %w; use the newer mailtwin, or remove the directory %q to have the store scanned anew", doing, err, c.dir)
	case errors.Is(err, ErrKey):
		return fmt.Errorf("%s: %w; remove the directory %q to have the store scanned anew", doing, err, c.dir)
	case errors.Is(err, ErrInUse):
		return fmt.Errorf("%s %q: %w by another process", doing, c.dir, ErrInUse)
	case errors.Is(err, ErrFailed):
		return fmt.Errorf("%s: %w; see to the disk of %q and restart mailtwin", doing, err, c.dir)
	}
	return err
}
