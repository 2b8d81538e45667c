package identity

import (
	"context"
	"crypto/tls"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// ServerTLS returns how the node answers others: TLS 1.3 only. A caller may
// come without a certificate, for it may want to enrol; one with a certificate
// must be a node of the pair. What is not for strangers asks RequirePeer.
func (id *Identity) ServerTLS() *tls.Config {
	config := id.baseTLS()
	config.ClientAuth = tls.VerifyClientCertIfGiven
	config.ClientCAs = poolOf(id.authority)
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return nil
		}
		_, err := id.PeerName(state)
		return err
	}
	return config
}

// ClientTLS returns how the node dials others: TLS 1.3 only, and who answers
// must be a node of the pair.
func (id *Identity) ClientTLS() *tls.Config {
	config := id.baseTLS()
	config.ServerName = ServerName
	config.RootCAs = poolOf(id.authority)
	// Always, even if the server does not know our authority: then it can say
	// so. By default such a certificate would be kept back.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &id.certificate, nil
	}
	config.VerifyConnection = func(state tls.ConnectionState) error {
		_, err := id.PeerName(state)
		return err
	}
	return config
}

func (id *Identity) baseTLS() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{id.certificate},
		NextProtos:             []string{"h2"},
		SessionTicketsDisabled: true, // each connection proves itself anew
		Time:                   id.now,
	}
}

// PeerName returns the name of the node at the other end of a connection, as
// its verified certificate says. ErrNoCertificate, ErrWrongPair.
func (id *Identity) PeerName(state tls.ConnectionState) (string, error) {
	if len(state.VerifiedChains) == 0 {
		return "", ErrNoCertificate
	}
	pair, name, ok := member(state.VerifiedChains[0][0])
	if !ok || pair != id.pair {
		return "", fmt.Errorf("%w: it names the pair %q, this one is %q", ErrWrongPair, pair, id.pair)
	}
	return name, nil
}

// RequirePeer returns the name of the node that makes a gRPC call, and a
// status of codes.Unauthenticated if the caller is not a node of the pair. The
// server must use ServerCredentials.
func (id *Identity) RequirePeer(ctx context.Context) (name string, err error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", status.Error(codes.Unauthenticated, "the caller is not known")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return "", status.Error(codes.Unauthenticated, "the call did not come over TLS")
	}
	name, err = id.PeerName(info.State)
	if err != nil {
		return "", status.Error(codes.Unauthenticated, err.Error())
	}
	return name, nil
}
