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
	seen, err := Run(exec.CommandContext(t.Context(), "sh", "-c", script), Answer{"Other?", "no"}, Answer{"Sure?", "yes"})
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 {
		t.Errorf("%v, want exit status 3", err)
	}
	want := "a terminal\nSure? yes\nanswer 1: yes\nSure? yes\nanswer 2: yes\n"
	if seen != want {
		t.Errorf("%q, want %q", seen, want)
	}
	if _, err := Run(exec.CommandContext(t.Context(), "/nowhere")); err == nil {
		t.Error("what is not there ran")
	}
}
