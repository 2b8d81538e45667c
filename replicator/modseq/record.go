package modseq

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/atomicfile"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// Errors of the record.
var (
	ErrNewer   = errors.New("written by a newer mailtwin")
	ErrCorrupt = errors.New("damaged")
)

const (
	recordFile    = "modseq"
	recordKind    = "mailtwin-modseq "
	recordVersion = 2
	// apartModseqs is how far the numbers of two promotions are apart at least: as many
	// changes as Dovecot may have numbered behind the first.
	apartModseqs = 1 << 20
	// maxLine is the longest line of a record: a sum, a word, a user.
	maxLine = mailstore.MaxUser + 32
)

// record is what is known of the work of one epoch.
type record struct {
	epoch    journal.Epoch
	modseq   uint64
	gap      uint32 // of UIDs that are left out; 0 in the first version
	done     map[string]bool
	complete bool
	// size is how many bytes of the file are whole lines.
	size int64
}

// line returns a line of the file.
func line(text string) string { return fmt.Sprintf("%08x %s\n", checksum(text), text) }

// begin returns a record without anything done.
func begin(epoch journal.Epoch, modseq uint64, gap uint32) string {
	return fmt.Sprintf("%s%d\n", recordKind, recordVersion) + line(fmt.Sprintf("begin %d %d %d", epoch, modseq, gap))
}

func checksum(text string) uint32 {
	return crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli))
}

// parse reads a record. The error is ErrNewer or ErrCorrupt.
func parse(in io.Reader) (record, error) {
	r := record{done: make(map[string]bool)}
	version := uint64(0)
	lines := bufio.NewReaderSize(in, maxLine)
	for n := 1; ; n++ {
		raw, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && n > 2:
			return r, nil // what is left of a line, if anything, is torn
		case errors.Is(err, bufio.ErrBufferFull):
			return r, fmt.Errorf("%w: line %d is too long", ErrCorrupt, n)
		case errors.Is(err, io.EOF):
			return r, fmt.Errorf("%w: it ends before it began", ErrCorrupt)
		case err != nil:
			return r, err
		}
		text := strings.TrimSuffix(string(raw), "\n")
		if n == 1 {
			version, err = parseVersion(text)
		} else {
			err = r.parseLine(text, n == 2, version)
		}
		if err != nil {
			return r, fmt.Errorf("line %d: %w", n, err)
		}
		r.size += int64(len(raw))
	}
}

func parseVersion(text string) (uint64, error) {
	number, ok := strings.CutPrefix(text, recordKind)
	version, err := strconv.ParseUint(number, 10, 31)
	if !ok || err != nil || version == 0 || number[0] == '0' {
		return 0, fmt.Errorf("%w: it does not begin as such a file does", ErrCorrupt)
	}
	if version > recordVersion {
		return 0, fmt.Errorf("%w: format %d, this program knows up to %d", ErrNewer, version, recordVersion)
	}
	return version, nil
}

// parseLine reads a line after the first one.
func (r *record) parseLine(text string, first bool, version uint64) error {
	sum, text, _ := strings.Cut(text, " ")
	if sum != fmt.Sprintf("%08x", checksum(text)) {
		return fmt.Errorf("%w: its checksum is not that of what follows", ErrCorrupt)
	}
	word, rest, _ := strings.Cut(text, " ")
	switch {
	case first:
		if version == 1 {
			rest += " 0" // UIDs were not left out then
		}
		numbers := strings.Split(rest, " ")
		if word != "begin" || len(numbers) != 3 {
			break
		}
		e, err1 := strconv.ParseUint(numbers[0], 10, 64)
		m, err2 := strconv.ParseUint(numbers[1], 10, 63)
		g, err3 := strconv.ParseUint(numbers[2], 10, 31)
		if err1 != nil || err2 != nil || err3 != nil || rest != fmt.Sprintf("%d %d %d", e, m, g) {
			break
		}
		r.epoch, r.modseq, r.gap = journal.Epoch(e), m, uint32(g)
		return nil
	case word == "done" && mailstore.ValidUser(rest) && len(r.done) < MaxUsers:
		r.done[rest] = true
		return nil
	case text == "complete":
		r.complete = true
		return nil
	}
	return fmt.Errorf("%w: %q is no line of it", ErrCorrupt, text)
}

// load reads the record in the state directory. A missing one is
// fs.ErrNotExist.
func load(stateDir string) (record, error) {
	f, err := os.Open(filepath.Join(stateDir, recordFile))
	if err != nil {
		return record{}, err
	}
	defer f.Close()
	r, err := parse(f)
	if err != nil {
		return record{}, fmt.Errorf("%q: %w", f.Name(), err)
	}
	return r, nil
}

// resume returns the record of the epoch: that in the state directory if it is
// of this epoch and leaves out UIDs if gap is to be left, and otherwise a new
// one, made durable. The error, beside those of files, is ErrNewer; why tells of
// damage that was made good.
func resume(stateDir string, epoch journal.Epoch, modseq uint64, gap uint32) (r record, why, err error) {
	r, err = load(stateDir)
	switch {
	case err == nil && r.epoch == epoch && (r.gap > 0 || gap == 0):
		return r, nil, nil
	case errors.Is(err, ErrCorrupt):
		why = err
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return record{}, nil, err
	case err == nil:
		modseq = max(modseq, r.modseq+apartModseqs)
	}
	text := begin(epoch, modseq, gap)
	if err := atomicfile.Write(filepath.Join(stateDir, recordFile), []byte(text), 0o600); err != nil {
		return record{}, why, err
	}
	return record{epoch: epoch, modseq: modseq, gap: gap, done: make(map[string]bool), size: int64(len(text))}, why, nil
}

// ledger appends to the record. It is for one goroutine at a time.
type ledger struct {
	f *os.File
}

// openLedger opens the record that r was read from, to append to it.
func openLedger(stateDir string, r record) (*ledger, error) {
	f, err := os.OpenFile(filepath.Join(stateDir, recordFile), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(r.size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &ledger{f}, nil
}

// done notes a user; it is not durable yet.
func (l *ledger) done(user string) error {
	_, err := l.f.WriteString(line("done " + user))
	return err
}

// complete notes that all is done, durably.
func (l *ledger) complete() error {
	if _, err := l.f.WriteString(line("complete")); err != nil {
		return err
	}
	return l.f.Sync()
}

func (l *ledger) close() error { return l.f.Close() }
