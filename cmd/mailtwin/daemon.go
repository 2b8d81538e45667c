package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/mailtwin/mailtwin/replicator"
	"github.com/mailtwin/mailtwin/replicator/config"
)

func (p *program) daemonCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "daemon",
		Short: "Run the node in its role until SIGTERM",
		Long: "Runs the node in its role until SIGTERM or an interrupt, and stops cleanly then. The\n" +
			"log goes to stderr. Under systemd it tells when it is ready and answers the watchdog.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return p.runDaemon(c.Context()) },
	}
}

func (p *program) runDaemon(ctx context.Context) error {
	c, err := config.Load(p.config)
	if err != nil {
		return err
	}
	promoting, err := crashAt(os.Getenv(crashVariable), killSelf)
	if err != nil {
		return err
	}
	alive, stop := context.WithCancel(ctx)
	defer stop()
	go answerWatchdog(alive)
	context.AfterFunc(alive, func() { notify("STOPPING=1", "STATUS=stopping") })
	return replicator.Run(ctx, c, replicator.Options{
		Log:   newLogger(p.err, c.Log),
		Clock: clock{},
		Ready: func() { notify("READY=1", fmt.Sprintf("STATUS=%s runs; ask `mailtwin status`", c.Node.Name)) },

		Promoting: promoting,
	})
}

// answerWatchdog tells systemd that this process is scheduled, if it wants to
// be told.
func answerWatchdog(ctx context.Context) {
	interval := watchdog()
	if interval == 0 {
		return
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			notify("WATCHDOG=1")
		}
	}
}

func newLogger(w io.Writer, c config.Log) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name:       "mailtwin",
		Level:      hclog.LevelFromString(string(c.Level)),
		Output:     w,
		JSONFormat: c.Format == config.FormatJSON,
	})
}

// clock is the machine's.
type clock struct{}

// Now implements replicator.Clock.
func (clock) Now() time.Time { return time.Now() }

// After implements replicator.Clock.
func (clock) After(d time.Duration) <-chan time.Time { return time.After(d) }
