package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/compare"
	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/pair"
	"github.com/mailtwin/mailtwin/integration/port"
	"github.com/mailtwin/mailtwin/integration/proxy"
	"github.com/mailtwin/mailtwin/integration/tree"
)

// countedDisk is a file system on a loop device, whose reads are counted by the
// kernel.
type countedDisk struct {
	t           *testing.T
	dir, device string
}

func newCountedDisk(t *testing.T, size int64) *countedDisk {
	t.Helper()
	base := dovecot.StoreDir(t)
	d := &countedDisk{t: t, dir: filepath.Join(base, "array")}
	must(t, os.Mkdir(d.dir, 0o755))
	file := filepath.Join(base, "array.img")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Truncate(file, size))
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	d.device = strings.TrimSpace(string(out))
	t.Cleanup(func() { _ = exec.Command("losetup", "--detach", d.device).Run() }) // the last thing that holds the file
	mount(t, "mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.device)
	mount(t, "mount", d.device, d.dir)
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", d.dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return d
}

// forget empties the caches of the disk: nobody may use it.
func (d *countedDisk) forget() {
	d.t.Helper()
	mount(d.t, "umount", d.dir)
	mount(d.t, "mount", d.device, d.dir)
}

// read returns the bytes that were read of the device.
func (d *countedDisk) read() int64 {
	d.t.Helper()
	text, err := os.ReadFile("/sys/class/block/" + filepath.Base(d.device) + "/stat")
	must(d.t, err)
	fields := strings.Fields(string(text))
	if len(fields) < 3 {
		d.t.Fatalf("the counters of %s are %q", d.device, text)
	}
	sectors, err := strconv.ParseInt(fields[2], 10, 64)
	must(d.t, err)
	return sectors * 512
}

// look walks through the store and returns how many files it has, their bytes,
// those that they take on the disk, and what the walk has read of the disk.
func (d *countedDisk) look(store string) (files, bytes, blocks, metadata int64) {
	d.t.Helper()
	before := d.read()
	must(d.t, filepath.WalkDir(store, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() {
			files++
			bytes += st.Size
			blocks += st.Blocks * 512
		}
		return nil
	}))
	return files, bytes, blocks, d.read() - before
}

// slack is what a file system reads beside the files and what a walk needs, such
// as bitmaps.
const slack = 2 << 20

// lonePrimary starts a primary of a store, capped to some bytes a second, and
// waits until it has seen all of it. The mirror joins by way of the link.
func lonePrimary(t *testing.T, store, perSecond string) (primary, mirror *pair.Node, link *proxy.Proxy, join func()) {
	t.Helper()
	addrs, err := port.Free(2)
	must(t, err)
	dir := t.TempDir()
	primary = pair.NewNode(plainBinary(t), dir, "primary", store, addrs[0])
	mirror = pair.NewNode(plainBinary(t), dir, "mirror", filepath.Join(dovecot.StoreDir(t), "mirror"), addrs[1])
	link, err = proxy.New(addrs[0], 1)
	must(t, err)
	t.Cleanup(func() {
		_, _, _ = primary.Kill(), mirror.Kill(), link.Close()
		if t.Failed() {
			t.Logf("the primary's log:\n%s\nthe mirror's log:\n%s", primary.Log(), mirror.Log())
		}
	})
	out, err := primary.Run(t.Context(), "init", "--json", "--store", store, "--name", "primary", "--listen", addrs[0], "--state", primary.State)
	must(t, err)
	var invitation struct{ Token string }
	must(t, json.Unmarshal(out, &invitation))
	settings, err := os.ReadFile(primary.Config())
	must(t, err)
	changed := strings.NewReplacer(`profile = "gentle"`, `profile = "evacuate"`,
		`# bytes_per_second = "40MiB"`, fmt.Sprintf("bytes_per_second = %q", perSecond)).Replace(string(settings))
	must(t, os.WriteFile(primary.Config(), []byte(changed), 0o600))
	must(t, primary.Start())
	must(t, primary.WaitUntilAnswers(t.Context()))
	eventually(t, time.Minute, "the primary has seen its store", func() bool {
		s, err := primary.Status(t.Context())
		return err == nil && s.Store.State == "watching" && s.Store.Watch.Complete
	})
	return primary, mirror, link, func() {
		t.Helper()
		_, err := mirror.Run(t.Context(), "join", link.Addr(), "--adopt", "--token", invitation.Token, "--store", mirror.Store,
			"--name", "mirror", "--listen", addrs[1], "--state", mirror.State)
		must(t, err)
	}
}

func untilInSync(t *testing.T, n *pair.Node) {
	t.Helper()
	eventually(t, 3*time.Minute, "all is on the mirror", func() bool {
		s, err := n.Status(t.Context())
		return err == nil && s.InSync()
	})
}

func equalTrees(t *testing.T, a, b string) {
	t.Helper()
	result, err := compare.Trees(t.Context(), a, b, compare.Options{})
	must(t, err)
	if !result.Equal() {
		t.Errorf("the stores differ: %v", result)
	}
}

// TestTheArrayIsReadOnce counts at the device, with nothing in memory: a first
// sync reads each file once, though the mirror came when the primary had looked
// at everything already.
func TestTheArrayIsReadOnce(t *testing.T) {
	disk := newCountedDisk(t, 512<<20)
	store := filepath.Join(disk.dir, "store")
	must(t, os.Mkdir(store, 0o755))
	_, err := tree.Generate(t.Context(), store, tree.Spec{Messages: 1500, Users: 10, MeanSize: 60_000})
	must(t, err)
	disk.forget()
	_, bytes, blocks, metadata := disk.look(store)
	disk.forget()
	before := disk.read()
	primary, mirror, _, join := lonePrimary(t, store, "1GiB")
	scanned := disk.read() - before
	join()
	must(t, mirror.Start())
	untilInSync(t, primary)
	read := disk.read() - before
	t.Logf("the files have %d bytes and take %d; a walk reads %d, the first scan %d; in all %d bytes were read: %.3f of what the files take",
		bytes, blocks, metadata, scanned, read, float64(read-metadata)/float64(blocks))
	if scanned > 2*metadata+slack {
		t.Errorf("the first scan read %d bytes, a walk reads %d", scanned, metadata)
	}
	if most := blocks + blocks/50 + metadata + slack; read > most {
		t.Errorf("%d bytes were read, more than %d", read, most)
	}
	equalTrees(t, store, mirror.Store)
}

// TestAnInterruptedSyncGoesOn ends a first sync in its midst, in different ways.
// What the mirror has by then is not read again: that is counted at the device,
// with nothing in memory.
func TestAnInterruptedSyncGoesOn(t *testing.T) {
	const (
		messages, meanSize = 1000, 60_000
		// dying is what a primary that is killed may have read and not noted yet.
		dying = 6 << 20
	)
	disk := newCountedDisk(t, 512<<20)
	store := filepath.Join(disk.dir, "store")
	must(t, os.Mkdir(store, 0o755))
	_, err := tree.Generate(t.Context(), store, tree.Spec{Messages: messages, Users: 10, MeanSize: meanSize})
	must(t, err)
	disk.forget()
	files, bytes, _, metadata := disk.look(store)
	for _, way := range []struct {
		name  string
		end   func(primary, mirror *pair.Node, link *proxy.Proxy) error
		again int64 // bytes that may be read again
	}{
		{"the mirror is killed", func(primary, mirror *pair.Node, _ *proxy.Proxy) error {
			return errors.Join(mirror.Kill(), primary.Stop())
		}, 0},
		{"the primary is killed", func(primary, mirror *pair.Node, _ *proxy.Proxy) error {
			return errors.Join(primary.Kill(), mirror.Kill())
		}, dying},
		{"both are stopped", func(primary, mirror *pair.Node, _ *proxy.Proxy) error {
			return errors.Join(primary.Stop(), mirror.Stop())
		}, 0},
		{"the link is cut, and then both are killed", func(primary, mirror *pair.Node, link *proxy.Proxy) error {
			link.Cut()
			eventually(t, time.Minute, "both know", func() bool {
				p, perr := primary.Status(t.Context())
				m, merr := mirror.Status(t.Context())
				return perr == nil && merr == nil && len(p.Mirrors) == 1 && p.Mirrors[0].State == "unknown" && !m.Primary.Connected
			})
			return errors.Join(primary.Kill(), mirror.Kill())
		}, dying},
		// After a boot a node believes of no control file that it is on the disk as
		// it was written; the mail stays as it is.
		{"both hosts reboot", func(primary, mirror *pair.Node, _ *proxy.Proxy) error {
			primary.Env, mirror.Env = []string{"MAILTWIN_BOOT=another"}, []string{"MAILTWIN_BOOT=another"}
			return errors.Join(primary.Kill(), mirror.Kill())
		}, dying},
	} {
		t.Run(way.name, func(t *testing.T) {
			disk.forget()
			primary, mirror, link, join := lonePrimary(t, store, "12MiB")
			join()
			must(t, mirror.Start())
			must(t, mirror.WaitUntilAnswers(t.Context()))
			eventually(t, 2*time.Minute, "more than half is there", func() bool {
				return stored(t, mirror).Bytes > bytes*6/10
			})
			must(t, way.end(primary, mirror, link))
			link.Mend()
			disk.forget()
			must(t, mirror.Start())
			must(t, mirror.WaitUntilAnswers(t.Context()))
			has := stored(t, mirror)
			before := disk.read()
			must(t, primary.Start())
			must(t, primary.WaitUntilAnswers(t.Context()))
			untilInSync(t, primary)
			read := disk.read() - before
			// What a file takes on the disk is more than its bytes by less than a block.
			most := bytes - has.Bytes + 4096*(files-has.Files) + 2*metadata + slack + way.again
			t.Logf("with %d of %d bytes on the mirror, %d were read, at most %d may be", has.Bytes, bytes, read, most)
			if read > most {
				t.Errorf("with %d of %d bytes on the mirror, %d were read, more than %d", has.Bytes, bytes, read, most)
			}
			equalTrees(t, store, mirror.Store)
			must(t, primary.Stop())
			must(t, mirror.Stop())
		})
	}
}

// holding is what a node's catalog has.
type holding struct{ Files, Bytes int64 }

func stored(t *testing.T, n *pair.Node) holding {
	t.Helper()
	s, err := n.Status(t.Context())
	must(t, err)
	var d struct{ Store holding }
	must(t, json.Unmarshal(s.Document, &d))
	return d.Store
}
