// Package failover makes a mirror the primary: step by step, each with a name,
// in one order (see run.do), against what the node, its peers and its hooks
// are to it. It knows no network and no files.
//
// # The kinds
//
// A switchover is planned: the primary answers, stops its mail server, seals
// its journal, and nothing is lost. A failover is not: no primary answers, and
// a person confirms what may be lost. An evacuation is a failover whose
// primary answers, though its store cannot be observed: what its journal holds
// is fetched first. A takeback lets a primary go on that sealed its journal for
// a node which never took over. Finish does what a promotion left undone.
//
// # The steps
//
//	plan            looks at the peers and at this node's own store again; refused if it
//	                is not what was confirmed, or if no mail could be served of the store
//	claim           the epoch is promised to this node, durably: here, then by all who answer
//	fence           the primary stops its mail server and seals its journal; if it
//	                cannot be asked, the fence hook sees to it from here
//	drain           the rest of the sealed journal becomes durable here, with the
//	                contents that are on their way
//	prove           position and digest are those of the sealed primary, nothing is missing
//	promote-before  the promote hook may say no
//	journal         following ends; the journal that goes on from here is made
//	raise           the role is primary, durably: the point of no return
//	open            the primary's part begins
//	promote-after   the promote hook starts the mail server
//	crown           the peers are told that answer; the others later. What was begun
//	                is finished with this
//
// A node whose own store is not mounted, or cannot be written and read, is promoted
// by nobody, not by force either, and nothing is done to the former primary: a mail
// server on an empty directory would have clients drop their copies.
//
// Nobody waits for the dead for long. A primary that is followed has spoken each
// second: when it is silent there for a second and a half, and does not answer
// meanwhile, it is not waited for any more. And nobody waits for them twice. A peer that did not answer when the plan was
// made is not asked again by a run that begins within seconds of it, and waited
// for shortly after that, as is a primary whose stream of changes is broken. The
// node serves when promote-after is done.
//
// # What a failure or a crash leaves
//
// Until fence nothing has changed but promises, which cost nothing: the next
// attempt claims a higher epoch. A primary that was sealed goes on when it is
// told to by the attempt that failed; when that crashed, or is not heard, the
// primary stays sealed, for it cannot know whether the other was raised. Then
// the same command goes on: on the mirror, which finds the primary sealed and
// takes over; or on the primary itself, which takes its mail back with a
// higher epoch still. A journal that was made before a crash is replaced. A
// primary whose mail server was stopped, and that was not sealed, starts it again
// when it has heard nothing of the attempt for a while.
//
// From raise on nothing is undone. A crash leaves a primary whose mail server
// may not have been started; it knows that its promotion is unfinished, and the
// same command finishes it. A former primary that was not told asks before it
// serves.
//
// # The primary that yields
//
// The node that is asked to has steps of its own:
//
//	promise         it agrees to the claim, durably
//	stop-mail       the fence hook stops its mail server
//	observe         what the mail server has left is journaled and durable
//	seal            the journal ends
//	note            that it is sealed is noted, durably
//	demote          it is told who leads now, and notes that it is a mirror, or fenced
//	bequeath        its catalog becomes that of a mirror
//
// A crash before it has noted that it is sealed leaves a primary, which goes on
// by itself; after that one that is sealed, as above. The journal that ended and
// is not noted is opened again, with nothing in it that was not in the store.
//
// # Crashes that are wanted
//
// For tests alone, the environment of a daemon can have it crash there:
// MAILTWIN_CRASH_AT=<step> kills it, with SIGKILL and without any cleaning up,
// at the moment at which the step, of its own promotion or of yielding, has begun,
// and <step>/done right after it is done. What is no step keeps the daemon from
// starting.
//
// # One wins
//
// Of two promotions the one with the better claim wins: the higher epoch, then
// the name that comes first. A promise given to the better claim takes that of
// the other back, and a node is raised only while its own promise still
// stands. A primary that is sealed for one node promises nothing to another.
// Two nodes that reach neither one another nor a third may both be raised; the
// fence hook is what keeps that from happening, and when they meet, the better
// claim decides.
package failover
