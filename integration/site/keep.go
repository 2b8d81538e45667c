package site

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
)

// rawLog returns the settings of a Dovecot that writes down what is said in IMAP, in
// a directory beside its log; none, if nothing is to be kept.
func (s *Site) rawLog(run string) (string, error) {
	if s.opt.Keep == "" {
		return "", nil
	}
	dir := filepath.Join(run, "said")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	return "protocol imap {\n  rawlog_dir = " + dir + "\n}\n", os.Chmod(dir, 0o777) // each user writes his own
}

// Keep copies what the hosts have on their disks, their logs, what was said in IMAP,
// and what is in the journals, into Options.Keep, for who wants to know why a story
// has failed. What of it can no longer be read is left out.
func (s *Site) Keep(ctx context.Context) error {
	if s.opt.Keep == "" {
		return nil
	}
	var failed error
	for name, m := range s.Machines {
		dir := filepath.Join(s.opt.Keep, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		kept, err := filepath.Glob(filepath.Join(m.Dir, "*"))
		failed = errors.Join(failed, err)
		for _, path := range kept {
			if filepath.Ext(path) == ".img" {
				continue
			}
			_ = exec.CommandContext(ctx, "cp", "-a", path, dir).Run() // a disk that failed cannot be read
		}
		entries, err := m.Node.Run(ctx, "journal", "show")
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "journal.txt"), entries, 0o644)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}
