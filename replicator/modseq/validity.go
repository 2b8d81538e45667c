package modseq

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
)

// uidvalidity is the file in which Dovecot keeps the UIDVALIDITY that it gave out
// last to a mailbox of a user. The number itself is in the name of another, empty
// file, "dovecot-uidvalidity.<8 hexadecimal digits>", which it renames to the next
// one; if that of the first file is not there, it looks for the highest
// (mailbox-uidvalidity.c, 2.3.19).
const uidvalidity = "dovecot-uidvalidity"

// validityGap is how many numbers are left out, at least: more than mailboxes that
// one user makes while the mirror is behind.
const validityGap = 1000

// renumber has the mailboxes that are made from now on, in the directory tree that
// dir is in, get a UIDVALIDITY that none had before: at least the one given. It
// returns the directory in which that is kept; "" if there is none.
func renumber(root *beneath.Root, dir journal.Path, least uint64) (journal.Path, error) {
	for p := dir; ; p = p.Dir() {
		d, err := root.Dir(p)
		if err != nil {
			return "", err
		}
		_, err = d.Stat(uidvalidity)
		if err == nil {
			err = raiseValidity(d, least)
			return p, errors.Join(err, d.Close())
		}
		_ = d.Close() // it was only read
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if p == journal.Root {
			return "", nil
		}
	}
}

// raiseValidity renames the file whose name has the number. It returns when that is
// durable.
func raiseValidity(d *beneath.Dir, least uint64) error {
	last := uint64(0)
	err := d.Each(func(names []beneath.Name) error {
		for _, n := range names {
			last = max(last, validityOf(n.Name))
		}
		return nil
	})
	if err != nil || last == 0 {
		return err
	}
	next := last + validityGap
	if least <= math.MaxUint32 {
		next = max(next, least)
	}
	if next > math.MaxUint32 {
		return nil // it cannot be told apart any more
	}
	if err := d.Rename(validityName(last), d, validityName(next)); err != nil {
		return fmt.Errorf("leave a gap of UIDVALIDITYs: %w", err)
	}
	return d.Sync()
}

func validityName(n uint64) string { return fmt.Sprintf("%s.%08x", uidvalidity, n) }

// validityOf returns the number in the name of a file, 0 if there is none.
func validityOf(name string) uint64 {
	digits, ok := strings.CutPrefix(name, uidvalidity+".")
	n, err := strconv.ParseUint(digits, 16, 32)
	if !ok || err != nil || validityName(n) != name {
		return 0
	}
	return n
}
