package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailtwin/mailtwin/replicator/atomicfile"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/identity"
)

// joinTimeout bounds all that join asks of the primary.
const joinTimeout = 30 * time.Second

func (p *program) joinCommand() *cobra.Command {
	var s setup
	var token string
	c := &cobra.Command{
		Use:   "join HOST:PORT --token T --store DIR",
		Short: "Make this machine the mirror of a pair",
		Long: "Makes this machine a mirror: asks the running primary at HOST:PORT for a certificate\n" +
			"in exchange for the token that `mailtwin init` or `mailtwin invite` printed there. The\n" +
			"store may be new, empty, or an old copy: what is right in it is not copied again, and\n" +
			"what the primary does not have is removed from it.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return p.join(c.Context(), &s, args[0], token) },
	}
	s.flags(c)
	c.Flags().StringVar(&token, "token", "", "the one-time `token` of the primary (required)")
	_ = c.MarkFlagRequired("token") // exists: see above
	return c
}

func (p *program) join(ctx context.Context, s *setup, primary, token string) error {
	if err := config.CheckAddress("the address of the primary", primary, false); err != nil {
		return err
	}
	c, err := s.settings(p, primary)
	if err != nil {
		return err
	}
	if err := makeStore(c.Store.Path); err != nil {
		return err
	}
	if err := p.places(c); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	id, peer, err := identity.Enrol(ctx, identity.Enrolment{
		StateDir: c.StateDir, Address: primary, Token: token, Name: c.Node.Name, Listen: c.Node.Listen,
	}, p.now)
	if err != nil {
		return err
	}
	state := identity.State{Role: identity.Mirror, Pair: id.Pair(), Name: id.Name()}
	if err := identity.SaveState(c.StateDir, state); err != nil {
		return err
	}
	if err := config.Write(p.config, c); err != nil {
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
// would else go unnoticed.
func makeStore(path string) error {
	err := os.Mkdir(path, 0o700)
	if err == nil {
		return atomicfile.SyncDir(filepath.Dir(path))
	}
	return storeExists(path) // which says it better
}
