package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mailtwin/mailtwin/replicator"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/identity"
)

// setup is what init and join have in common: a new node on this machine.
type setup struct {
	store, name, listen, state string
	json                       bool
}

func (s *setup) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.store, "store", "", "the `directory` of the mailstore (required)")
	f.StringVar(&s.name, "name", "", "the node's `name` (default: this machine's host name)")
	f.StringVar(&s.listen, "listen", config.DefaultListen, "where the node listens for the other one, `host:port`")
	f.StringVar(&s.state, "state", config.DefaultStateDir, "the `directory` for the node's own state")
	f.BoolVar(&s.json, "json", false, "print for programs")
	_ = c.MarkFlagRequired("store") // exists: see above
}

// settings makes the settings of the new node and checks all that can be
// checked before anything is made.
func (s *setup) settings(p *program, peer string) (config.Config, error) {
	c := config.Default()
	c.Node = config.Node{Name: s.name, Listen: s.listen, Peer: peer}
	if s.name == "" {
		host, err := p.hostname()
		if err != nil {
			return c, hint.Add(fmt.Errorf("finding the host name: %w", err), "name the node with --name")
		}
		if config.CheckName(host) != nil {
			return c, hint.Add(fmt.Errorf("the host name %q cannot be the name of a node", host), "name the node with --name")
		}
		c.Node.Name = host
	}
	var err error
	if p.config, err = filepath.Abs(p.config); err != nil { // it is printed, to be used elsewhere
		return c, err
	}
	if c.Store.Path, err = filepath.Abs(s.store); err != nil {
		return c, err
	}
	if c.StateDir, err = filepath.Abs(s.state); err != nil {
		return c, err
	}
	if err := c.Validate(); err != nil {
		return c, err
	}
	if _, err := os.Lstat(p.config); !errors.Is(err, fs.ErrNotExist) {
		return c, hint.Add(fmt.Errorf("%w: %q", config.ErrExists, p.config),
			"name another file with --config, or move this one away if its node is no longer wanted")
	}
	return c, identity.Vacant(c.StateDir)
}

// places makes the directories for the state and for the settings.
func (p *program) places(c config.Config) error {
	if err := os.MkdirAll(filepath.Dir(c.StateDir), 0o755); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	if err := os.Mkdir(c.StateDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making the state directory: %w", err)
	}
	info, err := os.Stat(c.StateDir)
	if err != nil {
		return fmt.Errorf("looking at the state directory: %w", err)
	}
	if !info.IsDir() {
		return hint.Add(fmt.Errorf("%q is not a directory", c.StateDir), "choose another one with --state")
	}
	if info.Mode().Perm()&0o077 != 0 {
		return hint.Add(fmt.Errorf("others may enter the state directory %q (mode %04o)", c.StateDir, info.Mode().Perm()),
			"choose another one with --state, or run `chmod 700 %s`", c.StateDir)
	}
	if err := os.MkdirAll(filepath.Dir(p.config), 0o755); err != nil {
		return fmt.Errorf("making the directory of the settings: %w", err)
	}
	return nil
}

// storeExists checks that the store is a directory.
func storeExists(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%q is not a directory", path)
	}
	if err != nil {
		return hint.Add(fmt.Errorf("the store: %w", err), "name the directory of the mailstore with --store; is its disk mounted?")
	}
	return nil
}

// storeFree checks that no daemon on this machine has the store.
func storeFree(path string) error {
	if err := replicator.StoreFree(path); err != nil {
		return fmt.Errorf("the store: %w", err)
	}
	return nil
}

// establish writes the settings and makes what they are of. If that fails, they are
// taken away again, so that the command can be given anew. They come first: a
// token is good once, and must not be spent for a node that has none.
func (p *program) establish(c config.Config, node func() error) error {
	if err := config.Write(p.config, c); err != nil {
		return err
	}
	if err := node(); err != nil {
		return errors.Join(err, os.Remove(p.config))
	}
	return nil
}

// daemonLine is the command that starts the node.
func (p *program) daemonLine() string {
	if p.config == config.DefaultPath {
		return "mailtwin daemon"
	}
	return "mailtwin daemon --config " + shell(p.config)
}

// isWildcard reports whether a host stands for all addresses of the machine.
func isWildcard(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// shell quotes an argument for a shell if it has to be.
func shell(arg string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:@%+=,[]", r)
	}
	if arg != "" && strings.IndexFunc(arg, func(r rune) bool { return !plain(r) }) < 0 {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}
