package config

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/replicator/governor"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// What the journal may be told. Below the least it would spend its time
// beginning files; the largest segment is one that can be read in at once.
const (
	minSegment = Size(64 << 10)
	maxSegment = Size(1 << 30)
	minAge     = Duration(time.Minute)
	minIndex   = Duration(time.Second)
	minRetry   = Duration(time.Second)
)

// How long a hook may be allowed to take.
const (
	minTimeout = Duration(time.Second)
	maxTimeout = Duration(time.Hour)
)

// MaxName is the most bytes in the name of a node.
const MaxName = 64

// invalid is an error about one key with its remedy.
func invalid(key, what, remedy string, args ...any) error {
	return hint.Add(fmt.Errorf("%w: %s %s", ErrInvalid, key, what), remedy, args...)
}

// Validate says what is wrong with the settings, the first thing only. It
// looks at the disk to find out whether the state directory lies in the store
// by way of a symbolic link. The error is ErrInvalid with a hint.
func (c Config) Validate() error {
	for _, check := range []func() error{c.checkStore, c.checkPaths, c.checkNode, c.checkJournal, c.checkHooks, c.checkIMAP, c.checkSync, c.checkPace, c.checkLog} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c Config) checkStore() error {
	if c.Store.Path == "" {
		return invalid("store.path", "is missing", "name the directory of the mailstore, such as \"/var/vmail\"")
	}
	if err := oneOf("store.layout", c.Store.Layout, LayoutAuto, LayoutMaildir); err != nil {
		return err
	}
	if c.Store.RetryInterval < minRetry {
		return invalid("store.retry_interval", fmt.Sprintf("is %v", c.Store.RetryInterval), "choose at least %v", minRetry)
	}
	if c.Store.IndexInterval < minIndex {
		return invalid("store.index_interval", fmt.Sprintf("is %v", c.Store.IndexInterval), "choose at least %v", minIndex)
	}
	return absolute("store.path", c.Store.Path)
}

func (c Config) checkPaths() error {
	if err := absolute("state_dir", c.StateDir); err != nil {
		return err
	}
	state, store := resolve(c.StateDir), resolve(c.Store.Path)
	if within(state, store) {
		return invalid("state_dir", fmt.Sprintf("%q lies in the store %q", c.StateDir, c.Store.Path),
			"the node's own files must not be replicated: choose a directory outside of the store")
	}
	if within(store, state) {
		return invalid("store.path", fmt.Sprintf("%q lies in the state directory %q", c.Store.Path, c.StateDir),
			"choose a state directory that does not hold the store")
	}
	return nil
}

func (c Config) checkNode() error {
	if err := CheckName(c.Node.Name); err != nil {
		return hint.Add(fmt.Errorf("node.name: %w", err), "%s", hint.Of(err))
	}
	if err := CheckAddress("node.listen", c.Node.Listen, true); err != nil {
		return err
	}
	if c.Node.Peer == "" {
		return nil
	}
	return CheckAddress("node.peer", c.Node.Peer, false)
}

func (c Config) checkJournal() error {
	j := c.Journal
	switch {
	case j.SegmentSize < minSegment || j.SegmentSize > maxSegment:
		return invalid("journal.segment_size", fmt.Sprintf("is %v", j.SegmentSize),
			"choose from %v to %v", minSegment, maxSegment)
	case j.MaxSize/2 < j.SegmentSize:
		return invalid("journal.max_size", fmt.Sprintf("is %v, less than two segments of %v", j.MaxSize, j.SegmentSize),
			"make it larger, or journal.segment_size smaller")
	case j.MaxAge < minAge:
		return invalid("journal.max_age", fmt.Sprintf("is %v", j.MaxAge), "choose at least %v", minAge)
	}
	return nil
}

func (c Config) checkHooks() error {
	h := c.Hooks
	for _, hook := range []struct{ key, path string }{
		{"hooks.fence", h.Fence}, {"hooks.promote", h.Promote}, {"hooks.demote", h.Demote},
	} {
		if hook.path == "" {
			continue
		}
		if err := absolute(hook.key, hook.path); err != nil {
			return err
		}
	}
	if h.Timeout < minTimeout || h.Timeout > maxTimeout {
		return invalid("hooks.timeout", fmt.Sprintf("is %v", h.Timeout), "choose from %v to %v", minTimeout, maxTimeout)
	}
	return nil
}

func (c Config) checkIMAP() error {
	if c.IMAP.Users == "" {
		return nil
	}
	if _, err := mailstore.ParseUsers(c.IMAP.Users); err != nil {
		return invalid("imap.users", "is "+err.Error(), "write it like \"%%d/%%n/Maildir\", beneath store.path")
	}
	return nil
}

func (c Config) checkSync() error {
	if _, err := mailstore.ParseFirst(c.Sync.First); err != nil {
		return invalid("sync.first", "is "+err.Error(), "write paths beneath store.path, separated by commas, like \"example.com/anna, example.org\"")
	}
	return oneOf("sync.order", c.Sync.Order, mailstore.OrderAuto, mailstore.OrderInode, mailstore.OrderNewest)
}

func (c Config) checkPace() error {
	p := c.Pace
	for _, n := range []struct {
		key   string
		value int
	}{{"pace.reads_per_second", p.ReadsPerSecond}, {"pace.reads_in_flight", p.ReadsInFlight}} {
		if n.value < 0 {
			return invalid(n.key, fmt.Sprintf("is %d", n.value), "write a number above 0, or take the line out for no cap")
		}
	}
	for _, f := range []struct{ key, path string }{{"pace.health_command", p.HealthCommand}, {"pace.mail_cgroup", p.MailCgroup}} {
		if f.path == "" {
			continue
		}
		if err := absolute(f.key, f.path); err != nil {
			return err
		}
	}
	if err := oneOf("pace.profile", p.Profile, governor.Profiles()...); err != nil {
		return err
	}
	if err := oneOf("pace.on_degraded", p.OnDegraded, governor.Pause, governor.AtFloor, governor.Ignore); err != nil {
		return err
	}
	return oneOf("pace.on_failing", p.OnFailing, governor.Pause, governor.Rescue)
}

func (c Config) checkLog() error {
	if err := oneOf("log.level", c.Log.Level, LevelDebug, LevelInfo, LevelWarn, LevelError); err != nil {
		return err
	}
	return oneOf("log.format", c.Log.Format, FormatText, FormatJSON)
}

// CheckName says what is wrong with the name of a node: it is 1 to MaxName
// letters, digits, dots and hyphens of ASCII, a letter or digit at both ends
// and beside each dot. The error is ErrInvalid with a hint.
func CheckName(name string) error {
	ok := name != "" && len(name) <= MaxName
	for label := range strings.SplitSeq(name, ".") {
		ok = ok && label != "" && label[0] != '-' && label[len(label)-1] != '-' &&
			strings.IndexFunc(label, notInName) < 0
	}
	if ok {
		return nil
	}
	return hint.Add(fmt.Errorf("%w: %q cannot be the name of a node", ErrInvalid, name),
		"use 1 to %d letters, digits, dots and hyphens, such as \"mx1\"", MaxName)
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
}

// CheckAddress says what is wrong with the address host:port that is called
// key. Where a wildcard is allowed, the host may be empty. The error is
// ErrInvalid with a hint.
func CheckAddress(key, address string, wildcard bool) error {
	host, port, err := net.SplitHostPort(address)
	n, notANumber := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || notANumber != nil:
		return invalid(key, fmt.Sprintf("%q is not a host and a port", address), "write it like \"mx1.example.net:7420\"")
	case n == 0 && !wildcard:
		return invalid(key, fmt.Sprintf("%q has no port", address), "write the port that the other node listens at, such as 7420")
	case host == "" && !wildcard:
		return invalid(key, fmt.Sprintf("%q has no host", address), "write the name or the IP address of the other node")
	case strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' }):
		return invalid(key, fmt.Sprintf("%q is not a host and a port", address), "write it like \"mx1.example.net:7420\"")
	}
	return nil
}

func oneOf[T ~string](key string, value T, allowed ...T) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	return invalid(key, fmt.Sprintf("cannot be %q", string(value)), "choose one of %s", strings.Join(names, ", "))
}

func absolute(key, path string) error {
	switch {
	case !filepath.IsAbs(path):
		return invalid(key, fmt.Sprintf("%q is not an absolute path", path), "write the whole path, from / on")
	case strings.IndexByte(path, 0) >= 0:
		return invalid(key, fmt.Sprintf("%q has a NUL in it", path), "write a path that can exist")
	}
	return nil
}

// within reports whether path is dir or lies in it; both are clean.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// resolve follows the symbolic links in as much of path as exists.
func resolve(path string) string {
	path = filepath.Clean(path)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	dir := filepath.Dir(path)
	if _, err := os.Lstat(path); err == nil || dir == path {
		return path // a link to nowhere, or something that we may not look at
	}
	return filepath.Join(resolve(dir), filepath.Base(path))
}
