package replicator

import (
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mirror"
)

func claim(epoch journal.Epoch, name string) identity.Claim {
	return identity.Claim{Epoch: epoch, Name: name}
}

// TestClaimsAreJudged: one node promises an epoch to one claim, and to another
// only if that beats it.
func TestClaimsAreJudged(t *testing.T) {
	primary := identity.State{Role: identity.Primary, Epoch: 3, Leader: "mx5", Name: "mx5"}
	promised := identity.State{Role: identity.Mirror, Epoch: 3, Leader: "mx5", Promised: claim(4, "mx2"), Name: "mx2"}
	sealed := primary
	sealed.Promised, sealed.Sealed = claim(4, "mx2"), true
	for _, c := range []struct {
		name    string
		state   identity.State
		claim   identity.Claim
		why     string // "": granted
		against identity.Claim
	}{
		{"the next epoch", primary, claim(4, "mx2"), "", identity.Claim{}},
		{"a far one", primary, claim(9, "mx2"), "", identity.Claim{}},
		{"the epoch that has begun", primary, claim(3, "mx2"), "begun already", claim(3, "mx5")},
		{"of a smaller name too", primary, claim(3, "mx1"), "begun already", claim(3, "mx5")},
		{"one that is over", promised, claim(2, "mx1"), "begun already", claim(3, "mx5")},
		{"the promised one again", promised, claim(4, "mx2"), "", identity.Claim{}},
		{"a later name", promised, claim(4, "mx3"), "promised before", claim(4, "mx2")},
		{"an earlier name", promised, claim(4, "mx1"), "", identity.Claim{}},
		{"a higher epoch", promised, claim(5, "mx9"), "", identity.Claim{}},
		{"another than that it is sealed for", sealed, claim(5, "mx1"), "sealed for", claim(4, "mx2")},
		{"that which it is sealed for", sealed, claim(4, "mx2"), "", identity.Claim{}},
	} {
		a := judgeClaim(c.state, c.claim)
		if a.Granted != (c.why == "") || !strings.Contains(a.Why, c.why) || a.Known != c.against {
			t.Errorf("%s: %+v", c.name, a)
		}
	}
}

// TestSucceeded: what becomes of a node that learns who is primary.
func TestSucceeded(t *testing.T) {
	state := func(role identity.Role, epoch journal.Epoch, leader string, promised identity.Claim, sealed bool) identity.State {
		return identity.State{Role: role, Epoch: epoch, Leader: leader, Promised: promised, Sealed: sealed, Pair: "p", Name: "mx5"}
	}
	none := identity.Claim{}
	for _, c := range []struct {
		name  string
		is    identity.State
		by    identity.Claim
		exact bool
		want  identity.State
	}{
		{"a primary is fenced", state(identity.Primary, 3, "mx5", none, false), claim(4, "mx2"), false, state(identity.Fenced, 4, "mx2", none, false)},
		{"also by nobody knows whom", state(identity.Primary, 3, "mx5", none, false), claim(4, ""), false, state(identity.Fenced, 4, "", none, false)},
		{"also by one of its own epoch", state(identity.Primary, 3, "mx5", none, false), claim(3, "mx2"), false, state(identity.Fenced, 3, "mx2", none, false)},
		{"not by a later name", state(identity.Primary, 3, "mx5", none, false), claim(3, "mx6"), false, state(identity.Primary, 3, "mx5", none, false)},
		{"not by an old epoch", state(identity.Primary, 3, "mx5", none, false), claim(2, "mx1"), true, state(identity.Primary, 3, "mx5", none, false)},
		{"a sealed one becomes a mirror", state(identity.Primary, 3, "mx5", claim(4, "mx2"), true), claim(4, "mx2"), true, state(identity.Mirror, 4, "mx2", none, false)},
		{"not if the journals differ", state(identity.Primary, 3, "mx5", claim(4, "mx2"), true), claim(4, "mx2"), false, state(identity.Fenced, 4, "mx2", none, false)},
		{"nor for another one", state(identity.Primary, 3, "mx5", claim(4, "mx2"), true), claim(4, "mx1"), true, state(identity.Fenced, 4, "mx1", none, false)},
		{"nor without a seal", state(identity.Primary, 3, "mx5", claim(4, "mx2"), false), claim(4, "mx2"), true, state(identity.Fenced, 4, "mx2", none, false)},
		{"a mirror follows", state(identity.Mirror, 3, "mx1", claim(4, "mx5"), false), claim(4, "mx2"), false, state(identity.Mirror, 4, "mx2", none, false)},
		{"and keeps a later promise", state(identity.Mirror, 3, "mx1", claim(9, "mx5"), false), claim(4, "mx2"), false, state(identity.Mirror, 4, "mx2", claim(9, "mx5"), false)},
		{"a name is more than none", state(identity.Fenced, 4, "", none, false), claim(4, "mx2"), false, state(identity.Fenced, 4, "mx2", none, false)},
		{"a fenced one stays fenced", state(identity.Fenced, 4, "mx2", none, false), claim(5, "mx3"), true, state(identity.Fenced, 5, "mx3", none, false)},
	} {
		if got := succeeded(c.is, c.by, c.exact); got != c.want {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// TestBeginning: a journal follows exactly the place that the store is at, or
// none that anybody else can be at.
func TestBeginning(t *testing.T) {
	at := journal.Position{Epoch: 2, Sequence: 7, Digest: journal.Digest{1}}
	if got, err := beginning(mirror.Standing{Position: at, Applied: 7, Exact: true}); got != at || err != nil {
		t.Errorf("exact: %v, %v", got, err)
	}
	got, err := beginning(mirror.Standing{Position: at, Applied: 9})
	again, _ := beginning(mirror.Standing{Position: at, Applied: 9})
	if err != nil || got.Epoch != 2 || got.Sequence != 9 || got.Digest == at.Digest || got == again {
		t.Errorf("beyond it: %v, then %v, %v", got, again, err)
	}
}
