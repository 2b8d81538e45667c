package tree

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// vocabularySize is how many words the mail is written in; with the skew of
// composer.word the text compresses to about 0.4, as mail does.
const vocabularySize = 8192

// lineLength is where text is wrapped.
const lineLength = 72

// composer writes messages. It is not safe for concurrent use.
type composer struct {
	rng   *rand.Rand
	words []string
	raw   []byte // reused: the bytes of attachments before base64
}

func newComposer(rng *rand.Rand, words []string) *composer {
	return &composer{rng: rng, words: words}
}

// vocabulary makes the words of a language that does not exist. It is the
// same in every store.
func vocabulary() []string {
	rng := rand.New(rand.NewPCG(7, 7))
	syllables := strings.Fields("an be ci do en fa ger hu in ja kel lo ment nu or pra qui re sta ti un ver wo xi yl zu sch eit tion ing ab")
	words := make([]string, vocabularySize)
	for i := range words {
		for range 1 + rng.IntN(4) {
			words[i] += syllables[rng.IntN(len(syllables))]
		}
	}
	return words
}

// word draws a word: the first of the vocabulary much more often than the
// last.
func (c *composer) word() string {
	f := c.rng.Float64()
	return c.words[int(f*f*vocabularySize)]
}

// message puts a header before body. The header names the recipient, so that
// two messages with one body differ at their beginning, and not always by the
// same length.
func (c *composer) message(at time.Time, recipient string, body []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(body) + 2048)
	sender := fmt.Sprintf("%s.%s@%s.example", c.word(), c.word(), c.word())
	date := at.Format(time.RFC1123Z)
	fmt.Fprintf(&b, "Return-Path: <%s>\nDelivered-To: %s\n", sender, recipient)
	for range 1 + c.rng.IntN(3) {
		fmt.Fprintf(&b, "Received: from %s.example (%s.example [192.0.2.%d])\n\tby mx1.example (Postfix) with ESMTPS id %08X\n\tfor <%s>; %s\n",
			c.word(), c.word(), c.rng.IntN(256), c.rng.Uint32(), recipient, date)
	}
	fmt.Fprintf(&b, "Date: %s\nFrom: %s <%s>\nTo: %s\nMessage-ID: <%016x@%s.example>\nSubject:", date, c.word(), sender, recipient, c.rng.Uint64(), c.word())
	for range 2 + c.rng.IntN(6) {
		b.WriteByte(' ')
		b.WriteString(c.word())
	}
	b.WriteString("\nMIME-Version: 1.0\n")
	b.Write(body)
	return b.Bytes()
}

// body writes the rest of a message, from its Content-Type on, of about size
// bytes: small ones are text, larger ones text and HTML, and what is above
// that are attachments.
func (c *composer) body(size int) []byte {
	const textOnly, mostText = 3 << 10, 24 << 10
	var b bytes.Buffer
	b.Grow(size + 1024)
	if size <= textOnly {
		b.WriteString("Content-Type: text/plain; charset=utf-8\n\n")
		c.text(&b, size, "")
		return b.Bytes()
	}
	boundary := fmt.Sprintf("=_%016x%016x", c.rng.Uint64(), c.rng.Uint64())
	fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=%q\n\n", boundary)
	text := min(size, mostText/4+c.rng.IntN(mostText))
	fmt.Fprintf(&b, "--%s\nContent-Type: text/plain; charset=utf-8\n\n", boundary)
	c.text(&b, text/3, "")
	fmt.Fprintf(&b, "\n--%s\nContent-Type: text/html; charset=utf-8\n\n<html><body>\n", boundary)
	c.text(&b, text*2/3, `<p class="normal" style="margin:0cm;font-size:11pt">`)
	b.WriteString("</body></html>\n")
	for b.Len() < size {
		c.attachment(&b, boundary, min(size-b.Len(), 1<<20+c.rng.IntN(2<<20)))
	}
	fmt.Fprintf(&b, "--%s--\n", boundary)
	return b.Bytes()
}

// text writes about size bytes of wrapped words; each paragraph begins with
// markup.
func (c *composer) text(b *bytes.Buffer, size int, markup string) {
	end, line := b.Len()+size, 0
	b.WriteString(markup)
	for b.Len() < end {
		w := c.word()
		if line+len(w) > lineLength {
			b.WriteByte('\n')
			line = 0
			if c.rng.IntN(12) == 0 {
				b.WriteByte('\n')
				b.WriteString(markup)
			}
		}
		b.WriteString(w)
		b.WriteByte(' ')
		line += len(w) + 1
	}
	b.WriteByte('\n')
}

// attachment writes one part of about size bytes in base64, of data that does
// not compress: pictures, PDF and office documents do not.
func (c *composer) attachment(b *bytes.Buffer, boundary string, size int) {
	const perLine = 57 // bytes that make 76 characters
	fmt.Fprintf(b, "--%s\nContent-Type: application/octet-stream; name=\"%s.bin\"\nContent-Transfer-Encoding: base64\n\n", boundary, c.word())
	raw := max(perLine, size*perLine/77)
	for len(c.raw) < raw+8 {
		c.raw = append(c.raw, make([]byte, raw+8-len(c.raw))...)
	}
	for i := 0; i < raw; i += 8 {
		binary.LittleEndian.PutUint64(c.raw[i:], c.rng.Uint64())
	}
	var line [80]byte
	for i := 0; i < raw; i += perLine {
		part := c.raw[i:min(i+perLine, raw)]
		n := base64.StdEncoding.EncodedLen(len(part))
		base64.StdEncoding.Encode(line[:], part)
		line[n] = '\n'
		b.Write(line[:n+1])
	}
}

// Writer makes single messages. It is not safe for concurrent use.
type Writer struct {
	compose *composer
	at      time.Time
}

// NewWriter returns a writer; the same seed makes the same messages.
func NewWriter(seed uint64) *Writer {
	rng := rand.New(rand.NewPCG(seed, 1<<42))
	return &Writer{compose: newComposer(rng, vocabulary()), at: Start()}
}

// Message returns a message as a mail server would receive it, of about size
// bytes and with LF as its line end.
func (w *Writer) Message(recipient string, size int) []byte {
	return w.WithBody(recipient, w.Body(size))
}

// Body returns what follows the first lines of a message: a body that several
// recipients may get.
func (w *Writer) Body(size int) []byte { return w.compose.body(size) }

// WithBody puts a header of its own before body.
func (w *Writer) WithBody(recipient string, body []byte) []byte {
	w.at = w.at.Add(time.Second)
	return w.compose.message(w.at, recipient, body)
}

// Size draws the size of a message: log-normal, 50 kB on average.
func (w *Writer) Size() int { return drawSize(w.compose.rng, meanSize) }
