package identity

import (
	"crypto/sha256"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/sealedfile"
)

// invite makes a token and returns its secret part.
func invite(t *testing.T, id *Identity, d time.Duration) string {
	t.Helper()
	token, _, err := id.Invite(d)
	if err != nil {
		t.Fatal(err)
	}
	s, print, err := parseToken(token)
	if err != nil || print != fingerprint(id.authority) {
		t.Fatalf("the token %q: %v", token, err)
	}
	return s.String()
}

func TestATokenIsGoodOnce(t *testing.T) {
	c := new(clock)
	id := create(t, c, "mx1")
	s := invite(t, id, 0)
	if err := id.Redeem(s); err != nil {
		t.Fatal(err)
	}
	if err := id.Redeem(s); !errors.Is(err, ErrTokenUsed) {
		t.Errorf("the second time: %v, want ErrTokenUsed", err)
	}
	again := &Identity{invitations: id.invitations, now: c.now, attempts: bucket{tokens: 1}}
	if err := again.Redeem(s); !errors.Is(err, ErrTokenUsed) {
		t.Errorf("after a restart: %v, want ErrTokenUsed", err)
	}
}

func TestATokenIsGoodForATime(t *testing.T) {
	c := new(clock)
	id := create(t, c, "mx1")
	_, expires, err := id.Invite(0)
	if err != nil || !expires.Equal(c.now().Add(24*time.Hour)) {
		t.Errorf("expires %v (%v), want in 24 h", expires, err)
	}
	s, late := invite(t, id, time.Hour), invite(t, id, time.Hour)
	c.forward(time.Hour - time.Second)
	if err := id.Redeem(s); err != nil {
		t.Errorf("a second before: %v", err)
	}
	c.forward(time.Second)
	if err := id.Redeem(late); !errors.Is(err, ErrTokenExpired) {
		t.Errorf("at the end: %v, want ErrTokenExpired", err)
	}
	invite(t, id, time.Hour) // prunes
	if err := id.Redeem(late); !errors.Is(err, ErrTokenUnknown) {
		t.Errorf("after pruning: %v, want ErrTokenUnknown", err)
	}
	for _, d := range []time.Duration{-1, MaxInvitation + 1} {
		if _, _, err := id.Invite(d); err == nil || hint.Of(err) == "" {
			t.Errorf("Invite(%v): %v", d, err)
		}
	}
}

func TestWrongSecrets(t *testing.T) {
	id := create(t, new(clock), "mx1")
	invite(t, id, 0)
	if err := id.Redeem(secret{1}.String()); !errors.Is(err, ErrTokenUnknown) {
		t.Errorf("%v, want ErrTokenUnknown", err)
	}
	for _, text := range []string{"", "x", strings.Repeat("a", 27), "!"} {
		if err := id.Redeem(text); !errors.Is(err, ErrTokenMalformed) {
			t.Errorf("%q: %v, want ErrTokenMalformed", text, err)
		}
	}
}

func TestInvitationsAreBounded(t *testing.T) {
	c := new(clock)
	id := create(t, c, "mx1")
	first := invite(t, id, 0)
	for range maxInvitations - 1 {
		invite(t, id, time.Hour)
	}
	if _, _, err := id.Invite(0); !errors.Is(err, ErrTooMany) || hint.Of(err) == "" {
		t.Errorf("%v, want ErrTooMany", err)
	}
	if err := id.Redeem(first); err != nil {
		t.Fatal(err)
	}
	invite(t, id, 0) // in the place of the used one
	if _, _, err := id.Invite(0); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v, want ErrTooMany", err)
	}
	c.forward(time.Hour)
	invite(t, id, 0)
	if all, err := id.loadInvitations(); err != nil || len(all) != 2 {
		t.Errorf("%d are remembered (%v), want the 2 that have not expired", len(all), err)
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	c := new(clock)
	id := create(t, c, "mx1")
	s := invite(t, id, 0)
	for range attemptBurst {
		if err := id.Redeem(secret{}.String()); !errors.Is(err, ErrTokenUnknown) {
			t.Fatal(err)
		}
	}
	if err := id.Redeem(s); !errors.Is(err, ErrTooFast) {
		t.Errorf("%v, want ErrTooFast", err)
	}
	c.forward(attemptEvery)
	if err := id.Redeem(s); err != nil {
		t.Errorf("a second later: %v", err)
	}
	if err := id.Redeem(s); !errors.Is(err, ErrTooFast) {
		t.Errorf("at once after it: %v, want ErrTooFast", err)
	}
	c.forward(-time.Hour)
	_ = id.Redeem(s)
	c.forward(attemptEvery)
	if err := id.Redeem(s); !errors.Is(err, ErrTokenUsed) {
		t.Errorf("after the clock was set back: %v, want ErrTokenUsed", err)
	}
}

func TestOnlyTheAuthorityInvites(t *testing.T) {
	id := create(t, new(clock), "mx1")
	if _, _, err := second(t, id, id.pair, "mx2").Invite(0); !errors.Is(err, ErrNoAuthority) || hint.Of(err) == "" {
		t.Errorf("%v, want ErrNoAuthority", err)
	}
}

func TestDamagedInvitationsAreNotUsed(t *testing.T) {
	id := create(t, new(clock), "mx1")
	s := invite(t, id, 0)
	data, err := os.ReadFile(id.invitations)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(id.invitations); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
	if strings.Contains(string(data), s) {
		t.Error("the secret is in the file")
	}
	data[30] ^= 1
	if err := os.WriteFile(id.invitations, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := id.Redeem(s); !errors.Is(err, sealedfile.ErrCorrupt) || hint.Of(err) == "" {
		t.Errorf("Redeem: %v, want ErrCorrupt", err)
	}
	if _, _, err := id.Invite(0); !errors.Is(err, sealedfile.ErrCorrupt) {
		t.Errorf("Invite: %v, want ErrCorrupt", err)
	}
}

// The bytes of version 1, for ever.
func TestTokenGoldenBytes(t *testing.T) {
	const want = "aeaqeayaaaaaaaaaaaaaaaaaaaaidlgxmika7jusufbieljpxzg4n5klzksqd5ukwn7fv3wqxl7e3gnegqa3c"
	got := formatToken(secret{1, 2, 3}, sha256.Sum256([]byte("a certificate")))
	if got != want {
		t.Errorf("the token is %q", got)
	}
	s, print, err := parseToken(strings.ToUpper(" " + got + "\n"))
	if err != nil || s != (secret{1, 2, 3}) || print != sha256.Sum256([]byte("a certificate")) {
		t.Errorf("read as %v %x, %v", s, print, err)
	}
}

func TestTokensThatCannotBeUsed(t *testing.T) {
	token := formatToken(secret{}, [sha256.Size]byte{})
	newer := "aiaqcalztzd44"
	for text, want := range map[string]error{
		"": ErrTokenMalformed, "hello": ErrTokenMalformed, token[1:]: ErrTokenMalformed, token[:len(token)-1]: ErrTokenMalformed,
		token + "a": ErrTokenMalformed, token[:20] + "z" + token[21:]: ErrTokenMalformed, newer: sealedfile.ErrNewer,
	} {
		if _, _, err := parseToken(text); !errors.Is(err, want) || hint.Of(err) == "" {
			t.Errorf("%q: %v, want %v and a hint", text, err, want)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(formatToken(secret{1}, [sha256.Size]byte{2}))
	f.Fuzz(func(t *testing.T, text string) {
		s, print, err := parseToken(text)
		if err == nil && formatToken(s, print) != strings.ToLower(strings.TrimSpace(text)) {
			t.Fatalf("%q is read as %v %x", text, s, print)
		}
	})
}

// The bytes of version 1, for ever.
func TestInvitationsGoldenBytes(t *testing.T) {
	const want = "mailtwin-invitations 1\n" +
		"0100000000000000000000000000000000000000000000000000000000000000 1772366400 open\n" +
		"0200000000000000000000000000000000000000000000000000000000000000 1772366401 used\n" +
		"sha256 4b33be44c58d7b70ab3bd3e492691008164211b1e436dc48b663897986548f0d\n"
	all := []invitation{
		{hash: [sha256.Size]byte{1}, expires: 1772366400},
		{hash: [sha256.Size]byte{2}, expires: 1772366401, used: true},
	}
	if got := string(formatInvitations(all)); got != want {
		t.Errorf("the file is %q", got)
	}
	content, _, err := sealedfile.Unseal(invitationsKind, invitationsVersion, []byte(want))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseInvitations(content); err != nil || !slices.Equal(got, all) {
		t.Errorf("read as %v, %v", got, err)
	}
}
