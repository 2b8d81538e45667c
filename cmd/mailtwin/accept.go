package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/operator"
)

func (p *program) acceptCommand() *cobra.Command {
	var yes, asJSON bool
	c := &cobra.Command{
		Use:   "accept missing|store|kept [--yes]",
		Short: "Agree to what is not replicated, or not ended, before a person has said so",
		Long: "Without --yes it only shows what there is, and changes nothing. On the primary:\n\n" +
			"  missing   The content of some files never came to this node before it was promoted.\n" +
			"            They are known by name, no client sees them, and `status` needs attention\n" +
			"            for them. If the disk of the former primary lives, `mailtwin rejoin` there\n" +
			"            brings them: do that first. To accept it gives them up: they count as\n" +
			"            removed here and on all mirrors, and are not brought over later.\n\n" +
			"  store     What is at the store's path is another directory or file system than\n" +
			"            before, or nothing that was in it is there. If that is right, because you\n" +
			"            copied all mail there, accept it: everything is compared then, and what is\n" +
			"            not there is removed from the mirrors too. So a backup, which is older than\n" +
			"            the mirrors, is not to be accepted: promote a mirror instead. If it is not\n" +
			"            mounted, mount it. An empty store is never accepted: if all mail is to be\n" +
			"            removed on the mirrors too, put a directory into it first.\n\n" +
			"On any node that was a former primary and has rejoined:\n\n" +
			"  kept      Messages that it had alone and that could not be delivered, or may have\n" +
			"            been removed elsewhere, are in ..mailtwin/history at its store's root, and\n" +
			"            `status` needs attention for them. Bring over what is missed: put it into\n" +
			"            `new` of its mailbox on the primary. Then accept it, or remove that\n" +
			"            directory. To accept it removes nothing.",
		ValidArgs: []string{"missing", "store", "kept"},
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(c *cobra.Command, args []string) error {
			return p.accept(c.Context(), args[0], yes, asJSON)
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "agree to it")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	return c
}

func (p *program) accept(ctx context.Context, what string, yes, asJSON bool) error {
	client, err := p.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	found, err := client.Accept(ctx, operator.Accepting{
		Missing: yes && what == "missing", Store: yes && what == "store", Kept: yes && what == "kept", OfKept: what == "kept",
	})
	if err != nil {
		return err
	}
	if asJSON {
		return p.printJSON(found)
	}
	switch what {
	case "store":
		return p.acceptedStore(found, yes)
	case "kept":
		return p.acceptedKept(found, yes)
	}
	return p.acceptedMissing(found, yes)
}

func (p *program) acceptedStore(found operator.Acceptable, yes bool) error {
	switch {
	case found.Store == "":
		fmt.Fprintln(p.out, "the store is as it was: there is nothing to accept")
	case yes:
		fmt.Fprintln(p.out, "accepted; everything is compared now, see `mailtwin status`")
	default:
		fmt.Fprintln(p.out, visible(found.Store))
		return hint.Add(errors.New("nothing was accepted"), "if what is there now is right, say `mailtwin accept store --yes`")
	}
	return nil
}

func (p *program) acceptedKept(found operator.Acceptable, yes bool) error {
	switch {
	case found.Kept == "":
		fmt.Fprintln(p.out, "no rejoin has kept anything that nobody has seen to: there is nothing to accept")
	case yes:
		fmt.Fprintln(p.out, "accepted; the messages stay where they are")
	default:
		fmt.Fprintln(p.out, visible(found.Kept))
		return hint.Add(errors.New("nothing was accepted"), "when you have seen to it, say `mailtwin accept kept --yes`")
	}
	return nil
}

func (p *program) acceptedMissing(found operator.Acceptable, yes bool) error {
	for _, f := range found.MissingFiles {
		fmt.Fprintln(p.out, visible(f))
	}
	if more := found.Missing - min(uint64(len(found.MissingFiles)), found.Missing); more > 0 {
		fmt.Fprintf(p.out, "and %d more\n", more)
	}
	switch {
	case found.Missing == 0:
		fmt.Fprintln(p.out, "no content is missing: there is nothing to accept")
	case yes:
		fmt.Fprintf(p.out, "%d files are given up; see `mailtwin status`\n", found.Missing)
	default:
		return hint.Add(fmt.Errorf("the content of %d files is missing; nothing was accepted", found.Missing),
			"bring them by `mailtwin rejoin` on the former primary, if its disk lives; else say `mailtwin accept missing --yes`")
	}
	return nil
}
