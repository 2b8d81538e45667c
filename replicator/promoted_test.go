package replicator

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The log keeps what a promotion may lose and what its hooks write, for whoever comes
// when the terminal of the operator is gone.
func TestTheLogTellsOfAPromotion(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx2 := c.nodes["mx2"]
	mx2.stop()
	c.nodes["mx1"].stop()
	mx2.cfg.Hooks.Promote = filepath.Join(t.TempDir(), "promote")
	c.must(os.WriteFile(mx2.cfg.Hooks.Promote, []byte("#!/bin/sh\necho the mail server says \"$1\"\n"), 0o755))
	var log bytes.Buffer // which is read when the node has ended
	mx2.log = &log
	mx2.start()
	c.must(mx2.promotion(false))
	mx2.stop()
	for _, want := range []string{
		"failover to epoch 2", "What changed there is not known.", "The initial sync was complete.",
		"the mail server says before", "the mail server says after",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
}
