package tree

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"
)

// folder is one of a user's mailboxes.
type folder struct {
	name    string // as in its directory; "" is the INBOX
	percent int    // of the user's messages
	flags   string // that most of its messages have
	unread  bool   // some messages wait in new/
}

// folders are what each user has: four mailboxes, so that a user is 17
// directories.
func folders(rng *rand.Rand) []folder {
	others := []string{".Archive", ".Archive.2024", ".Lists.debian-user", ".Projekte", ".INBOX-old", ".Familie &- Freunde"}
	return []folder{
		{percent: 45, flags: "S", unread: true},
		{name: ".Sent", percent: 20, flags: "S"},
		{name: ".Trash", percent: 10, flags: "ST"},
		{name: others[rng.IntN(len(others))], percent: 25, flags: "S"},
	}
}

// keywords are the names behind the letters a, b, ... of a mailbox.
const keywords = "0 $Forwarded\n1 NonJunk\n2 $MDNSent\n"

// makeUser makes the home of one user with that many messages.
func (g *generator) makeUser(user, messages int) error {
	rng := rand.New(rand.NewPCG(g.spec.Seed, uint64(user)))
	home := filepath.Join(g.dir, g.spec.UserDir(user))
	maildir := filepath.Join(home, "Maildir")
	for _, d := range []string{home, maildir} {
		if err := g.mkdir(d); err != nil {
			return err
		}
	}
	boxes, left, compose := folders(rng), messages, newComposer(rng, g.words)
	subscriptions := "V\t2\n\n"
	for i, f := range boxes {
		n := messages * f.percent / 100
		if i == len(boxes)-1 {
			n = left
		}
		left -= n
		if f.name != "" {
			subscriptions += strings.ReplaceAll(f.name[1:], ".", "\t") + "\n"
		}
		m := mailbox{g: g, rng: rng, folder: f, dir: filepath.Join(maildir, f.name), user: user, box: i, compose: compose}
		if err := m.make(n); err != nil {
			return err
		}
	}
	if err := g.write(filepath.Join(maildir, "subscriptions"), []byte(subscriptions), Start()); err != nil {
		return err
	}
	validity := fmt.Sprintf("%08x", Start().Unix()+int64(len(boxes)))
	if err := g.write(filepath.Join(maildir, "dovecot-uidvalidity"), []byte(validity), Start()); err != nil {
		return err
	}
	return g.write(filepath.Join(maildir, "dovecot-uidvalidity."+validity), nil, Start())
}

// mailbox is one mailbox that is being made.
type mailbox struct {
	g       *generator
	rng     *rand.Rand
	compose *composer
	folder
	dir       string
	user, box int
	uidlist   bytes.Buffer
	uid       int
}

func (m *mailbox) make(messages int) error {
	if m.name != "" {
		if err := m.g.mkdir(m.dir); err != nil {
			return err
		}
	}
	for _, d := range []string{"cur", "new", "tmp"} {
		if err := m.g.mkdir(filepath.Join(m.dir, d)); err != nil {
			return err
		}
	}
	at := Start().Add(time.Duration(m.user)*time.Second + time.Duration(m.box)*time.Hour)
	for range messages {
		// A mailbox fills over a year or so, at odd nanoseconds.
		at = at.Add(time.Duration(m.rng.Int64N(int64(3 * time.Hour))))
		if err := m.message(at); err != nil {
			return err
		}
	}
	header := fmt.Sprintf("3 V%d N%d G%016x%016x\n", Start().Unix()+int64(m.box), m.uid+1, m.rng.Uint64(), m.rng.Uint64())
	list := append([]byte(header), m.uidlist.Bytes()...)
	if err := m.g.write(filepath.Join(m.dir, "dovecot-uidlist"), list, at); err != nil {
		return err
	}
	if err := m.g.write(filepath.Join(m.dir, "dovecot-keywords"), []byte(keywords), at); err != nil {
		return err
	}
	if m.name == "" {
		return nil
	}
	return m.g.write(filepath.Join(m.dir, "maildirfolder"), nil, Start())
}

// message delivers one message, in cur/ with flags or unseen in new/.
func (m *mailbox) message(at time.Time) error {
	var body []byte
	if m.rng.IntN(100) < sharedPercent && len(m.g.shared) > 0 {
		body = m.g.shared[m.rng.IntN(len(m.g.shared))]
	} else {
		body = m.compose.body(drawSize(m.rng, m.g.spec.MeanSize))
	}
	data := m.compose.message(at, fmt.Sprintf("u%03d@d%02d.example", m.user, m.user%m.g.spec.Domains), body)
	base := fmt.Sprintf("%d.M%06dP%d.mx1,S=%d,W=%d", at.Unix(), at.Nanosecond()/1000, 1000+m.rng.IntN(30000),
		len(data), len(data)+bytes.Count(data, []byte{'\n'}))
	m.g.made.messages.Add(1)
	m.g.made.bytes.Add(int64(len(data)))
	if m.unread && m.rng.IntN(100) < 5 {
		return m.g.write(filepath.Join(m.dir, "new", base), data, at)
	}
	m.uid += 1 + m.rng.IntN(3)/2 // some UIDs have been expunged
	fmt.Fprintf(&m.uidlist, "%d :%s\n", m.uid, base)
	return m.g.write(filepath.Join(m.dir, "cur", base+":2,"+m.drawFlags()), data, at)
}

// drawFlags returns flags in the order that Maildir wants: by letter.
func (m *mailbox) drawFlags() string {
	flags := ""
	for _, f := range []struct {
		letter  string
		percent int
	}{{"F", 4}, {"R", 15}, {"S", 10}, {"T", 0}, {"a", 5}, {"b", 20}} {
		percent := f.percent
		if strings.Contains(m.flags, f.letter) {
			percent = 90
		}
		if m.rng.IntN(100) < percent {
			flags += f.letter
		}
	}
	return flags
}
