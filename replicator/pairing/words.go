package pairing

import (
	"errors"
	"fmt"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mailboxes"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// ErrInvalid says that a message is not one that a node of the pair would send.
var ErrInvalid = errors.New("message of the other node makes no sense")

// Report is how a node is.
type Report struct {
	Name     string
	Role     identity.Role
	Leads    identity.Claim // the highest epoch that it knows to have begun
	Promised identity.Claim // zero: nothing
	Sealed   bool
	Position journal.Position // of a primary the head of its journal, else what is durable
	Start    journal.Position // of a primary the place before the oldest entry that is kept
	State    string           // as in its status
	Detail   string
	// Suspended says of a primary why its store cannot be observed; "" if it can.
	Suspended string
	// Doubts are, of a primary whose store cannot be observed, about what may be in
	// the store and not in the journal; nil: they are not known.
	Doubts *mailboxes.Doubts
	// Lag and LagBytes are how far the mirror that asks is behind a primary: the
	// age of the oldest change that it lacks, and the bytes that wait for it.
	Lag      time.Duration
	LagBytes uint64
	// Modseq is the highest number to which HIGHESTMODSEQ was raised by a promotion of
	// any node, as far as it knows; 0: it knows of none.
	Modseq uint64
	Now    time.Time // by its clock
	Peers  []identity.Peer
}

// Caller is what a node says of itself when it inspects another.
type Caller struct {
	Name    string
	Address string // where it can be dialled; "" if that is not known
	Peers   []identity.Peer
}

// Answer is what becomes of a claim.
type Answer struct {
	Granted bool
	Why     string         // it was not granted
	Known   identity.Claim // what stands against it
}

// SealOrder asks a primary to seal its journal.
type SealOrder struct {
	Claim identity.Claim
	Blind bool // the store cannot be observed: what is in the journal has to do
}

// Sealed is what a primary has that has sealed its journal. It does not change
// any more.
type Sealed struct {
	Position        journal.Position
	Digest          catalog.Digest // of its whole store at Position
	Unread, Missing uint64         // files about whose content the digest proves nothing
	// Doubts are about what may be in the store and not in the journal; nil: none.
	Doubts *mailboxes.Doubts
}

// Crown says who is primary now.
type Crown struct {
	Claim   identity.Claim
	Address string           // where it can be dialled; "" if that is not known
	Start   journal.Position // after which its journal begins
}

// Crowned is what a node is after it was told.
type Crowned struct {
	Role  identity.Role
	Leads identity.Claim
}

func claimOf(c identity.Claim) *pb.PairClaim {
	if c == (identity.Claim{}) {
		return nil
	}
	return &pb.PairClaim{Epoch: uint64(c.Epoch), Name: c.Name}
}

func parseClaim(c *pb.PairClaim) (identity.Claim, error) {
	out := identity.Claim{Epoch: journal.Epoch(c.GetEpoch()), Name: c.GetName()}
	if out.Name != "" && config.CheckName(out.Name) != nil {
		return out, fmt.Errorf("%w: a claim of %q", ErrInvalid, out.Name)
	}
	return out, nil
}

// parseOwn is parseClaim of a claim that must be the caller's own.
func parseOwn(c *pb.PairClaim, caller string) (identity.Claim, error) {
	out, err := parseClaim(c)
	if err == nil && (out.Name != caller || out.Epoch == 0) {
		err = fmt.Errorf("%w: %s makes the claim of %v", ErrInvalid, caller, out)
	}
	return out, err
}

func parseRole(s string) (identity.Role, error) {
	switch r := identity.Role(s); r {
	case identity.Primary, identity.Mirror, identity.Fenced:
		return r, nil
	}
	return "", fmt.Errorf("%w: the role %q", ErrInvalid, wire.Words(s))
}

// positionOf is wire.Position, but nothing for no place at all.
func positionOf(p journal.Position) *pb.Position {
	if p == (journal.Position{}) {
		return nil
	}
	return wire.Position(p)
}

func parsePosition(p *pb.Position) (journal.Position, error) {
	if p == nil {
		return journal.Position{}, nil
	}
	return wire.ParsePosition(p)
}

func peersOf(peers []identity.Peer) []*pb.PairPeer {
	var out []*pb.PairPeer
	for _, p := range peers {
		out = append(out, &pb.PairPeer{Name: p.Name, Address: p.Address})
	}
	return out
}

// parsePeers passes over what cannot be meant: hearsay is no reason to refuse
// the rest.
func parsePeers(peers []*pb.PairPeer) []identity.Peer {
	var out []identity.Peer
	for _, p := range peers[:min(len(peers), identity.MaxPeers)] {
		if config.CheckName(p.GetName()) == nil && config.CheckAddress("address", p.GetAddress(), false) == nil {
			out = append(out, identity.Peer{Name: p.GetName(), Address: p.GetAddress()})
		}
	}
	return out
}

func reportOf(r Report) *pb.InspectResponse {
	return &pb.InspectResponse{
		Name: r.Name, Role: string(r.Role), Leads: claimOf(r.Leads), Promised: claimOf(r.Promised), Sealed: r.Sealed,
		Position: positionOf(r.Position), Start: positionOf(r.Start), State: r.State, Detail: wire.Words(r.Detail), Suspended: wire.Words(r.Suspended),
		Now: r.Now.UnixNano(), Peers: peersOf(r.Peers),
		LagBytes: r.LagBytes, LagNanoseconds: uint64(r.Lag), Doubts: doubtsOf(r.Doubts), Modseq: r.Modseq,
	}
}

func parseReport(r *pb.InspectResponse) (Report, error) {
	out := Report{
		Name: r.GetName(), Sealed: r.GetSealed(), State: wire.Words(r.GetState()), Detail: wire.Words(r.GetDetail()), Suspended: wire.Words(r.GetSuspended()),
		Now: time.Unix(0, r.GetNow()), Peers: parsePeers(r.GetPeers()),
		Lag: max(time.Duration(r.GetLagNanoseconds()), 0), LagBytes: r.GetLagBytes(), Doubts: parseDoubts(r.GetDoubts()), Modseq: r.GetModseq(),
	}
	err := config.CheckName(out.Name)
	if err == nil {
		out.Role, err = parseRole(r.GetRole())
	}
	for _, c := range []struct {
		to   *identity.Claim
		from *pb.PairClaim
	}{{&out.Leads, r.GetLeads()}, {&out.Promised, r.GetPromised()}} {
		if err == nil {
			*c.to, err = parseClaim(c.from)
		}
	}
	if err == nil && out.Role == identity.Primary && out.Leads.Name != out.Name {
		err = fmt.Errorf("%w: %s is primary, and it says that %v leads", ErrInvalid, out.Name, out.Leads)
	}
	if err == nil {
		out.Position, err = parsePosition(r.GetPosition())
	}
	if err == nil {
		out.Start, err = parsePosition(r.GetStart())
	}
	return out, err
}

func sealedOf(s Sealed) *pb.SealedJournal {
	return &pb.SealedJournal{Position: wire.Position(s.Position), Digest: s.Digest[:], Unread: s.Unread, Missing: s.Missing, Doubts: doubtsOf(s.Doubts)}
}

func parseSealed(s *pb.SealedJournal) (Sealed, error) {
	pos, err := wire.ParsePosition(s.GetPosition())
	out := Sealed{Position: pos, Unread: s.GetUnread(), Missing: s.GetMissing(), Doubts: parseDoubts(s.GetDoubts())}
	if err == nil && copy(out.Digest[:], s.GetDigest()) != len(out.Digest) {
		err = fmt.Errorf("%w: a digest of %d bytes", ErrInvalid, len(s.GetDigest()))
	}
	return out, err
}

// maxDoubtBytes bounds the names of mailboxes in one message.
const maxDoubtBytes = 256 << 10

func doubtsOf(d *mailboxes.Doubts) *pb.PairDoubts {
	if d == nil {
		return nil
	}
	out := &pb.PairDoubts{More: d.More, All: d.All}
	if !d.After.IsZero() {
		out.After = d.After.UnixNano()
	}
	bytes := 0
	for _, m := range d.Mailboxes {
		if bytes += len(m.Mailbox); bytes > maxDoubtBytes {
			out.More++
			continue
		}
		out.Mailboxes = append(out.Mailboxes, &pb.PairDoubt{Mailbox: []byte(m.Mailbox), Changes: m.Number})
	}
	return out
}

// parseDoubts counts a mailbox whose name cannot be meant among those without one:
// what is in doubt never becomes less on the way.
func parseDoubts(d *pb.PairDoubts) *mailboxes.Doubts {
	if d == nil {
		return nil
	}
	out := &mailboxes.Doubts{More: d.GetMore(), All: d.GetAll()}
	if d.GetAfter() != 0 {
		out.After = time.Unix(0, d.GetAfter())
	}
	for i, m := range d.GetMailboxes() {
		p, err := journal.ParsePath(string(m.GetMailbox()))
		if err != nil || i >= mailboxes.MaxDoubts {
			out.More++
			continue
		}
		out.Mailboxes = append(out.Mailboxes, mailboxes.Count{Mailbox: p, Number: m.GetChanges()})
	}
	return out
}
