package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/operator"
)

func (p *program) forgetCommand() *cobra.Command {
	var yes, asJSON bool
	c := &cobra.Command{
		Use:   "forget NAME [--yes]",
		Short: "Say that a mirror does not come back: nothing waits for it any more",
		Long: "On the primary: the node NAME is gone for good. The journal is not kept for it any\n" +
			"more, the status does not wait for it, and its name is free for another machine. What\n" +
			"it knows as a node of the pair is void: if it comes back all the same, it is turned\n" +
			"away, and joins again with a new token, an empty state directory and --adopt. A\n" +
			"former primary can bring over with `mailtwin rejoin` what it never replicated, before\n" +
			"it does. A node that answers is not forgotten.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.forget(c.Context(), args[0], yes, asJSON)
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	return c
}

func (p *program) forget(ctx context.Context, name string, yes, asJSON bool) error {
	client, err := p.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	ask := func(agreed bool) (operator.Forgettable, error) {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		return client.Forget(ctx, name, agreed)
	}
	if !yes {
		found, err := ask(false)
		if err != nil {
			return err
		}
		for _, line := range describeForgettable(found) {
			p.note("%s", line)
		}
		if !p.interactive {
			return hint.Add(errors.New("nothing was done: nobody confirmed it"), "say --yes to go on without being asked")
		}
		if err := p.confirm(ctx); err != nil {
			return err
		}
	}
	found, err := ask(true)
	if err != nil {
		return err
	}
	if asJSON {
		return p.printJSON(found)
	}
	for _, line := range describeForgettable(found) {
		fmt.Fprintln(p.out, line)
	}
	return nil
}

// describeForgettable says what it means to forget a node.
func describeForgettable(f operator.Forgettable) []string {
	first := "is to be forgotten"
	if f.Forgotten {
		first = "is forgotten"
	}
	at := ""
	if f.Address != "" {
		at = ", which was at " + printable(f.Address) + ","
	}
	lines := []string{fmt.Sprintf("%s%s %s: if it comes back, it has to join anew, with --adopt", printable(f.Name), at, first)}
	if f.Journal {
		lines = append(lines, fmt.Sprintf("  it had everything up to change %d; the %d after that are not kept for it", f.Sequence, f.Entries))
	}
	if f.Mirrors == 0 {
		lines = append(lines, "  no mirror is left: nothing is protected until one joins, see `mailtwin invite`")
	}
	return lines
}
