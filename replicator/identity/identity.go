package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/replicator/atomicfile"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/sealedfile"
)

// ServerName is the DNS name in every node's certificate. It is what a node
// asks for when it dials another, wherever that is.
const ServerName = "node.mailtwin"

const (
	scheme = "mailtwin" // of the URI in a certificate

	authorityValidity = 10 * 365 * 24 * time.Hour
	nodeValidity      = 5 * 365 * 24 * time.Hour
	clockSkew         = time.Hour // by which the two nodes' clocks may differ at first
)

// ErrExists says that the state directory has an identity already.
var ErrExists = errors.New("there is an identity already")

// Identity is one node's membership of its pair. Its methods may be called
// concurrently.
type Identity struct {
	pair, name   string
	certificate  tls.Certificate // with the authority's after its own
	authority    *x509.Certificate
	authorityKey ed25519.PrivateKey // nil on a node that joined one which had none
	now          func() time.Time

	mu          sync.Mutex // held over reading and replacing invitations
	invitations string     // the path of the file
	attempts    bucket     // bounds Redeem
}

// Pair returns the name of the pair.
func (id *Identity) Pair() string { return id.pair }

// Name returns the name of the node.
func (id *Identity) Name() string { return id.name }

// Expires returns when the node's certificate ends. After that no other node
// talks to it any more.
func (id *Identity) Expires() time.Time { return id.certificate.Leaf.NotAfter }

// CanInvite reports whether the node has the authority's key.
func (id *Identity) CanInvite() bool { return id.authorityKey != nil }

// NewPairName returns a name for a new pair that no other pair has.
func NewPairName() string { return "pair-" + strings.ToLower(rand.Text()[:8]) }

// Create makes a new pair with an authority of its own, and its first node,
// and stores both in the state directory, which must exist. They are durable
// when Create returns. An identity that is there already is kept: ErrExists.
func Create(stateDir, pair, name string, now func() time.Time) (*Identity, error) {
	for _, n := range []string{pair, name} {
		if err := config.CheckName(n); err != nil {
			return nil, err
		}
	}
	_, caKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the pair's key: %w", err)
	}
	ca, err := newAuthority(pair, caKey, now())
	if err != nil {
		return nil, err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the node's key: %w", err)
	}
	leaf, err := issue(ca, caKey, pair, name, key.Public(), now())
	if err != nil {
		return nil, err
	}
	if err := store(stateDir, leaf, key, ca, caKey); err != nil {
		return nil, err
	}
	return Load(stateDir, now)
}

// newAuthority makes the certificate of a pair's authority.
func newAuthority(pair string, key ed25519.PrivateKey, now time.Time) (*x509.Certificate, error) {
	template := &x509.Certificate{
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(authorityValidity),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	template.Subject.CommonName = "mailtwin " + pair
	return sign(template, template, key.Public(), key)
}

// issue makes a certificate for a node of the pair.
func issue(ca *x509.Certificate, caKey ed25519.PrivateKey, pair, name string, key any, now time.Time) (*x509.Certificate, error) {
	template := &x509.Certificate{
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(nodeValidity),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{ServerName},
		URIs:                  []*url.URL{{Scheme: scheme, Host: pair, Path: "/" + name}},
	}
	template.Subject.CommonName = name
	if template.NotAfter.After(ca.NotAfter) {
		template.NotAfter = ca.NotAfter
	}
	return sign(template, ca, key, caKey)
}

func sign(template, parent *x509.Certificate, key any, with ed25519.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, with)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// member returns the pair and the node that a certificate names.
func member(c *x509.Certificate) (pair, name string, ok bool) {
	if len(c.URIs) != 1 {
		return "", "", false
	}
	u := c.URIs[0]
	pair, name = u.Host, strings.TrimPrefix(u.Path, "/")
	ok = *u == url.URL{Scheme: scheme, Host: pair, Path: "/" + name} &&
		config.CheckName(pair) == nil && config.CheckName(name) == nil
	return pair, name, ok
}

// fingerprint is what a token says of the authority.
func fingerprint(ca *x509.Certificate) [sha256.Size]byte { return sha256.Sum256(ca.Raw) }

// Load reads the identity from the state directory. A node that was never made
// is fs.ErrNotExist; what does not fit together is ErrCorrupt. now is the
// clock by which certificates and tokens are judged from now on.
func Load(stateDir string, now func() time.Time) (*Identity, error) {
	dir := filepath.Join(stateDir, identityDir)
	id, err := load(dir, now)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint.Add(fmt.Errorf("reading the node's identity: %w", err),
			"make the node with `mailtwin init` or `mailtwin join`, or correct state_dir in the settings")
	}
	if errors.Is(err, sealedfile.ErrCorrupt) {
		return nil, hint.Add(fmt.Errorf("reading the node's identity: %q: %w", dir, err),
			"restore the directory from a backup, or remove it and join again")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the node's identity: %w", err)
	}
	return id, nil
}

func load(dir string, now func() time.Time) (*Identity, error) {
	ca, err := readCertificate(filepath.Join(dir, authorityCertificate))
	if err != nil {
		return nil, err
	}
	leaf, err := readCertificate(filepath.Join(dir, nodeCertificate))
	if err != nil {
		return nil, err
	}
	key, err := readKey(filepath.Join(dir, nodeKey))
	if err != nil {
		return nil, err
	}
	caKey, err := readKey(filepath.Join(dir, authorityKey))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	pair, name, ok := member(leaf)
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: %s does not name a pair and a node", sealedfile.ErrCorrupt, nodeCertificate)
	case !ca.IsCA || leaf.CheckSignatureFrom(ca) != nil:
		return nil, fmt.Errorf("%w: %s is not signed by %s", sealedfile.ErrCorrupt, nodeCertificate, authorityCertificate)
	case !key.Public().(ed25519.PublicKey).Equal(leaf.PublicKey):
		return nil, fmt.Errorf("%w: %s is not the key of %s", sealedfile.ErrCorrupt, nodeKey, nodeCertificate)
	case caKey != nil && !caKey.Public().(ed25519.PublicKey).Equal(ca.PublicKey):
		return nil, fmt.Errorf("%w: %s is not the key of %s", sealedfile.ErrCorrupt, authorityKey, authorityCertificate)
	}
	return &Identity{
		pair: pair, name: name,
		certificate: tls.Certificate{Certificate: [][]byte{leaf.Raw, ca.Raw}, PrivateKey: key, Leaf: leaf},
		authority:   ca, authorityKey: caKey,
		now: now, invitations: filepath.Join(dir, invitationsFile), attempts: bucket{last: now(), tokens: attemptBurst},
	}, nil
}

// store puts an identity into the state directory, all its files at once: they
// are written into a directory beside, which then gets the name. caKey may be
// nil.
func store(stateDir string, leaf *x509.Certificate, key ed25519.PrivateKey, ca *x509.Certificate, caKey ed25519.PrivateKey) error {
	dir := filepath.Join(stateDir, identityDir)
	if err := Vacant(stateDir); err != nil {
		return err
	}
	beside := dir + ".new"
	if err := os.RemoveAll(beside); err != nil { // left by a crash
		return fmt.Errorf("storing the identity: %w", err)
	}
	if err := os.Mkdir(beside, 0o700); err != nil {
		return fmt.Errorf("storing the identity: %w", err)
	}
	files := []file{
		{authorityCertificate, certificatePEM(ca), 0o644},
		{nodeCertificate, certificatePEM(leaf), 0o644},
		{nodeKey, keyPEM(key), 0o600},
	}
	if caKey != nil {
		files = append(files, file{authorityKey, keyPEM(caKey), 0o600})
	}
	for _, f := range files {
		if err := atomicfile.Create(filepath.Join(beside, f.name), f.data, f.mode); err != nil {
			return fmt.Errorf("storing the identity: %w", err)
		}
	}
	if err := os.Rename(beside, dir); err != nil {
		return fmt.Errorf("storing the identity: %w", err)
	}
	return atomicfile.SyncDir(stateDir)
}

// Vacant returns ErrExists if the state directory holds a node or the
// identity of one, and nil if a node can be made there.
func Vacant(stateDir string) error {
	for _, name := range []string{identityDir, stateFile} {
		path := filepath.Join(stateDir, name)
		_, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("looking for an identity: %w", err)
		}
		return hint.Add(fmt.Errorf("%w: %q", ErrExists, path),
			"choose another directory with --state; if this one is left from an attempt that failed, remove it")
	}
	return nil
}

// Discard takes away an identity that was just made and that nobody has heard of,
// with the node's state.
func Discard(stateDir string) error {
	if err := os.RemoveAll(filepath.Join(stateDir, identityDir)); err != nil {
		return fmt.Errorf("taking the identity away: %w", err)
	}
	if err := os.Remove(filepath.Join(stateDir, stateFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("taking the node's state away: %w", err)
	}
	return nil
}
