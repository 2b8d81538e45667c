package hint

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

func TestAnErrorKeepsItsTextAndItsKind(t *testing.T) {
	err := fmt.Errorf("starting: %w", Add(fs.ErrNotExist, "make %q", "it"))
	if got, want := err.Error(), "starting: file does not exist"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("the error is no longer what it was")
	}
	if got, want := Of(err), `make "it"`; got != want {
		t.Errorf("Of = %q, want %q", got, want)
	}
}

func TestTheOutermostHintWins(t *testing.T) {
	err := Add(Add(fs.ErrExist, "inner"), "outer")
	if got := Of(err); got != "outer" {
		t.Errorf("Of = %q, want the outer hint", got)
	}
}

func TestNothingComesOfNothing(t *testing.T) {
	if Add(nil, "x") != nil {
		t.Error("Add(nil) is an error")
	}
	if got := Of(fs.ErrExist); got != "" {
		t.Errorf("Of = %q for an error without a hint", got)
	}
}
