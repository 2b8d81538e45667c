package modseq

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/replicator/hint"
)

// uidGap is how many UIDs a promotion leaves out that may have lost mail: more
// than came to one mailbox while the mirror was behind, and few enough for tens
// of thousands of promotions.
const uidGap = 100_000

// The files of a mailbox that Dovecot writes UIDs with.
const (
	uidlist     = "dovecot-uidlist"
	uidlistTemp = uidlist + ".tmp"
	uidlistLock = uidlist + ".lock"
)

// Bounds of a uidlist.
const (
	maxHeader = 4 << 10           // bytes of its first line
	maxTail   = 64 << 10          // bytes at its end in which the last record is
	staleLock = 120 * time.Second // after which Dovecot takes a lock for a dead one's, too
	maxUID    = 1<<31 - 1         // no gap leads beyond: not all clients can count further
)

// errLocked says that Dovecot is writing a uidlist.
var errLocked = errors.New("the uidlist is locked by another program")

// folders prepares the folders of users before Dovecot opens them.
type folders struct {
	doveadm doveadm
	store   string // its path
	clock   Clock
}

// at does something in the directory where a folder's files of a kind are, as
// doveadm calls it. It does nothing if that is not in the store: then it was
// not replicated either.
func (f folders) at(ctx context.Context, user, folder, kind string, do func(root *beneath.Root, dir journal.Path) error) error {
	lines, code, err := f.doveadm.run(ctx, "mailbox", "path", "-u", user, "-t", kind, "--", folder)
	switch {
	case code == exitNotFound:
		return nil
	case err != nil:
		return err
	case len(lines) != 1:
		return fmt.Errorf("`doveadm mailbox path` printed %d lines for the folder %q of %s, not one", len(lines), folder, user)
	}
	dir, ok := within(f.store, lines[0])
	if !ok {
		return nil
	}
	root, err := beneath.Open(f.store)
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	defer root.Close()
	return do(root, dir)
}

// within returns the path in the store of a directory by its absolute path, and
// false if it is not in the store, or not there.
func within(store, dir string) (journal.Path, bool) {
	store, err1 := filepath.EvalSymlinks(store)
	dir, err2 := filepath.EvalSymlinks(dir)
	if err1 != nil || err2 != nil {
		return "", false
	}
	rel, err := filepath.Rel(store, dir)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", false
	}
	if rel == "." {
		return journal.Root, true
	}
	return journal.Path(rel), true
}

// widen has the uidlist in a directory say that the next UID is above all that
// clients can have been shown. It does so as Dovecot itself would: under its
// lock, in another file that replaces the uidlist, durably. Where there is no
// uidlist there is nothing to be done: Dovecot begins anew, and clients know.
func widen(root *beneath.Root, dir journal.Path, gap uint32, now time.Time) (err error) {
	d, err := root.Dir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := d.Stat(uidlist); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := lock(d, now); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Remove(uidlistLock)) }()
	f, err := d.Open(uidlist)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := rewrite(d, f, gap); err != nil {
		return fmt.Errorf("leave a gap of UIDs in %q: %w", string(dir), err)
	}
	return nil
}

// lock takes Dovecot's lock of a uidlist, also from somebody who is long dead.
func lock(d *beneath.Dir, now time.Time) error {
	for range 2 {
		f, err := d.Create(uidlistLock)
		if err == nil {
			return f.Close()
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err := d.Stat(uidlistLock)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			if now.Sub(time.Unix(0, info.Facts.Attr.MTime)) < staleLock {
				break
			}
			if err := d.Remove(uidlistLock); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return hint.Add(fmt.Errorf("%q: %w", string(d.Path()), errLocked), "it is tried again; Dovecot removes a lock that a crash has left after two minutes")
}

// rewrite replaces a uidlist by one with another header.
func rewrite(d *beneath.Dir, f *os.File, gap uint32) (err error) {
	in := bufio.NewReaderSize(f, maxHeader)
	header, err := in.ReadSlice('\n')
	if errors.Is(err, io.EOF) {
		return nil // it has no header, which begins the mailbox anew
	}
	if err != nil {
		return fmt.Errorf("its first line: %w", err)
	}
	last, err := lastUID(f)
	if err != nil {
		return err
	}
	raised, ok := raisedHeader(header, last, gap)
	if !ok {
		return nil
	}
	info, err := beneath.FileInfo(f)
	if err != nil {
		return err
	}
	if err := d.Remove(uidlistTemp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := d.Create(uidlistTemp)
	if err != nil {
		return err
	}
	_, err = out.Write(raised)
	if err == nil {
		_, err = io.Copy(out, in)
	}
	if err == nil {
		err = beneath.SetFileAttributes(out, info.Facts.Attr)
	}
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, d.Remove(uidlistTemp))
	}
	if err := d.Rename(uidlistTemp, d, uidlist); err != nil {
		return err
	}
	return d.Sync()
}

// raisedHeader returns the header of a uidlist of the third format, "3 V<UID
// validity> N<next UID> ...", with a next UID that is a gap above that of header
// and above the last UID. It returns false for what is no such header, and if
// there is no room for a gap.
func raisedHeader(header []byte, last uint64, gap uint32) ([]byte, bool) {
	words := strings.Fields(string(header))
	if len(words) == 0 || words[0] != "3" {
		return nil, false
	}
	for i, word := range words {
		number, found := strings.CutPrefix(word, "N")
		next, err := strconv.ParseUint(number, 10, 32)
		if i == 0 || !found || err != nil {
			continue
		}
		next = max(next, last+1) + uint64(gap)
		if next > maxUID {
			return nil, false
		}
		words[i] = "N" + strconv.FormatUint(next, 10)
		return []byte(strings.Join(words, " ") + "\n"), true
	}
	return nil, false
}

// lastUID returns the UID of the last whole record of a uidlist, which is the
// highest; 0 if there is none.
func lastUID(f *os.File) (uint64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	from := max(info.Size()-maxTail, 0)
	tail, err := io.ReadAll(io.NewSectionReader(f, from, maxTail))
	if err != nil {
		return 0, err
	}
	tail = tail[:bytes.LastIndexByte(tail, '\n')+1]
	for len(tail) > 0 {
		at := bytes.LastIndexByte(tail[:len(tail)-1], '\n') + 1
		if at == 0 {
			break // the header, or the rest of a line
		}
		number, _, _ := bytes.Cut(tail[at:], []byte{' '})
		if uid, err := strconv.ParseUint(string(number), 10, 32); err == nil {
			return uid, nil
		}
		tail = tail[:at]
	}
	return 0, nil
}
