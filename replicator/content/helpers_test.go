package content

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/zeebo/blake3"
)

// random returns n bytes without any order in them.
func random(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// encoded returns n bytes as a base64 part has them.
func encoded(seed uint64, n int) []byte {
	s := base64.StdEncoding.EncodeToString(random(seed, n*3/4+3))
	var b bytes.Buffer
	for b.Len() < n {
		line := min(76, len(s))
		b.WriteString(s[:line] + "\r\n")
		s = s[line:]
	}
	return b.Bytes()[:n]
}

// words returns n bytes of prose or of HTML.
func words(seed uint64, n int, html bool) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	vocabulary := strings.Fields(`the of and to in is you that it he was for on are as with his they
		at be this have from or one had by word but not what all were we when your can said there use
		an each which she do how their if will up other about out many then them these so some her
		would make like him into time has look two more write go see number no way could people
		invoice meeting tomorrow regards attached please confirm delivery schedule contract`)
	var b bytes.Buffer
	for line := 0; b.Len() < n; {
		w := vocabulary[r.IntN(len(vocabulary))]
		if r.IntN(12) == 0 {
			w = fmt.Sprintf("%x", r.Uint32())
		}
		if html && r.IntN(6) == 0 {
			w = fmt.Sprintf(`<td class="cell%d" style="padding:%dpx 0 0 4px">%s</td>`, r.IntN(9), r.IntN(30), w)
		}
		b.WriteString(w)
		if line += len(w) + 1; line > 70 {
			b.WriteString("\r\n")
			line = 0
		} else {
			b.WriteByte(' ')
		}
	}
	return b.Bytes()[:n]
}

// header returns a message header that differs from user to user in content
// and in length.
func header(user int) []byte {
	id := random(uint64(user)+1000, 24)
	return fmt.Appendf(nil, "Return-Path: <news@example.org>\r\n"+
		"Delivered-To: user%[1]d@%[3]sexample.net\r\n"+
		"Received: from mx.example.net (mx.example.net [192.0.2.%[1]d])\r\n"+
		"\tby store%[1]d.example.net with LMTP id %[2]x\r\n"+
		"\tfor <user%[1]d@%[3]sexample.net>; Mon, 2 Mar 2026 10:%02[4]d:%02[4]d +0100\r\n"+
		"Received: from out.example.org (out.example.org [198.51.100.7])\r\n"+
		"\tby mx.example.net (Postfix) with ESMTPS id %[5]X\r\n"+
		"\tfor <user%[1]d@%[3]sexample.net>; Mon, 2 Mar 2026 10:%02[4]d:%02[4]d +0100\r\n"+
		"From: News <news@example.org>\r\nTo: undisclosed-recipients:;\r\n"+
		"Subject: The quarterly report\r\nDate: Mon, 2 Mar 2026 10:00:00 +0100\r\n"+
		"Message-ID: <20260302.100000@example.org>\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: multipart/mixed; boundary=\"=_b1_7f3a\"\r\n\r\n",
		user, id[:8], strings.Repeat("sub.", user%7), user%60, id[8:])
}

// body returns a multipart body: a text, an HTML part, a base64 attachment of
// about n bytes.
func body(seed uint64, n int) []byte {
	var b bytes.Buffer
	b.WriteString("--=_b1_7f3a\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n")
	b.Write(words(seed, 3000, false))
	b.WriteString("\r\n--=_b1_7f3a\r\nContent-Type: text/html; charset=utf-8\r\n\r\n")
	b.Write(words(seed+1, 20000, true))
	b.WriteString("\r\n--=_b1_7f3a\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	b.Write(encoded(seed+2, n))
	b.WriteString("\r\n--=_b1_7f3a--\r\n")
	return b.Bytes()
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// link is a stream in memory: one Encoder, and what a mirror makes of it.
type link struct {
	t      testing.TB
	enc    *Encoder
	memory bool // the last content was encoded from memory
	window *Received
	wire   int // bytes of chunks
	runs   int
	plain  int // bytes
}

func newLink(t testing.TB, window, cache int) *link {
	return &link{
		t:      t,
		enc:    NewEncoder(NewSent(window), NewFixedCompressor(LevelFastest)),
		window: NewReceived(window, cache),
	}
}

// store is what was written of one transfer, and its Source.
type store struct {
	bytes.Buffer
	gone bool
}

var errGone = errors.New("gone")

func (s *store) ReadAt(p []byte, off int64) (int, error) {
	if s.gone {
		return 0, errGone
	}
	return bytes.NewReader(s.Bytes()).ReadAt(p, off)
}

// send carries data across, with or without references; from memory and from
// a reader in turn.
func (l *link) send(data []byte, refer bool) (*store, error) {
	l.t.Helper()
	s := &store{}
	d := NewDecoder(l.window, s)
	var lost error
	emit := func(p Piece) error {
		l.wire += p.Size()
		if p.Run.Count > 0 {
			l.runs++
		}
		if err := d.Write(p, s); err != nil {
			lost = err
		}
		return nil
	}
	var res Result
	var err error
	if l.memory = !l.memory; l.memory {
		res, err = l.enc.EncodeBytes(bytes.Clone(data), !refer, emit)
	} else {
		res, err = l.enc.Encode(bytes.NewReader(data), !refer, emit)
	}
	if err != nil {
		l.t.Fatalf("encoding: %v", err)
	}
	if want := journal.ContentID(blake3.Sum256(data)); res.ID != want || res.Size != int64(len(data)) {
		l.t.Fatalf("encoded %d bytes as %v, want %d as %v", res.Size, res.ID, len(data), want)
	}
	if lost == nil {
		if d.Sum() != res.ID || d.Size() != res.Size || !bytes.Equal(s.Bytes(), data) {
			l.t.Fatalf("decoded %d bytes as %v, want %d as %v", d.Size(), d.Sum(), len(data), res.ID)
		}
	}
	l.plain += len(data)
	return s, lost
}

// must is send where nothing may be lost.
func (l *link) must(data []byte) *store {
	l.t.Helper()
	s, err := l.send(data, true)
	if err != nil {
		l.t.Fatalf("decoding: %v", err)
	}
	return s
}

// chunks returns copies of the chunks of data.
func chunks(t testing.TB, r io.Reader) []Chunk {
	t.Helper()
	c := NewChunker(r)
	var all []Chunk
	for {
		chunk, err := c.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		chunk.Data = bytes.Clone(chunk.Data)
		all = append(all, chunk)
	}
}
