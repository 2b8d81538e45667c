package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/mailtwin/mailtwin/replicator/atomicfile"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/sealedfile"
)

const (
	forgottenFile    = "forgotten"
	forgottenKind    = "forgotten"
	forgottenVersion = 1
	noAddress        = "-"

	// MaxForgotten is how many nodes can be forgotten while their certificates
	// are valid.
	MaxForgotten = 128
)

// ErrForgotten says that a node shows a certificate that it had before a person
// said that it does not come back.
var ErrForgotten = errors.New("the node was forgotten")

// ErrTooManyForgotten says that no further node can be forgotten.
var ErrTooManyForgotten = fmt.Errorf("%d nodes are forgotten already", MaxForgotten)

// Forgetting says that the node of a name was given up by a person. What was
// certified for that name up to then is void.
type Forgetting struct {
	Name    string
	Since   time.Time // in whole seconds
	Again   bool      // a node of that name has joined since
	Address string    // where the node was, as far as this one knew; "" else. The others are not told
}

// beats reports whether f is newer than o, which is of the same name.
func (f Forgetting) beats(o Forgetting) bool {
	if !f.Since.Equal(o.Since) {
		return f.Since.After(o.Since)
	}
	return f.Again && !o.Again
}

// Forgotten are the nodes that were given up, kept in a file of the state
// directory. The methods may be called concurrently; one directory must have one
// Forgotten at a time.
type Forgotten struct {
	path string

	mu   sync.Mutex   // held over a change of the file
	list []Forgetting // by name; replaced, never changed
}

// OpenForgotten reads who was forgotten. Without a file that is nobody.
func OpenForgotten(stateDir string) (*Forgotten, error) {
	f := &Forgotten{path: filepath.Join(stateDir, forgottenFile)}
	content, _, err := sealedfile.Read(f.path, forgottenKind, forgottenVersion)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		f.list, err = parseForgotten(content)
	}
	if err != nil {
		err = fmt.Errorf("reading which nodes were forgotten: %w", err)
		if errors.Is(err, sealedfile.ErrCorrupt) {
			err = hint.Add(err, "remove %q: the other nodes tell again who was forgotten; without any, forget those again", f.path)
		}
		return nil, err
	}
	return f, nil
}

// All returns all that were forgotten, by name. It is not to be changed.
func (f *Forgotten) All() []Forgetting {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.list
}

// Of returns what is known of the name.
func (f *Forgotten) Of(name string) (Forgetting, bool) {
	list := f.All()
	at, known := slices.BinarySearchFunc(list, name, forgettingByName)
	if !known {
		return Forgetting{}, false
	}
	return list[at], true
}

// Gone reports whether there is no node of that name now, because it was
// forgotten.
func (f *Forgotten) Gone(name string) bool {
	g, known := f.Of(name)
	return known && !g.Again
}

// Was reports whether a node that is gone was at an address.
func (f *Forgotten) Was(address string) bool {
	return slices.ContainsFunc(f.All(), func(g Forgetting) bool { return !g.Again && g.Address == address })
}

// Forget makes void, durably, what was certified for a name up to now; address is
// where that node was, if that is known. ErrTooManyForgotten.
func (f *Forgotten) Forget(name, address string, now time.Time) error {
	g := Forgetting{Name: name, Since: now.Truncate(time.Second), Address: address}
	if old, known := f.Of(name); known && !g.Since.After(old.Since) {
		g.Since = old.Since.Add(time.Second) // the clock was set back
	}
	return f.put(g, now)
}

// Joined notes, durably, that a node of that name has joined again.
func (f *Forgotten) Joined(name string, now time.Time) error {
	g, known := f.Of(name)
	if !known || g.Again {
		return nil
	}
	g.Again, g.Address = true, ""
	return f.put(g, now)
}

// Hear notes, durably, what another node knows, if that is news, and reports
// whether it is. ErrTooManyForgotten.
func (f *Forgotten) Hear(g Forgetting, now time.Time) (news bool, err error) {
	if old, known := f.Of(g.Name); known && !g.beats(old) {
		return false, nil
	}
	return true, f.put(g, now)
}

func (f *Forgotten) put(g Forgetting, now time.Time) error {
	if err := config.CheckName(g.Name); err != nil {
		return fmt.Errorf("forgetting a node: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	list := slices.Clone(f.list)
	at, known := slices.BinarySearchFunc(list, g.Name, forgettingByName)
	if known {
		list[at] = g
	} else {
		list = slices.Insert(list, at, g)
	}
	if len(list) > MaxForgotten {
		// What is void by its age need not be remembered.
		list = slices.DeleteFunc(list, func(g Forgetting) bool { return now.Sub(g.Since) > nodeValidity })
	}
	if len(list) > MaxForgotten {
		return fmt.Errorf("forgetting %s: %w", g.Name, ErrTooManyForgotten)
	}
	if err := atomicfile.Write(f.path, formatForgotten(list), 0o600); err != nil {
		return fmt.Errorf("forgetting %s: %w", g.Name, err)
	}
	f.list = list
	return nil
}

// RequireMember is RequirePeer, but for nodes whose certificates are void: then
// it returns the name too, and the error is ErrForgotten. Whoever calls with a later
// certificate has joined again, though nobody may have told.
func (f *Forgotten) RequireMember(ctx context.Context, id *Identity, now time.Time) (name string, err error) {
	if name, err = id.RequirePeer(ctx); err != nil {
		return "", err
	}
	p, _ := peer.FromContext(ctx) // RequirePeer has looked at all this
	info, _ := p.AuthInfo.(credentials.TLSInfo)
	if err := f.check(name, info.State.VerifiedChains[0][0]); err != nil {
		return name, err
	}
	return name, f.Joined(name, now)
}

// Disowned returns an error that is ErrForgotten if the node itself was forgotten.
func (f *Forgotten) Disowned(id *Identity) error {
	return f.check(id.name, id.certificate.Leaf)
}

// check looks at when a certificate was made.
func (f *Forgotten) check(name string, c *x509.Certificate) error {
	g, known := f.Of(name)
	if !known || c.NotBefore.Add(clockSkew).After(g.Since) {
		return nil
	}
	return &forgottenError{g}
}

// forgottenError tells both sides what happened and what to do.
type forgottenError struct{ Forgetting }

func (e *forgottenError) Error() string {
	return fmt.Sprintf("%s was forgotten at %s with `mailtwin forget`: to have it back, join it again with a new token, "+
		"an empty state directory and --adopt", e.Name, e.Since.UTC().Format("2006-01-02 15:04:05 MST"))
}

// Unwrap makes it ErrForgotten.
func (e *forgottenError) Unwrap() error { return ErrForgotten }

// GRPCStatus is how it travels.
func (e *forgottenError) GRPCStatus() *status.Status {
	return status.New(codes.Unauthenticated, e.Error())
}

func forgettingByName(g Forgetting, name string) int { return strings.Compare(g.Name, name) }

func (f Forgetting) String() string {
	state, address := "gone", f.Address
	if f.Again {
		state = "again"
	}
	if address == "" {
		address = noAddress
	}
	return fmt.Sprintf("%s %d %s %s\n", f.Name, f.Since.Unix(), state, address)
}

func formatForgotten(list []Forgetting) []byte {
	var b strings.Builder
	for _, g := range list {
		b.WriteString(g.String())
	}
	return sealedfile.Seal(forgottenKind, forgottenVersion, b.String())
}

func parseForgotten(content string) ([]Forgetting, error) {
	var list []Forgetting
	for line := range strings.Lines(content) {
		var g Forgetting
		if fields := strings.Fields(line); len(fields) == 4 {
			seconds, _ := strconv.ParseInt(fields[1], 10, 64)
			g = Forgetting{Name: fields[0], Since: time.Unix(seconds, 0), Again: fields[2] == "again", Address: fields[3]}
			if g.Address == noAddress {
				g.Address = ""
			}
		}
		if g.String() != line || config.CheckName(g.Name) != nil ||
			g.Address != "" && config.CheckAddress("address", g.Address, false) != nil {
			return nil, fmt.Errorf("%w: the line %q is not about a node", sealedfile.ErrCorrupt, line)
		}
		if n := len(list); n >= MaxForgotten || n > 0 && list[n-1].Name >= g.Name {
			return nil, fmt.Errorf("%w: %s is out of order, or one too many", sealedfile.ErrCorrupt, g.Name)
		}
		list = append(list, g)
	}
	return list, nil
}
