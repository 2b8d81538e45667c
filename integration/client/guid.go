package client

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// Administrator runs Dovecot's own tool, which sees what IMAP does not show.
type Administrator interface {
	// Doveadm runs doveadm with these arguments and returns what it printed.
	Doveadm(ctx context.Context, args ...string) ([]byte, error)
}

// AddGUIDs fills in the GUIDs of the snapshot's messages.
func (s *Snapshot) AddGUIDs(ctx context.Context, a Administrator) error {
	out, err := a.Doveadm(ctx, "-f", "tab", "fetch", "-u", s.User, "mailbox uid guid", "mailbox", "*", "ALL")
	if err != nil {
		return fmt.Errorf("asking for the GUIDs of %q: %w", s.User, err)
	}
	guids := map[string]map[imap.UID]string{}
	for i, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		fields := strings.Split(line, "\t")
		if i == 0 || len(fields) != 3 {
			continue // the names of the columns, or no message at all
		}
		uid, err := strconv.ParseUint(fields[1], 10, 32)
		if err != nil {
			return fmt.Errorf("understanding doveadm's line %q: %w", line, err)
		}
		if guids[fields[0]] == nil {
			guids[fields[0]] = map[imap.UID]string{}
		}
		guids[fields[0]][imap.UID(uid)] = fields[2]
	}
	for _, box := range s.Mailboxes {
		for i := range box.Messages {
			m := &box.Messages[i]
			if m.GUID = guids[box.Name][m.UID]; m.GUID == "" {
				return fmt.Errorf("doveadm knows no GUID of message %d in %q of %q", m.UID, box.Name, s.User)
			}
		}
	}
	return nil
}
