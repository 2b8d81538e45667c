package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/hint"
)

// Event is what a hook is for.
type Event string

// The events.
const (
	Fence   Event = "fence"   // the old primary must take no more mail
	Promote Event = "promote" // this node becomes the primary
	Demote  Event = "demote"  // this node is no longer the primary
)

// Phase says which side of the change a hook is run on.
type Phase string

// The phases.
const (
	Before Phase = "before" // it can still be called off
	After  Phase = "after"  // it is done
)

// Errors of hooks, told apart with errors.Is. Each comes with a hint.
var (
	// ErrUnusable says that a hook cannot be run: it is not there, not
	// executable, or others could change it.
	ErrUnusable = errors.New("cannot be used")
	// ErrFailed says that a hook ended with another exit status than 0.
	ErrFailed = errors.New("failed")
	// ErrLimit says that a hook ran for longer than it may, and was killed.
	ErrLimit = errors.New("did not end in time and was killed")
)

// Config is what the hooks of a node are made of.
type Config struct {
	// Fence, Promote and Demote are absolute paths; "" is a hook that is not
	// set.
	Fence, Promote, Demote string
	// Timeout is how long one run may take; it is more than 0.
	Timeout time.Duration
	// Node is the name of this node, Store the directory of its mailstore.
	Node, Store string
	Log         hclog.Logger
}

// Call is one change, as the hooks are told of it. See the package's comment.
type Call struct {
	Peer        string // may be empty
	PeerAddress string // host:port, may be empty
	Epoch       journal.Epoch
	Planned     bool
	Reason      string
}

// Hooks runs the hooks of one node. Its methods may be called by many
// goroutines at once; whether two hooks may run at once is for the caller to
// say.
type Hooks struct {
	cfg Config
	// grace is how long a hook has after SIGTERM, and how long its output is
	// read after it has ended.
	grace, linger time.Duration
}

// The defaults of the two.
const (
	killGrace    = 5 * time.Second
	outputLinger = time.Second
)

// New returns the hooks that cfg names. They are looked at when they are run.
func New(cfg Config) *Hooks { return &Hooks{cfg: cfg, grace: killGrace, linger: outputLinger} }

// path returns what is run for an event; "" is nothing.
func (h *Hooks) path(e Event) string {
	switch e {
	case Fence:
		return h.cfg.Fence
	case Promote:
		return h.cfg.Promote
	case Demote:
		return h.cfg.Demote
	}
	return ""
}

// Set reports whether there is a hook for an event.
func (h *Hooks) Set(e Event) bool { return h.path(e) != "" }

// Run runs the hook of an event, and waits until it has ended. Each line of
// its output is passed to line, which may be nil and is called by one
// goroutine at a time, never after Run has returned. Where no hook is set
// there is nothing to do.
//
// The error is ErrUnusable, ErrFailed or ErrLimit with a hint; or what ended
// ctx, which kills the hook as its limit does.
func (h *Hooks) Run(ctx context.Context, e Event, p Phase, c Call, line func(string)) error {
	if !h.Set(e) {
		return nil
	}
	if err := h.Check(e); err != nil {
		return err
	}
	log := h.cfg.Log.With("hook", string(e), "phase", string(p))
	log.Info("running a hook", "path", h.path(e), "epoch", uint64(c.Epoch), "planned", c.Planned, "reason", c.Reason)
	last := ""
	tell := func(text string) {
		last = text
		log.Info("hook: " + text)
		if line != nil {
			line(text)
		}
	}
	err := h.process(ctx, h.path(e), p, h.environment(e, p, c), tell)
	if err != nil {
		err = h.explain(err, e, p, last)
		log.Error("a hook failed", "error", err)
		return err
	}
	log.Info("the hook is done")
	return nil
}

// environment returns all that a hook is told.
func (h *Hooks) environment(e Event, p Phase, c Call) []string {
	planned := "no"
	if c.Planned {
		planned = "yes"
	}
	env := []string{
		"MAILTWIN_EVENT=" + string(e),
		"MAILTWIN_PHASE=" + string(p),
		"MAILTWIN_NODE=" + h.cfg.Node,
		"MAILTWIN_PEER=" + c.Peer,
		"MAILTWIN_PEER_ADDRESS=" + c.PeerAddress,
		"MAILTWIN_EPOCH=" + strconv.FormatUint(uint64(c.Epoch), 10),
		"MAILTWIN_STORE=" + h.cfg.Store,
		"MAILTWIN_PLANNED=" + planned,
		"MAILTWIN_REASON=" + printable(c.Reason),
	}
	for _, name := range []string{"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ"} {
		value, ok := os.LookupEnv(name)
		if name == "PATH" && value == "" {
			value, ok = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", true
		}
		if ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// explain names the hook, what became of it, and what to do.
func (h *Hooks) explain(err error, e Event, p Phase, last string) error {
	what := fmt.Sprintf("the %s hook, `%s %s`,", e, h.path(e), p)
	said := "it said nothing"
	if last != "" {
		said = fmt.Sprintf("the last it said: %s", last)
	}
	switch {
	case errors.Is(err, ErrLimit):
		return hint.Add(fmt.Errorf("%s %w after %v; %s", what, ErrLimit, h.cfg.Timeout, said),
			"find out what it waits for, or give it longer with hooks.timeout; then run the same command again, for hooks may be repeated")
	case errors.Is(err, ErrFailed):
		return hint.Add(fmt.Errorf("%s %w; %s", what, err, said),
			"its lines are in the log; correct what it complains of and run the same command again, for hooks may be repeated")
	case errors.Is(err, ErrUnusable):
		return hint.Add(fmt.Errorf("%s %w", what, err),
			"run it by hand as the user of the daemon; a script needs a first line such as #!/bin/sh")
	}
	return fmt.Errorf("%s was killed: %w", what, err)
}
