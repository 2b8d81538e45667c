package watch_test

import (
	"os"
	"testing"
)

// TestLive does one thing to the store after the other and expects exactly
// these entries of each.
func TestLive(t *testing.T) {
	f := started(t)
	steps := []struct {
		name string
		do   func()
		want []string
	}{
		{"delivery", func() { f.deliver("u1/new/1.host", "hello") }, []string{"put u1/new/1.host"}},
		{"new to cur", func() { f.rename("u1/new/1.host", "u1/cur/1.host:2,") }, []string{"move u1/new/1.host > u1/cur/1.host:2,"}},
		{"flag", func() { f.rename("u1/cur/1.host:2,", "u1/cur/1.host:2,S") }, []string{"move u1/cur/1.host:2, > u1/cur/1.host:2,S"}},
		{"copy", func() { f.must(os.Link(f.path("u1/cur/1.host:2,S"), f.path("u1/.A/cur/1.host:2,S"))) },
			[]string{"link u1/cur/1.host:2,S > u1/.A/cur/1.host:2,S"}},
		{"expunge", func() { f.remove("u1/cur/1.host:2,S") }, []string{"remove u1/cur/1.host:2,S"}},
		{"move to a folder", func() { f.rename("u1/.A/cur/1.host:2,S", "u2/cur/1.host:2,S") },
			[]string{"move u1/.A/cur/1.host:2,S > u2/cur/1.host:2,S"}},
		{"chmod", func() { f.must(os.Chmod(f.path("u2/cur/1.host:2,S"), 0o640)) }, []string{"attr u2/cur/1.host:2,S"}},
		{"lock", func() {
			f.write("u2/dovecot-uidlist.lock", "x")
			f.remove("u2/dovecot-uidlist.lock")
			f.write("u2/subscriptions", "A\n")
		},
			[]string{"put u2/subscriptions +0 \"A\\n\""}},
		{"append", func() { f.appendTo("u2/subscriptions", "B\n") }, []string{"put u2/subscriptions +2 \"B\\n\""}},
		{"replace", func() { f.write("u2/x.tmp", "C\n"); f.rename("u2/x.tmp", "u2/subscriptions") }, []string{"put u2/subscriptions +0 \"C\\n\""}},
		{"symlink", func() { f.must(os.Symlink("sieve/main.sieve", f.path("u2/.dovecot.sieve"))) }, []string{"symlink u2/.dovecot.sieve"}},
		{"remove symlink", func() { f.remove("u2/.dovecot.sieve") }, []string{"remove u2/.dovecot.sieve"}},
		{"make folder", func() { f.must(os.Mkdir(f.path("u2/.B"), 0o700)) }, []string{"mkdir u2/.B"}},
		{"make cur", func() { f.must(os.Mkdir(f.path("u2/.B/cur"), 0o700)) }, []string{"mkdir u2/.B/cur"}},
		{"move into it", func() { f.rename("u2/cur/1.host:2,S", "u2/.B/cur/1.host:2,S") }, []string{"move u2/cur/1.host:2,S > u2/.B/cur/1.host:2,S"}},
		{"rename folder", func() { f.rename("u2/.B", "u1/.C") }, []string{"mvdir u2/.B > u1/.C"}},
		{"watch follows", func() { f.rename("u1/.C/cur/1.host:2,S", "u1/.C/cur/1.host:2,ST") },
			[]string{"move u1/.C/cur/1.host:2,S > u1/.C/cur/1.host:2,ST"}},
		{"trash folder", func() { f.rename("u1/.C", "u1/..DOVECOT-TRASHED"); f.remove("u1/..DOVECOT-TRASHED") }, []string{"rmdir u1/.C"}},
	}
	for _, s := range steps {
		if !t.Run(s.name, func(t *testing.T) {
			f.t = t
			s.do()
			f.expect(s.want...)
		}) {
			break
		}
	}
	f.t = t
}
