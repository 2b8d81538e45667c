package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/compare"
	"github.com/mailtwin/mailtwin/integration/tree"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFloor(t *testing.T) {
	dir := t.TempDir()
	b := &bench{settings: settings{dir: dir}}
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	got, err := b.atRate(t.Context(), system{"floor", from, func(context.Context) (follower, error) {
		f, err := newFloor(from, to)
		if err != nil {
			return nil, err
		}
		return f.follow, nil
	}}, 100, 50)
	must(t, err)
	if got.p50 <= 0 || got.p99 < got.p50 || got.rate < 20 || got.rate > 110 {
		t.Errorf("%+v", got)
	}
	result, err := compare.Trees(t.Context(), filepath.Join(from, "new"), filepath.Join(to, "new"), compare.Options{
		Ignored: func(string, bool) bool { return false },
	})
	must(t, err)
	if result.Files != 50 {
		t.Errorf("%d files were copied, want 50", result.Files)
	}
}

func TestMissedBarsAreSaidLast(t *testing.T) {
	within := row{what: "a", ours: "2 ms", peers: "1 ms", ratio: "2.0", bar: "≤ 3.0", met: true}
	beyond := row{what: "b", ours: "9 s", ratio: "9.0", bar: "≤ 0.5"}
	for name, c := range map[string]struct {
		rows         []row
		table, words string // how they end
	}{
		"nothing to reach": {[]row{{what: "c", ours: "1"}}, "| c | 1 |  |  |  |  |\n", ""},
		"all met":          {[]row{within}, "| 2.0 | ≤ 3.0 | met |\n", "all bars are met: 1\n"},
		"one missed": {[]row{within, beyond}, "| ≤ 0.5 | **missed** |\n",
			"missed: b: 9 s beside —, ratio 9.0; the bar is ≤ 0.5\n1 of 2 bars were missed; was the machine doing anything else?\n"},
	} {
		var table, words strings.Builder
		b := &bench{rows: c.rows}
		if b.print(&table, &words); !strings.HasSuffix(table.String(), c.table) || words.String() != c.words {
			t.Errorf("%s:\n%s\n%s", name, table.String(), words.String())
		}
	}
}

func TestRsync(t *testing.T) {
	dir := t.TempDir()
	s, err := startSSH(t.Context(), filepath.Join(dir, "ssh"))
	must(t, err)
	t.Cleanup(s.stop)
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	_, err = tree.Generate(t.Context(), from, tree.Spec{Messages: 50, Users: 2, MeanSize: 3000})
	must(t, err)
	change := newChanger(from, 1)
	for range 3 {
		_, n, err := s.rsyncCounted(t.Context(), from, to, "--delete")
		must(t, err)
		if n < 1000 {
			t.Errorf("%d bytes were counted", n)
		}
		result, err := compare.Trees(t.Context(), from, to, compare.Options{})
		must(t, err)
		if !result.Equal() {
			t.Error(result)
		}
		must(t, change.mixed(20))
		must(t, change.flags(10))
	}
}

func TestMeter(t *testing.T) {
	m := &meter{count: 4, done: make(chan struct{})}
	m.delivered()
	m.durable(3) // two of them are not noted as delivered yet
	m.delivered()
	m.delivered()
	m.delivered()
	select {
	case <-m.done:
		t.Fatal("done, but one is not durable")
	default:
	}
	m.durable(4)
	must(t, m.wait(t.Context()))
	if len(m.taken) != 4 || m.taken[1] != 0 || m.taken[3] <= 0 {
		t.Errorf("%v", m.taken)
	}
}

func TestPercentile(t *testing.T) {
	values := []time.Duration{5, 1, 4, 2, 3}
	if p50, p99 := percentile(values, 50), percentile(values, 99); p50 != 3 || p99 != 5 {
		t.Errorf("%v and %v, want 3 and 5", p50, p99)
	}
}

func TestTheUnitsNiceness(t *testing.T) {
	unit, err := os.ReadFile("../../cmd/mailtwin/mailtwin.service")
	must(t, err)
	if !strings.Contains(string(unit), "\nNice="+unitNice+"\n") {
		t.Errorf("mailtwin.service does not say Nice=%s: what is measured is not what operators run", unitNice)
	}
}
