package engine_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// hostileNames are names that a mail user, or a program of his, can give.
func hostileNames() []string {
	return []string{
		"\xff\xfe\x80.M1P1.host", "two\nlines", "-rf", "--config=x", "\x1b[31mred\x1b]0;title\x07", "\r", "\t", " ", "a ", "*", "~", "$(reboot)",
		"`reboot`", "'", "\"", "\\", "\\x00", "%s%n", "COM1", "a:2,S:2,", ":", "\u202egnp.exe", "e\u0301", "\u00e9",
		strings.Repeat("x", 255), strings.Repeat("\xff", 255),
	}
}

// TestHostileNames: what a file system allows goes through a pair as it is, as
// names of messages and of folders, found by the first sync and live; and what
// is told of it does nothing to a terminal.
func TestHostileNames(t *testing.T) {
	p := newPair(t)
	store := p.primary.Store.Path
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	names := hostileNames()
	deliver := func(user string) {
		t.Helper()
		for i, name := range names {
			p.write(fmt.Sprintf("d/%s/Maildir/cur/%s", user, name), fmt.Sprintf("Subject: %d\n\nfor %s\n", i, user))
			folder := "." + name
			if len(folder) > 255 {
				folder = folder[:255]
			}
			p.write(fmt.Sprintf("d/%s/Maildir/%s/new/%d.M1P1.host", user, folder, i), fmt.Sprintf("Subject: %d\n\nin a folder of %s\n", i, user))
		}
	}
	deliver("first")
	p.startMirror()
	p.inSync()
	p.equal()

	deliver("live")
	must(os.Symlink("../\xff\n/nowhere", filepath.Join(store, "d/live/Maildir/\x1b[2J")))
	p.inSync()
	p.equal()
	for i, name := range names {
		at := filepath.Join(store, "d/first/Maildir/cur", name)
		switch i % 3 {
		case 0:
			must(os.Remove(at))
		case 1:
			must(os.Rename(at, filepath.Join(store, "d/live/Maildir/cur", fmt.Sprintf("moved%d\n\xff:2,S", i))))
		}
	}
	must(os.Rename(filepath.Join(store, "d/first/Maildir/.two\nlines"), filepath.Join(store, "d/first/Maildir/.\xff\xff")))
	p.inSync()
	p.equal()

	client, err := operator.Dial(p.mirror.StateDir)
	must(err)
	defer func() { _ = client.Close() }()
	boxes, _, err := client.Mailboxes(t.Context(), "", 1000)
	must(err)
	if len(boxes.Mailboxes) == 0 {
		t.Errorf("no mailboxes are told: %+v", boxes)
	}
	var out bytes.Buffer
	must(status.RenderMailboxes(&out, &boxes))
	d := p.inSync()
	for _, name := range names {
		d.Store.MissingFiles = append(d.Store.MissingFiles, name)
		d.Store.UnreadableFiles = append(d.Store.UnreadableFiles, status.Unreadable{Path: name, Error: name})
	}
	d.Store.Missing, d.Store.Unreadable = uint64(len(names)), len(names)
	must(status.Render(&out, &d))
	for _, r := range out.String() {
		if r != '\n' && unicode.IsControl(r) || r == '\u202e' {
			t.Fatalf("%q is printed:\n%q", r, out.String())
		}
	}
}
