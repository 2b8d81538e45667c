package modseq

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal/beneath"
)

func TestTheHeaderOfAUidlistIsRaised(t *testing.T) {
	for _, c := range []struct {
		header string
		last   uint64
		want   string // "": it stays as it is
	}{
		{"3 V1783058646 N1029 G9d48fcaf\n", 1028, "3 V1783058646 N1129 G9d48fcaf\n"},
		{"3 V1783058646 N5 G9d48fcaf\n", 1028, "3 V1783058646 N1129 G9d48fcaf\n"},
		{"3 V1 N1\n", 0, "3 V1 N101\n"},
		{"3 V1 N4294967295\n", 0, ""},
		{"3 V1 N2147483600\n", 0, ""},
		{"3 V1 Nx\n", 0, ""},
		{"3 V1\n", 0, ""},
		{"1 1783058646 5\n", 4, ""},
		{"\n", 0, ""},
	} {
		got, ok := raisedHeader([]byte(c.header), c.last, 100)
		if string(got) != c.want || ok != (c.want != "") {
			t.Errorf("%q, last %d: %q, %v, want %q", c.header, c.last, got, ok, c.want)
		}
	}
}

// widened makes a mailbox with a uidlist, widens it and returns what it is then.
func widened(t *testing.T, uids string, now time.Time, also map[string]string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	write(uidlist, uids)
	for name, text := range also {
		write(name, text)
	}
	root, err := beneath.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	err = widen(root, ".", 100, now)
	got, rerr := os.ReadFile(filepath.Join(dir, uidlist))
	if rerr != nil {
		t.Fatal(rerr)
	}
	if info, serr := os.Stat(filepath.Join(dir, uidlist)); serr != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("its mode is %v, %v", info.Mode(), serr)
	}
	for _, name := range []string{uidlistLock, uidlistTemp} {
		if _, serr := os.Stat(filepath.Join(dir, name)); err == nil && !errors.Is(serr, os.ErrNotExist) {
			t.Errorf("%s is left: %v", name, serr)
		}
	}
	return string(got), err
}

func TestAGapIsLeftInAUidlist(t *testing.T) {
	long := &strings.Builder{}
	for i := 1; i <= 20_000; i++ {
		fmt.Fprintf(long, "%d W10 :%d.host\n", i, i)
	}
	now := time.Now()
	for header, c := range map[string][2]string{
		"3 V1 N4 Gx\n":  {"3 V1 N104 Gx\n", "1 :a\n3 :b\n"},
		"3 V1 N2 Gx\n":  {"3 V1 N104 Gx\n", "1 :a\n3 :b\n9 :to"}, // what is torn is no record
		"3 V2 N1 Gx\n":  {"3 V2 N101 Gx\n", ""},
		"3 V3 N17 Gx\n": {"3 V3 N20101 Gx\n", long.String()},
		"2 what\n":      {"2 what\n", "ever\n"},
	} {
		got, err := widened(t, header+c[1], now, nil)
		if err != nil || got != c[0]+c[1] {
			t.Errorf("%q became %.40q, %v", header, got, err)
		}
	}
	got, err := widened(t, "3 V1 N4\n", now, map[string]string{uidlistTemp: "left by a crash"})
	if err != nil || got != "3 V1 N104\n" {
		t.Errorf("beside what a crash has left: %q, %v", got, err)
	}
	if got, err := widened(t, "", now, nil); err != nil || got != "" {
		t.Errorf("an empty one: %q, %v", got, err)
	}
}

func TestALockIsHeededUntilItIsStale(t *testing.T) {
	const uids = "3 V1 N4 Gx\n1 :a\n"
	if got, err := widened(t, uids, time.Now(), map[string]string{uidlistLock: ""}); !errors.Is(err, errLocked) || got != uids {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := widened(t, uids, time.Now().Add(time.Hour), map[string]string{uidlistLock: ""}); err != nil || !strings.HasPrefix(got, "3 V1 N104 ") {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte("3 V1783058646 N1029 G9d48fcaf\n"), uint64(3))
	f.Fuzz(func(t *testing.T, header []byte, last uint64) {
		last %= 1 << 32
		got, ok := raisedHeader(header, last, 7)
		if !ok {
			return
		}
		again, ok := raisedHeader(got, last, 0)
		if !ok || string(again) != string(got) {
			t.Fatalf("%q became %q and then %q", header, got, again)
		}
	})
}
