package replicator

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/mailtwin/mailtwin/replicator/progress"
)

// handClock is set by the test.
type handClock struct{ now time.Time }

func (c *handClock) Now() time.Time                       { return c.now }
func (c *handClock) After(time.Duration) <-chan time.Time { return nil }

// TestTracker: the log hears of a sync once a minute and at its end, and the
// status says what is known at each moment.
func TestTracker(t *testing.T) {
	clock := &handClock{now: time.Unix(1_700_000_000, 0)}
	var out bytes.Buffer
	tr := newTracker(clock, hclog.New(&hclog.LoggerOptions{Output: &out}))
	at := func(done uint64) course {
		return course{going: true, counted: true, State: progress.State{Messages: 10_000, MessagesDone: done, Bytes: 1e6, BytesDone: done * 100}}
	}
	tr.note("mx2", course{})
	if tr.describe("mx2", course{}) != nil {
		t.Error("progress without a sync")
	}
	tr.note("mx2", course{going: true})
	if p := tr.describe("mx2", course{going: true}); p.SecondsLeft != nil || !strings.Contains(p.Basis, "found out") {
		t.Errorf("before the store is counted: %+v", p)
	}
	for i := range 60 { // five minutes
		clock.now = clock.now.Add(sampleInterval)
		tr.note("mx2", at(uint64(i*50)))
	}
	p := tr.describe("mx2", at(2950))
	if p.SecondsLeft == nil || *p.SecondsLeft < 600 || *p.SecondsLeft > 900 || p.FilesPerSecond < 9 || p.FilesPerSecond > 11 {
		t.Errorf("after five minutes: %+v, %v", p, p.Left())
	}
	if n := strings.Count(out.String(), "sync goes on"); n != 5 {
		t.Errorf("the log has %d lines:\n%s", n, out.String())
	}
	tr.note("mx2", course{State: at(10_000).State})
	if !strings.Contains(out.String(), "sync finished: mirror=mx2 files=10000") {
		t.Errorf("the log says\n%s", out.String())
	}
	if len(tr.runs) > 0 {
		t.Error("it is remembered for ever")
	}
}
