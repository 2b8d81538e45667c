package watch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/mailtwin/mailtwin/journal"
)

// maxTroubled bounds the names of metaTroubled.
const maxTroubled = 1024

const (
	troubledVersion = 1
	troubledForm    = "mailtwin-troubled %d %08x "
)

var (
	errTroubled      = errors.New("the list of what may be lost since this node was a mirror is damaged")
	errTroubledNewer = errors.New("the list of what may be lost since this node was a mirror is of a newer version of mailtwin")
)

// troubledText is the value of metaTroubled for these names; doc.go describes it.
func troubledText(paths []journal.Path) ([]byte, error) {
	names := make([][]byte, len(paths))
	for i, p := range paths {
		names[i] = []byte(p)
	}
	list, err := json.Marshal(names)
	if err != nil {
		return nil, err
	}
	return append(fmt.Appendf(nil, troubledForm, troubledVersion, troubledSum(list)), list...), nil
}

func troubledSum(list []byte) uint32 { return crc32.Checksum(list, crc32.MakeTable(crc32.Castagnoli)) }

// parseTroubled is the reverse of troubledText. A list alone is what was kept before
// there were versions.
func parseTroubled(text []byte) (map[journal.Path]struct{}, error) {
	list := text
	if !bytes.HasPrefix(text, []byte("[")) {
		version, sum := 0, uint32(0)
		if _, err := fmt.Sscanf(string(text[:min(len(text), 64)]), "mailtwin-troubled %d ", &version); err == nil && version > troubledVersion {
			return nil, fmt.Errorf("%w: %d", errTroubledNewer, version)
		}
		head := len(fmt.Sprintf(troubledForm, troubledVersion, 0))
		if len(text) < head {
			return nil, fmt.Errorf("%w: %d bytes", errTroubled, len(text))
		}
		list = text[head:]
		if _, err := fmt.Sscanf(string(text[:head]), troubledForm, &version, &sum); err != nil || version != troubledVersion || sum != troubledSum(list) {
			return nil, fmt.Errorf("%w: its checksum is not that of what it says", errTroubled)
		}
	}
	var names [][]byte
	if err := json.Unmarshal(list, &names); err != nil {
		return nil, fmt.Errorf("%w: %w", errTroubled, err)
	}
	if len(names) > maxTroubled {
		return nil, fmt.Errorf("%w: %d names", errTroubled, len(names))
	}
	paths := make(map[journal.Path]struct{}, len(names))
	for _, name := range names {
		p, err := journal.ParsePath(string(name))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errTroubled, err)
		}
		paths[p] = struct{}{}
	}
	return paths, nil
}
