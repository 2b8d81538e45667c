package replicator

import (
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/mirror"
	"github.com/mailtwin/mailtwin/replicator/primary"
	"github.com/mailtwin/mailtwin/replicator/status"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// TestJudgeMirror: what a primary says of a mirror, the worst that is known of it
// first.
func TestJudgeMirror(t *testing.T) {
	good := primary.MirrorState{Name: "mx2", Connected: true, State: "following", Proven: true}
	for _, c := range []struct {
		name    string
		change  func(*primary.MirrorState)
		pending uint64
		state   status.State
		words   string
	}{
		{"good", func(*primary.MirrorState) {}, 0, status.InSync, "everything is durable there"},
		{"names to be looked at", func(*primary.MirrorState) {}, 3, status.Behind, "3 names"},
		{"not proven", func(m *primary.MirrorState) { m.Proven = false }, 0, status.Behind, "not proven"},
		{"assumed", func(m *primary.MirrorState) { m.Assumed = 2 }, 0, status.Behind, "2"},
		{"entries on their way", func(m *primary.MirrorState) { m.LagEntries = 1 }, 0, status.Behind, "on their way"},
		{"contents lacking", func(m *primary.MirrorState) { m.Missing, m.LagEntries = 4, 1 }, 0, status.Attention, "4 files"},
		{"in trouble", func(m *primary.MirrorState) { m.Detail = "no space left" }, 0, status.Attention, "no space left"},
		{"comparing", func(m *primary.MirrorState) { m.State, m.Detail, m.Behind = "comparing", "3 of 7", true }, 0, status.Syncing, "3 of 7"},
		{"silent until now", func(m *primary.MirrorState) { m.State = "" }, 0, status.Unknown, "has not yet said"},
		{"away", func(m *primary.MirrorState) { m.Connected = false }, 0, status.Unknown, "not connected"},
		{"away, and why", func(m *primary.MirrorState) { m.Connected, m.LastError = false, "it left" }, 0, status.Unknown, "not connected: it left"},
		{"away for too long", func(m *primary.MirrorState) { m.Connected, m.Behind, m.LastError = false, true, "it left" }, 0,
			status.Unknown, "not connected, and the journal no longer reaches back to where it was: it will have to compare"},
	} {
		m := good
		c.change(&m)
		state, words := judgeMirror(m, c.pending)
		if state != c.state || !strings.Contains(words, c.words) {
			t.Errorf("%s: %s, %q; want %s, %q", c.name, state, words, c.state, c.words)
		}
	}
}

// TestJudgePrimary: what a mirror says of its primary, which may know of changes
// that it cannot tell of.
func TestJudgePrimary(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	good := mirror.Status{
		Primary: "mx1", Connected: true, Whole: true, Proven: true, Said: now,
		Beat: wire.Heartbeat{State: "watching"},
	}
	for _, c := range []struct {
		name   string
		change func(*mirror.Status)
		state  status.State
		words  string
		why    string // why not all that would be lost is known
	}{
		{"good", func(*mirror.Status) {}, status.InSync, "everything is durable here", ""},
		{"names to be looked at", func(s *mirror.Status) { s.Pending = 3 }, status.Behind, "3 names", ""},
		{"a full disk", func(s *mirror.Status) { s.Beat.JournalError = "no space left" }, status.Attention, "no space left", "cannot write its journal"},
		{"scans", func(s *mirror.Status) { s.Beat.Polling = "no watches are left" }, status.InSync, "", "no watches are left"},
		{"a store that is gone", func(s *mirror.Status) { s.Beat.State, s.Beat.Detail = "suspended", "not mounted" }, status.Attention, "not mounted", "not mounted"},
		{"silent until now", func(s *mirror.Status) { s.Said = time.Time{} }, status.Unknown, "not yet said", "not heard of"},
		{"away", func(s *mirror.Status) { s.Connected = false }, status.Unknown, "not connected", "not heard of"},
	} {
		s := good
		c.change(&s)
		state, words := judgePrimary(s, word{said: s.Said}, 0)
		why := unknownThere(&status.Primary{Name: "mx1", State: state}, s, 0)
		if state != c.state || !strings.Contains(words, c.words) {
			t.Errorf("%s: %s, %q; want %s, %q", c.name, state, words, c.state, c.words)
		}
		if !strings.Contains(why, c.why) || (why == "") != (c.why == "") {
			t.Errorf("%s: not all is known: %q; want %q", c.name, why, c.why)
		}
	}
}
