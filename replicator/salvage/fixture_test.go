package salvage

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/zeebo/blake3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/vfs/crashfs"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// store is a mailstore with its journal and catalog; the test is its observer.
type store struct {
	t       testing.TB
	dir     string
	state   string
	root    *beneath.Root
	catalog *catalog.Catalog
	journal *journal.Log
}

func newStore(t testing.TB) *store {
	t.Helper()
	s := &store{t: t, dir: t.TempDir(), state: t.TempDir()}
	var err error
	if s.root, err = beneath.Open(s.dir); err != nil {
		t.Fatal(err)
	}
	if s.catalog, err = catalog.Open(t.TempDir(), catalog.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.journal != nil {
			_ = s.journal.Close()
		}
		if err := errors.Join(s.catalog.Check(), s.catalog.Close(), s.root.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// options of a journal.
func options(epoch journal.Epoch) journal.Options {
	return journal.Options{Now: time.Now, Epoch: epoch, SegmentSize: 1 << 10}
}

func (s *store) must(err error) {
	if err != nil {
		s.t.Helper()
		s.t.Fatal(err)
	}
}

func (s *store) full(p string) string { return filepath.Join(s.dir, p) }

// born is when mail of the tests came.
var born = time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC)

// write puts a file on disk, whole, and nobody is told.
func (s *store) write(p, data string) {
	s.t.Helper()
	s.must(os.MkdirAll(filepath.Dir(s.full(p)), 0o700))
	temp := filepath.Join(s.state, "temp")
	s.must(os.WriteFile(temp, []byte(data), 0o640))
	s.must(os.Chtimes(temp, born, born))
	s.must(os.Rename(temp, s.full(p)))
}

// tell journals an entry of what is on disk at a path, and applies it.
func (s *store) tell(kind journal.Kind, p, from string) {
	s.t.Helper()
	e := journal.Entry{Kind: kind, Path: journal.Path(p), From: journal.Path(from)}
	if kind != journal.KindRemove && kind != journal.KindRemoveDir {
		info, err := s.root.Stat(e.Path)
		s.must(err)
		e.Facts, e.Stamp = info.Facts, info.Stamp
		if e.Facts.Type == journal.TypeFile {
			data, err := os.ReadFile(s.full(p))
			s.must(err)
			e.Facts.Content = blake3.Sum256(data)
		}
	}
	records, err := s.journal.Append(e)
	s.must(err)
	s.must(s.catalog.Update(func(t *catalog.Tx) error {
		t.SetPosition(records[0].Position)
		return t.Apply(&e)
	}))
}

func (s *store) put(p, data string) {
	s.t.Helper()
	for d := filepath.Dir(p); d != "."; d = filepath.Dir(d) {
		if _, err := os.Stat(s.full(d)); err != nil {
			s.must(os.MkdirAll(s.full(d), 0o700))
			s.tell(journal.KindMakeDir, d, "")
		}
	}
	s.write(p, data)
	s.tell(journal.KindPut, p, "")
}

func (s *store) mailbox(p string) {
	s.t.Helper()
	for _, sub := range mailstore.MailboxDirs() {
		s.must(os.MkdirAll(s.full(p+"/"+sub), 0o700))
		s.tell(journal.KindMakeDir, p+"/"+sub, "")
	}
}

func (s *store) move(from, to string) {
	s.t.Helper()
	s.must(os.Rename(s.full(from), s.full(to)))
	s.tell(journal.KindMove, to, from)
}

func (s *store) moveDir(from, to string) {
	s.t.Helper()
	s.must(os.Rename(s.full(from), s.full(to)))
	s.tell(journal.KindMoveDir, to, from)
}

func (s *store) link(from, to string) {
	s.t.Helper()
	s.must(os.Link(s.full(from), s.full(to)))
	s.tell(journal.KindLink, to, from)
}

func (s *store) remove(p string) {
	s.t.Helper()
	s.must(os.Remove(s.full(p)))
	s.tell(journal.KindRemove, p, "")
}

func (s *store) removeDir(p string) {
	s.t.Helper()
	s.must(os.RemoveAll(s.full(p)))
	s.tell(journal.KindRemoveDir, p, "")
}

// observe journals what a salvage has done, as the observer of a primary does.
func (s *store) observe() {
	s.t.Helper()
	var now []string
	s.must(filepath.WalkDir(s.dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == mailstore.Staging {
			return fs.SkipDir
		}
		if rel, _ := filepath.Rel(s.dir, p); err == nil && !d.IsDir() {
			now = append(now, rel)
		}
		return err
	}))
	known := s.known()
	for _, p := range now {
		if !slices.Contains(known, p) {
			if i := slices.IndexFunc(known, func(k string) bool { return !slices.Contains(now, k) && s.same(k, p) }); i >= 0 {
				s.tell(journal.KindMove, p, known[i])
			} else {
				s.tell(journal.KindPut, p, "")
			}
		}
	}
	for _, p := range s.known() {
		if !slices.Contains(now, p) {
			s.tell(journal.KindRemove, p, "")
		}
	}
}

// same reports whether two paths are one message in one mailbox.
func (s *store) same(a, b string) bool {
	base := func(p string) string { return mailstore.Maildir{}.Base(filepath.Base(p)) }
	return mailboxOf(journal.Path(a)) == mailboxOf(journal.Path(b)) && base(a) == base(b)
}

// known returns the files in the catalog.
func (s *store) known() (paths []string) {
	s.t.Helper()
	var walk func(t *catalog.Tx, p journal.Path) error
	walk = func(t *catalog.Tx, p journal.Path) error {
		return t.List(p, "", func(name string, it catalog.Item) error {
			if it.Facts.Type == journal.TypeDirectory {
				return walk(t, p.Join(name))
			}
			if !it.Missing {
				paths = append(paths, string(p.Join(name)))
			}
			return nil
		})
	}
	s.must(s.catalog.View(func(t *catalog.Tx) error { return walk(t, journal.Root) }))
	return paths
}

// mail tells each message of the store: its path and its content.
func (s *store) mail() (found []string) {
	s.t.Helper()
	s.must(filepath.WalkDir(s.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if d != nil && d.Name() == mailstore.Staging {
				return fs.SkipDir
			}
			return err
		}
		rel, _ := filepath.Rel(s.dir, p)
		if _, _, _, ok := mailstore.Split(journal.Path(rel)); !ok {
			return nil
		}
		data, err := os.ReadFile(p)
		found = append(found, rel+" = "+string(data))
		return err
	}))
	return found
}

// world is a former primary and its successor.
type world struct {
	t      testing.TB
	a, b   *store
	reign  Reign
	reigns []wire.Reign
	server *Server
	lines  []Line

	noJournal bool          // the former primary has lost it
	ahead     time.Duration // so long after what was written
}

// newWorld makes a former primary that setup fills, and its mirror, which is
// promoted when it has everything.
func newWorld(t testing.TB, setup func(a *store)) *world {
	t.Helper()
	w := &world{t: t, a: newStore(t), b: newStore(t)}
	var err error
	w.a.journal, err = journal.Open(crashfs.New(), "journal", options(1))
	w.a.must(err)
	w.a.mailbox("u")
	w.a.mailbox("u/.Work")
	for _, mailbox := range []string{"u", "u/.Work"} {
		w.a.put(mailbox+"/dovecot-keywords", "0 $Label1\n1 NonJunk\n")
	}
	setup(w.a)
	w.promote()
	return w
}

// promote makes the other store a primary, as the replication left it.
func (w *world) promote() {
	w.t.Helper()
	head := w.a.journal.Head()
	w.a.must(os.CopyFS(w.b.dir, os.DirFS(w.a.dir)))
	r, err := w.a.journal.Read(w.a.journal.Start().Sequence)
	w.a.must(err)
	defer r.Close()
	for {
		rec, more, err := r.TryNext()
		w.a.must(err)
		if !more {
			break
		}
		rec.Entry.Stamp = journal.Stamp{}
		if info, err := w.b.root.Stat(rec.Entry.Path); err == nil {
			rec.Entry.Stamp = info.Stamp
			if info.Facts.Type == journal.TypeFile {
				w.b.must(os.Chtimes(w.b.full(string(rec.Entry.Path)), born, born))
			}
		}
		w.b.must(w.b.catalog.Update(func(t *catalog.Tx) error {
			t.SetPosition(rec.Position)
			return t.Apply(&rec.Entry)
		}))
	}
	w.b.journal, err = journal.Create(crashfs.New(), "journal", head, options(2))
	w.b.must(err)
	w.reign = Reign{Epoch: 2, Start: head, Whole: true}
	w.restart()
}

// restart is a new process on the new primary.
func (w *world) restart() {
	w.server = NewServer(ServerConfig{
		Name: "mx2", Reign: w.reign, Reigns: w.reigns, Root: w.b.root, Catalog: w.b.catalog, Journal: w.b.journal, Rules: mailstore.Maildir{},
		Log: w.log("server"), Dir: filepath.Join(w.b.state, "salvage"),
		Peer: func(context.Context) (string, error) { return "mx1", nil },
	})
}

func (w *world) log(name string) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: hclog.Debug, Output: w.t.Output()})
}

// try salvages once.
func (w *world) try(change func(*Config)) (Summary, error) {
	w.t.Helper()
	socket := filepath.Join(w.t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	w.a.must(err)
	g := grpc.NewServer()
	w.server.Register(g)
	done := make(chan error, 1)
	go func() { done <- g.Serve(listener) }()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	w.a.must(err)
	defer func() {
		_ = conn.Close()
		g.Stop()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}()
	w.lines = nil
	cfg := Config{
		Name: "mx1", Root: w.a.root, Catalog: w.a.catalog, Journal: w.a.journal, Rules: mailstore.Maildir{}, Log: w.log("client"),
		Now: func() time.Time { return time.Now().Add(w.ahead) }, Epoch: w.reign.Epoch, Reign: 1, Dir: filepath.Join(w.a.state, "salvage"),
		Report: func(l Line) error { w.lines = append(w.lines, l); return nil },
	}
	if w.noJournal {
		cfg.Journal = nil
	}
	if change != nil {
		change(&cfg)
	}
	return Run(w.t.Context(), cfg, conn)
}

// salvage salvages, and then the new primary's observer sees what came.
func (w *world) salvage() Summary {
	w.t.Helper()
	s, err := w.try(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.b.observe()
	return s
}

// told compares what was told with "change outcome path" lines.
func (w *world) told(want ...string) {
	w.t.Helper()
	var got []string
	for _, l := range w.lines {
		got = append(got, string(l.Change)+" "+string(l.Outcome)+" "+string(l.Path))
	}
	same(w.t, "told", got, want)
}

// same compares two sets of lines.
func same(t testing.TB, what string, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n  %s\nwant:\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}
