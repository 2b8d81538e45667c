package primary

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// serve runs a stream and returns how to end it and what it ended with.
func (p *primaryStore) serve(stream *fakeStream, cancel context.CancelFunc) func() error {
	p.t.Helper()
	done := make(chan error, 1)
	go func() { done <- p.server.Replicate(stream) }()
	return func() error {
		cancel()
		return <-done
	}
}

// until waits for something that the test cannot be told of.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Errorf("not %s in time", what)
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// equal waits until the model is proven equal at the journal's head.
func (p *primaryStore) equal(t *testing.T, m *model) {
	t.Helper()
	defer func() {
		if t.Failed() {
			n, list := m.differences()
			t.Logf("at %v of %v; %d to compare, %d to fetch; %d names differ, as %v", m.at, p.journal.Head(), len(m.compares), len(m.fetches), n, list)
		}
	}()
	until(t, "proven equal", func() bool {
		at, proofs, err := m.provenAt()
		if err != nil {
			t.Fatal(err)
		}
		return proofs > 0 && at == p.journal.Head().Sequence
	})
}

// changer makes random changes.
type changer struct {
	p      *primaryStore
	r      *rand.Rand
	files  []journal.Path
	bodies [][]byte
	lists  map[journal.Path][]byte // control files that are appended to
	n      int
}

func newChanger(p *primaryStore, seed uint64) *changer {
	c := &changer{p: p, r: rand.New(rand.NewPCG(seed, seed)), lists: make(map[journal.Path][]byte)}
	for range 3 {
		body := make([]byte, 300<<10)
		for i := range body {
			body[i] = byte(c.r.Uint32())
		}
		c.bodies = append(c.bodies, body)
	}
	return c
}

// data makes a message; many share a body, some are large, some are equal.
func (c *changer) data() []byte {
	c.n++
	switch c.r.IntN(6) {
	case 0:
		return nil
	case 1:
		return []byte("the same as others\n")
	case 2:
		return append([]byte(fmt.Sprintf("Received: %d\nSubject: x\n\n", c.n)), c.bodies[c.r.IntN(len(c.bodies))]...)
	case 3:
		head := []byte(fmt.Sprintf("Received: %d\nSubject: large\n\n", c.n))
		return append(append(head, bytes.Repeat(c.bodies[0][:c.r.IntN(1<<18)], 5)...), c.bodies[1]...)
	}
	return []byte(fmt.Sprintf("Subject: %d\n\nbody\n", c.n))
}

func (c *changer) dir() journal.Path {
	return journal.Path(fmt.Sprintf("u%d/cur", c.r.IntN(4)))
}

func (c *changer) newPath() journal.Path {
	c.n++
	return c.dir().Join(fmt.Sprintf("%d.M1:2,", c.n))
}

// take picks a file and forgets it.
func (c *changer) take() journal.Path {
	i := c.r.IntN(len(c.files))
	p := c.files[i]
	c.files = slices.Delete(c.files, i, i+1)
	return p
}

// change makes one change.
func (c *changer) change() {
	kind := c.r.IntN(12)
	if len(c.files) < 5 {
		kind = 0
	}
	p := c.p
	switch kind {
	case 0, 1, 2:
		path := c.newPath()
		p.put(path, c.data())
		c.files = append(c.files, path)
	case 3, 4:
		from := c.take()
		to := from + "S"
		p.move(journal.KindMove, from, to)
		c.files = append(c.files, to)
	case 5:
		p.remove(journal.KindRemove, c.take())
	case 6:
		path := c.files[c.r.IntN(len(c.files))]
		p.put(path, c.data()) // another content under the same name
	case 7:
		c.renameFolder()
	case 8:
		c.appendTo(c.dir().Dir().Join("dovecot-uidlist"))
	case 9:
		path := c.files[c.r.IntN(len(c.files))]
		mode := os.FileMode(0o600 + c.r.IntN(2)*0o40)
		p.must(os.Chmod(p.full(path), mode))
		e := p.entry(journal.KindSetAttributes, path, nil)
		p.must(p.catalog.View(func(t *catalog.Tx) error {
			it, err := t.Lookup(path)
			e.Facts.Content = it.Facts.Content
			return err
		}))
		p.append(e)
	case 10:
		path := journal.Path(fmt.Sprintf("tree%d", c.n))
		p.mkdir(path)
		p.put(path.Join("a"), c.data())
		p.put(path.Join("b"), c.data())
		p.remove(journal.KindRemoveDir, path)
	case 11:
		path := journal.Path(fmt.Sprintf("link%d", c.n))
		p.must(os.Symlink("target", p.full(path)))
		p.append(p.entry(journal.KindSymlink, path, nil))
		c.n++
	}
}

// renameFolder renames a folder with all that is in it to another user and
// back under another name.
func (c *changer) renameFolder() {
	from := c.dir()
	to := from.Dir().Join(fmt.Sprintf("old%d", c.n))
	c.n++
	if _, err := os.Stat(c.p.full(from)); err != nil {
		return
	}
	c.p.move(journal.KindMoveDir, from, to)
	for i, f := range c.files {
		if f.Within(from) {
			c.files[i] = to + f[len(from):]
		}
	}
}

// appendTo appends to a control file, whose entry holds what is new.
func (c *changer) appendTo(path journal.Path) {
	old, known := c.lists[path]
	if !known {
		if _, err := os.Stat(c.p.full(path.Dir())); err != nil {
			return
		}
	}
	line := []byte(fmt.Sprintf("%d :name\n", c.n))
	c.n++
	data := append(bytes.Clone(old), line...)
	c.p.must(os.WriteFile(c.p.full(path), data, 0o600))
	e := c.p.entry(journal.KindPut, path, data)
	e.Held = &journal.Held{Data: line}
	if known {
		e.Held.Base, e.Held.Keep = contentID(old), int64(len(old))
	}
	c.lists[path] = data
	c.p.append(e)
}

// TestStreamEqualsCatalog: what is sent makes a simple mirror equal to the
// catalog at each mark, while the store changes under the comparison, the
// catalog follows the journal late, and contents are gone when they are wanted.
func TestStreamEqualsCatalog(t *testing.T) {
	for _, c := range []struct {
		name   string
		seed   uint64
		files  int
		forget bool
	}{{"new mirror", 1, 150, false}, {"forgetful mirror", 2, 60, true}, {"empty store", 3, 0, false}} {
		t.Run(c.name, func(t *testing.T) {
			p := newStore(t)
			p.lazy = true
			ch := newChanger(p, c.seed)
			for range c.files {
				path := ch.newPath()
				p.unread(path, ch.data())
				ch.files = append(ch.files, path)
			}
			m := newModel(p)
			if c.forget {
				m.forget = func(id journal.ContentID) bool { return id[0]%3 == 0 }
			}
			ctx, cancel := context.WithCancel(t.Context())
			end := p.serve(m.connect(ctx, false), cancel)
			for range 400 {
				ch.change()
			}
			p.equal(t, m)
			_ = end()

			// It comes back and goes on from where it was.
			for range 50 {
				ch.change()
			}
			ctx, cancel = context.WithCancel(t.Context())
			end = p.serve(m.connect(ctx, true), cancel)
			p.equal(t, m)
			_ = end()
			_, proofs, _ := m.provenAt()
			t.Logf("%d proofs; entries %v; outcomes %v; %d runs; %d entries between pieces; %d contents ahead", proofs, m.kinds, m.outcomes, m.runs, m.between, m.ahead)
		})
	}
}

// TestResyncOfAnEqualStore: nothing travels but digests.
func TestResyncOfAnEqualStore(t *testing.T) {
	p := newStore(t)
	for i := range 20 {
		p.put(journal.Path(fmt.Sprintf("u/cur/%d", i)), []byte(fmt.Sprint(i)))
	}
	m := newModel(p)
	ctx, cancel := context.WithCancel(t.Context())
	end := p.serve(m.connect(ctx, false), cancel)
	p.equal(t, m)
	_ = end()
	m.outcomes = make(map[wire.Outcome]int)
	ctx, cancel = context.WithCancel(t.Context())
	end = p.serve(m.connect(ctx, false), cancel)
	p.equal(t, m)
	_ = end()
	if len(m.outcomes) > 0 {
		t.Errorf("contents were asked for: %v", m.outcomes)
	}
}
