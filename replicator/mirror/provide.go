package mirror

import (
	"errors"
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

// shelf is what a group's contents are while they are prepared.
type shelf struct {
	latest map[journal.Path]*staged // what the group puts, under the names that it has by then
	byID   map[journal.ContentID]*staged
	// lacking tells of the files that the group puts whether their content is
	// not to be had.
	lacking map[journal.Path]bool
}

// follow takes note of a change that is made before the next one is prepared.
func (s *shelf) follow(c *change) {
	switch c.Kind {
	case journal.KindMove:
		s.move(c.From, c.Path)
		delete(s.latest, c.From)
	case journal.KindLink:
		s.move(c.From, c.Path)
	case journal.KindPut:
		if c.file == nil {
			delete(s.latest, c.Path)
			return
		}
		s.latest[c.Path], s.byID[c.file.id] = c.file, c.file
	case journal.KindRemove, journal.KindSymlink:
		delete(s.latest, c.Path)
	default:
	}
}

func (s *shelf) move(from, to journal.Path) {
	if f := s.latest[from]; f != nil {
		s.latest[to] = f
	} else {
		delete(s.latest, to)
	}
}

// provide sees to the contents of all changes: what did not travel is taken
// from the store as it is before the group. Everything staged is complete and has
// its attributes when it returns. It returns the changes whose files are staged.
func (k *committer) provide(changes []*change) (files []*change, err error) {
	if err := k.findReached(changes); err != nil {
		return nil, err
	}
	s := &shelf{
		latest: make(map[journal.Path]*staged), byID: make(map[journal.ContentID]*staged),
		lacking: make(map[journal.Path]bool),
	}
	for _, c := range changes {
		if c.Kind == journal.KindPut && !c.settle {
			if err := k.provideFor(c, s); err != nil {
				return nil, err
			}
			if c.missing = c.file == nil && !c.reached; c.file != nil {
				files = append(files, c)
			}
			s.lacking[c.Path] = c.missing
		}
		if !c.settle {
			s.follow(c)
		}
	}
	for _, c := range files {
		if err := k.applier.dress(c); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// provideFor sees to the content of one change.
func (k *committer) provideFor(c *change, s *shelf) error {
	if k.m.isDerived(c.Path) {
		early, err := k.tooEarly(c, s)
		if err != nil {
			return err
		}
		if early {
			k.c.stage.drop(c.file)
			c.file, c.reached = nil, false
			return nil
		}
	}
	switch {
	case c.reached:
		k.c.stage.drop(c.file)
		c.file = nil
	case c.file == nil && c.Outcome == wire.OK:
		return k.provideOne(c, s)
	}
	return nil
}

// provideOne makes the content of one change from what the mirror has.
func (k *committer) provideOne(c *change, s *shelf) error {
	var from io.ReadCloser
	var err error
	switch id := c.Facts.Content; {
	case !id.Known():
		return nil
	case c.Held != nil && c.Held.Keep == 0, c.Held == nil && c.Facts.Size == 0:
	case c.Held != nil:
		from, err = k.openBase(c.Path, s.latest[c.Path], c.Held.Base)
	case s.byID[id] != nil:
		from, err = k.c.stage.dir.Open(s.byID[id].name)
	default:
		from, err = k.m.openContent(id)
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
		length := c.Facts.Size + 1 // one too many is enough to be wrong
		if c.Held != nil {
			length = c.Held.Keep
		}
		file.size, err = io.Copy(both, io.LimitReader(lossy{from}, length))
	}
	if err == nil && c.Held != nil {
		_, err = both.Write(c.Held.Data)
		file.size += int64(len(c.Held.Data))
	}
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return inStore(err, "write into", mailstore.Staging)
	}
	hasher.Sum(file.id[:0])
	if file.id != c.Facts.Content || file.size != c.Facts.Size {
		k.c.stage.drop(file)
		return nil
	}
	c.file = file
	return nil
}

// lossy reads until something fails, and takes that for the end: what is
// lacking shows in the hash, and is asked for.
type lossy struct{ r io.Reader }

// Read implements io.Reader.
func (l lossy) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

// syncStaged makes staged files durable.
func (k *committer) syncStaged(files []*change) error {
	var left []*change
	for _, c := range files {
		done, err := c.file.synced()
		if err != nil {
			return inStore(err, "make durable", c.Path)
		}
		if !done {
			left = append(left, c)
		}
	}
	if len(left) > fewFiles {
		return inStore(k.c.stage.dir.SyncFS(), "make durable", mailstore.Staging)
	}
	for _, c := range left {
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

// dress gives a staged file its attributes and learns its stamp, unless it has
// them since it arrived.
func (a *applier) dress(c *change) error {
	if f := c.file; f.stamp.Inode != 0 && sameAttributes(f.attr, c.Facts.Attr) {
		c.stamp = f.stamp
		return nil
	}
	if _, err := c.file.synced(); err != nil { // it has to be synced once more
		return inStore(err, "make durable", c.Path)
	}
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
