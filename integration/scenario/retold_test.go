package scenario

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// What .ci/run must not have told again is what a story says of mail that is wrong.
func TestAVerdictOnMailIsNotRetold(t *testing.T) {
	script, err := os.ReadFile("../../.ci/run")
	must(t, err)
	if !bytes.Contains(script, []byte("|"+onMail+"'")) {
		t.Errorf(".ci/run does not look for %q", onMail)
	}
	if err := told("promises were not kept", []string{"m1 is lost"}); err == nil || !strings.HasPrefix(err.Error(), onMail) {
		t.Error("a message that is lost is told otherwise")
	}
}
