package replicator

import (
	"fmt"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/primary"
	"github.com/mailtwin/mailtwin/replicator/progress"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// describe adds the store, the journal and the mirrors to the status.
func (p *primaryPart) describe(d *status.Document) {
	w := p.watcher.Status()
	s := &d.Store
	s.State, s.Detail = string(w.Phase), w.Detail
	if p.n.state().Sealed {
		s.State, s.Detail = "sealed", ""
	}
	if w.Suspended != "" {
		s.Detail = w.Suspended
	}
	s.Watch = watchOf(w)
	if p.apart.Load() {
		s.Apart = ApartWords
	}
	p.describeUnreadable(s, w)
	d.IMAP = imapOf(p.n.modseq.Status(), p.st.Epoch)
	d.Journal = describeJournal(p.journal)
	if d.Journal.Error = w.JournalError; w.JournalError != "" {
		d.LastError = &status.Problem{Time: d.Time, Text: w.JournalError}
	}
	for _, m := range p.server.Mirrors() {
		d.Mirrors = append(d.Mirrors, p.mirror(d, m))
	}
	d.Pace = p.pace.document()
	d.Loss = lossOf(d)
}

// maxUnreadableBytes bounds the names and errors that a status lists.
const maxUnreadableBytes = 2 << 20

// describeUnreadable adds what cannot be looked at and what cannot be read.
func (p *primaryPart) describeUnreadable(s *status.Store, w watch.Status) {
	damaged := p.server.Damaged()
	s.Unreadable = w.UnreadableCount + len(damaged)
	bytes := 0
	add := func(path journal.Path, err string, since time.Time) {
		if bytes += len(path) + len(err); bytes <= maxUnreadableBytes {
			s.UnreadableFiles = append(s.UnreadableFiles, status.Unreadable{Path: string(path), Error: err, Since: since})
		}
	}
	for _, u := range w.Unreadable {
		add(u.Path, u.Err, u.Since)
	}
	for _, d := range damaged {
		add(d.Path, d.Err, d.Since)
	}
}

func describeJournal(log *journal.Log) *status.Journal {
	head := log.Head()
	bytes, entries := log.Size()
	return &status.Journal{
		Sequence: uint64(head.Sequence), Digest: head.Digest.String(),
		Start: uint64(log.Start().Sequence), Bytes: bytes, Entries: entries,
	}
}

func watchOf(w watch.Status) *status.Watch {
	out := &status.Watch{
		Mode: string(w.Mode), ModeReason: w.ModeReason, Complete: w.Complete, Watches: w.Watches,
		DirectoriesDone: w.DirectoriesDone, DirectoriesKnown: w.DirectoriesKnown,
		Overflows: w.Overflows, BeingWritten: w.BeingWritten, Pending: w.Pending(),
		Indexes: w.Snapshots, LargeIndexes: w.LargeSnapshots,
	}
	if !w.LastOverflow.IsZero() {
		out.LastOverflow = &w.LastOverflow
	}
	return out
}

// mirror judges one mirror.
func (p *primaryPart) mirror(d *status.Document, m primary.MirrorState) status.Mirror {
	out := status.Mirror{
		Name: m.Name, Connected: m.Connected, AckedSequence: uint64(m.Acked),
		LagEntries: m.LagEntries, LagBytes: uint64(max(m.LagBytes, 0)), LagSeconds: m.Lag.Seconds(),
		SentBytes: m.SentBytes, SentFiles: m.SentFiles, SentRawBytes: m.RawBytes,
		BytesPerSecond: p.rate(m.Name, m.SentBytes), Files: m.Files, Bytes: m.Bytes,
		FilesLeft: m.FilesLeft, BytesLeft: m.BytesLeft, Missing: m.Missing, Assumed: m.Assumed,
		Proven: m.Proven, ProvenSequence: uint64(m.ProvenSequence),
	}
	switch {
	case m.Connected:
		out.Since = &m.Since
	case !m.LastSeen.IsZero():
		out.Since = &m.LastSeen
	}
	pending := uint64(0)
	if d.Store.Watch != nil {
		pending = uint64(d.Store.Watch.Pending)
	}
	out.State, out.Detail = judgeMirror(m, pending)
	out.Progress = p.tracker.describe(m.Name, p.course(&m, d.Store.Files, d.Store.Bytes))
	return out
}

// courses tell how far each mirror is that says so.
func (p *primaryPart) courses() map[string]course {
	out := make(map[string]course)
	var totals catalog.Totals
	if err := p.n.catalog.View(func(t *catalog.Tx) error {
		totals = t.Totals()
		return nil
	}); err != nil {
		return nil // others say so
	}
	for _, m := range p.server.Mirrors() {
		if m.State != "" {
			out[m.Name] = p.course(&m, totals.Files, uint64(totals.Bytes))
		}
	}
	return out
}

// course tells how far a mirror is with a store of so many files.
func (p *primaryPart) course(m *primary.MirrorState, files, bytes uint64) course {
	return course{
		going: m.State == "comparing", counted: p.storeState().Complete,
		State: progress.State{Messages: files, MessagesDone: m.Files - min(m.Missing, m.Files), Bytes: bytes, BytesDone: m.Bytes},
	}
}

// rate returns the bytes a second that a mirror was sent lately.
func (p *primaryPart) rate(name string, bytes uint64) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.n.opt.Clock.Now()
	r := p.rates[name]
	passed := now.Sub(r.at).Seconds()
	switch {
	case r.at.IsZero() || bytes < r.bytes || passed < 0:
		r = rate{at: now, bytes: bytes}
	case passed >= 1:
		r = rate{at: now, bytes: bytes, perSecond: float64(bytes-r.bytes) / passed}
	}
	p.rates[name] = r
	return r.perSecond
}

// lossOf says what would be lost if the best mirror were promoted now.
func lossOf(d *status.Document) status.Loss {
	var best *status.Mirror
	for i := range d.Mirrors {
		if m := &d.Mirrors[i]; best == nil || m.AckedSequence > best.AckedSequence {
			best = m
		}
	}
	if best == nil {
		return status.Loss{
			Known: true, Files: d.Store.Files, Bytes: d.Store.Bytes,
			Words: fmt.Sprintf("everything: there is no mirror (%d files, %s)", d.Store.Files, status.Bytes(d.Store.Bytes)),
		}
	}
	l := status.Loss{
		Why:     unknownHere(d, best),
		Entries: best.LagEntries, Bytes: best.LagBytes, Seconds: best.LagSeconds, Files: best.Missing,
		Assumed: best.Assumed, Unreadable: d.Store.Unreadable,
	}
	if best.State == status.Syncing {
		if d.Store.Files > best.Files {
			l.Files += d.Store.Files - best.Files
		}
		if d.Store.Bytes > best.Bytes {
			l.Bytes += d.Store.Bytes - best.Bytes
		}
	}
	if d.Store.Watch != nil {
		l.Entries += uint64(d.Store.Watch.Pending)
	}
	return status.Lost(l)
}

// unknownHere says why a primary does not know all that would be lost with a
// mirror; "" if it does.
func unknownHere(d *status.Document, m *status.Mirror) string {
	switch {
	case d.Journal.Error != "":
		return "the journal cannot be written: what changes now is not replicated"
	case d.Store.State != string(watch.PhaseWatching):
		return notWatching(d.Store.State, d.Store.Detail)
	case d.Store.Watch.Mode != string(watch.ModeEvents):
		return status.Polled(d.Store.Watch.ModeReason)
	case !m.Connected || m.State == status.Unknown:
		return m.Name + " is not heard of"
	}
	return ""
}

// notWatching says that not all changes of a store are known, by its state.
func notWatching(state, detail string) string {
	if detail == "" {
		return "the store is " + state
	}
	return "the store is " + state + ": " + detail
}
