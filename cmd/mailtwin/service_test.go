package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestServiceIsUnderstood has systemd read the unit and its drop-in.
func TestServiceIsUnderstood(t *testing.T) {
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("SKIPPED: there is no systemd-analyze")
	}
	dir := t.TempDir()
	for _, name := range []string{"mailtwin.service", "mailtwin.service.d/hooks.conf"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		// The program need not be installed where this is tested.
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "/usr/bin/mailtwin", "/bin/true")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), tool, "verify", "--man=no", filepath.Join(dir, "mailtwin.service")).CombinedOutput()
	var about []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, dir) || strings.Contains(line, "mailtwin") {
			about = append(about, line)
		}
	}
	if len(about) > 0 {
		t.Errorf("systemd-analyze: %v\n%s", err, strings.Join(about, ""))
	}
}
