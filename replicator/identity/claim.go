package identity

import (
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
)

// Claim says that a node is, or wants to be, the primary of an epoch.
type Claim struct {
	Epoch journal.Epoch
	Name  string // "": it is not known who
}

// Beats reports whether c wins against o: the higher epoch does. Two nodes may
// claim the same epoch at the same time; then the one whose name comes first
// does, so that all who know of both agree, whatever they heard first. No claim
// beats itself.
func (c Claim) Beats(o Claim) bool {
	switch {
	case c.Epoch != o.Epoch:
		return c.Epoch > o.Epoch
	case c.Name == "" || o.Name == "":
		return c.Name != "" // somebody is more than nobody
	}
	return c.Name < o.Name
}

// String returns the claim in words.
func (c Claim) String() string {
	if c.Name == "" {
		return fmt.Sprintf("somebody, epoch %d", c.Epoch)
	}
	return fmt.Sprintf("%s, epoch %d", c.Name, c.Epoch)
}
