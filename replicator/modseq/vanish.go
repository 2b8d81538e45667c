package modseq

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// Bounds of what is told of one mailbox.
const (
	maxLog      = 16 << 20 // bytes; Dovecot begins another log at one MiB
	maxVanished = 100_000  // ranges of UIDs
	indexHead   = 4 << 10  // bytes of an index that are read
	lockTries   = 50
	lockPause   = 100 * time.Millisecond
)

// indexName is the index that the log belongs to.
const indexName = "dovecot.index"

// behind is a mailbox whose index may not have known all that clients were
// shown. The zero value is one of which there is nothing to tell.
type behind struct {
	index, control journal.Path // the directories of the index and of the uidlist
	next           uint32       // the UIDs from here on it may not have known
}

// nextUID returns the UIDs that the index in a directory may not have known:
// those from the one on that it would give out next.
func nextUID(root *beneath.Root, dir journal.Path) (uint32, error) {
	d, err := root.Dir(dir)
	if err != nil {
		return 0, ifThere(err)
	}
	defer d.Close()
	f, err := d.Open(indexName)
	if err != nil {
		return 1, ifThere(err) // all that it knows is in the log
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, indexHead))
	if next, ok := mailstore.NextUID(head); ok {
		return next, err
	}
	return 1, err
}

// ifThere returns err unless it says that something is missing.
func ifThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// vanish tells in the log of a mailbox that the UIDs were expunged which its
// index may never have known, and which are no more.
func (f folders) vanish(b behind) error {
	if b.next == 0 || b.control == "" {
		return nil
	}
	root, err := beneath.Open(f.store)
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	defer root.Close()
	gone, err := missing(root, b.control, b.next)
	if err != nil || len(gone) == 0 {
		return err
	}
	d, err := root.Dir(b.index)
	if err != nil {
		return ifThere(err)
	}
	defer d.Close()
	if err := f.tell(d, gone); err != nil {
		return fmt.Errorf("tell in %q what is gone: %w", string(b.index.Join(mailstore.IndexLog)), err)
	}
	return nil
}

// missing returns the UIDs that a uidlist has given out from a first one on, and
// that are no more. A uidlist that is not there, or not understood, tells
// nothing: Dovecot begins anew.
func missing(root *beneath.Root, dir journal.Path, first uint32) ([]mailstore.UIDs, error) {
	d, err := root.Dir(dir)
	if err != nil {
		return nil, ifThere(err)
	}
	defer d.Close()
	f, err := d.Open(uidlist)
	if err != nil {
		return nil, ifThere(err)
	}
	defer f.Close()
	there, err := messages(root, dir)
	if err != nil {
		return nil, err
	}
	gone, err := mailstore.MissingUIDs(f, first, maxVanished, there)
	if errors.Is(err, mailstore.ErrUIDList) {
		return nil, nil
	}
	return gone, err
}

// lookTries is how often a mailbox is listed that changes meanwhile.
const lookTries = 3

// messages returns what says whether a message of that base name is in a mailbox. It
// is nil where that cannot be told: the uidlist lies elsewhere, or somebody renames
// messages all the time, so that a listing may miss one.
func messages(root *beneath.Root, dir journal.Path) (func(base string) bool, error) {
	for range lookTries {
		var hashes []uint64
		seed, still := maphash.MakeSeed(), true
		for _, sub := range []string{"new", "cur"} { // a message comes from the first into the second
			unchanged, err := eachName(root, dir.Join(sub), func(name string) {
				hashes = append(hashes, maphash.String(seed, mailstore.Maildir{}.Base(name)))
			})
			if errors.Is(err, fs.ErrNotExist) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			still = still && unchanged
		}
		if still {
			slices.Sort(hashes)
			return func(base string) bool {
				_, found := slices.BinarySearch(hashes, maphash.String(seed, base))
				return found
			}, nil
		}
	}
	return nil, nil
}

// eachName lists a directory, and reports whether it has not changed meanwhile.
func eachName(root *beneath.Root, dir journal.Path, f func(name string)) (unchanged bool, err error) {
	d, err := root.Dir(dir)
	if err != nil {
		return false, err
	}
	defer d.Close()
	before, err := d.Info()
	if err != nil {
		return false, err
	}
	if err := d.Each(func(names []beneath.Name) error {
		for _, n := range names {
			f(n.Name)
		}
		return nil
	}); err != nil {
		return false, err
	}
	after, err := d.Info()
	return before.DirMTime == after.DirMTime, err
}

// tell appends to a log as Dovecot does: under its lock, and so that whoever
// reads meanwhile, or after a crash, finds a whole record or none.
func (f folders) tell(d *beneath.Dir, gone []mailstore.UIDs) (err error) {
	log, err := d.Edit(mailstore.IndexLog)
	if err != nil {
		return ifThere(err)
	}
	// The lock ends with it.
	defer func() { err = errors.Join(err, log.Close()) }()
	if err := f.lockLog(log); err != nil {
		return err
	}
	if ours, err := isLog(d, log); err != nil || !ours {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(log, maxLog+1))
	if err != nil || len(data) > maxLog {
		return err
	}
	at, record, ok := mailstore.Expunged(data, gone)
	if !ok {
		return nil // Dovecot will not go on with it either
	}
	if err := log.Truncate(at); err != nil {
		return err
	}
	const size = 4 // bytes, which come last
	for _, part := range []struct {
		data []byte
		at   int64
	}{{record[size:], at + size}, {record[:size], at}} {
		if _, err := log.WriteAt(part.data, part.at); err != nil {
			return err
		}
		if err := log.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// lockLog takes Dovecot's lock of a log (lock_method = fcntl, the default).
func (f folders) lockLog(log *os.File) error {
	for range lockTries {
		lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
		err := beneath.Control(log, func(fd int) error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock) })
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EINTR) {
			return err
		}
		<-f.clock.After(lockPause)
	}
	return hint.Add(errLogInUse, "it is tried again")
}

// errLogInUse says that Dovecot is writing a log, or has begun another one.
var errLogInUse = errors.New("the log of the index is in use by another program")

// isLog reports whether an open log may be written to: not if it has a second
// name, for users can plant one. If Dovecot has begun another log meanwhile, the
// error is errLogInUse.
func isLog(d *beneath.Dir, log *os.File) (bool, error) {
	open, err := beneath.FileInfo(log)
	if err != nil {
		return false, err
	}
	named, err := d.Stat(mailstore.IndexLog)
	if err != nil {
		return false, err
	}
	if !open.Stamp.SameFile(named.Stamp) {
		return false, hint.Add(errLogInUse, "it is tried again")
	}
	return open.Links == 1, nil
}
