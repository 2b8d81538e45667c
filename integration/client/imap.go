package client

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// IMAP is one session of one user. It is not safe for concurrent use.
type IMAP struct{ c *imapclient.Client }

// DialIMAP connects to a server and logs in.
func DialIMAP(addr, user, password string) (*IMAP, error) {
	c, err := imapclient.DialInsecure(addr, nil)
	if err != nil {
		return nil, fmt.Errorf("connecting for IMAP: %w", err)
	}
	return login(c, user, password)
}

// NewIMAP logs in on a connection that is there already, and owns it then.
func NewIMAP(conn net.Conn, user, password string) (*IMAP, error) {
	return login(imapclient.New(conn, nil), user, password)
}

func login(c *imapclient.Client, user, password string) (*IMAP, error) {
	if err := c.Login(user, password).Wait(); err != nil {
		return nil, errors.Join(fmt.Errorf("logging in as %q: %w", user, err), c.Close())
	}
	return &IMAP{c: c}, nil
}

// Refused reports whether an error is the server's answer that it did not do
// what it was asked. After any other error nobody knows; nor after the answer that
// something has gone wrong in the server, which then may have done half of it.
func Refused(err error) bool {
	var answer *imap.Error
	return errors.As(err, &answer) && answer.Code != imap.ResponseCodeServerBug
}

// Close logs out.
func (i *IMAP) Close() error {
	return errors.Join(i.c.Logout().Wait(), i.c.Close())
}

// Hangup ends the session without a word. It is all that can be done after an
// answer that could not be read to its end: the library goes on to read behind it
// by itself, and must not be told to skip the rest at the same time.
func (i *IMAP) Hangup() error { return i.c.Close() }

// Select opens a mailbox; the commands on messages are about it.
func (i *IMAP) Select(mailbox string) (*imap.SelectData, error) {
	data, err := i.c.Select(mailbox, nil).Wait()
	if err != nil {
		return nil, fmt.Errorf("selecting %q: %w", mailbox, err)
	}
	return data, nil
}

// Mailboxes returns the names of the user's mailboxes that can be opened.
func (i *IMAP) Mailboxes() ([]string, error) {
	list, err := i.c.List("", "*", nil).Collect()
	if err != nil {
		return nil, fmt.Errorf("listing the mailboxes: %w", err)
	}
	var names []string
	for _, entry := range list {
		if !slices.Contains(entry.Attrs, imap.MailboxAttrNoSelect) && !slices.Contains(entry.Attrs, imap.MailboxAttrNonExistent) {
			names = append(names, entry.Mailbox)
		}
	}
	return names, nil
}

// UIDs returns the messages of the selected mailbox.
func (i *IMAP) UIDs() ([]imap.UID, error) {
	data, err := i.c.UIDSearch(&imap.SearchCriteria{}, nil).Wait()
	if err != nil {
		return nil, fmt.Errorf("searching: %w", err)
	}
	return data.AllUIDs(), nil
}

// Append puts a message into a mailbox and returns its UID.
func (i *IMAP) Append(mailbox string, message []byte, at time.Time, flags ...imap.Flag) (imap.UID, error) {
	cmd := i.c.Append(mailbox, int64(len(message)), &imap.AppendOptions{Flags: flags, Time: at})
	if _, err := cmd.Write(message); err != nil {
		return 0, fmt.Errorf("appending to %q: %w", mailbox, err)
	}
	if err := cmd.Close(); err != nil {
		return 0, fmt.Errorf("appending to %q: %w", mailbox, err)
	}
	data, err := cmd.Wait()
	if err != nil {
		return 0, fmt.Errorf("appending to %q: %w", mailbox, err)
	}
	return data.UID, nil
}

// AddFlags gives flags and keywords to messages of the selected mailbox.
func (i *IMAP) AddFlags(uids []imap.UID, flags ...imap.Flag) error {
	return i.store(imap.StoreFlagsAdd, uids, flags)
}

// RemoveFlags takes flags and keywords away.
func (i *IMAP) RemoveFlags(uids []imap.UID, flags ...imap.Flag) error {
	return i.store(imap.StoreFlagsDel, uids, flags)
}

// SetFlags makes these the only flags and keywords.
func (i *IMAP) SetFlags(uids []imap.UID, flags ...imap.Flag) error {
	return i.store(imap.StoreFlagsSet, uids, flags)
}

func (i *IMAP) store(op imap.StoreFlagsOp, uids []imap.UID, flags []imap.Flag) error {
	cmd := i.c.Store(imap.UIDSetNum(uids...), &imap.StoreFlags{Op: op, Silent: true, Flags: flags}, nil)
	if err := cmd.Close(); err != nil {
		return fmt.Errorf("storing the flags %v: %w", flags, err)
	}
	return nil
}

// Copy copies messages of the selected mailbox to another.
func (i *IMAP) Copy(uids []imap.UID, mailbox string) error {
	if _, err := i.c.Copy(imap.UIDSetNum(uids...), mailbox).Wait(); err != nil {
		return fmt.Errorf("copying to %q: %w", mailbox, err)
	}
	return nil
}

// Move moves messages of the selected mailbox to another.
func (i *IMAP) Move(uids []imap.UID, mailbox string) error {
	if _, err := i.c.Move(imap.UIDSetNum(uids...), mailbox).Wait(); err != nil {
		return fmt.Errorf("moving to %q: %w", mailbox, err)
	}
	return nil
}

// Expunge deletes messages of the selected mailbox for good.
func (i *IMAP) Expunge(uids []imap.UID) error {
	if err := i.AddFlags(uids, imap.FlagDeleted); err != nil {
		return err
	}
	if err := i.c.UIDExpunge(imap.UIDSetNum(uids...)).Close(); err != nil {
		return fmt.Errorf("expunging: %w", err)
	}
	return nil
}

// Create makes a mailbox.
func (i *IMAP) Create(mailbox string) error {
	return wrap("creating", mailbox, i.c.Create(mailbox, nil).Wait())
}

// Rename renames a mailbox and those beneath it.
func (i *IMAP) Rename(mailbox, name string) error {
	return wrap("renaming", mailbox, i.c.Rename(mailbox, name, nil).Wait())
}

// Delete deletes a mailbox with all its messages.
func (i *IMAP) Delete(mailbox string) error {
	return wrap("deleting", mailbox, i.c.Delete(mailbox).Wait())
}

// Subscribe subscribes to a mailbox.
func (i *IMAP) Subscribe(mailbox string) error {
	return wrap("subscribing to", mailbox, i.c.Subscribe(mailbox).Wait())
}

// Unsubscribe ends a subscription.
func (i *IMAP) Unsubscribe(mailbox string) error {
	return wrap("unsubscribing from", mailbox, i.c.Unsubscribe(mailbox).Wait())
}

func wrap(doing, mailbox string, err error) error {
	if err != nil {
		return fmt.Errorf("%s %q: %w", doing, mailbox, err)
	}
	return nil
}
