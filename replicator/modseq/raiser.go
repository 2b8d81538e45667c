package modseq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// Bounds of the work.
const (
	// MaxUsers is the most users that there can be.
	MaxUsers = 1_000_000
	// parallel is how many users are done at the same time: doveadm mostly
	// waits for the disk, and for the processes of Dovecot that it asks.
	parallel = 4
	// express is how many more are done of those who wait at their login: they
	// would wait for some user's last folder before their own first one.
	express = 4
	// homesAtOnce is how many users doveadm is asked for in one run.
	homesAtOnce = 100
	// modseqShift is by how many bits the time is shifted, in seconds since 1970.
	modseqShift = 20
	// tellEvery is how often progress is news for those who follow the status.
	tellEvery = 100
)

// ErrUser says that there can be no user of that name.
var ErrUser = errors.New("cannot be the name of a user")

// Clock is where the time comes from.
type Clock interface {
	// Now returns the time of day.
	Now() time.Time
	// After returns a channel on which the time is sent once d has passed.
	After(d time.Duration) <-chan time.Time
}

// Config is what a Raiser is made of.
type Config struct {
	// Doveadm is how doveadm is run, words separated by spaces; empty means
	// that there is no Dovecot and nothing to be done.
	Doveadm string
	// Users says whose mail lies where; empty: Dovecot is asked.
	Users string
	// StateDir is where the record is kept, Store where the mail lies.
	StateDir, Store string
	// Highest returns the highest number that a promotion of any node has raised to, as
	// far as that is known; 0: none is.
	Highest func() uint64
	// Raising is told to what number mailboxes are raised, before any is, so that others
	// can be told; it may write that down. nil: nobody is told.
	Raising func(modseq uint64)
	Catalog *catalog.Catalog
	Clock   Clock
	Log     hclog.Logger
	// Changed is called when there is news for the status; it must not block.
	Changed func()
}

// State is how far a Raiser is.
type State string

// The states.
const (
	Off      State = "off"      // there is no Dovecot
	Idle     State = "idle"     // the node does not play the primary yet
	Raising  State = "raising"  // the work is under way
	Complete State = "complete" // every mailbox is done, or there was nothing to do
)

// Status is how far a Raiser is, in numbers.
type Status struct {
	State   State
	Epoch   journal.Epoch
	Modseq  uint64 // that all mailboxes are raised to; 0: none are
	Done    int    // users
	Left    int    // users; Listed says whether these are all
	Failing int    // users whose last try failed
	Listed  bool
	Err     error // why the users cannot be listed, or what failed last
}

// Raiser raises mailboxes. Its methods may be called by many goroutines at
// once.
type Raiser struct {
	cfg     Config
	doveadm doveadm
	pattern mailstore.Users

	mu      sync.Mutex
	state   State
	epoch   journal.Epoch
	modseq  uint64
	gap     uint32 // of UIDs, in each folder
	queue   *queue
	listed  bool
	trouble error         // of the work as a whole
	moved   chan struct{} // closed at the next change of state
}

// New returns a Raiser. The error says what is wrong with the pattern of
// users.
func New(cfg Config) (*Raiser, error) {
	r := &Raiser{cfg: cfg, doveadm: strings.Fields(cfg.Doveadm), state: Idle, moved: make(chan struct{})}
	if len(r.doveadm) == 0 {
		r.state = Off
	}
	if cfg.Users != "" {
		var err error
		if r.pattern, err = mailstore.ParseUsers(cfg.Users); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Status returns how far it is.
func (r *Raiser) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{State: r.state, Epoch: r.epoch, Modseq: r.modseq, Listed: r.listed, Err: r.trouble}
	if r.queue != nil {
		var last error
		s.Done, s.Left, s.Failing, last = r.queue.counts()
		if s.Err == nil {
			s.Err = last
		}
	}
	return s
}

// move changes the state.
func (r *Raiser) move(s State) {
	r.mu.Lock()
	r.state = s
	close(r.moved)
	r.moved = make(chan struct{})
	r.mu.Unlock()
	r.cfg.Changed()
}

// fail notes what keeps the work as a whole from going on; nil: nothing.
func (r *Raiser) fail(err error) {
	r.mu.Lock()
	changed := fmt.Sprint(r.trouble) != fmt.Sprint(err)
	r.trouble = err
	r.mu.Unlock()
	if changed {
		if err != nil {
			r.cfg.Log.Warn("HIGHESTMODSEQ cannot be raised yet", "error", err, "hint", hint.Of(err))
		}
		r.cfg.Changed()
	}
}

// Run does the work for a node that is primary in an epoch, and returns when
// ctx ends, which is when the node no longer plays the primary; one that was
// never promoted, in epoch 1, has nothing to do. proven says that it was
// promoted with all that the former primary had: then no UIDs are left out. What fails is in the status
// and in the log, and no reason to end. It may be run again, for a later epoch
// or after a restart, but not twice at the same time.
func (r *Raiser) Run(ctx context.Context, epoch journal.Epoch, proven bool) {
	if len(r.doveadm) > 0 {
		r.raise(ctx, epoch, proven)
	}
	<-ctx.Done()
	if len(r.doveadm) > 0 {
		r.move(Idle)
	}
}

// raise does the work until it is complete or ctx ends.
func (r *Raiser) raise(ctx context.Context, epoch journal.Epoch, proven bool) {
	if epoch <= 1 {
		r.move(Complete)
		return
	}
	gap := uint32(uidGap)
	if proven {
		gap = 0
	}
	rec, ledger, ok := r.open(ctx, epoch, gap)
	if !ok {
		return
	}
	defer func() { _ = ledger.close() }()
	r.mu.Lock()
	r.epoch, r.modseq, r.gap, r.listed, r.queue = epoch, rec.modseq, rec.gap, false, newQueue(rec.done)
	r.mu.Unlock()
	if r.cfg.Raising != nil {
		r.cfg.Raising(rec.modseq)
	}
	if !rec.complete {
		r.cfg.Log.Info("raising HIGHESTMODSEQ", "epoch", uint64(epoch), "modseq", rec.modseq, "UIDs left out", rec.gap, "done before", len(rec.done))
		r.move(Raising)
		if !r.work(ctx, ledger) {
			return
		}
		r.cfg.Log.Info("HIGHESTMODSEQ is raised everywhere", "users", len(rec.done))
	}
	r.move(Complete)
}

// open reads or makes the record, and tries until it can; false if ctx ends.
func (r *Raiser) open(ctx context.Context, epoch journal.Epoch, gap uint32) (rec record, l *ledger, ok bool) {
	// Seconds leave room for a million changes in each; the epoch counts when
	// the clock does not.
	least := max(uint64(max(r.cfg.Clock.Now().Unix(), 0))<<modseqShift, min(uint64(epoch), 1<<22)<<40)
	if before := r.cfg.Highest(); before > 0 {
		least = max(least, before+apartModseqs)
	}
	ok = r.retry(ctx, func() error {
		var why, err error
		rec, why, err = resume(r.cfg.StateDir, epoch, least, gap)
		if why != nil {
			r.cfg.Log.Warn("the record of raised mailboxes is damaged; all are raised again", "error", why)
		}
		if err == nil {
			l, err = openLedger(r.cfg.StateDir, rec)
		}
		if errors.Is(err, ErrNewer) {
			err = hint.Add(err, "run the newer mailtwin again; this version cannot go back to its files")
		}
		return err
	})
	return rec, l, ok
}

// retry does f until it succeeds, with growing pauses; false if ctx ends.
func (r *Raiser) retry(ctx context.Context, f func() error) bool {
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		err := f()
		if ctx.Err() != nil {
			return false
		}
		r.fail(err)
		if err == nil {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-r.cfg.Clock.After(pause):
		}
	}
}

// work lists the users and does them; false if ctx ended before the end.
func (r *Raiser) work(ctx context.Context, l *ledger) bool {
	var group errgroup.Group
	group.Go(func() error {
		r.list(ctx)
		return nil
	})
	var mu sync.Mutex // of the ledger
	for i := range parallel + express {
		next := r.queue.next
		if i >= parallel {
			next = r.queue.nextAsked
		}
		group.Go(func() error {
			for r.one(ctx, next, &mu, l) {
			}
			return nil
		})
	}
	_ = group.Wait() // nothing in it fails
	if ctx.Err() != nil {
		return false
	}
	return r.retry(ctx, l.complete)
}

// turns says whose turn it is, as queue.next does.
type turns func(now time.Time) (u *user, changed <-chan struct{}, wait time.Duration, finished bool)

// one does the user whose turn it is, or waits; false when all is done or ctx
// ended.
func (r *Raiser) one(ctx context.Context, next turns, mu *sync.Mutex, l *ledger) bool {
	u, changed, wait, finished := next(r.cfg.Clock.Now())
	if finished || ctx.Err() != nil {
		return false
	}
	if u == nil {
		var due <-chan time.Time
		if wait > 0 {
			due = r.cfg.Clock.After(wait)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-due:
		}
		return true
	}
	err := r.user(ctx, u)
	if err == nil {
		mu.Lock()
		err = l.done(u.name)
		mu.Unlock()
	}
	if err != nil {
		err = fmt.Errorf("the mailboxes of %s: %w", u.name, err)
		if ctx.Err() == nil && u.tries == 0 {
			r.cfg.Log.Warn("HIGHESTMODSEQ could not be raised", "error", err)
		}
	}
	r.queue.end(u, err, r.cfg.Clock.Now())
	if done, _, _, _ := r.queue.counts(); err != nil || done%tellEvery == 0 {
		r.cfg.Changed()
	}
	return true
}

// user raises the mailboxes of a user.
func (r *Raiser) user(ctx context.Context, u *user) error {
	f := folders{doveadm: r.doveadm, store: r.cfg.Store, clock: r.cfg.Clock}
	var is behind // the folder whose turn it is
	before := func(folder string) (err error) {
		is, err = r.prepare(ctx, f, u, folder)
		return err
	}
	return r.doveadm.raise(ctx, u.name, r.modseq, before, func(string) error { return f.vanish(is) })
}

// prepare does what is to be done to a folder before Dovecot opens it: once,
// as far as it must not be done again.
func (r *Raiser) prepare(ctx context.Context, f folders, u *user, folder string) (b behind, err error) {
	err = f.at(ctx, u.name, folder, "index", func(root *beneath.Root, dir journal.Path) error {
		had, err := beginHistory(root, dir, r.modseq, r.cfg.Clock.Now())
		if err != nil || !had {
			return err
		}
		b.index = dir
		b.next, err = nextUID(root, dir)
		return err
	})
	if err != nil {
		return b, err
	}
	return b, f.at(ctx, u.name, folder, "control", func(root *beneath.Root, dir journal.Path) error {
		b.control = dir
		if r.gap == 0 || u.widened[folder] {
			return nil
		}
		if err := r.renumber(root, dir, u); err != nil {
			return err
		}
		if err := widen(root, dir, r.gap, r.cfg.Clock.Now()); err != nil {
			return err
		}
		if u.widened == nil {
			u.widened = make(map[string]bool)
		}
		if len(u.widened) < MaxFolders {
			u.widened[folder] = true
		}
		return nil
	})
}

// renumber does so once for a user.
func (r *Raiser) renumber(root *beneath.Root, dir journal.Path, u *user) error {
	if u.renumbered != "" && dir.Within(u.renumbered) {
		return nil
	}
	at, err := renumber(root, dir, r.modseq>>modseqShift)
	if at != "" && err == nil {
		u.renumbered = at
	}
	return err
}

// list finds the users and puts them into the queue in their order.
func (r *Raiser) list(ctx context.Context) {
	var newest map[string]time.Time
	found := r.retry(ctx, func() (err error) {
		if r.cfg.Users != "" {
			newest, err = r.newest(ctx, r.pattern.Of)
			return err
		}
		names, err := r.doveadm.users(ctx)
		if err != nil {
			return err
		}
		newest = make(map[string]time.Time, len(names))
		for _, name := range names {
			newest[name] = time.Time{}
		}
		return nil
	})
	if !found {
		return
	}
	names := make([]string, 0, len(newest))
	for name := range newest {
		names = append(names, name)
	}
	slices.Sort(names)
	if err := r.queue.add(names); err != nil {
		r.fail(err) // and the rest is done when they are asked for
		return
	}
	if r.cfg.Users == "" {
		newest = r.byHome(ctx, names)
	}
	r.queue.order(newest)
	r.mu.Lock()
	r.listed = true
	r.mu.Unlock()
	r.queue.close()
	r.cfg.Changed()
}

// byHome finds out when mail last came to users, as far as their homes can be
// known and lie in the store.
func (r *Raiser) byHome(ctx context.Context, users []string) map[string]time.Time {
	o := &owners{store: r.cfg.Store, home: make(map[journal.Path]string)}
	for some := range slices.Chunk(users, homesAtOnce) {
		for i, home := range r.doveadm.homes(ctx, some) {
			o.add(some[i], home)
		}
	}
	newest, err := r.newest(ctx, o.of)
	if err != nil && ctx.Err() == nil {
		r.cfg.Log.Warn("mailboxes are raised in no special order", "error", err)
	}
	return newest
}

// newest finds out when mail last came to each user.
func (r *Raiser) newest(ctx context.Context, of func(journal.Path) (string, bool)) (map[string]time.Time, error) {
	newest := make(map[string]time.Time)
	err := eachMailbox(ctx, r.cfg.Catalog, func(p journal.Path, at time.Time) {
		user, ok := of(p)
		last, known := newest[user]
		if ok && (known && at.After(last) || !known && len(newest) < MaxUsers) {
			newest[user] = at
		}
	})
	return newest, err
}

// Ready returns when the mailboxes of a user are done, and puts him first; for
// the user "" it waits until all are. Where there is nothing to be done it
// returns at once. On a node that does not play the primary yet it waits until
// it does. The error is ErrUser, why his mailboxes could not be done, or what
// ended ctx.
func (r *Raiser) Ready(ctx context.Context, user string) error {
	if user != "" && !mailstore.ValidUser(user) {
		return hint.Add(fmt.Errorf("%q %w", user, ErrUser), "name one user, as he logs in")
	}
	for {
		r.mu.Lock()
		state, moved, q := r.state, r.moved, r.queue
		r.mu.Unlock()
		var ended <-chan struct{}
		switch {
		case state == Off || state == Complete:
			return nil
		case state == Raising && user != "":
			var err error
			if ended, err = q.ask(user); err != nil || ended == nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ended:
			return q.result(user)
		case <-moved:
		}
	}
}
