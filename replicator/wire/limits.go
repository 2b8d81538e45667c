package wire

import (
	"errors"
	"time"
)

// The versions of the protocol that this build speaks.
const (
	OldestVersion = 1
	NewestVersion = 1
)

// Limits of one stream. A peer that goes beyond them is cut off.
const (
	MaxMessage         = 8 << 20   // bytes of one message of the stream
	MaxBatchEntries    = 4096      // entries in one Batch
	MaxBatchBytes      = 512 << 10 // bytes of contents after which a Batch is sent
	MaxBatchContents   = 256       // contents that one Batch has a part of
	MaxEntriesSize     = 6 << 20   // bytes of a Batch's entries before compression
	MaxListingItems    = 1000      // items in one Listing
	MaxCompare         = 256       // directories in one Compare
	MaxFetch           = 256       // files in one Fetch
	MaxMailboxes       = 256       // mailboxes in one Activity
	MaxPendingRequests = 8192      // directories and files that wait for an answer
	ChunkWindow        = 64 << 10  // chunks that both sides remember
	PrimaryTransfer    = 1 << 63   // transfers that the primary numbers have this bit
)

// The rhythm of the stream.
const (
	HeartbeatInterval = time.Second
	// SilenceLimit is how long a peer may say nothing before its state is unknown.
	SilenceLimit = 5 * time.Second
)

// ErrProtocol says that a peer broke the contract. The stream ends; what was
// durable stays so, and the nodes meet again with a new stream.
var ErrProtocol = errors.New("the peer broke the protocol")

// ErrVersion says that the nodes have no version of the protocol in common.
var ErrVersion = errors.New("no common protocol version")

// Negotiate returns the newest version that this build and a peer share.
func Negotiate(oldest, newest uint32) (uint32, bool) {
	v := min(newest, NewestVersion)
	return v, v >= max(oldest, OldestVersion)
}
