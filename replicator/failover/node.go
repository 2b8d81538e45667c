package failover

import (
	"context"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mailboxes"
)

// State is what a node knows of itself durably.
type State struct {
	Role     identity.Role
	Epoch    journal.Epoch // the highest that it has taken part in
	Leader   string        // the primary of that epoch; "" is not known
	Promised journal.Epoch // the highest that it has promised to somebody
	To       string        // to whom
	Sealed   bool          // a primary that sealed its journal for To
}

// Inspection is what a node says when it is asked how it is.
type Inspection struct {
	State
	Position journal.Position // the journal's head, or what a mirror has durably
	// Suspended says why a primary's store cannot be observed; "" if it can.
	Suspended string
	// Doubts are about what may be in a store that cannot be observed and not in
	// the journal; nil: they are not known.
	Doubts *mailboxes.Doubts
	// Now is the time of day on the node's clock.
	Now time.Time
}

// Sealed is the end of a primary's journal.
type Sealed struct {
	Position journal.Position
	// Digest is that of the primary's catalog at Position. Unread counts the
	// files of which it proves nothing, Missing those that the primary has no
	// content of itself.
	Digest          [32]byte
	Unread, Missing uint64
	// Doubts are about what may be in the store and not in the journal; nil: none.
	Doubts *mailboxes.Doubts
}

// Order is an order to a peer by the node that is promoted.
type Order struct {
	Epoch journal.Epoch // that was claimed
	By    string
	// Blind asks a primary that cannot observe its store to seal what its
	// journal holds.
	Blind bool
}

// Peer is another node of the pair.
type Peer struct {
	Name    string
	Address string
	Link    Link
}

// Link reaches a peer. Every call ends with its context, and an error that is
// no RefusedError says that the peer was not reached, or that nothing is
// known of what it did.
type Link interface {
	// Inspect asks how the peer is.
	Inspect(ctx context.Context) (Inspection, error)
	// Claim asks for the promise of an epoch, which is durable there when nil
	// is returned.
	Claim(ctx context.Context, o Order) error
	// Seal makes the primary stop its mail server and seal its journal, and
	// returns where it ends; note gets what the primary says meanwhile. What
	// is sealed for the same node already is sealed for this order then.
	Seal(ctx context.Context, o Order, note func(string)) (Sealed, error)
	// Unseal makes a primary that is sealed for exactly this order go on. The
	// peer refuses it if it is sealed for another.
	Unseal(ctx context.Context, o Order) error
	// Crown tells that the node o.By is the primary of o.Epoch now.
	Crown(ctx context.Context, o Order) error
}

// RefusedError is a peer's answer that it will not.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return e.Why }

// Own is the node's own durable state. Its methods may be called at any time;
// what they change is durable when they return nil.
type Own interface {
	State() State
	// Claim promises an epoch to the node itself. It is a RefusedError if
	// something at least as high was promised to, or taken by, somebody else.
	Claim(e journal.Epoch) error
	// Raise makes the node the primary of an epoch that is promised to it
	// still, and no longer sealed. After an error other than a RefusedError
	// the old state or the new one holds.
	Raise(e journal.Epoch) error
	// Unfinished returns the epoch of the promotion that was begun last and
	// not finished, and what SetUnfinished was told of it; 0 if there is none.
	Unfinished() (e journal.Epoch, proven bool, err error)
	// SetUnfinished sets it; 0 says that it is finished. proven says of the
	// promotion that is begun that this node has all that the former primary
	// had, which is remembered for as long as it leads the epoch.
	SetUnfinished(e journal.Epoch, proven bool) error
}

// Follower is the part of a mirror that follows the primary.
type Follower interface {
	// Following tells how far it is.
	Following() Following
	// Drain returns when everything up to a place is durable here and the
	// contents of no more than so many files lack. stalled is how long it waits
	// for progress; then it returns ErrStalled, or nil if only contents lack,
	// which Catalog tells.
	Drain(ctx context.Context, to journal.Position, lacking uint64, stalled time.Duration) error
	// Catalog returns the digest of all that is here, and at which place.
	Catalog() (Contents, error)
	// Stop ends the following for good, or until Resume, and returns the
	// place that the store is at then.
	Stop(ctx context.Context) (journal.Position, error)
	// Resume follows again after Stop. It does nothing without one.
	Resume()
}

// Contents is what a mirror holds.
type Contents struct {
	Position journal.Position
	Digest   [32]byte
	Missing  uint64 // files whose content never came
	Assumed  uint64 // messages that are taken to be equal by name and size, not proven
}

// Following is what a mirror knows of itself and of its primary.
type Following struct {
	Primary   string // the name of the primary; "" if it was never reached
	Connected bool   // to it, now
	// LastHeard is when the primary's last word was said, or some moments before:
	// it may have come much later. Zero: none was since the daemon started.
	LastHeard time.Time
	// Position is the last place whose digest is known; Applied may be beyond.
	Position journal.Position
	Applied  journal.Sequence
	// Head, LagBytes and Lag are the primary's last word: its last entry, and
	// the bytes and the age of what was not durable here. They mean nothing if
	// LastHeard is zero.
	Head     journal.Sequence
	LagBytes uint64
	Lag      time.Duration
	// Observed says that the primary saw all changes of its store as they
	// were made, when it was last heard.
	Observed bool
	// Whole says that the initial sync, and every comparison since, was
	// finished. FilesLeft and BytesLeft are what it is known to lack.
	Whole                bool
	FilesLeft, BytesLeft uint64
	// Missing counts the files whose content never came; MissingFiles are the
	// first of them.
	Missing      uint64
	MissingFiles []journal.Path
	// Assumed counts the messages that were here before, and are taken to be
	// equal by name and size: nobody has proven it.
	Assumed uint64
	// MissingIn and AssumedIn are the mailboxes that they are in, as far as they are
	// known, most first; MoreIn counts those that are not among them, at least.
	MissingIn, AssumedIn []mailboxes.Count
	MoreIn               uint64
	// Unreadable counts what the primary could not read when it was last heard,
	// Pending the names that it had noticed and had still to look at.
	Unreadable uint64
	Pending    uint64
}

// Journals makes the journal of the node that becomes primary.
type Journals interface {
	// Create makes the journal of an epoch that goes on after a place, where
	// following was stopped, and replaces what an earlier attempt left. It is
	// durable when nil is returned.
	Create(e journal.Epoch, after journal.Position) error
}

// Hooks runs the operator's programs.
type Hooks interface {
	// Run runs a hook, and does nothing if none is set; note gets each line
	// that it writes.
	Run(ctx context.Context, c Call, note func(string)) error
	// Set reports whether there is a program for an event.
	Set(e HookEvent) bool
	// Check reports what is wrong with the program for an event; nil if it
	// could be run, or none is set.
	Check(e HookEvent) error
}

// HookEvent is what a hook is for.
type HookEvent string

// The events.
const (
	HookFence   HookEvent = "fence"
	HookPromote HookEvent = "promote"
)

// Call is one run of a hook.
type Call struct {
	Event   HookEvent
	Phase   string // before or after
	Epoch   journal.Epoch
	Peer    string // the former primary; "" is not known
	Address string // its address
	Planned bool
	Reason  string
}

// The phases of hooks.
const (
	PhaseBefore = "before"
	PhaseAfter  = "after"
)

// Stage is where the node plays its role.
type Stage interface {
	// Open makes the node play the primary's part, which it was raised to,
	// and returns when it does: its journal takes changes, its store is
	// observed. It returns at once if that is so already.
	Open(ctx context.Context) error
}

// Machine is what the node runs on.
type Machine interface {
	// Space tells how much room is left where the node writes.
	Space() ([]Space, error)
	// Apart says why messages would get new UIDs here; "" if nothing is known to.
	Apart() string
}

// Space is the room in a file system.
type Space struct {
	What        string // what lies there, in words
	Free, Total uint64 // bytes
	FreeInodes  uint64
	Inodes      uint64 // 0: the file system has no limit
}

// Clock tells the time of day.
type Clock interface {
	Now() time.Time
}
