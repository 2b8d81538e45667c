package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// setting is one key of the file. The table of them is what the written file,
// its comments and the hint after an unknown key are made of.
type setting struct {
	table, key string
	comment    string
	value      func(*Config) string
	number     bool   // a whole number, not a string
	optional   bool   // commented out in a written file while it is empty
	example    string // a value where there is no default
}

// name is the key with its table, as errors call it.
func (s setting) name() string {
	if s.table == "" {
		return s.key
	}
	return s.table + "." + s.key
}

// sample is a value that the setting may have, for hints.
func (s setting) sample() string {
	c := Default()
	if v := s.value(&c); v != "" {
		return v
	}
	return s.example
}

func settings() []setting {
	return slices.Concat(settingsOfNode(), settingsOfRoles(), settingsOfSync(), settingsOfPace(), settingsOfLog())
}

// settingsOfNode say what the node is and where it keeps what.
func settingsOfNode() []setting {
	return []setting{
		{key: "state_dir", value: func(c *Config) string { return c.StateDir }, comment: `
			Where the node keeps its journal, its catalog and its keys. If you can,
			put it on another disk than the mail. Default: /var/lib/mailtwin`},
		{table: "store", key: "path", value: func(c *Config) string { return c.Store.Path }, example: "/var/vmail", comment: `
			The directory of the mailstore. There is no default.`},
		{table: "store", key: "layout", value: func(c *Config) string { return string(c.Store.Layout) }, comment: `
			How mail lies in it: auto (found out by looking) or maildir.
			Default: auto`},
		{table: "store", key: "index_interval", value: func(c *Config) string { return c.Store.IndexInterval.String() }, comment: `
			How often the index of a mailbox that is changed all the time is
			replicated (dovecot.index and its logs). That of a mailbox which has
			become quiet is replicated after a twelfth of it, or 5s. Default: 1m`},
		{table: "store", key: "retry_interval", value: func(c *Config) string { return c.Store.RetryInterval.String() }, comment: `
			How soon mail that the array cannot read is tried again. What fails
			again is tried less and less often, at last after thirty times as long;
			a mirror asks its primary for what it lacks after twice as long, and at
			last after thirty times as long too. Default: 30s`},
		{table: "node", key: "name", value: func(c *Config) string { return c.Node.Name }, example: "mx1", comment: `
			The name of this node. It is in its certificate: to change it, join
			again. There is no default.`},
		{table: "node", key: "listen", value: func(c *Config) string { return c.Node.Listen }, comment: `
			Where this node listens for the other one. Default: 0.0.0.0:7420`},
		{table: "node", key: "peer", value: func(c *Config) string { return c.Node.Peer }, optional: true,
			example: "mx2.example.net:7420", comment: `
			Where the other node listens; a mirror needs it. Default: none`},
		{table: "journal", key: "max_size", value: func(c *Config) string { return c.Journal.MaxSize.String() }, comment: `
			The most that the journal takes on disk. Beyond it the oldest entries
			go, and a mirror that needs them compares itself anew. Default: 4GiB`},
		{table: "journal", key: "max_age", value: func(c *Config) string { return c.Journal.MaxAge.String() }, comment: `
			How long it keeps entries for a mirror that is away. Default: 7d`},
		{table: "journal", key: "segment_size", value: func(c *Config) string { return c.Journal.SegmentSize.String() }, comment: `
			The size of one of its files, and so of the steps in which it is
			shortened. Default: 16MiB`},
	}
}

// settingsOfRoles say what happens when the node gets another role.
func settingsOfRoles() []setting {
	return []setting{
		{table: "hooks", key: "fence", value: func(c *Config) string { return c.Hooks.Fence }, optional: true,
			example: "/etc/mailtwin/fence", comment: `
			A program that makes sure that the old primary takes no more mail. Where
			a switchover is planned it runs on the old primary, otherwise on the
			mirror that takes over. Hooks are run twice, as "HOOK before" and
			"HOOK after", and may be run again. Default: none`},
		{table: "hooks", key: "promote", value: func(c *Config) string { return c.Hooks.Promote }, optional: true,
			example: "/etc/mailtwin/promote", comment: `
			A program that brings clients to this node when it becomes the primary.
			Default: none`},
		{table: "hooks", key: "demote", value: func(c *Config) string { return c.Hooks.Demote }, optional: true,
			example: "/etc/mailtwin/demote", comment: `
			A program that keeps clients away from this node when it is no longer
			the primary. Default: none`},
		{table: "hooks", key: "timeout", value: func(c *Config) string { return c.Hooks.Timeout.String() }, comment: `
			How long one run of a hook may take before it is killed. Default: 1m`},
		{table: "imap", key: "doveadm", value: func(c *Config) string { return c.IMAP.Doveadm }, optional: true,
			example: "doveadm", comment: `
			How to run the doveadm of the Dovecot that serves this store: a program
			and its arguments, separated by spaces. After a promotion it raises the
			HIGHESTMODSEQ of every mailbox, without which IMAP clients that resume
			with QRESYNC miss changes. Default: none`},
		{table: "imap", key: "users", value: func(c *Config) string { return c.IMAP.Users }, optional: true,
			example: "%d/%n/Maildir", comment: `
			Whose mail lies where in the store, with %u, %n and %d as in Dovecot's
			mail_location and * for any name. It is needed where "doveadm user"
			cannot list the users. Default: none`},
	}
}

func settingsOfSync() []setting {
	return []setting{
		{table: "sync", key: "first", value: func(c *Config) string { return c.Sync.First }, optional: true,
			example: "example.com/anna, example.org", comment: `
			Directories of the store, separated by commas, that a new mirror gets
			before all others, in this order: those of domains, of users or of
			mailboxes. Then come the mailboxes that were active last. Default: none`},
		{table: "sync", key: "order", value: func(c *Config) string { return string(c.Sync.Order) }, comment: `
			In which order a new mirror gets messages: auto (those of the last week
			of all mailboxes, then one mailbox after the other), inode (one mailbox
			after the other) or newest (as auto, and in each mailbox the newest
			message first). Without newest a mailbox is read as it lies on the disk,
			which is much faster on disks with heads. Default: auto`},
	}
}

func settingsOfPace() []setting {
	return []setting{
		{table: "pace", key: "profile", value: func(c *Config) string { return string(c.Pace.Profile) }, comment: `
			How considerate everything but live mail is: gentle (nobody notices),
			normal (faster) or evacuate (as fast as can be). Default: gentle`},
		{table: "pace", key: "bytes_per_second", value: func(c *Config) string { return sizeOrNone(c.Pace.BytesPerSecond) },
			optional: true, example: "40MiB", comment: `
			The most that is read of the store in a second beside live mail. The
			governor may ask for less, never for more. Default: none`},
		{table: "pace", key: "reads_per_second", value: func(c *Config) string { return numberOrNone(c.Pace.ReadsPerSecond) },
			number: true, optional: true, example: "200", comment: `
			The most reads in a second, of at most 128KiB each. Default: none`},
		{table: "pace", key: "reads_in_flight", value: func(c *Config) string { return numberOrNone(c.Pace.ReadsInFlight) },
			number: true, optional: true, example: "2", comment: `
			The most reads at one time, if less than the profile allows.
			Default: none`},
		{table: "pace", key: "hours", value: func(c *Config) string { return c.Pace.Hours.String() }, comment: `
			The hours of the day in which it may go faster than at the least rate,
			such as 22:00-06:00, by the clock of the machine. Default: always`},
		{table: "pace", key: "prove", value: func(c *Config) string { return c.Pace.Prove.String() }, comment: `
			When the messages that a mirror had before it joined, and that are
			taken to be equal by name and size, are read here to prove it, as
			slowly as all that can wait: always, never, or hours such as
			22:00-06:00. Default: always`},
		{table: "pace", key: "on_degraded", value: func(c *Config) string { return string(c.Pace.OnDegraded) }, comment: `
			While the array is degraded or being rebuilt: pause, floor (the least
			rate) or ignore. Live mail goes on in any case. Default: floor`},
		{table: "pace", key: "on_failing", value: func(c *Config) string { return string(c.Pace.OnFailing) }, comment: `
			While the array is failing: pause, or evacuate (fetch what is left as
			fast as can be), as mailtwin pace evacuate does when it is paused.
			Default: pause`},
		{table: "pace", key: "health_command", value: func(c *Config) string { return c.Pace.HealthCommand },
			optional: true, example: "/usr/local/sbin/array-health", comment: `
			A program that tells how the array is, for controllers that the kernel
			does not see through: exit code 0 well, 1 degraded, 2 failing; what it
			prints first is told to you. Default: none`},
		{table: "pace", key: "mail_cgroup", value: func(c *Config) string { return c.Pace.MailCgroup },
			optional: true, example: "/sys/fs/cgroup/system.slice/dovecot.service", comment: `
			The cgroup of the mail server: how long it waits for the disk is the
			best sign of strain. Default: none`},
	}
}

func settingsOfLog() []setting {
	return []setting{
		{table: "log", key: "level", value: func(c *Config) string { return string(c.Log.Level) }, comment: `
			The least important that is logged: debug, info, warn or error.
			Default: info`},
		{table: "log", key: "format", value: func(c *Config) string { return string(c.Log.Format) }, comment: `
			text for people, json for programs. Default: text`},
	}
}

// Format returns the file for c: every setting with a comment that says what
// it means and what its default is. Decoding it gives c back.
func Format(c Config) []byte {
	var b strings.Builder
	b.WriteString("# The settings of a mailtwin node. A key that is not known is an error; what\n" +
		"# is left out has its default. Sizes and durations are written with units.\n")
	table := ""
	for _, s := range settings() {
		if s.table != table {
			table = s.table
			fmt.Fprintf(&b, "\n[%s]\n", table)
		} else {
			b.WriteString("\n")
		}
		for line := range strings.Lines(strings.TrimSpace(s.comment)) {
			fmt.Fprintf(&b, "# %s\n", strings.TrimSpace(line))
		}
		value := s.value(&c)
		if s.optional && value == "" {
			fmt.Fprintf(&b, "# %s = %s\n", s.key, s.written(s.example))
			continue
		}
		fmt.Fprintf(&b, "%s = %s\n", s.key, s.written(value))
	}
	return []byte(b.String())
}

// written is a value as it stands in the file.
func (s setting) written(value string) string {
	if s.number {
		return value
	}
	return quote(value)
}

func sizeOrNone(s Size) string {
	if s == 0 {
		return ""
	}
	return s.String()
}

func numberOrNone(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// quote writes a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			b.WriteString(`\u` + fmt.Sprintf("%04X", r))
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// known lists the keys of a table for a hint; ok is false if there is no such
// table.
func known(table string) (keys string, ok bool) {
	var names []string
	for _, s := range settings() {
		if s.table == table {
			names = append(names, s.key)
		}
	}
	return strings.Join(names, ", "), len(names) > 0
}

// tables lists the tables for a hint.
func tables() string {
	var names []string
	for _, s := range settings() {
		if t := "[" + s.table + "]"; s.table != "" && (len(names) == 0 || names[len(names)-1] != t) {
			names = append(names, t)
		}
	}
	return strings.Join(names, ", ")
}

// at writes a place in the file for an error.
func at(path string, line int) string { return path + ":" + strconv.Itoa(line) }
