package watch

import (
	"fmt"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
)

// TestHeirs adopts more directories than are remembered, as where a file system has
// another number, or was copied to a disk of its own.
func TestHeirs(t *testing.T) {
	d := newDoubts()
	moved := heir{was: 1, is: 2}
	d.adopt("domain", moved)
	for i := range 2 * maxDoubts {
		d.adopt(journal.Path(fmt.Sprintf("domain/u%d", i)), moved)
	}
	d.adopt("other", moved)
	if !d.adopted("other") {
		t.Error("one tree has taken all the room")
	}
	d.adopt("domain/u1", heir{was: 2, is: 3})
	if h, _ := d.heir("domain/u1/cur"); h.is != 3 {
		t.Errorf("adopted again, it is %+v", h)
	}
	for i := range 2 * maxDoubts {
		d.adopt(journal.Path(fmt.Sprintf("u%d", i)), moved)
	}
	d.dirs["u1"] = doubtUnmounted
	d.accept()
	for i := range 2 * maxDoubts {
		p := journal.Path(fmt.Sprintf("u%d", i))
		d.adopt(p, heir{was: 1, is: 2, accepted: true})
		if h, _ := d.heir(p.Join("cur")); !h.accepted {
			t.Fatalf("%s was not accepted with all else", p)
		}
	}
	if d.has("u1") || len(d.heirs) != 1 {
		t.Errorf("%d doubts and %d heirs after all was accepted", len(d.dirs), len(d.heirs))
	}
}
