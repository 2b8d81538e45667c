package sealedfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// golden is the content "x\n" of the kind test, version 2.
const golden = "mailtwin-test 2\nx\n" +
	"sha256 32bbf70511db2c5d66a49a337e0c975b0a1087b90382386ad26c9c7e598725c6\n"

func TestUnseal(t *testing.T) {
	if got := string(Seal("test", 2, "x\n")); got != golden {
		t.Errorf("sealed as %q", got)
	}
	for name, c := range map[string]struct {
		data string
		want error
	}{
		"whole":      {golden, nil},
		"newer":      {strings.Replace(golden, " 2", " 3", 1), ErrNewer},
		"other kind": {string(Seal("tset", 2, "x\n")), ErrCorrupt},
		"cut":        {golden[:len(golden)-1], ErrCorrupt},
		"changed":    {strings.Replace(golden, "x", "y", 1), ErrCorrupt},
		"empty":      {"", ErrCorrupt},
		"too large":  {golden + strings.Repeat("x", MaxSize), ErrCorrupt},
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(c.data), 0o600); err != nil {
			t.Fatal(err)
		}
		content, version, err := Read(path, "test", 2)
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || content != "x\n" || version != 2) {
			t.Errorf("%s: %q, version %d, %v", name, content, version, err)
		}
	}
	if _, _, err := Read(filepath.Join(t.TempDir(), "file"), "test", 2); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func FuzzUnseal(f *testing.F) {
	f.Add(Seal("test", 1, ""))
	f.Add(Seal("test", 2, "x\ny\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		content, version, err := Unseal("test", 2, data)
		if err != nil {
			return
		}
		if got := Seal("test", version, content); string(got) != string(data) {
			t.Fatalf("%q is read as %q, which is written %q", data, content, got)
		}
	})
}
