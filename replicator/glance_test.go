package replicator

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/config"
)

// TestWhatCannotBeLookedAtIsKept: only what is known to be gone was seen to.
func TestWhatCannotBeLookedAtIsKept(t *testing.T) {
	n := &node{cfg: config.Config{Store: config.Store{Path: t.TempDir()}}, glances: &glances{lstat: lstat, patience: time.Minute}}
	file := filepath.Join(n.cfg.Store.Path, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !n.keeps("file") || n.keeps("nothing") || n.keeps("nothing/in/it") || !n.keeps("file/in/it") {
		t.Error("what is there, or cannot be looked at, is kept, and nothing else")
	}
}

// TestGlanceDoesNotHang: an array that does not answer keeps nobody waiting, nor is it
// asked by more and more.
func TestGlanceDoesNotHang(t *testing.T) {
	answer := make(chan struct{})
	var asked atomic.Int32
	g := glances{patience: time.Minute, lstat: func(path string) error {
		if asked.Add(1); path == "hangs" {
			<-answer
		}
		return fs.ErrNotExist
	}}
	if err := g.at("gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("gone: %v", err)
	}
	g.patience = time.Millisecond
	for range 100 { // at most the first of them waits
		for _, path := range []string{"hangs", "gone"} {
			if err := g.at(path); !errors.Is(err, errNoAnswer) {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
	g.mu.Lock()
	hung := g.running
	g.mu.Unlock()
	g.patience = time.Minute
	close(answer)
	<-hung.done
	for _, path := range []string{"hangs", "gone"} {
		if err := g.at(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after that, %s: %v", path, err)
		}
	}
}
