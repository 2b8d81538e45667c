package replicator

import (
	"fmt"

	"github.com/mailtwin/mailtwin/replicator/primary"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// judgeMirror finds the state of a mirror, and says why.
func judgeMirror(m primary.MirrorState, pending uint64) (status.State, string) {
	switch {
	case !m.Connected && m.Behind:
		return status.Unknown, "not connected, and the journal no longer reaches back to where it was: it will have to compare"
	case !m.Connected && m.LastError != "":
		return status.Unknown, "not connected: " + m.LastError
	case !m.Connected:
		return status.Unknown, "not connected"
	case m.State == "":
		return status.Unknown, "connected, and has not yet said how it is"
	case m.State == "comparing":
		return status.Syncing, m.Detail
	case m.Detail != "":
		return status.Attention, m.Detail
	case m.Missing > 0:
		return status.Attention, fmt.Sprintf("lacks the content of %d files", m.Missing)
	case m.LagEntries > 0:
		return status.Behind, "changes are on their way"
	case m.Assumed > 0:
		return status.Behind, status.AssumedWords(m.Assumed)
	case !m.Proven:
		return status.Behind, "has everything, but it is not proven yet that both are equal"
	case pending > 0:
		return status.Behind, fmt.Sprintf("%d names are still to be looked at", pending)
	}
	return status.InSync, "everything is durable there"
}
