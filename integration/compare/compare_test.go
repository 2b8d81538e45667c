package compare

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/integration/tree"
)

// stores makes a small store and an exact copy of it.
func stores(t *testing.T) (a, b string) {
	t.Helper()
	dir := t.TempDir()
	a, b = filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if _, err := tree.Generate(t.Context(), a, tree.Spec{Messages: 60, Users: 2, MeanSize: 4000}); err != nil {
		t.Fatal(err)
	}
	box := filepath.Join(a, "d00.example/u000/Maildir/cur")
	must(t, os.WriteFile(filepath.Join(box, "1.M1P1.mx1:2,S"), []byte("Subject: one\n\nmail\n"), 0o600))
	must(t, os.Link(filepath.Join(box, "1.M1P1.mx1:2,S"), filepath.Join(box, "2.M1P1.mx1:2,S")))
	must(t, os.Symlink("sieve/main.sieve", filepath.Join(a, "d00.example/u000/.dovecot.sieve")))
	if out, err := exec.Command("cp", "-a", a, b).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return a, b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFindsEachDifference(t *testing.T) {
	const box = "d00.example/u000/Maildir/cur/"
	const one, two = box + "1.M1P1.mx1:2,S", box + "2.M1P1.mx1:2,S"
	for name, test := range map[string]struct {
		change func(b string) error
		path   string
		want   string // "" for no difference
	}{
		"nothing": {func(string) error { return nil }, "", ""},
		"missing": {func(b string) error { return os.Remove(filepath.Join(b, one)) }, one, "missing"},
		"more": {func(b string) error { return os.WriteFile(filepath.Join(b, box+"x"), nil, 0o600) },
			box + "x", "only in the second"},
		"lock": {func(b string) error {
			return os.WriteFile(filepath.Join(b, "d00.example/u000/Maildir/dovecot-uidlist.lock"), nil, 0o600)
		}, "", ""},
		"index": {func(b string) error {
			return os.WriteFile(filepath.Join(b, "d00.example/u000/Maildir/dovecot.index.log"), nil, 0o600)
		}, "", ""},
		"tmp": {func(b string) error {
			return os.WriteFile(filepath.Join(b, "d00.example/u000/Maildir/tmp/x"), nil, 0o600)
		}, "", ""},
		"bytes": {func(b string) error { return overwrite(filepath.Join(b, one), "Subject: oNe\n\nmail\n") }, one, "from byte 10 on"},
		"size":  {func(b string) error { return overwrite(filepath.Join(b, one), "Subject: one\n") }, one, "bytes, but 13"},
		"time": {func(b string) error { return os.Chtimes(filepath.Join(b, one), time.Unix(1, 1), time.Unix(1, 1)) },
			one, "1970-01-01 00:00:01.000000001"},
		"mode":  {func(b string) error { return os.Chmod(filepath.Join(b, one), 0o640) }, one, "mode"},
		"xattr": {func(b string) error { return unix.Setxattr(filepath.Join(b, one), "user.x", []byte("1"), 0) }, one, "extended"},
		"link": {func(b string) error {
			if err := os.Remove(filepath.Join(b, two)); err != nil {
				return err
			}
			return exec.Command("cp", "-a", filepath.Join(b, one), filepath.Join(b, two)).Run()
		}, two, "hard link"},
		"target": {func(b string) error {
			link := filepath.Join(b, "d00.example/u000/.dovecot.sieve")
			if err := os.Remove(link); err != nil {
				return err
			}
			return os.Symlink("/etc/passwd", link)
		}, "d00.example/u000/.dovecot.sieve", "points to"},
		"type": {func(b string) error {
			if err := os.Remove(filepath.Join(b, one)); err != nil {
				return err
			}
			return os.Mkdir(filepath.Join(b, one), 0o700)
		}, one, "is a file, but a directory"},
		"directory": {func(b string) error { return os.RemoveAll(filepath.Join(b, "d00.example/u001")) },
			"d00.example/u001", "directory"},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := stores(t)
			must(t, test.change(b))
			got, err := Trees(t.Context(), a, b, Options{})
			must(t, err)
			if test.want == "" {
				if !got.Equal() {
					t.Fatal(got)
				}
				return
			}
			for _, d := range got.Differences {
				if d.Path == test.path && strings.Contains(d.What, test.want) {
					return
				}
			}
			t.Fatalf("%v, want %q about %q", got, test.want, test.path)
		})
	}
}

// overwrite changes a file's bytes in place and keeps its time.
func overwrite(path, data string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		return err
	}
	return os.Chtimes(path, info.ModTime(), info.ModTime())
}

func TestLimit(t *testing.T) {
	a, b := stores(t)
	must(t, os.RemoveAll(filepath.Join(b, "d00.example/u000/Maildir/cur")))
	must(t, os.Mkdir(filepath.Join(b, "d00.example/u000/Maildir/cur"), 0o700))
	got, err := Trees(t.Context(), a, b, Options{Limit: 3})
	must(t, err)
	if len(got.Differences) != 3 || got.Total <= 3 {
		t.Fatalf("%d told of %d, want 3 of more", len(got.Differences), got.Total)
	}
}

func TestDuplicates(t *testing.T) {
	a, _ := stores(t)
	got, err := Duplicates(a, 10)
	must(t, err)
	if len(got) != 0 {
		t.Fatalf("%q in a store without", got)
	}
	box := filepath.Join(a, "d00.example/u000/Maildir")
	must(t, os.WriteFile(filepath.Join(box, "new/2.M1P1.mx1"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(box, "cur/1.M1P1.mx1:2,FS"), nil, 0o600))
	got, err = Duplicates(a, 10)
	must(t, err)
	if len(got) != 2 {
		t.Fatalf("%q, want 2", got)
	}
}
