package failover

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The crash table. A promotion of mx2 is run again and again; each time the
// power of some nodes goes at the next point: before and after each step, each
// write that lasts, each hook, each change that is drained. What happens then
// is one of the endings; after it everybody is up, and has asked the others.
// The end is always the same: one primary, whose mail server runs, and which
// has all that it may not have lost.
//
// The table is taken twice: with a primary that answers, and with one that is
// dead and has taken mail with it.

// ending is what people do after the crash.
type ending struct {
	name string
	do   func(t *testing.T, w *world)
}

// again runs the command until it says that there is nothing left to do. Once
// is enough, unless a node that was fenced by somebody came up in between.
func again(t *testing.T, w *world, name string) {
	t.Helper()
	_, err := w.attempt(name, false, func(Event) {})
	if err != nil && !errors.Is(err, ErrPrimary) {
		t.Fatalf("the second run: %v", err)
	}
}

func boot(w *world, names ...string) {
	for _, name := range names {
		if n := w.nodes[name]; !n.up {
			n.boot()
		}
	}
}

func endings() []ending {
	return []ending{
		{"all come back, and the command is run again", func(t *testing.T, w *world) {
			boot(w, w.names...)
			again(t, w, "mx2")
		}},
		{"the old primary stays away until the command was run again", func(t *testing.T, w *world) {
			w.nodes["mx1"].crash()
			boot(w, w.names[1:]...)
			again(t, w, "mx2")
		}},
		{"the new primary stays away, and the old one is taken back", func(t *testing.T, w *world) {
			w.nodes["mx2"].crash()
			boot(w, w.names[0])
			if w.nodes["mx1"].disk.state.Role == "primary" {
				again(t, w, "mx1")
			} else {
				boot(w, "mx2") // it has handed over: only mx2 can go on
				again(t, w, "mx2")
			}
		}},
	}
}

func TestEveryCrash(t *testing.T) {
	for _, nodes := range [][]string{{"mx1", "mx2"}, {"mx1", "mx2", "mx3"}} {
		for _, dead := range []bool{false, true} {
			for _, victims := range [][]string{{"mx1"}, {"mx2"}, {"mx1", "mx2"}} {
				for _, end := range endings() {
					name := fmt.Sprintf("%d nodes/dead %v/crash of %s/%s", len(nodes), dead, strings.Join(victims, " and "), end.name)
					t.Run(name, func(t *testing.T) { everyCrash(t, nodes, dead, victims, end) })
				}
			}
		}
	}
}

// everyCrash tries all points, one after the other, until none is left.
func everyCrash(t *testing.T, nodes []string, dead bool, victims []string, end ending) {
	tried := 0
	for point := 1; ; point++ {
		w := newWorld(nodes...)
		primary := w.nodes["mx1"]
		primary.deliver("a")
		primary.deliver("b")
		for _, name := range nodes[1:] {
			w.nodes[name].fetch(1)
		}
		if dead {
			primary.crash()
		}
		w.points = 0
		where := ""
		w.at = func(p string) {
			deliverWherePossible(w)
			if w.points != point {
				return
			}
			where = p
			for _, v := range victims {
				w.nodes[v].crash()
			}
		}
		_, _ = w.attempt("mx2", false, func(Event) {})
		w.at = func(string) { deliverWherePossible(w) }
		if where == "" {
			break
		}
		tried++
		end.do(t, w)
		boot(w, w.names...)
		for _, name := range w.names {
			w.nodes[name].vigil()
		}
		for _, name := range w.names {
			// A node that was raised and then away says so, and the command
			// there completes it.
			if d := w.nodes[name].disk; d.state.Role == "primary" && d.unfinished == d.state.Epoch {
				again(t, w, name)
			}
		}
		if err := w.check(); err != nil {
			t.Errorf("point %d, %s: %v\n%s", point, where, err, strings.Join(w.trace, "\n"))
		}
		checkLost(t, w, fmt.Sprintf("point %d, %s", point, where), w.unplanned())
		if t.Failed() {
			return
		}
	}
	if tried < 20 {
		t.Errorf("only %d points", tried)
	}
}

// deliverWherePossible hands in a mail wherever a mail server runs.
func deliverWherePossible(w *world) {
	running := 0
	for _, name := range w.names {
		if n := w.nodes[name]; n.up && n.server {
			running++
			n.deliver(fmt.Sprintf("%s-%d", name, w.points))
		}
	}
	if running > 1 {
		panic(fmt.Sprintf("%d mail servers run", running))
	}
}

// unplanned reports whether a primary was switched off, or fenced: then mail
// that it alone had is to be salvaged.
func (w *world) unplanned() bool {
	return slices.ContainsFunc(w.trace, func(line string) bool { return strings.Contains(line, "switches") || strings.Contains(line, "fenced") })
}

// checkLost makes sure that nothing is lost where nothing may be, and that
// what is lost elsewhere is still on the node that was fenced.
func checkLost(t *testing.T, w *world, where string, unplanned bool) {
	t.Helper()
	for _, mail := range w.lost() {
		if !unplanned {
			t.Errorf("%s: %s is lost\n%s", where, mail, strings.Join(w.trace, "\n"))
			continue
		}
		kept := false
		for _, name := range w.names {
			n := w.nodes[name]
			kept = kept || n.disk.state.Role == "fenced" && slices.Contains(n.disk.mail, mail)
		}
		if !kept {
			t.Errorf("%s: %s is nowhere\n%s", where, mail, strings.Join(w.trace, "\n"))
		}
	}
}

// TestTwoPromotions starts a promotion of mx3 at every point of one of mx2.
// One of them wins.
func TestTwoPromotions(t *testing.T) {
	for _, dead := range []bool{false, true} {
		for point := 1; ; point++ {
			w := newWorld("mx1", "mx2", "mx3")
			w.nodes["mx1"].deliver("a")
			w.nodes["mx2"].fetch(1)
			w.nodes["mx3"].fetch(1)
			if dead {
				w.nodes["mx1"].crash()
			}
			w.points = 0
			var second error
			where := ""
			w.at = func(p string) {
				if w.points == point {
					where = p
					_, second = w.attempt("mx3", false, func(Event) {})
				}
			}
			_, first := w.attempt("mx2", false, func(Event) {})
			w.at = func(string) {}
			if where == "" {
				break
			}
			for _, name := range w.names {
				boot(w, name)
				w.nodes[name].vigil()
			}
			if w.check() != nil {
				// Nobody may have won: then each has given up, and a second run
				// of either is enough.
				if first == nil || second == nil {
					t.Fatalf("dead %v, point %d, %s: %v; mx2: %v; mx3: %v\n%s", dead, point, where, w.check(), first, second, strings.Join(w.trace, "\n"))
				}
				again(t, w, "mx2")
			}
			if err := w.check(); err != nil {
				t.Fatalf("dead %v, point %d, %s: %v; mx2: %v; mx3: %v\n%s", dead, point, where, err, first, second, strings.Join(w.trace, "\n"))
			}
		}
	}
}
