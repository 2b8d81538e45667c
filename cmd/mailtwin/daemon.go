package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
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
	crash, err := crashAt(os.Getenv(crashVariable), killSelf)
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
		Boot:  boot(),
		Ready: func() { notify("READY=1", fmt.Sprintf("STATUS=%s runs; ask `mailtwin status`", c.Node.Name)) },

		Promoting: crash,
		Yielding:  crash,
	})
}

// bootVariable names the boot of the machine for a daemon whose /proc speaks of
// another one: that of a container may go down alone.
const bootVariable = "MAILTWIN_BOOT"

// boot returns the name of the present boot of the machine, "" if there is none
// to be had; see random(4) of Linux, boot_id.
func boot() string {
	if name := os.Getenv(bootVariable); name != "" {
		return name
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
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
