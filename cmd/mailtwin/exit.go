package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/mailtwin/mailtwin/replicator/hint"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitUnknown = 3
	// The node has become primary, and something is left to be done.
	exitUnfinished = 3
)

// exitCodes is the table of them for the help. Those of status are what
// monitoring plugins end with.
const exitCodes = `Exit codes:
       status                 failover                   all others
  0    in sync                done, or would be          done
  1    behind or busy         failed, or a check is bad  failed; stderr says why and what to do
  2    needs a person         not agreed to: not done    used in a wrong way; nothing was done
  3    unknown, or failed     primary, but not all done  -`

// verdict ends a command with a code, without anything having failed.
type verdict int

func (v verdict) Error() string { return fmt.Sprintf("exit code %d", int(v)) }

// exitCode is the table in code. started says that the command was begun, not
// only looked at; a failure before that is one of usage.
func exitCode(command string, started bool, err error) int {
	v, isVerdict := errors.AsType[verdict](err)
	switch {
	case err == nil:
		return exitOK
	case isVerdict:
		return int(v)
	case command == "status":
		return exitUnknown
	case !started:
		return exitUsage
	}
	return exitFailed
}

// complain says what went wrong, once, and what to do about it if that is
// known.
func complain(w io.Writer, err error) {
	if _, ok := errors.AsType[verdict](err); ok || err == nil {
		return
	}
	fmt.Fprintf(w, "mailtwin: error: %v\n", err)
	if h := hint.Of(err); h != "" {
		fmt.Fprintf(w, "hint: %s\n", h)
	}
}
