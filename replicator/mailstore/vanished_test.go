package mailstore

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestMissingUIDs(t *testing.T) {
	const list = "3 V1 N9 Gabc\n2 :a\n3 W1 :b\n6 :c\n"
	for _, c := range []struct {
		list  string
		first uint32
		most  int
		want  []UIDs
	}{
		{list, 1, 9, []UIDs{{1, 1}, {4, 5}, {7, 8}}},
		{list, 0, 9, []UIDs{{1, 1}, {4, 5}, {7, 8}}},
		{list, 5, 9, []UIDs{{5, 5}, {7, 8}}},
		{list, 6, 9, []UIDs{{7, 8}}},
		{list, 9, 9, nil},
		{list, 20, 9, nil},
		{list, 1, 2, []UIDs{{1, 1}, {4, 5}}},
		{list + "10 :d\n12 :torn", 7, 9, []UIDs{{7, 9}}}, // the header lags
		{"3 V1 N1\n", 1, 9, nil},
		{"3 V1 N4294967295\n", 1, 9, []UIDs{{1, 1<<32 - 2}}},
	} {
		got, err := MissingUIDs(strings.NewReader(c.list), c.first, c.most, nil)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q from %d: %v, %v; want %v", c.list, c.first, got, err, c.want)
		}
	}
	for _, list := range []string{"", "3 V1 N9", "3 V1\n", "1 5 9\n", "3 V1 N0\n", "3 V1 N9\nx :a\n", "3 V1 N9\n0 :a\n", "3 V1 N9\n1 :" + strings.Repeat("a", maxUIDLine)} {
		if got, err := MissingUIDs(strings.NewReader(list), 1, 9, nil); !errors.Is(err, ErrUIDList) {
			t.Errorf("%.20q: %v, %v", list, got, err)
		}
	}
}

func TestMissingUIDsOfLinesThatAreLeft(t *testing.T) {
	const list = "3 V1 N9 Gabc\n2 :a\n3 W1 :b\n6 :c,S=7\n7 :d\n"
	for _, c := range []struct {
		list, there string
		first       uint32
		want        []UIDs
	}{
		{list, "a b c,S=7 d", 1, []UIDs{{1, 1}, {4, 5}, {8, 8}}},
		{list, "a c,S=7 d", 1, []UIDs{{1, 1}, {3, 5}, {8, 8}}},
		{list, "b d", 3, []UIDs{{4, 6}, {8, 8}}},
		{list, "", 3, []UIDs{{3, 8}}},
		{list, "d", 7, []UIDs{{8, 8}}},
		{list, "", 9, nil},
		{list + "10 :e\n", "d", 7, []UIDs{{8, 10}}}, // the header lags
	} {
		there := func(base string) bool { return slices.Contains(strings.Fields(c.there), base) }
		got, err := MissingUIDs(strings.NewReader(c.list), c.first, 9, there)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q from %d, with %q: %v, %v; want %v", c.list, c.first, c.there, got, err, c.want)
		}
	}
}

func FuzzMissingUIDs(f *testing.F) {
	f.Add("3 V1 N9 Gabc\n2 :a\n3 W1 :b\n6 :c\n", uint32(1))
	f.Fuzz(func(t *testing.T, list string, first uint32) {
		last := uint32(0)
		missing, _ := MissingUIDs(strings.NewReader(list), first, 10, nil)
		for _, r := range missing {
			if r.First <= last || r.Last < r.First || r.First < first {
				t.Fatalf("%v is not in order, or below %d", missing, first)
			}
			last = r.Last
		}
	})
}

func TestTheExpungeOfMessages(t *testing.T) {
	log := logOf(7, 3, 2, 100, transaction(4|0x10000000, 1, 0, 0, 0, 1, 0, 0, 0))
	torn := append(slices.Clone(log), 0, 0, 0, 0, 1)
	at, record, ok := Expunged(torn, []UIDs{{4, 5}, {7, 100_006}})
	if !ok || at != int64(len(log)) {
		t.Fatalf("at %d of %d, %v", at, len(log), ok)
	}
	const want = "80808086" + "91cd0010" + "0400000005000000" + "07000000a6860100"
	if got := hex.EncodeToString(record); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if whole, ok := parseLog(append(slices.Clone(log), record...)); !ok || len(whole.whole) != len(log)+len(record) {
		t.Errorf("with it %d bytes are whole, %v", len(whole.whole), ok)
	}
	for _, size := range []int{8, 508, 512, 70_000, maxRecord} {
		if got := recordSize(putRecordSize(nil, size)); got != size {
			t.Errorf("%d is read as %d", size, got)
		}
	}
	if _, _, ok := Expunged(log, nil); ok {
		t.Error("nothing was expunged, and it is told")
	}
	if _, _, ok := Expunged(log[:20], []UIDs{{1, 1}}); ok {
		t.Error("a torn log is gone on with")
	}
}

func TestTheNextUIDOfAnIndex(t *testing.T) {
	index := indexOf(7, 1, 100, 2)
	if _, ok := NextUID(index); ok {
		t.Error("0 is no UID")
	}
	index[nextUIDAt] = 9
	if next, ok := NextUID(index); !ok || next != 9 {
		t.Errorf("%d, %v", next, ok)
	}
	if _, ok := NextUID(index[:100]); ok {
		t.Error("half a header was read")
	}
}
