package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/mailtwin/mailtwin/replicator/failover"
	"github.com/mailtwin/mailtwin/replicator/hint"
)

// crashVariable names the step of a promotion at which a daemon that is tested
// kills itself; see the package failover.
const crashVariable = "MAILTWIN_CRASH_AT"

// crashAt returns what is to be told of promotions so that the process ends at
// once, without any cleaning up, when a step has begun, or with "<step>/done"
// when it is done; nil for "".
func crashAt(where string, crash func()) (func(failover.Event), error) {
	if where == "" {
		return nil, nil
	}
	step, after := strings.CutSuffix(where, "/done")
	if !slices.Contains(slices.Concat(failover.Steps(), failover.YieldSteps()), failover.Step(step)) {
		return nil, hint.Add(fmt.Errorf("%s: a promotion has no step %q", crashVariable, step), "unset it: it is for tests alone")
	}
	phases := []failover.Phase{failover.Begun}
	if after {
		phases = []failover.Phase{failover.Done, failover.Skipped}
	}
	return func(e failover.Event) {
		if e.Step == failover.Step(step) && slices.Contains(phases, e.Phase) {
			crash()
		}
	}, nil
}

// killSelf ends this process as a crash does.
func killSelf() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}
