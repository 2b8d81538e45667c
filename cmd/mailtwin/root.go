package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/hint"
)

// program is what the commands have of the world outside.
type program struct {
	out, err io.Writer
	// in is where a person answers questions, if there is one: interactive.
	in          io.Reader
	interactive bool
	now         func() time.Time
	hostname    func() (string, error)
	// canonical returns the full name that a host name stands for, as the resolver
	// of this machine knows it.
	canonical func(ctx context.Context, host string) (string, error)

	config string // the path given by --config
}

// run runs the command that args name and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	root := p.root()
	started := false
	for _, c := range leaves(root) {
		do := c.RunE
		c.RunE = func(c *cobra.Command, args []string) error {
			started = true
			return do(c, args)
		}
	}
	root.SetArgs(args)
	c, err := root.ExecuteContextC(ctx)
	if err != nil && !started && hint.Of(err) == "" {
		err = hint.Add(err, "see `%s --help`", c.CommandPath())
	}
	complain(p.err, err)
	return exitCode(c.Name(), started, err)
}

// oneOfThem takes only the arguments that a command names as valid, and names them
// to whoever has given another one.
func oneOfThem(c *cobra.Command, args []string) error {
	for _, arg := range args {
		if !slices.Contains(c.ValidArgs, arg) {
			return hint.Add(fmt.Errorf("`%s` does not know %q", c.CommandPath(), arg), "give one of %s", strings.Join(c.ValidArgs, ", "))
		}
	}
	return nil
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "mailtwin",
		Short:         "Keep a twin of a mailstore on another machine, within milliseconds",
		Long:          "mailtwin keeps a twin of a mailstore on another machine, within milliseconds.\n\n" + exitCodes,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetOut(p.out)
	root.SetErr(p.err)
	root.PersistentFlags().StringVar(&p.config, "config", config.DefaultPath, "the `file` with the node's settings")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(p.initCommand(), p.joinCommand(), p.daemonCommand(), p.statusCommand(), p.waitCommand(), p.failoverCommand(), p.rejoinCommand(),
		p.acceptCommand(), p.paceCommand(),
		p.holdCommand("hold", "Hold the initial sync, scans and verification back; live mail goes on", true),
		p.holdCommand("release", "Let go on what was held back", false),
		p.inviteCommand(), p.journalCommand(), p.readyCommand(), p.demoCommand(), p.versionCommand())
	return root
}

// leaves returns the commands that do something.
func leaves(c *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	if c.RunE != nil {
		all = append(all, c)
	}
	for _, sub := range c.Commands() {
		all = append(all, leaves(sub)...)
	}
	return all
}

// note says something about what is done.
func (p *program) note(format string, args ...any) {
	fmt.Fprintf(p.err, format+"\n", args...)
}
