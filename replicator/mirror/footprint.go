package mirror

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// footprintName is the file, in the directory of staging, in which a footprint is.
const footprintName = "footprint"

// footprintPause is the least time between two footprints of one stream.
const footprintPause = time.Second

// footprint is what a mirror leaves in its store, so that it can tell whether its
// catalog is of the same moment. It is never ahead of a catalog that is.
type footprint struct {
	stream  uint64 // the number of the last stream
	applied journal.Sequence
}

const (
	footprintForm = "mailtwin-footprint 1 %020d %020d "
	footprintSize = 72
)

var (
	errFootprint      = errors.New("the footprint in the store is damaged")
	errFootprintNewer = errors.New("the footprint in the store is of a newer version of mailtwin")
)

func (f footprint) line() string {
	text := fmt.Sprintf(footprintForm, f.stream, uint64(f.applied))
	return text + fmt.Sprintf("%08x\n", crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)))
}

func parseFootprint(text string) (f footprint, err error) {
	version, applied := 0, uint64(0)
	if _, err := fmt.Sscanf(text, "mailtwin-footprint %d ", &version); err == nil && version > 1 {
		return f, errFootprintNewer
	}
	if _, err := fmt.Sscanf(text, footprintForm, &f.stream, &applied); err != nil {
		return footprint{}, errFootprint
	}
	if f.applied = journal.Sequence(applied); f.line() != text {
		return footprint{}, errFootprint
	}
	return f, nil
}

// readFootprint reads the footprint of the store; fs.ErrNotExist: there is none.
func readFootprint(root *beneath.Root) (footprint, error) {
	dir, err := root.Dir(staging)
	if err != nil {
		return footprint{}, err
	}
	defer func() { _ = dir.Close() }()
	file, err := dir.Open(footprintName)
	if err != nil {
		return footprint{}, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, footprintSize+1))
	if err != nil {
		return footprint{}, err
	}
	return parseFootprint(string(data))
}

// make leaves a footprint in place of another one, durably.
func (f footprint) make(root *beneath.Root) error {
	dir, err := root.MakeDirs(mailstore.Staging)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	const temp = footprintName + ".new"
	if err := dir.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := dir.Create(temp)
	if err != nil {
		return err
	}
	if _, err = file.WriteString(f.line()); err == nil {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = dir.Rename(temp, dir, footprintName)
	}
	if err == nil {
		err = dir.Sync()
	}
	return err
}

// overwrite brings a footprint up to date. What a power cut leaves of it is older.
func (f footprint) overwrite(root *beneath.Root) error {
	dir, err := root.Dir(staging)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	file, err := dir.Edit(footprintName)
	if err != nil {
		return err
	}
	_, err = file.WriteAt([]byte(f.line()), 0)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	return err
}

// apart says why a catalog and a store, of which the footprint is, cannot be of the
// same moment; "" if they can. Behind a stream that ended well they are the same; a
// crash may have come before the footprint of the catalog's stream.
func apart(p progressMeta, applied journal.Sequence, f footprint, err error) string {
	switch {
	case p.Stream == 0:
		return "" // it has left none yet
	case errors.Is(err, fs.ErrNotExist):
		return "there is no footprint in the store"
	case err != nil:
		return err.Error()
	case f.stream > p.Stream, f.stream == p.Stream && f.applied > applied:
		return "the state directory is of an earlier time than the store"
	case f.stream+1 < p.Stream, !p.Open && f != footprint{p.Stream, applied}:
		return "the store is of an earlier time than the state directory"
	}
	return ""
}

// recognize makes sure that the catalog says what is in the store. Where an older
// state of one of them was restored, it does not, and no comparison of catalogs would
// find that out: then the store is looked at as a whole, and compared.
func (m *Mirror) recognize(ctx context.Context) error {
	p, applied, err := m.progress()
	if err != nil {
		return err
	}
	store, err := m.cfg.Root.Opened()
	if err != nil {
		return inStore(err, "identify", journal.Root)
	}
	f, err := readFootprint(m.cfg.Root)
	why := apart(p, applied, f, err)
	if why == "" {
		why = m.untold
	}
	if why == "" {
		m.stocked = nil
		return nil
	}
	seen := stocked{store, f}
	if m.untold != "" || m.stocked == nil || *m.stocked != seen {
		if err := m.takeStock(ctx, p, f, why); err != nil {
			return err
		}
		m.stocked = &seen
	}
	// Or it would be looked at again after the next start.
	p.Stream = max(p.Stream, f.stream)
	if err := (footprint{p.Stream, applied}).make(m.cfg.Root); err != nil {
		return inStore(err, "leave a footprint in", staging)
	}
	m.stocked = nil
	return nil
}

// stocked is a store that was looked at as a whole, and the footprint in it, which may
// stay as it was for long, where the disk is full. Nothing is made in the store before
// there is a new one.
type stocked struct {
	store beneath.Identity
	print footprint
}

// takeStock looks at the store as a whole, and has it compared.
func (m *Mirror) takeStock(ctx context.Context, p progressMeta, f footprint, why string) error {
	m.cfg.Log.Warn("the store is looked at as a whole: the catalog may not say what is in it", "reason", why)
	m.update(func(s *Status) { s.LastError = "first, the store is looked at as a whole: " + why })
	if err := m.cfg.TakeStock(ctx); err != nil {
		return inStore(err, "look at", journal.Root)
	}
	m.tidy, m.untold = true, ""
	p.Stream = max(p.Stream, f.stream)
	return inCatalog(m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error {
		return errors.Join(writeWhole(t, false), writeProgress(t, p), t.SetMeta(metaMoves, nil), t.SetMeta(metaVersions, nil))
	}))
}

// progress reads how far the mirror is.
func (m *Mirror) progress() (p progressMeta, applied journal.Sequence, err error) {
	err = m.cfg.Catalog.View(func(t *catalog.Tx) (err error) {
		p, err = readProgress(t)
		applied = max(t.Position().Sequence, p.Applied)
		return err
	})
	return p, applied, inCatalog(err)
}

// open notes that a stream begins: until close, or if that never comes, something may
// be made in the store that the catalog does not say.
func (m *Mirror) open() error {
	p, applied, err := m.progress()
	if err != nil {
		return err
	}
	f, err := readFootprint(m.cfg.Root)
	if err != nil {
		f = footprint{} // it is made anew
	}
	p.Open, p.Stream = true, max(p.Stream, f.stream+1)
	if err := m.writeProgress(p); err != nil {
		return err
	}
	m.printed = m.cfg.Now()
	return inStore(footprint{p.Stream, applied}.make(m.cfg.Root), "leave a footprint in", staging)
}

// close notes that a stream has ended, and that the catalog says what was made in the
// store; unless that may not be so since a stream before it.
func (m *Mirror) close() error {
	p, applied, err := m.progress()
	if err != nil {
		return err
	}
	if err := (footprint{p.Stream, applied}).make(m.cfg.Root); err != nil {
		return inStore(err, "leave a footprint in", staging)
	}
	if !m.tidy {
		return nil
	}
	p.Open = false
	return m.writeProgress(p)
}

// print brings the footprint up to date now and then.
func (m *Mirror) print(applied journal.Sequence) error {
	now := m.cfg.Now()
	if now.Sub(m.printed) < footprintPause {
		return nil
	}
	m.printed = now
	p, _, err := m.progress()
	if err != nil {
		return err
	}
	return inStore(footprint{p.Stream, applied}.overwrite(m.cfg.Root), "leave a footprint in", staging)
}

func (m *Mirror) writeProgress(p progressMeta) error {
	return inCatalog(m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error { return writeProgress(t, p) }))
}

// StoreTime asks the store what time it is: the machine that has it may be another one,
// with another clock, and the stamps of its files are by that. It makes a file beside
// the footprint and removes it again; where no mirror has left one, it fails.
func StoreTime(root *beneath.Root) (time.Time, error) {
	dir, err := root.Dir(staging)
	if err != nil {
		return time.Time{}, err
	}
	defer func() { _ = dir.Close() }()
	const name = "time"
	if err := dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, err
	}
	file, err := dir.Create(name)
	if err != nil {
		return time.Time{}, err
	}
	info, err := beneath.FileInfo(file)
	return time.Unix(0, info.Stamp.Change), errors.Join(err, file.Close(), dir.Remove(name))
}
