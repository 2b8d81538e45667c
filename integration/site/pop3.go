package site

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/mailtwin/mailtwin/integration/client"
	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/ledger"
)

// downloadPause is how long the POP3 client rests between two users, on
// average.
const downloadPause = 200 * time.Millisecond

// downloads are what a POP3 client has, by user and UIDL.
type downloads map[string]map[string]bool

// download lets a POP3 client fetch what it does not have, of all users in
// turn, until the context ends. All mail stays on the server.
func (s *Site) download(ctx context.Context, t *traffic, rng *rand.Rand) {
	for i := 0; restFor(ctx, rng, downloadPause); i++ {
		wrong, err := s.downloadOf(context.WithoutCancel(ctx), User(i%Users))
		t.say(wrong)
		_ = err // there is no server, or it broke: the client comes again
	}
}

// downloadOf fetches what is new to the client, and returns what it should not
// have seen.
func (s *Site) downloadOf(ctx context.Context, user string) (wrong []string, err error) {
	c, err := s.dial(ctx, service(dovecot.POP3Port), patience)
	if err != nil {
		return nil, err
	}
	p, err := client.NewPOP3(c, user, dovecot.Password)
	if err != nil {
		return nil, err
	}
	defer func() { _ = p.Hangup() }() // all that it had to say was said
	if err := s.greeted(c); err != nil {
		return nil, err
	}
	has := s.downloads[user]
	if has == nil {
		has = map[string]bool{}
		s.downloads[user] = has
	}
	uidls, err := p.UIDLs()
	if err != nil {
		return nil, err
	}
	for i, uidl := range uidls {
		if has[uidl] {
			continue
		}
		token, err := p.Header(i+1, ledger.Header)
		if err != nil {
			return wrong, err
		}
		has[uidl] = true
		if err := s.told(c, func(_ string, loose bool) {
			wrong = append(wrong, s.Ledger.Downloaded(user, uidl, ledger.Token(token), loose)...)
		}); err != nil {
			return wrong, err
		}
	}
	return wrong, p.Close()
}
