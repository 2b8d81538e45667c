package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/replicator"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// demoNode is one of the two daemons, in this process.
type demoNode struct {
	store  string
	config config.Config
	client *operator.Client
}

func (n *demoNode) status(ctx context.Context) (status.Document, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	doc, _, err := n.client.Status(ctx, false)
	return doc, err
}

// demoPair is a primary and its mirror.
type demoPair struct {
	primary, mirror demoNode
	failed          chan error // what a daemon ended with before it was asked to

	cancel context.CancelFunc
	wait   sync.WaitGroup
}

// startPair makes both nodes as init and join do, beneath dir, and runs them.
func (p *program) startPair(ctx context.Context, dir, store string) (*demoPair, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // they outlive an interrupt, to be asked once more
	pair := &demoPair{failed: make(chan error, 2), cancel: cancel}
	addresses, err := freeAddresses(2)
	if err != nil {
		return nil, err
	}
	if pair.primary, err = newDemoNode(dir, "primary", store, addresses[0], ""); err != nil {
		return nil, err
	}
	if pair.mirror, err = newDemoNode(dir, "mirror", filepath.Join(dir, "twin"), addresses[1], addresses[0]); err != nil {
		return nil, err
	}
	if err := os.Mkdir(pair.mirror.store, 0o700); err != nil {
		return nil, err
	}
	state := pair.primary.config.StateDir
	id, err := identity.Create(state, identity.NewPairName(), "primary", p.now)
	if err != nil {
		return nil, err
	}
	if err := identity.SaveState(state, identity.State{Role: identity.Primary, Epoch: 1, Leader: id.Name(), Pair: id.Pair(), Name: id.Name()}); err != nil {
		return nil, err
	}
	token, _, err := id.Invite(time.Minute)
	if err != nil {
		return nil, err
	}
	if err := pair.start(ctx, p, pair.primary.config); err != nil {
		return nil, errors.Join(err, pair.stop())
	}
	state = pair.mirror.config.StateDir
	id, _, err = identity.Enrol(ctx, identity.Enrolment{
		StateDir: state, Address: addresses[0], Token: token, Name: "mirror", Listen: addresses[1],
	}, p.now)
	if err == nil {
		err = identity.SaveState(state, identity.State{Role: identity.Mirror, Pair: id.Pair(), Name: id.Name()})
	}
	if err == nil {
		err = pair.start(ctx, p, pair.mirror.config)
	}
	if err != nil {
		return nil, errors.Join(err, pair.stop())
	}
	return pair, nil
}

func newDemoNode(dir, name, store, listen, peer string) (demoNode, error) {
	c := config.Default()
	c.StateDir = filepath.Join(dir, name)
	c.Store.Path = store
	c.Node = config.Node{Name: name, Listen: listen, Peer: peer}
	c.Log.Level = config.LevelError
	if err := c.Validate(); err != nil {
		return demoNode{}, err
	}
	if err := os.Mkdir(c.StateDir, 0o700); err != nil {
		return demoNode{}, err
	}
	client, err := operator.Dial(c.StateDir)
	return demoNode{store, c, client}, err
}

// start runs a daemon and returns when it serves.
func (d *demoPair) start(ctx context.Context, p *program, c config.Config) error {
	ready := make(chan struct{})
	d.wait.Go(func() {
		err := replicator.Run(ctx, c, replicator.Options{
			Log: newLogger(p.err, c.Log), Clock: clock{}, Boot: boot(), Ready: func() { close(ready) },
		})
		if ctx.Err() == nil && err == nil {
			err = errors.New("it ended by itself")
		}
		if err != nil {
			d.failed <- fmt.Errorf("the %s: %w", c.Node.Name, err)
		}
	})
	select {
	case <-ready:
		return nil
	case err := <-d.failed:
		return err
	}
}

// stop ends both daemons cleanly and returns what went wrong with that. It may
// be called again.
func (d *demoPair) stop() error {
	d.cancel()
	d.wait.Wait()
	for _, n := range []*demoNode{&d.primary, &d.mirror} {
		if n.client != nil {
			_ = n.client.Close()
			n.client = nil
		}
	}
	var err error
	for len(d.failed) > 0 {
		err = errors.Join(err, <-d.failed)
	}
	return err
}

// freeAddresses returns n addresses on loopback that nobody listens at now, nor
// soon: they are not on 127.0.0.1, where every connection takes a port.
func freeAddresses(n int) ([]string, error) {
	var all []string
	host := fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	for range n {
		listener, err := net.Listen("tcp", host)
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		defer listener.Close()
		all = append(all, listener.Addr().String())
	}
	return all, nil
}
