package beneath

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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

// nobody is a user who is neither root nor the daemon's.
const nobody = 65534

// foreignLock has another user's program lock a directory, until the test ends.
func foreignLock(t *testing.T, how, dir string) {
	t.Helper()
	cmd := exec.Command("flock", "--no-fork", how, "--nonblock", dir, "sh", "-c", "echo locked; exec cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", line, err)
	}
}

// TestLocksOfOtherUsers keep nobody from his store, wherever they are, and do not hide
// the daemons from each other.
func TestLocksOfOtherUsers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be another user")
	}
	for _, how := range []string{"--exclusive", "--shared"} {
		for _, where := range []string{".", "vmail"} {
			t.Run(how[2:]+" "+where, func(t *testing.T) {
				r := stores(t, "vmail", "vmail/twin")
				outer, inner := r[0], r[1]
				parent := filepath.Dir(outer.Path())
				for _, dir := range []string{filepath.Dir(parent), parent, outer.Path()} {
					must(t, os.Chmod(dir, 0o755))
				}
				again, err := Open(outer.Path())
				must(t, err)
				defer again.Close()
				foreignLock(t, how, filepath.Join(parent, where))
				must(t, outer.Lock())
				must(t, outer.Reopen())
				if where == "." || how == "--shared" { // else there is no lock to be had
					if err := again.Lock(); err == nil {
						t.Error("two daemons have the same store")
					}
				}
				if where == "." {
					wantErr(t, "a store in another one", inner.Lock(), ErrInside)
				}
				must(t, outer.Close())
				must(t, inner.Lock())
				if where == "." || how == "--shared" {
					wantErr(t, "a store around another one", again.Lock(), ErrAround)
				}
			})
		}
	}
}

const someLocks = `1: POSIX  ADVISORY  WRITE 11 00:23:42 0 EOF
2: FLOCK  ADVISORY  WRITE 12 fe:01:42 0 EOF
2: -> FLOCK  ADVISORY  WRITE 13 fe:01:42 0 EOF
3: FLOCK  ADVISORY  READ  14 00:1a:42 0 EOF
4: FLOCK  ADVISORY  READ  0 00:1a:42 0 EOF
5: FLOCK  ADVISORY  READ  15 00:1a:142 0 EOF
6: LEASE  ACTIVE    READ  16 00:1a:42 0 EOF
7: FLOCK  ADVISORY  READ  x 00:1a:42 0 EOF
8: FLOCK
`

func TestHolders(t *testing.T) {
	if got := holders(strings.NewReader(someLocks), 42); !slices.Equal(got, []int{12, 14}) {
		t.Errorf("%v", got)
	}
}

func FuzzHolders(f *testing.F) {
	f.Add(someLocks, uint64(42))
	f.Fuzz(func(t *testing.T, text string, inode uint64) {
		for _, pid := range holders(strings.NewReader(text), inode) {
			if pid <= 0 || !strings.Contains(text, fmt.Sprint(inode)) {
				t.Errorf("process %d", pid)
			}
		}
	})
}
