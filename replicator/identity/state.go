package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/atomicfile"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/sealedfile"
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
	// Epoch is the highest that the node has taken part in, or knows to have
	// begun; 0 is a mirror that has not met its primary.
	Epoch journal.Epoch
	// Leader is the primary of that epoch; "" if it is not known. Of a primary
	// it is its own name.
	Leader string
	// Promised is the claim that the node has agreed to, of an epoch above
	// Epoch: no other one of that epoch is agreed to unless it beats it.
	// Zero: none.
	Promised Claim
	// Sealed says of a primary that it has sealed its journal for the node that
	// it has promised the next epoch to.
	Sealed bool
	Pair   string
	Name   string
}

// Leads returns the claim that the node knows to have won.
func (s State) Leads() Claim { return Claim{s.Epoch, s.Leader} }

const (
	stateFile    = "node"
	stateTrial   = "node.trial" // of TryState, which removes it
	stateKind    = "node"
	stateVersion = 2
)

// LoadState reads the state from the state directory. A node that was never
// made is fs.ErrNotExist; then sealedfile.ErrNewer and ErrCorrupt.
func LoadState(stateDir string) (State, error) {
	path := filepath.Join(stateDir, stateFile)
	content, version, err := sealedfile.Read(path, stateKind, stateVersion)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, hint.Add(fmt.Errorf("there is no node in %q: %w", stateDir, err),
			"make one with `mailtwin init` or `mailtwin join`, or correct state_dir in the settings")
	}
	if err != nil {
		return State{}, withRemedy(fmt.Errorf("reading the node's state: %w", err))
	}
	parse := parseState
	if version == 1 {
		parse = parseState1
	}
	s, err := parse(content)
	if err != nil {
		return State{}, withRemedy(fmt.Errorf("reading the node's state: %q: %w", path, err))
	}
	return s, nil
}

// withRemedy says what to do about damage; ErrNewer has its hint already.
func withRemedy(err error) error {
	if !errors.Is(err, sealedfile.ErrCorrupt) {
		return err
	}
	return hint.Add(err, "restore the state directory from a backup if this node was the primary; "+
		"a mirror can be made anew with `mailtwin join --adopt` and an empty state directory, its mail is kept")
}

// SaveState writes the state into the state directory; it is durable when
// SaveState returns nil, and after an error the old state still holds. Calls
// must not overlap.
func SaveState(stateDir string, s State) error {
	return saveState(filepath.Join(stateDir, stateFile), s)
}

// TryState does what SaveState does with another file, and removes it: it tells
// whether the state could be written, and may run while SaveState does. Calls of
// it must not overlap.
func TryState(stateDir string, s State) error {
	path := filepath.Join(stateDir, stateTrial)
	if err := saveState(path, s); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("saving the node's state: %w", err)
	}
	return nil
}

func saveState(path string, s State) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("saving the node's state: %w", err)
	}
	data := sealedfile.Seal(stateKind, stateVersion, s.String())
	if err := atomicfile.Write(path, data, 0o600); err != nil {
		return fmt.Errorf("saving the node's state: %w", err)
	}
	return nil
}

// String returns the state as the lines of its file.
func (s State) String() string {
	return fmt.Sprintf("role %s\nepoch %d\nleader %s\npromised %d %s\nsealed %t\npair %s\nname %s\n",
		s.Role, s.Epoch, s.Leader, s.Promised.Epoch, s.Promised.Name, s.Sealed, s.Pair, s.Name)
}

// values returns what stands behind the keys, which begin the lines in this
// order; nil if they do not.
func values(content string, keys ...string) []string {
	lines := strings.Split(content, "\n")
	if len(lines) != len(keys)+1 || lines[len(keys)] != "" {
		return nil
	}
	var found []string
	for i, key := range keys {
		value, ok := strings.CutPrefix(lines[i], key+" ")
		if !ok {
			return nil
		}
		found = append(found, value)
	}
	return found
}

func parseState(content string) (State, error) {
	v := values(content, "role", "epoch", "leader", "promised", "sealed", "pair", "name")
	if v == nil {
		return State{}, fmt.Errorf("%w: its lines are not role, epoch, leader, promised, sealed, pair and name", sealedfile.ErrCorrupt)
	}
	promised, to, _ := strings.Cut(v[3], " ")
	epoch, err := strconv.ParseUint(v[1], 10, 64)
	next, perr := strconv.ParseUint(promised, 10, 64)
	s := State{
		Role: Role(v[0]), Epoch: journal.Epoch(epoch), Leader: v[2], Promised: Claim{journal.Epoch(next), to},
		Sealed: v[4] == "true", Pair: v[5], Name: v[6],
	}
	if err != nil || perr != nil || s.String() != content {
		return State{}, fmt.Errorf("%w: one of its values is not written as it would be", sealedfile.ErrCorrupt)
	}
	return s, s.check()
}

// parseState1 reads version 1, which had a role, an epoch, a pair and a name.
func parseState1(content string) (State, error) {
	v := values(content, "role", "epoch", "pair", "name")
	if v == nil {
		return State{}, fmt.Errorf("%w: its lines are not role, epoch, pair and name", sealedfile.ErrCorrupt)
	}
	epoch, err := strconv.ParseUint(v[1], 10, 64)
	if err != nil || strconv.FormatUint(epoch, 10) != v[1] {
		return State{}, fmt.Errorf("%w: %q is no epoch", sealedfile.ErrCorrupt, v[1])
	}
	s := State{Role: Role(v[0]), Epoch: journal.Epoch(epoch), Pair: v[2], Name: v[3]}
	if s.Role == Primary {
		s.Leader = s.Name
	}
	return s, s.check()
}

func (s State) check() error {
	if s.Role != Primary && s.Role != Mirror && s.Role != Fenced {
		return fmt.Errorf("%w: the role %q does not exist", sealedfile.ErrCorrupt, s.Role)
	}
	names := []string{s.Pair, s.Name}
	for _, name := range []string{s.Leader, s.Promised.Name} {
		if name != "" {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if err := config.CheckName(name); err != nil {
			return fmt.Errorf("%w: %w", sealedfile.ErrCorrupt, err)
		}
	}
	none := s.Promised == Claim{}
	switch {
	case s.Role == Primary && s.Leader != s.Name:
		return fmt.Errorf("%w: it is primary, and %q leads", sealedfile.ErrCorrupt, s.Leader)
	case !none && (s.Promised.Name == "" || s.Promised.Epoch <= s.Epoch):
		return fmt.Errorf("%w: epoch %d promised to %q, in epoch %d", sealedfile.ErrCorrupt, s.Promised.Epoch, s.Promised.Name, s.Epoch)
	case s.Sealed && (s.Role != Primary || none || s.Promised.Name == s.Name):
		return fmt.Errorf("%w: sealed for nobody", sealedfile.ErrCorrupt)
	}
	return nil
}
