package config

import (
	"time"

	"github.com/mailtwin/mailtwin/replicator/governor"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// DefaultPath is where the commands look for the settings.
const DefaultPath = "/etc/mailtwin/mailtwin.toml"

// DefaultStateDir is where a node keeps its state unless told otherwise.
const DefaultStateDir = "/var/lib/mailtwin"

// DefaultListen is where a node listens unless told otherwise.
const DefaultListen = "0.0.0.0:7420"

// Config is the settings of one node.
type Config struct {
	// StateDir is where journal, catalog and identity are kept: an absolute
	// path, not in the store and not around it.
	StateDir string `toml:"state_dir"`

	Store   Store   `toml:"store"`
	Node    Node    `toml:"node"`
	Journal Journal `toml:"journal"`
	Hooks   Hooks   `toml:"hooks"`
	IMAP    IMAP    `toml:"imap"`
	Sync    Sync    `toml:"sync"`
	Pace    Pace    `toml:"pace"`
	Log     Log     `toml:"log"`
}

// Store is what is replicated.
type Store struct {
	// Path is the mailstore's directory, absolute.
	Path string `toml:"path"`
	// Layout says how mail lies in it.
	Layout Layout `toml:"layout"`
	// IndexInterval is how often the index of a busy mailbox is replicated.
	IndexInterval Duration `toml:"index_interval"`
	// RetryInterval is the time between the first two attempts at what cannot be
	// read.
	RetryInterval Duration `toml:"retry_interval"`
}

// Layout is a way to keep mail in directories.
type Layout string

// The layouts.
const (
	LayoutAuto    Layout = "auto"    // found out by looking
	LayoutMaildir Layout = "maildir" // Maildir, Maildir++ and nested folders of it
)

// Node is who this node is and where the other one can be found.
type Node struct {
	// Name is that of the node's certificate; CheckName says what it may be.
	Name string `toml:"name"`
	// Listen is the address, host:port, where the other nodes may connect; a
	// node listens in every role.
	Listen string `toml:"listen"`
	// Peer is where the other node listens, host:port; empty on the node that
	// made the pair.
	Peer string `toml:"peer"`
}

// Journal bounds the journal.
type Journal struct {
	// MaxSize is the most that the journal takes on disk, whatever a mirror
	// still needs of it.
	MaxSize Size `toml:"max_size"`
	// MaxAge is the longest that it keeps entries for a mirror that is away.
	MaxAge Duration `toml:"max_age"`
	// SegmentSize is the size of one of its files.
	SegmentSize Size `toml:"segment_size"`
}

// Hooks are the operator's programs around a change of roles; the package
// replicator/hook says what they are for and how they are run.
type Hooks struct {
	// Fence, Promote and Demote are absolute paths of executables, or empty.
	Fence   string `toml:"fence"`
	Promote string `toml:"promote"`
	Demote  string `toml:"demote"`
	// Timeout is how long one run of one of them may take.
	Timeout Duration `toml:"timeout"`
}

// IMAP is what is done for IMAP clients after a promotion.
type IMAP struct {
	// Doveadm is how doveadm is run: a program and the arguments before those
	// of mailtwin, separated by spaces. Empty: there is no Dovecot.
	Doveadm string `toml:"doveadm"`
	// Users is a pattern over the paths of mailboxes that says whose they are;
	// empty: Dovecot is asked for its users.
	Users string `toml:"users"`
}

// Sync says in which order a mirror gets a store that it does not have. It is
// the primary's settings that count.
type Sync struct {
	// First are directories of the store that come before all others; see
	// mailstore.ParseFirst.
	First string `toml:"first"`
	// Order is that of messages.
	Order mailstore.Order `toml:"order"`
}

// Pace bounds what is asked of the array beside live mail. All of it but the
// command and the cgroup can be changed while the daemon runs.
type Pace struct {
	// Profile says how considerate the governor is.
	Profile governor.Profile `toml:"profile"`
	// BytesPerSecond is never exceeded; 0 is no cap.
	BytesPerSecond Size `toml:"bytes_per_second"`
	// ReadsPerSecond is never exceeded; 0 is no cap.
	ReadsPerSecond int `toml:"reads_per_second"`
	// ReadsInFlight is how many reads may be out at a time; 0: as many as the
	// profile allows.
	ReadsInFlight int `toml:"reads_in_flight"`
	// Hours are those of the day in which it may go faster than at the floor.
	Hours governor.Hours `toml:"hours"`
	// Prove is when the array may be read to prove what a mirror had before and
	// takes to be equal.
	Prove Proving `toml:"prove"`
	// OnDegraded is what becomes of it while the array is degraded or rebuilt.
	OnDegraded governor.Reaction `toml:"on_degraded"`
	// OnFailing is what becomes of it while the array is failing.
	OnFailing governor.Reaction `toml:"on_failing"`
	// HealthCommand is an executable that tells how the array is by its exit
	// code: 0 well, 1 degraded, 2 failing. Empty: there is none.
	HealthCommand string `toml:"health_command"`
	// MailCgroup is the directory of the mail server's cgroup; empty: not known.
	MailCgroup string `toml:"mail_cgroup"`
}

// Log is what the daemon says on stderr.
type Log struct {
	// Level is the least important that is logged.
	Level LogLevel `toml:"level"`
	// Format is text for people or json for programs.
	Format LogFormat `toml:"format"`
}

// LogLevel is the importance of a message.
type LogLevel string

// The levels, from the least important on.
const (
	LevelDebug LogLevel = "debug"
	LevelInfo  LogLevel = "info"
	LevelWarn  LogLevel = "warn"
	LevelError LogLevel = "error"
)

// LogFormat is a way to write messages.
type LogFormat string

// The formats.
const (
	FormatText LogFormat = "text"
	FormatJSON LogFormat = "json"
)

// Default returns the settings that hold where the file says nothing. There
// is no default for store.path and node.name: without them it is not valid.
func Default() Config {
	return Config{
		StateDir: DefaultStateDir,
		Store:    Store{Layout: LayoutAuto, IndexInterval: Duration(time.Minute), RetryInterval: Duration(30 * time.Second)},
		Node:     Node{Listen: DefaultListen},
		Journal: Journal{
			MaxSize:     4 << 30,
			MaxAge:      Duration(7 * 24 * time.Hour),
			SegmentSize: 16 << 20,
		},
		Hooks: Hooks{Timeout: Duration(time.Minute)},
		Sync:  Sync{Order: mailstore.OrderAuto},
		Pace:  Pace{Profile: governor.Gentle, OnDegraded: governor.AtFloor, OnFailing: governor.Pause},
		Log:   Log{Level: LevelInfo, Format: FormatText},
	}
}
