package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/replicator/hint"
)

// writableByOthers are the bits of group and everybody.
const writableByOthers fs.FileMode = 0o022

// Check says what is wrong with the hook of an event without running it: it
// has to be a regular file that the daemon may execute and others cannot
// change. The error is ErrUnusable with a hint; nil where no hook is set.
func (h *Hooks) Check(e Event) error {
	if !h.Set(e) {
		return nil
	}
	what, remedy := examine(h.path(e))
	if what == "" {
		return nil
	}
	return hint.Add(fmt.Errorf("the %s hook %q %w: %s", e, h.path(e), ErrUnusable, what), "%s", remedy)
}

// examine returns what is wrong with a file as a hook, and a remedy.
func examine(path string) (what, remedy string) {
	if !filepath.IsAbs(path) {
		return "it is not an absolute path", "write the whole path, from / on"
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "it does not exist", "put it there, or take it out of [hooks] in the settings"
	}
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(real)
	}
	if err != nil {
		return err.Error(), "let the user of the daemon reach it"
	}
	if !info.Mode().IsRegular() {
		return "it is not a regular file", "name an executable file in [hooks] of the settings"
	}
	if err := unix.Faccessat(unix.AT_FDCWD, real, unix.X_OK, unix.AT_EACCESS); err != nil {
		return "it is not executable: " + err.Error(), fmt.Sprintf("chmod 755 %q", real)
	}
	if info.Mode()&writableByOthers != 0 {
		return "others than its owner may change it", fmt.Sprintf("chmod go-w %q", real)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Sprintf("it belongs to the user %d, neither to root nor to the user of the daemon", stat.Uid),
			fmt.Sprintf("chown root %q", real)
	}
	dir := filepath.Dir(real)
	info, err = os.Stat(dir)
	if err != nil {
		return err.Error(), "let the user of the daemon reach it"
	}
	if info.Mode()&writableByOthers != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Sprintf("others may put another file into its place in %q", dir), fmt.Sprintf("chmod go-w %q", dir)
	}
	return "", ""
}
