package replicator

import (
	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/modseq"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// imapOf is what the status says of the mailboxes of a primary; nil for one
// that was never promoted, whose mailboxes are as they were.
func imapOf(s modseq.Status, epoch journal.Epoch) *status.IMAP {
	if epoch <= 1 {
		return nil
	}
	i := &status.IMAP{
		State: string(s.State), Modseq: s.Modseq,
		Done: s.Done, Left: s.Left, Failing: s.Failing, Listed: s.Listed,
	}
	if s.Err != nil {
		i.Error = s.Err.Error()
	}
	return i
}
