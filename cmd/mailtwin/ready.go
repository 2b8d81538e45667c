package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
)

// readyWait is how long a login waits: longer than a mailbox takes, shorter
// than mail clients do.
const readyWait = 20 * time.Second

func (p *program) readyCommand() *cobra.Command {
	wait := duration(readyWait)
	c := &cobra.Command{
		Use:   "ready [USER]",
		Short: "After a promotion, wait until a user's mailboxes may be opened",
		Long: "After a promotion, waits until the HIGHESTMODSEQ of the user's mailboxes is raised,\n" +
			"so that IMAP clients see exactly what changed, and puts that user first. Without a\n" +
			"user it waits for all. Where there is nothing to wait for it returns at once.\n\n" +
			"It ends with 1 when the time is over and when the daemon does not answer. It is meant\n" +
			"for the post-login script of Dovecot, which lets the client in all the same.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			user := ""
			if len(args) > 0 {
				if user = args[0]; user == "" {
					return errors.New("the name of the user is empty")
				}
			}
			client, err := p.daemon()
			if err != nil {
				return err
			}
			defer client.Close()
			ctx, cancel := context.WithTimeout(c.Context(), wait.Duration())
			defer cancel()
			return client.Ready(ctx, user)
		},
	}
	c.Flags().Var(&wait, "wait", "how long to wait at most, such as 20s or 5m")
	return c
}
