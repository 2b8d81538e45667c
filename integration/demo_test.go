package integration

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/dovecot"
)

// demo runs the command that the README begins with, and returns what it told. Who
// has said something on a line of stderr that begins with "until" is interrupted.
func demo(t *testing.T, until string, args ...string) string {
	t.Helper()
	temp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), plainBinary(t), append([]string{"demo"}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	var out bytes.Buffer
	cmd.Stdout = &out
	said, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if until != "" && strings.HasPrefix(lines.Text(), until) {
			after(t, time.Second) // of what is kept going
			must(t, cmd.Process.Signal(syscall.SIGINT))
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("demo %q: %v\n%s", args, err, out.String())
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return out.String()
}

func mustSay(t *testing.T, out string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(out, want) {
			t.Errorf("it told:\n%s\nand nothing of %q", out, want)
		}
	}
}

// TestDemo runs the demo as a visitor does, with sample mail, with an interrupt, and
// over a store of the visitor's own.
func TestDemo(t *testing.T) {
	t.Run("by itself", func(t *testing.T) {
		mustSay(t, demo(t, ""), "replicated ", "latency      delivered", "p99", "saved by deduplication and compression", "so say both trees", "proof        both nodes have the same digest")
	})
	t.Run("of a store, until interrupted", func(t *testing.T) {
		store := filepath.Join(dovecot.StoreDir(t), "vmail")
		deliverTo(t, store, "example.org/ann", 30, 3_000)
		before := state(t, store)
		mustSay(t, demo(t, "Watching ", "--keep", "--store", store), "replicated   30 files", "proof        both nodes have the same digest")
		if now := state(t, store); now != before {
			t.Errorf("the store was\n%s\nand is\n%s", before, now)
		}
	})
}

// state tells everything that there is beneath a directory, and when and to what it
// was changed last.
func state(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return errors.Join(err, errors.New("no stat"))
		}
		all.WriteString(strings.Join([]string{path, info.Mode().String(), info.ModTime().String(), time.Unix(st.Ctim.Unix()).String()}, " ") + "\n")
		return err
	}))
	return all.String()
}
