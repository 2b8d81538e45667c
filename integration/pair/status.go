package pair

import (
	"encoding/json"
	"fmt"
)

// InSync is the state of a node or a mirror that lacks nothing.
const InSync = "in-sync"

// Status is what `mailtwin status --json` says, as far as tests look at it.
type Status struct {
	Role    string
	Epoch   uint64
	State   string
	Unasked string
	Journal struct{ Sequence uint64 }
	Store   struct {
		State string
		Watch struct {
			Complete  bool
			Overflows uint64
			Indexes   int `json:"indexes_pending"`
		}
	}
	IMAP    struct{ State string }
	Mirrors []Mirror
	Loss    struct{ Known bool }
	Primary struct {
		Name      string
		Connected bool
	}
	// Document is the whole answer.
	Document json.RawMessage `json:"-"`
}

// Mirror is what a primary says of one mirror.
type Mirror struct {
	Name          string
	State         string
	AckedSequence uint64  `json:"acked_sequence"`
	LagEntries    uint64  `json:"lag_entries"`
	LagBytes      int64   `json:"lag_bytes"`
	LagSeconds    float64 `json:"lag_seconds"`
	SentBytes     uint64  `json:"sent_bytes"`
}

func parseStatus(document []byte) (Status, error) {
	var s Status
	if err := json.Unmarshal(document, &s); err != nil {
		return s, fmt.Errorf("understanding the status %q: %w", document, err)
	}
	s.Document = document
	return s, nil
}

// InSync reports whether a primary says that it has a mirror, and that each
// of them lacks nothing.
func (s Status) InSync() bool {
	for _, m := range s.Mirrors {
		if m.State != InSync || m.LagEntries != 0 {
			return false
		}
	}
	return s.State == InSync && len(s.Mirrors) > 0
}
