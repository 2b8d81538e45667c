package primary

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/wire"
)

// TestExpel: a mirror that is not let in any more is served no longer, and its cursor
// stays gone, in whatever moment of its beginning that happens.
func TestExpel(t *testing.T) {
	p := newStore(t)
	p.put("a", []byte("x"))
	s := p.dial(t, wire.HelloMessage{Name: "mx2"})
	s.welcome(t)
	if err := p.server.Expel(t.Context(), "mx2"); err != nil {
		t.Fatal(err)
	}
	if why := s.refusal(t); !strings.Contains(why, errExpelled.Error()) {
		t.Errorf("it ended with %s", why)
	}
	if err := p.journal.DropCursor("mx2"); err != nil {
		t.Fatal(err)
	}
	if err := p.server.Expel(t.Context(), "mx2"); err != nil {
		t.Errorf("nothing is there: %v", err)
	}
	// It was let in, and is forgotten and expelled before its session is registered.
	asked := 0
	p.server.cfg.Peer = func(ctx context.Context) (string, error) {
		if asked++; asked == 1 {
			return "mx2", nil
		}
		return "mx2", errors.New("mx2 was forgotten")
	}
	if why := p.dial(t, wire.HelloMessage{Name: "mx2"}).refusal(t); !strings.Contains(why, "mx2 was forgotten") {
		t.Errorf("it ended with %s", why)
	}
	if _, ok := p.cursor("mx2"); ok || len(p.server.Mirrors()) > 0 {
		t.Error("the journal is kept for it")
	}
}
