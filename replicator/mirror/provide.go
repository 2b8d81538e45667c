package mirror

import (
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/blake3"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// fewFiles is up to how many files are made durable one by one; more are
// cheaper with one syncfs.
const fewFiles = 8

func errSequence(got, want journal.Sequence) error {
	return fmt.Errorf("%w: entry %d came, %d is next", wire.ErrProtocol, got, want)
}

// provide sees to the contents of all changes: what did not travel is taken
// from the store as it is before the group. Everything staged is complete,
// has its attributes, and is durable when it returns.
func (k *committer) provide(changes []*change) error {
	latest := make(map[journal.Path]*staged) // contents put by this group
	byID := make(map[journal.ContentID]*staged)
	var files []*change
	for _, c := range changes {
		if c.Kind != journal.KindPut || c.settle {
			continue
		}
		if c.file == nil {
			if err := k.provideOne(c, latest, byID); err != nil {
				return err
			}
		}
		if c.file == nil {
			c.missing = true
			delete(latest, c.Path)
			continue
		}
		latest[c.Path] = c.file
		byID[c.file.id] = c.file
		files = append(files, c)
	}
	for _, c := range files {
		if err := k.applier.dress(c); err != nil {
			return err
		}
	}
	return k.syncStaged(files)
}

// provideOne makes the content of one change from what the mirror has.
func (k *committer) provideOne(c *change, latest map[journal.Path]*staged, byID map[journal.ContentID]*staged) error {
	if c.Outcome != wire.OK || c.plain {
		return nil
	}
	var from io.ReadCloser
	var err error
	switch {
	case c.Held != nil && c.Held.Keep == 0, c.Held == nil && c.Facts.Size == 0 && c.Facts.Content.Known():
	case c.Held != nil:
		from, err = k.openBase(c.Path, latest[c.Path], c.Held.Base)
	case !c.Facts.Content.Known():
		return nil
	case byID[c.Facts.Content] != nil:
		from, err = k.c.stage.dir.Open(byID[c.Facts.Content].name)
	default:
		from, err = k.m.openContent(c.Facts.Content)
	}
	if err != nil {
		return nil // it is not to be had here: it will be fetched
	}
	if from != nil {
		defer func() { _ = from.Close() }()
	}
	return k.assemble(c, from)
}

// openBase opens what was at the path before.
func (k *committer) openBase(p journal.Path, before *staged, base journal.ContentID) (io.ReadCloser, error) {
	if before != nil {
		if before.id != base {
			return nil, errNoContent
		}
		return k.c.stage.dir.Open(before.name)
	}
	return k.m.openPath(p)
}

// assemble writes the content of a change from its parts. If they do not add
// up to the content id, the change stays without.
func (k *committer) assemble(c *change, from io.Reader) error {
	file, w, err := k.c.stage.create()
	if err != nil {
		return inStore(err, "write into", mailstore.Staging)
	}
	hasher := blake3.New()
	both := io.MultiWriter(w, hasher)
	if from != nil {
		if c.Held != nil {
			from = io.LimitReader(from, c.Held.Keep)
		}
		_, err = io.Copy(both, from)
	}
	if err == nil && c.Held != nil {
		_, err = both.Write(c.Held.Data)
	}
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return inStore(err, "write into", mailstore.Staging)
	}
	hasher.Sum(file.id[:0])
	if file.id != c.Facts.Content {
		k.c.stage.drop(file)
		return nil
	}
	file.size = c.Facts.Size
	c.file = file
	return nil
}

// syncStaged makes staged files durable.
func (k *committer) syncStaged(files []*change) error {
	if len(files) == 0 {
		return nil
	}
	if len(files) > fewFiles {
		return inStore(k.c.stage.dir.SyncFS(), "make durable", mailstore.Staging)
	}
	for _, c := range files {
		file, err := k.c.stage.dir.Open(c.file.name)
		if err == nil {
			err = file.Sync()
			if cerr := file.Close(); err == nil {
				err = cerr
			}
		}
		if err != nil {
			return inStore(err, "make durable", c.Path)
		}
	}
	return nil
}

// dress gives a staged file its attributes and learns its stamp.
func (a *applier) dress(c *change) error {
	err := a.stage.dir.SetAttributes(c.file.name, journal.TypeFile, c.Facts.Attr)
	if err = a.tolerate(err); err != nil {
		return inStore(err, "set the attributes of", c.Path)
	}
	info, err := a.stage.dir.Stat(c.file.name)
	if err != nil {
		return inStore(err, "look at the staged file of", c.Path)
	}
	c.stamp = info.Stamp
	return nil
}

// tolerate passes over what this node cannot keep, and remembers it.
func (a *applier) tolerate(err error) error {
	switch {
	case errors.Is(err, beneath.ErrOwner):
		a.ownersLost = true
		return nil
	case errors.Is(err, beneath.ErrXattrs):
		return nil
	}
	return err
}
