package engine_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/proxy"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// tidying is a clock on which what is done every ten seconds or less often,
// like trimming the journal, is done at once.
type tidying struct{ systemClock }

func (tidying) After(d time.Duration) <-chan time.Time {
	if d >= 10*time.Second {
		d = 50 * time.Millisecond
	}
	return time.After(d)
}

// behindWords is what a primary says of a mirror whose entries were trimmed.
const behindWords = "the journal no longer reaches back to where"

// newTrimmedPair is a pair whose journal holds about a hundred entries.
func newTrimmedPair(t *testing.T) *testPair {
	t.Helper()
	p := newPair(t)
	p.stopPrimary()
	p.primary.Journal.SegmentSize, p.primary.Journal.MaxSize = 4<<10, 20<<10
	p.clock = tidying{}
	p.start()
	p.clock = systemClock{}
	return p
}

// TestJournalTrimmedWhileAway: the mirror is away for longer than the journal
// reaches back. It is told so, and compares when it is back: what was expunged
// does not come back, and what was renamed is there once.
func TestJournalTrimmedWhileAway(t *testing.T) {
	p := newTrimmedPair(t)
	store := p.primary.Store.Path
	name := func(folder string, i int) string {
		return fmt.Sprintf("d/u/Maildir/%s/cur/%d.M%sP1.host,S=20:2,S", folder, i, strings.Trim(folder, "."))
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 60 {
		for _, folder := range []string{".Keep", ".Old", ".Gone"} {
			p.write(name(folder, i), fmt.Sprintf("Subject: %d\n\nbody in %s\n", i, folder))
		}
	}
	p.startMirror()
	before := p.inSync()
	p.equal()
	p.stopMirror()

	var expunged []string
	for i := range 60 {
		keep := name(".Keep", i)
		if i%2 != 0 {
			must(os.Rename(filepath.Join(store, keep), filepath.Join(store, keep+"T")))
			continue
		}
		expunged = append(expunged, keep)
		must(os.Remove(filepath.Join(store, keep)))
	}
	must(os.RemoveAll(filepath.Join(store, "d/u/Maildir/.Gone")))
	must(os.Rename(filepath.Join(store, "d/u/Maildir/.Old"), filepath.Join(store, "d/u/Maildir/.New")))
	for i := range 300 {
		p.write(fmt.Sprintf("d/u/Maildir/new/%d.M1P1.host", i), fmt.Sprintf("Subject: late %d\n\nbody\n", i))
	}
	d := p.until(p.primary, "trimmed", func(d status.Document) bool {
		return d.Journal.Start > before.Mirrors[0].AckedSequence && d.Store.State == "watching" && len(d.Mirrors) == 1 && !d.Mirrors[0].Connected
	})
	if m := d.Mirrors[0]; m.State != status.Unknown || !strings.Contains(m.Detail, behindWords+" it was: it will have to compare") {
		t.Errorf("of the mirror it says %s: %s", m.State, m.Detail)
	}
	if d.State == status.InSync || d.Loss.Known || d.Loss.Entries == 0 {
		t.Errorf("it is %s, and what would be lost is %+v", d.State, d.Loss)
	}

	p.startMirror()
	p.inSync()
	p.equal()
	if !p.log.has(behindWords + " the mirror is") {
		t.Error("the mirror has not compared")
	}
	for _, gone := range append(expunged, "d/u/Maildir/.Gone", "d/u/Maildir/.Old") {
		for _, store := range []string{p.primary.Store.Path, p.mirror.Store.Path} {
			if _, err := os.Lstat(filepath.Join(store, gone)); err == nil {
				t.Errorf("%s is back in %s", gone, store)
			}
		}
	}
	p.write("d/u/Maildir/new/after.M1P1.host", "Subject: after\n\nbody\n")
	p.inSync()
	p.equal()
}

// TestJournalTrimmedUnderASlowStream: a mirror is connected and slower than the
// journal is long. It compares instead of going on with a gap.
func TestJournalTrimmedUnderASlowStream(t *testing.T) {
	p := newTrimmedPair(t)
	link, err := proxy.New(p.primary.Node.Listen, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = link.Close() }()
	p.mirror.Node.Peer = link.Addr()
	p.write("d/u/Maildir/new/first.M1P1.host", "Subject: first\n\nbody\n")
	p.startMirror()
	before := p.inSync()

	link.Throttle(256 << 10) // far less than is delivered, however busy the machine is
	const messages = 1500    // 36 MB, and far more entries than are read ahead of the stream
	body := make([]byte, 18<<10)
	for i := range messages {
		_, _ = rand.Read(body) // never fails
		p.write(fmt.Sprintf("d/u/Maildir/new/%d.M1P1.host", i), "Subject: many\n\n"+base64.StdEncoding.EncodeToString(body)+"\n")
	}
	p.until(p.primary, "trimmed", func(d status.Document) bool {
		return d.Journal.Start > before.Journal.Sequence+messages/2 && p.log.has(behindWords+" the mirror is")
	})
	for i := range messages / 2 {
		if err := os.Remove(filepath.Join(p.primary.Store.Path, fmt.Sprintf("d/u/Maildir/new/%d.M1P1.host", i))); err != nil {
			t.Fatal(err)
		}
	}
	link.Mend()
	p.inSync()
	p.equal()
}
