package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/replicator/atomicfile"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/sealedfile"
)

// Limits of invitations.
const (
	DefaultInvitation = 24 * time.Hour      // how long a token is good unless said otherwise
	MaxInvitation     = 30 * 24 * time.Hour // the longest
	maxInvitations    = 64                  // remembered at a time

	attemptBurst = 10          // attempts at a token that may come at once
	attemptEvery = time.Second // and then one in this time
)

// Errors of tokens and invitations.
var (
	ErrNoAuthority    = errors.New("this node cannot invite: the pair was not made here")
	ErrTooMany        = errors.New("too many invitations are open")
	ErrTokenMalformed = errors.New("this is not a whole token")
	ErrTokenUnknown   = errors.New("the primary does not know this token")
	ErrTokenExpired   = errors.New("the token has expired")
	ErrTokenUsed      = errors.New("the token was used already")
	ErrTooFast        = errors.New("too many attempts to join")
)

// A token is, in base32 without padding and in small letters, one byte with
// its version, the secret, the fingerprint of the authority, and the first
// bytes of the SHA-256 of all that, which tell a mistyped token from a wrong one.
const (
	tokenVersion = 1
	secretSize   = 16
	checkSize    = 4
	tokenSize    = 1 + secretSize + sha256.Size + checkSize
)

type secret [secretSize]byte

func base32Encoding() *base32.Encoding {
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
}

func (s secret) String() string { return base32Encoding().EncodeToString(s[:]) }

func parseSecret(text string) (secret, error) {
	b, err := base32Encoding().DecodeString(text)
	if err != nil || len(b) != secretSize {
		return secret{}, ErrTokenMalformed
	}
	return secret(b), nil
}

func formatToken(s secret, fingerprint [sha256.Size]byte) string {
	b := append([]byte{tokenVersion}, s[:]...)
	b = append(b, fingerprint[:]...)
	sum := sha256.Sum256(b)
	return base32Encoding().EncodeToString(append(b, sum[:checkSize]...))
}

func parseToken(token string) (s secret, fingerprint [sha256.Size]byte, err error) {
	token = strings.ToLower(strings.TrimSpace(token))
	b, err := base32Encoding().DecodeString(token)
	whole := err == nil && len(b) > 1+checkSize
	if whole {
		sum := sha256.Sum256(b[:len(b)-checkSize])
		whole = string(sum[:checkSize]) == string(b[len(b)-checkSize:])
	}
	if whole && b[0] > tokenVersion { // newer ones keep their ends at least
		return s, fingerprint, hint.Add(fmt.Errorf("the token was %w: version %d", sealedfile.ErrNewer, b[0]),
			"install the primary's version of mailtwin here")
	}
	if whole && len(b) == tokenSize {
		copy(s[:], b[1:])
		copy(fingerprint[:], b[1+secretSize:])
	}
	if formatToken(s, fingerprint) != token {
		return secret{}, [sha256.Size]byte{}, hint.Add(ErrTokenMalformed,
			"copy the whole line that `mailtwin init` or `mailtwin invite` printed")
	}
	return s, fingerprint, nil
}

// invitation is a token that was given out. Its line in the file is the
// SHA-256 of the secret in hexadecimal, the end of its validity in seconds
// since 1970, and "open" or "used".
type invitation struct {
	hash    [sha256.Size]byte
	expires int64
	used    bool
}

func (i invitation) String() string {
	state := "open"
	if i.used {
		state = "used"
	}
	return fmt.Sprintf("%s %d %s\n", hex.EncodeToString(i.hash[:]), i.expires, state)
}

const (
	invitationsKind    = "invitations"
	invitationsVersion = 1
)

func formatInvitations(all []invitation) []byte {
	var b strings.Builder
	for _, i := range all {
		b.WriteString(i.String())
	}
	return sealedfile.Seal(invitationsKind, invitationsVersion, b.String())
}

func parseInvitations(content string) ([]invitation, error) {
	var all []invitation
	for line := range strings.Lines(content) {
		var i invitation
		fields := strings.Fields(line)
		if len(fields) == 3 && len(fields[0]) == hex.EncodedLen(len(i.hash)) {
			_, _ = hex.Decode(i.hash[:], []byte(fields[0]))
			i.expires, _ = strconv.ParseInt(fields[1], 10, 64)
			i.used = fields[2] == "used"
		}
		if i.String() != line || len(all) == maxInvitations {
			return nil, fmt.Errorf("%w: %q cannot be an invitation here", sealedfile.ErrCorrupt, line)
		}
		all = append(all, i)
	}
	return all, nil
}

func (id *Identity) loadInvitations() ([]invitation, error) {
	content, _, err := sealedfile.Read(id.invitations, invitationsKind, invitationsVersion)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []invitation
	if err == nil {
		all, err = parseInvitations(content)
	}
	if errors.Is(err, sealedfile.ErrCorrupt) {
		err = hint.Add(err, "remove %s: the tokens given out so far are void then, nothing else", id.invitations)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the invitations: %w", err)
	}
	return all, nil
}

func (id *Identity) saveInvitations(all []invitation) error {
	if err := atomicfile.Write(id.invitations, formatInvitations(all), 0o600); err != nil {
		return fmt.Errorf("saving the invitations: %w", err)
	}
	return nil
}

// Invite makes a token with which one node can join the pair until expires.
// validFor of 0 is DefaultInvitation; it is at most MaxInvitation. The
// invitation is durable when Invite returns. ErrNoAuthority, ErrTooMany.
func (id *Identity) Invite(validFor time.Duration) (token string, expires time.Time, err error) {
	if !id.CanInvite() {
		return "", time.Time{}, hint.Add(ErrNoAuthority, "run `mailtwin invite` on the node where `mailtwin init` was run")
	}
	if validFor == 0 {
		validFor = DefaultInvitation
	}
	if validFor < 0 || validFor > MaxInvitation {
		return "", time.Time{}, hint.Add(fmt.Errorf("a token cannot be valid for %v", validFor),
			"choose up to %d days", MaxInvitation/(24*time.Hour))
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	all, err := id.loadInvitations()
	if err != nil {
		return "", time.Time{}, err
	}
	now := id.now()
	expires = now.Add(validFor).Truncate(time.Second)
	var s secret
	rand.Read(s[:]) // never fails
	all = append(makeRoom(all, now), invitation{hash: sha256.Sum256(s[:]), expires: expires.Unix()})
	if len(all) > maxInvitations {
		return "", time.Time{}, hint.Add(ErrTooMany, "use one of those given out, or wait until some have expired")
	}
	if err := id.saveInvitations(all); err != nil {
		return "", time.Time{}, err
	}
	return formatToken(s, fingerprint(id.authority)), expires, nil
}

// makeRoom leaves out what has expired and, if that is not enough, what was
// used: both are kept only to tell their owners so.
func makeRoom(all []invitation, now time.Time) []invitation {
	all = slices.DeleteFunc(all, func(i invitation) bool { return i.expires <= now.Unix() })
	if len(all) >= maxInvitations {
		all = slices.DeleteFunc(all, func(i invitation) bool { return i.used })
	}
	return all
}

// Redeem uses up the secret part of a token: when it returns nil the token
// will never be good again, not even after a power cut. ErrTokenMalformed,
// ErrTokenUnknown, ErrTokenExpired, ErrTokenUsed, ErrTooFast.
func (id *Identity) Redeem(text string) error {
	id.mu.Lock()
	defer id.mu.Unlock()
	if !id.attempts.take(id.now()) {
		return ErrTooFast
	}
	s, err := parseSecret(text)
	if err != nil {
		return err
	}
	all, err := id.loadInvitations()
	if err != nil {
		return err
	}
	hash := sha256.Sum256(s[:])
	found := -1
	for n := range all { // to the end, whatever is found
		if subtle.ConstantTimeCompare(all[n].hash[:], hash[:]) == 1 {
			found = n
		}
	}
	switch {
	case found < 0:
		return ErrTokenUnknown
	case all[found].used:
		return ErrTokenUsed
	case all[found].expires <= id.now().Unix():
		return ErrTokenExpired
	}
	all[found].used = true
	return id.saveInvitations(all)
}

// bucket bounds how often something is done. It is not safe for concurrent use.
type bucket struct {
	tokens int
	last   time.Time // when tokens was right
}

func (b *bucket) take(now time.Time) bool {
	if n := now.Sub(b.last) / attemptEvery; n > 0 {
		b.tokens = int(min(time.Duration(b.tokens)+n, attemptBurst))
		b.last = b.last.Add(n * attemptEvery)
	} else if n < 0 { // the clock was set back
		b.last = now
	}
	if b.tokens == 0 {
		return false
	}
	b.tokens--
	return true
}
