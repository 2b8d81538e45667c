package mailstore

import (
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/watch"
)

const (
	file    = journal.TypeFile
	symlink = journal.TypeSymlink
	dir     = journal.TypeDirectory
)

func TestClassify(t *testing.T) {
	for _, group := range []struct {
		fact  string
		class watch.Class
		typ   journal.Type
		paths []string
	}{
		{"a file directly in cur or new is a message", watch.ClassMessage, file, []string{
			"cur/1795477000.M1P2.host", "new/1795477000.M1P2.host,S=3,W=4", "cur/x:2,S", "new/x:2,Sab",
			"a@b/Maildir/cur/x:2,", "d/u/.A.B/cur/x", "d/u/mailboxes/0123456789abcdef/cur/x", "u/Nested/Folder/new/x",
			"u/cur/x.lock", "u/cur/x.tmp", "u/new/x.svbin", "u/cur/x..", "u/cur/:2,S", "u/cur/new", "u/cur/new\nline:2,",
		}},
		{"a link in cur is listed like a message", watch.ClassMessage, symlink, []string{"u/cur/x:2,S"}},
		{"dot files in cur and new are passed over", watch.ClassIgnored, file, []string{"cur/.x", "u/new/..x", "u/cur/.nfs0001", "u/cur/.temp.h.1.0123456789abcdef"}},
		{"tmp is never mail", watch.ClassIgnored, file, []string{"tmp/x", "u/.A/tmp/1795477000.M1P2.host", "u/tmp/temp.host.12.0123456789abcdef", "u/sieve/tmp/a.sieve"}},
		{"nor are links in it", watch.ClassIgnored, symlink, []string{"tmp/x"}},
		{"the directories are replicated", watch.ClassControl, dir, []string{
			".", "cur", "new", "tmp", "u/.A/tmp", "u", "u/.A.B", "u/Folder", "u/.x.lock", "u/.y.tmp", "u/z.svbin", "u/.nfs",
			"u/.temp.h.1.0123456789abcdef", "u/dovecot.index", "u/sieve", "u/sieve/tmp", "sub/..mailtwin", "sub/lost+found", "u/fts",
		}},
		{"also of users who are called tmp, new or cur", watch.ClassControl, dir, []string{"d/tmp/Maildir", "d/tmp/cur", "d/new/.Sent", "d/cur/new"}},
		{"and their control files", watch.ClassControl, file, []string{"d/tmp/subscriptions", "d/new/dovecot-acl", "d/cur/dovecot-uidvalidity.5f3c0a11", "d/new/maildirfolder", "d/cur/dovecot.mailbox.log"}},
		{"and their script", watch.ClassControl, symlink, []string{"d/new/.dovecot.sieve", "d/tmp/.dovecot.sieve"}},
		{"and their rebuildable ones are not", watch.ClassIgnored, file, []string{"d/new/dovecot.index.cache", "d/cur/dovecot-uidlist.lock", "d/new/.dovecot.svbin", "d/cur/maildirsize", "d/cur/dovecot-uidlist.tmp"}},
		{"the uidlist", watch.ClassUIDList, file, []string{"dovecot-uidlist", "u/.A/dovecot-uidlist", "d/new/dovecot-uidlist", "d/tmp/dovecot-uidlist"}},
		{"the keywords", watch.ClassKeywords, file, []string{"dovecot-keywords", "u/.A/dovecot-keywords", "d/cur/dovecot-keywords"}},
		{"control files", watch.ClassControl, file, []string{
			"u/subscriptions", "u/dovecot-uidvalidity", "u/dovecot-uidvalidity.5f3c0a11", "u/dovecot-acl", "u/dovecot-attributes", "u/.A/maildirfolder",
			"u/dovecot.mailbox.log", "u/dovecot.list.index", "u/dovecot.list.index.log", "u/dovecot.list.index.log.2", "u/sieve/main.sieve", "u/sieve/a.b.c.sieve",
			"u/.dovecot.sieve.log", "u/.A/courierimapuiddb", "u/.A/courierimapkeywords/:list", "u/courierimapsubscribed", "u/.mailfilter", "u/cur2/x", "u/curious",
		}},
		{"the link to the active script", watch.ClassControl, symlink, []string{"u/.dovecot.sieve", "u/a-new.sieve"}},
		{"locks and files that are being replaced", watch.ClassIgnored, file, []string{
			"u/dovecot-uidlist.lock", "u/dovecot-uidlist.tmp", "u/subscriptions.lock", "u/dovecot.index.log.newlock", "u/mailboxes.lock", "u/dovecot.list.index.tmp",
			"u/dovecot.list.index.log.newlock", "u/dovecot.autoexpunge.lock", "u/duplicate.lock.0011", "u/mailboxes.lock3e0f0c1863f419f7", "u/dovecot.autoexpunge.lock3e0f0c1863f419f7", "u/dovecot-attributes.lock",
		}},
		{"temporary files", watch.ClassIgnored, file, []string{
			"u/temp.mx1.example.net.12.0123456789abcdef", "u/.temp.mx1.12.0123456789abcdef", "u/sieve/main.svbin.mx1.12.0123456789abcdef",
			"u/.dovecot.sieve.mx1.12.0123456789abcdef", "u/.temp.dovecotmx1.7.00", "u/.nfs000000000001f4a300000001", "u/.fuse_hidden0000000100000001",
		}},
		{"a script's link before its rename", watch.ClassIgnored, symlink, []string{"u/.dovecot.sieve-new.1795477000.P12M345.mx1.example.net"}},
		{"names that only look temporary", watch.ClassControl, file, []string{
			"u/temp.txt", "u/a.12.0123456789abcde", "u/a.12.0123456789abcdeg", "u/a.x.0123456789abcdef", "u/0123456789abcdef", "u/.0123456789abcdef", "u/tmp.x", "u/lock",
			"u/x-new.sieve", "u/x-new.1.P2.h", "u/a.lock3e0f0c1863f419f", "u/a.locked",
		}},
		{"what can be made again", watch.ClassIgnored, file, []string{
			"u/dovecot.index.log.newlock", "u/dovecot.index.tmp", "u/.A/dovecot.index.cache", "u/dovecot.index.thread", "u/dovecot.index.pvt",
			"u/dovecot.index.search", "u/dovecot.index.search.uids", "u/maildirsize", "u/dovecot-acl-list", "u/.dovecot.svbin", "u/sieve/main.svbin", "u/.dovecot.lda-dupes", "u/.dovecot.lda-dupes.lock",
		}},
		{"the index", watch.ClassDerived, file, []string{
			"dovecot.index", "u/dovecot.index", "u/.A/dovecot.index.log", "u/dovecot.index.log.2", "d/new/dovecot.index.log", "d/tmp/dovecot.index",
		}},
		{"nobody links an index", watch.ClassIgnored, symlink, []string{"u/dovecot.index", "u/dovecot.index.log"}},
		{"indexes and deleted folders", watch.ClassIgnored, dir, []string{
			"u/..DOVECOT-TRASHED", "u/..DOVECOT-TrasH", "u/.A/fts-flatcurve", "u/xapian-indexes", "u/lucene-indexes",
		}},
		{"what belongs to the node", watch.ClassIgnored, dir, []string{"..mailtwin", "lost+found"}},
		{"also where it is no directory", watch.ClassIgnored, file, []string{"..mailtwin", "aquota.user", "aquota.group"}},
		{"pipes, sockets and devices", watch.ClassIgnored, 0, []string{"u/cur/x", "u/subscriptions", "u/dovecot-uidlist"}},
	} {
		for _, s := range group.paths {
			p, err := journal.ParsePath(s)
			if err != nil {
				t.Fatal(err)
			}
			if got := (Maildir{}).Classify(p, group.typ); got != group.class {
				t.Errorf("%s: %q is %v; want %v", group.fact, s, got, group.class)
			}
		}
	}
}

func TestOrder(t *testing.T) {
	if !(watch.ClassMessage < watch.ClassKeywords && watch.ClassKeywords < watch.ClassUIDList && watch.ClassUIDList < watch.ClassControl && watch.ClassControl < watch.ClassDerived) {
		t.Error("messages come first, then keywords, then the uidlist, then the rest, then the index")
	}
}

func TestBase(t *testing.T) {
	for name, want := range map[string]string{
		"1.M2P3.host":             "1.M2P3.host",
		"1.M2P3.host:2,":          "1.M2P3.host",
		"1.M2P3.host,S=3,W=4:2,S": "1.M2P3.host,S=3,W=4",
		"x:2,Sab:2,":              "x",
		"x:1,S":                   "x",
		"x:":                      "x",
		":2,S":                    ":2,S",
		"":                        "",
	} {
		if got := (Maildir{}).Base(name); got != want {
			t.Errorf("base of %q: %q; want %q", name, got, want)
		}
	}
}

func TestMessageDirs(t *testing.T) {
	for control, want := range map[journal.Path]string{
		"dovecot-uidlist":        "new cur",
		"d/u/.A/dovecot-uidlist": "d/u/.A/new d/u/.A/cur",
	} {
		dirs := Maildir{}.MessageDirs(control)
		if got := string(dirs[0]) + " " + string(dirs[1]); len(dirs) != 2 || got != want {
			t.Errorf("%q: %q; want %q", control, got, want)
		}
	}
}

func BenchmarkClassify(b *testing.B) {
	p := journal.Path("example.net/user/.Archive.2026/cur/1795477000.M123456P789.mx1,S=4711,W=4800:2,S")
	for b.Loop() {
		if (Maildir{}).Classify(p, file) != watch.ClassMessage {
			b.Fatal(p)
		}
	}
}
