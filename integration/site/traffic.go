package site

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/mailtwin/mailtwin/integration/client"
	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/ledger"
	"github.com/mailtwin/mailtwin/integration/tree"
)

// Who has mail, and how much happens.
const (
	// Users is how many users a site has.
	Users = 4

	pauseMean = 40 * time.Millisecond // between two things that one does

	// The folders that users have.
	sent    = "Sent"
	archive = "Archive" // what they move there they read and flag as any other
	kept    = "Kept"    // has copies, which nobody touches
)

// User is the name of a user of the site.
func User(i int) string { return fmt.Sprintf("user%d@example.org", i) }

// traffic is mail that comes and users who read it, until it is ended.
type traffic struct {
	stop    context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	wrong   []string // what users were shown that cannot be
}

// StartTraffic lets mail come and users read it, at the service address, until
// it is stopped. It is no error if it runs already.
func (s *Site) StartTraffic(seed uint64) {
	if s.traffic != nil {
		return
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	ctx, cancel := context.WithCancel(context.Background())
	t := &traffic{stop: cancel}
	s.traffic = t
	for i := range Users {
		deliver := rand.New(rand.NewPCG(rng.Uint64(), 1))
		read := rand.New(rand.NewPCG(rng.Uint64(), 2))
		t.running.Go(func() { s.deliverTo(ctx, User(i), deliver) })
		t.running.Go(func() {
			r := &reader{site: s, traffic: t, user: User(i), rng: read, mail: tree.NewWriter(read.Uint64())}
			r.run(ctx)
		})
	}
	download := rand.New(rand.NewPCG(rng.Uint64(), 3))
	t.running.Go(func() { s.download(ctx, t, download) })
}

// StopTraffic ends the traffic, once what is being done has its answer. It
// returns what users were shown meanwhile and cannot be.
func (s *Site) StopTraffic() []string {
	if s.traffic == nil {
		return nil
	}
	t := s.traffic
	t.end()
	s.traffic = nil
	return t.wrong
}

// Pause ends the traffic once what is being done has its answer or breaks, and
// returns what lets it go on.
func (s *Site) Pause() (resume func()) {
	if s.traffic == nil {
		return func() {}
	}
	wrong := s.StopTraffic()
	return func() {
		s.StartTraffic(rand.Uint64())
		s.traffic.say(wrong)
	}
}

func (t *traffic) end() {
	t.stop()
	t.running.Wait()
}

func (t *traffic) say(wrong []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrong = append(t.wrong, wrong...)
}

// rest waits a little, and reports whether to go on.
func rest(ctx context.Context, rng *rand.Rand) bool { return restFor(ctx, rng, pauseMean) }

// restFor is rest with another mean.
func restFor(ctx context.Context, rng *rand.Rand, mean time.Duration) bool {
	timer := time.NewTimer(time.Duration(rng.Int64N(int64(2 * mean))))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// deliverTo delivers to a user until the context ends. What is under way then
// gets its answer first.
func (s *Site) deliverTo(ctx context.Context, user string, rng *rand.Rand) {
	mail := tree.NewWriter(rng.Uint64())
	for rest(ctx, rng) {
		body := mail.Message(user, 500+rng.IntN(8000))
		for ctx.Err() == nil {
			if s.attempt(context.WithoutCancel(ctx), service(dovecot.LMTPPort), user, body) == nil || !rest(ctx, rng) {
				break
			}
		}
	}
}

// reader is a user at work.
type reader struct {
	site    *Site
	traffic *traffic
	user    string
	rng     *rand.Rand
	mail    *tree.Writer
	imap    *client.IMAP // nil: no session
	conn    *conn
}

// run works until the context ends.
func (r *reader) run(ctx context.Context) {
	for rest(ctx, r.rng) {
		if err := r.step(context.WithoutCancel(ctx)); err != nil && !client.Refused(err) {
			r.hangUp()
		}
	}
	r.hangUp()
}

func (r *reader) hangUp() {
	if r.imap != nil {
		_ = r.imap.Hangup() // whether it hears it or not
		r.imap = nil
	}
}

// step does one thing of a user's day.
func (r *reader) step(ctx context.Context) (err error) {
	if r.imap == nil {
		if r.imap, r.conn, err = r.site.session(ctx, service(dovecot.IMAPPort), r.user, patience); err != nil {
			return err
		}
	}
	if r.rng.IntN(8) == 0 {
		return r.keep()
	}
	box, err := look(r.imap, r.user, []string{"INBOX", "INBOX", sent, archive}[r.rng.IntN(4)])
	if err != nil {
		return err
	}
	err = r.site.told(r.conn, func(_ string, loose bool) { r.traffic.say(r.site.Ledger.Seen(box, loose)) })
	if err != nil || len(box.Entries) == 0 {
		return err
	}
	e := box.Entries[r.rng.IntN(len(box.Entries))]
	uids := []imap.UID{imap.UID(e.UID)}
	switch r.rng.IntN(8) {
	case 0:
		return r.transfer(r.site.Ledger.Copy, e.Token, kept, func() error { return r.imap.Copy(uids, kept) })
	case 1:
		return r.transfer(r.site.Ledger.Move, e.Token, archive, func() error { return r.imap.Move(uids, archive) })
	case 2, 3:
		return r.ask(r.site.Ledger.Expunge(e.Token), func() error { return r.imap.Expunge(uids) })
	case 4:
		return r.ask(r.site.Ledger.Flag(e.Token, "Project", true), func() error { return r.imap.AddFlags(uids, "Project") })
	default:
		return r.toggle(e, uids)
	}
}

// toggle takes the flag of a message away, or gives it one. Who asks for what is so
// already changes nothing: no server remembers that, and a change that a former primary
// had made before is salvaged all the same.
func (r *reader) toggle(e ledger.Entry, uids []imap.UID) error {
	const flag = imap.FlagFlagged
	if slices.Contains(e.Flags, string(flag)) {
		return r.ask(r.site.Ledger.Flag(e.Token, string(flag), false), func() error { return r.imap.RemoveFlags(uids, flag) })
	}
	return r.ask(r.site.Ledger.Flag(e.Token, string(flag), true), func() error { return r.imap.AddFlags(uids, flag) })
}

// ask asks for something that is written down already, and writes down the
// answer.
func (r *reader) ask(asked ledger.Asked, do func() error) error {
	err := do()
	switch {
	case err == nil:
		return r.site.done(r.conn, asked)
	case client.Refused(err):
		asked.Refused()
	}
	return err
}

// transfer copies or moves a message to a folder, if that was not done before.
func (r *reader) transfer(note func(ledger.Token, string) (ledger.Asked, bool), token ledger.Token, folder string, do func() error) error {
	if err := r.imap.Create(folder); err != nil && !client.Refused(err) {
		return err // refused is: it is there already
	}
	asked, ok := note(token, folder)
	if !ok {
		return nil
	}
	return r.ask(asked, do)
}

// keep keeps a copy of a message that the user has sent.
func (r *reader) keep() error {
	if err := r.imap.Create(sent); err != nil && !client.Refused(err) {
		return err // refused is: it is there already
	}
	token, asked := r.site.Ledger.Deliver(r.user)
	data := bytes.ReplaceAll(stamp(token, r.mail.Message(r.user, 3000)), []byte("\n"), []byte("\r\n"))
	at := time.Unix(1_600_000_000+int64(r.rng.IntN(100_000_000)), 0)
	return r.ask(asked, func() error {
		_, err := r.imap.Append(sent, data, at, imap.FlagSeen)
		return err
	})
}
