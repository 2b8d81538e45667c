package tree

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func generate(t *testing.T, spec Spec) (string, Summary) {
	t.Helper()
	dir := t.TempDir()
	sum, err := Generate(t.Context(), dir, spec)
	if err != nil {
		t.Fatal(err)
	}
	return dir, sum
}

// read returns every file of a store with its name, mode and time.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, dir)] = info.ModTime().String() + string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestSameSpecSameStore(t *testing.T) {
	spec := Spec{Messages: 200, Users: 4, MeanSize: 5000}
	a, sum := generate(t, spec)
	b, _ := generate(t, spec)
	if sum.Messages != 200 {
		t.Errorf("made %d messages, want 200", sum.Messages)
	}
	filesA, filesB := read(t, a), read(t, b)
	if len(filesA) != len(filesB) {
		t.Fatalf("%d files and %d files", len(filesA), len(filesB))
	}
	for name, data := range filesA {
		if filesB[name] != data {
			t.Errorf("%q differs between two stores of one spec", name)
		}
	}
}

func TestLooksLikeMail(t *testing.T) {
	dir, sum := generate(t, Default(1000))
	if want := int64(1 + 1 + 4*17); sum.Directories != want {
		t.Errorf("%d directories, want %d", sum.Directories, want)
	}
	if mean := sum.Bytes / sum.Messages; mean < 30_000 || mean > 75_000 {
		t.Errorf("a message has %d bytes on average, want about 50,000", mean)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		t.Fatal(err)
	}
	var plain, packed int
	uidlists := 0
	for name, data := range read(t, dir) {
		plain += len(data)
		packed += len(enc.EncodeAll([]byte(data), nil))
		if strings.HasSuffix(name, "dovecot-uidlist") {
			uidlists++
		}
	}
	if uidlists != 16 {
		t.Errorf("%d uidlists, want 16", uidlists)
	}
	if ratio := float64(packed) / float64(plain); ratio < 0.55 || ratio > 0.8 {
		t.Errorf("compresses to %.2f, want what mail does: about 0.65", ratio)
	}
}

func TestTextCompressesLikeText(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := NewWriter(1)
	var text []byte
	for range 7 {
		text = append(text, w.Message("u@example", 3000)...)
	}
	if ratio := float64(len(enc.EncodeAll(text, nil))) / float64(len(text)); ratio < 0.25 || ratio > 0.55 {
		t.Errorf("text compresses to %.2f, want about 0.4", ratio)
	}
	if bytes.Contains(text, []byte{'\r'}) {
		t.Error("a carriage return: Maildir has LF")
	}
}
