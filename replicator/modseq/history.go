package modseq

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// historyTemp is what the log of a mailbox is called before it is complete.
const historyTemp = "dovecot.index.log.mailtwin.tmp"

// beginHistory puts an empty log into a directory without an index. Dovecot goes on
// with it and knows that it has not heard of what was before. It would make a
// log of its own otherwise, which begins with the first change there ever was,
// and take for granted that nothing was expunged which is not in it. It reports
// whether there is an index that was there before.
func beginHistory(root *beneath.Root, dir journal.Path, modseq uint64, now time.Time) (had bool, err error) {
	d, err := root.Dir(dir)
	if err != nil {
		return false, ifThere(err)
	}
	defer d.Close()
	if err := ifThere(d.Remove(historyTemp)); err != nil {
		return false, err
	}
	members := mailstore.Maildir{}.Members(dir)
	for _, m := range members {
		if _, err := d.Stat(m.Name()); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return err == nil, err
		}
	}
	if err := writeLog(d, modseq, now); err != nil {
		return false, errors.Join(fmt.Errorf("begin the index in %q: %w", string(dir), err), d.Remove(historyTemp))
	}
	// If Dovecot was faster, it is Dovecot's.
	err = d.Link(historyTemp, d, mailstore.IndexLog)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return false, errors.Join(err, d.Remove(historyTemp), d.Sync())
}

// writeLog writes the log under its first name, durably, for whoever owns the
// directory: Dovecot derives the mode of an index from that of the mailbox too.
func writeLog(d *beneath.Dir, modseq uint64, now time.Time) (err error) {
	info, err := d.Info()
	if err != nil {
		return err
	}
	out, err := d.Create(historyTemp)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := out.Write(mailstore.EmptyIndexLog(now, modseq)); err != nil {
		return err
	}
	attr := info.Facts.Attr
	if err := beneath.SetFileAttributes(out, journal.Attributes{
		Mode: attr.Mode & 0o666, UID: attr.UID, GID: attr.GID, MTime: now.UnixNano(),
	}); err != nil {
		return err
	}
	return out.Sync()
}
