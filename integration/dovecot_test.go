package integration

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/mailtwin/mailtwin/integration/client"
	"github.com/mailtwin/mailtwin/integration/compare"
	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/pair"
	"github.com/mailtwin/mailtwin/integration/tree"
)

// users of the Dovecot tests; the last has two sessions at once.
func users() []string {
	return []string{"ann@example.org", "bob@example.org", "carl@example.net"}
}

// session drives one IMAP session by chance.
type session struct {
	c       *client.IMAP
	rng     *rand.Rand
	mail    *tree.Writer
	user    string
	box     string // the folder that this session has for itself
	serial  int
	scratch []string
}

// dial logs in and makes the session's folder.
func dial(s *dovecot.Server, user string, seed uint64) (*session, error) {
	c, err := client.DialIMAP(s.IMAP, user, dovecot.Password)
	if err != nil {
		return nil, err
	}
	box := fmt.Sprintf("Box%d", seed)
	if err := create(c, box); err != nil {
		return nil, err
	}
	if err := c.Subscribe(box); err != nil {
		return nil, err
	}
	return &session{c: c, rng: rand.New(rand.NewPCG(seed, 0)), mail: tree.NewWriter(seed), user: user, box: box}, nil
}

// create makes a folder. Dovecot 2.3 under load answers now and then that a
// folder exists already which it has made for this very command.
func create(c *client.IMAP, box string) error {
	if err := c.Create(box); err != nil && !answered(err, imap.ResponseCodeAlreadyExists) {
		return err
	}
	return nil
}

// step does one thing of a client's day. That another session of the same
// user was quicker is no error.
func (s *session) step() error {
	err := s.do()
	if answered(err, "EXPUNGEISSUED") {
		return nil
	}
	return err
}

// answered reports whether the server refused a command for that reason.
func answered(err error, code imap.ResponseCode) bool {
	var failure *imap.Error
	return errors.As(err, &failure) && failure.Code == code
}

func (s *session) do() error {
	if s.rng.IntN(4) == 0 {
		return s.folders()
	}
	box := []string{"INBOX", s.box}[s.rng.IntN(2)]
	if _, err := s.c.Select(box); err != nil {
		return err
	}
	uids, err := s.c.UIDs()
	if err != nil {
		return err
	}
	if len(uids) == 0 || s.rng.IntN(5) == 0 {
		return s.append()
	}
	some := uids[s.rng.IntN(len(uids)):]
	some = some[:min(len(some), 1+s.rng.IntN(4))]
	other := s.box
	if box == s.box {
		other = "INBOX"
	}
	flags := []imap.Flag{imap.FlagSeen, imap.FlagFlagged, imap.FlagAnswered, imap.FlagDraft, "$Label1", "$Forwarded", "NonJunk", "Project-X"}
	flag := flags[s.rng.IntN(len(flags))]
	switch s.rng.IntN(8) {
	case 0, 1, 2:
		return s.c.AddFlags(some, flag)
	case 3:
		return s.c.RemoveFlags(some, flag)
	case 4:
		return s.c.SetFlags(some, imap.FlagSeen, flag)
	case 5:
		return s.c.Copy(some, other)
	case 6:
		return s.c.Move(some, other)
	default:
		return s.c.Expunge(some[:1])
	}
}

// append puts a message of an odd date into the session's folder.
func (s *session) append() error {
	data := bytes.ReplaceAll(s.mail.Message(s.user, min(s.mail.Size(), 40_000)), []byte("\n"), []byte("\r\n"))
	at := time.Date(1999+s.rng.IntN(25), 5, 1+s.rng.IntN(28), 3, 4, 5, 0, time.FixedZone("", 3600*(s.rng.IntN(24)-12)))
	_, err := s.c.Append(s.box, data, at, imap.FlagSeen)
	return err
}

// folders makes, renames or deletes a folder beneath the session's own.
func (s *session) folders() error {
	s.serial++
	name := fmt.Sprintf("%s.Sub %d", s.box, s.serial)
	switch {
	case len(s.scratch) < 2 || s.rng.IntN(3) == 0 && len(s.scratch) < 6:
		s.scratch = append(s.scratch, name)
		if err := create(s.c, name); err != nil {
			return err
		}
		return s.c.Subscribe(name)
	case s.rng.IntN(2) == 0:
		before := s.scratch[0]
		s.scratch[0] = name
		if err := s.c.Unsubscribe(before); err != nil {
			return err
		}
		return s.c.Rename(before, name)
	default:
		gone := s.scratch[0]
		s.scratch = s.scratch[1:]
		if _, err := s.c.Select("INBOX"); err != nil {
			return err
		}
		return s.c.Delete(gone)
	}
}

// sieve gives a user a script and activates it, as ManageSieve does: written
// beside, renamed, and a symbolic link.
func sieve(t *testing.T, store string) {
	t.Helper()
	uid, gid, err := dovecot.Owner()
	must(t, err)
	home := filepath.Join(store, "example.org/ann")
	dir := filepath.Join(home, "sieve")
	must(t, os.MkdirAll(filepath.Join(dir, "tmp"), 0o700))
	const script = "require [\"fileinto\", \"mailbox\", \"imap4flags\"];\nif header :contains \"Subject\" \"sieve me\" { addflag \"\\\\Flagged\"; fileinto :create \"Sieved\"; }\n"
	must(t, os.WriteFile(filepath.Join(dir, "tmp/main.sieve"), []byte(script), 0o600))
	must(t, os.Rename(filepath.Join(dir, "tmp/main.sieve"), filepath.Join(dir, "main.sieve")))
	link := filepath.Join(home, ".dovecot.sieve")
	must(t, os.Symlink("sieve/main.sieve", link))
	for _, path := range []string{home, dir, filepath.Join(dir, "tmp"), filepath.Join(dir, "main.sieve"), link} {
		must(t, os.Lchown(path, uid, gid))
	}
}

// sieved returns how many messages the script has filed.
func sieved(t *testing.T, s *dovecot.Server) int {
	t.Helper()
	c, err := client.DialIMAP(s.IMAP, users()[0], dovecot.Password)
	must(t, err)
	_, lines, err := c.List("Sieved", "Subject")
	must(t, err)
	must(t, c.Close())
	return len(lines)
}

// deliver delivers messages by LMTP until done, one to all users now and
// then.
func deliver(t *testing.T, s *dovecot.Server, messages int) error {
	l, err := client.DialLMTP(t.Context(), s.LMTP)
	if err != nil {
		return err
	}
	mail := tree.NewWriter(99)
	for i := range messages {
		to := users()[i%len(users()):][:1]
		if i%7 == 0 {
			to = users()
		}
		data := mail.Message(to[0], min(mail.Size(), 60_000))
		if i%5 == 0 {
			data = append([]byte("Subject: sieve me\n"), data...)
		}
		if err := l.Deliver(bytes.NewReader(data), to...); err != nil {
			return err
		}
	}
	return l.Close()
}

// drive lets four sessions and the deliveries run at once.
func drive(t *testing.T, s *dovecot.Server, steps, deliveries int) {
	t.Helper()
	driveFrom(t, s, 1, steps, deliveries)
}

// driveFrom is drive with four seeds from seed on, each of which has a folder
// of its own.
func driveFrom(t *testing.T, s *dovecot.Server, seed uint64, steps, deliveries int) {
	t.Helper()
	must(t, deliver(t, s, 2*len(users()))) // so that everybody has a mailbox
	errs := make(chan error, 8)
	var all sync.WaitGroup
	all.Go(func() { errs <- deliver(t, s, deliveries) })
	for i := range 4 {
		user := users()[min(i, len(users())-1)]
		all.Go(func() {
			c, err := dial(s, user, seed+uint64(i))
			for n := 0; err == nil && n < steps; n++ {
				err = c.step()
			}
			if err == nil {
				err = c.c.Close()
			}
			errs <- err
		})
	}
	all.Wait()
	for range 5 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// look takes the snapshots of all users, with GUIDs.
func look(t *testing.T, s *dovecot.Server) []client.Snapshot {
	t.Helper()
	var all []client.Snapshot
	for _, user := range users() {
		snap, err := client.Take(s.IMAP, user, dovecot.Password)
		must(t, err)
		must(t, snap.AddGUIDs(t.Context(), s))
		all = append(all, snap)
	}
	return all
}

// copyOf copies a store as it is now, blocks shared where the file system can.
func copyOf(t *testing.T, store string) string {
	t.Helper()
	to := filepath.Join(dovecot.StoreDir(t), "copy")
	if out, err := exec.Command("cp", "-a", "--reflink=auto", store, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return to
}

// quiet fails the test if Dovecot complained about the store.
func quiet(t *testing.T, s *dovecot.Server) {
	t.Helper()
	for _, line := range s.Complaints() {
		t.Errorf("dovecot complains: %s", line)
	}
}

func TestDovecotPair(t *testing.T) {
	for _, layout := range []string{"Maildir++", "fs", "index"} {
		t.Run(layout, func(t *testing.T) {
			dovecot.Need(t)
			primary, mirror := stores(t)
			server := dovecot.New(t, dovecot.Options{Store: primary, Layout: layout})
			p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: primary, MirrorStore: mirror})
			must(t, deliver(t, server, 1))
			sieve(t, primary)
			drive(t, server, 150, 150)
			// Looking brings Dovecot's control files up to date.
			want := look(t, server)
			p.MustBeEqual(t, time.Minute)
			other := dovecot.New(t, dovecot.Options{Store: copyOf(t, mirror), Layout: layout})
			for i, got := range look(t, other) {
				for _, line := range client.Diff(want[i], got, 20) {
					t.Errorf("%s: %s", got.User, line)
				}
			}
			// The script is the mirror's too.
			before := sieved(t, other)
			must(t, deliver(t, other, 1))
			if after := sieved(t, other); before == 0 || after != before+1 {
				t.Errorf("sieve has filed %d messages, and %d after one more", before, after)
			}
			quiet(t, other)
		})
	}
}

// TestMaildirHasNoAttachments shows why no message of a Maildir has to wait for
// attachments in files of their own: Dovecot makes none, whatever is set.
func TestMaildirHasNoAttachments(t *testing.T) {
	dovecot.Need(t)
	primary, _ := stores(t)
	dir := filepath.Join(primary, "attachments")
	server := dovecot.New(t, dovecot.Options{Store: primary, MailOptions: "mail_attachment_dir = " + dir + "\nmail_attachment_min_size = 1k"})
	c, err := client.DialIMAP(server.IMAP, users()[0], dovecot.Password)
	must(t, err)
	defer func() { _ = c.Close() }()
	attachment := bytes.Repeat([]byte("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5eg==\r\n"), 2000)
	_, err = c.Append("INBOX", append([]byte("Subject: attached\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"+
		"--b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=x\r\nContent-Transfer-Encoding: base64\r\n\r\n"),
		append(attachment, "--b--\r\n"...)...), time.Now())
	must(t, err)
	if names, err := os.ReadDir(dir); !errors.Is(err, os.ErrNotExist) && len(names) > 0 {
		t.Errorf("there are attachments: %v, %v", names, err)
	}
}

// TestPerfectMirror shows that what is asked of a mirror is to be had: a copy
// of the store without what is never replicated cannot be told from it.
func TestPerfectMirror(t *testing.T) {
	primary, mirror := stores(t)
	server := dovecot.New(t, dovecot.Options{Store: primary})
	must(t, deliver(t, server, 1))
	sieve(t, primary)
	drive(t, server, 60, 60)
	want := look(t, server)
	out, err := exec.Command("rsync", "-aHAX", "--exclude=dovecot.index*", "--exclude=*.lock", "--exclude=/*/*/Maildir/tmp/*",
		"--exclude=*.svbin", primary+"/", mirror+"/").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	result, err := compare.Trees(t.Context(), primary, mirror, compare.Options{})
	must(t, err)
	if !result.Equal() {
		t.Error(result)
	}
	other := dovecot.New(t, dovecot.Options{Store: mirror})
	for i, got := range look(t, other) {
		for _, line := range client.Diff(want[i], got, 20) {
			t.Errorf("%s: %s", got.User, line)
		}
	}
	quiet(t, other)
}

// TestMirrorOpensAtAnyMoment kills the mirror in the middle of traffic and
// opens what it has: no message has another UID than the uidlist there says,
// which is the primary's.
func TestMirrorOpensAtAnyMoment(t *testing.T) {
	dovecot.Need(t)
	primary, mirror := stores(t)
	server := dovecot.New(t, dovecot.Options{Store: primary})
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: primary, MirrorStore: mirror})
	var copies []string
	moment := time.NewTicker(700 * time.Millisecond)
	defer moment.Stop()
	driven := make(chan struct{})
	go func() {
		defer close(driven)
		drive(t, server, 120, 120)
	}()
	for len(copies) < 4 {
		select {
		case <-moment.C:
			must(t, p.Mirror.Kill())
			copies = append(copies, copyOf(t, mirror))
			must(t, p.Mirror.Start())
			continue
		case <-driven:
		}
		break
	}
	<-driven
	validities := validitiesOf(look(t, server))
	p.MustBeEqual(t, time.Minute)
	for i, store := range copies {
		opened(t, i, store, validities)
	}
}
