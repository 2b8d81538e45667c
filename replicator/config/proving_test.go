package config

import (
	"errors"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/governor"
)

func TestProving(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]bool{"always": true, "never": false, "22:00-06:00": false, "11:00-13:00": true} {
		var p Proving
		if err := p.UnmarshalText([]byte(text)); err != nil || p.String() != text || p.Contains(noon) != want {
			t.Errorf("%q: %v at noon, written %q, %v", text, p.Contains(noon), p, err)
		}
	}
	var p Proving
	if err := p.UnmarshalText([]byte("at night")); !errors.Is(err, governor.ErrHours) {
		t.Errorf("the error is %v", err)
	}
}
