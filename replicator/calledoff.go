package replicator

import (
	"context"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/hook"
	"github.com/mailtwin/mailtwin/replicator/identity"
)

// A switchover stops the mail server of the primary before anything is sealed.
// Whoever asked for it may die in that moment, and nobody would start the mail
// server again: what follows sees to that.

// The rhythm of it.
const (
	// sealSilence is how long a primary that was not sealed after all waits for the
	// one that wanted it to come back, before its mail server is started again.
	sealSilence = 30 * time.Second
	sealLook    = 5 * time.Second // how often it looks
)

// metaStopped is the epoch, in decimal, of a primary whose mail server the hook
// fence has stopped, or was about to stop, and that no hook has started since.
const metaStopped = "seal.mail-stopped"

// fences reports whether there is a hook that stops the mail server.
func (n *node) fences() bool { return n.opt.Hook != nil || n.hooks.Set(hook.Fence) }

// noteStopped notes durably whether the mail server is stopped for a switchover.
func (n *node) noteStopped(st identity.State, stopped bool) error {
	var e journal.Epoch // it is not
	if stopped {
		e = st.Epoch
	}
	if err := n.noteEpoch(metaStopped, e); err != nil {
		return err
	}
	n.mu.Lock()
	n.stopped = e
	n.mu.Unlock()
	n.server.Changed()
	return nil
}

// mailStopped says why a primary that is not sealed has no mail server, and what
// becomes of that; "" if it has one, as far as that is known.
func (n *node) mailStopped(st identity.State) string {
	if st.Role != identity.Primary || st.Sealed || n.promoter.Busy() {
		return ""
	}
	n.mu.Lock()
	stopped := n.stopped
	n.mu.Unlock()
	if stopped != st.Epoch {
		return ""
	}
	to := st.Promised.Name
	if to == "" {
		to = "another node"
	}
	words := "the mail server was stopped for a switchover to " + to + ", which is not complete: run `mailtwin failover` there again, " +
		"or the hook promote starts the mail server here after " + sealSilence.String()
	if p, ok := n.current().(*primaryPart); ok {
		if failed := p.notResumed(); failed != "" {
			words += "; it failed: " + failed
		}
	}
	return words
}

// startMail has the operator's hook start the mail server of a primary that goes
// on, because a switchover to peer was called off.
func (n *node) startMail(ctx context.Context, st identity.State, peer string) error {
	for _, phase := range []string{"before", "after"} {
		if err := n.hook(ctx, HookEvent{
			Event: "promote", Phase: phase, Peer: peer, Epoch: st.Epoch, Planned: true,
			Reason: "the switchover was called off",
		}); err != nil {
			return err
		}
	}
	return n.noteStopped(st, false)
}

// resumeMail starts the mail server again that was stopped for a switchover which
// came to nothing, and of which nothing was heard for long.
func (p *primaryPart) resumeMail(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.n.opt.Clock.After(sealLook):
		}
		if !p.sealing.TryLock() {
			continue
		}
		p.resumeMailOnce(ctx)
		p.sealing.Unlock()
	}
}

// resumeMailOnce is done while nothing can be sealed.
func (p *primaryPart) resumeMailOnce(ctx context.Context) {
	st := p.n.state()
	switch {
	case p.isSealed, p.n.mailStopped(st) == "", p.n.vigil.unconfirmed() != "",
		p.n.opt.Clock.Now().Sub(p.sealTried) < sealSilence:
		return
	case p.trouble(ctx) != "":
		return // no mail could be taken
	}
	p.n.opt.Log.Warn("nothing was heard of a switchover for which the mail server was stopped; it is started again", "peer", st.Promised.Name)
	err := p.n.startMail(ctx, st, st.Promised.Name)
	failed := ""
	if err != nil {
		failed = err.Error()
		p.n.problem("the mail server was not started again: " + failed)
		p.n.opt.Log.Error("the mail server was not started again", "error", err)
	}
	p.mu.Lock()
	p.resumeFailed = failed
	p.mu.Unlock()
	p.sealTried = p.n.opt.Clock.Now()
}

// notResumed says why the mail server could not be started again; "" if it was
// not tried, or could be.
func (p *primaryPart) notResumed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.resumeFailed
}
