package ledger

import (
	"strings"
	"testing"
	"time"
)

const ann = "ann@example.org"

// story is a ledger with a service that keeps its promises, as far as a test
// does not doctor it.
type story struct {
	*Ledger
	box  Box
	last uint32 // UID
}

func newStory() *story {
	return &story{Ledger: New("t"), box: Box{User: ann, Name: "INBOX", Validity: 7}}
}

// deliver delivers a message, and the service has it.
func (s *story) deliver() Token {
	token, asked := s.Deliver(ann)
	asked.Done()
	s.put(token)
	return token
}

// put lets the service have a message, whoever knows of it.
func (s *story) put(token Token) {
	s.last++
	s.box.Entries = append(s.box.Entries, Entry{UID: s.last, Token: token, Received: time.Unix(int64(s.last), 0)})
}

// remove takes a message away from the service.
func (s *story) remove(token Token) {
	for i, e := range s.box.Entries {
		if e.Token == token {
			s.box.Entries = append(s.box.Entries[:i:i], s.box.Entries[i+1:]...)
			return
		}
	}
}

// wants checks that the verdict has just one line, with these words; none
// without words.
func (s *story) wants(t *testing.T, salvaged bool, words string) Verdict {
	t.Helper()
	v := s.Check([]Box{s.box}, salvaged)
	if words == "" && len(v.Wrong) != 0 || words != "" && (len(v.Wrong) != 1 || !strings.Contains(v.Wrong[0], words)) {
		t.Errorf("%q, want one with %q", v.Wrong, words)
	}
	return v
}

func TestAllIsWell(t *testing.T) {
	s := newStory()
	s.deliver()
	gone := s.deliver()
	s.Seen(s.box, false)
	s.Expunge(gone).Done()
	s.remove(gone)
	s.Deliver(ann) // in doubt, and not there
	perhaps, _ := s.Deliver(ann)
	s.put(perhaps) // in doubt, and there
	_, no := s.Deliver(ann)
	no.Refused()
	s.wants(t, true, "")
	if c := s.Counts(); c.Delivered != 2 || c.Doubtful != 2 || c.Expunged != 1 {
		t.Errorf("%v", c)
	}
}

func TestLoss(t *testing.T) {
	s := newStory()
	s.deliver()
	s.remove(s.deliver())
	s.wants(t, false, "t-2 was acknowledged and is lost")
}

func TestDoubled(t *testing.T) {
	s := newStory()
	s.put(s.deliver())
	s.wants(t, false, "t-1 is there 2 times")
	// Also one of which nobody knows whether it was delivered at all.
	s = newStory()
	perhaps, _ := s.Deliver(ann)
	s.put(perhaps)
	s.put(perhaps)
	s.wants(t, false, "t-1 is there 2 times")
	// Also in two mailboxes.
	s = newStory()
	token := s.deliver()
	other := Box{User: ann, Name: "Other", Entries: []Entry{{UID: 1, Token: token}}}
	if v := s.Check([]Box{s.box, other}, false); len(v.Wrong) != 1 {
		t.Errorf("%q", v.Wrong)
	}
}

func TestResurrected(t *testing.T) {
	s := newStory()
	s.Expunge(s.deliver()).Done()
	s.wants(t, false, "t-1 was expunged and is back")
	// One that nobody has promised to be gone may be there, or not.
	s = newStory()
	token := s.deliver()
	s.Expunge(token)
	s.wants(t, false, "")
	s.remove(token)
	s.wants(t, false, "")
}

func TestForeign(t *testing.T) {
	s := newStory()
	s.put("other-1")
	s.wants(t, false, "was never sent")
}

func TestUnplanned(t *testing.T) {
	s := newStory()
	firm, gone := s.deliver(), s.deliver()
	s.Expunge(gone).Done()
	s.remove(gone)
	s.Replicated()
	loose, back := s.deliver(), s.deliver()
	s.Expunge(firm).Done()
	s.Expunge(back).Done()
	s.Unplanned()
	// What was not replicated may be lost, and come back.
	s.remove(loose)
	if v := s.wants(t, false, ""); len(v.Lost) != 1 || v.Lost[0].Token != loose || time.Since(v.Lost[0].Acknowledged) > time.Minute {
		t.Errorf("%v, want %s", v.Lost, loose)
	}
	s.wants(t, true, "was not salvaged")
	s.put(loose)
	s.wants(t, true, "")
	// What was replicated may not.
	s.put(gone)
	s.wants(t, true, "t-2 was expunged and is back")
	s.remove(gone)
	// What comes afterwards is firm again.
	s.remove(s.deliver())
	s.wants(t, true, "t-5 was acknowledged and is lost")
}

// The UID of what was to be removed goes before its file does.
func TestUIDOfWhatIsHalfRemoved(t *testing.T) {
	s := newStory()
	half, whole := s.deliver(), s.deliver()
	s.Seen(s.box, false)
	s.Replicated()
	s.Expunge(half)
	s.Unplanned()
	s.box.Entries[0].UID = 100_001
	s.wants(t, false, "")
	s.box.Entries[1].UID = 100_002
	s.wants(t, false, "message "+string(whole)+" had UID 2 in INBOX, and has 100002")
}

func TestLoosely(t *testing.T) {
	s := newStory()
	_, asked := s.Deliver(ann)
	asked.Loosely(true).Done()
	s.Replicated() // not this one
	if v := s.wants(t, false, ""); len(v.Lost) != 1 {
		t.Errorf("%v", v.Lost)
	}
}

func TestView(t *testing.T) {
	for name, c := range map[string]struct {
		doctor func(*Box)
		words  string
	}{
		"validity": {func(b *Box) { b.Validity = 8 }, "UIDVALIDITY of INBOX was 7, and is 8"},
		"uid":      {func(b *Box) { b.Entries[1].UID = 9 }, "had UID 2 in INBOX, and has 9"},
		"date":     {func(b *Box) { b.Entries[0].Received = time.Unix(5, 0) }, "INTERNALDATE"},
	} {
		s := newStory()
		s.deliver()
		s.deliver()
		if wrong := s.Seen(s.box, false); len(wrong) != 0 {
			t.Errorf("%s: %q", name, wrong)
		}
		c.doctor(&s.box)
		s.wants(t, false, c.words)
	}
}

// TestReused gives a UID that a client knows to another message: never right,
// even if what it was before is lost.
func TestReused(t *testing.T) {
	s := newStory()
	s.Replicated()
	lost := s.deliver()
	s.Seen(s.box, false)
	s.Unplanned()
	s.remove(lost)
	s.last = 0
	s.deliver()
	s.wants(t, false, "UID 1 of INBOX was message t-1, and is t-2 now")
	if wrong := s.Seen(s.box, false); len(wrong) != 1 {
		t.Errorf("%q", wrong)
	}
}

func TestFlags(t *testing.T) {
	const flag = `\Flagged`
	s := newStory()
	token := s.deliver()
	set := func(is bool) {
		s.box.Entries[0].Flags = nil
		if is {
			s.box.Entries[0].Flags = []string{flag}
		}
	}
	s.Flag(token, flag, true).Done()
	s.wants(t, false, `the flag \Flagged is there: false`)
	set(true)
	s.wants(t, false, "")
	s.Flag(token, flag, false) // in doubt
	s.wants(t, false, "")
	set(false)
	s.wants(t, false, "")
	s.Flag(token, flag, true).Done()
	s.wants(t, false, "is there: false")
	s.Unplanned()
	s.wants(t, false, "")
}

// into puts a message into another mailbox of the service, for a check.
func (s *story) into(box string, tokens ...Token) Box {
	b := Box{User: ann, Name: box, Validity: 9}
	for i, token := range tokens {
		b.Entries = append(b.Entries, Entry{UID: uint32(i + 1), Token: token, Received: time.Unix(int64(i), 0)})
	}
	return b
}

// finds checks that the verdict on mailboxes has just one line, with these
// words; none without words.
func (s *story) finds(t *testing.T, words string, others ...Box) {
	t.Helper()
	v := s.Check(append(others, s.box), true)
	if words == "" && len(v.Wrong) != 0 || words != "" && (len(v.Wrong) != 1 || !strings.Contains(v.Wrong[0], words)) {
		t.Errorf("%q, want one with %q", v.Wrong, words)
	}
}

func TestCopies(t *testing.T) {
	s := newStory()
	token := s.deliver()
	s.finds(t, "is there 2 times", s.into("Kept", token))
	asked, ok := s.Copy(token, "Kept")
	if _, again := s.Copy(token, "Kept"); !ok || again {
		t.Error("there is one copy")
	}
	s.finds(t, "") // in doubt
	s.finds(t, "", s.into("Kept", token))
	asked.Done()
	s.finds(t, "the copy is lost")
	s.finds(t, "", s.into("Kept", token))
	s.finds(t, "the copy of message t-1 is there 2 times", s.into("Kept", token, token))
	s.Expunge(token).Done()
	s.finds(t, "was expunged and is back", s.into("Kept", token))
	s.remove(token)
	s.finds(t, "", s.into("Kept", token))
	s.Unplanned()
	s.finds(t, "")
}

func TestMoves(t *testing.T) {
	s := newStory()
	token := s.deliver()
	asked, ok := s.Move(token, "Archive")
	if _, again := s.Move(token, "Archive"); !ok || again {
		t.Error("it is moved once")
	}
	s.finds(t, "") // in doubt: it is here, there, or in both
	s.finds(t, "", s.into("Archive", token))
	s.finds(t, "is there 2 times", s.into("Sent", token))
	s.finds(t, "is there 3 times", s.into("Archive", token, token))
	asked.Done()
	s.finds(t, "was moved to Archive, and is back")
	s.finds(t, "is there 2 times", s.into("Archive", token))
	s.Unplanned()
	s.finds(t, "", s.into("Archive", token))
	s.remove(token)
	s.finds(t, "", s.into("Archive", token))
	s.finds(t, "not salvaged")
}

// TestFlagsOfWhatIsInTwoPlaces flags a message at the place to which it was perhaps
// moved, and expunges it there: the one at the old place never had the flag.
func TestFlagsOfWhatIsInTwoPlaces(t *testing.T) {
	s := newStory()
	token := s.deliver()
	s.Flag(token, "Early", true).Done()
	asked, _ := s.Move(token, "Archive")
	s.Flag(token, "Late", true).Done()
	s.Expunge(token).Done()
	s.finds(t, "the flag Early is there: false")
	s.box.Entries[0].Flags = []string{"Early"}
	s.finds(t, "")
	asked.Done() // it was moved, so the flag was that of the only one
	if v := s.Check([]Box{s.box}, false); !strings.Contains(strings.Join(v.Wrong, ""), "the flag Late is there: false") {
		t.Errorf("%q", v.Wrong)
	}
}

func TestDownloads(t *testing.T) {
	s := newStory()
	token := s.deliver()
	wants := func(uidl string, loose bool, words string) {
		t.Helper()
		got := strings.Join(s.Downloaded(ann, uidl, token, loose), " ")
		if (got == "") != (words == "") || !strings.Contains(got, words) {
			t.Errorf("%q, want %q", got, words)
		}
	}
	wants("a", false, "")
	wants("b", false, "downloaded by POP3 as a, and again as b")
	s.Replicated()
	s.Unplanned()
	wants("c", true, "as b, and again as c")
	wants("d", false, "") // what was loose may come back by another one
	s.Unplanned()
	wants("e", false, "")
}

// TestHistory finds a flag that is not there, and tells how that has come about.
func TestHistory(t *testing.T) {
	s := newStory()
	token := s.deliver()
	s.Flag(token, "Project", true).By("mx1").Done()
	s.Replicated()
	s.Copy(token, "Kept")
	lost, _ := s.Move(token, "Archive")
	lost.By("mx1").Loosely(true).Done()
	s.Expunge(token).Refused()
	v := s.wants(t, false, "the flag Project is there: false, and must not be so")
	lines := strings.Split(v.Wrong[0], "\n")[1:]
	for i, want := range []string{
		`delivery: acknowledged by "" at `, `set Project: acknowledged by "mx1" at `, "copy to Kept: no answer",
		`move to Archive: acknowledged by "mx1" at `, "expunge: refused",
	} {
		if i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Fatalf("%q, want %q in line %d", lines, want, i)
		}
	}
	if !strings.HasSuffix(lines[1], ", replicated") || !strings.HasSuffix(lines[3], ", perhaps lost by a failover") {
		t.Errorf("%q", lines)
	}
}
