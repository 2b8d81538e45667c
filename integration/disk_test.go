package integration

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/hosts"
	"github.com/mailtwin/mailtwin/integration/pair"
	"github.com/mailtwin/mailtwin/integration/tree"
)

// mount runs mount or umount.
func mount(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
}

// smallDisk returns a directory on a file system of its own, of that size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := filepath.Join(dovecot.StoreDir(t), "disk")
	must(t, os.Mkdir(dir, 0o755))
	mount(t, "mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir)
	t.Cleanup(func() {
		// A daemon may still be ending.
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// deliverTo delivers a number of messages to a new user.
func deliverTo(t *testing.T, store, user string, messages, size int) {
	t.Helper()
	box := filepath.Join(store, user, "Maildir")
	for _, sub := range []string{"cur", "new", "tmp"} {
		must(t, os.MkdirAll(filepath.Join(box, sub), 0o700))
	}
	w := tree.NewWriter(1)
	for i := range messages {
		name := fmt.Sprintf("%d.M1P1.mx1", 1_700_000_000+i)
		must(t, os.WriteFile(filepath.Join(box, "tmp", name), w.Message(user, size), 0o600))
		must(t, os.Rename(filepath.Join(box, "tmp", name), filepath.Join(box, "new", name)))
	}
}

// inTrouble waits until the primary does not say that all is well.
func inTrouble(t *testing.T, p *pair.Pair) {
	t.Helper()
	eventually(t, 20*time.Second, "the mirror says that it needs a person", func() bool {
		s, err := p.Mirror.Status(t.Context())
		return err == nil && s.State == "needs-attention"
	})
	s, err := p.Primary.Status(t.Context())
	must(t, err)
	if s.InSync() || len(s.Mirrors) == 1 && s.Mirrors[0].AckedSequence >= s.Journal.Sequence {
		t.Errorf("the primary says that all is acknowledged: %s", s.Document)
	}
}

func TestMirrorDiskFull(t *testing.T) {
	primary, _ := stores(t)
	disk := smallDisk(t, "8m")
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: primary, MirrorStore: filepath.Join(disk, "store")})
	p.MustBeInSync(t, time.Minute)
	deliverTo(t, primary, "example.org/full", 300, 50_000)
	inTrouble(t, p)
	mount(t, "mount", "-o", "remount,size=64m", disk)
	p.MustBeEqual(t, time.Minute)
}

func TestMirrorReadOnly(t *testing.T) {
	primary, _ := stores(t)
	disk := smallDisk(t, "64m")
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: primary, MirrorStore: filepath.Join(disk, "store")})
	deliverTo(t, primary, "example.org/before", 10, 5_000)
	p.MustBeInSync(t, time.Minute)
	eventually(t, 10*time.Second, "the disk becomes read-only", func() bool {
		return exec.Command("mount", "-o", "remount,ro", disk).Run() == nil
	})
	deliverTo(t, primary, "example.org/after", 10, 5_000)
	inTrouble(t, p)
	mount(t, "mount", "-o", "remount,rw", disk)
	p.MustBeEqual(t, time.Minute)
}

// TestMirrorDiskFails makes the mirror's disk fail under load, at random moments:
// each fsync is an I/O error from then on, and what was not durable is lost. All
// that the mirror has acknowledged must be on the disk when it is back.
func TestMirrorDiskFails(t *testing.T) {
	host, err := hosts.ForTest(t).Host(t.Context(), "mirror")
	must(t, err)
	disk, err := host.Disk(t.Context(), "disk", 256<<20)
	must(t, err)
	primary, _ := stores(t)
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: primary, MirrorStore: filepath.Join(disk.Path, "store")})
	load := start(t, primary, 2, 50)
	rng := rand.New(rand.NewPCG(1, 8))
	for range 3 {
		must(t, p.WaitForChange(t.Context()))
		after(t, time.Duration(rng.IntN(700))*time.Millisecond)
		must(t, disk.Fail())
		inTrouble(t, p)
		status, err := p.Primary.Status(t.Context())
		must(t, err)
		must(t, p.Mirror.Kill())
		must(t, disk.Repair(t.Context()))
		hasWhatItAcknowledged(t, p, status)
		must(t, p.Mirror.Start())
	}
	load.finish(t, p, time.Minute)
}

// TestPrimaryStateDiskFull fills the disk of the primary's journal: both nodes say
// that a person is needed, and neither that nothing would be lost. All goes on when
// there is room again.
func TestPrimaryStateDiskFull(t *testing.T) {
	primary, mirror := stores(t)
	dir, err := os.MkdirTemp("", "mt") // short enough for the path of a socket
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	state := filepath.Join(dir, "primary")
	must(t, os.Mkdir(state, 0o700))
	mount(t, "mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", state)
	t.Cleanup(func() { mount(t, "umount", "-l", state) })
	p := pair.New(t, pair.Options{Binary: binary(t), Dir: dir, PrimaryStore: primary, MirrorStore: mirror})
	p.MustBeInSync(t, time.Minute)

	ballast := filepath.Join(state, "ballast")
	fill := func() error {
		file, err := os.OpenFile(ballast, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		must(t, err)
		defer func() { must(t, file.Close()) }()
		for err == nil {
			_, err = file.Write(make([]byte, 4096))
		}
		return err
	}
	if err := fill(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
	deliverTo(t, primary, "example.org/full", 2000, 500)
	for _, node := range []*pair.Node{p.Primary, p.Mirror} {
		eventually(t, time.Minute, node.Name+" says that it needs a person", func() bool {
			s, err := node.Status(t.Context())
			return err == nil && s.State == "needs-attention" && !s.Loss.Known
		})
	}
	must(t, os.Remove(ballast))
	p.MustBeEqual(t, time.Minute)
}

// TestPrimaryUnmounted takes the array away beneath a running primary, and
// once more while it is down: nothing is removed from the mirror, and all goes
// on when the array is back.
func TestPrimaryUnmounted(t *testing.T) {
	array, mirror := stores(t)
	mountPoint := filepath.Join(dovecot.StoreDir(t), "array")
	must(t, os.Mkdir(mountPoint, 0o755))
	bind := func() { mount(t, "mount", "--bind", array, mountPoint) }
	bind()
	t.Cleanup(func() { _ = exec.Command("umount", "-l", mountPoint).Run() }) // it may be unmounted
	deliverTo(t, mountPoint, "example.org/ann", 200, 2_000)
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: mountPoint, MirrorStore: mirror})
	p.MustBeInSync(t, time.Minute)
	for _, whileDown := range []bool{false, true} {
		if whileDown {
			must(t, p.Primary.Stop())
		}
		mount(t, "umount", "-l", mountPoint)
		if whileDown {
			must(t, p.Primary.Start())
			must(t, p.Primary.WaitUntilAnswers(t.Context()))
		}
		eventually(t, 15*time.Second, "the primary says that its store is gone", func() bool {
			s, err := p.Primary.Status(t.Context())
			return err == nil && s.State == "needs-attention"
		})
		entries, err := os.ReadDir(filepath.Join(mirror, "example.org/ann/Maildir/new"))
		if err != nil || len(entries) != 200 {
			t.Fatalf("the mirror has %d messages of 200, %v", len(entries), err)
		}
		bind()
		deliverTo(t, mountPoint, fmt.Sprintf("example.org/back-%v", whileDown), 5, 2_000)
		p.MustBeEqual(t, time.Minute)
	}
}
