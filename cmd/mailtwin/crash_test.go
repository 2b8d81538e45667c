package main

import (
	"slices"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/failover"
)

func TestADaemonCrashesOnlyWhereItIsToldTo(t *testing.T) {
	if watch, err := crashAt("", nil); watch != nil || err != nil {
		t.Errorf("without the variable: %v", err)
	}
	for _, where := range []string{"raised", "raise/", "raise/begun", "/done"} {
		if _, err := crashAt(where, nil); err == nil {
			t.Errorf("%q is taken for a step", where)
		}
	}
	for where, want := range map[string]failover.Event{
		"raise":      {Step: failover.StepRaise, Phase: failover.Begun},
		"raise/done": {Step: failover.StepRaise, Phase: failover.Done},
		"seal":       {Step: failover.StepSeal, Phase: failover.Begun},
	} {
		crashed := 0
		watch, err := crashAt(where, func() { crashed++ })
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range slices.Concat(failover.Steps(), failover.YieldSteps()) {
			for _, phase := range []failover.Phase{failover.Begun, failover.Note, failover.Done} {
				before := crashed
				e := failover.Event{Step: step, Phase: phase}
				if watch(e); (crashed > before) != (e == want) {
					t.Errorf("%s: at %v", where, e)
				}
			}
		}
	}
}
