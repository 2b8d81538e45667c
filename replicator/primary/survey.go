package primary

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/mailboxes"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// Order says what a mirror is to copy first. The zero Order is
// mailstore.OrderAuto.
type Order struct {
	First    []journal.Path // directories that come before all others, in this order
	Messages mailstore.Order
}

const (
	// recently is how new a message is that is copied before all mailboxes.
	recently = 7 * 24 * time.Hour
	// surveyNames is how many names are looked at for one answer, about.
	surveyNames = 50_000
	// fewFiles is up to how many files a mirror may lack, and one in fewOf, for
	// which it is not worth while to look at the mailboxes first.
	fewFiles = 10_000
	fewOf    = 100
)

// turn tells when a file of a directory should be asked for.
func (o Order) turn(it *catalog.Item) uint64 {
	switch {
	case it.Facts.Type != journal.TypeFile:
		return 0
	case o.Messages == mailstore.OrderNewest:
		return math.MaxInt64 - uint64(max(it.Facts.Attr.MTime, 0))
	}
	return it.Stamp.Inode
}

// askedSurvey is a survey that a mirror has asked for. There is one at a time.
type askedSurvey struct {
	*wire.SurveyItem
	tried journal.Path // the first look at the store had come to here when there was no answer
	early bool         // the mirror was told of mailboxes before the store was looked at as a whole
}

// takeSurvey takes a request to say of what value some mailboxes are.
func (s *sender) takeSurvey(q *wire.SurveyItem) error {
	if s.survey.SurveyItem != nil {
		return fmt.Errorf("%w: asked for mailboxes twice", wire.ErrProtocol)
	}
	s.survey.SurveyItem = q
	return s.answerSurvey()
}

// answerSurvey says of what value some mailboxes are, if it was asked and that is
// known. It says nothing of what is in them, so it may be sent at any place of the
// stream: what was asked for later need not wait for the first look at the store.
func (s *sender) answerSurvey() error {
	q := s.survey.SurveyItem
	if q == nil {
		return nil
	}
	store := s.server.cfg.Store()
	if !store.Complete && (store.Reached == "" || store.Reached == s.survey.tried) {
		return nil
	}
	s.survey.tried = store.Reached
	promise := make(chan *answer, 1)
	go func() {
		a := &answer{}
		a.activity, a.err = s.server.survey(q, store)
		promise <- a
	}()
	return s.answer(promise)
}

// giveActivity sends the answer of a survey, unless the first look at the store has
// to go on for there to be one. An answer without mailboxes is kept until then too:
// the next request would come behind listings that wait for mailboxes to be told of.
func (s *sender) giveActivity(a *wire.Activity) error {
	if a.Next != "" && a.Next == s.survey.After {
		return nil
	}
	if a.Next != "" && len(a.Mailboxes) == 0 && !s.server.cfg.Store().Complete {
		s.survey.After, s.survey.tried = a.Next, ""
		return nil
	}
	s.survey.SurveyItem, s.survey.tried = nil, ""
	s.survey.early = s.survey.early || len(a.Mailboxes) > 0
	return s.send(wire.ActivityMessage(*a))
}

// survey looks at some mailboxes, from the place of the request on: first those
// that the operator wants first, then all; as far as the first look at the store
// has come.
func (s *Server) survey(q *wire.SurveyItem, store StoreState) (*wire.Activity, error) {
	first := s.cfg.Order.First
	stage, place, err := parsePlace(q.After)
	if err != nil || stage > len(first) {
		return nil, fmt.Errorf("%w: %q is no place of a survey", wire.ErrProtocol, q.After)
	}
	out := &wire.Activity{}
	err = s.cfg.Catalog.View(func(t *catalog.Tx) error {
		if q.After == "" && store.Complete && lacksLittle(t.Totals().Files, q.Files) {
			return nil
		}
		walk := mailboxes.Walk{Names: surveyNames}
		if !store.Complete {
			walk.Reached = store.Reached
		}
		if walk.Newest = stage == len(first); !walk.Newest {
			walk.Top = first[stage]
		}
		next, done, err := walk.Page(t, place, func(m mailboxes.Mailbox) (bool, error) {
			out.Mailboxes = append(out.Mailboxes, s.value(&m, !walk.Newest))
			return len(out.Mailboxes) < wire.MaxMailboxes, nil
		})
		switch {
		case !done:
			out.Next = formatPlace(stage, next)
		case stage < len(first):
			out.Next = formatPlace(stage+1, "")
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look at the mailboxes: %w", err)
	}
	return out, nil
}

func lacksLittle(files, has uint64) bool {
	lacks := files - min(files, has)
	return lacks < fewFiles && lacks < files/fewOf
}

// stepOf returns the step of an age. Mailboxes of one step count as equally
// active, so that an INBOX comes before an archive that is not used much more.
func stepOf(age time.Duration) (step uint64) {
	const day = 24 * time.Hour
	for _, most := range [...]time.Duration{day, 3 * day, recently, 30 * day, 90 * day, 365 * day} {
		if age > most {
			step++
		}
	}
	return step
}

// value tells of what value a mailbox is: how active it is comes first, then
// whether it is an INBOX, a folder or an archive, and then how active it is
// exactly.
func (s *Server) value(m *mailboxes.Mailbox, first bool) wire.Mailbox {
	out := wire.Mailbox{Path: m.Path, First: first}
	if first {
		return out
	}
	now := s.cfg.Now()
	age := max(now.Sub(time.Unix(0, m.Newest)), 0)
	kind := 1
	switch {
	case m.Inbox:
		kind = 0
	case mailstore.Maildir{}.Archive(m.Path):
		kind = 2
	}
	out.Turn = stepOf(age)<<48 | uint64(kind)<<40 | uint64(age/time.Second)
	if s.cfg.Order.Messages != mailstore.OrderInode && m.Newest > 0 && age <= recently {
		out.Since = now.Add(-recently).UnixNano()
	}
	return out
}

// formatPlace writes the place in a survey that the next request goes on from.
func formatPlace(stage int, p mailboxes.Place) string { return strconv.Itoa(stage) + ":" + string(p) }

// parsePlace reads what formatPlace has written; "" is the beginning.
func parsePlace(s string) (stage int, place mailboxes.Place, err error) {
	if s == "" {
		return 0, "", nil
	}
	number, rest, _ := strings.Cut(s, ":")
	if stage, err = strconv.Atoi(number); err != nil {
		return 0, "", fmt.Errorf("the stage of a survey: %w", err)
	}
	if stage < 0 {
		return 0, "", fmt.Errorf("stage %d of a survey", stage)
	}
	if rest == "" {
		return stage, "", nil
	}
	p, err := journal.ParsePath(rest)
	return stage, mailboxes.Place(p), err
}
