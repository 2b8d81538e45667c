package compare

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// StagingDir is where a mirror keeps what is not mail yet, at its store's
// root.
const StagingDir = "..mailtwin"

// NotReplicated says what no mirror gets: the content of tmp/, locks, files
// that a program is still writing, Dovecot's indexes and caches, and the
// mirror's own staging directory.
func NotReplicated(path string, dir bool) bool {
	parent, name := filepath.Split(path)
	if path == StagingDir {
		return true
	}
	if filepath.Base(parent) == "tmp" {
		return true
	}
	if dir {
		return false
	}
	switch {
	case strings.HasSuffix(name, ".lock"), strings.HasSuffix(name, ".tmp"), strings.HasSuffix(name, ".svbin"), comingLock(name):
		return true
	case strings.HasPrefix(name, "dovecot.index"), strings.HasPrefix(name, "fts"):
		return true
	case name == "maildirsize", name == "dovecot-acl-list", strings.HasPrefix(name, ".dovecot.lda-dupes"):
		return true
	}
	return false
}

// comingLock reports whether a file is a lock that does not have its name yet. A
// server whose disk fails at that moment leaves it behind.
func comingLock(name string) bool {
	lock, random, _ := strings.Cut(name, ".lock")
	return lock != "" && len(random) == 16 && strings.Trim(random, "0123456789abcdef") == ""
}

// Duplicates returns, in words, the messages that are in a mailbox of the
// store more than once: the same base name under other flags, or in new/ and
// in cur/. At most limit are told. The store must not change meanwhile.
func Duplicates(dir string, limit int) ([]string, error) {
	var found []string
	var mailbox string // whose messages seen has
	var seen map[string]string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == StagingDir {
			return fs.SkipDir
		}
		sub := filepath.Dir(path)
		if kind := filepath.Base(sub); d.IsDir() || kind != "cur" && kind != "new" {
			return nil
		}
		if box := filepath.Dir(sub); box != mailbox {
			mailbox, seen = box, map[string]string{}
		}
		base, _, _ := strings.Cut(d.Name(), ":")
		if first, ok := seen[base]; ok && len(found) < limit {
			found = append(found, fmt.Sprintf("%q and %q are one message", first, path))
		}
		seen[base] = path
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for doubled messages in %q: %w", dir, err)
	}
	return found, nil
}
