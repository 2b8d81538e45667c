package status

import "time"

// Version is the version of the document.
const Version = 1

// State is how a node, or a mirror, is.
type State string

// The states, from the best to the worst.
const (
	InSync    State = "in-sync"         // all that is known to have changed is durable on the mirror
	Behind    State = "behind"          // changes are on their way
	Syncing   State = "syncing"         // catalogs are compared, contents are copied: not complete yet
	Scanning  State = "scanning"        // the store is looked at; what is found is not known yet
	Alone     State = "no-mirror"       // no mirror has joined: nothing is protected
	Attention State = "needs-attention" // a person has to see to something
	Unknown   State = "unknown"         // the other side is not heard of
)

// Unconfirmed is the role of a node that was primary when it ended, and has not
// heard from another one since whether it still is. A mail server must not be
// started there by itself.
const Unconfirmed = "unconfirmed"

// ExitCode returns what `mailtwin status` ends with: 0 in sync, 1 behind or
// busy, 2 needs a person, 3 unknown.
func (s State) ExitCode() int {
	switch s {
	case InSync:
		return 0
	case Behind, Syncing, Scanning:
		return 1
	case Attention, Alone:
		return 2
	case Unknown:
	}
	return 3
}

// Document is the status of one node.
type Document struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"`
	Pair    string    `json:"pair"`
	Name    string    `json:"name"`
	// Role is primary, mirror or fenced; or Unconfirmed.
	Role   string `json:"role"`
	Epoch  uint64 `json:"epoch"`
	Leader string `json:"leader,omitempty"` // the primary of that epoch, as far as it is known
	State  State  `json:"state"`
	Detail string `json:"detail"` // the state in a sentence

	Store   Store    `json:"store"`
	Journal *Journal `json:"journal,omitempty"` // of a primary
	Mirrors []Mirror `json:"mirrors,omitempty"` // of a primary
	Primary *Primary `json:"primary,omitempty"` // of a mirror
	IMAP    *IMAP    `json:"imap,omitempty"`    // of a primary that was promoted
	Pace    *Pace    `json:"pace,omitempty"`    // of a primary
	Loss    Loss     `json:"loss"`
	// Fenced says why the node must not serve mail now, or not journal it: what
	// a person has to do. Empty if there is nothing of that kind.
	Fenced string `json:"fenced,omitempty"`
	// MailStopped says why a primary that could serve mail has no mail server now.
	// Empty if it has one, as far as that is known.
	MailStopped string `json:"mail_stopped,omitempty"`
	// Kept says what rejoins of this node have kept in the history of its store and no
	// person has seen to. Empty if there is nothing.
	Kept string `json:"kept,omitempty"`
	// Peers are the other nodes of the pair that this one knows.
	Peers []Peer `json:"peers,omitempty"`
	// Unasked says why the role is Unconfirmed: the others are being asked, or this
	// node began its work though none of them answered.
	Unasked string `json:"unasked,omitempty"`

	LastError *Problem `json:"last_error,omitempty"`
}

// Store is the mailstore of the node.
type Store struct {
	Path        string `json:"path"`
	State       string `json:"state"`
	Detail      string `json:"detail"`
	Files       uint64 `json:"files"`
	Bytes       uint64 `json:"bytes"`
	Directories uint64 `json:"directories"`
	Unread      uint64 `json:"unread"`  // files whose content was not read yet
	Missing     uint64 `json:"missing"` // on a mirror: files whose content never came
	// Assumed counts the messages of a mirror that it had before and that are
	// taken to be equal by name and size: their content is not proven yet.
	Assumed uint64 `json:"assumed"`
	// Unreadable counts the names of the store, and the contents, that cannot be
	// read: on a mirror, those of its primary. What the mirror has of them stays
	// as it is, and they are tried again at a low rate.
	Unreadable int `json:"unreadable"`
	// UnreadableFiles are the first of them, on a primary. `mailtwin status --json`
	// and --unreadable list all that are known by name, at most 5120.
	UnreadableFiles []Unreadable `json:"unreadable_files,omitempty"`
	// DamagedFiles are, on a mirror, the first of those that Missing counts which are
	// in its store and could not be read when it was looked at as a whole. They stay
	// there until their content has come from the primary once more.
	DamagedFiles []Unreadable `json:"damaged_files,omitempty"`
	// MissingFiles are the paths of the first of those that Missing counts.
	MissingFiles     []string `json:"missing_files,omitempty"`
	Watch            *Watch   `json:"watch,omitempty"`
	OwnersNotApplied bool     `json:"owners_not_applied,omitempty"` // the mirror may not set owners
	// Apart says why all messages would get new UIDs after a failover, on a primary,
	// as far as a look at some of its mailboxes told when it began its work.
	Apart string `json:"apart,omitempty"`
}

// Unreadable is something of the store that cannot be read.
type Unreadable struct {
	Path  string    `json:"path"`  // beneath the store; what is no UTF-8 in it is replaced
	Error string    `json:"error"` // of the last attempt
	Since time.Time `json:"since"` // the first attempt that failed
}

// FewNames is how many names a document lists of something unless all are
// asked for.
const FewNames = 10

// Shorten leaves the first of each list of names.
func (d *Document) Shorten() {
	s := &d.Store
	s.UnreadableFiles = s.UnreadableFiles[:min(len(s.UnreadableFiles), FewNames)]
	s.DamagedFiles = s.DamagedFiles[:min(len(s.DamagedFiles), FewNames)]
}

// Watch is how changes of the store are found.
type Watch struct {
	Mode             string     `json:"mode"` // events or polling
	ModeReason       string     `json:"mode_reason,omitempty"`
	Complete         bool       `json:"complete"` // every directory is watched
	Watches          int        `json:"watches"`
	DirectoriesDone  uint64     `json:"directories_done"` // of the scan under way
	DirectoriesKnown uint64     `json:"directories_known"`
	Overflows        uint64     `json:"overflows"`
	LastOverflow     *time.Time `json:"last_overflow,omitempty"`
	BeingWritten     int        `json:"being_written"`
	Pending          int        `json:"pending"` // names still to be looked at
	// Mailboxes whose index is newer than what the mirror has of it. Their mail
	// is not: an index is replicated last.
	Indexes int `json:"indexes_pending"`
	// Mailboxes whose index is too large to be replicated. Nothing else is
	// lacking.
	LargeIndexes int `json:"indexes_too_large"`
}

// Journal is the journal of a primary.
type Journal struct {
	Sequence uint64 `json:"sequence"` // of the last entry
	Digest   string `json:"digest"`
	Start    uint64 `json:"start"` // before the oldest entry that is kept
	Bytes    int64  `json:"bytes"`
	Entries  uint64 `json:"entries"`
	// Error says why no change can be journaled now.
	Error string `json:"error,omitempty"`
}

// Mirror is a mirror, as its primary knows it.
type Mirror struct {
	Name           string     `json:"name"`
	State          State      `json:"state"`
	Detail         string     `json:"detail"`
	Connected      bool       `json:"connected"`
	Since          *time.Time `json:"since,omitempty"` // connected, or last seen
	AckedSequence  uint64     `json:"acked_sequence"`
	LagEntries     uint64     `json:"lag_entries"`
	LagBytes       uint64     `json:"lag_bytes"`
	LagSeconds     float64    `json:"lag_seconds"` // age of the oldest change that is not durable on the mirror
	SentBytes      uint64     `json:"sent_bytes"`  // in this connection
	SentFiles      uint64     `json:"sent_files"`
	SentRawBytes   uint64     `json:"sent_raw_bytes"` // what they are without deduplication and compression
	BytesPerSecond float64    `json:"bytes_per_second"`
	Files          uint64     `json:"files"` // that the mirror has
	Bytes          uint64     `json:"bytes"`
	FilesLeft      uint64     `json:"files_left"` // that the comparison knows to be lacking
	BytesLeft      uint64     `json:"bytes_left"`
	Missing        uint64     `json:"missing"`
	Assumed        uint64     `json:"assumed"` // taken to be equal by name and size, not proven yet
	Proven         bool       `json:"proven"`  // equal by digest
	ProvenSequence uint64     `json:"proven_sequence"`
	Progress       *Progress  `json:"progress,omitempty"` // of a sync that goes on
}

// Primary is the primary, as its mirror knows it.
type Primary struct {
	Name           string     `json:"name"`
	Address        string     `json:"address"`
	State          State      `json:"state"`
	Detail         string     `json:"detail"`
	Connected      bool       `json:"connected"`
	Since          *time.Time `json:"since,omitempty"`
	LastHeard      *time.Time `json:"last_heard,omitempty"`
	LastWord       *time.Time `json:"last_word,omitempty"` // how the primary is is known as of then: a word may come late
	Sequence       uint64     `json:"sequence"`            // the last entry that is known of
	AppliedTo      uint64     `json:"applied_sequence"`
	AckedSequence  uint64     `json:"acked_sequence"`
	LagEntries     uint64     `json:"lag_entries"`
	LagBytes       uint64     `json:"lag_bytes"`
	LagSeconds     float64    `json:"lag_seconds"`
	ReceivedBytes  uint64     `json:"received_bytes"`
	FilesLeft      uint64     `json:"files_left"`
	BytesLeft      uint64     `json:"bytes_left"`
	Proven         bool       `json:"proven"`
	ProvenSequence uint64     `json:"proven_sequence"`
	Progress       *Progress  `json:"progress,omitempty"` // of a sync that goes on
}

// Peer is another node of the pair.
type Peer struct {
	Name      string     `json:"name"`
	Address   string     `json:"address"`
	Answers   bool       `json:"answers"` // the last time that it was asked
	LastHeard *time.Time `json:"last_heard,omitempty"`
	Role      string     `json:"role,omitempty"` // as it said then
	Epoch     uint64     `json:"epoch,omitempty"`
	Problem   string     `json:"problem,omitempty"` // why it does not answer
}

// IMAP is how far the mailboxes of a promoted primary are raised, so that
// IMAP clients see what changed.
type IMAP struct {
	State   string `json:"state"`   // off, idle, raising or complete
	Modseq  uint64 `json:"modseq"`  // that HIGHESTMODSEQ is raised to
	Done    int    `json:"done"`    // users
	Left    int    `json:"left"`    // users that are known of
	Failing int    `json:"failing"` // users whose last try failed
	Listed  bool   `json:"listed"`  // left are all
	Error   string `json:"error,omitempty"`
}

// Pace is how much the array is asked for beside live mail, and why. Rates
// are a second; reads are of at most 128 KiB.
type Pace struct {
	Profile        string   `json:"profile"`    // gentle, normal or evacuate, as it is set
	InForce        string   `json:"in_force"`   // the one that holds, another while the array is failing
	Paused         bool     `json:"paused"`     // no content but of live mail is read
	Allowed        *float64 `json:"allowed"`    // reads; null: as many as can be
	InFlight       int      `json:"in_flight"`  // at one time
	UsedReads      float64  `json:"used_reads"` // lately
	UsedBytes      float64  `json:"used_bytes"` // lately
	Capacity       float64  `json:"capacity"`   // operations of the devices that the array can do; 0: not known
	Others         float64  `json:"others"`     // operations that others ask for
	Latency        float64  `json:"latency"`    // of a read lately, seconds
	Normal         float64  `json:"normal"`     // of a read while the array is idle, seconds
	Reason         string   `json:"reason"`     // in words
	Health         string   `json:"health"`     // healthy, unknown, degraded or failing
	HealthWords    string   `json:"health_words,omitempty"`
	BytesPerSecond uint64   `json:"bytes_per_second"` // the caps; 0: none
	ReadsPerSecond uint64   `json:"reads_per_second"`
	Hours          string   `json:"hours"`
	OnDegraded     string   `json:"on_degraded"`
	OnFailing      string   `json:"on_failing"`
	BulkBytes      uint64   `json:"bulk_bytes"` // read with leave since the start
	LiveBytes      uint64   `json:"live_bytes"` // read of live mail since the start
	Devices        []string `json:"devices,omitempty"`
	ByHand         []string `json:"by_hand,omitempty"` // what was changed by hand: profile, bytes, reads, hours, paused
	Note           string   `json:"note,omitempty"`    // what the governor cannot see, and why
}

// Loss is what would be lost if the mirror were promoted now.
type Loss struct {
	Known   bool    `json:"known"`   // false: at least this, maybe more
	Entries uint64  `json:"entries"` // changes
	Bytes   uint64  `json:"bytes"`
	Files   uint64  `json:"files"`   // that never reached the mirror, and stood in no change
	Assumed uint64  `json:"assumed"` // messages that are taken to be equal by name and size, not proven
	Seconds float64 `json:"seconds"`
	// Unreadable counts what the primary cannot read: it may never have come, so
	// that not all is known.
	Unreadable int `json:"unreadable"`
	// Why says why not all is known; empty where it is.
	Why   string `json:"why,omitempty"`
	Words string `json:"words"`
}

// Problem is an error that a person may want to know of.
type Problem struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}
