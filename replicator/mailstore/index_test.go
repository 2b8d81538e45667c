package mailstore

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
)

// logOf makes a transaction log as Dovecot does.
func logOf(id, sequence, before, beforeEnd uint32, records ...[]byte) []byte {
	b := make([]byte, 40)
	b[0], b[1], b[32] = 1, 3, littleEndian
	binary.LittleEndian.PutUint16(b[2:], 40)
	for i, v := range []uint32{id, sequence, before, beforeEnd} {
		binary.LittleEndian.PutUint32(b[4+4*i:], v)
	}
	return append(b, bytes.Join(records, nil)...)
}

// transaction makes one record of a log.
func transaction(kind uint32, data ...byte) []byte {
	n := uint32(recordHeader+len(data)) >> 2
	b := binary.BigEndian.AppendUint32(nil, 0x80808080|n&0x7f|n&0x3f80<<1|n&0x1fc000<<2)
	return append(binary.LittleEndian.AppendUint32(b, kind), data...)
}

// indexOf makes an index of some messages.
func indexOf(id, sequence, end uint32, messages int) []byte {
	b := make([]byte, indexHeaderMin+8*messages)
	b[0], b[1], b[12] = 7, 3, littleEndian
	for at, v := range map[int]uint32{4: indexHeaderMin, 8: 8, 16: id, 32: uint32(messages), 60: sequence, 68: end} {
		binary.LittleEndian.PutUint32(b[at:], v)
	}
	return b
}

func TestLogIsCutBehindItsLastTransaction(t *testing.T) {
	flag := transaction(4|0x10000000, 1, 0, 0, 0, 1, 0, 0, 0)
	large := transaction(0x200, make([]byte, 70_000)...)
	both := transaction(typeBoundary, 28, 0, 0, 0) // it and the 16 bytes of flag
	good := logOf(7, 3, 2, 100, flag, large, both, flag)
	for _, c := range []struct {
		what string
		data []byte
		cut  int // bytes that are left away
	}{
		{"whole", good, 0},
		{"no record", logOf(7, 3, 2, 100), 0},
		{"half a header", append(bytes.Clone(good), flag[:5]...), 5},
		{"half a record", append(bytes.Clone(good), flag[:12]...), 12},
		{"a size that is not written yet", append(bytes.Clone(good), 0, 0, 0, 0, 1, 0, 0, 0), 8},
		{"the beginning of a transaction", append(bytes.Clone(good), both...), len(both)},
		{"half of a transaction of several records", append(append(bytes.Clone(good), both...), flag[:8]...), len(both) + 8},
	} {
		log, ok := parseLog(c.data)
		if !ok || len(log.whole) != len(c.data)-c.cut {
			t.Errorf("%s: %d of %d bytes, %v; want %d less", c.what, len(log.whole), len(c.data), ok, c.cut)
		}
		if log.id != 7 || log.sequence != 3 || log.before != 2 || log.beforeEnd != 100 {
			t.Errorf("%s: %+v", c.what, log)
		}
	}
}

func TestLogThatIsNone(t *testing.T) {
	good := logOf(7, 3, 2, 100)
	change := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	for what, data := range map[string][]byte{
		"empty": {}, "torn header": good[:20], "another version": change(0, 2),
		"marked as corrupted": change(4, 0), "a header larger than the file": change(2, 200), "a header of long ago": change(2, 24),
		"of a deleted mailbox": logOf(7, 3, 0, 0, transaction(typeDeleted, 0, 0, 0, 0)),
	} {
		if log, ok := parseLog(data); ok {
			t.Errorf("%s: %+v", what, log)
		}
	}
	if _, ok := parseLog(logOf(7, 3, 0, 0, transaction(typeDeleted, 0, 0, 0, 0), transaction(typeAlive, 0, 0, 0, 0))); !ok {
		t.Error("a mailbox that was not deleted after all")
	}
}

func TestIndexBelongsToItsLogs(t *testing.T) {
	flag := transaction(4, 1, 0, 0, 0, 1, 0, 0, 0)
	old := logOf(7, 2, 1, 60, flag, flag) // 72 bytes
	log := logOf(7, 3, 2, 72, flag)       // 56 bytes
	first := logOf(7, 1, 0, 0, flag)
	for _, c := range []struct {
		what            string
		index, old, log []byte
		ok              bool
	}{
		{"all three", indexOf(7, 3, 56, 5), old, log, true},
		{"the index is of before the rotation", indexOf(7, 2, 56, 5), old, log, true},
		{"without the old log", indexOf(7, 3, 40, 5), nil, log, true},
		{"at the end of an old log that is gone", indexOf(7, 2, 72, 5), nil, log, true},
		{"a new mailbox", nil, nil, first, true},
		{"an index in the midst of an old log that is gone", indexOf(7, 2, 56, 5), nil, log, false},
		{"no log", indexOf(7, 3, 56, 5), old, nil, false},
		{"only the old log", nil, old, nil, false},
		{"no index for a log that is not the first", nil, old, log, false},
		{"an index that is newer than the log", indexOf(7, 3, 60, 5), old, log, false},
		{"an index of a later log", indexOf(7, 4, 40, 5), old, log, false},
		{"an index of an older log", indexOf(7, 1, 40, 5), old, log, false},
		{"an index of another mailbox", indexOf(8, 3, 56, 5), old, log, false},
		{"an old log of another mailbox", indexOf(7, 3, 56, 5), logOf(8, 2, 1, 60, flag, flag), log, false},
		{"an old log that is cut", indexOf(7, 3, 56, 5), old[:60], log, false},
		{"both logs are the same", indexOf(7, 3, 56, 5), log, log, false},
		{"records are lacking", indexOf(7, 3, 56, 5)[:150], old, log, false},
		{"a torn index", indexOf(7, 3, 56, 5)[:100], old, log, false},
		{"nothing", nil, nil, nil, false},
	} {
		whole, ok := Maildir{}.Whole([][]byte{c.index, c.log, c.old})
		if ok != c.ok {
			t.Errorf("%s: %v", c.what, ok)
		}
		if ok && (!bytes.Equal(whole[0], c.index) || !bytes.Equal(whole[1], c.log) || !bytes.Equal(whole[2], c.old)) {
			t.Errorf("%s: it was cut", c.what)
		}
	}
	if _, ok := (Maildir{}).Whole([][]byte{indexOf(7, 3, 56, 5), log}); ok {
		t.Error("two members")
	}
}

func TestMembers(t *testing.T) {
	m := Maildir{}
	for i, want := range []journal.Path{"u/.A/dovecot.index", "u/.A/dovecot.index.log", "u/.A/dovecot.index.log.2"} {
		if got := m.Members("u/.A")[i]; got != want {
			t.Errorf("member %d is %q; want %q", i, got, want)
		}
	}
	if got := m.Locks("u"); len(got) != 1 || got[0] != "u/dovecot-uidlist.lock" {
		t.Errorf("locks %q", got)
	}
}

func TestBefore(t *testing.T) {
	m := Maildir{}
	got := m.Before("u/dovecot.list.index")
	if want := []journal.Path{"u/dovecot.list.index.log.2", "u/dovecot.list.index.log"}; !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
	for _, p := range []journal.Path{"u/dovecot.list.index.log", "u/subscriptions", "u/dovecot-uidlist"} {
		if got := m.Before(p); got != nil {
			t.Errorf("%q refers into %q", p, got)
		}
	}
}

func FuzzIndex(f *testing.F) {
	flag := transaction(4, 1, 0, 0, 0, 1, 0, 0, 0)
	f.Add(indexOf(7, 3, 56, 5), logOf(7, 3, 2, 72, flag), logOf(7, 2, 1, 60, flag, flag))
	f.Add(indexOf(7, 3, 40, 1), logOf(7, 3, 2, 72, transaction(typeBoundary, 28, 0, 0, 0), flag, flag[:7]), []byte{})
	f.Add([]byte{}, logOf(7, 1, 0, 0), []byte{})
	f.Fuzz(func(t *testing.T, index, log, old []byte) {
		members := [][]byte{index, log, old}
		for i := range members {
			if len(members[i]) == 0 {
				members[i] = nil
			}
		}
		whole, ok := Maildir{}.Whole(members)
		if !ok {
			return
		}
		for i, part := range whole {
			if !bytes.HasPrefix(members[i], part) {
				t.Fatalf("member %d: %d bytes are no prefix of %d", i, len(part), len(members[i]))
			}
		}
		again, ok := Maildir{}.Whole(whole)
		if !ok {
			t.Fatal("what was cut does not belong together")
		}
		for i := range again {
			if !bytes.Equal(again[i], whole[i]) {
				t.Fatalf("member %d is cut twice", i)
			}
		}
	})
}

func TestAnEmptyLogIsOne(t *testing.T) {
	now := time.Unix(0x01020304, 0)
	data := EmptyIndexLog(now, 0x1122334455667788)
	log, ok := parseLog(data)
	if !ok || log.id != 0x01020304 || log.sequence != 1 || log.before != 0 || len(log.whole) != len(data) {
		t.Errorf("%+v, %v", log, ok)
	}
	if _, ok := (Maildir{}).Whole([][]byte{nil, data, nil}); !ok {
		t.Error("it is no index")
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return // the bytes below are those of another machine
	}
	want := "01032800" + "04030201" + "01000000" + "00000000" + "00000000" + "04030201" + "8877665544332211" + "0100000000000000"
	if got := hex.EncodeToString(data); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
