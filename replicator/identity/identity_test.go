package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/sealedfile"
)

// clock is a time that a test sets.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(c.offset.Load()))
}
func (c *clock) forward(d time.Duration) { c.offset.Add(int64(d)) }

func create(t *testing.T, c *clock, name string) *Identity {
	t.Helper()
	id, err := Create(t.TempDir(), NewPairName(), name, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// second makes a node of the same authority, in the pair of that name.
func second(t *testing.T, id *Identity, pair, name string) *Identity {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := issue(id.authority, id.authorityKey, pair, name, key.Public(), id.now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := store(dir, leaf, key, id.authority, nil); err != nil {
		t.Fatal(err)
	}
	other, err := Load(dir, id.now)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

func TestCreateAndLoad(t *testing.T) {
	c, dir := new(clock), t.TempDir()
	if _, err := Load(dir, c.now); !errors.Is(err, fs.ErrNotExist) || hint.Of(err) == "" {
		t.Fatalf("Load of nothing: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "identity.new"), 0o755); err != nil { // a crash was here
		t.Fatal(err)
	}
	if err := Vacant(dir); err != nil {
		t.Fatal(err)
	}
	id, err := Create(dir, "pair-x", "mx1.example.net", c.now)
	if err != nil {
		t.Fatal(err)
	}
	if id.Pair() != "pair-x" || id.Name() != "mx1.example.net" || !id.CanInvite() {
		t.Errorf("created %q in %q, can invite %v", id.Name(), id.Pair(), id.CanInvite())
	}
	if want := c.now().Add(nodeValidity); !id.Expires().Equal(want) {
		t.Errorf("expires %v, want %v", id.Expires(), want)
	}
	for name, mode := range map[string]fs.FileMode{
		"": 0o700 | fs.ModeDir, "ca.key": 0o600, "node.key": 0o600, "ca.pem": 0o644, "node.pem": 0o644,
	} {
		if info, err := os.Stat(filepath.Join(dir, "identity", name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: mode %v (%v), want %v", name, info.Mode(), err, mode)
		}
	}
	if _, err := Create(dir, "pair-y", "mx9", c.now); !errors.Is(err, ErrExists) || hint.Of(err) == "" {
		t.Errorf("Create over an identity: %v, want ErrExists", err)
	}
	again, err := Load(dir, c.now)
	if err != nil || again.Pair() != "pair-x" {
		t.Errorf("Load = %+v, %v", again, err)
	}
	for _, names := range [][2]string{{"", "a"}, {"a", "a b"}} {
		if _, err := Create(t.TempDir(), names[0], names[1], c.now); !errors.Is(err, config.ErrInvalid) {
			t.Errorf("Create(%q): %v, want ErrInvalid", names, err)
		}
	}
}

func TestAStateAloneIsNotOverwrittenEither(t *testing.T) {
	dir := t.TempDir()
	if err := SaveState(dir, State{Role: Mirror, Pair: "p", Name: "n"}); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir, "p", "n", new(clock).now); !errors.Is(err, ErrExists) {
		t.Errorf("%v, want ErrExists", err)
	}
}

func TestAnIdentityThatCannotBeUsed(t *testing.T) {
	c := new(clock)
	other := t.TempDir()
	if _, err := Create(other, "pair-x", "mx1", c.now); err != nil {
		t.Fatal(err)
	}
	copyFrom := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			data, err := os.ReadFile(filepath.Join(other, "identity", name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func(name, data string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c2 := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  error
		says  string
	}{
		"a foreign authority":     {copyFrom("ca.pem"), sealedfile.ErrCorrupt, "node.pem is not signed by ca.pem"},
		"a foreign certificate":   {copyFrom("node.pem"), sealedfile.ErrCorrupt, "node.pem is not signed by ca.pem"},
		"a foreign key":           {copyFrom("node.key"), sealedfile.ErrCorrupt, "node.key is not the key of node.pem"},
		"a foreign authority key": {copyFrom("ca.key"), sealedfile.ErrCorrupt, "ca.key is not the key of ca.pem"},
		"no PEM":                  {write("node.pem", "hello"), sealedfile.ErrCorrupt, "not one PEM block"},
		"no certificate":          {write("node.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), sealedfile.ErrCorrupt, "node.pem"},
		"no key":                  {write("node.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), sealedfile.ErrCorrupt, "node.key"},
		"a key of others": {func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, "node.key"), 0o640); err != nil {
				t.Fatal(err)
			}
		}, nil, "can be read by others"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := Create(dir, "pair-x", "mx1", c.now); err != nil {
				t.Fatal(err)
			}
			c2.spoil(t, filepath.Join(dir, "identity"))
			_, err := Load(dir, c.now)
			if err == nil || c2.want != nil && !errors.Is(err, c2.want) || !strings.Contains(err.Error(), c2.says) || hint.Of(err) == "" {
				t.Errorf("Load: %v (hint %q), want %q", err, hint.Of(err), c2.says)
			}
		})
	}
}
