package site

import (
	"context"
	"fmt"

	"github.com/mailtwin/mailtwin/integration/client"
	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/ledger"
)

// copies are what a client that keeps copies of all mailboxes remembers, by
// user and mailbox.
type copies map[[2]string]*client.Copy

// FetchCopies lets a client that keeps copies forget everything and fetch all
// mail.
func (s *Site) FetchCopies(ctx context.Context) error {
	s.copies = copies{}
	_, err := s.CatchUp(ctx)
	return err
}

// CatchUp lets the client that keeps copies ask for what has changed since it
// was last there, and returns in words where its copies are not what there is,
// or where it could not go on with a copy that it had. There must be no
// traffic.
func (s *Site) CatchUp(ctx context.Context) ([]string, error) {
	var wrong []string
	for _, user := range s.Ledger.Users() {
		i, _, err := s.session(ctx, service(dovecot.IMAPPort), user, longPatience)
		if err != nil {
			return nil, err
		}
		names, err := i.Mailboxes()
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			// The copy is brought up to date before anybody else opens the
			// mailbox, which is the hardest moment.
			found, err := s.catchUp(ctx, i, user, name)
			if err != nil {
				return nil, fmt.Errorf("%s of %s: %w", name, user, err)
			}
			wrong = append(wrong, found...)
		}
		_ = i.Hangup() // it was only asked
	}
	return wrong, nil
}

func (s *Site) catchUp(ctx context.Context, i *client.IMAP, user, name string) ([]string, error) {
	key := [2]string{user, name}
	known := s.copies[key] != nil
	if !known {
		s.copies[key] = &client.Copy{}
	}
	c, err := s.dial(ctx, service(dovecot.IMAPPort), longPatience)
	if err != nil {
		return nil, err
	}
	anew, err := s.copies[key].CatchUp(c, user, dovecot.Password, name, ledger.Header)
	if err != nil {
		return nil, err
	}
	_, lines, err := i.List(name, ledger.Header)
	if err != nil {
		return nil, err
	}
	var wrong []string
	if anew && known {
		wrong = append(wrong, fmt.Sprintf("%s: the client must fetch all of %s again", user, name))
	}
	for _, d := range s.copies[key].Differences(lines) {
		wrong = append(wrong, fmt.Sprintf("%s: %s: %s", user, name, d))
	}
	return wrong, nil
}
