package failover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/mailboxes"
)

// TestScenarios plays the scripts in testdata. They are stories about nodes
// called mx1, mx2 and mx3; mx1 is the primary at first. A command is a line,
// what it answers follows beneath it, indented, and lines that begin with #
// are for the reader. The answer of `failover` is what the person reads, then
// what became durable and what the mail servers did, in that order ("=").
//
//	nodes mx1 mx2 [mx3]      the story begins
//	deliver NODE MAIL...     a client hands in mail there
//	replicate [NODE [N]]     the mirrors fetch all there is, or at most N changes
//	failover NODE [--force]  the command, confirmed
//	dry-run NODE             the command with --dry-run
//	crash NODE, boot NODE    the power goes, and comes back
//	crash-at POINT NODE      the power goes at a point of the next command
//	fail WHAT                that act fails, once
//	cut A B, mend A B        the network between two nodes
//	set NODE WHAT [VALUE]    something else goes wrong there; see set
//	ask                      every node asks its peers how they are
//	show                     how the nodes are, and where which mail is
//
// With MAILTWIN_UPDATE=1 in the environment the answers are written anew.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := playScript(t, string(want))
			if bytes.Equal(got, want) {
				return
			}
			if os.Getenv("MAILTWIN_UPDATE") != "" {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("%s went otherwise:\n%s", file, got)
		})
	}
}

// playScript returns the script with the answers that it gets.
func playScript(t *testing.T, script string) []byte {
	var out bytes.Buffer
	var w *world
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "    ") {
			continue // an old answer
		}
		fmt.Fprintln(&out, line)
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if words[0] == "nodes" {
			w = newWorld(words[1:]...)
			continue
		}
		w.trace = nil
		for _, answer := range w.command(t, words) {
			fmt.Fprintf(&out, "    %s\n", strings.ReplaceAll(answer, "\n", " / "))
		}
		for _, done := range w.trace {
			fmt.Fprintf(&out, "    = %s\n", done)
		}
	}
	return out.Bytes()
}

func (w *world) command(t *testing.T, words []string) (answer []string) {
	switch words[0] {
	case "deliver":
		for _, mail := range words[2:] {
			if !w.nodes[words[1]].deliver(mail) {
				answer = append(answer, mail+" is refused: no mail server runs")
			}
		}
	case "replicate":
		limit := 1 << 30
		if len(words) > 2 {
			_, _ = fmt.Sscan(words[2], &limit)
		}
		for _, name := range w.names {
			if len(words) == 1 || words[1] == name {
				w.nodes[name].fetch(limit)
			}
		}
	case "failover":
		return w.promote(words[1], len(words) > 2 && words[2] == "--force")
	case "dry-run":
		return w.dryRun(words[1])
	case "crash":
		w.nodes[words[1]].crash()
	case "boot":
		w.nodes[words[1]].boot()
	case "crash-at":
		point, victim := strings.Join(words[1:len(words)-1], " "), w.nodes[words[len(words)-1]]
		w.at = func(p string) {
			if p == point && victim.up {
				victim.crash()
				w.at = func(string) {}
			}
		}
	case "fail":
		w.fail = strings.Join(words[1:], " ")
	case "cut":
		w.cut[words[1]+" "+words[2]] = true
	case "mend":
		delete(w.cut, words[1]+" "+words[2])
	case "set":
		w.nodes[words[1]].set(t, words[2], strings.Join(words[3:], " "))
	case "ask":
		for _, name := range w.names {
			if w.nodes[name].up {
				w.nodes[name].vigil()
			}
		}
	case "show":
		return w.show()
	default:
		t.Fatalf("there is no command %q", words[0])
	}
	return answer
}

func (n *testNode) set(t *testing.T, what, value string) {
	switch what {
	case "store": // what is wrong with it
		n.suspended = value
	case "own-store": // what is wrong with it, for its own node
		n.unfit = value
	case "doubts": // changes in a mailbox each; some seconds ago everything was in order
		n.doubts = &mailboxes.Doubts{After: n.w.now.Add(-4200 * time.Millisecond), More: 1}
		for i, box := range strings.Fields(value) {
			n.doubts.Mailboxes = append(n.doubts.Mailboxes, mailboxes.Count{Mailbox: journal.Path(box), Number: uint64(i + 1)})
		}
	case "fence-hook":
		n.fenceHook = value
	case "promote-hook":
		n.promoteHook = value
	case "missing":
		_, _ = fmt.Sscan(value, &n.disk.missing)
	case "late":
		_, _ = fmt.Sscan(value, &n.late)
	case "initial-sync":
		n.disk.partly = value == "unfinished"
	case "daemon": // as after a restart: nothing was heard of anybody
		n.heard, n.head = n.heard.AddDate(-1, 0, 0), 0
		n.crash()
		n.boot()
	default:
		t.Fatalf("nothing to set is called %q", what)
	}
}

func (w *world) promote(name string, force bool) (answer []string) {
	if w.nodes[name].up {
		if plan, err := w.nodes[name].promoter.Plan(context.Background()); err == nil {
			answer = append(answer, describe(&plan)...)
		}
	}
	result, err := w.attempt(name, force, func(e Event) {
		switch e.Phase {
		case Note:
			answer = append(answer, fmt.Sprintf("  %s", e.Text))
		case Skipped:
			answer = append(answer, fmt.Sprintf("%s: skipped, %s", e.Step, e.Text))
		case Failed:
			answer = append(answer, fmt.Sprintf("%s: FAILED", e.Step))
		case Begun:
			answer = append(answer, string(e.Step))
		case Done:
		}
	})
	switch {
	case errors.Is(err, errCrash):
		answer = append(answer, name+" crashed")
	case err != nil:
		answer = append(answer, "error: "+err.Error())
	default:
		answer = append(answer, fmt.Sprintf("%s: primary of epoch %d", result.Kind, result.Epoch))
	}
	return answer
}

func describe(p *Plan) (lines []string) {
	for _, words := range p.Loss.Words {
		lines = append(lines, "| "+words)
	}
	for _, words := range p.Warnings {
		lines = append(lines, "| Warning: "+words)
	}
	for _, words := range p.Refusals {
		lines = append(lines, "| Not without --force: "+words)
	}
	if p.Unfit != "" {
		lines = append(lines, "| Not at all: "+p.Unfit)
	}
	return lines
}

func (w *world) dryRun(name string) (answer []string) {
	plan, err := w.nodes[name].promoter.DryRun(context.Background(), func(string) {})
	if err != nil {
		return []string{"error: " + err.Error()}
	}
	answer = append(answer, fmt.Sprintf("%s to epoch %d", plan.Kind, plan.Epoch))
	for _, c := range plan.Checks {
		answer = append(answer, fmt.Sprintf("%-8s %s: %s", c.Verdict, c.Name, c.Detail))
	}
	return append(answer, describe(&plan)...)
}

func (w *world) show() (answer []string) {
	for _, name := range w.names {
		n := w.nodes[name]
		s := n.disk.state
		line := fmt.Sprintf("%s: %s of epoch %d", name, s.Role, s.Epoch)
		if s.Sealed {
			line += fmt.Sprintf(", sealed for %s", s.To)
		}
		if !n.up {
			line += ", down"
		}
		if n.server {
			line += ", its mail server runs"
		}
		answer = append(answer, line+"; mail: "+strings.Join(n.disk.mail, " "))
	}
	if err := w.check(); err != nil {
		answer = append(answer, "not well: "+err.Error())
	} else if lost := w.lost(); len(lost) > 0 {
		answer = append(answer, "not on the primary: "+strings.Join(lost, " "))
	} else {
		answer = append(answer, "all mail is on the primary, once")
	}
	return answer
}
