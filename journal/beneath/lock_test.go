package beneath

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// stores makes directories in one another and opens them as roots.
func stores(t *testing.T, names ...string) []*Root {
	t.Helper()
	dir := t.TempDir()
	var roots []*Root
	for _, n := range names {
		path := filepath.Join(dir, n)
		must(t, os.MkdirAll(path, 0o700))
		r, err := Open(path)
		must(t, err)
		t.Cleanup(func() { _ = r.Close() })
		roots = append(roots, r)
	}
	return roots
}

// TestLockOfNestedStores: a store in another one, or around it, is refused, whichever
// comes first; those beside each other are not.
func TestLockOfNestedStores(t *testing.T) {
	r := stores(t, "vmail", "vmail/domain/twin", "vmail.twin", ".")
	outer, inner, beside, around := r[0], r[1], r[2], r[3]
	must(t, outer.Lock())
	must(t, beside.Lock())
	err := inner.Lock()
	wantErr(t, "a store in another one", err, ErrInside)
	if !strings.Contains(err.Error(), outer.Path()) {
		t.Errorf("%q does not name %q", err, outer.Path())
	}
	wantErr(t, "a store around others", around.Lock(), ErrAround)
	must(t, outer.Close())
	must(t, inner.Lock())
	wantErr(t, "a store around others", around.Lock(), ErrAround)
	wantErr(t, "a store that comes back around another one", outer.Reopen(), ErrAround)
	must(t, inner.Close())
	must(t, outer.Reopen())
	wantErr(t, "a store that comes back in another one", inner.Reopen(), ErrInside)
	must(t, beside.Lock())
}

// TestLockIsReachedThroughALink: a store is the same one behind a symbolic link, and
// what is refused leaves no lock.
func TestLockIsReachedThroughALink(t *testing.T) {
	r := stores(t, "vmail", "vmail/twin", "other")
	outer, inner, other := r[0], r[1], r[2]
	link := filepath.Join(filepath.Dir(other.Path()), "link")
	must(t, os.Symlink(inner.Path(), link))
	linked, err := Open(link)
	must(t, err)
	defer linked.Close()
	must(t, outer.Lock())
	wantErr(t, "a store in another one", linked.Lock(), ErrInside)
	must(t, outer.Close())
	must(t, inner.Lock())
	wantErr(t, "the same store", linked.Lock(), ErrLocked)
}

// TestReopenKeepsParentsLocked, of the directory that is there now.
func TestReopenKeepsParentsLocked(t *testing.T) {
	r := stores(t, "vmail", "vmail/twin", "other")
	outer, inner, other := r[0], r[1], r[2]
	must(t, inner.Lock())
	must(t, inner.Reopen())
	wantErr(t, "a store around another one", outer.Lock(), ErrAround)
	must(t, os.Rename(inner.Path(), inner.Path()+".old"))
	must(t, other.Lock())
	must(t, os.Symlink(other.Path(), inner.Path()))
	wantErr(t, "a root that moves to another's store", inner.Reopen(), ErrLocked)
	wantErr(t, "a store around one that has not moved", outer.Lock(), ErrAround)
	must(t, other.Close())
	must(t, inner.Reopen())
	must(t, outer.Lock())
}
