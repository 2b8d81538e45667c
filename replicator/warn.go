package replicator

import (
	"fmt"
	"os"
	"syscall"

	"github.com/mailtwin/mailtwin/replicator/hook"
)

// warn logs what does not keep the daemon from running, and would show when there
// is no time for it: a hook that cannot be run, a state directory that others may
// change.
func (n *node) warn() {
	for _, e := range []hook.Event{hook.Fence, hook.Promote, hook.Demote} {
		if err := n.hooks.Check(e); err != nil {
			n.opt.Log.Warn("a hook cannot be used", append([]any{"error", err}, remedy(err)...)...)
		}
	}
	if name := n.cfg.Node.Name; name != n.id.Name() {
		n.opt.Log.Warn("the name in the settings is not this node's", "node.name", name, "name", n.id.Name(),
			"hint", "a node keeps the name that it was made with: write that into the settings")
	}
	if err := exposed(n.cfg.StateDir, os.Geteuid()); err != nil {
		n.opt.Log.Warn("the state directory has the keys of the pair", "error", err)
	}
}

// exposed says how others than a user may get at a directory of his; nil if they
// cannot.
func exposed(dir string, user int) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("it cannot be looked at: %w", err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != user {
		return fmt.Errorf("%q belongs to the user %d, and the daemon runs as %d: give it to that one with chown", dir, stat.Uid, user)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("others may enter %q (mode %04o): run chmod 700 on it", dir, mode)
	}
	return nil
}
