package replicator

import (
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/primary"
	"github.com/mailtwin/mailtwin/replicator/status"
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
