package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailtwin/mailtwin/replicator"
	"github.com/mailtwin/mailtwin/replicator/atomicfile"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/identity"
)

// joinTimeout bounds all that join asks of the primary.
const joinTimeout = 30 * time.Second

func (p *program) joinCommand() *cobra.Command {
	var s setup
	var token string
	var adopt bool
	c := &cobra.Command{
		Use:   "join HOST:PORT --token T --store DIR",
		Short: "Make this machine the mirror of a pair",
		Long: "Makes this machine a mirror: asks the running primary at HOST:PORT for a certificate\n" +
			"in exchange for the token that `mailtwin init` or `mailtwin invite` printed there. The\n" +
			"store may be new or empty; or an old copy, with --adopt: what is right in it is not\n" +
			"copied again, and what the primary does not have is removed from it.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return p.join(c.Context(), &s, args[0], token, adopt) },
	}
	s.flags(c)
	c.Flags().StringVar(&token, "token", "", "the one-time `token` of the primary (required)")
	c.Flags().BoolVar(&adopt, "adopt", false, "use a store that is not empty: an old copy, from which all that the primary does not have is removed")
	_ = c.MarkFlagRequired("token") // exists: see above
	return c
}

func (p *program) join(ctx context.Context, s *setup, primary, token string, adopt bool) error {
	if err := config.CheckAddress("the address of the primary", primary, false); err != nil {
		return err
	}
	c, err := s.settings(p, primary)
	if err != nil {
		return err
	}
	if err := makeStore(c.Store.Path, adopt); err != nil {
		return err
	}
	if err := p.places(c); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	var id *identity.Identity
	var peer string
	if err := p.establish(c, func() (err error) {
		id, peer, err = identity.Enrol(ctx, identity.Enrolment{
			StateDir: c.StateDir, Address: primary, Token: token, Name: c.Node.Name, Listen: c.Node.Listen,
		}, p.now)
		if err != nil {
			return err
		}
		return identity.SaveState(c.StateDir, identity.State{Role: identity.Mirror, Pair: id.Pair(), Name: id.Name()})
	}); err != nil {
		return err
	}
	p.note("The settings are in %s. Start the node with `%s`.", p.config, p.daemonLine())
	if s.json {
		return p.printJSON(struct {
			Pair    string `json:"pair"`
			Name    string `json:"name"`
			Primary string `json:"primary"`
			Config  string `json:"config"`
		}{id.Pair(), id.Name(), peer, p.config})
	}
	fmt.Fprintf(p.out, "%s is a mirror of %s in %s\n", id.Name(), peer, id.Pair())
	return nil
}

// makeStore makes the directory of the store unless it exists. What it is to
// lie in must exist: a path that is wrong, or a disk that is not mounted,
// would else go unnoticed. What is in it already would be removed, but for what the
// primary has too: the operator has to say that it may be.
func makeStore(path string, adopt bool) error {
	err := os.Mkdir(path, 0o700)
	if err == nil {
		if err := storeFree(path); err != nil {
			return errors.Join(err, os.Remove(path))
		}
		return atomicfile.SyncDir(filepath.Dir(path))
	}
	if err := storeExists(path); err != nil { // which says it better
		return err
	}
	if err := storeFree(path); err != nil || adopt {
		return err
	}
	name, err := replicator.Holds(path)
	if err != nil {
		return fmt.Errorf("the store: %w", err)
	}
	if name != "" {
		return hint.Add(fmt.Errorf("the store %q is not empty: it has %q, and a mirror keeps nothing that its primary does not have", path, name),
			"name a new or an empty directory; if this is an old copy of the mail, and what is in it may go, give the command again with --adopt")
	}
	return nil
}
