package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/operator"
)

func (p *program) inviteCommand() *cobra.Command {
	var asJSON bool
	var advertise string
	validFor := duration(identity.DefaultInvitation)
	c := &cobra.Command{
		Use:   "invite",
		Short: "Make a one-time token for one more mirror and print the command that joins it",
		Long: "Makes a one-time token for one more mirror and prints the command that joins it, to\n" +
			"be run on its machine. The node must be the primary, and its daemon run.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if validFor.Duration() > identity.MaxInvitation {
				most := duration(identity.MaxInvitation)
				return hint.Add(fmt.Errorf("--valid-for %s is too long for a token", &validFor), "choose up to %s", &most)
			}
			return p.invite(c.Context(), validFor, advertise, asJSON)
		},
	}
	c.Flags().Var(&validFor, "valid-for", "how long the token is good, such as 2h or 7d; up to 30d")
	c.Flags().StringVar(&advertise, "advertise", "", "where the mirror will find this node, `host:port` (default: as for init)")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	return c
}

func (p *program) invite(ctx context.Context, validFor duration, advertise string, asJSON bool) error {
	c, err := config.Load(p.config)
	if err != nil {
		return err
	}
	address, err := p.address(ctx, c, advertise)
	if err != nil {
		return err
	}
	state, err := identity.LoadState(c.StateDir)
	if err != nil {
		return err
	}
	client, err := operator.Dial(c.StateDir)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	token, expires, err := client.Invite(ctx, validFor.Duration())
	if err != nil {
		return err
	}
	return p.printInvitation(invitation{
		Pair: state.Pair, Name: state.Name, Config: p.config,
		Address: address, Token: token, Expires: expires,
		Command: joinLine(address, token, c.Store.Path),
	}, asJSON)
}
