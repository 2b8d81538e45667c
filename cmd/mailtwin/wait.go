package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// waitTimeout is how long `wait` waits unless it is told otherwise.
const waitTimeout = time.Minute

func (p *program) waitCommand() *cobra.Command {
	timeout := duration(waitTimeout)
	c := &cobra.Command{
		Use:   "wait",
		Short: "On the primary, wait until what has happened to the store is durable on every mirror",
		Long: "On the primary, waits until all changes that it has noticed are durable on every\n" +
			"mirror. It is meant for scripts: a backup, an update or a reboot that should lose\n" +
			"nothing. A change of the last few milliseconds may not be noticed yet; where the\n" +
			"store is scanned because it cannot be watched, one since the last scan.\n\n" +
			"It ends with 1 when the time is over and when the daemon does not answer.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := p.daemon()
			if err != nil {
				return err
			}
			defer client.Close()
			ctx, cancel := context.WithTimeout(c.Context(), timeout.Duration())
			defer cancel()
			return client.WaitDurable(ctx)
		},
	}
	c.Flags().Var(&timeout, "timeout", "how long to wait at most, such as 30s or 5m")
	return c
}
