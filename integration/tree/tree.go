package tree

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Spec says what store to make. The zero value of a field means what Default
// gives it.
type Spec struct {
	Messages int
	Users    int
	Domains  int
	MeanSize int    // bytes of a message, on average
	Shared   int    // bodies that many messages have in common
	Seed     uint64 // another seed, another store
	// UID and GID own everything in the store; 0 leaves it to who runs this.
	UID, GID int
}

// What a store looks like when nothing else is said.
const (
	messagesPerUser = 250
	usersPerDomain  = 10
	meanSize        = 50_000
	sharedBodies    = 64
	sharedPercent   = 15
	sizeSigma       = 1.6 // of the logarithm: half of all mail is below 14 kB
	maxSize         = 8 << 20
)

// Default is a store of that many messages: 50,000 are 200 users in 20
// domains, 3,421 directories and about 2.4 GB.
func Default(messages int) Spec {
	users := max(1, messages/messagesPerUser)
	return Spec{
		Messages: messages,
		Users:    users,
		Domains:  max(1, users/usersPerDomain),
		MeanSize: meanSize,
		Shared:   sharedBodies,
		Seed:     1,
	}
}

// filled returns s with the defaults in the places of zeros.
func (s Spec) filled() Spec {
	d := Default(s.Messages)
	if s.Users == 0 {
		s.Users = d.Users
	}
	if s.Domains == 0 {
		s.Domains = max(1, s.Users/usersPerDomain)
	}
	if s.MeanSize == 0 {
		s.MeanSize = d.MeanSize
	}
	if s.Shared == 0 {
		s.Shared = d.Shared
	}
	if s.Seed == 0 {
		s.Seed = d.Seed
	}
	return s
}

// Summary is what was made.
type Summary struct {
	Messages    int64
	Directories int64 // the root among them
	Bytes       int64 // of the messages
}

// Start is the time of the first delivery in every store that is made here.
func Start() time.Time { return time.Date(2025, time.March, 3, 8, 0, 0, 0, time.UTC) }

// UserDir returns where the home of user number i lies in the store of s,
// relative to its root: "d03.example/u017".
func (s Spec) UserDir(i int) string {
	s = s.filled()
	return filepath.Join(fmt.Sprintf("d%02d.example", i%s.Domains), fmt.Sprintf("u%03d", i))
}

// generator makes one store.
type generator struct {
	spec   Spec
	dir    string
	words  []string
	shared [][]byte // bodies that many messages have in common
	made   struct{ messages, directories, bytes atomic.Int64 }
}

// Generate makes the store in dir, which is made if it is missing and should
// be empty. It uses all processors and syncs nothing. After an error the
// directory holds a part of the store.
func Generate(ctx context.Context, dir string, spec Spec) (Summary, error) {
	g := &generator{spec: spec.filled(), dir: dir, words: vocabulary()}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Summary{}, fmt.Errorf("making a mailstore: %w", err)
	}
	if err := g.own(dir); err != nil {
		return Summary{}, err
	}
	g.made.directories.Add(1)
	g.makeShared()
	if err := g.makeDomains(); err != nil {
		return Summary{}, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for user, share := range g.shares() {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return g.makeUser(user, share)
		})
	}
	if err := group.Wait(); err != nil {
		return Summary{}, fmt.Errorf("making a mailstore in %q: %w", dir, err)
	}
	return Summary{
		Messages:    g.made.messages.Load(),
		Directories: g.made.directories.Load(),
		Bytes:       g.made.bytes.Load(),
	}, nil
}

// makeShared makes the bodies that many messages have in common: newsletters
// and circulars, neither tiny nor huge.
func (g *generator) makeShared() {
	const smallest, largest = 4 << 10, 300 << 10
	for i := range g.spec.Shared {
		rng := rand.New(rand.NewPCG(g.spec.Seed, 1<<40+uint64(i)))
		size := min(max(drawSize(rng, g.spec.MeanSize), smallest), largest)
		g.shared = append(g.shared, newComposer(rng, g.words).body(size))
	}
}

func (g *generator) makeDomains() error {
	for i := range g.spec.Domains {
		if err := g.mkdir(filepath.Join(g.dir, filepath.Dir(g.spec.UserDir(i)))); err != nil {
			return err
		}
	}
	return nil
}

// shares returns how many messages each user has: some have much mail and
// many have little.
func (g *generator) shares() []int {
	rng := rand.New(rand.NewPCG(g.spec.Seed, 1<<41))
	weights, sum := make([]float64, g.spec.Users), 0.0
	for i := range weights {
		weights[i] = 0.2 + rng.ExpFloat64()
		sum += weights[i]
	}
	shares, left := make([]int, g.spec.Users), g.spec.Messages
	for i := range shares {
		shares[i] = int(float64(g.spec.Messages) * weights[i] / sum)
		left -= shares[i]
	}
	for i := range left {
		shares[i%len(shares)]++
	}
	return shares
}

// drawSize draws the size of a message.
func drawSize(rng *rand.Rand, mean int) int {
	mu := math.Log(float64(mean)) - sizeSigma*sizeSigma/2
	return int(min(math.Exp(mu+sizeSigma*rng.NormFloat64()), maxSize))
}

func (g *generator) mkdir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	g.made.directories.Add(1)
	return g.own(path)
}

func (g *generator) own(path string) error {
	if g.spec.UID == 0 && g.spec.GID == 0 {
		return nil
	}
	return os.Lchown(path, g.spec.UID, g.spec.GID)
}

func (g *generator) write(path string, data []byte, mtime time.Time) error {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	if err := g.own(path); err != nil {
		return err
	}
	return os.Chtimes(path, mtime, mtime)
}
