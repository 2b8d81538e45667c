package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
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

// mustHaveIndexes compares both stores with the indexes.
func mustHaveIndexes(t *testing.T, primary, mirror string) {
	t.Helper()
	result, err := compare.Trees(t.Context(), primary, mirror, compare.Options{Ignored: withIndexes, IgnoreLinks: true})
	must(t, err)
	if !result.Equal() {
		t.Errorf("with the indexes: %v", result)
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
	t.Parallel() // it waits, most of the time
	for _, layout := range []string{"Maildir++", "fs", "index"} {
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
			mustHaveIndexes(t, primary, mirror)
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
	t.Parallel() // it waits, most of the time
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
	indexed(t, p)
	p.MustBeEqual(t, time.Minute)
	mustHaveIndexes(t, primary, mirror)
	validities := validitiesOf(look(t, server))
	for i, store := range taken {
		opened(t, i, store, validities)
	}
}

// validitiesOf returns the UIDVALIDITY of each mailbox, by user and name.
func validitiesOf(snaps []client.Snapshot) map[string]uint32 {
	validities := map[string]uint32{}
	for _, snap := range snaps {
		for _, box := range snap.Mailboxes {
			validities[snap.User+" "+box.Name] = box.UIDValidity
		}
	}
	return validities
}

// listed is what the uidlist of a mailbox says of one UID.
type listed struct {
	guid string
	file bool // it is there
}

// uidlistOf reads the uidlist of a mailbox; nil if it has none.
func uidlistOf(t *testing.T, dir string) map[imap.UID]listed {
	t.Helper()
	files := map[string]bool{}
	for _, sub := range []string{"cur", "new"} {
		names, err := os.ReadDir(filepath.Join(dir, sub))
		if err == nil {
			for _, n := range names {
				base, _, _ := strings.Cut(n.Name(), ":")
				files[base] = true
			}
		}
	}
	all, last := map[imap.UID]listed{}, map[string]imap.UID{}
	data, err := os.ReadFile(filepath.Join(dir, "dovecot-uidlist"))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(data)) {
		fields, base, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " :")
		words := strings.Fields(fields)
		if !ok || len(words) == 0 {
			continue
		}
		uid, err := strconv.ParseUint(words[0], 10, 32)
		if err != nil {
			continue
		}
		guid := base
		for _, w := range words[1:] {
			if w[0] == 'G' { // a copy in the mailbox that the message is in already
				guid = w[1:]
			}
		}
		if was, twice := last[base]; twice {
			all[was] = listed{guid: guid} // it was away, and came back
		}
		last[base] = imap.UID(uid)
		all[imap.UID(uid)] = listed{guid: guid, file: files[base]}
	}
	return all
}

// opened opens a copy of the mirror: every message that its uidlist has given a
// UID has that UID, no other one has, and Dovecot has no complaint.
func opened(t *testing.T, number int, store string, validities map[string]uint32) {
	t.Helper()
	uidlists, indexes := map[string]map[imap.UID]listed{}, 0
	must(t, filepath.WalkDir(store, func(path string, _ os.DirEntry, err error) error {
		switch rel := strings.Split(strings.TrimPrefix(path, store+"/"), "/"); filepath.Base(path) {
		case "dovecot.index.log":
			indexes++
		case "dovecot-uidlist": // <domain>/<user>/Maildir[/.<folder>]/dovecot-uidlist
			box := ".INBOX"
			if len(rel) > 4 {
				box = rel[3]
			}
			uidlists[rel[1]+"@"+rel[0]+" "+box[1:]] = uidlistOf(t, filepath.Dir(path))
		}
		return err
	}))
	server := dovecot.New(t, dovecot.Options{Store: store})
	messages := 0
	for _, snap := range look(t, server) {
		for _, box := range snap.Mailboxes {
			name := snap.User + " " + box.Name
			if v := validities[name]; v != 0 && uidlists[name] != nil && v != box.UIDValidity {
				t.Errorf("copy %d: %s has another UIDVALIDITY than on the primary", number, name)
			}
			messages += len(box.Messages)
			for _, line := range renumbered(box, uidlists[name]) {
				t.Errorf("copy %d: %s: %s", number, name, line)
			}
		}
	}
	t.Logf("copy %d: %d messages, %d indexes", number, messages, indexes)
	for _, line := range server.Complaints() {
		// A message with several hard links may have its old and its new name
		// for a moment; Dovecot removes one of the two names.
		if !strings.Contains(line, "Unlinked a duplicate") {
			t.Errorf("copy %d: dovecot complains: %s", number, line)
		}
	}
	must(t, server.Stop())
	must(t, os.RemoveAll(store))
}

// renumbered says which messages have another UID than a uidlist gives them.
func renumbered(box client.Mailbox, uids map[imap.UID]listed) (bad []string) {
	last := imap.UID(0)
	for uid := range uids {
		last = max(last, uid)
	}
	for _, m := range box.Messages {
		was, ok := uids[m.UID]
		delete(uids, m.UID)
		if m.UID <= last && (!ok || was.guid != m.GUID) {
			bad = append(bad, fmt.Sprintf("UID %d is %s, and was %q", m.UID, m.GUID, was.guid))
		}
	}
	for uid, was := range uids {
		if was.file {
			bad = append(bad, fmt.Sprintf("UID %d, %s, is gone", uid, was.guid))
		}
	}
	return bad
}

// TestIndexCost changes flags in one large mailbox all the time: the index costs
// two entries and little more than was appended to its log.
func TestIndexCost(t *testing.T) {
	const messages, changes = 1000, 300
	dovecot.Need(t)
	primary, mirror := stores(t)
	server := dovecot.New(t, dovecot.Options{Store: primary})
	p := pair.New(t, pair.Options{Binary: plainBinary(t), PrimaryStore: primary, MirrorStore: mirror, IndexInterval: "2s"})
	c, err := client.DialIMAP(server.IMAP, users()[0], dovecot.Password)
	must(t, err)
	must(t, create(c, "Busy"))
	for i := range messages {
		_, err := c.Append("Busy", fmt.Appendf(nil, "Subject: %d\r\n\r\nbody %d\r\n", i, i), time.Now(), imap.FlagSeen)
		must(t, err)
	}
	_, err = c.Select("Busy")
	must(t, err)
	uids, err := c.UIDs()
	must(t, err)
	indexed(t, p)
	bytes, entries := indexEntries(t, p)
	began := time.Now()
	for i := range changes {
		must(t, c.AddFlags(uids[i:i+1], imap.FlagFlagged))
		<-time.After(30 * time.Millisecond) // as long as it takes, so that several are taken
	}
	took := time.Since(began)
	must(t, c.Close())
	indexed(t, p)
	b, e := indexEntries(t, p)
	t.Logf("%d flag changes in %v: %d entries of the index; %d bytes on the wire for all that changed",
		changes, took.Round(time.Second), e-entries, b-bytes)
	if most := 3 * (2 + int(took/(2*time.Second))); e-entries > most {
		t.Errorf("%d entries for the index, want at most %d", e-entries, most)
	}
}

// indexEntries returns what the mirror was sent, and how many entries of
// indexes are in the journal.
func indexEntries(t *testing.T, p *pair.Pair) (bytes uint64, entries int) {
	t.Helper()
	s, err := p.Primary.Status(t.Context())
	must(t, err)
	out, err := p.Primary.Run(t.Context(), "journal", "show")
	must(t, err)
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "/dovecot.index") {
			entries++
		}
	}
	return s.Mirrors[0].SentBytes, entries
}
