package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/mailtwin/mailtwin/replicator/hint"
)

// Why two nodes did not come together. Explain finds them in the errors of a
// handshake.
var (
	ErrForeign       = errors.New("the certificate is not of this pair's authority")
	ErrExpired       = errors.New("the certificate has expired")
	ErrNotYetValid   = errors.New("the certificate is not valid yet")
	ErrWrongPair     = errors.New("the certificate is of another pair")
	ErrNoCertificate = errors.New("there is no certificate")
	ErrRefused       = errors.New("the other node refused this node's certificate")
	ErrNotANode      = errors.New("there is no mailtwin node")
	ErrOldTLS        = errors.New("TLS 1.3 is not spoken")
	ErrUnreachable   = errors.New("the other node cannot be reached")
	ErrSilent        = errors.New("the other side did not finish the handshake")
)

// What to do, where several causes have one remedy.
const (
	joinAgain = "if both machines are to be one pair, make a token with `mailtwin invite` on the primary " +
		"and join the mirror anew with an empty state directory"
	lookAtClocks = "compare the clocks of both machines; if they are right, the node with that certificate has to join anew"
	lookOver     = "the other node knows why: look at its log or at `mailtwin status` there"
	lookAddress  = "check the address and the port, and that it is mailtwin that listens there"
)

// Explain says in words what a failed TLS handshake or connection means for
// the operator, whichever side found the fault, and what to do (package hint).
// The result wraps err and one of the errors of this package, so that callers
// can tell the cases apart. What is not such an error is returned as it is.
func Explain(err error) error {
	if err == nil || explained(err) {
		return err
	}
	for _, explain := range []func(error) error{explainCertificate, explainAlert, explainProtocol, explainNetwork} {
		if e := explain(err); e != nil {
			return e
		}
	}
	return err
}

func explained(err error) bool {
	_, ok := errors.AsType[*cause](err)
	return ok
}

// because makes an error of kind, with the words and the remedy. The error
// that it is about stays reachable but is not printed: the words replace it.
func because(kind error, err error, remedy, words string, args ...any) error {
	return hint.Add(&cause{kind, err, fmt.Sprintf(words, args...)}, "%s", remedy)
}

type cause struct {
	kind, err error
	words     string
}

func (c *cause) Error() string   { return c.words }
func (c *cause) Unwrap() []error { return []error{c.kind, c.err} }

// explainCertificate is for what this node found out about the other's.
func explainCertificate(err error) error {
	if errors.Is(err, ErrWrongPair) {
		return because(ErrWrongPair, err, joinAgain, "the other node is of another pair: %v", err)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return because(ErrForeign, err, joinAgain, "the other node's certificate is not of this pair's authority")
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return because(ErrNotANode, err, lookAddress, "what answered has a certificate, but not that of a mailtwin node")
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok {
		return nil
	}
	const layout = "2006-01-02 15:04 MST"
	switch {
	case invalid.Reason != x509.Expired:
		return because(ErrForeign, err, joinAgain, "the other node's certificate cannot be used: %v", invalid)
	case strings.Contains(invalid.Detail, "is before"): // Expired stands for both
		return because(ErrNotYetValid, err, lookAtClocks, "the other node's certificate is not valid before %s",
			invalid.Cert.NotBefore.UTC().Format(layout))
	}
	return because(ErrExpired, err, lookAtClocks, "the other node's certificate expired at %s",
		invalid.Cert.NotAfter.UTC().Format(layout))
}

// Alerts by which the other side says what it found. The numbers are TLS's own.
const (
	alertBadCertificate      tls.AlertError = 42
	alertCertificateExpired  tls.AlertError = 45
	alertUnknownAuthority    tls.AlertError = 48
	alertProtocolVersion     tls.AlertError = 70
	alertCertificateRequired tls.AlertError = 116
)

// explainAlert is for what the other side found out about this node.
func explainAlert(err error) error {
	remote, ok := errors.AsType[*net.OpError](err)
	if !ok || remote.Op != "remote error" {
		return nil
	}
	switch remote.Err.Error() {
	case alertUnknownAuthority.Error():
		return because(ErrForeign, err, joinAgain, "the other node does not know the authority of this node's certificate")
	case alertCertificateExpired.Error():
		return because(ErrExpired, err, lookAtClocks, "the other node finds that this node's certificate is not valid now")
	case alertBadCertificate.Error():
		return because(ErrRefused, err, lookOver, "the other node refused this node's certificate")
	case alertCertificateRequired.Error():
		return because(ErrNoCertificate, err, joinAgain, "the other node wants a certificate and got none")
	case alertProtocolVersion.Error():
		return because(ErrOldTLS, err, lookAddress, "the other side does not speak TLS 1.3")
	}
	return because(ErrRefused, err, lookOver, "the other side broke off the handshake: %v", remote.Err)
}

func explainProtocol(err error) error {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return because(ErrNotANode, err, lookAddress, "what is at the other end does not speak TLS")
	}
	text := err.Error()
	switch {
	case errors.Is(err, ErrNoCertificate):
		return because(ErrNoCertificate, err, joinAgain, "the other side showed no certificate")
	case strings.Contains(text, "unsupported versions"), strings.Contains(text, "unsupported protocol version"):
		return because(ErrOldTLS, err, lookAddress, "the other side does not speak TLS 1.3")
	case strings.Contains(text, "unsupported application protocols"):
		return because(ErrNotANode, err, lookAddress, "the other side speaks TLS, but not mailtwin's protocol")
	}
	return nil
}

func explainNetwork(err error) error {
	const checkRunning = "check the address, that `mailtwin daemon` runs there, and that no firewall is between"
	name, badName := errors.AsType[*net.DNSError](err)
	switch {
	case badName:
		return because(ErrUnreachable, err, "check the name, or use the IP address", "the host %q is not known: %s", name.Name, name.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return because(ErrUnreachable, err, checkRunning, "nothing listens there: %v", err)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return because(ErrUnreachable, err, checkRunning, "there is no way to that host: %v", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return because(ErrSilent, err, checkRunning, "the other side did not answer in time")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return because(ErrSilent, err, lookAddress, "the other side ended the connection before it said who it is")
	}
	return nil
}
