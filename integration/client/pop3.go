package client

import (
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
)

// POP3 is a session of a user who downloads mail.
type POP3 struct {
	conn *textproto.Conn
}

// NewPOP3 logs in on a connection, which the session closes.
func NewPOP3(conn net.Conn, user, password string) (*POP3, error) {
	p := &POP3{conn: textproto.NewConn(conn)}
	if _, err := p.answer(); err != nil {
		return nil, errors.Join(err, p.Hangup())
	}
	for _, command := range []string{"USER " + user, "PASS " + password} {
		if err := p.command(command); err != nil {
			return nil, errors.Join(err, p.Hangup())
		}
	}
	return p, nil
}

// UIDLs returns what the messages are known by, in their order.
func (p *POP3) UIDLs() ([]string, error) {
	if err := p.command("UIDL"); err != nil {
		return nil, err
	}
	lines, err := p.conn.ReadDotLines()
	if err != nil {
		return nil, fmt.Errorf("listing by POP3: %w", err)
	}
	var found []string
	for i, line := range lines {
		number, uidl, ok := strings.Cut(line, " ")
		if !ok || number != fmt.Sprint(i+1) {
			return nil, fmt.Errorf("listing by POP3: line %d is %q", i+1, line)
		}
		found = append(found, uidl)
	}
	return found, nil
}

// Header returns the value of a field of the header of the message of that
// number, from 1.
func (p *POP3) Header(number int, field string) (string, error) {
	if err := p.command(fmt.Sprintf("TOP %d 0", number)); err != nil {
		return "", err
	}
	lines, err := p.conn.ReadDotLines()
	if err != nil {
		return "", fmt.Errorf("reading message %d by POP3: %w", number, err)
	}
	for _, line := range lines {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, field) {
			return strings.TrimSpace(value), nil
		}
	}
	return "", nil
}

// Close logs out.
func (p *POP3) Close() error { return errors.Join(p.command("QUIT"), p.Hangup()) }

// Hangup ends the connection without a word.
func (p *POP3) Hangup() error { return p.conn.Close() }

func (p *POP3) command(text string) error {
	if err := p.conn.PrintfLine("%s", text); err != nil {
		return err
	}
	if _, err := p.answer(); err != nil {
		word, _, _ := strings.Cut(text, " ")
		return fmt.Errorf("POP3 %s: %w", word, err)
	}
	return nil
}

func (p *POP3) answer() (string, error) {
	line, err := p.conn.ReadLine()
	if err == nil && !strings.HasPrefix(line, "+OK") {
		err = fmt.Errorf("the server says %q", line)
	}
	return line, err
}
