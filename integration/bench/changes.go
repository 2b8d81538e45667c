package main

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/mailtwin/mailtwin/integration/tree"
)

// changer changes a tree that tree.Generate has made, as users do.
type changer struct {
	store  string
	rng    *rand.Rand
	mail   *tree.Writer
	serial int
}

func newChanger(store string, seed uint64) *changer {
	return &changer{store: store, rng: rand.New(rand.NewPCG(seed, 8)), mail: tree.NewWriter(seed)}
}

// messages returns the paths of all messages in cur/ in an order of chance.
func (c *changer) messages() ([]string, error) {
	var found []string
	err := filepath.WalkDir(c.store, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Base(filepath.Dir(path)) == "cur" {
			found = append(found, path)
		}
		return err
	})
	c.rng.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
	return found, err
}

// flags gives that many messages another flag.
func (c *changer) flags(count int) error {
	found, err := c.messages()
	if err != nil {
		return err
	}
	for _, path := range found[:min(count, len(found))] {
		if err := flip(path); err != nil {
			return err
		}
	}
	return nil
}

// flip sets the flag F of a message, or takes it away.
func flip(path string) error {
	base, flags, _ := strings.Cut(path, ":2,")
	if strings.Contains(flags, "F") {
		return os.Rename(path, base+":2,"+strings.ReplaceAll(flags, "F", ""))
	}
	// F comes before all other letters that the trees have.
	return os.Rename(path, base+":2,F"+flags)
}

// mixed makes that many changes: six of ten are deliveries, three are flags,
// one is an expunge.
func (c *changer) mixed(count int) error {
	found, err := c.messages()
	if err != nil {
		return err
	}
	for i := range count {
		path := found[i]
		switch {
		case i%10 < 6:
			err = c.deliver(filepath.Dir(filepath.Dir(path)), c.mail.Size())
		case i%10 < 9:
			err = flip(path)
		default:
			err = os.Remove(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// deliver delivers one message to a mailbox.
func (c *changer) deliver(box string, size int) error {
	c.serial++
	return deliverTo(box, fmt.Sprintf("%d.M%dP%d.bench", 1_800_000_000+c.serial, c.serial, c.rng.Uint32()),
		c.mail.Message("someone@example.org", size))
}

// deliverTo writes a message to tmp/, makes it durable as mail servers do, and
// renames it to new/.
func deliverTo(box, name string, data []byte) error {
	temporary := filepath.Join(box, "tmp", name)
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(box, "new", name))
}

// makeMailbox makes an empty mailbox.
func makeMailbox(box string) error {
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(box, sub), 0o700); err != nil {
			return err
		}
	}
	return nil
}
