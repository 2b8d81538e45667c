package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"

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
	if h := remedy(err); h != "" {
		fmt.Fprintf(w, "hint: %s\n", h)
	}
}

// remedy is what to do about an error: what it says itself, else what can be said
// of any error of its kind.
func remedy(err error) string {
	h := hint.Of(err)
	switch {
	case h != "":
		return h
	case errors.Is(err, fs.ErrPermission):
		return "give the command as root, or as the user that the node belongs to"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "make room on that disk, and give the command again"
	case errors.Is(err, unix.EROFS):
		return "mount that file system so that it can be written to, or choose another place"
	}
	return ""
}
