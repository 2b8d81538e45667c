package dovecot

import (
	"os"
	"strings"
	"testing"
)

func TestTwoAtOnce(t *testing.T) {
	dir := StoreDir(t)
	first := New(t, Options{Store: dir + "/a"})
	second := New(t, Options{Store: dir + "/b", Layout: "fs"})
	if first.IMAP == second.IMAP || first.LMTP == second.LMTP {
		t.Fatalf("%+v and %+v share a port", first, second)
	}
	for _, s := range []*Server{first, second} {
		if _, err := s.Doveadm(t.Context(), "mailbox", "create", "-u", "ann@example.org", "Work"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(dir + "/a/example.org/ann/Maildir/.Work/cur"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir + "/b/example.org/ann/Maildir/Work/cur"); err != nil {
		t.Error(err)
	}
}

func TestStopRemovesAllButTheMail(t *testing.T) {
	Need(t)
	s, err := Start(t.Context(), Options{Store: StoreDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(s.run); !os.IsNotExist(err) {
		t.Errorf("%q is still there: %v", s.run, err)
	}
}

func TestBadSettingsAreTold(t *testing.T) {
	Need(t)
	_, err := Start(t.Context(), Options{Store: StoreDir(t), MailOptions: "nonsense = 1"})
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Fatalf("%v, want what dovecot says of the setting", err)
	}
}
