package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailtwin/mailtwin/replicator"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/identity"
)

// invitation is what init and invite print with --json.
type invitation struct {
	Pair    string    `json:"pair"`
	Name    string    `json:"name"`    // of the primary
	Config  string    `json:"config"`  // the file with its settings
	Address string    `json:"address"` // where the mirror finds it
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"` // of the token
	Command string    `json:"command"` // to run on the mirror
}

func (p *program) initCommand() *cobra.Command {
	var s setup
	var advertise string
	c := &cobra.Command{
		Use:   "init --store DIR",
		Short: "Make the first node of a pair and print the command that joins the mirror",
		Long: "Makes the first node of a pair, the primary: its settings, its identity, the pair's\n" +
			"own certificate authority, and a one-time token. Prints the command to run on the\n" +
			"machine of the mirror. Nothing that exists is overwritten.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return p.init(c.Context(), &s, advertise) },
	}
	s.flags(c)
	c.Flags().StringVar(&advertise, "advertise", "", "where the mirror will find this node, `host:port` (default: the full host name, if --listen names no host)")
	return c
}

func (p *program) init(ctx context.Context, s *setup, advertise string) error {
	c, err := s.settings(p, "")
	if err != nil {
		return err
	}
	address, err := p.address(ctx, c, advertise)
	if err != nil {
		return err
	}
	if err := storeExists(c.Store.Path); err != nil {
		return err
	}
	if err := storeFree(c.Store.Path); err != nil {
		return err
	}
	if err := p.places(c); err != nil {
		return err
	}
	made := invitation{Name: c.Node.Name, Config: p.config, Address: address}
	if err := p.establish(c, func() error { return p.first(c, &made) }); err != nil {
		return err
	}
	p.note("%s is the primary of %s; its settings are in %s.", made.Name, made.Pair, p.config)
	if replicator.UIDsApart(c.Store.Path) {
		p.note("Warning: %s.", replicator.ApartWords)
	}
	p.note("Start it with `%s`, then run this on the machine of the mirror:", p.daemonLine())
	made.Command = joinLine(made.Address, made.Token, c.Store.Path)
	return p.printInvitation(made, s.json)
}

// first makes the first node of a pair, and a token. Nothing is left of it if
// that fails: nobody has heard of it yet.
func (p *program) first(c config.Config, made *invitation) (err error) {
	id, err := identity.Create(c.StateDir, identity.NewPairName(), c.Node.Name, p.now)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, identity.Discard(c.StateDir))
		}
	}()
	made.Pair = id.Pair()
	state := identity.State{Role: identity.Primary, Epoch: 1, Leader: id.Name(), Pair: id.Pair(), Name: id.Name()}
	if err := identity.SaveState(c.StateDir, state); err != nil {
		return err
	}
	made.Token, made.Expires, err = id.Invite(0)
	return err
}

// address is where the mirror finds this node, as far as that can be known.
func (p *program) address(ctx context.Context, c config.Config, advertise string) (string, error) {
	if advertise != "" {
		return advertise, config.CheckAddress("--advertise", advertise, false)
	}
	host, port, err := net.SplitHostPort(c.Node.Listen)
	if err != nil || !isWildcard(host) {
		return c.Node.Listen, err
	}
	if host, err = p.hostname(); err != nil {
		return "", fmt.Errorf("finding the host name: %w", err)
	}
	return net.JoinHostPort(p.fullName(ctx, host), port), nil
}

// lookupTimeout is how long the resolver may take to tell the full host name.
const lookupTimeout = 3 * time.Second

// fullName returns the name by which other machines are likely to find this one. A
// host name without a domain says little elsewhere: the operator is told if there
// is nothing better.
func (p *program) fullName(ctx context.Context, host string) string {
	if strings.Contains(host, ".") {
		return host
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	name, err := p.canonical(ctx, host)
	name = strings.TrimSuffix(name, ".")
	if err == nil && strings.HasPrefix(strings.ToLower(name), strings.ToLower(host)+".") && config.CheckAddress("the host name", name+":1", false) == nil {
		return name
	}
	p.note("The mirror must be able to find this machine as %q; if it cannot, name another address with --advertise.", host)
	return host
}

func joinLine(address, token, store string) string {
	return fmt.Sprintf("mailtwin join %s --token %s --store %s", shell(address), token, shell(store))
}

func (p *program) printInvitation(i invitation, asJSON bool) error {
	if asJSON {
		return p.printJSON(i)
	}
	fmt.Fprintln(p.out, i.Command)
	p.note("The token is good once, until %s.", i.Expires.Local().Format("2006-01-02 15:04 MST"))
	return nil
}

func (p *program) printJSON(v any) error {
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
