package client

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// Message is what a client can see of one message.
type Message struct {
	UID      imap.UID
	Flags    []string // and keywords, in order; \Recent, which belongs to a session, is left out
	Received time.Time
	Size     int64
	Hash     [sha256.Size]byte // of the whole message
	GUID     string            // only where AddGUIDs has filled it in
}

// Mailbox is what a client can see of one mailbox.
type Mailbox struct {
	Name        string
	UIDValidity uint32
	UIDNext     imap.UID
	Attributes  []string
	Messages    []Message // by UID
}

// Snapshot is what a client can see of one user's mail.
type Snapshot struct {
	User          string
	Mailboxes     []Mailbox // by name
	Subscriptions []string  // in order
}

// Take opens every mailbox of a user, read only, and reads everything in it.
func Take(addr, user, password string) (Snapshot, error) {
	s := Snapshot{User: user}
	session, err := DialIMAP(addr, user, password)
	if err != nil {
		return s, err
	}
	if err := session.snapshot(&s); err != nil {
		return s, errors.Join(fmt.Errorf("looking at the mail of %q: %w", user, err), session.Close())
	}
	return s, session.Close()
}

func (i *IMAP) snapshot(s *Snapshot) error {
	list, err := i.c.List("", "*", nil).Collect()
	if err != nil {
		return fmt.Errorf("listing the mailboxes: %w", err)
	}
	for _, entry := range list {
		box := Mailbox{Name: entry.Mailbox}
		for _, a := range entry.Attrs {
			box.Attributes = append(box.Attributes, string(a))
		}
		// \Marked and \Unmarked depend on who looked last.
		box.Attributes = slices.DeleteFunc(box.Attributes, func(a string) bool { return strings.HasSuffix(strings.ToLower(a), "marked") })
		slices.Sort(box.Attributes)
		if !slices.Contains(entry.Attrs, imap.MailboxAttrNoSelect) && !slices.Contains(entry.Attrs, imap.MailboxAttrNonExistent) {
			if err := i.readMailbox(&box); err != nil {
				return err
			}
		}
		s.Mailboxes = append(s.Mailboxes, box)
	}
	slices.SortFunc(s.Mailboxes, func(a, b Mailbox) int { return cmp.Compare(a.Name, b.Name) })
	subscribed, err := i.c.List("", "*", &imap.ListOptions{SelectSubscribed: true}).Collect()
	if err != nil {
		return fmt.Errorf("listing the subscriptions: %w", err)
	}
	for _, entry := range subscribed {
		s.Subscriptions = append(s.Subscriptions, entry.Mailbox)
	}
	slices.Sort(s.Subscriptions)
	return nil
}

// readMailbox fills in what is in a mailbox.
func (i *IMAP) readMailbox(box *Mailbox) error {
	data, err := i.c.Select(box.Name, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		return fmt.Errorf("examining %q: %w", box.Name, err)
	}
	box.UIDValidity, box.UIDNext = data.UIDValidity, data.UIDNext
	if data.NumMessages == 0 {
		return nil
	}
	all := imap.UIDSet{imap.UIDRange{Start: 1, Stop: 0}}
	cmd := i.c.Fetch(all, &imap.FetchOptions{
		UID: true, Flags: true, InternalDate: true, RFC822Size: true,
		BodySection: []*imap.FetchItemBodySection{{Peek: true}},
	})
	for data := cmd.Next(); data != nil; data = cmd.Next() {
		m, err := readMessage(data)
		if err != nil {
			return errors.Join(fmt.Errorf("fetching from %q: %w", box.Name, err), i.Hangup())
		}
		box.Messages = append(box.Messages, m)
	}
	if err := cmd.Close(); err != nil {
		return fmt.Errorf("fetching from %q: %w", box.Name, err)
	}
	slices.SortFunc(box.Messages, func(a, b Message) int { return cmp.Compare(a.UID, b.UID) })
	return nil
}

// readMessage reads one answer to a FETCH; of the body only its hash is kept.
func readMessage(data *imapclient.FetchMessageData) (Message, error) {
	var m Message
	for item := data.Next(); item != nil; item = data.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			m.UID = item.UID
		case imapclient.FetchItemDataFlags:
			for _, f := range item.Flags {
				if !strings.EqualFold(string(f), `\Recent`) {
					m.Flags = append(m.Flags, string(f))
				}
			}
			slices.Sort(m.Flags)
		case imapclient.FetchItemDataInternalDate:
			m.Received = item.Time
		case imapclient.FetchItemDataRFC822Size:
			m.Size = item.Size
		case imapclient.FetchItemDataBodySection:
			h := sha256.New()
			if item.Literal != nil {
				if _, err := io.Copy(h, item.Literal); err != nil {
					return m, err
				}
			}
			m.Hash = [sha256.Size]byte(h.Sum(nil))
		}
	}
	return m, nil
}
