package wire

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
)

// Outcome says what became of a content that was to be sent.
type Outcome uint8

// The outcomes of the contract.
const (
	OK         = Outcome(pb.Outcome_OUTCOME_OK)
	Same       = Outcome(pb.Outcome_OUTCOME_SAME)
	Gone       = Outcome(pb.Outcome_OUTCOME_GONE)
	Changed    = Outcome(pb.Outcome_OUTCOME_CHANGED)
	Unreadable = Outcome(pb.Outcome_OUTCOME_UNREADABLE)
	Later      = Outcome(pb.Outcome_OUTCOME_LATER)
)

// ParseOutcome checks and converts an outcome. Later is none but of a content
// that was to be proven.
func ParseOutcome(o pb.Outcome) (Outcome, error) {
	if o < pb.Outcome_OUTCOME_OK || o > pb.Outcome_OUTCOME_UNREADABLE {
		return 0, fmt.Errorf("%w: outcome %d", ErrProtocol, o)
	}
	return Outcome(o), nil
}

// String returns the outcome in a word.
func (o Outcome) String() string {
	switch o {
	case OK:
		return "ok"
	case Same:
		return "same"
	case Gone:
		return "gone"
	case Changed:
		return "changed"
	case Unreadable:
		return "unreadable"
	case Later:
		return "later"
	}
	return fmt.Sprintf("outcome %d", o)
}

// Entry is a journal entry on its way, with what became of its content.
type Entry struct {
	journal.Entry
	Transfer uint64 // its content went before under this number; 0: the mirror has it, or there is none
	Outcome  Outcome
}

// Entries are consecutive entries of the journal.
type Entries struct {
	First   journal.Sequence
	Entries []Entry
	Last    journal.Position // of the last one
}

// keepsFacts says of which kinds the facts do not travel: the mirror has them
// under the other name.
func keepsFacts(k journal.Kind) bool {
	return k == journal.KindMove || k == journal.KindMoveDir || k == journal.KindLink
}

func hasFacts(k journal.Kind) bool {
	return !keepsFacts(k) && k != journal.KindRemove && k != journal.KindRemoveDir
}

// MarshalEntries serializes e, not yet compressed.
func MarshalEntries(e Entries) ([]byte, error) {
	out := &pb.Entries{
		First:   uint64(e.First),
		Entries: make([]*pb.Entry, 0, len(e.Entries)),
		Digest:  e.Last.Digest[:],
		Epoch:   uint64(e.Last.Epoch),
	}
	for i := range e.Entries {
		out.Entries = append(out.Entries, marshalEntry(&e.Entries[i]))
	}
	b, err := proto.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("serialize entries: %w", err)
	}
	return b, nil
}

func marshalEntry(e *Entry) *pb.Entry {
	out := &pb.Entry{Kind: uint32(e.Kind), Path: []byte(e.Path), Transfer: e.Transfer}
	if keepsFacts(e.Kind) {
		shared := sharedPrefix(e.Path, e.From)
		out.FromShared, out.FromRest = uint32(shared), []byte(e.From[shared:])
	}
	if hasFacts(e.Kind) {
		out.Facts = Facts(e.Facts)
	}
	if e.Held != nil {
		out.Held = &pb.Held{Keep: uint64(e.Held.Keep), Data: e.Held.Data}
		if e.Held.Keep > 0 {
			out.Held.Base = e.Held.Base[:]
		}
	}
	if e.Outcome != OK && e.Outcome != 0 {
		out.Outcome = pb.Outcome(e.Outcome)
	}
	return out
}

func sharedPrefix(a, b journal.Path) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// UnmarshalEntries checks and converts entries.
func UnmarshalEntries(b []byte) (Entries, error) {
	var in pb.Entries
	if err := proto.Unmarshal(b, &in); err != nil {
		return Entries{}, fmt.Errorf("%w: entries: %w", ErrProtocol, err)
	}
	n := len(in.GetEntries())
	if n == 0 || n > MaxBatchEntries || in.GetFirst() == 0 || in.GetFirst() > math.MaxUint64-uint64(n) {
		return Entries{}, fmt.Errorf("%w: a batch of %d entries from %d", ErrProtocol, n, in.GetFirst())
	}
	last, err := ParsePosition(&pb.Position{
		Epoch: in.GetEpoch(), Sequence: in.GetFirst() + uint64(n) - 1, Digest: in.GetDigest(),
	})
	if err != nil {
		return Entries{}, err
	}
	out := Entries{First: journal.Sequence(in.GetFirst()), Entries: make([]Entry, n), Last: last}
	for i, e := range in.GetEntries() {
		if out.Entries[i], err = parseEntry(e); err != nil {
			return Entries{}, fmt.Errorf("entry %d: %w", in.GetFirst()+uint64(i), err)
		}
	}
	return out, nil
}

func parseEntry(in *pb.Entry) (Entry, error) {
	out := Entry{Transfer: in.GetTransfer(), Outcome: OK}
	out.Kind = journal.Kind(in.GetKind())
	if out.Kind < journal.KindPut || in.GetKind() > uint32(journal.KindSetAttributes) {
		return out, fmt.Errorf("%w: kind %d", ErrProtocol, in.GetKind())
	}
	var err error
	if out.Path, err = ParsePath(in.GetPath()); err != nil {
		return out, err
	}
	if out.Path == journal.Root && out.Kind != journal.KindSetAttributes {
		return out, fmt.Errorf("%w: kind %d of the root", ErrProtocol, in.GetKind())
	}
	if keepsFacts(out.Kind) {
		if out.From, err = parseFrom(in, out.Path); err != nil {
			return out, err
		}
	}
	if hasFacts(out.Kind) {
		if out.Facts, err = ParseFacts(in.GetFacts()); err != nil {
			return out, err
		}
	}
	if in.GetOutcome() != pb.Outcome_OUTCOME_UNSPECIFIED {
		if out.Outcome, err = ParseOutcome(in.GetOutcome()); err != nil {
			return out, err
		}
	}
	out.Held, err = parseHeld(in.GetHeld(), &out)
	return out, err
}

// parseFrom puts the other name of a move or a link together.
func parseFrom(in *pb.Entry, p journal.Path) (journal.Path, error) {
	if uint64(in.GetFromShared()) > uint64(len(p)) {
		return "", fmt.Errorf("%w: a name shorter than what it shares", ErrProtocol)
	}
	from, err := ParsePath(append([]byte(p[:in.GetFromShared()]), in.GetFromRest()...))
	switch {
	case err != nil:
		return "", err
	case from == p, from == journal.Root,
		journal.Kind(in.GetKind()) == journal.KindMoveDir && (p.Within(from) || from.Within(p)):
		return "", fmt.Errorf("%w: kind %d from %q to %q", ErrProtocol, in.GetKind(), string(from), string(p))
	}
	return from, nil
}

// parseHeld checks and converts the content that an entry carries.
func parseHeld(in *pb.Held, e *Entry) (*journal.Held, error) {
	if in == nil {
		return nil, nil
	}
	if e.Kind != journal.KindPut {
		return nil, fmt.Errorf("%w: kind %d with a content", ErrProtocol, e.Kind)
	}
	out := &journal.Held{Keep: int64(in.GetKeep()), Data: in.GetData()}
	if out.Keep < 0 || len(out.Data) > journal.MaxHeld || out.Keep != e.Facts.Size-int64(len(out.Data)) {
		return nil, fmt.Errorf("%w: captured content of %d + %d bytes in a file of %d",
			ErrProtocol, in.GetKeep(), len(out.Data), e.Facts.Size)
	}
	if out.Keep > 0 {
		base, err := ParseContentID(in.GetBase())
		if err != nil {
			return nil, err
		}
		out.Base = base
	}
	return out, nil
}
