package replicator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/vfs"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// fencedPart is a node that was primary and is so no longer: it journals nothing
// and serves nobody until it has rejoined the pair. Its journal can be read.
type fencedPart struct {
	n     *node
	st    identity.State
	began time.Time

	opened  chan struct{} // closed when the journal is open, or cannot be opened
	demoted chan struct{} // closed when the hook demote has run once, whatever came of it

	hooking sync.Mutex // held while the hook demote runs

	mu      sync.Mutex
	journal *journal.Log
	err     error // why there is no journal
	demote  error // why the hook failed when it ran last
}

func newFenced(n *node, st identity.State) *fencedPart {
	return &fencedPart{n: n, st: st, began: n.opt.Clock.Now(), opened: make(chan struct{}), demoted: make(chan struct{}), err: errors.New("the journal is being opened")}
}

// run sees to it that the mail server is stopped, and waits.
func (p *fencedPart) run(ctx context.Context) error {
	p.n.door.Shut(fmt.Sprintf("%s is fenced: %v leads", p.st.Name, p.st.Leads()))
	p.n.opt.Log.Error("this node is fenced", "leads", p.st.Leads(), "hint", "stop the mail server here, if the hook demote has not; then run `mailtwin rejoin`")
	p.open()
	close(p.opened)
	p.n.ready()
	demoted := sync.OnceFunc(func() { close(p.demoted) })
	defer demoted()
	for ctx.Err() == nil {
		p.runHook()
		demoted()
		select {
		case <-ctx.Done():
		case <-p.n.opt.Clock.After(demoteAgain):
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.journal == nil {
		return nil
	}
	if err := p.journal.Close(); err != nil {
		return fmt.Errorf("close the journal: %w", err)
	}
	return nil
}

// demoteAgain is how often a fenced node sees to it that no mail server runs: one
// may have been started at boot, or by a person, after the hook ran last.
const demoteAgain = time.Minute

// awaitDemote returns when the hook demote has run once: what a mail server that is
// being stopped still takes would be on neither node after a rejoin. It says that it
// waits.
func (p *fencedPart) awaitDemote(ctx context.Context, tell operator.RejoinTeller) error {
	select {
	case <-p.demoted:
		return nil
	default:
	}
	age := p.n.opt.Clock.Now().Sub(p.began).Round(time.Second / 10)
	if err := tell.Step(fmt.Sprintf("waiting for the hook demote, which stops the mail server here: it began %s ago; its two runs may take %s each",
		age, p.n.cfg.Hooks.Timeout)); err != nil {
		return err
	}
	select {
	case <-p.demoted:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the hook demote is running: %w", context.Cause(ctx))
	}
}

// stopMail returns when the hook demote has run, and did not fail: what a mail server
// takes during a rejoin would be on neither node behind it, and nobody stops it once
// this node is a mirror. A hook that failed is run once more, for it may have been
// mended. With force it may fail: a person has seen to it that the mail server is
// stopped.
func (p *fencedPart) stopMail(ctx context.Context, force bool, tell operator.RejoinTeller) error {
	if err := p.awaitDemote(ctx, tell); err != nil {
		return err
	}
	failed := p.notDemoted()
	switch {
	case failed == nil:
		return nil
	case force:
		return tell.Step(fmt.Sprintf("going on, though the hook demote failed: %v", failed))
	}
	if err := tell.Step("running the hook demote again, which failed"); err != nil {
		return err
	}
	p.runHook()
	if failed = p.notDemoted(); failed == nil {
		return nil
	}
	return refuse("stop the mail server here, mend the hook, and run the command again; if the mail server is stopped and stays so, give it --force",
		"the hook demote, which stops the mail server here, failed: %v", failed)
}

// notDemoted returns why the hook demote failed when it ran last; nil if it did not.
func (p *fencedPart) notDemoted() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.demote
}

// runHook runs demote, when the node begins to be fenced and each minute from
// then on: it is made for being run again. What is begun goes on to its end when the
// role changes: a mail server that is half stopped must not stay behind on a mirror,
// nor be stopped any more when this node is promoted again and starts it.
func (p *fencedPart) runHook() {
	p.hooking.Lock()
	defer p.hooking.Unlock()
	ctx := p.n.lifetime
	e := HookEvent{
		Event: "demote", Peer: p.st.Leader, Epoch: p.st.Epoch,
		Reason: fmt.Sprintf("this node is not primary any more: %v leads", p.st.Leads()),
	}
	var failed error
	for _, e.Phase = range []string{"before", "after"} {
		err := p.n.hook(ctx, e)
		if err == nil || ctx.Err() != nil {
			continue
		}
		p.n.opt.Log.Error("the hook demote failed; is the mail server stopped?", "phase", e.Phase, "error", err)
		failed = errors.Join(failed, err)
	}
	p.mu.Lock()
	p.demote = failed
	p.mu.Unlock()
	p.n.server.Changed()
}

// open opens the journal for those who read it. Nothing is made where there is
// none.
func (p *fencedPart) open() {
	dir := filepath.Join(p.n.cfg.StateDir, journalDir)
	var log *journal.Log
	_, err := os.Stat(dir)
	if err == nil {
		log, err = journal.Open(vfs.OS(), dir, p.n.journalOptions(p.st.Epoch))
	}
	if err == nil {
		_, err = log.Seal()
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("there is no journal")
	}
	p.mu.Lock()
	p.journal, p.err = log, err
	p.mu.Unlock()
}

func (p *fencedPart) log() (*journal.Log, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.journal, p.err
}

// describe adds what is known of the journal.
func (p *fencedPart) describe(d *status.Document) {
	p.mu.Lock()
	log, demote := p.journal, p.demote
	p.mu.Unlock()
	d.Store.State, d.Store.Detail = "fenced", ""
	if demote != nil {
		d.Store.Detail = "the hook demote failed: " + demote.Error()
	}
	if log != nil {
		d.Journal = describeJournal(log)
	}
	d.Loss.Words = "unknown: what was delivered here after the other node was promoted"
}
