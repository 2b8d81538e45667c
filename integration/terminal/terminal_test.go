package terminal

import (
	"errors"
	"os/exec"
	"testing"
)

func TestRun(t *testing.T) {
	const script = `
test -t 0 && test -t 1 && test -t 2 && echo "a terminal"
for n in 1 2; do
	printf "Sure? " >&2
	read -r answer
	echo "answer $n: $answer"
done
exit 3`
	thoughts := []string{"yes", "no"}
	seen, err := Run(exec.CommandContext(t.Context(), "sh", "-c", script), Answer{Question: "Other?", Text: "no"}, Answer{Question: "Sure?", Think: func() string {
		first := thoughts[0]
		thoughts = thoughts[1:]
		return first
	}})
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 {
		t.Errorf("%v, want exit status 3", err)
	}
	want := "a terminal\nSure? yes\nanswer 1: yes\nSure? no\nanswer 2: no\n"
	if seen != want {
		t.Errorf("%q, want %q", seen, want)
	}
	if _, err := Run(exec.CommandContext(t.Context(), "/nowhere")); err == nil {
		t.Error("what is not there ran")
	}
}
