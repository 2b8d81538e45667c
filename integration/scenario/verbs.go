package scenario

import (
	"context"
	"regexp"
)

// verb is a sentence and what it does.
type verb struct {
	sentence string
	// needs is the command of mailtwin that it runs, if a pair can do without.
	needs string
	run   func(ctx context.Context, r *run, args []string) error
	many  bool // it does many things, and bounds how long each of them takes

	kinds   []string // of the words in capitals
	pattern *regexp.Regexp
}

// verbs is the table of all sentences.
func verbs() []verb {
	const failover, rejoin = "failover", "rejoin"
	return []verb{
		// The beginning.
		{sentence: "HOST is the first primary", run: firstPrimary},
		{sentence: "HOST joins HOST as a mirror", run: joins},
		{sentence: "HOST will keep its state on its array", run: stateOnArray},
		{sentence: "NUMBER messages are delivered", run: delivered, many: true},

		// Time goes by.
		{sentence: "users work", run: usersWork},
		{sentence: "users rest", run: usersRest},
		{sentence: "wait DURATION to DURATION", run: wait},
		{sentence: "everything is replicated from HOST to HOST", run: replicated},

		{sentence: "a client fetches copies of all mail", run: copiesFetched},

		// What goes wrong, and is mended.
		{sentence: "the power of HOST is cut", run: powerCut},
		{sentence: "the power of HOST is cut, and all that was not replicated may be lost", run: powerCutLoosely},
		{sentence: "the power of HOST returns", run: powerOn},
		{sentence: "the link between HOST and HOST is cut", run: linkCut},
		{sentence: "the link between HOST and HOST is mended", run: linkMended},
		{sentence: "the cable of HOST is pulled", run: unplugged},
		{sentence: "the cable of HOST is plugged in", run: pluggedIn},
		{sentence: "the cable of HOST carries only NUMBER kB/s", run: slow},
		{sentence: "the cable of HOST is fast again", run: fast},
		{sentence: "the array of HOST fails", run: arrayFails},
		{sentence: "the array of HOST is unmounted", run: arrayVanishes},
		{sentence: "the array of HOST turns read-only", run: arrayReadOnly},
		{sentence: "the array of HOST is back", run: arrayReturns},
		{sentence: "a backup of the array of HOST is made", run: arrayBackedUp},
		{sentence: "the array of HOST is back as the backup has it", run: arrayRestored},
		{sentence: "mailtwin on HOST is killed", run: killed},
		{sentence: "mailtwin on HOST is started", run: started},
		{sentence: "mailtwin on HOST will crash at the step TEXT", run: willCrash},
		{sentence: "NUMBER messages are delivered to HOST by its own address", run: deliveredTo, many: true},

		// What the operator does.
		{sentence: "the operator switches over to HOST", needs: failover, run: switchOver},
		{sentence: "the operator switches over to HOST, which crashes", needs: failover, run: switchOverCrashes},
		{sentence: "the operator fails over to HOST", needs: failover, run: failOver},
		{sentence: "the operator fails over to HOST, or to HOST if that has more", needs: failover, run: failOverWhereMoreIs},
		{sentence: "the operator fails over to HOST by force", needs: failover, run: failOverByForce},
		{sentence: "the operator fails over to HOST, which crashes", needs: failover, run: failOverCrashes},
		{sentence: "the operator fails over to HOST and is refused: TEXT", needs: failover, run: failOverRefused},
		{sentence: "the operator takes the mail back on HOST", needs: failover, run: switchOver},
		{sentence: "two operators fail over to HOST and HOST at once", needs: failover, run: failOverTwice},
		{sentence: "an operator reads what a failover to HOST would do, and agrees after another one has promoted HOST", needs: failover, run: failOverTooLate},
		{sentence: "the operator on HOST types mailtwin TEXT", run: types},
		{sentence: "the operator waits until the status of HOST says TEXT", run: saysOf},
		{sentence: "the operator starts the mail server on HOST by hand", run: byHand},
		{sentence: "the operator lets HOST rejoin", needs: rejoin, run: rejoins},

		// What must be true.
		{sentence: "expect that HOST is the only primary", run: onlyPrimary},
		{sentence: "expect that there is one primary", run: onePrimary},
		{sentence: "expect that HOST is a mirror", run: isMirror},
		{sentence: "expect that HOST is fenced", run: isFenced},
		{sentence: "expect that HOST is in sync with HOST", run: inSync},
		{sentence: "expect that all others are in sync with the primary", run: allInSync, many: true},
		{sentence: "expect that HOST serves no mail", run: servesNoMail},
		{sentence: "expect that nothing is lost", run: nothingLost},
		{sentence: "expect that only what was not replicated is lost", run: onlyUnreplicatedLost},
		{sentence: "expect that the client catches up by what has changed alone", run: copiesCatchUp},
	}
}
