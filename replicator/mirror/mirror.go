package mirror

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// The delays between attempts to reach the primary.
const (
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = 5 * time.Second
)

// Rules tell which names are messages, and which names are one message.
type Rules interface {
	// Classify returns the class of the thing of type t at p.
	Classify(p journal.Path, t journal.Type) watch.Class
	// Base returns the part of a message's name that stays when its flags
	// change.
	Base(name string) string
	// MessageDirs returns the directories of the messages of the mailbox that
	// has a control file of that path.
	MessageDirs(control journal.Path) []journal.Path
	// Members returns the paths that the files of watch.ClassDerived which belong
	// together have in dir, in the reverse of the order in which they are put in
	// place.
	Members(dir journal.Path) []journal.Path
}

// Config is what a Mirror is made of. All fields but Retry must be set.
type Config struct {
	Name    string
	Root    *beneath.Root
	Catalog *catalog.Catalog
	Rules   Rules
	Log     hclog.Logger
	Now     func() time.Time
	// Retry is how long the mirror waits before it asks again for contents that
	// the primary could not read; it asks less and less often, at last after 16
	// times as long. Default: a minute.
	Retry time.Duration
	// Epoch returns the highest epoch that the node knows to have begun.
	Epoch func() journal.Epoch
	// Led is told which primary of which epoch the mirror is about to follow,
	// before it takes anything of it; an error keeps it from that.
	Led func(primary string, epoch journal.Epoch) error
	// TakeStock makes the catalog say what is in the store, where it may not.
	TakeStock func(context.Context) error
	// Dial connects to the primary; the connection is closed by the mirror.
	Dial func(context.Context) (*grpc.ClientConn, error)
	// Arrived returns when bytes last came over the connection; zero if none did.
	Arrived func() time.Time
	// Explain puts an error of the connection into words for the operator.
	Explain func(error) error
	// Changed is called when Status would tell something new; it must not block.
	Changed func()
}

// Mirror keeps a store equal to that of its primary.
type Mirror struct {
	cfg Config
	// tidy says that the catalog says all that was made in the store before the stream
	// that goes on. It belongs to Run, and to the committer while there is one.
	tidy    bool
	untold  string    // why the store has to be looked at as a whole first; "" if not
	stocked *stocked  // the store that was, and has no footprint yet; nil if none
	printed time.Time // when the last footprint was left

	mu     sync.Mutex
	status Status
}

// Status is how a mirror is.
type Status struct {
	Primary   string // name; "" until it was reached
	Epoch     journal.Epoch
	Connected bool
	Since     time.Time // of the connection, or of being without one
	LastHeard time.Time
	// Said is when Beat was said, or some moments before, by our clock: it may
	// have waited in the stream for long. Zero if there was no beat.
	Said      time.Time
	LastError string
	Attention string // what a person has to see to; "" if nothing
	Applied   journal.Sequence
	Acked     journal.Sequence
	Resync    string // why catalogs are being compared; "" if they are not
	Whole     bool   // the last comparison was finished
	Progress  Progress
	Proven    bool // the digest that the primary named last was ours
	ProvenAt  journal.Sequence
	// Aside is where in the store that was put which this mirror had and its
	// primary did not, when it began to follow a new one.
	Aside []journal.Path
	// Left are the names that the primary has no longer and that cannot be removed here.
	Left       []journal.Path
	OwnersLost bool // owners cannot be set for want of privilege
	Beat       wire.Heartbeat
	// Pending is how many names the primary had still to look at, by its last word
	// and the one before: a primary that works always has some for a moment.
	Pending  uint64
	Received uint64 // bytes of batches in this connection
	Totals   catalog.Totals
}

// Progress is what a comparison has still to do.
type Progress struct {
	Directories, Files uint64
	Bytes              uint64
	FilesDone          uint64
	BytesDone          uint64
	ChangesDone        uint64 // without a content
}

// New returns a Mirror.
func New(cfg Config) *Mirror {
	if cfg.Retry <= 0 {
		cfg.Retry = defaultRetry
	}
	m := &Mirror{cfg: cfg}
	m.status.Since = cfg.Now()
	return m
}

// Status tells how the mirror is.
func (m *Mirror) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status
}

// update changes the status.
func (m *Mirror) update(f func(*Status)) {
	m.mu.Lock()
	f(&m.status)
	m.mu.Unlock()
	m.cfg.Changed()
}

// Run keeps the mirror connected until ctx ends. It returns catalog.ErrFailed
// if the catalog could not be written, which takes a new start to get over.
func (m *Mirror) Run(ctx context.Context) error {
	if err := m.loadStatus(); err != nil {
		return err
	}
	backoff := firstBackoff
	lastLogged := ""
	for {
		began := m.cfg.Now()
		err := m.connect(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was stopped
		}
		if errors.Is(err, catalog.ErrFailed) {
			return err // it has to be opened again
		}
		err = m.cfg.Explain(err)
		m.lost(err)
		// The same error again and again is one line in the log, not thousands.
		if text := err.Error(); text != lastLogged {
			m.cfg.Log.Warn("no connection to the primary", "error", err)
			lastLogged = text
		}
		if m.cfg.Now().Sub(began) > maxBackoff {
			backoff, lastLogged = firstBackoff, ""
		}
		// Jitter keeps many mirrors from dialling at the same moment.
		wait := backoff/2 + rand.N(backoff)
		backoff = min(backoff*3/2, maxBackoff)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// loadStatus takes from the catalog what was known before this start.
func (m *Mirror) loadStatus() error {
	return m.cfg.Catalog.View(func(t *catalog.Tx) error {
		whole, err := readWhole(t)
		if err != nil {
			return err
		}
		pos := t.Position()
		p, err := readProgress(t)
		if err != nil {
			return err
		}
		m.tidy = m.tidy || !p.Open
		m.update(func(s *Status) {
			s.Applied, s.Acked, s.Epoch = max(pos.Sequence, p.Applied), pos.Sequence, max(pos.Epoch, p.Epoch)
			if p.Owed > 0 {
				s.Acked = min(s.Acked, p.Owed-1)
			}
			s.Whole, s.Totals = whole, t.Totals()
		})
		return nil
	})
}

// lost notes that there is no connection any more, and why. What a person has
// to see to stays until it is known to be gone.
func (m *Mirror) lost(err error) {
	m.update(func(s *Status) {
		if s.Connected {
			s.Since = m.cfg.Now()
		}
		s.Connected = false
		s.LastError = err.Error()
		if problem := new(storeError); errors.As(err, &problem) {
			s.Attention = problem.Error()
		}
		if errors.Is(err, wire.ErrVersion) || errors.Is(err, errOldEpoch) {
			s.Attention = err.Error()
		}
	})
}
