package salvage

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/atomicfile"
)

// reignFile is its name in the directory of ledgers.
const reignFile = "reign"

// SaveReign writes down, in the directory dir, how a node becomes primary. It
// has to be durable before the node is one, which it is when SaveReign returns
// nil. dir is made if need be.
//
// The file has one line, of a version, the epoch, the start (epoch, sequence,
// digest), 1 if all up to there was had, and proven, and else 0, and a checksum of
// what is before it.
func SaveReign(dir string, r Reign) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write down the reign: %w", err)
	}
	return atomicfile.Write(filepath.Join(dir, reignFile), []byte(r.line()), 0o600)
}

func (r Reign) line() string {
	whole := 0
	if r.Whole {
		whole = 1
	}
	text := fmt.Sprintf("mailtwin-reign 1 %d %d %d %s %d ", r.Epoch, r.Start.Epoch, r.Start.Sequence, r.Start.Digest, whole)
	return text + fmt.Sprintf("%08x\n", crc32.Checksum([]byte(text), castagnoli))
}

// LoadReign returns how the node became primary of an epoch. One that took back its
// role has a higher epoch than was written down, and its journal goes on from where it
// began then. Where nothing was written down, or it is damaged, the reign began at
// start, which is that of the journal, and nothing is promised of what was had: then a
// salvage offers everything, and unless the journal is whole nobody knows what was removed.
func LoadReign(dir string, epoch journal.Epoch, start journal.Position) Reign {
	data, err := os.ReadFile(filepath.Join(dir, reignFile))
	if err == nil {
		var r Reign
		if r, err = parseReign(string(data)); err == nil && r.Epoch <= epoch {
			r.Epoch = epoch
			return r
		}
	}
	return Reign{Epoch: epoch, Start: start, Guess: start.Sequence > 0}
}

// LastReign returns the epoch of which a node was primary at least, by what it wrote
// down when it became one; the first primary did not.
func LastReign(dir string) journal.Epoch {
	data, err := os.ReadFile(filepath.Join(dir, reignFile))
	if err != nil {
		return 1
	}
	r, err := parseReign(string(data))
	if err != nil {
		return 1
	}
	return r.Epoch
}

var errReign = errors.New("not a reign")

func parseReign(text string) (r Reign, err error) {
	var digest, sum string
	var whole int
	n, err := fmt.Sscanf(text, "mailtwin-reign 1 %d %d %d %s %d %s\n",
		&r.Epoch, &r.Start.Epoch, &r.Start.Sequence, &digest, &whole, &sum)
	if err != nil || n != 6 {
		return Reign{}, errReign
	}
	b, err := hex.DecodeString(digest)
	if err != nil || len(b) != len(r.Start.Digest) {
		return Reign{}, errReign
	}
	copy(r.Start.Digest[:], b)
	r.Whole = whole == 1
	if r.line() != text {
		return Reign{}, errReign
	}
	return r, nil
}
