// Package hook runs the operator's own programs around a change of roles: what
// stops the mail server of the old primary, moves an address, starts the mail
// server of the new one.
//
// # The contract
//
// There are three hooks, each an executable that the settings name:
//
//	fence    makes sure that the old primary takes no more mail. In a planned
//	         switchover it runs on the old primary itself; when that does not
//	         answer it runs on the mirror that is to be promoted, and has to
//	         see to it from outside: by IPMI, a switched socket, a hypervisor
//	promote  makes this node, the new primary, the one that clients reach
//	demote   makes this node, no longer primary, one that clients do not reach
//
// Each is run twice, with one argument: `HOOK before`, while the step can
// still be called off, and `HOOK after`, once it is done. An exit status of 0
// means that what is asked for is so now; any other stops what it was run for,
// unless the operator forces it. A hook may be run again at any time, after a
// crash or because the operator repeats the command, so it is idempotent: it
// brings about a state and does not mind when that is there already. A node that
// is fenced runs demote each minute.
//
// `promote before` changes nothing: it tests whether this node could take over
// (the settings of the mail server, a route, a key), and a dry run of the
// command runs it too. It may be all that is run, for a promotion can be called
// off after it.
//
// # The environment
//
//	MAILTWIN_EVENT         fence, promote or demote
//	MAILTWIN_PHASE         before or after, as the argument
//	MAILTWIN_NODE          the name of this node
//	MAILTWIN_PEER          the name of the other node that is concerned: the
//	                       one to be fenced, the old or the new primary; empty
//	                       if it is not known
//	MAILTWIN_PEER_ADDRESS  where that node listens, host:port; may be empty
//	MAILTWIN_EPOCH         the epoch that begins with this change
//	MAILTWIN_STORE         the directory of this node's mailstore
//	MAILTWIN_PLANNED       yes if both nodes take part, otherwise no
//	MAILTWIN_REASON        why, in words for a log
//
// Beside these there are only PATH, HOME, USER, LOGNAME, LANG, LC_ALL and TZ,
// as the daemon has them; PATH has a usual value where the daemon has none.
// Nothing else that the daemon was given reaches a hook, and none of its open
// files. The standard input is /dev/null, the working directory /, the user
// that of the daemon.
//
// # Output
//
// What a hook writes to its standard output and standard error is passed on
// line by line, to the daemon's log and to the operator's terminal. A line is
// cut at MaxLine bytes, and after MaxLines the rest is only counted. A process
// that is meant to stay behind has to have its output elsewhere: when the hook
// has ended, its output is closed soon after.
//
// # The limit
//
// A hook that runs longer than the settings allow is ended with all processes
// of its group: by SIGTERM, and five seconds later by SIGKILL. What it started
// in a session of its own is left alone, as are processes that stay behind
// after a hook that ended in time.
//
// # Who may be a hook
//
// Hooks run with the rights of the daemon. So a file that others can write to,
// or that lies in a directory that others can write to, is refused, as is one
// that belongs to somebody else than root or the user of the daemon.
//
// The folder examples has hooks that are in use in the tests.
package hook
