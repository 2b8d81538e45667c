package watch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/vfs"
	"github.com/mailtwin/mailtwin/journal/vfs/crashfs"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// systemClock is the real time.
type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// fixture is a store with its observer.
type fixture struct {
	t       testing.TB
	store   string
	state   string
	disk    vfs.FS // of the journal
	cfg     watch.Config
	root    *beneath.Root
	catalog *catalog.Catalog
	log     *journal.Log
	watcher *watch.Watcher
	reader  *journal.Reader
	ctx     context.Context
	stop    context.CancelFunc
	done    chan error
	run     func(func())
}

// mailboxes are made in each new store.
var mailboxes = []string{"u1", "u1/.A", "u2"}

// newFixture makes a store with some mailboxes; its observer is not started.
func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, store: filepath.Join(t.TempDir(), "store"), state: t.TempDir(), disk: crashfs.New(), run: func(run func()) { run() }}
	for _, m := range mailboxes {
		f.mailbox(m)
	}
	f.cfg = watch.Config{Rules: maildir{}, Clock: systemClock{}, Boot: "first", Timing: watch.Timing{
		Racy: 30 * time.Millisecond, Settle: 50 * time.Millisecond, SettleAtLatest: 200 * time.Millisecond,
		Health: 50 * time.Millisecond, Poll: 50 * time.Millisecond, WriterLast: 50 * time.Millisecond,
		Unreadable: 100 * time.Millisecond, JournalRetry: 20 * time.Millisecond,
	}}
	t.Cleanup(f.close)
	return f
}

// started makes a fixture and waits until its baseline is complete.
func started(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.start()
	f.settled()
	return f
}

func (f *fixture) mailbox(dir string) {
	f.t.Helper()
	for _, d := range []string{"cur", "new", "tmp"} {
		f.must(os.MkdirAll(f.path(dir+"/"+d), 0o700))
	}
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// start opens everything and runs the observer.
func (f *fixture) start() {
	f.t.Helper()
	var err error
	f.root, err = beneath.Open(f.store)
	f.must(err)
	f.catalog, err = catalog.Open(filepath.Join(f.state, "catalog"), catalog.Options{})
	f.must(err)
	f.must(os.MkdirAll(filepath.Join(f.state, "journal"), 0o700))
	f.log, err = journal.Open(f.disk, filepath.Join(f.state, "journal"), journal.Options{Now: time.Now, Epoch: 1})
	f.must(err)
	f.cfg.Root, f.cfg.Catalog, f.cfg.Journal = f.root, f.catalog, f.log
	f.watcher, err = watch.New(f.cfg)
	f.must(err)
	f.reader, err = f.log.Read(f.log.Head().Sequence)
	f.must(err)
	f.ctx, f.stop = context.WithCancel(context.Background())
	f.done = make(chan error, 1)
	w, ctx := f.watcher, f.ctx
	done := f.done
	run := f.run
	go run(func() { done <- w.Run(ctx) })
}

// close stops the observer and closes everything.
func (f *fixture) close() {
	f.t.Helper()
	if f.stop == nil {
		return
	}
	f.stop()
	if err := <-f.done; err != nil {
		f.t.Errorf("Run: %v", err)
	}
	f.stop = nil
	for _, err := range []error{f.reader.Close(), f.catalog.Close(), f.log.Close(), f.root.Close()} {
		if err != nil {
			f.t.Error(err)
		}
	}
}

func (f *fixture) restart() {
	f.t.Helper()
	f.close()
	f.start()
}

func (f *fixture) path(p string) string { return filepath.Join(f.store, p) }

// deliver puts a message into the store as a mail server does.
func (f *fixture) deliver(p, content string) {
	f.t.Helper()
	tmp := filepath.Join(filepath.Dir(filepath.Dir(f.path(p))), "tmp", filepath.Base(p))
	f.must(os.WriteFile(tmp, []byte(content), 0o600))
	f.must(os.Rename(tmp, f.path(p)))
}

func (f *fixture) write(p, content string) {
	f.t.Helper()
	f.must(os.WriteFile(f.path(p), []byte(content), 0o600))
}

func (f *fixture) appendTo(p, content string) {
	f.t.Helper()
	file, err := os.OpenFile(f.path(p), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	f.must(err)
	_, err = file.WriteString(content)
	f.must(errors.Join(err, file.Close()))
}

func (f *fixture) rename(from, to string) {
	f.t.Helper()
	f.must(os.Rename(f.path(from), f.path(to)))
}

func (f *fixture) remove(p string) {
	f.t.Helper()
	f.must(os.RemoveAll(f.path(p)))
}

// next waits for the next entry.
func (f *fixture) next() journal.Entry {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.ctx, patience)
	defer cancel()
	r, err := f.reader.Next(ctx)
	if err != nil {
		f.t.Fatalf("no further entry: %v; status %+v", err, f.watcher.Status())
	}
	return r.Entry
}

// expect waits until these are the next entries, and the store and catalog
// agree then without any more.
func (f *fixture) expect(want ...string) {
	f.t.Helper()
	var got []string
	for range want {
		got = append(got, show(f.next()))
		if !slices.Equal(got, want[:len(got)]) {
			f.t.Fatalf("entries:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	f.settled()
	f.noMore()
}

// noMore makes sure that there is no entry that was not read.
func (f *fixture) noMore() {
	f.t.Helper()
	for {
		r, ok, err := f.reader.TryNext()
		f.must(err)
		if !ok {
			return
		}
		f.t.Errorf("one entry too many: %s", show(r.Entry))
	}
}

// rest returns the entries that were not read yet.
func (f *fixture) rest() (all []journal.Entry) {
	f.t.Helper()
	for {
		r, ok, err := f.reader.TryNext()
		f.must(err)
		if !ok {
			return all
		}
		all = append(all, r.Entry)
	}
}

// show writes an entry as one line.
func show(e journal.Entry) string {
	names := map[journal.Kind]string{
		journal.KindPut: "put", journal.KindMove: "move", journal.KindRemove: "remove", journal.KindLink: "link",
		journal.KindSymlink: "symlink", journal.KindMakeDir: "mkdir", journal.KindRemoveDir: "rmdir",
		journal.KindMoveDir: "mvdir", journal.KindSetAttributes: "attr",
	}
	s := names[e.Kind] + " "
	if e.From != "" {
		s += string(e.From) + " > "
	}
	s += string(e.Path)
	if e.Held != nil {
		s += fmt.Sprintf(" +%d %q", e.Held.Keep, e.Held.Data)
	}
	return s
}

// wait waits until a condition holds.
func (f *fixture) wait(what string, ok func() bool) {
	f.t.Helper()
	deadline := time.After(patience)
	for {
		if ok() {
			return
		}
		select {
		case err := <-f.done:
			f.done <- err
			f.t.Fatalf("%s: the observer ended: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			f.t.Fatalf("%s: not in time; status %+v\ndifferences: %v", what, f.watcher.Status(), f.differences())
		}
	}
}

// settled waits until nothing is left to be looked at and the catalog is what
// is in the store.
func (f *fixture) settled() {
	f.t.Helper()
	f.wait("settle", func() bool { return f.idle() && len(f.differences()) == 0 && f.idle() })
	if bad := f.checkContents(); len(bad) > 0 {
		f.t.Errorf("wrong contents in the catalog: %v", bad)
	}
}

func (f *fixture) idle() bool {
	s := f.watcher.Status()
	return s.Phase == watch.PhaseWatching && s.Dirty == 0 && s.Waiting == 0 && s.Unsettled == 0
}

// items returns everything in the catalog.
func (f *fixture) items() map[journal.Path]catalog.Item {
	f.t.Helper()
	all := make(map[journal.Path]catalog.Item)
	err := f.catalog.View(func(tx *catalog.Tx) error {
		var walk func(journal.Path) error
		walk = func(dir journal.Path) error {
			return tx.List(dir, "", func(name string, it catalog.Item) error {
				p := dir.Join(name)
				all[p] = it
				if it.Facts.Type == journal.TypeDirectory {
					return walk(p)
				}
				return nil
			})
		}
		return walk(journal.Root)
	})
	f.must(err)
	return all
}

// differences compares the store and the catalog, without reading contents.
func (f *fixture) differences() (bad []string) {
	f.t.Helper()
	items := f.items()
	err := filepath.WalkDir(f.store, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == f.store {
			return err
		}
		rel, err := filepath.Rel(f.store, path)
		if err != nil {
			return err
		}
		p := journal.Path(rel)
		info, err := f.root.Stat(p)
		if err != nil {
			return err
		}
		if (maildir{}).Classify(p, info.Facts.Type) == watch.ClassIgnored {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		it, ok := items[p]
		delete(items, p)
		switch {
		case !ok:
			bad = append(bad, "not in the catalog: "+rel)
		case !it.Stamp.SameFile(info.Stamp):
			bad = append(bad, "another file: "+rel)
		case (it.Facts.Size != info.Facts.Size || it.Facts.Attr.MTime != info.Facts.Attr.MTime) &&
			!strings.HasSuffix(rel, "uidlist") && !strings.HasSuffix(rel, ".log"), // it may be torn
			it.Facts.Attr.Mode != info.Facts.Attr.Mode, it.Facts.Type != info.Facts.Type:
			bad = append(bad, fmt.Sprintf("differs: %s: %+v, in the store %+v", rel, it.Facts, info.Facts))
		}
		return nil
	})
	if err != nil {
		bad = append(bad, err.Error())
	}
	for p, it := range items {
		if !it.Missing && (it.Facts.Type != journal.TypeDirectory || it.Stamp.Inode != 0) {
			bad = append(bad, "not in the store: "+string(p))
		}
	}
	return bad
}

// checkContents compares each content id in the catalog with the bytes.
func (f *fixture) checkContents() (bad []string) {
	f.t.Helper()
	for p, it := range f.items() {
		if it.Facts.Type != journal.TypeFile || !it.Facts.Content.Known() {
			continue
		}
		data, err := os.ReadFile(f.path(string(p)))
		if errors.Is(err, syscall.ENOENT) {
			continue
		}
		f.must(err)
		if sum := blake3.Sum256(data[:min(int64(len(data)), it.Facts.Size)]); !bytes.Equal(sum[:], it.Facts.Content[:]) {
			bad = append(bad, string(p))
		}
	}
	return bad
}
