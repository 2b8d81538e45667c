package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/failover"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// promoter is a daemon that can be promoted, as far as the command can see.
type promoter struct {
	plans []failover.Plan // one after the other; the last stays
	asked int
	got   []failover.Request
	err   error
	late  bool // a plan that changes does so when the mail server is stopped
}

func (p *promoter) plan() failover.Plan { return p.plans[min(p.asked, len(p.plans))-1] }

func (p *promoter) Plan(context.Context) (failover.Plan, error) {
	p.asked++
	return p.plan(), nil
}

func (p *promoter) DryRun(_ context.Context, note func(string)) (failover.Plan, error) {
	p.asked++
	note("dovecot: the settings are good\x1b[2J")
	plan := p.plan()
	plan.Checks = []failover.Check{{Name: "fence hook", Verdict: failover.Bad, Detail: "it does not exist"}}
	return plan, nil
}

func (p *promoter) Run(_ context.Context, q failover.Request, report func(failover.Event)) (failover.Result, error) {
	p.got = append(p.got, q)
	if now := p.plans[min(p.asked+1, len(p.plans))-1]; q.Confirmed != now.Confirm() {
		if p.late {
			report(failover.Event{Step: failover.StepFence, Phase: failover.Begun})
		}
		return failover.Result{}, failover.ErrStale
	}
	report(failover.Event{Step: failover.StepFence, Phase: failover.Begun})
	report(failover.Event{Step: failover.StepFence, Phase: failover.Note, Text: "the mail server stops"})
	report(failover.Event{Step: failover.StepFence, Phase: failover.Done, Took: 1200 * time.Millisecond})
	return failover.Result{
		Kind: p.plan().Kind, Epoch: 2, Loss: p.plan().Loss, Seconds: 1.5,
		Steps: []failover.Timing{{Step: failover.StepFence, Seconds: 1.2}},
	}, p.err
}

func TestFailover(t *testing.T) {
	planned := failover.Plan{Kind: failover.Switchover, Epoch: 2, Primary: "mx1", Answers: true, Loss: failover.Loss{Nothing: true, Words: []string{"Nothing will be lost."}}}
	unplanned := failover.Plan{Kind: failover.Failover, Epoch: 2, Primary: "mx1", Loss: failover.Loss{Words: []string{"What changed is not known."}}}
	refused := planned
	refused.Refusals = []string{"the initial sync is not finished"}
	other := planned
	other.Primary = "mx3"
	evacuation := failover.Plan{Kind: failover.Evacuation, Epoch: 3, Primary: "mx1", Answers: true, Loss: failover.Loss{Words: []string{"What was not journaled is lost."}}}
	elsewhere := evacuation
	elsewhere.Primary = "mx3"
	refusedLate := evacuation
	refusedLate.Refusals = []string{"mx3 has 2 changes more than this node"}
	const stopped = "nothing more was done: the mail server of mx1 stays stopped until the command is run again"
	unfit := unplanned
	unfit.Unfit = "is it not mounted?"
	for _, test := range []struct {
		name     string
		plans    []failover.Plan
		fails    error
		args     []string
		answer   string // of the person; "" is nobody
		code     int
		out, err []string
		runs     int
		late     bool
	}{
		{
			name: "a person agrees", plans: []failover.Plan{planned}, answer: "yes\n", runs: 1,
			out: []string{"this node is the primary of epoch 2, after 1.5s\nnothing was lost\nfence 1.2s\n"},
			err: []string{"planned: this node takes over from mx1, as epoch 2\n  Nothing will be lost.\n", "Type yes to go on: ", "  fence: the mail server stops\nfence          1.2s\n"},
		},
		{name: "a person does not", plans: []failover.Plan{planned}, answer: "no\n", code: 2, err: []string{"nothing was done"}},
		{name: "a person goes away", plans: []failover.Plan{planned}, answer: "\n", code: 2, err: []string{"nothing was done"}},
		{name: "nobody is asked", plans: []failover.Plan{planned}, code: 2, err: []string{"nobody confirmed it", "hint: say --yes"}},
		{
			name: "nobody needs to be", plans: []failover.Plan{unplanned}, args: []string{"--yes"}, runs: 1,
			out: []string{"What changed is not known."}, err: []string{"unplanned: this node takes the place of mx1, which does not answer"},
		},
		{
			name: "the plan changes once", plans: []failover.Plan{planned, unplanned}, answer: "yes\nyes\n", runs: 2,
			err: []string{"things have changed since this was confirmed", "unplanned: "}, out: []string{"What changed is not known."},
		},
		{
			name: "the plan gets worse, and nobody is asked", plans: []failover.Plan{planned, unplanned}, args: []string{"--yes"}, code: 2, runs: 1,
			err: []string{"unplanned: ", "this was not done, for --yes agreed to another plan", "it was to be a switchover and would be a failover now", "hint: read it"},
		},
		{
			name: "the plan gets better, and nobody is asked", plans: []failover.Plan{unplanned, planned}, args: []string{"--yes"}, runs: 2,
			err: []string{"things have changed since this was confirmed", "planned: "}, out: []string{"nothing was lost"},
		},
		{
			name: "the store fails before the mail server is stopped, and nobody is asked", plans: []failover.Plan{planned, evacuation}, args: []string{"--yes"}, code: 2, runs: 1,
			err: []string{"it was to be a switchover and would be an evacuation now", "nothing was done"},
		},
		{
			name: "the store fails when the mail server is stopped, and nobody is asked", plans: []failover.Plan{planned, evacuation}, args: []string{"--yes"}, runs: 2, late: true,
			err: []string{"things have changed since this was confirmed", "unplanned: "}, out: []string{"What was not journaled is lost."},
		},
		{
			name: "the store fails then, and a person is asked", plans: []failover.Plan{planned, evacuation}, answer: "yes\nno\n", code: 1, runs: 1, late: true,
			err: []string{stopped},
		},
		{
			name: "the store fails then, and force is needed", plans: []failover.Plan{planned, refusedLate}, args: []string{"--yes"}, code: 1, runs: 1, late: true,
			err: []string{"mx3 has 2 changes more", stopped},
		},
		{
			name: "that of another fails then", plans: []failover.Plan{planned, elsewhere}, args: []string{"--yes"}, code: 1, runs: 1, late: true,
			err: []string{"this was not done, for --yes agreed to another plan", stopped},
		},
		{
			name: "the primary dies when its mail server is stopped, and nobody is asked", plans: []failover.Plan{planned, unplanned}, args: []string{"--yes"}, code: 1, runs: 1, late: true,
			err: []string{"it was to be a switchover and would be a failover now", stopped},
		},
		{
			name: "another is the primary, and nobody is asked", plans: []failover.Plan{planned, other}, args: []string{"--yes"}, code: 2, runs: 1,
			err: []string{`the primary was "mx1" and is "mx3" now`},
		},
		{name: "refused", plans: []failover.Plan{refused}, args: []string{"--yes"}, code: 1, err: []string{"not without --force: the initial sync is not finished"}},
		{
			name: "a store that is not fit", plans: []failover.Plan{unfit}, args: []string{"--yes", "--force"}, code: 1,
			err: []string{"not at all: the store here is not fit to serve mail: is it not mounted?", "nothing was done", "hint: mount or repair the store"},
		},
		{name: "forced", plans: []failover.Plan{refused}, args: []string{"--yes", "--force"}, runs: 1},
		{
			name: "a step fails", plans: []failover.Plan{planned}, args: []string{"--yes"}, code: 1, runs: 1,
			fails: &failover.StepError{Step: failover.StepFence, Err: hint.Add(errors.New("the hook failed"), "see to it"), Left: "mx1 is the primary as before"},
			err:   []string{"mailtwin: error: the promotion failed at the step fence: the hook failed; mx1 is the primary as before\nhint: see to it\n"},
		},
		{
			name: "a step fails that does not matter so much", plans: []failover.Plan{planned}, args: []string{"--yes", "--json"}, code: 3, runs: 1,
			fails: &failover.StepError{Step: failover.StepPromoteAfter, Err: errors.New("the hook failed"), Left: "run it again", Raised: true},
			out:   []string{`"epoch":2`, `"steps":[{"step":"fence","seconds":1.2}]`}, err: []string{"run it again"},
		},
		{name: "dry run", plans: []failover.Plan{planned}, args: []string{"--dry-run"}, code: 1, out: []string{"planned: ", "bad      fence hook: it does not exist\n"}, err: []string{"the settings are good?[2J"}},
		{name: "dry run for programs", plans: []failover.Plan{unplanned}, args: []string{"--dry-run", "--json"}, code: 1, out: []string{`"kind":"failover"`, `"entries":null`, `"verdict":"bad"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &shellTest{t: t, dir: shortDir(t), host: "mx1"}
			state := filepath.Join(s.dir, "state")
			s.run(0, "init", "--store", s.mkdir("vmail"), "--state", state)
			id, err := identity.Load(state, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			daemon := &promoter{plans: test.plans, err: test.fails, late: test.late}
			s.promoter = daemon
			s.serve(node{id, status.InSync}, state)
			s.in = strings.NewReader(test.answer)
			s.interactive = test.answer != ""
			report := filepath.Join(s.dir, "report")
			earlier := []byte("of an earlier run\n")
			if err := os.WriteFile(report, earlier, 0o600); err != nil {
				t.Fatal(err)
			}
			out := s.run(test.code, append([]string{"failover", "--report", report}, test.args...)...)
			if told, _ := os.ReadFile(report); !bytes.HasPrefix(told, earlier) || (test.runs > 0 && test.code != exitFailed && test.code != exitUsage) != bytes.Contains(told, []byte(`"epoch":2,`)) {
				t.Errorf("the report: %s", told)
			}
			for _, want := range test.out {
				if !strings.Contains(out, want) {
					t.Errorf("stdout lacks %q:\n%s", want, out)
				}
			}
			if test.code != 0 && len(test.out) == 0 && out != "" {
				t.Errorf("stdout: %s", out)
			}
			for _, want := range test.err {
				if !bytes.Contains(s.err.Bytes(), []byte(want)) {
					t.Errorf("stderr lacks %q:\n%s", want, &s.err)
				}
			}
			if len(daemon.got) != test.runs {
				t.Errorf("it was run %d times", len(daemon.got))
			}
		})
	}
}
