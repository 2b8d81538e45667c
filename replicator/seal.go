package replicator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/failover"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mailboxes"
	"github.com/mailtwin/mailtwin/replicator/pairing"
)

// Seal implements pairing.Node: the primary's side of a switchover. Nothing is
// sealed after an error, but the mail server may have been stopped: whoever
// asked says so to the operator.
func (n *node) Seal(ctx context.Context, o pairing.SealOrder, step func(words string)) (pairing.Sealed, error) {
	p, err := n.awaitPrimary(ctx, func(*primaryPart) bool { return true })
	if err != nil {
		return pairing.Sealed{}, err
	}
	if st := n.state(); st.Promised != o.Claim {
		return pairing.Sealed{}, refuse("", "%v was not agreed to by %s", o.Claim, st.Name)
	}
	if n.promoter.Busy() {
		return pairing.Sealed{}, refuse("", "%s is being promoted itself", n.id.Name())
	}
	return p.seal(ctx, o, step)
}

// Unseal implements pairing.Node: the switchover will not be completed by the
// attempt that claimed this. Nothing may be sealed yet, when the attempt ended
// in the midst of it; the mail server may have been stopped all the same. Whoever
// was promised the epoch may still claim it.
func (n *node) Unseal(ctx context.Context, c identity.Claim) error {
	_, is, err := n.decide(func(s identity.State) (identity.State, error) {
		if s.Role != identity.Primary || s.Promised != c {
			return s, refuse("", "%s has promised %v, and this is about %v", s.Name, s.Promised, c)
		}
		s.Sealed = false
		return s, nil
	})
	if err != nil {
		return err
	}
	if err := (stage{n}).Open(ctx); err != nil {
		return err
	}
	n.opt.Log.Warn("the switchover was called off; this node goes on as primary", "epoch", is.Epoch)
	return n.startMail(ctx, is, c.Name)
}

// works reports whether what is in the store is journaled: false when the
// journal is sealed, or about to be.
func (p *primaryPart) works() bool {
	if !p.sealing.TryLock() {
		return false
	}
	defer p.sealing.Unlock()
	return !p.isSealed
}

// seal stops the mail server, waits until everything that it left is journaled,
// and ends the journal, durably. What is sealed already is answered at once.
// After an error the node goes on as primary, with this part or, if it ends, with
// another.
func (p *primaryPart) seal(ctx context.Context, o pairing.SealOrder, step func(string)) (pairing.Sealed, error) {
	c := o.Claim
	p.sealing.Lock()
	defer p.sealing.Unlock()
	if p.isSealed {
		return p.sealed()
	}
	defer func() { p.sealTried = p.n.opt.Clock.Now() }()
	say := func(words string) {
		p.n.opt.Log.Info("switchover", "step", words)
		step(words)
	}
	e := HookEvent{
		Event: "fence", Phase: "before", Peer: c.Name, Epoch: c.Epoch, Planned: true,
		Reason: fmt.Sprintf("switchover to %v", c), Line: step,
	}
	if err := p.n.yield(failover.StepStopMail, func() error { return p.stopMail(ctx, e, say) }); err != nil {
		return pairing.Sealed{}, err
	}
	if err := p.sealJournal(ctx, o, say); err != nil {
		return pairing.Sealed{}, err
	}
	out, err := p.sealed()
	if err != nil {
		return out, err
	}
	say(fmt.Sprintf("the journal is sealed at %v", out.Position))
	e.Phase = "after"
	if err := p.n.hook(ctx, e); err != nil {
		// It is sealed all the same: there is no way back from here.
		say("the hook fence failed afterwards: " + err.Error())
	}
	return out, nil
}

// sealJournal ends the journal, with all that the mail server has left in it; or,
// of a store that cannot be observed, what could be had of it. After an error
// nothing is sealed, and the part goes on, unless it is ending.
func (p *primaryPart) sealJournal(ctx context.Context, o pairing.SealOrder, say func(string)) (err error) {
	// What would be delivered from here on would not be journaled.
	p.n.salvageDoor.Shut(p.n.id.Name() + " is being sealed for a switchover")
	defer func() {
		if err != nil {
			p.letFencedIn()
		}
	}()
	if o.Blind {
		// An observer that waits for an array which does not answer has the catalog.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, blindPatience, errors.New("the store does not answer"))
		defer cancel()
	}
	if err := p.n.yield(failover.StepObserve, func() error { return p.observeLast(ctx, o.Blind, say) }); err != nil {
		return err
	}
	return p.end(ctx, o.Claim)
}

// observeLast journals what is left to be journaled of the store, and notes durably
// whether there may be more in it.
func (p *primaryPart) observeLast(ctx context.Context, blind bool, say func(string)) error {
	if blind {
		say("the store is not compared again; what was noticed of it is looked at")
		p.catchUp(ctx)
	} else {
		say("what the mail server has left is journaled")
		if err := p.lookWhileWell(ctx, say); err != nil {
			return err
		}
	}
	s := p.watcher.Status()
	doubtful := blind || s.UnreadableCount > 0 || len(s.Doubtful) > 0
	if err := await(ctx, func() error { return p.noteDoubt(doubtful) }); err != nil {
		return fmt.Errorf("note that there may be more in the store: %w", err)
	}
	return nil
}

// The patience with a store that cannot be observed.
const (
	blindPatience   = 10 * time.Second // for all of its sealing
	catchUpPatience = 3 * time.Second  // for what was noticed to be looked at
)

// catchUp lets the observer look at what it has noticed. What it cannot journal
// is told by name then, and what it does not come to is as well.
func (p *primaryPart) catchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, catchUpPatience)
	defer cancel()
	if err := p.watcher.CatchUp(ctx); err != nil {
		p.n.opt.Log.Warn("not all that was noticed in the store could be looked at", "error", err)
	}
}

// await calls f, which may wait for an array that does not answer, and returns its
// error, or that of ctx.
func await(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stopMail runs the hook fence, of which it is known from then on, durably, that
// the mail server may be stopped.
func (p *primaryPart) stopMail(ctx context.Context, e HookEvent, say func(string)) error {
	if !p.n.fences() {
		say("no fence hook is set: see to it yourself that the mail server is stopped")
		return nil
	}
	if err := p.n.noteStopped(p.n.state(), true); err != nil {
		return err
	}
	say("the hook fence stops the mail server")
	if err := p.n.hook(ctx, e); err != nil {
		return fmt.Errorf("the hook fence: %w", err)
	}
	return nil
}

// wellInterval is how often the store is tried while what is left in it is
// journaled.
const wellInterval = 2 * time.Second

// lookWhileWell is lookOnce for as long as the store can be written and read. A
// store that fails can look as if nothing were left to be journaled, or as if
// there were names to be confirmed that never will be. Whoever asks after an error
// whether the store can be observed is told by what is found here.
func (p *primaryPart) lookWhileWell(ctx context.Context, say func(string)) error {
	well := func(ctx context.Context) error {
		if err := p.n.trial.try(ctx, p.root); err != nil {
			return fmt.Errorf("the store cannot be written and read any more: %w", err)
		}
		return nil
	}
	if err := well(ctx); err != nil {
		return err
	}
	looking, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() {
		for {
			select {
			case <-looking.Done():
				return
			case <-p.n.opt.Clock.After(wellInterval):
			}
			if err := well(looking); err != nil {
				end(err)
				return
			}
		}
	}()
	err := p.lookOnce(looking, say)
	if failed := well(ctx); failed != nil {
		return failed // which is why, if there was an error
	}
	return err
}

// lookOnce waits until everything that the mail server has left is journaled, and
// makes it durable in the store: the node will be a mirror of which the catalog
// says what it has, and a power cut must not take anything of that back.
func (p *primaryPart) lookOnce(ctx context.Context, say func(string)) error {
	if _, err := p.watcher.Quiesce(ctx, say); err != nil {
		return err
	}
	if err := await(ctx, p.root.SyncFS); err != nil { // it hangs if the array does
		return fmt.Errorf("make the store durable: %w", err)
	}
	return nil
}

// end seals the journal and stops the observer, and makes that durable. After an
// error the node goes on with a journal that is opened anew; but if it cannot be
// sealed, because it is closed, the part is ending already.
func (p *primaryPart) end(ctx context.Context, c identity.Claim) error {
	if err := p.n.yield(failover.StepSeal, func() error {
		_, err := p.journal.Seal()
		return err
	}); err != nil {
		return err
	}
	p.stopObserving()
	select {
	case <-p.observed:
	case <-ctx.Done():
		p.n.endPart()
		return context.Cause(ctx)
	}
	err := p.n.yield(failover.StepNote, func() error {
		_, _, err := p.n.decide(func(s identity.State) (identity.State, error) {
			if s.Promised != c {
				return s, refuse("", "%v does not hold any more: %v is promised", c, s.Promised)
			}
			s.Sealed = true
			return s, nil
		})
		return err
	})
	if err != nil {
		p.n.endPart()
		return err
	}
	p.isSealed = true
	return nil
}

// metaDoubtful is the epoch, in decimal, of a primary that was sealed though
// there may be more in its store than in its journal.
const metaDoubtful = "seal.doubtful"

// noteDoubt notes durably whether there is such a doubt.
func (p *primaryPart) noteDoubt(doubtful bool) error {
	if doubtful == p.doubtful() {
		return nil
	}
	var e journal.Epoch // there is none
	if doubtful {
		e = p.st.Epoch
	}
	return p.n.noteEpoch(metaDoubtful, e)
}

func (p *primaryPart) doubtful() bool {
	e, err := p.n.epochOf(metaDoubtful)
	return err != nil || e == p.st.Epoch
}

// trouble says why the store cannot be observed; "" if it can.
func (p *primaryPart) trouble(ctx context.Context) string {
	s := p.watcher.Status()
	if s.Suspended != "" {
		return s.Suspended
	}
	if words := p.n.trial.trouble(ctx, p.root, s.UnreadableCount, p.n.opt.Clock.Now()); words != "" {
		return words
	}
	return p.n.cannotWriteState(ctx)
}

// cannotWriteState says why the state cannot be written down; "" if it could be when
// that was tried last. It tries again what failed, and waits only a moment. What it
// tries may hang for as long as the array does: no decision waits for that.
func (n *node) cannotWriteState(ctx context.Context) string {
	n.mu.Lock()
	last := n.stateTrouble
	n.mu.Unlock()
	if last == "" {
		return ""
	}
	if n.trying.TryLock() { // else somebody tries it
		ctx, cancel := context.WithTimeout(ctx, askPatience)
		defer cancel()
		err := await(ctx, func() error {
			defer n.trying.Unlock()
			err := identity.TryState(n.cfg.StateDir, n.state())
			n.noteStateTrouble(err)
			return err
		})
		if err == nil {
			return ""
		}
		last = err.Error()
	}
	return "its state cannot be written down, so that it can agree to nothing: " + last
}

// doubts tell what may be in the store and not in the journal, as far as the
// observer has noticed it.
func (p *primaryPart) doubts() *mailboxes.Doubts {
	left := p.watcher.Left()
	var tally mailboxes.Tally
	for _, name := range left.Names {
		tally.Add(mailboxes.Of(name), 1)
	}
	for _, dir := range left.Directories {
		tally.Add(mailboxes.Containing(dir), 1)
	}
	// Who has not looked at the whole store yet knows of no mailbox that it is right.
	d := &mailboxes.Doubts{All: left.All || left.Quiet.IsZero()}
	d.Mailboxes, d.More = tally.Most(mailboxes.MaxDoubts)
	if !left.Quiet.IsZero() {
		d.After = left.Quiet.Add(-watch.HintDelay)
	}
	return d
}

// sealed tells what a sealed primary has.
func (p *primaryPart) sealed() (pairing.Sealed, error) {
	var out pairing.Sealed
	err := p.n.catalog.View(func(t *catalog.Tx) error {
		totals := t.Totals()
		out = pairing.Sealed{Position: t.Position(), Digest: t.Digest(), Unread: totals.Unread, Missing: totals.Missing}
		return nil
	})
	if p.doubtful() {
		// What the store has beside it is not counted anywhere.
		out.Unread = max(out.Unread, uint64(p.watcher.Status().UnreadableCount), 1)
		out.Doubts = p.doubts()
	}
	if err == nil && out.Position != p.journal.Head() {
		err = fmt.Errorf("the catalog is at %v, and the journal ends with %v", out.Position, p.journal.Head())
	}
	return out, err
}
