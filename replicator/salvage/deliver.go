package salvage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/content"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// maxKeywordsFile bounds what is read of a mailbox's dovecot-keywords.
const maxKeywordsFile = 64 << 10

// The steps of a delivery at which a test may end everything.
const (
	stepStaged    = "staged"
	stepDurable   = "contents durable"
	stepRecorded  = "recorded"
	stepRenamed   = "renamed"
	stepDelivered = "delivered"
)

// job is a message that is being delivered.
type job struct {
	offer  *wire.Offer
	file   *staged
	target journal.Path
	result *wire.DeliveryResult
}

// takeDelivery delivers what the other node has decided on, durably, and says
// what became of each.
func (s *session) takeDelivery(m *pb.SalvageDelivery) error {
	items, err := wire.ParseDelivery(m, len(s.offers))
	if err != nil {
		return err
	}
	if err := s.endArriving(); err != nil {
		return err
	}
	results := make([]wire.DeliveryResult, len(items))
	var jobs []*job
	touched := make(map[journal.Path]bool)
	for i, item := range items {
		offer := &s.offers[item.Offer]
		if item.Action == wire.ActionFlags {
			if results[i], err = s.setFlags(offer, touched); err != nil {
				return err
			}
			continue
		}
		file, err := s.contentOf(item, offer)
		if err != nil {
			return err
		}
		if file == nil {
			results[i].Outcome = wire.DeliverySend
			continue
		}
		delete(s.arrived, item.Offer)
		j := &job{offer: offer, file: file, result: &results[i]}
		if err := s.place(j); err != nil {
			return err
		}
		if j.target != "" {
			jobs = append(jobs, j)
		} else {
			s.stage.drop(file)
		}
	}
	if err := s.deliver(jobs, touched); err != nil {
		return err
	}
	if err := s.beginContents(); err != nil {
		return err
	}
	if err := s.s.step(stepDelivered); err != nil {
		return err
	}
	return s.send(&pb.SalvageResponse{Message: &pb.SalvageResponse_Results{Results: wire.ResultsMessage(results)}})
}

// contentOf returns the staged content of an item; nil if it has to be sent.
func (s *session) contentOf(item wire.DeliveryItem, o *wire.Offer) (*staged, error) {
	if item.Action == wire.ActionDeliverFromHere {
		return s.copyFromHere(o)
	}
	file := s.arrived[item.Offer]
	switch {
	case file == nil:
		return nil, fmt.Errorf("%w: offer %d is to be delivered, and its content did not come", wire.ErrProtocol, item.Offer)
	case file.id != o.Content || file.size != o.Size:
		return nil, fmt.Errorf("%w: a content of %d bytes, %s, came as %d bytes, %s",
			content.ErrCorrupt, o.Size, o.Content, file.size, file.id)
	}
	return file, nil
}

// copyFromHere stages a copy of a content that the store has.
func (s *session) copyFromHere(o *wire.Offer) (file *staged, err error) {
	var paths []journal.Path
	if _, err := s.index.content(o.Content, func(p journal.Path, _ catalog.Item) bool {
		paths = append(paths, p)
		return true
	}); err != nil {
		return nil, err
	}
	for _, p := range paths {
		from, err := openPath(s.s.cfg.Root, p)
		if err != nil {
			continue // it was renamed or removed: the content can be sent
		}
		file, err := s.stage.copy(s.ledger, from, o.Content, o.Size)
		_ = from.Close()
		if file != nil || err != nil {
			return file, err
		}
	}
	return nil, nil
}

// openPath opens a file of a store.
func openPath(root *beneath.Root, p journal.Path) (io.ReadCloser, error) {
	dir, err := root.Dir(p.Dir())
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	return dir.Open(p.Name())
}

// place finds where a message belongs, and gives its staged file the
// attributes that mail has there. Without a target there is nothing to do.
func (s *session) place(j *job) error {
	cfg := &s.s.cfg
	here, err := s.mailbox(j.offer.Mailbox)
	if err != nil {
		return err
	}
	if here == "" {
		j.result.Outcome = wire.DeliveryNoMailbox
		return nil
	}
	if here != j.offer.Mailbox {
		j.result.Mailbox = here
	}
	j.result.Outcome = wire.DeliveryDone
	there, err := findMessage(cfg.Catalog, cfg.Rules, here, j.offer.Base)
	if err != nil {
		return err
	}
	if there != nil && !there.item.Missing {
		j.result.Outcome = wire.DeliveryHave
		return nil
	}
	table, err := keywordsOf(cfg.Root, here)
	if err != nil {
		return err
	}
	sub, name, dropped := mailstore.FileName(j.offer.Base, j.offer.Flags, &table)
	j.target, j.result.Dropped = here.Join(sub).Join(name), dropped
	if there != nil {
		j.target = there.path // it is the very message whose content never came
	}
	if len(name) > journal.MaxName || len(j.target) > journal.MaxPath {
		j.target, j.result.Outcome = "", wire.DeliveryNoMailbox
		return nil
	}
	attr, err := s.attributes(here)
	if err != nil {
		return err
	}
	attr.MTime = j.offer.MTime
	err = s.stage.dir.SetAttributes(j.file.name(), journal.TypeFile, attr)
	if err != nil && !errors.Is(err, beneath.ErrOwner) && !errors.Is(err, beneath.ErrXattrs) {
		return fmt.Errorf("set the attributes of a message: %w", err)
	}
	return nil
}

// mailbox returns the mailbox to deliver to: that which was offered for, as it
// is called now, or else the nearest above it, which is the INBOX in most
// layouts. "" if there is none.
func (s *session) mailbox(offered journal.Path) (journal.Path, error) {
	here := s.index.past.now(offered)
	if here == "" {
		here = offered.Dir()
	}
	for {
		is, err := isMailbox(s.s.cfg.Root, here)
		switch {
		case err != nil:
			return "", err
		case is:
			return here, nil
		case here == journal.Root:
			return "", nil
		}
		here = here.Dir()
	}
}

// isMailbox reports whether a directory is a mailbox.
func isMailbox(root *beneath.Root, p journal.Path) (bool, error) {
	for _, sub := range mailstore.MailboxDirs() {
		dir, err := root.Dir(p.Join(sub))
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, beneath.ErrNotDirectory), errors.Is(err, beneath.ErrEscapes), errors.Is(err, journal.ErrPath):
			return false, nil
		case err != nil:
			return false, err
		}
		_ = dir.Close()
	}
	return true, nil
}

// attributes returns what the other messages of a mailbox have: owner and
// mode. In an empty one the directory decides.
func (s *session) attributes(mailbox journal.Path) (attr journal.Attributes, err error) {
	found := false
	err = s.s.cfg.Catalog.View(func(t *catalog.Tx) error {
		for _, sub := range []string{"cur", "new"} {
			err := t.List(mailbox.Join(sub), "", func(_ string, it catalog.Item) error {
				if it.Facts.Type != journal.TypeFile || it.Missing {
					return nil
				}
				a := it.Facts.Attr
				attr, found = journal.Attributes{Mode: a.Mode & 0o777, UID: a.UID, GID: a.GID}, true
				return errPageFull
			})
			if err != nil && !errors.Is(err, errPageFull) && !errors.Is(err, catalog.ErrNotFound) {
				return err
			}
			if found {
				return nil
			}
		}
		return nil
	})
	if found || err != nil {
		return attr, err
	}
	info, err := s.s.cfg.Root.Stat(mailbox.Join("cur"))
	a := info.Facts.Attr
	return journal.Attributes{Mode: a.Mode & 0o666, UID: a.UID, GID: a.GID}, err
}

// keywordsOf reads what the keyword letters of a mailbox mean.
func keywordsOf(root *beneath.Root, mailbox journal.Path) (mailstore.KeywordTable, error) {
	f, err := openPath(root, mailbox.Join(mailstore.Keywords))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, beneath.ErrNotDirectory), errors.Is(err, beneath.ErrEscapes), errors.Is(err, beneath.ErrNotRegular):
		return mailstore.KeywordTable{}, nil
	case err != nil:
		return mailstore.KeywordTable{}, fmt.Errorf("read the keywords of %q: %w", string(mailbox), err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxKeywordsFile))
	if err != nil {
		return mailstore.KeywordTable{}, fmt.Errorf("read the keywords of %q: %w", string(mailbox), err)
	}
	return mailstore.ParseKeywords(data), nil
}

// deliver makes staged contents durable, records where they belong, and
// renames them there. What a crash leaves half done is done by redo.
func (s *session) deliver(jobs []*job, touched map[journal.Path]bool) error {
	files := make([]*staged, 0, len(jobs))
	records := make([]delivery, 0, len(jobs))
	for _, j := range jobs {
		files = append(files, j.file)
		records = append(records, delivery{number: j.file.number, mailbox: j.offer.Mailbox, base: j.offer.Base, target: j.target})
	}
	if len(jobs) > 0 {
		if err := s.s.step(stepStaged); err != nil {
			return err
		}
		if err := s.stage.sync(files); err != nil {
			return err
		}
		if err := s.stage.dir.Sync(); err != nil {
			return err
		}
		if err := s.s.step(stepDurable); err != nil {
			return err
		}
		if err := s.ledger.append(records); err != nil {
			return err
		}
		if err := s.s.step(stepRecorded); err != nil {
			return err
		}
	}
	for i, j := range jobs {
		outcome, err := s.rename(&records[i], touched)
		if err != nil {
			return err
		}
		j.result.Outcome = outcome
		if err := s.s.step(stepRenamed); err != nil {
			return err
		}
	}
	return s.syncDirs(touched)
}

// rename puts a staged message into its place.
func (s *session) rename(d *delivery, touched map[journal.Path]bool) (wire.DeliveryOutcome, error) {
	name := (&staged{number: d.number}).name()
	dir, err := s.s.cfg.Root.Dir(d.target.Dir())
	if err == nil {
		err = s.stage.dir.RenameNoReplace(name, dir, d.target.Name())
		_ = dir.Close()
	}
	switch {
	case err == nil:
		touched[d.target.Dir()] = true
		return wire.DeliveryDone, nil
	case errors.Is(err, fs.ErrExist):
		return wire.DeliveryHave, s.stage.dir.Remove(name)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, beneath.ErrNotDirectory), errors.Is(err, beneath.ErrEscapes):
		// The folder was removed this very moment.
		undone := *d
		undone.undone = true
		if err := s.ledger.append([]delivery{undone}); err != nil {
			return 0, err
		}
		return wire.DeliveryNoMailbox, s.stage.dir.Remove(name)
	}
	return 0, fmt.Errorf("deliver to %q: %w", string(d.target.Dir()), err)
}

// redo puts into their places what was recorded, and removes the rest of the
// staged files: of those nobody has been told anything.
func (s *session) redo() error {
	left, err := s.stage.numbers()
	if err != nil || len(left) == 0 {
		return err
	}
	touched := make(map[journal.Path]bool)
	var again []delivery
	if err := s.ledger.each(func(d delivery) error {
		if left[d.number] {
			delete(left, d.number)
			again = append(again, d)
		}
		return nil
	}); err != nil {
		return err
	}
	for i := range again {
		if _, err := s.rename(&again[i], touched); err != nil {
			return err
		}
	}
	for number := range left {
		s.stage.drop(&staged{number: number})
	}
	return s.syncDirs(touched)
}

// syncDirs makes the names in directories durable.
func (s *session) syncDirs(touched map[journal.Path]bool) error {
	for _, p := range slices.Sorted(maps.Keys(touched)) {
		dir, err := s.s.cfg.Root.Dir(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was removed since
		}
		if err == nil {
			err = dir.Sync()
			_ = dir.Close()
		}
		if err != nil {
			return fmt.Errorf("make %q durable: %w", string(p), err)
		}
	}
	return nil
}

// setFlags gives a message the offered flags, if it still has those that it
// had when this node became primary.
func (s *session) setFlags(o *wire.Offer, touched map[journal.Path]bool) (r wire.DeliveryResult, err error) {
	cfg := &s.s.cfg
	places, err := s.index.places(o)
	if err != nil || len(places) == 0 {
		r.Outcome = wire.DeliveryConflict
		return r, err
	}
	mailbox, sub, name, _ := mailstore.Split(places[0].path)
	table, err := keywordsOf(cfg.Root, mailbox)
	if err != nil {
		return r, err
	}
	now, _ := mailstore.ParseFlags(sub, name, &table)
	into, renamed, dropped := mailstore.FileName(o.Base, o.Flags, &table)
	r.Dropped = dropped
	if mailbox != o.Mailbox {
		r.Mailbox = mailbox
	}
	switch {
	case into == sub && renamed == name:
		r.Outcome = wire.DeliveryHave
		return r, nil
	case o.Origin == wire.OriginUnknown && len(s.index.tail[o.Base]) > 0,
		o.Origin == wire.OriginKnown && (!now.Equal(o.Was) || slices.ContainsFunc(s.index.tail[o.Base], event.reflags)), o.Origin == wire.OriginNew, len(renamed) > journal.MaxName:
		r.Outcome = wire.DeliveryConflict
		return r, nil
	}
	from, to := mailbox.Join(sub), mailbox.Join(into)
	err = renameIn(cfg.Root, from, name, to, renamed)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrExist):
		r.Outcome = wire.DeliveryConflict // a client was quicker
		return r, nil
	case err != nil:
		return r, fmt.Errorf("set the flags of a message in %q: %w", string(mailbox), err)
	}
	touched[from], touched[to] = true, true
	r.Outcome = wire.DeliveryDone
	return r, nil
}

// renameIn renames a file of the store.
func renameIn(root *beneath.Root, fromDir journal.Path, from string, toDir journal.Path, to string) error {
	a, err := root.Dir(fromDir)
	if err != nil {
		return err
	}
	defer func() { _ = a.Close() }()
	b, err := root.Dir(toDir)
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
	return a.RenameNoReplace(from, b, to)
}
