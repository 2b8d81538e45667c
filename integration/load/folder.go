package load

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// message is a file in a folder.
type message struct {
	base  string
	sub   string // "new" or "cur"
	flags string // in order
	uid   int    // 0 until a client has seen it
}

func (m *message) name() string {
	if m.sub == "new" {
		return m.base
	}
	return m.base + ":2," + m.flags
}

// folder is a mailbox.
type folder struct {
	name     string // of its directory; "" is the INBOX
	dir      string
	validity int
	next     int // UID
	messages []*message
}

func (f *folder) path(m *message) string { return filepath.Join(f.dir, m.sub, m.name()) }

func (f *folder) header() string {
	return fmt.Sprintf("3 V%d N%d G%032x\n", f.validity, f.next, f.validity)
}

// makeFolder makes a mailbox with an empty uidlist.
func (g *Generator) makeFolder(name string) error {
	g.serial++
	f := &folder{name: name, dir: filepath.Join(g.home, name), validity: 1_700_000_000 + g.serial, next: 1}
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(f.dir, sub), 0o700); err != nil {
			return err
		}
	}
	if name != "" {
		if err := os.WriteFile(filepath.Join(f.dir, "maildirfolder"), nil, 0o600); err != nil {
			return err
		}
	}
	g.folders = append(g.folders, f)
	return os.WriteFile(filepath.Join(f.dir, "dovecot-uidlist"), []byte(f.header()), 0o600)
}

// assign gives a message its UID, at the end of the uidlist.
func (f *folder) assign(m *message) error {
	list, err := os.OpenFile(filepath.Join(f.dir, "dovecot-uidlist"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer list.Close()
	m.uid = f.next
	f.next++
	if _, err := fmt.Fprintf(list, "%d :%s\n", m.uid, m.base); err != nil {
		return err
	}
	return list.Close()
}

// rewriteList writes the uidlist anew, as Dovecot does when much of it is
// gone.
func (g *Generator) rewriteList(f *folder) error {
	var b bytes.Buffer
	b.WriteString(f.header())
	byUID := slices.Clone(f.messages)
	slices.SortFunc(byUID, func(a, b *message) int { return a.uid - b.uid })
	for _, m := range byUID {
		if m.uid != 0 {
			fmt.Fprintf(&b, "%d :%s\n", m.uid, m.base)
		}
	}
	temporary := filepath.Join(f.dir, "dovecot-uidlist.tmp")
	if err := os.WriteFile(temporary, b.Bytes(), 0o600); err != nil {
		return err
	}
	g.counts.Read++
	return os.Rename(temporary, filepath.Join(f.dir, "dovecot-uidlist"))
}

// read opens the folder: what is new goes to cur/ and gets its UID.
func (g *Generator) read(f *folder) error {
	for _, m := range f.messages {
		if m.sub != "new" {
			continue
		}
		before := f.path(m)
		m.sub = "cur"
		if err := os.Rename(before, f.path(m)); err != nil {
			return err
		}
		if err := f.assign(m); err != nil {
			return err
		}
		g.counts.Read++
	}
	return nil
}

// flag changes one flag of one message.
func (g *Generator) flag(f *folder) error {
	if err := g.read(f); err != nil {
		return err
	}
	m := f.messages[g.rng.IntN(len(f.messages))]
	before := f.path(m)
	letter := string("DFRSTab"[g.rng.IntN(7)])
	if strings.Contains(m.flags, letter) {
		m.flags = strings.ReplaceAll(m.flags, letter, "")
	} else {
		letters := strings.Split(m.flags+letter, "")
		slices.Sort(letters)
		m.flags = strings.Join(letters, "")
	}
	g.counts.Flagged++
	return os.Rename(before, f.path(m))
}

// take removes one message from what f has.
func (g *Generator) take(f *folder) *message {
	i := g.rng.IntN(len(f.messages))
	m := f.messages[i]
	f.messages = slices.Delete(f.messages, i, i+1)
	return m
}

func (g *Generator) expunge(f *folder) error {
	m := g.take(f)
	g.forget(m)
	g.counts.Expunged++
	return os.Remove(f.path(m))
}

// forget notes that one of the folders has a message no longer.
func (g *Generator) forget(m *message) {
	if g.names[m.base]--; g.names[m.base] == 0 {
		delete(g.names, m.base)
		g.gone[m.base] = true
	}
}

func (f *folder) has(base string) bool {
	return slices.ContainsFunc(f.messages, func(m *message) bool { return m.base == base })
}

// move moves one message from one folder to another.
func (g *Generator) move(f, to *folder) error {
	i := g.rng.IntN(len(f.messages))
	m := f.messages[i]
	if to.has(m.base) {
		return nil
	}
	f.messages = slices.Delete(f.messages, i, i+1)
	moved := &message{base: m.base, sub: "cur", flags: m.flags}
	if err := os.Rename(f.path(m), to.path(moved)); err != nil {
		return err
	}
	to.messages = append(to.messages, moved)
	g.counts.Moved++
	return to.assign(moved)
}

// copy links one message into another folder, as Dovecot's COPY does.
func (g *Generator) copy(f, to *folder) error {
	m := f.messages[g.rng.IntN(len(f.messages))]
	if to.has(m.base) {
		return nil
	}
	copied := &message{base: m.base, sub: "cur", flags: m.flags}
	if err := os.Link(f.path(m), to.path(copied)); err != nil {
		return err
	}
	to.messages = append(to.messages, copied)
	g.names[m.base]++
	g.counts.Copied++
	return to.assign(copied)
}

// changeFolders makes, renames or deletes a folder.
func (g *Generator) changeFolders() error {
	const mostFolders = 8
	g.counts.Folders++
	g.serial++
	fresh := fmt.Sprintf(".F%d", g.serial)
	if len(g.folders) < 4 {
		return g.makeFolder(fresh)
	}
	i := 1 + g.rng.IntN(len(g.folders)-1)
	f := g.folders[i]
	switch g.rng.IntN(4) {
	case 0, 1:
		if len(g.folders) < mostFolders {
			return g.makeFolder(fresh)
		}
		fallthrough
	case 2:
		before := f.dir
		f.name, f.dir = fresh, filepath.Join(g.home, fresh)
		return os.Rename(before, f.dir)
	default:
		g.folders = slices.Delete(g.folders, i, i+1)
		for _, m := range f.messages {
			g.forget(m)
		}
		trash := filepath.Join(g.home, "..DOVECOT-TRASHED")
		if err := os.Rename(f.dir, trash); err != nil {
			return err
		}
		return os.RemoveAll(trash)
	}
}
