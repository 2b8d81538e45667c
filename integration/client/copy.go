package client

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Copy is the memory of a client that keeps a copy of a mailbox and asks, when
// it comes back, only for what has changed (QRESYNC, RFC 7162). A message that it
// has seen it does not fetch again, whatever becomes of its UID. Its zero value
// knows nothing.
type Copy struct {
	Validity uint32
	ModSeq   uint64
	Flags    map[uint32][]string // by UID; without \Recent, in order
	Headers  map[uint32]string   // by UID, the header field that CatchUp is told
}

// maxAnswer is the longest line of an answer.
const maxAnswer = 1 << 20

// CatchUp opens a mailbox on a new connection, which it closes, and brings the
// copy up to date: by what the server says has changed since, or from nothing
// if UIDVALIDITY is another one. It reports whether it had to begin anew. Of
// messages that it has not seen it fetches the header field.
func (c *Copy) CatchUp(conn net.Conn, user, password, mailbox, header string) (anew bool, err error) {
	q := &qresync{conn: conn, lines: bufio.NewScanner(conn)}
	q.lines.Buffer(nil, maxAnswer)
	defer conn.Close()
	if _, err := q.line(); err != nil { // the greeting
		return false, err
	}
	for _, command := range []string{fmt.Sprintf("LOGIN %q %q", user, password), "ENABLE QRESYNC"} {
		if _, err := q.command(command); err != nil {
			return false, err
		}
	}
	opened := fmt.Sprintf("SELECT %q", mailbox)
	if c.ModSeq > 0 {
		opened += fmt.Sprintf(" (QRESYNC (%d %d))", c.Validity, c.ModSeq)
	}
	answer, err := q.command(opened)
	if err != nil {
		return false, err
	}
	validity, modSeq := numberAfter(answer, "[UIDVALIDITY "), numberAfter(answer, "[HIGHESTMODSEQ ")
	if c.ModSeq == 0 || uint64(c.Validity) != validity {
		c.Flags, c.Headers = map[uint32][]string{}, map[uint32]string{}
		anew = true
		if answer, err = q.command("UID FETCH 1:* (FLAGS)"); err != nil {
			return anew, err
		}
	}
	c.Validity, c.ModSeq = uint32(validity), modSeq
	if err := c.apply(answer); err != nil {
		return anew, err
	}
	return anew, c.fetch(q, header)
}

// fetch asks for the header field of what was not seen before.
func (c *Copy) fetch(q *qresync, header string) error {
	var unseen []string
	for uid := range c.Flags {
		if _, seen := c.Headers[uid]; !seen {
			unseen = append(unseen, strconv.FormatUint(uint64(uid), 10))
		}
	}
	if len(unseen) == 0 {
		return nil
	}
	answer, err := q.command(fmt.Sprintf("UID FETCH %s (BODY.PEEK[HEADER.FIELDS (%s)])", strings.Join(unseen, ","), header))
	if err != nil {
		return err
	}
	uid := uint32(0)
	for _, line := range answer {
		if m := fetched.FindStringSubmatch(line); m != nil {
			n, err := strconv.ParseUint(m[1], 10, 32)
			if err != nil {
				return fmt.Errorf("understanding %q: %w", line, err)
			}
			uid = uint32(n)
			c.Headers[uid] = ""
		}
		if value, ok := strings.CutPrefix(line, header+": "); ok {
			c.Headers[uid] = value
		}
	}
	return nil
}

// Differences returns in words how the copy differs from what there is.
func (c *Copy) Differences(lines []Line) []string {
	var found []string
	there := map[uint32]bool{}
	for _, l := range lines {
		uid := uint32(l.UID)
		there[uid] = true
		flags, ok := c.Flags[uid]
		switch {
		case !ok:
			found = append(found, fmt.Sprintf("message %d is not in the copy", uid))
		case c.Headers[uid] != l.Header:
			found = append(found, fmt.Sprintf("message %d is %q, and %q in the copy", uid, l.Header, c.Headers[uid]))
		case !slices.Equal(flags, l.Flags):
			found = append(found, fmt.Sprintf("message %d has the flags %q, and %q in the copy", uid, l.Flags, flags))
		}
	}
	for uid := range c.Flags {
		if !there[uid] {
			found = append(found, fmt.Sprintf("message %d is in the copy and nowhere else", uid))
		}
	}
	slices.Sort(found)
	return found
}

// fetched is the answer to a FETCH, with the UID in it.
var fetched = regexp.MustCompile(`^\* \d+ FETCH \(.*\bUID (\d+)\b`)

// apply brings what the server has said into the copy.
func (c *Copy) apply(answer []string) error {
	flags := regexp.MustCompile(`\bFLAGS \(([^)]*)\)`)
	vanished := regexp.MustCompile(`^\* VANISHED (?:\(EARLIER\) )?([0-9:,]+)$`)
	for _, line := range answer {
		if m := vanished.FindStringSubmatch(line); m != nil {
			if err := c.forget(m[1]); err != nil {
				return err
			}
		}
		m, f := fetched.FindStringSubmatch(line), flags.FindStringSubmatch(line)
		if m == nil || f == nil {
			continue
		}
		uid, err := strconv.ParseUint(m[1], 10, 32)
		if err != nil {
			return fmt.Errorf("understanding %q: %w", line, err)
		}
		its := strings.Fields(f[1])
		its = slices.DeleteFunc(its, func(flag string) bool { return strings.EqualFold(flag, `\Recent`) })
		slices.Sort(its)
		c.Flags[uint32(uid)] = its
	}
	return nil
}

// forget takes the UIDs of a set out of the copy.
func (c *Copy) forget(set string) error {
	for part := range strings.SplitSeq(set, ",") {
		first, last, ok := strings.Cut(part, ":")
		if !ok {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 32)
		if err != nil {
			return fmt.Errorf("understanding the UIDs %q: %w", set, err)
		}
		to, err := strconv.ParseUint(last, 10, 32)
		if err != nil {
			return fmt.Errorf("understanding the UIDs %q: %w", set, err)
		}
		for uid := range c.Flags {
			if uint64(uid) >= min(from, to) && uint64(uid) <= max(from, to) {
				delete(c.Flags, uid)
				delete(c.Headers, uid)
			}
		}
	}
	return nil
}

// numberAfter returns the number behind a word, 0 if there is none.
func numberAfter(answer []string, word string) uint64 {
	for _, line := range answer {
		if _, rest, ok := strings.Cut(line, word); ok {
			digits, _, _ := strings.Cut(rest, "]")
			n, err := strconv.ParseUint(digits, 10, 64)
			if err == nil {
				return n
			}
		}
	}
	return 0
}

// qresync speaks just enough IMAP: commands without literals, and answers line
// by line.
type qresync struct {
	conn  net.Conn
	lines *bufio.Scanner
	tag   int
}

func (q *qresync) line() (string, error) {
	if !q.lines.Scan() {
		return "", errors.Join(errors.New("the connection ended"), q.lines.Err())
	}
	return q.lines.Text(), nil
}

// command says something and returns the untagged lines of the answer.
func (q *qresync) command(text string) ([]string, error) {
	q.tag++
	tag := fmt.Sprintf("q%d ", q.tag)
	if _, err := fmt.Fprintf(q.conn, "%s%s\r\n", tag, text); err != nil {
		return nil, err
	}
	var answer []string
	for {
		line, err := q.line()
		if err != nil {
			return nil, fmt.Errorf("waiting for the answer to %.20q: %w", text, err)
		}
		rest, ok := strings.CutPrefix(line, tag)
		switch {
		case !ok:
			answer = append(answer, line)
		case strings.HasPrefix(rest, "OK"):
			return append(answer, line), nil
		default:
			return nil, fmt.Errorf("%.20q was answered: %s", text, rest)
		}
	}
}
