package wire

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// Limits of a salvage.
const (
	MaxOffers     = 256 // in one batch, and items of a delivery
	MaxKeyword    = 255 // bytes in the name of a keyword
	MaxContents   = 256 // parts of contents in one message
	MaxOtherBases = 8   // messages of the same content in one answer
)

// Origin says what the fenced node knows of a message.
type Origin int32

// The origins of the contract.
const (
	OriginNew     = Origin(pb.SalvageOrigin_SALVAGE_ORIGIN_NEW)
	OriginKnown   = Origin(pb.SalvageOrigin_SALVAGE_ORIGIN_KNOWN)
	OriginUnknown = Origin(pb.SalvageOrigin_SALVAGE_ORIGIN_UNKNOWN)
	OriginRemoved = Origin(pb.SalvageOrigin_SALVAGE_ORIGIN_REMOVED)
)

// Verdict says what the primary has of a message.
type Verdict int32

// The verdicts of the contract.
const (
	VerdictWanted      = Verdict(pb.SalvageVerdict_SALVAGE_VERDICT_WANTED)
	VerdictHave        = Verdict(pb.SalvageVerdict_SALVAGE_VERDICT_HAVE)
	VerdictExpunged    = Verdict(pb.SalvageVerdict_SALVAGE_VERDICT_EXPUNGED)
	VerdictDoubt       = Verdict(pb.SalvageVerdict_SALVAGE_VERDICT_DOUBT)
	VerdictDelivered   = Verdict(pb.SalvageVerdict_SALVAGE_VERDICT_DELIVERED)
	VerdictTaken       = Verdict(pb.SalvageVerdict_SALVAGE_VERDICT_TAKEN)
	VerdictElsewhere   = Verdict(pb.SalvageVerdict_SALVAGE_VERDICT_ELSEWHERE)
	VerdictSameContent = Verdict(pb.SalvageVerdict_SALVAGE_VERDICT_SAME_CONTENT)
)

// Action says what is to be done with a message.
type Action int32

// The actions of the contract.
const (
	ActionDeliver         = Action(pb.SalvageAction_SALVAGE_ACTION_DELIVER)
	ActionDeliverFromHere = Action(pb.SalvageAction_SALVAGE_ACTION_DELIVER_FROM_HERE)
	ActionFlags           = Action(pb.SalvageAction_SALVAGE_ACTION_FLAGS)
)

// DeliveryOutcome says what became of a message.
type DeliveryOutcome int32

// The outcomes of the contract.
const (
	DeliveryDone      = DeliveryOutcome(pb.SalvageOutcome_SALVAGE_OUTCOME_DONE)
	DeliveryHave      = DeliveryOutcome(pb.SalvageOutcome_SALVAGE_OUTCOME_HAVE)
	DeliveryConflict  = DeliveryOutcome(pb.SalvageOutcome_SALVAGE_OUTCOME_CONFLICT)
	DeliveryNoMailbox = DeliveryOutcome(pb.SalvageOutcome_SALVAGE_OUTCOME_NO_MAILBOX)
	DeliverySend      = DeliveryOutcome(pb.SalvageOutcome_SALVAGE_OUTCOME_SEND)
)

// SalvageHello opens a salvage.
type SalvageHello struct {
	OldestVersion, NewestVersion uint32
	Name                         string
	LookOnly                     bool
}

// SalvageHelloMessage converts h for the wire.
func SalvageHelloMessage(h SalvageHello) *pb.SalvageHello {
	return &pb.SalvageHello{OldestVersion: OldestVersion, NewestVersion: NewestVersion, Name: h.Name, LookOnly: h.LookOnly}
}

// ParseSalvageHello checks and converts a hello.
func ParseSalvageHello(h *pb.SalvageHello) (SalvageHello, error) {
	if h == nil {
		return SalvageHello{}, fmt.Errorf("%w: the first message is no hello", ErrProtocol)
	}
	return SalvageHello{h.GetOldestVersion(), h.GetNewestVersion(), Words(h.GetName()), h.GetLookOnly()}, nil
}

// SalvageWelcome answers a hello.
type SalvageWelcome struct {
	Version  uint32
	Name     string
	Start    journal.Position // from where in the former journal the primary began
	Whole    bool             // it had all up to there, proven
	Complete bool             // it knows all that was removed since
	Reigns   []Reign          // the promotions that its store has behind it, oldest first
}

// SalvageWelcomeMessage converts w for the wire.
func SalvageWelcomeMessage(w SalvageWelcome) *pb.SalvageWelcome {
	return &pb.SalvageWelcome{Version: w.Version, Name: w.Name, Start: Position(w.Start), Whole: w.Whole, Complete: w.Complete, Reigns: reignMessages(w.Reigns)}
}

// ParseSalvageWelcome checks and converts a welcome.
func ParseSalvageWelcome(w *pb.SalvageWelcome) (SalvageWelcome, error) {
	if w == nil {
		return SalvageWelcome{}, fmt.Errorf("%w: the first answer is no welcome", ErrProtocol)
	}
	if v := w.GetVersion(); v < OldestVersion || v > NewestVersion {
		return SalvageWelcome{}, fmt.Errorf("%w: the primary chose %d, this node speaks %d to %d", ErrVersion, v, OldestVersion, NewestVersion)
	}
	start, err := ParsePosition(w.GetStart())
	if err != nil {
		return SalvageWelcome{}, err
	}
	reigns, err := parseReigns(w.GetReigns())
	return SalvageWelcome{w.GetVersion(), Words(w.GetName()), start, w.GetWhole(), w.GetComplete(), reigns}, err
}

// Offer is a message that the fenced node has, or had.
type Offer struct {
	Mailbox journal.Path
	Base    string
	Origin  Origin
	WasIn   journal.Path // OriginKnown and OriginRemoved; OriginUnknown, if it was renamed
	Flags   mailstore.Flags
	Was     mailstore.Flags // OriginKnown
	Content journal.ContentID
	Size    int64
	MTime   int64
}

// Before reports whether o is offered before p: by base, then by mailbox.
func (o *Offer) Before(p *Offer) bool {
	if c := strings.Compare(o.Base, p.Base); c != 0 {
		return c < 0
	}
	return o.Mailbox < p.Mailbox
}

// OffersMessage converts offers for the wire.
func OffersMessage(offers []Offer) *pb.SalvageOffers {
	out := &pb.SalvageOffers{}
	for i := range offers {
		o := &offers[i]
		m := &pb.SalvageOffer{
			Mailbox: []byte(o.Mailbox), Base: []byte(o.Base), Origin: pb.SalvageOrigin(o.Origin), WasIn: []byte(o.WasIn),
			Flags: flagsMessage(o.Flags), Size: uint64(o.Size), Mtime: o.MTime,
		}
		if o.Content.Known() {
			m.Content = o.Content[:]
		}
		if o.Origin == OriginKnown {
			m.Was = flagsMessage(o.Was)
		}
		out.Offers = append(out.Offers, m)
	}
	return out
}

// ParseOffers checks and converts offers.
func ParseOffers(in *pb.SalvageOffers) ([]Offer, error) {
	if n := len(in.GetOffers()); n == 0 || n > MaxOffers {
		return nil, fmt.Errorf("%w: %d offers at a time", ErrProtocol, n)
	}
	out := make([]Offer, 0, len(in.GetOffers()))
	for _, m := range in.GetOffers() {
		o, err := parseOffer(m)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

func parseOffer(m *pb.SalvageOffer) (o Offer, err error) {
	if o.Mailbox, err = ParsePath(m.GetMailbox()); err != nil {
		return o, err
	}
	if o.Base, err = parseBase(m.GetBase()); err != nil {
		return o, err
	}
	if o.Content, err = ParseContentID(m.GetContent()); err != nil {
		return o, err
	}
	o.Origin, o.Size, o.MTime = Origin(m.GetOrigin()), int64(m.GetSize()), m.GetMtime()
	if o.Flags, err = parseFlags(m.GetFlags()); err != nil {
		return o, err
	}
	switch o.Origin {
	case OriginKnown:
		if o.Was, err = parseFlags(m.GetWas()); err != nil {
			return o, err
		}
		o.WasIn, err = ParsePath(m.GetWasIn())
	case OriginRemoved:
		o.WasIn, err = ParsePath(m.GetWasIn())
	case OriginUnknown:
		if len(m.GetWasIn()) > 0 {
			o.WasIn, err = ParsePath(m.GetWasIn())
		}
	case OriginNew:
	default:
		return o, fmt.Errorf("%w: a message of origin %d", ErrProtocol, o.Origin)
	}
	if err != nil {
		return o, err
	}
	if o.Size < 0 || o.Content.Known() == (o.Origin == OriginRemoved) {
		return o, fmt.Errorf("%w: an offer of %d bytes, content known: %v", ErrProtocol, o.Size, o.Content.Known())
	}
	return o, nil
}

// parseBase checks that a base can begin a file's name.
func parseBase(b []byte) (string, error) {
	if strings.ContainsAny(string(b), "/:") {
		return "", fmt.Errorf("%w: %q is no message's name", ErrProtocol, b)
	}
	p, err := ParsePath(b)
	if err != nil || p == journal.Root || b[0] == '.' {
		return "", fmt.Errorf("%w: %q is no message's name", ErrProtocol, b)
	}
	return string(b), nil
}

func parseBases(in [][]byte) (out []string, err error) {
	if len(in) == 0 || len(in) > MaxOtherBases {
		return nil, fmt.Errorf("%w: %d messages of the same content", ErrProtocol, len(in))
	}
	for _, b := range in {
		base, err := parseBase(b)
		if err != nil {
			return nil, err
		}
		out = append(out, base)
	}
	return out, nil
}

// flagsMessage converts f for the wire. What a user called a keyword may be in
// any bytes; what is not UTF-8 cannot be told.
func flagsMessage(f mailstore.Flags) *pb.SalvageFlags {
	out := &pb.SalvageFlags{Letters: f.Letters, Unseen: f.Unseen}
	for _, k := range f.Keywords {
		if len(k) <= MaxKeyword && strings.ToValidUTF8(k, "") == k {
			out.Keywords = append(out.Keywords, k)
		}
	}
	return out
}

func parseFlags(m *pb.SalvageFlags) (mailstore.Flags, error) {
	f := mailstore.Flags{Letters: m.GetLetters(), Keywords: m.GetKeywords(), Unseen: m.GetUnseen()}
	bad := len(f.Letters) > 26 || len(f.Keywords) > mailstore.MaxKeywords
	for i := range len(f.Letters) {
		bad = bad || f.Letters[i] < 'A' || f.Letters[i] > 'Z' || i > 0 && f.Letters[i] <= f.Letters[i-1]
	}
	for i, k := range f.Keywords {
		bad = bad || k == "" || len(k) > MaxKeyword || i > 0 && k <= f.Keywords[i-1]
	}
	if bad {
		return mailstore.Flags{}, fmt.Errorf("%w: flags that there cannot be", ErrProtocol)
	}
	return f, nil
}

// Answer is what the primary has of a message.
type Answer struct {
	Verdict      Verdict
	Flags        mailstore.Flags // VerdictHave
	Touched      bool            // VerdictHave: changed since the primary's start, or that is not known
	ContentHere  bool
	OtherMailbox journal.Path // VerdictElsewhere; VerdictHave, if it is not in the offered one
	OtherBases   []string     // VerdictSameContent
	OtherContent bool         // VerdictHave: what it has there is not what was offered
	Unreadable   bool         // VerdictHave, VerdictTaken: what it has there cannot be read
}

// AnswersMessage converts answers for the wire. An older node does not know that what is
// there may be unreadable: it is told of another content, and keeps its own.
func AnswersMessage(answers []Answer) *pb.SalvageAnswers {
	out := &pb.SalvageAnswers{}
	for i := range answers {
		a := &answers[i]
		m := &pb.SalvageAnswer{
			Verdict: pb.SalvageVerdict(a.Verdict), Touched: a.Touched, ContentHere: a.ContentHere,
			OtherMailbox: []byte(a.OtherMailbox), OtherContent: a.OtherContent || a.Verdict == VerdictHave && a.Unreadable, Unreadable: a.Unreadable,
		}
		for _, b := range a.OtherBases {
			m.OtherBases = append(m.OtherBases, []byte(b))
		}
		if a.Verdict == VerdictHave {
			m.Flags = flagsMessage(a.Flags)
		}
		out.Answers = append(out.Answers, m)
	}
	return out
}

// ParseAnswers checks and converts the answers to so many offers.
func ParseAnswers(in *pb.SalvageAnswers, offers int) ([]Answer, error) {
	if in == nil || len(in.GetAnswers()) != offers {
		return nil, fmt.Errorf("%w: %d answers to %d offers", ErrProtocol, len(in.GetAnswers()), offers)
	}
	out := make([]Answer, 0, offers)
	for _, m := range in.GetAnswers() {
		a := Answer{Verdict: Verdict(m.GetVerdict()), Touched: m.GetTouched(), ContentHere: m.GetContentHere()}
		var err error
		switch a.Verdict {
		case VerdictHave:
			a.Unreadable = m.GetUnreadable()
			a.OtherContent = m.GetOtherContent() && !a.Unreadable
			a.Flags, err = parseFlags(m.GetFlags())
			if err == nil && len(m.GetOtherMailbox()) > 0 {
				a.OtherMailbox, err = ParsePath(m.GetOtherMailbox())
			}
		case VerdictElsewhere:
			a.OtherMailbox, err = ParsePath(m.GetOtherMailbox())
		case VerdictSameContent:
			a.OtherBases, err = parseBases(m.GetOtherBases())
		case VerdictTaken:
			a.Unreadable = m.GetUnreadable()
		case VerdictWanted, VerdictExpunged, VerdictDoubt, VerdictDelivered:
		default:
			err = fmt.Errorf("%w: verdict %d", ErrProtocol, a.Verdict)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// DeliveryItem is one message of a delivery.
type DeliveryItem struct {
	Offer  int // its place in the last offers
	Action Action
}

// DeliveryMessage converts a delivery for the wire.
func DeliveryMessage(items []DeliveryItem) *pb.SalvageDelivery {
	out := &pb.SalvageDelivery{}
	for _, i := range items {
		out.Items = append(out.Items, &pb.SalvageItem{Offer: uint32(i.Offer), Action: pb.SalvageAction(i.Action)})
	}
	return out
}

// ParseDelivery checks and converts a delivery of some of so many offers.
func ParseDelivery(in *pb.SalvageDelivery, offers int) ([]DeliveryItem, error) {
	if n := len(in.GetItems()); n == 0 || n > offers {
		return nil, fmt.Errorf("%w: a delivery of %d items, %d were offered", ErrProtocol, n, offers)
	}
	var out []DeliveryItem
	for _, m := range in.GetItems() {
		i := DeliveryItem{int(m.GetOffer()), Action(m.GetAction())}
		twice := slices.ContainsFunc(out, func(o DeliveryItem) bool { return o.Offer == i.Offer })
		known := i.Action == ActionDeliver || i.Action == ActionDeliverFromHere || i.Action == ActionFlags
		if i.Offer >= offers || twice || !known {
			return nil, fmt.Errorf("%w: action %d for offer %d of %d", ErrProtocol, i.Action, i.Offer, offers)
		}
		out = append(out, i)
	}
	return out, nil
}

// DeliveryResult is what became of a message.
type DeliveryResult struct {
	Outcome DeliveryOutcome
	Mailbox journal.Path // where it is, if elsewhere than it was offered for; else ""
	Dropped []string     // keywords
}

// ResultsMessage converts results for the wire.
func ResultsMessage(results []DeliveryResult) *pb.SalvageResults {
	out := &pb.SalvageResults{}
	for _, r := range results {
		out.Results = append(out.Results, &pb.SalvageResult{Outcome: pb.SalvageOutcome(r.Outcome), Mailbox: []byte(r.Mailbox), Dropped: r.Dropped})
	}
	return out
}

// ParseResults checks and converts the results of so many items.
func ParseResults(in *pb.SalvageResults, items int) ([]DeliveryResult, error) {
	if in == nil || len(in.GetResults()) != items {
		return nil, fmt.Errorf("%w: %d results of %d items", ErrProtocol, len(in.GetResults()), items)
	}
	var out []DeliveryResult
	for _, m := range in.GetResults() {
		r := DeliveryResult{Outcome: DeliveryOutcome(m.GetOutcome())}
		if r.Outcome < DeliveryDone || r.Outcome > DeliverySend || len(m.GetDropped()) > mailstore.MaxKeywords {
			return nil, fmt.Errorf("%w: outcome %d with %d keywords", ErrProtocol, r.Outcome, len(m.GetDropped()))
		}
		for _, k := range m.GetDropped() {
			r.Dropped = append(r.Dropped, Words(k))
		}
		if len(m.GetMailbox()) > 0 {
			var err error
			if r.Mailbox, err = ParsePath(m.GetMailbox()); err != nil {
				return nil, err
			}
		}
		out = append(out, r)
	}
	return out, nil
}
