package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/atomicfile"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/hint"
)

// Role is what a node does in its pair.
type Role string

// The roles.
const (
	Primary Role = "primary" // has the mail server, gives out the journal
	Mirror  Role = "mirror"  // follows the primary
	Fenced  Role = "fenced"  // was primary and has seen a higher epoch; must not write
)

// State is what a node has to know of itself before it starts, and must not
// forget in a power cut.
type State struct {
	Role Role
	// Epoch is the highest that the node has taken part in; 0 is a mirror that
	// has not met its primary.
	Epoch journal.Epoch
	Pair  string
	Name  string
}

const (
	stateFile    = "node"
	stateKind    = "node"
	stateVersion = 1
)

// LoadState reads the state from the state directory. A node that was never
// made is fs.ErrNotExist; then ErrNewer and ErrCorrupt.
func LoadState(stateDir string) (State, error) {
	path := filepath.Join(stateDir, stateFile)
	content, err := readSealed(path, stateKind, stateVersion)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, hint.Add(fmt.Errorf("there is no node in %q: %w", stateDir, err),
			"make one with `mailtwin init` or `mailtwin join`, or correct state_dir in the settings")
	}
	if err != nil {
		return State{}, withRemedy(fmt.Errorf("reading the node's state: %w", err))
	}
	s, err := parseState(content)
	if err != nil {
		return State{}, withRemedy(fmt.Errorf("reading the node's state: %q: %w", path, err))
	}
	return s, nil
}

// withRemedy says what to do about damage; ErrNewer has its hint already.
func withRemedy(err error) error {
	if !errors.Is(err, ErrCorrupt) {
		return err
	}
	return hint.Add(err, "restore the state directory from a backup if this node was the primary; "+
		"a mirror can be made anew with `mailtwin join` and an empty state directory, its mail is kept")
}

// SaveState writes the state into the state directory; it is durable when
// SaveState returns nil, and after an error the old state still holds. Calls
// must not overlap.
func SaveState(stateDir string, s State) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("saving the node's state: %w", err)
	}
	data := seal(stateKind, stateVersion, s.String())
	if err := atomicfile.Write(filepath.Join(stateDir, stateFile), data, 0o600); err != nil {
		return fmt.Errorf("saving the node's state: %w", err)
	}
	return nil
}

// String returns the state as the lines of its file.
func (s State) String() string {
	return fmt.Sprintf("role %s\nepoch %d\npair %s\nname %s\n", s.Role, s.Epoch, s.Pair, s.Name)
}

func parseState(content string) (State, error) {
	var role, epoch, pair, name string
	lines := strings.Split(content, "\n")
	for i, field := range []struct {
		key   string
		value *string
	}{{"role ", &role}, {"epoch ", &epoch}, {"pair ", &pair}, {"name ", &name}} {
		if i < len(lines) {
			*field.value, _ = strings.CutPrefix(lines[i], field.key)
		}
	}
	n, err := strconv.ParseUint(epoch, 10, 64)
	s := State{Role(role), journal.Epoch(n), pair, name}
	if err != nil || s.String() != content {
		return State{}, fmt.Errorf("%w: its lines are not role, epoch, pair and name", ErrCorrupt)
	}
	return s, s.check()
}

func (s State) check() error {
	if s.Role != Primary && s.Role != Mirror && s.Role != Fenced {
		return fmt.Errorf("%w: the role %q does not exist", ErrCorrupt, s.Role)
	}
	for _, name := range []string{s.Pair, s.Name} {
		if err := config.CheckName(name); err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	return nil
}
