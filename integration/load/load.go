package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/mailtwin/mailtwin/integration/tree"
)

// Options say whose mail it is and how fast it comes.
type Options struct {
	Store string // the mailstore's root
	User  string // the home's path in it, like "example.org/ann"; one generator has it for itself
	Seed  uint64
	// MeanSize is the size of most messages in bytes; 0 is 4,000.
	MeanSize int
	// Sync makes each delivery durable on the primary, as a mail server does.
	Sync bool
	// NoFolders leaves out making, renaming and deleting folders.
	NoFolders bool
}

// Counts tell what was done.
type Counts struct {
	Delivered, Read, Flagged, Moved, Copied, Expunged, Folders int
}

// Total is the number of all operations.
func (c Counts) Total() int {
	return c.Delivered + c.Read + c.Flagged + c.Moved + c.Copied + c.Expunged + c.Folders
}

// Generator changes one user's mail. It is not safe for concurrent use.
type Generator struct {
	opt     Options
	rng     *rand.Rand
	mail    *tree.Writer
	home    string
	folders []*folder // the first is the INBOX
	serial  int
	counts  Counts
	gone    map[string]bool // base names that have been expunged everywhere
	names   map[string]int  // in how many folders a base name is
}

// New makes the user's mailboxes, if they are not there yet.
func New(opt Options) (*Generator, error) {
	if opt.MeanSize == 0 {
		opt.MeanSize = 4000
	}
	g := &Generator{
		opt:   opt,
		rng:   rand.New(rand.NewPCG(opt.Seed, 11)),
		mail:  tree.NewWriter(opt.Seed),
		home:  filepath.Join(opt.Store, opt.User, "Maildir"),
		gone:  map[string]bool{},
		names: map[string]int{},
	}
	for _, name := range []string{"", ".Sent", ".Trash", ".Work"} {
		if err := g.makeFolder(name); err != nil {
			return nil, fmt.Errorf("making the mailboxes of %q: %w", opt.User, err)
		}
	}
	return g, nil
}

// Counts tells what has been done so far.
func (g *Generator) Counts() Counts { return g.counts }

// Run does one thing after another, that many a second (0: as fast as it
// goes), until the context ends, which is no error.
func (g *Generator) Run(ctx context.Context, perSecond int) error {
	var tick <-chan time.Time
	if perSecond > 0 {
		t := time.NewTicker(time.Second / time.Duration(perSecond))
		defer t.Stop()
		tick = t.C
	}
	for ctx.Err() == nil {
		if err := g.Step(); err != nil {
			return err
		}
		if tick == nil {
			continue
		}
		select {
		case <-tick:
		case <-ctx.Done():
		}
	}
	return nil
}

// Step does one thing that is drawn by chance.
func (g *Generator) Step() error {
	f := g.folders[g.rng.IntN(len(g.folders))]
	do := g.Deliver
	switch draw := g.rng.IntN(100); {
	case draw < 40 || len(f.messages) == 0:
	case draw < 52:
		do = func() error { return g.read(f) }
	case draw < 72:
		do = func() error { return g.flag(f) }
	case draw < 80:
		do = func() error { return g.expunge(f) }
	case draw < 88:
		do = func() error { return g.move(f, g.another(f)) }
	case draw < 94:
		do = func() error { return g.copy(f, g.another(f)) }
	case draw < 96:
		do = func() error { return g.rewriteList(f) }
	case g.opt.NoFolders:
	default:
		do = g.changeFolders
	}
	if err := do(); err != nil {
		return fmt.Errorf("changing the mail of %q: %w", g.opt.User, err)
	}
	return nil
}

// Deliver delivers one message to the INBOX.
func (g *Generator) Deliver() error {
	inbox := g.folders[0]
	g.serial++
	size := min(g.opt.MeanSize/2+int(g.rng.ExpFloat64()*float64(g.opt.MeanSize)/2), 64*g.opt.MeanSize)
	data := g.mail.Message(g.opt.User, size)
	at := tree.Start().Add(time.Duration(g.serial)*time.Second + time.Duration(g.rng.IntN(1e9)))
	m := &message{base: fmt.Sprintf("%d.M%06dP%dQ%d.mx1,S=%d", at.Unix(), at.Nanosecond()/1000, g.opt.Seed, g.serial, len(data)), sub: "new"}
	temporary := filepath.Join(inbox.dir, "tmp", m.base)
	if err := g.writeFile(temporary, data, at); err != nil {
		return err
	}
	if err := os.Rename(temporary, inbox.path(m)); err != nil {
		return err
	}
	inbox.messages = append(inbox.messages, m)
	g.names[m.base]++
	g.counts.Delivered++
	return nil
}

// writeFile writes a file that is complete when it is closed.
func (g *Generator) writeFile(path string, data []byte, at time.Time) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if g.opt.Sync {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := os.Chtimes(path, at, at); err != nil {
		return err
	}
	return f.Close()
}

// another draws a folder that is not f.
func (g *Generator) another(f *folder) *folder {
	for {
		if to := g.folders[g.rng.IntN(len(g.folders))]; to != f {
			return to
		}
	}
}
