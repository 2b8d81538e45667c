package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/emersion/go-smtp"
)

// LMTP is a connection that delivers mail. It is not safe for concurrent use.
type LMTP struct{ c *smtp.Client }

// DialLMTP connects to a server's LMTP port.
func DialLMTP(ctx context.Context, addr string) (*LMTP, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connecting for LMTP: %w", err)
	}
	return NewLMTP(conn)
}

// NewLMTP greets the server of a connection that is there already, and owns
// it then.
func NewLMTP(conn net.Conn) (*LMTP, error) {
	c := smtp.NewClientLMTP(conn)
	if err := c.Hello("test.example"); err != nil {
		return nil, errors.Join(fmt.Errorf("greeting the LMTP server: %w", err), c.Close())
	}
	return &LMTP{c: c}, nil
}

// Deliver delivers one message; when it returns nil, every recipient has it.
func (l *LMTP) Deliver(message io.Reader, recipients ...string) error {
	if err := l.c.Mail("sender@example.net", nil); err != nil {
		return fmt.Errorf("delivering: %w", err)
	}
	for _, r := range recipients {
		if err := l.c.Rcpt(r, nil); err != nil {
			return fmt.Errorf("delivering to %q: %w", r, err)
		}
	}
	w, err := l.c.Data()
	if err != nil {
		return fmt.Errorf("delivering: %w", err)
	}
	if _, err := io.Copy(w, message); err != nil {
		return errors.Join(fmt.Errorf("delivering: %w", err), w.Close())
	}
	if _, err := w.CloseWithLMTPResponse(); err != nil {
		return fmt.Errorf("delivering: %w", err)
	}
	return nil
}

// Close ends the connection.
func (l *LMTP) Close() error { return l.c.Quit() }

// Hangup ends the connection without a word.
func (l *LMTP) Hangup() error { return l.c.Close() }

// NotDelivered reports whether an error of Deliver is the server's answer that
// it has not taken the message. After any other error nobody knows.
func NotDelivered(err error) bool {
	var answer *smtp.SMTPError
	return errors.As(err, &answer)
}
