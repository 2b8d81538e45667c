package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

func (p *program) paceCommand() *cobra.Command {
	var bytesCap, hours string
	var reads uint64
	var asJSON bool
	c := &cobra.Command{
		Use:   "pace [gentle|normal|evacuate|pause|resume|reset]",
		Short: "Tell or change how much the array is asked for beside live mail",
		Long: "Tells how much the initial sync, scans and verification may ask of the array now, and\n" +
			"why; with an argument or an option it is changed at once. The change holds, also after a\n" +
			"restart of the daemon, until it is changed again, or until reset goes back to the settings\n" +
			"in [pace].\n\n" +
			"evacuate is as fast as can be, for an array that is failing too: what cannot be read\n" +
			"is skipped, tried once more at the end, and listed in `mailtwin status`.",
		ValidArgs: []string{"gentle", "normal", "evacuate", "pause", "resume", "reset"},
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), oneOfThem),
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		var change operator.PaceChange
		if len(args) > 0 {
			change = paceArgument(args[0])
		}
		if c.Flags().Changed("bytes") {
			n, err := bytesOf(bytesCap)
			if err != nil {
				return err
			}
			change.BytesPerSecond = &n
		}
		if c.Flags().Changed("reads") {
			change.ReadsPerSecond = &reads
		}
		if c.Flags().Changed("hours") {
			change.Hours = &hours
		}
		return p.pace(c.Context(), change, asJSON)
	}
	c.Flags().StringVar(&bytesCap, "bytes", "", "the most bytes a second, a `size` such as 40MiB; none for no cap")
	c.Flags().Uint64Var(&reads, "reads", 0, "the most reads a second, a `number`; 0 for no cap")
	c.Flags().StringVar(&hours, "hours", "", "the `hours` in which it may be fast, such as 22:00-06:00, or always")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	return c
}

// paceArgument is the change that an argument stands for.
func paceArgument(arg string) operator.PaceChange {
	paused := arg == "pause"
	switch arg {
	case "pause", "resume":
		return operator.PaceChange{Paused: &paused}
	case "reset":
		return operator.PaceChange{Reset: true}
	}
	return operator.PaceChange{Profile: &arg}
}

func bytesOf(text string) (uint64, error) {
	if text == "none" || text == "0" {
		return 0, nil
	}
	size, err := config.ParseSize(text)
	if err != nil {
		return 0, hint.Add(fmt.Errorf("--bytes: %w", err), "write it like --bytes 40MiB, or none for no cap")
	}
	return uint64(size), nil
}

func (p *program) holdCommand(use, short string, paused bool) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		Long: short + ".\nThis holds also after a restart of the daemon. `mailtwin status` says since when the\n" +
			"pace is held; release ends that, and `mailtwin pace reset` all that was set by hand.",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.pace(c.Context(), operator.PaceChange{Paused: &paused}, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	return c
}

func (p *program) pace(ctx context.Context, change operator.PaceChange, asJSON bool) error {
	client, err := p.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	pace, raw, err := client.Pace(ctx, change)
	if err != nil {
		return err
	}
	if !asJSON {
		return status.RenderPace(p.out, &pace)
	}
	_, err = fmt.Fprintf(p.out, "%s\n", bytes.TrimSpace(raw))
	return err
}
