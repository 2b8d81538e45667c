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
			"            before, or nothing that was in it is there; or so it is with a directory in\n" +
			"            it that `status` names, which is not replicated meanwhile; or messages were\n" +
			"            changed in place, as no mail server does. If something is not mounted, mount\n" +
			"            it. If it is right, because you copied all mail there, or gave a domain up,\n" +
			"            accept it: everything is compared then, and what is not there is removed from\n" +
			"            the mirrors too. So a backup, which is older than the mirrors, is not to be\n" +
			"            accepted: promote a mirror instead. An empty store is never accepted: if all\n" +
			"            mail is to be removed on the mirrors too, put a directory into it first.\n\n" +
			"On any node that was a former primary and has rejoined:\n\n" +
			"  kept      Messages that it had alone and that could not be delivered, or may have\n" +
			"            been removed elsewhere, are in ..mailtwin/history at its store's root, and\n" +
			"            `status` needs attention for them. Bring over what is missed: put it into\n" +
			"            `new` of its mailbox on the primary. Then accept it, or remove that\n" +
			"            directory. To accept it removes nothing.",
		ValidArgs: []string{"missing", "store", "kept"},
		Args:      cobra.MatchAll(cobra.ExactArgs(1), oneOfThem),
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
	return p.accepted(found.Store, yes, "the store is as it was, and all in it: there is nothing to accept",
		"accepted; everything is compared now, see `mailtwin status`",
		"if what is there now is right, say `mailtwin accept store --yes`")
}

func (p *program) acceptedKept(found operator.Acceptable, yes bool) error {
	return p.accepted(found.Kept, yes, "no rejoin has kept anything that nobody has seen to: there is nothing to accept",
		"accepted; the messages stay where they are",
		"when you have seen to it, say `mailtwin accept kept --yes`")
}

// accepted says what became of something that was found, in words: none is said where
// nothing was, done where it was accepted, and how to accept it where it was not.
func (p *program) accepted(found string, yes bool, none, done, how string) error {
	switch {
	case found == "":
		fmt.Fprintln(p.out, none)
	case yes:
		fmt.Fprintln(p.out, done)
	default:
		fmt.Fprintln(p.out, visible(found))
		return hint.Add(errors.New("nothing was accepted"), "%s", how)
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
