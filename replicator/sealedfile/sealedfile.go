package sealedfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/mailtwin/mailtwin/replicator/hint"
)

// What a file may be other than what it should be.
var (
	ErrNewer   = errors.New("written by a newer mailtwin")
	ErrCorrupt = errors.New("damaged")
)

// MaxSize is that of the largest sealed file, in bytes.
const MaxSize = 64 << 10

const sumPrefix = "sha256 "

// Seal puts the first and the last line around a content of whole lines.
func Seal(kind string, version int, content string) []byte {
	head := fmt.Sprintf("mailtwin-%s %d\n%s", kind, version, content)
	sum := sha256.Sum256([]byte(head))
	return []byte(head + sumPrefix + hex.EncodeToString(sum[:]) + "\n")
}

// Unseal returns the content and its version, at most newest. The version is
// looked at before the checksum: a newer format may end differently, and it is
// ErrNewer, not ErrCorrupt.
func Unseal(kind string, newest int, data []byte) (content string, version int, err error) {
	first, rest, ok := strings.Cut(string(data), "\n")
	number, isKind := strings.CutPrefix(first, "mailtwin-"+kind+" ")
	if !ok || !isKind {
		return "", 0, fmt.Errorf("%w: it does not begin as a %s file does", ErrCorrupt, kind)
	}
	got, err := strconv.ParseUint(number, 10, 31)
	if err != nil || got == 0 || number[0] == '0' {
		return "", 0, fmt.Errorf("%w: %q is no version", ErrCorrupt, number)
	}
	if got > uint64(newest) {
		return "", 0, hint.Add(fmt.Errorf("%w: format %d, this program knows up to %d", ErrNewer, got, newest),
			"run the newer mailtwin again; this version cannot go back to its files")
	}
	at := strings.LastIndex(rest, sumPrefix)
	if at < 0 || string(Seal(kind, int(got), rest[:at])) != string(data) {
		return "", 0, fmt.Errorf("%w: the checksum is not that of its content", ErrCorrupt)
	}
	return rest[:at], int(got), nil
}

// Read reads and unseals a file. A missing file is fs.ErrNotExist.
func Read(path, kind string, newest int) (content string, version int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return "", 0, err
	}
	if len(data) > MaxSize {
		return "", 0, fmt.Errorf("%q: %w: it is larger than such a file can be", path, ErrCorrupt)
	}
	content, version, err = Unseal(kind, newest, data)
	if err != nil {
		return "", 0, fmt.Errorf("%q: %w", path, err)
	}
	return content, version, nil
}
