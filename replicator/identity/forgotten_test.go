package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/sealedfile"
)

// TestForgottenAreRemembered: over a reopening, and until somebody of the name
// joins again.
func TestForgottenAreRemembered(t *testing.T) {
	dir, now := t.TempDir(), time.Unix(1_700_000_000, 500)
	f, err := OpenForgotten(dir)
	if err != nil || f.Gone("mx2") {
		t.Fatal("at first:", err)
	}
	if err := f.Forget("mx2", "mx2:7420", now); err != nil {
		t.Fatal(err)
	}
	if f, err = OpenForgotten(dir); err != nil || !f.Gone("mx2") || !f.Was("mx2:7420") || f.Gone("mx3") {
		t.Fatalf("reopened: %+v, %v", f.All(), err)
	}
	old := f.All()[0]
	if err := f.Joined("mx2", now); err != nil || f.Gone("mx2") || f.Was("mx2:7420") {
		t.Errorf("joined again: %+v, %v", f.All(), err)
	}
	if news, err := f.Hear(old, now); news || err != nil {
		t.Errorf("an old rumour counts: %v, %v", news, err)
	}
	if err := f.Forget("mx2", "", now); err != nil || !f.Gone("mx2") {
		t.Errorf("forgotten in the same second again: %+v, %v", f.All(), err)
	}
}

// goldenForgotten is the file of two nodes, version 1.
const goldenForgotten = "mailtwin-forgotten 1\nmx2 1700000001 gone mx2:7420\nmx3 1700000002 again -\n" +
	"sha256 0e5de33dbd4194ff7880429fc411f3209fb058d86e48254dee5d13ff825dfc2a\n"

// TestForgottenFile: its bytes, and what it may be other than that.
func TestForgottenFile(t *testing.T) {
	dir, now := t.TempDir(), time.Unix(1_700_000_001, 0)
	path := filepath.Join(dir, forgottenFile)
	f, err := OpenForgotten(dir)
	if err == nil {
		err = errors.Join(f.Forget("mx3", "mx3:7420", now.Add(time.Second)), f.Joined("mx3", now), f.Forget("mx2", "mx2:7420", now))
	}
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != goldenForgotten {
		t.Errorf("the file is %q, %v", content, err)
	}
	long := make([]Forgetting, MaxForgotten+1)
	for i := range long {
		long[i] = Forgetting{Name: fmt.Sprintf("n%03d", i), Since: now}
	}
	for name, c := range map[string]struct {
		content string
		want    error
	}{
		"newer":     {strings.Replace(goldenForgotten, " 1\n", " 2\n", 1), sealedfile.ErrNewer},
		"changed":   {strings.Replace(goldenForgotten, "gone", "again", 1), sealedfile.ErrCorrupt},
		"torn":      {goldenForgotten[:len(goldenForgotten)-2], sealedfile.ErrCorrupt},
		"too many":  {string(formatForgotten(long)), sealedfile.ErrCorrupt},
		"not names": {string(sealedfile.Seal(forgottenKind, forgottenVersion, "../x 1 gone -\n")), sealedfile.ErrCorrupt},
	} {
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenForgotten(dir)
		if !errors.Is(err, c.want) || hint.Of(err) == "" {
			t.Errorf("%s: %v, and what to do: %q", name, err, hint.Of(err))
		}
	}
}

// TestForgottenAreBounded: those go whose certificates would be void by their age.
func TestForgottenAreBounded(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	f, err := OpenForgotten(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for i := range MaxForgotten {
		f.list = append(f.list, Forgetting{Name: fmt.Sprintf("n%03d", i), Since: now})
	}
	if err := f.Forget("mx2", "", now); !errors.Is(err, ErrTooManyForgotten) || f.Gone("mx2") {
		t.Errorf("one too many: %v", err)
	}
	if err := f.Forget("mx2", "", now.Add(nodeValidity+time.Second)); err != nil || !f.Gone("mx2") || len(f.All()) != 1 {
		t.Errorf("when the others are void: %d, %v", len(f.All()), err)
	}
}

// TestForgottenCertificatesAreVoid: those made up to then are, and a later one is
// good.
func TestForgottenCertificatesAreVoid(t *testing.T) {
	now := time.Now
	dir := t.TempDir()
	id, err := Create(dir, "pair-a", "mx1", now)
	if err != nil {
		t.Fatal(err)
	}
	f, err := OpenForgotten(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Disowned(id); err != nil {
		t.Error(err)
	}
	if err := f.Forget("mx1", "", now()); err != nil {
		t.Fatal(err)
	}
	if err := f.Disowned(id); !errors.Is(err, ErrForgotten) || !strings.Contains(err.Error(), "join it again") {
		t.Errorf("void: %v", err)
	}
	g, _ := f.Of("mx1")
	server := NewEnrolmentServer(id, &primary{after: map[string]time.Time{"mx1": g.Since}})
	later, err := issue(id.authority, id.authorityKey, "pair-a", "mx1", id.certificate.Leaf.PublicKey, server.made("mx1"))
	if err != nil {
		t.Fatal(err)
	}
	// Nobody has told that it has joined again: it says so itself.
	call := func(leaf *x509.Certificate) (string, error) {
		state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf, id.authority}}}
		ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: state}})
		return f.RequireMember(ctx, id, now())
	}
	if name, err := call(id.certificate.Leaf); name != "mx1" || !errors.Is(err, ErrForgotten) || !f.Gone("mx1") {
		t.Errorf("the old one calls: %q, %v", name, err)
	}
	if name, err := call(later); name != "mx1" || err != nil || f.Gone("mx1") {
		t.Errorf("the new one calls: %q, %v", name, err)
	}
	if _, err := call(id.certificate.Leaf); !errors.Is(err, ErrForgotten) {
		t.Errorf("the old one calls after the new one: %v", err)
	}
}

func FuzzForgotten(f *testing.F) {
	f.Add("mx2 1700000001 gone -\nmx3 1700000002 again mx3:7420\n")
	f.Add("mx2 1 gone\n")
	f.Fuzz(func(t *testing.T, content string) {
		list, err := parseForgotten(content)
		if err != nil {
			return
		}
		if got := formatForgotten(list); !slices.Equal(got, sealedfile.Seal(forgottenKind, forgottenVersion, content)) {
			t.Errorf("%q became %q", content, got)
		}
	})
}
