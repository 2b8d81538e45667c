package salvage

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// sampleDeliveries are of names that mail users might choose.
func sampleDeliveries() []delivery {
	return []delivery{
		{number: 1, mailbox: "u/.Work", base: "1.M1P2.h,S=3", target: "u/.Work/cur/1.M1P2.h,S=3:2,S"},
		{number: 300, mailbox: ".", base: "\n\xff", target: "new/\n\xff"},
		{number: 1, undone: true, mailbox: "u", base: "b", target: "u/cur/b:2,"},
	}
}

func openAt(t *testing.T, path string) *ledger {
	t.Helper()
	l, err := openLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

func all(t *testing.T, l *ledger) (found []delivery) {
	t.Helper()
	if err := l.each(func(d delivery) error { found = append(found, d); return nil }); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestLedgerComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l")
	l := openAt(t, path)
	want := sampleDeliveries()
	for _, d := range want[:2] {
		if err := l.append([]delivery{d}); err != nil {
			t.Fatal(err)
		}
	}
	again := openAt(t, path)
	if got := all(t, again); !reflect.DeepEqual(got, want[:2]) || again.next != 301 {
		t.Errorf("%+v, next %d", got, again.next)
	}
	if err := again.append(want[2:]); err != nil {
		t.Fatal(err)
	}
	if got := all(t, again); !reflect.DeepEqual(got, want[1:2]) {
		t.Errorf("what was undone is there: %+v", got)
	}
}

// TestGoldenLedger pins the bytes of a ledger.
func TestGoldenLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l")
	l := openAt(t, path)
	if err := l.append([]delivery{{number: 300, mailbox: "u", base: "b", target: "u/cur/b:2,"}}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const want = "6d7473616c766167" + "00000001" + "35d37561" +
		"00000012" + "9c323833" + "00" + "ac02" + "0175" + "0162" + "0a" + "752f6375722f623a322c"
	if got := hex.EncodeToString(data); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestDamagedLedgers: a torn end is cut off, damage is not.
func TestDamagedLedgers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l")
	l := openAt(t, path)
	want := sampleDeliveries()[:2]
	for _, d := range want {
		if err := l.append([]delivery{d}); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := ledgerHead + blockHead + len(want[0].append(nil))
	for n := first; n < len(whole); n++ {
		rest := append(append([]byte{}, whole[:n]...), make([]byte, (len(whole)-n)*(n%2))...)
		torn := filepath.Join(t.TempDir(), "l")
		if err := os.WriteFile(torn, rest, 0o600); err != nil {
			t.Fatal(err)
		}
		l := openAt(t, torn)
		if got := all(t, l); !reflect.DeepEqual(got, want[:1]) || l.size != int64(first) {
			t.Errorf("cut at %d: %+v, %d bytes", n, got, l.size)
		}
	}
	for name, c := range map[string]struct {
		at   int
		want error
	}{
		"magic": {0, ErrCorrupt}, "newer": {11, ErrNewer}, "header's checksum": {12, ErrCorrupt},
		"checksum": {ledgerHead + 4, ErrCorrupt}, "payload": {ledgerHead + blockHead + 3, ErrCorrupt},
	} {
		bad := filepath.Join(t.TempDir(), "l")
		data := append([]byte{}, whole...)
		data[c.at] ^= 2
		if err := os.WriteFile(bad, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openLedger(bad); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if now, err := os.ReadFile(bad); err != nil || string(now) != string(data) {
			t.Errorf("%s: the file was changed (%v)", name, err)
		}
	}
}

func FuzzDeliveries(f *testing.F) {
	var b []byte
	for _, d := range sampleDeliveries() {
		b = d.append(b)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := parseDeliveries(b)
		if err != nil {
			return
		}
		var again []byte
		for i := range in {
			again = in[i].append(again)
		}
		if back, err := parseDeliveries(again); err != nil || !reflect.DeepEqual(back, in) {
			t.Errorf("%v\ngot  %+v\nwant %+v", err, back, in)
		}
	})
}
