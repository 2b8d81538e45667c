package identity

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/sealedfile"
)

// The names in the state directory.
const (
	identityDir          = "identity"
	authorityCertificate = "ca.pem"
	authorityKey         = "ca.key"
	nodeCertificate      = "node.pem"
	nodeKey              = "node.key"
	invitationsFile      = "invitations"
)

const (
	certificateBlock = "CERTIFICATE"
	keyBlock         = "PRIVATE KEY"
)

type file struct {
	name string
	data []byte
	mode fs.FileMode
}

func certificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: c.Raw})
}

func keyPEM(key ed25519.PrivateKey) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic("an Ed25519 key cannot be written: " + err.Error()) // there is no such key
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der})
}

func readCertificate(path string) (*x509.Certificate, error) {
	der, err := readPEM(path, certificateBlock, 0o777)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%q: %w: %w", path, sealedfile.ErrCorrupt, err)
	}
	return c, nil
}

func readKey(path string) (ed25519.PrivateKey, error) {
	der, err := readPEM(path, keyBlock, 0o700)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%q: %w: %w", path, sealedfile.ErrCorrupt, err)
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%q: %w: it is not an Ed25519 key", path, sealedfile.ErrCorrupt)
	}
	return ed, nil
}

// readPEM reads the one block of a file, unless the file has permissions
// beyond mode.
func readPEM(path, block string, mode fs.FileMode) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&^mode != 0 {
		return nil, hint.Add(fmt.Errorf("%q can be read by others (mode %04o)", path, info.Mode().Perm()),
			"run `chmod 600 %s`, and ask yourself who may have read it", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, sealedfile.MaxSize))
	if err != nil {
		return nil, err
	}
	b, rest := pem.Decode(data)
	if b == nil || b.Type != block || len(rest) > 0 {
		return nil, fmt.Errorf("%q: %w: it is not one PEM block %q", path, sealedfile.ErrCorrupt, block)
	}
	return b.Bytes, nil
}
