package beneath

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
)

// tree makes a store: names that end in a slash are directories, "a -> b" is a
// symbolic link, all else a file that holds its own name.
func tree(t *testing.T, names ...string) (*Root, string) {
	t.Helper()
	base := t.TempDir()
	dir := filepath.Join(base, "store")
	must(t, os.Mkdir(dir, 0o700))
	for _, name := range names {
		link, target, isLink := strings.Cut(name, " -> ")
		path := filepath.Join(dir, link)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		switch {
		case isLink:
			must(t, os.Symlink(target, path))
		case strings.HasSuffix(name, "/"):
			must(t, os.MkdirAll(path, 0o700))
		default:
			must(t, os.WriteFile(path, []byte(name), 0o600))
		}
	}
	root, err := Open(dir)
	must(t, err)
	t.Cleanup(func() { must(t, root.Close()) })
	return root, dir
}

func openDir(t *testing.T, root *Root, p journal.Path) *Dir {
	t.Helper()
	d, err := root.Dir(p)
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("%s: %v; want %v", what, err, target)
		}
	}
}

func TestDir(t *testing.T) {
	root, _ := tree(t, "a/b/c/file", "a/in -> b", "a/out -> /etc", "dangling -> nowhere")
	for _, p := range []journal.Path{".", "a", "a/b/c"} {
		d, err := root.Dir(p)
		must(t, err)
		if d.Path() != p {
			t.Errorf("path %q; want %q", d.Path(), p)
		}
		must(t, d.Close())
	}
	for p, want := range map[journal.Path][]error{
		"a/none":        {fs.ErrNotExist, syscall.ENOENT},
		"none/b":        {fs.ErrNotExist},
		"a/b/c/file":    {ErrNotDirectory, syscall.ENOTDIR},
		"a/b/c/file/x":  {ErrNotDirectory},
		"a/in":          {ErrEscapes},
		"a/in/c":        {ErrEscapes, syscall.ELOOP},
		"a/out":         {ErrEscapes},
		"a/out/default": {ErrEscapes},
		"dangling":      {ErrEscapes},
		"../store":      {journal.ErrPath},
		"/etc":          {journal.ErrPath},
		"a//b":          {journal.ErrPath},
		"":              {journal.ErrPath},
		"a\x00b":        {journal.ErrPath},
	} {
		_, err := root.Dir(p)
		wantErr(t, strconv.Quote(string(p)), err, want...)
	}
	d := openDir(t, root, "a")
	sub, err := d.Dir("b")
	must(t, err)
	defer sub.Close()
	if sub.Path() != "a/b" {
		t.Errorf("path of the subdirectory %q", sub.Path())
	}
	_, err = d.Dir("in")
	wantErr(t, "a directory through a link", err, ErrEscapes)
}

func TestNamesAreRefusedEverywhere(t *testing.T) {
	root, _ := tree(t, "file", "dir/")
	d := openDir(t, root, ".")
	calls := map[string]func(string) error{
		"Dir":             func(n string) error { _, err := d.Dir(n); return err },
		"Stat":            func(n string) error { _, err := d.Stat(n); return err },
		"Readlink":        func(n string) error { _, err := d.Readlink(n); return err },
		"Open":            func(n string) error { _, err := d.Open(n); return err },
		"Create":          func(n string) error { _, err := d.Create(n); return err },
		"Xattrs":          func(n string) error { _, err := d.Xattrs(n); return err },
		"Mkdir":           func(n string) error { return d.Mkdir(n, 0o700) },
		"Symlink":         func(n string) error { return d.Symlink("x", n) },
		"Link":            func(n string) error { return d.Link(n, d, "new") },
		"Link to":         func(n string) error { return d.Link("file", d, n) },
		"Rename":          func(n string) error { return d.Rename(n, d, "new") },
		"Rename to":       func(n string) error { return d.Rename("file", d, n) },
		"RenameNoReplace": func(n string) error { return d.RenameNoReplace("file", d, n) },
		"Remove":          func(n string) error { return d.Remove(n) },
		"RemoveDir":       func(n string) error { return d.RemoveDir(n) },
		"RemoveTree":      func(n string) error { return d.RemoveTree(n) },
		"SetAttributes": func(n string) error {
			return d.SetAttributes(n, journal.TypeFile, journal.Attributes{Mode: 0o600})
		},
	}
	for call, f := range calls {
		for _, name := range []string{"", ".", "..", "/", "a/b", "/etc", "dir/", "a\x00", "\x00", strings.Repeat("n", 256)} {
			wantErr(t, call+" "+strconv.Quote(name), f(name), journal.ErrPath)
		}
	}
	names, err := d.List()
	must(t, err)
	if len(names) != 2 {
		t.Errorf("left in the directory: %v", names)
	}
}

func TestAnyOtherNameWorks(t *testing.T) {
	root, _ := tree(t, "sub/")
	d, sub := openDir(t, root, "."), openDir(t, root, "sub")
	for _, name := range []string{
		"new\nline", "\xff\xfe", "-rf", "*", "a:2,S", " ", "...", "..x", "\\", strings.Repeat("n", 255), strings.Repeat("é", 127),
	} {
		f, err := d.Create(name)
		must(t, err)
		must(t, f.Close())
		must(t, d.Rename(name, sub, name))
		names, err := sub.List()
		must(t, err)
		if len(names) != 1 || names[0].Name != name || names[0].Type != journal.TypeFile {
			t.Errorf("%q is listed as %+v", name, names)
		}
		info, err := root.Stat(journal.Path("sub").Join(name))
		must(t, err)
		if info.Stamp.Inode != names[0].Inode {
			t.Errorf("%q: inode %d in the listing, %d by stat", name, names[0].Inode, info.Stamp.Inode)
		}
		must(t, sub.Remove(name))
	}
}

func TestHandleOutlivesRename(t *testing.T) {
	root, dir := tree(t, "old/file")
	d := openDir(t, root, "old")
	must(t, os.Rename(filepath.Join(dir, "old"), filepath.Join(dir, "new")))
	must(t, os.Mkdir(filepath.Join(dir, "old"), 0o700))
	if _, err := d.Stat("file"); err != nil {
		t.Error(err)
	}
	names, err := d.List()
	must(t, err)
	if len(names) != 1 || names[0].Name != "file" {
		t.Errorf("listed %v", names)
	}
}

func TestChanges(t *testing.T) {
	root, dir := tree(t, "a/one", "a/two", "b/full/x")
	a, b := openDir(t, root, "a"), openDir(t, root, "b")
	must(t, a.Link("one", b, "linked"))
	wantErr(t, "link onto a name", a.Link("one", b, "linked"), fs.ErrExist)
	wantErr(t, "rename onto a name", a.RenameNoReplace("two", b, "linked"), fs.ErrExist)
	must(t, a.Rename("two", b, "linked"))
	if got, err := os.ReadFile(filepath.Join(dir, "b/linked")); err != nil || string(got) != "a/two" {
		t.Errorf("replaced: %q, %v", got, err)
	}
	must(t, a.RenameNoReplace("one", a, "uno"))
	wantErr(t, "rename of nothing", a.Rename("one", a, "x"), fs.ErrNotExist)
	wantErr(t, "remove of nothing", a.Remove("one"), fs.ErrNotExist)
	wantErr(t, "remove of a directory", b.Remove("full"), syscall.EISDIR)
	wantErr(t, "remove of a full directory", b.RemoveDir("full"), syscall.ENOTEMPTY, fs.ErrExist)
	must(t, b.Mkdir("empty", 0o750))
	must(t, b.RemoveDir("empty"))
	must(t, b.Symlink("../../outside", "link"))
	target, err := b.Readlink("link")
	must(t, err)
	if target != "../../outside" {
		t.Errorf("target %q", target)
	}
	_, err = a.Readlink("uno")
	wantErr(t, "target of a file", err, ErrNotSymlink)
	must(t, a.Sync())
	must(t, a.SyncFS())
	must(t, root.SyncFS())
}

func TestEdit(t *testing.T) {
	root, dir := tree(t, "file", "dir/", "link -> file")
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	d := openDir(t, root, ".")
	f, err := d.Edit("file")
	must(t, err)
	_, err = f.WriteAt([]byte("F"), 0)
	must(t, errors.Join(err, f.Close()))
	if got, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(got) != "File" {
		t.Errorf("%q, %v", got, err)
	}
	for _, name := range []string{"dir", "link", "pipe"} {
		_, err := d.Edit(name)
		wantErr(t, name, err, ErrNotRegular)
	}
	_, err = d.Edit("none")
	wantErr(t, "none", err, fs.ErrNotExist)
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	root, dir := tree(t, "file", "dir/", "link -> file")
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	d := openDir(t, root, ".")
	for _, name := range []string{"dir", "link", "pipe"} {
		_, err := d.Open(name)
		wantErr(t, name, err, ErrNotRegular)
	}
	f, err := d.Open("file")
	must(t, err)
	defer f.Close()
	buf := make([]byte, 16)
	if n, _ := f.Read(buf); string(buf[:n]) != "file" {
		t.Errorf("read %q", buf[:n])
	}
	opened, err := FileInfo(f)
	must(t, err)
	if named, err := d.Stat("file"); err != nil || opened.Stamp != named.Stamp || opened.Facts.Size != named.Facts.Size {
		t.Errorf("open %+v, by its name %+v, %v", opened, named, err)
	}
	_, err = d.Create("file")
	wantErr(t, "create over a file", err, fs.ErrExist)
	_, err = d.Create("link")
	wantErr(t, "create through a link", err, fs.ErrExist)
}

func TestStat(t *testing.T) {
	root, dir := tree(t, "file", "dir/", "link -> file")
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	must(t, os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "dir/second")))
	d := openDir(t, root, ".")
	for name, want := range map[string]journal.Type{
		"file": journal.TypeFile, "dir": journal.TypeDirectory, "link": journal.TypeSymlink, "pipe": 0,
	} {
		info, err := d.Stat(name)
		must(t, err)
		same, err := root.Stat(journal.Path(name))
		must(t, err)
		if info.Facts.Type != want || same.Stamp != info.Stamp {
			t.Errorf("%s: %+v, and by its path %+v", name, info, same)
		}
		var st syscall.Stat_t
		must(t, syscall.Lstat(filepath.Join(dir, name), &st))
		mtime := st.Mtim.Nano()
		if want == journal.TypeDirectory {
			if info.DirMTime != mtime || info.Facts.Attr.MTime != 0 {
				t.Errorf("%s: mtime %d, %d", name, info.DirMTime, info.Facts.Attr.MTime)
			}
		} else if info.Facts.Attr.MTime != mtime || info.DirMTime != 0 {
			t.Errorf("%s: mtime %d, %d", name, info.DirMTime, info.Facts.Attr.MTime)
		}
		if info.Stamp.Inode != st.Ino || info.Stamp.Device != st.Dev || info.Stamp.Change != st.Ctim.Nano() ||
			info.Facts.Attr.Mode != st.Mode&0o7777 || info.Facts.Attr.UID != st.Uid || info.Links != uint64(st.Nlink) {
			t.Errorf("%s: %+v; stat says %+v", name, info, st)
		}
		if want == journal.TypeFile && (info.Facts.Size != 4 || info.Links != 2) {
			t.Errorf("%s: %d bytes, %d links", name, info.Facts.Size, info.Links)
		}
	}
	own, err := d.Info()
	must(t, err)
	if rootInfo, err := root.Stat("."); err != nil || rootInfo.Stamp != own.Stamp {
		t.Errorf("the root by its path: %+v, %v; by its handle %+v", rootInfo, err, own)
	}
	_, err = d.Stat("none")
	wantErr(t, "stat of nothing", err, fs.ErrNotExist)
}

func TestListing(t *testing.T) {
	root, dir := tree(t)
	var want []string
	for i := range 1200 {
		name := strings.Repeat("x", i%200) + strconv.Itoa(i)
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		want = append(want, name)
	}
	slices.Sort(want)
	d := openDir(t, root, ".")
	var got []string
	batches := 0
	err := d.Each(func(names []Name) error {
		batches++
		for _, n := range names {
			got = append(got, n.Name)
		}
		if batches == 1 { // a listing within a listing
			all, err := d.List()
			if len(all) != len(want) {
				t.Errorf("the inner listing has %d names", len(all))
			}
			return err
		}
		return nil
	})
	must(t, err)
	slices.Sort(got)
	if !slices.Equal(got, want) || batches < 2 {
		t.Errorf("%d names in %d batches", len(got), batches)
	}
	stop := errors.New("stop")
	if err := d.Each(func([]Name) error { return stop }); err != stop {
		t.Errorf("Each: %v", err)
	}
}

// TestLock: of two roots that ask for a directory one gets it, and keeps it when
// it looks the path up anew, also where another directory is there now.
func TestLock(t *testing.T) {
	root, dir := tree(t)
	must(t, root.Lock())
	other, err := Open(dir)
	must(t, err)
	defer other.Close()
	wantErr(t, "a store that another root has", other.Lock(), ErrLocked)
	must(t, root.Reopen())
	wantErr(t, "a store that another root has opened anew", other.Lock(), ErrLocked)

	must(t, os.Rename(dir, dir+".old"))
	must(t, os.Mkdir(dir, 0o700))
	must(t, root.Reopen())
	must(t, other.Lock()) // it has the directory that was there before
	wantErr(t, "a root that moves to a directory of another", other.Reopen(), ErrLocked)
	must(t, root.Close())
	must(t, other.Reopen())
}
