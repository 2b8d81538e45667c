package pair

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/mailtwin/mailtwin/integration/port"
	"github.com/mailtwin/mailtwin/integration/proxy"
)

// pollInterval is how often something is looked at that cannot be waited for.
const pollInterval = 25 * time.Millisecond

// startTimeout is how long a daemon may take until it answers.
const startTimeout = 30 * time.Second

// Build builds the mailtwin command in dir and returns its path.
func Build(ctx context.Context, dir string, race bool) (string, error) {
	path := filepath.Join(dir, "mailtwin")
	args := []string{"build", "-o", path}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "github.com/mailtwin/mailtwin/cmd/mailtwin")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building mailtwin: %w: %s", err, out)
	}
	return path, nil
}

// Options say what pair to make.
type Options struct {
	Binary       string // the mailtwin command
	Dir          string // for settings, states and logs; must exist
	PrimaryStore string // must exist
	MirrorStore  string
	// Direct lets the mirror dial the primary itself: the Link has nothing to
	// pass on, and costs nothing.
	Direct bool
	// Unseen is how long after both nodes have said that they are in sync a
	// change may still be unseen; 0 means 2 s. A primary that has no watches
	// sees changes when it scans.
	Unseen time.Duration
	// IndexInterval is the setting of that name, as it is written in the file;
	// "" leaves the default.
	IndexInterval string
	// Profile is the pace of both nodes; "" is that of the settings.
	Profile string
	// Prove is the setting of that name of the primary's; "" leaves the default.
	Prove string
	// Wrap and Env are for the daemons; see Node. MirrorWrap is the mirror's in the
	// place of Wrap; nil: it is the same.
	Wrap, MirrorWrap, Env []string
}

// Pair is a primary and its mirror, which reaches it through Link.
type Pair struct {
	Primary, Mirror *Node
	Link            *proxy.Proxy
	unseen          time.Duration
	probes          atomic.Int64
}

// Start makes a pair and starts both daemons; they answer when it returns.
// Who calls it ends the pair with Close, also after an error.
func Start(ctx context.Context, opt Options) (*Pair, error) {
	addrs, err := port.Free(2)
	if err != nil {
		return nil, err
	}
	p := &Pair{
		unseen:  max(opt.Unseen, 2*time.Second),
		Primary: NewNode(opt.Binary, opt.Dir, "primary", opt.PrimaryStore, addrs[0]),
		Mirror:  NewNode(opt.Binary, opt.Dir, "mirror", opt.MirrorStore, addrs[1]),
	}
	for _, n := range []*Node{p.Primary, p.Mirror} {
		n.Wrap, n.Env = opt.Wrap, opt.Env
	}
	if opt.MirrorWrap != nil {
		p.Mirror.Wrap = opt.MirrorWrap
	}
	if p.Link, err = proxy.New(p.Primary.Listen, 1); err != nil {
		return p, err
	}
	out, err := p.Primary.Run(ctx, "init", "--json", "--store", p.Primary.Store, "--name", p.Primary.Name,
		"--listen", p.Primary.Listen, "--state", p.Primary.State)
	if err != nil {
		return p, err
	}
	var invitation struct{ Token string }
	if err := json.Unmarshal(out, &invitation); err != nil || invitation.Token == "" {
		return p, fmt.Errorf("init told no token but %q: %w", out, err)
	}
	if opt.IndexInterval != "" {
		if err := p.Primary.Set("index_interval", opt.IndexInterval); err != nil {
			return p, err
		}
	}
	if opt.Prove != "" {
		if err := p.Primary.Set("prove", opt.Prove); err != nil {
			return p, err
		}
	}
	if err := p.Primary.SetProfile(opt.Profile); err != nil {
		return p, err
	}
	if err := p.Primary.Start(); err != nil {
		return p, err
	}
	if err := p.Primary.WaitUntilAnswers(ctx); err != nil {
		return p, err
	}
	if err := p.Primary.waitUntilListens(ctx); err != nil {
		return p, err
	}
	peer := p.Link.Addr()
	if opt.Direct {
		peer = p.Primary.Listen
	}
	if _, err := p.Mirror.Run(ctx, "join", peer, "--adopt", "--token", invitation.Token, "--store", p.Mirror.Store,
		"--name", p.Mirror.Name, "--listen", p.Mirror.Listen, "--state", p.Mirror.State); err != nil {
		return p, err
	}
	if err := p.Mirror.SetProfile(opt.Profile); err != nil {
		return p, err
	}
	if err := p.Mirror.Start(); err != nil {
		return p, err
	}
	return p, p.Mirror.WaitUntilAnswers(ctx)
}

// Close ends both daemons without asking, and the link.
func (p *Pair) Close() error {
	var err error
	for _, n := range []*Node{p.Primary, p.Mirror} {
		err = errors.Join(err, n.Kill())
	}
	if p.Link != nil {
		err = errors.Join(err, p.Link.Close())
	}
	return err
}

// WaitUntilAnswers returns when the daemon answers a question for its status.
func (n *Node) WaitUntilAnswers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var last error
	err := poll(ctx, func() bool {
		select {
		case <-n.Exited():
			last = errors.New("it has ended")
			cancel()
			return false
		default:
		}
		_, last = n.Status(ctx)
		return last == nil
	})
	if err != nil {
		return fmt.Errorf("waiting for an answer of %s: %w: %w; it logged:\n%s", n.Name, err, last, n.Log())
	}
	return nil
}

// waitUntilListens returns when the daemon can be dialled. It answers commands
// before that: as long as it waits for its store it has nothing to serve.
func (n *Node) waitUntilListens(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var d net.Dialer
	var last error
	err := poll(ctx, func() bool {
		var conn net.Conn
		if conn, last = d.DialContext(ctx, "tcp", n.Listen); last != nil {
			return false
		}
		last = conn.Close()
		return true
	})
	if err != nil {
		return fmt.Errorf("waiting until %s listens on %s: %w: %w", n.Name, n.Listen, err, last)
	}
	return nil
}

// poll calls f until it returns true or the context ends.
func poll(ctx context.Context, f func() bool) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// WaitForChange makes a change, a small file at the primary's root, and
// returns when it has reached the mirror.
func (p *Pair) WaitForChange(ctx context.Context) error {
	probe := fmt.Appendf(nil, "probe %d of process %d\n", p.probes.Add(1), os.Getpid())
	temporary := filepath.Join(p.Primary.Store, ".probe.tmp")
	if err := os.WriteFile(temporary, probe, 0o600); err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(p.Primary.Store, ".probe")); err != nil {
		return err
	}
	if err := poll(ctx, func() bool {
		got, err := os.ReadFile(filepath.Join(p.Mirror.Store, ".probe"))
		return err == nil && bytes.Equal(got, probe)
	}); err != nil {
		return fmt.Errorf("waiting for a change to reach the mirror: %w; %s", err, p.describe())
	}
	return nil
}

// WaitInSync returns when the mirror has what is in the primary's store now,
// and both nodes say that they are in sync. To know that the primary has seen
// the last change, it makes one more of its own.
func (p *Pair) WaitInSync(ctx context.Context) error {
	if err := p.WaitForChange(ctx); err != nil {
		return err
	}
	// The nodes tell by themselves how they are: to ask them all the time, with
	// a command each time, would take a good part of the machine from the work
	// that is waited for, and from what is measured.
	for {
		if err := p.Primary.waitFor(ctx, Status.InSync); err != nil {
			return fmt.Errorf("waiting until both nodes are in sync: %w; %s", err, p.describe())
		}
		if err := p.Mirror.waitFor(ctx, func(s Status) bool { return s.State == InSync }); err != nil {
			return fmt.Errorf("waiting until both nodes are in sync: %w; %s", err, p.describe())
		}
		if s, err := p.Primary.Status(ctx); err == nil && s.InSync() {
			return nil
		}
	}
}

// describe tells how both nodes are, for errors.
func (p *Pair) describe() string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s := ""
	for _, n := range []*Node{p.Primary, p.Mirror} {
		status, err := n.Status(ctx)
		if err != nil {
			s += fmt.Sprintf("\n%s: %v", n.Name, err)
			continue
		}
		s += fmt.Sprintf("\n%s: %s", n.Name, status.Document)
	}
	return s
}
