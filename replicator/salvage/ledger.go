package salvage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/atomicfile"
	"github.com/mailtwin/mailtwin/replicator/hint"
)

var (
	// ErrNewer says that a ledger was written by a newer mailtwin.
	ErrNewer = errors.New("ledger of a newer format")
	// ErrCorrupt says that a ledger is not as it was written.
	ErrCorrupt = errors.New("ledger is corrupt")
)

// The format of a ledger; see doc.go.
const (
	ledgerMagic   = "mtsalvag"
	ledgerVersion = 1
	ledgerHead    = len(ledgerMagic) + 4 + 4
	blockHead     = 8
	maxBlock      = 4 << 20 // bytes of a block's payload
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// delivery is what a ledger says of one message. It is written, durably, before
// the message gets its place in the mailbox: from then on its staged file
// tells whether it has got there.
type delivery struct {
	number  uint64       // of the staged file
	undone  bool         // the message could not be put there after all
	mailbox journal.Path // for which it was offered
	base    string       // by which it was offered
	target  journal.Path // where it belongs
}

// ledger remembers what was delivered, so that nothing is delivered twice,
// whoever breaks down and when, and whatever users do with it meanwhile.
type ledger struct {
	path string
	f    *os.File
	size int64
	next uint64 // number of the next staged file
	bad  error  // a write failed: nothing is known of the rest of the file
}

// openLedger opens a ledger, and makes it if there is none. What the last
// write left behind without being durable is cut off.
func openLedger(path string) (*ledger, error) {
	if err := atomicfile.Create(path, ledgerHeader(ledgerVersion), 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the ledger: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	l := &ledger{path: path, f: f, next: 1}
	if err := l.load(); err != nil {
		_ = f.Close()
		return nil, hint.Add(fmt.Errorf("%q: %w", path, err),
			"without it a message that a broken salvage delivered, and that was removed since, could come back; "+
				"move the file away if that is acceptable")
	}
	return l, nil
}

func ledgerHeader(version uint32) []byte {
	b := binary.BigEndian.AppendUint32([]byte(ledgerMagic), version)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// load reads the whole ledger once.
func (l *ledger) load() error {
	head := make([]byte, ledgerHead)
	if _, err := io.ReadFull(io.NewSectionReader(l.f, 0, int64(ledgerHead)), head); err != nil {
		return fmt.Errorf("%w: no header: %w", ErrCorrupt, err)
	}
	version := binary.BigEndian.Uint32(head[len(ledgerMagic):])
	switch {
	case string(head[:len(ledgerMagic)]) != ledgerMagic:
		return fmt.Errorf("%w: it does not begin as a ledger does", ErrCorrupt)
	case version > ledgerVersion:
		return fmt.Errorf("%w: %d, this program knows up to %d", ErrNewer, version, ledgerVersion)
	case string(head) != string(ledgerHeader(ledgerVersion)):
		return fmt.Errorf("%w: its header is damaged", ErrCorrupt)
	}
	end, err := l.scan(func(d delivery) error {
		l.next = max(l.next, d.number+1)
		return nil
	})
	if err != nil {
		return err
	}
	l.size = end
	if err := l.f.Truncate(end); err != nil {
		return fmt.Errorf("cut the ledger: %w", err)
	}
	return nil
}

// scan calls f with what whole blocks say, and returns where they end. A block
// that is not whole is the end of a write that was never durable if nothing
// follows it, and damage otherwise.
func (l *ledger) scan(f func(delivery) error) (int64, error) {
	info, err := l.f.Stat()
	if err != nil {
		return 0, err
	}
	size := info.Size()
	at := int64(ledgerHead)
	for at < size {
		payload, end, err := l.block(at, size)
		if err != nil {
			return at, err
		}
		if payload == nil {
			return at, nil
		}
		deliveries, err := parseDeliveries(payload)
		if err != nil {
			return at, fmt.Errorf("%w: at %d: %w", ErrCorrupt, at, err)
		}
		for _, d := range deliveries {
			if err := f(d); err != nil {
				return at, err
			}
		}
		at = end
	}
	return at, nil
}

// block reads the block at a place; nil if it is torn.
func (l *ledger) block(at, size int64) (payload []byte, end int64, err error) {
	var head [blockHead]byte
	if size-at < blockHead {
		return nil, 0, nil
	}
	if _, err := l.f.ReadAt(head[:], at); err != nil {
		return nil, 0, err
	}
	length := int64(binary.BigEndian.Uint32(head[:]))
	end = at + blockHead + length
	if length == 0 || length > maxBlock || end > size {
		return nil, 0, nil
	}
	payload = make([]byte, length)
	if _, err := l.f.ReadAt(payload, at+blockHead); err != nil {
		return nil, 0, err
	}
	if crc32.Checksum(payload, castagnoli) == binary.BigEndian.Uint32(head[4:]) {
		return payload, end, nil
	}
	if end == size {
		return nil, 0, nil
	}
	return nil, 0, fmt.Errorf("%w: the checksum at %d is wrong", ErrCorrupt, at)
}

// each calls f with all that was delivered.
func (l *ledger) each(f func(delivery) error) error {
	undone := make(map[uint64]bool) // there are few
	_, err := l.scan(func(d delivery) error {
		if d.undone {
			undone[d.number] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = l.scan(func(d delivery) error {
		if undone[d.number] {
			return nil
		}
		return f(d)
	})
	return err
}

// append adds deliveries; they are durable when it returns nil. After an error
// the ledger takes no more.
func (l *ledger) append(deliveries []delivery) error {
	if l.bad != nil {
		return l.bad
	}
	var payload []byte
	for i := range deliveries {
		payload = deliveries[i].append(payload)
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	_, err := l.f.WriteAt(append(b, payload...), l.size)
	if err == nil {
		err = l.f.Sync()
	}
	if err != nil {
		l.bad = fmt.Errorf("write the ledger: %w", err)
		return l.bad
	}
	l.size += int64(len(b) + len(payload))
	return nil
}

func (l *ledger) close() { _ = l.f.Close() } // what counts was synced

// append encodes d.
func (d *delivery) append(b []byte) []byte {
	kind := byte(0)
	if d.undone {
		kind = 1
	}
	b = append(b, kind)
	b = binary.AppendUvarint(b, d.number)
	for _, text := range []string{string(d.mailbox), d.base, string(d.target)} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	return b
}

var errRecord = errors.New("not a delivery")

// parseDeliveries decodes the payload of a block.
func parseDeliveries(b []byte) (out []delivery, err error) {
	for len(b) > 0 {
		d := delivery{undone: b[0] == 1}
		if b[0] > 1 {
			return nil, errRecord
		}
		var n int
		if d.number, n = binary.Uvarint(b[1:]); n <= 0 {
			return nil, errRecord
		}
		b = b[1+n:]
		var texts [3]string
		for i := range texts {
			length, n := binary.Uvarint(b)
			if n <= 0 || length > journal.MaxPath || uint64(len(b)-n) < length {
				return nil, errRecord
			}
			texts[i], b = string(b[n:n+int(length)]), b[n+int(length):]
		}
		d.base = texts[1]
		if d.mailbox, err = journal.ParsePath(texts[0]); err != nil {
			return nil, err
		}
		if d.target, err = journal.ParsePath(texts[2]); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}
