package watch

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// Watcher observes one store. New makes it, Run runs it.
type Watcher struct {
	cfg    Config
	root   string // absolute path of the store
	dirty  *dirty
	board  board
	idle   atomic.Bool // the observer waits for something to do, and has published how it is
	hurry  atomic.Bool // snapshots are taken at once
	alone  atomic.Bool // nobody else needs the array: no leave is asked for
	accept atomic.Bool // the operator says that what is there now is the store
	giveUp atomic.Bool // the operator says that files whose content never came do not come

	// The rest belongs to the goroutine of Run.
	ctx        context.Context
	hints      HintSource
	background *background
	hasher     *hasher
	captureBuf []byte
	seed       maphash.Seed
	lastNow    time.Time
	elapsed    time.Duration

	agenda  *agenda
	settler *settler
	// Snapshots: see snapshot.go.
	snapshots    *settler // the directories that they are to be taken of
	taken        []*snapshot
	snapshotRest time.Duration // none is taken before
	large        map[journal.Path]struct{}

	resting map[journal.Path]time.Duration

	baseline  bool                      // the first scan is not complete
	unwritten Unwritten                 // what a power cut may have taken back
	inherited Moment                    // until when the store was a mirror's; zero: it was none, or that is over
	troubled  map[journal.Path]struct{} // all that may be lost since then; nil: anything may
	sought    bool                      // a scan has looked for what the mirror had lost, everywhere
	walking   bool
	within    bool // a walk goes on while another one waits for leave
	free      int  // names that a walk may look at without asking for leave
	together  together
	ahead     *ahead // nil: nobody looks ahead of the walk

	watched   map[uint64]struct{} // hashes of the paths that are watched
	full      bool                // no more watches are to be had
	retryFull bool                // but try
	uncovered int                 // directories that could not be watched, of the last scan
	network   string              // the network file system that the store is on

	store      storeIdentity
	mounts     []mountAt
	suspension string
	emptied    bool // the store was seen to be empty, and nothing of it is back
	doubts     doubts
	healthDue  time.Duration

	broken   broken
	rewrites int64  // until when messages were held back that a person has accepted; nanoseconds since 1970
	holds    uint64 // how often a message was held back

	pollDue, syncDue time.Duration
	unsynced         int
	deferred         uint64    // names that were put back
	forgotten        uint64    // names for which the agenda had no room
	found            uint64    // those before the last complete scan, which has found them
	whole            time.Time // when everything in the store was in the catalog; zero: not known
	listed, opened   uint64
	status           Status        // what is published
	told             time.Duration // when a scan has published last how far it is
}

// New makes a watcher. Nothing happens before Run.
func New(cfg Config) (*Watcher, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	root, err := filepath.Abs(cfg.Root.Path())
	if err != nil {
		return nil, fmt.Errorf("watch %q: %w", cfg.Root.Path(), err)
	}
	w := &Watcher{
		cfg:     cfg,
		root:    root,
		dirty:   newDirty(cfg.Limits.Names, cfg.Limits.Directories),
		hasher:  newHasher(),
		seed:    maphash.MakeSeed(),
		agenda:  newAgenda(cfg.Limits.Names),
		resting: make(map[journal.Path]time.Duration),
		watched: make(map[uint64]struct{}),
		doubts:  newDoubts(),
		broken:  newBroken(),

		large: make(map[journal.Path]struct{}),
	}
	w.background = newBackground(w.dirty)
	w.settler = newSettler(cfg.Timing.Settle, cfg.Timing.SettleAtLatest, cfg.Limits.Unsettled)
	w.snapshots = newSettler(cfg.Timing.Snapshot, cfg.Timing.SnapshotAtLatest, cfg.Limits.Unsettled)
	w.status = Status{Phase: PhaseStarting, Mode: ModeEvents}
	w.publish()
	return w, nil
}

// Status returns what the watcher is doing now.
func (w *Watcher) Status() Status {
	s := w.board.read()
	s.Dirty = w.dirty.depth()
	return s
}

// Changed returns a channel that is closed when Status has changed.
func (w *Watcher) Changed() <-chan struct{} { return w.board.next() }

// GiveUp says on behalf of the operator that the files whose content never came
// do not come any more: those that are not there are journaled as removed, as the
// watcher looks at them one by one. Where there are very many, it may have to be
// said again for those that are left.
func (w *Watcher) GiveUp() error {
	w.giveUp.Store(true)
	var at catalog.Cursor
	for {
		var found []journal.Path
		err := w.cfg.Catalog.View(func(tx *catalog.Tx) (err error) {
			at, err = tx.EachMissing(at, w.cfg.Limits.Batch, func(p journal.Path, _ catalog.Item) error {
				found = append(found, p)
				return nil
			})
			return err
		})
		if err != nil {
			return fmt.Errorf("find what is missing: %w", err)
		}
		for _, p := range found {
			w.dirty.name(p)
		}
		if len(found) < w.cfg.Limits.Batch {
			return nil
		}
	}
}

// Rescan has everything compared with the catalog.
func (w *Watcher) Rescan() { w.dirty.whole("asked for", false) }

// Run observes the store until ctx ends, and returns nil then. Errors are
// those of the catalog, and journal.ErrClosed; those of the store never end it.
// It must be called once.
func (w *Watcher) Run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.ctx = ctx
	w.lastNow = w.cfg.Clock.Now()
	if err := w.begin(); err != nil {
		return w.ended(ctx, err)
	}
	var group sync.WaitGroup
	group.Go(func() { w.receive(ctx) })
	group.Go(func() { w.background.run(ctx) })
	for err == nil {
		err = w.step()
		if errors.Is(err, errSuspended) {
			err = w.suspended()
		}
	}
	cancel()
	closed := w.hints.Close()
	group.Wait()
	return errors.Join(w.ended(ctx, err), closed)
}

// ended publishes the end and says whether it is an error.
func (w *Watcher) ended(ctx context.Context, err error) error {
	w.status.Phase, w.status.Detail = PhaseStopped, ""
	asked := ctx.Err() != nil && errors.Is(err, ctx.Err())
	if asked {
		err = nil
		w.keepWhole()
	} else {
		w.status.Detail = err.Error()
		err = fmt.Errorf("observe the store %q: %w", w.root, err)
	}
	w.publish()
	return err
}

// begin brings the catalog up to the journal, and gets hints.
func (w *Watcher) begin() error {
	err := w.cfg.Catalog.View(func(tx *catalog.Tx) error {
		_, err := tx.Meta(metaBaseline)
		w.baseline = errors.Is(err, catalog.ErrNotFound)
		if w.baseline {
			err = nil
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := w.findUnwritten(); err != nil {
		return err
	}
	if err := w.findInherited(); err != nil {
		return err
	}
	if err := w.replay(); err != nil {
		return err
	}
	if err := w.identify(); err != nil {
		return err
	}
	w.network = networkFS(w.store.Identity.FSType)
	if w.hints = w.cfg.Hints; w.hints == nil {
		if w.hints, err = Notify(w.root); err != nil {
			w.hints = noHints{}
			w.unwatched(err)
		}
	}
	w.dirty.everything("start")
	w.syncDue = w.now() + w.cfg.Timing.Sync
	w.suspension = "the store was not looked at yet"
	return w.suspended()
}

// replay applies the records to the catalog that it missed.
func (w *Watcher) replay() error {
	var at journal.Position
	err := w.cfg.Catalog.View(func(tx *catalog.Tx) error { at = tx.Position(); return nil })
	if err != nil {
		return err
	}
	if start := w.cfg.Journal.Start(); at.Sequence < start.Sequence && w.baseline {
		// A new catalog beside an old journal: the scan finds everything.
		head := w.cfg.Journal.Head()
		return w.cfg.Catalog.UpdateDurably(func(tx *catalog.Tx) error { tx.SetPosition(head); return nil })
	}
	return Replay(w.ctx, w.cfg.Catalog, w.cfg.Journal)
}

// receive makes names dirty as hints say.
func (w *Watcher) receive(ctx context.Context) {
	hints := w.hints.Hints()
	for {
		select {
		case <-ctx.Done():
			return
		case h, ok := <-hints:
			switch {
			case !ok:
				return
			case h.Lost:
				w.overflowed(h.Err)
			default:
				w.dirty.name(h.Path)
			}
		}
	}
}

// suspended looks at the store each second until it is as it was.
func (w *Watcher) suspended() error {
	err := w.recover()
	for errors.Is(err, errSuspended) {
		if w.status.Suspended != w.suspension {
			w.cfg.Log.Warn("suspended", "reason", w.suspension)
		}
		w.status.Phase, w.status.Suspended, w.status.Detail = PhaseSuspended, w.suspension, w.suspension
		w.status.Reached = ""
		w.publish()
		select {
		case <-w.ctx.Done():
			return w.ctx.Err()
		case <-w.cfg.Clock.After(w.cfg.Timing.Health):
		}
		err = w.recover()
	}
	if err != nil {
		return err
	}
	if w.status.Suspended != "" {
		w.cfg.Log.Info("the store is as it was; going on", "store", w.root)
	}
	w.status.Suspended, w.suspension = "", ""
	w.agenda.clear() // what was seen then does not count
	w.sought = false
	broken, _ := w.broken.list(0)
	for _, u := range broken {
		w.dirty.name(u.Path)
	}
	for _, s := range w.taken {
		w.snapshots.touch(s.dir, w.now())
	}
	w.taken = nil
	w.dirty.everything("the store came back")
	return nil
}

// Unseen reports whether there may be names in dir that the catalog lacks,
// because something there cannot be looked at: then what is not in the catalog
// is not known to be absent. observed is the catalog's Item.Observed of dir. It
// may be called by anyone.
func (w *Watcher) Unseen(dir journal.Path, observed int64) bool {
	// The first scan after a start has yet to find what cannot be read.
	unscanned := w.board.read().LastScanEnded.IsZero()
	return unscanned && observed == 0 || w.broken.in(dir)
}

// unwatched says that changes in a directory are not hinted.
func (w *Watcher) unwatched(err error) {
	reason := err.Error()
	if errors.Is(err, syscall.ENOSPC) {
		w.full, w.retryFull = true, false
		reason = fmt.Sprintf("the limit of watches is reached at %d directories (raise fs.inotify.max_user_watches)", len(w.watched))
	}
	if w.status.ModeReason == "" {
		w.cfg.Log.Warn("not every directory can be watched; scanning instead", "reason", reason)
	}
	w.status.Mode, w.status.ModeReason = ModePolling, reason
	w.pollDue = min(w.pollDue, w.now()+w.cfg.Timing.Poll)
	w.publish()
}

func (w *Watcher) hash(p journal.Path) uint64 { return maphash.String(w.seed, string(p)) }

// noHints stands for a kernel that gives none.
type noHints struct{}

func (noHints) Add(journal.Path) error { return errors.ErrUnsupported }
func (noHints) Remove(journal.Path)    {}
func (noHints) Hints() <-chan Hint     { return nil }
func (noHints) Close() error           { return nil }
