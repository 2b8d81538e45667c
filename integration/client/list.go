package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// Line is what a client's list shows of a message.
type Line struct {
	UID      imap.UID
	Flags    []string // and keywords, without \Recent, in order
	Received time.Time
	Header   string // the value of the header field that was asked for
}

// List opens a mailbox and returns its UIDVALIDITY and all its messages in the
// order of the server, with the value of one header field each.
func (i *IMAP) List(mailbox, header string) (validity uint32, lines []Line, err error) {
	data, err := i.Select(mailbox)
	if err != nil || data.NumMessages == 0 {
		return validityOf(data), nil, err
	}
	cmd := i.c.Fetch(imap.UIDSet{imap.UIDRange{Start: 1, Stop: 0}}, &imap.FetchOptions{
		UID: true, Flags: true, InternalDate: true,
		BodySection: []*imap.FetchItemBodySection{{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{header}, Peek: true}},
	})
	for message := cmd.Next(); message != nil; message = cmd.Next() {
		line, err := readLine(message, header)
		if err != nil {
			return 0, nil, errors.Join(fmt.Errorf("listing %q: %w", mailbox, err), i.Hangup())
		}
		lines = append(lines, line)
	}
	if err := cmd.Close(); err != nil {
		return 0, nil, fmt.Errorf("listing %q: %w", mailbox, err)
	}
	return data.UIDValidity, lines, nil
}

func validityOf(data *imap.SelectData) uint32 {
	if data == nil {
		return 0
	}
	return data.UIDValidity
}

func readLine(message *imapclient.FetchMessageData, header string) (Line, error) {
	var l Line
	for item := message.Next(); item != nil; item = message.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			l.UID = item.UID
		case imapclient.FetchItemDataInternalDate:
			l.Received = item.Time
		case imapclient.FetchItemDataFlags:
			for _, f := range item.Flags {
				if !strings.EqualFold(string(f), `\Recent`) {
					l.Flags = append(l.Flags, string(f))
				}
			}
			slices.Sort(l.Flags)
		case imapclient.FetchItemDataBodySection:
			if item.Literal == nil {
				continue
			}
			data, err := io.ReadAll(item.Literal)
			if err != nil {
				return l, err
			}
			name, value, _ := bytes.Cut(data, []byte(":"))
			if strings.EqualFold(string(name), header) {
				l.Header = string(bytes.TrimSpace(value))
			}
		}
	}
	return l, nil
}
