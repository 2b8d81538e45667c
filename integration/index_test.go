package integration

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/mailtwin/mailtwin/integration/client"
	"github.com/mailtwin/mailtwin/integration/compare"
	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/pair"
)

// withIndexes compares what Dovecot can only rebuild in part too.
func withIndexes(path string, dir bool) bool {
	switch filepath.Base(path) {
	case "dovecot.index", "dovecot.index.log", "dovecot.index.log.2":
		return false
	}
	return compare.NotReplicated(path, dir)
}

// indexed waits until the index of every mailbox has been replicated.
func indexed(t *testing.T, p *pair.Pair) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, p.WaitForChange(ctx)) // what was changed before is known
	var last pair.Status
	done := false
	must(t, p.Primary.Watch(ctx, func(s pair.Status) bool {
		last = s
		done = s.InSync() && s.Store.Watch.Indexes == 0
		return !done
	}))
	if !done {
		t.Fatalf("the indexes were not replicated: %s", last.Document)
	}
}

// manyKeywords gives 30 keywords to messages of a folder; those beyond the 26th
// have no letter, and are in the index only.
func manyKeywords(t *testing.T, s *dovecot.Server, user string) {
	t.Helper()
	c, err := client.DialIMAP(s.IMAP, user, dovecot.Password)
	must(t, err)
	must(t, create(c, "Keywords"))
	for i := range 30 {
		_, err := c.Append("Keywords", fmt.Appendf(nil, "Subject: %d\r\n\r\nbody %d\r\n", i, i), time.Now())
		must(t, err)
	}
	_, err = c.Select("Keywords")
	must(t, err)
	uids, err := c.UIDs()
	must(t, err)
	for i, uid := range uids {
		must(t, c.AddFlags([]imap.UID{uid}, imap.Flag(fmt.Sprintf("keyword%02d", i))))
	}
	must(t, c.AddFlags(uids[:2], "keyword29", "keyword27"))
	must(t, c.Expunge(uids[5:7]))
	must(t, c.Close())
}

// modseqs returns the HIGHESTMODSEQ of each mailbox.
func modseqs(t *testing.T, s *dovecot.Server, user string) map[string]uint64 {
	t.Helper()
	out, err := s.Doveadm(t.Context(), "-f", "tab", "mailbox", "status", "-u", user, "highestmodseq", "*")
	must(t, err)
	all := map[string]uint64{}
	for line := range strings.Lines(string(out)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if n, err := strconv.ParseUint(value, 10, 64); ok && err == nil {
			all[name] = n
		}
	}
	return all
}

// TestIndexOnMirror opens a mirror after activity and quiet: nothing is lacking
// but what is in caches.
func TestIndexOnMirror(t *testing.T) {
	for _, layout := range []string{"Maildir++", "fs"} {
		t.Run(layout, func(t *testing.T) {
			dovecot.Need(t)
			primary, mirror := stores(t)
			server := dovecot.New(t, dovecot.Options{Store: primary, Layout: layout})
			p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: primary, MirrorStore: mirror, IndexInterval: "3s"})
			drive(t, server, 80, 80)
			manyKeywords(t, server, users()[0])
			want := look(t, server)
			before := map[string]map[string]uint64{}
			for _, user := range users() {
				before[user] = modseqs(t, server, user)
			}
			indexed(t, p)
			p.MustBeEqual(t, time.Minute)
			result, err := compare.Trees(t.Context(), primary, mirror, compare.Options{Ignored: withIndexes, IgnoreLinks: true})
			must(t, err)
			if !result.Equal() {
				t.Errorf("with the indexes: %v", result)
			}
			other := dovecot.New(t, dovecot.Options{Store: copyOf(t, mirror), Layout: layout})
			for _, user := range users() {
				for box, n := range modseqs(t, other, user) {
					if n != before[user][box] {
						t.Errorf("%s of %s has HIGHESTMODSEQ %d; %d on the primary", box, user, n, before[user][box])
					}
				}
			}
			for i, got := range look(t, other) {
				for _, line := range client.Diff(want[i], got, 20) {
					t.Errorf("%s: %s", got.User, line)
				}
			}
			quiet(t, other)
		})
	}
}

// TestIndexAtAnyMoment kills the mirror at random moments under load, and opens
// each of the copies: whatever Dovecot finds, it neither takes mail for
// expunged, nor gives anything a new UID, nor calls anything corrupt.
func TestIndexAtAnyMoment(t *testing.T) {
	const copies = 24
	dovecot.Need(t)
	primary, mirror := stores(t)
	server := dovecot.New(t, dovecot.Options{Store: primary})
	p := pair.New(t, pair.Options{Binary: plainBinary(t), PrimaryStore: primary, MirrorStore: mirror, IndexInterval: "1s"})
	enough, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for seed := uint64(1); ; seed += 4 {
			driveFrom(t, server, seed, 60, 60)
			select {
			case <-enough:
				return
			default:
			}
		}
	}()
	rng := rand.New(rand.NewPCG(24, 0))
	var taken []string
	for len(taken) < copies {
		<-time.After(time.Duration(rng.IntN(900)) * time.Millisecond) // any moment
		must(t, p.Mirror.Kill())
		taken = append(taken, copyOf(t, mirror))
		must(t, p.Mirror.Start())
	}
	close(enough)
	<-ended
	want := identities(look(t, server))
	p.MustBeEqual(t, time.Minute)
	for i, store := range taken {
		opened(t, i, store, want)
	}
}

// opened opens a copy of the mirror and compares it with its own uidlists, and
// with what the primary has in the end.
func opened(t *testing.T, number int, store string, want map[identity][]imap.UID) {
	t.Helper()
	indexes := 0
	must(t, filepath.WalkDir(store, func(path string, _ os.DirEntry, err error) error {
		if filepath.Base(path) == "dovecot.index.log" {
			indexes++
		}
		return err
	}))
	listed := listedMessages(t, store)
	server := dovecot.New(t, dovecot.Options{Store: store})
	got := identities(look(t, server))
	for id, uids := range got {
		if slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(w identity) bool {
			return w.user == id.user && w.mailbox == id.mailbox && w.validity != id.validity
		}) {
			t.Errorf("copy %d: %s of %s has another UIDVALIDITY than on the primary", number, id.mailbox, id.user)
		}
		uid, ok := listed[identity{user: id.user, mailbox: id.mailbox, guid: id.guid}]
		if ok && !slices.Contains(uids, uid) {
			t.Errorf("copy %d: message %v has UID %d, but %d in the primary's uidlist", number, id, uids, uid)
		}
	}
	t.Logf("copy %d: %d messages, %d indexes", number, len(got), indexes)
	quiet(t, server)
	must(t, server.Stop())
	must(t, os.RemoveAll(store))
}
