package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mailtwin/mailtwin/integration/client"
	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/hosts"
	"github.com/mailtwin/mailtwin/integration/ledger"
	"github.com/mailtwin/mailtwin/integration/tree"
)

// retryAfter is how long an agent waits before it tries again.
const retryAfter = 100 * time.Millisecond

// service is a port of the address that moves.
func service(port string) string { return net.JoinHostPort(hosts.ServiceAddress, port) }

// Deliver delivers one message to a user at an address (host:port of LMTP),
// and tries again until it is acknowledged or the context ends.
func (s *Site) Deliver(ctx context.Context, address, user string, mail *tree.Writer, size int) error {
	body := mail.Message(user, size)
	for {
		err := s.attempt(ctx, address, user, body)
		if err == nil {
			return nil
		}
		timer := time.NewTimer(retryAfter)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("delivering to %s: %w", user, err)
		case <-timer.C:
		}
	}
}

// attempt is one attempt, on a connection of its own.
func (s *Site) attempt(ctx context.Context, address, user string, body []byte) error {
	c, err := s.dial(ctx, address, patience)
	if err != nil {
		return err
	}
	l, err := client.NewLMTP(c)
	if err != nil {
		return err
	}
	if err := s.greeted(c); err != nil {
		return errors.Join(err, l.Hangup())
	}
	token, asked := s.Ledger.Deliver(user)
	if err := l.Deliver(bytes.NewReader(stamp(token, body)), user); err != nil {
		if client.NotDelivered(err) {
			asked.Refused()
		}
		return errors.Join(err, l.Hangup())
	}
	err = s.done(c, asked)
	_ = l.Close() // it has said what it had to say
	return err
}

// stamp puts the token into a message.
func stamp(token ledger.Token, body []byte) []byte {
	return append(fmt.Appendf(nil, "%s: %s\n", ledger.Header, token), body...)
}

// session is an IMAP session of a user at an address, who waits so long for each
// answer.
func (s *Site) session(ctx context.Context, address, user string, waits time.Duration) (*client.IMAP, *conn, error) {
	c, err := s.dial(ctx, address, waits)
	if err != nil {
		return nil, nil, err
	}
	i, err := client.NewIMAP(c, user, dovecot.Password)
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	if err := s.greeted(c); err != nil {
		return nil, nil, errors.Join(err, i.Hangup())
	}
	return i, c, nil
}

// Look returns all mailboxes of a user as they are at an address (host:port of
// IMAP).
func (s *Site) Look(ctx context.Context, address, user string) ([]ledger.Box, error) {
	i, _, err := s.session(ctx, address, user, longPatience)
	if err != nil {
		return nil, err
	}
	defer func() { _ = i.Hangup() }() // all that it had to say was said
	names, err := i.Mailboxes()
	if err != nil {
		return nil, err
	}
	var boxes []ledger.Box
	for _, name := range names {
		box, err := look(i, user, name)
		if err != nil {
			return nil, err
		}
		boxes = append(boxes, box)
	}
	return boxes, nil
}

// look opens a mailbox and reads what is in it.
func look(i *client.IMAP, user, name string) (ledger.Box, error) {
	// A delivery notes in Dovecot's index how cur is without looking into it, and what a
	// salvage has put there just before is seen after the next change there: such as that of
	// the first client who opens the mailbox, and so has it leave new.
	if _, err := i.Select(name); err != nil {
		return ledger.Box{}, err
	}
	validity, lines, err := i.List(name, ledger.Header)
	box := ledger.Box{User: user, Name: name, Validity: validity}
	for _, l := range lines {
		box.Entries = append(box.Entries, ledger.Entry{
			UID: uint32(l.UID), Token: ledger.Token(l.Header), Received: l.Received, Flags: l.Flags,
		})
	}
	return box, err
}

// Check looks at all mail at the service address and holds it against the
// ledger. There should be no traffic.
func (s *Site) Check(ctx context.Context, salvaged bool) (ledger.Verdict, error) {
	boxes, err := s.All(ctx, service(dovecot.IMAPPort))
	if err != nil {
		return ledger.Verdict{}, err
	}
	return s.Ledger.Check(boxes, salvaged), nil
}

// All looks at the mail of all users at an address, and tries again until it
// can or the context ends.
func (s *Site) All(ctx context.Context, address string) ([]ledger.Box, error) {
	var all []ledger.Box
	for _, user := range s.Ledger.Users() {
		var boxes []ledger.Box
		var last error
		if err := WaitFor(ctx, "the mail of "+user+" can be read", func() bool {
			boxes, last = s.Look(ctx, address, user)
			return last == nil
		}); err != nil {
			return nil, errors.Join(err, last)
		}
		all = append(all, boxes...)
	}
	return all, nil
}
