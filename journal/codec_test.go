package journal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// sampleFacts are facts with everything that a type can have.
func sampleFacts(t Type) Facts {
	f := Facts{Type: t, Attr: Attributes{Mode: 0o640, UID: 5000, GID: 5001, MTime: 1772366400123456789}}
	switch t {
	case TypeFile:
		f.Size, f.Content = 4096, ContentID{0xaa, 31: 0xbb}
		f.Attr.Xattrs = []Xattr{{Name: "user.a", Value: []byte("1")}, {Name: "user.b"}}
	case TypeSymlink:
		f.Target = "sieve/main.sieve"
	}
	return f
}

func sampleStamp() Stamp {
	return Stamp{Device: 66, Inode: 123456, Birth: 1772366400000000001, Change: 1772366400000000002}
}

type goldenEntry struct {
	name  string
	entry Entry
}

// goldenEntries has entries of each kind; testdata/format.golden has how they
// are encoded for ever.
func goldenEntries() []goldenEntry {
	m := sampleFacts(TypeFile)
	return []goldenEntry{
		{"put", Entry{Kind: KindPut, Path: "u/new/1.a", Facts: m, Stamp: sampleStamp()}},
		{"put held", Entry{Kind: KindPut, Path: "u/dovecot-uidlist", Facts: m, Stamp: sampleStamp(), Held: &Held{Base: ContentID{1}, Keep: 300, Data: []byte("7 :1.a\n")}}},
		{"put empty", Entry{Kind: KindPut, Path: "u/subscriptions", Held: &Held{}}},
		{"move", Entry{Kind: KindMove, Path: "u/cur/1.a:2,S", From: "u/new/1.a", Facts: m, Stamp: sampleStamp()}},
		{"remove", Entry{Kind: KindRemove, Path: "u/cur/1.a:2,S"}},
		{"link", Entry{Kind: KindLink, Path: "u/.B/cur/1.a", From: "u/cur/1.a", Facts: m, Stamp: sampleStamp()}},
		{"symlink", Entry{Kind: KindSymlink, Path: "u/.dovecot.sieve", Facts: sampleFacts(TypeSymlink), Stamp: sampleStamp()}},
		{"mkdir", Entry{Kind: KindMakeDir, Path: "u/.A", Facts: sampleFacts(TypeDirectory), Stamp: sampleStamp()}},
		{"rmdir", Entry{Kind: KindRemoveDir, Path: "u/.A"}},
		{"movedir", Entry{Kind: KindMoveDir, Path: "u/.A\n\xff", From: "u/.B", Facts: sampleFacts(TypeDirectory)}},
		{"attributes", Entry{Kind: KindSetAttributes, Path: Root, Facts: sampleFacts(TypeDirectory)}},
	}
}

func encode(t testing.TB, e Entry) []byte {
	t.Helper()
	if err := e.Check(); err != nil {
		t.Fatal(err)
	}
	return e.appendTo(nil)
}

func TestEntryGolden(t *testing.T) {
	kinds := map[Kind]bool{}
	for _, c := range goldenEntries() {
		kinds[c.entry.Kind] = true
		b := encode(t, c.entry)
		checkGolden(t, "entry "+c.name, b)
		e, err := decodeEntry(b)
		if err != nil || !reflect.DeepEqual(e, c.entry) {
			t.Errorf("%s: decoded as %+v, %v", c.name, e, err)
		}
	}
	if len(kinds) != int(KindSetAttributes) {
		t.Errorf("%d kinds have golden bytes", len(kinds))
	}
}

func TestEntryDecodeRefusesEverythingElse(t *testing.T) {
	for _, c := range goldenEntries() {
		b := encode(t, c.entry)
		for n := range b {
			if _, err := decodeEntry(b[:n]); !errors.Is(err, errEncoding) {
				t.Errorf("%s cut to %d of %d bytes: %v", c.name, n, len(b), err)
			}
		}
		if _, err := decodeEntry(append(bytes.Clone(b), 0)); !errors.Is(err, errEncoding) {
			t.Errorf("%s with a byte behind it: %v", c.name, err)
		}
		for i := range b {
			for bit := range 8 {
				other := bytes.Clone(b)
				other[i] ^= 1 << bit
				if e, err := decodeEntry(other); err == nil && !bytes.Equal(encode(t, e), other) {
					t.Fatalf("%s with bit %d of byte %d turned has a second encoding", c.name, bit, i)
				}
			}
		}
	}
	for name, h := range map[string]string{
		"long varint":       "05008100",
		"zero facts":        "05020161" + "00" + "000000" + "0000000000000000" + "00",
		"base without held": "0108" + "0161" + strings.Repeat("11", 32),
		"zero base":         "010c" + "0161" + strings.Repeat("00", 32) + "0000",
		"zero stamp":        "05100161" + "0000" + strings.Repeat("00", 16),
		"half shared":       "0201" + "03612f62" + "00" + "03612f63",
		"huge length":       "0500ffffffffffffffff7f",
	} {
		b, err := hex.DecodeString(h)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := decodeEntry(b); !errors.Is(err, errEncoding) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

func TestEntryCheck(t *testing.T) {
	put := func(f func(e *Entry)) Entry {
		e := Entry{Kind: KindPut, Path: "a/b", Facts: sampleFacts(TypeFile)}
		f(&e)
		return e
	}
	xattrs := func(x ...Xattr) Entry { return put(func(e *Entry) { e.Facts.Attr.Xattrs = x }) }
	for name, e := range map[string]Entry{
		"no kind":        put(func(e *Entry) { e.Kind = 0 }),
		"unknown kind":   put(func(e *Entry) { e.Kind = KindSetAttributes + 1 }),
		"no path":        put(func(e *Entry) { e.Path = "" }),
		"root":           {Kind: KindRemoveDir, Path: Root},
		"absolute":       put(func(e *Entry) { e.Path = "/a" }),
		"dots":           put(func(e *Entry) { e.Path = "a/../b" }),
		"NUL":            put(func(e *Entry) { e.Path = "a/\x00" }),
		"long name":      put(func(e *Entry) { e.Path = Path(strings.Repeat("x", MaxName+1)) }),
		"long path":      put(func(e *Entry) { e.Path = Path(strings.Repeat("x/", MaxPath/2) + "y") }),
		"from":           put(func(e *Entry) { e.From = "c" }),
		"no from":        {Kind: KindMove, Path: "a"},
		"bad from":       {Kind: KindMoveDir, Path: "a", From: "../b"},
		"from itself":    {Kind: KindLink, Path: "a", From: "a"},
		"type":           put(func(e *Entry) { e.Facts.Type = TypeSymlink + 1 }),
		"size":           put(func(e *Entry) { e.Facts.Size = -1 }),
		"target":         put(func(e *Entry) { e.Facts.Target = strings.Repeat("x", MaxTarget+1) }),
		"held of a move": {Kind: KindMove, Path: "a", From: "b", Held: &Held{}},
		"held too large": put(func(e *Entry) { e.Held = &Held{Data: make([]byte, MaxHeld+1)} }),
		"held keep":      put(func(e *Entry) { e.Held = &Held{Keep: -1} }),
		"xattrs":         xattrs(make([]Xattr, MaxXattrs+1)...),
		"xattr unnamed":  xattrs(Xattr{}),
		"xattr order":    xattrs(Xattr{Name: "b"}, Xattr{Name: "a"}),
		"xattr twice":    xattrs(Xattr{Name: "a"}, Xattr{Name: "a"}),
		"xattr name":     xattrs(Xattr{Name: strings.Repeat("x", MaxName+1)}),
		"xattr size":     xattrs(Xattr{Name: "a", Value: make([]byte, MaxXattrSize)}),
	} {
		if err := e.Check(); !errors.Is(err, ErrEntry) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := decodeEntry(e.appendTo(nil)); name != "held of a move" && name != "type" && !errors.Is(err, errEncoding) {
			t.Errorf("%s decodes: %v", name, err)
		}
	}
}

func TestLargestEntryFits(t *testing.T) {
	long := strings.Repeat(strings.Repeat("x", MaxName)+"/", MaxPath/(MaxName+1)-1) + strings.Repeat("x", MaxName)
	e := Entry{Kind: KindPut, Path: Path(long), Facts: sampleFacts(TypeFile), Stamp: Stamp{^uint64(0), ^uint64(0), -1, -1}}
	e.Held = &Held{Base: ContentID{1}, Keep: 1<<63 - 1, Data: make([]byte, MaxHeld)}
	e.Facts.Size, e.Facts.Target = 1<<63-1, strings.Repeat("x", MaxTarget)
	e.Facts.Attr.Xattrs = nil
	for i := range MaxXattrs {
		e.Facts.Attr.Xattrs = append(e.Facts.Attr.Xattrs, Xattr{Name: string(rune('!' + i)), Value: make([]byte, MaxXattrSize/MaxXattrs-2)})
	}
	if n := len(encode(t, e)) + MaxPath + 10; n > maxEntry {
		t.Errorf("an entry of %d bytes, and %d is the limit", n, maxEntry)
	}
}

func randomEntry(rng *rand.Rand) Entry {
	name := func() string {
		b := make([]byte, 1+rng.IntN(20))
		for i := range b {
			b[i] = byte('a' + rng.IntN(3))
		}
		return string(b)
	}
	e := Entry{Kind: Kind(1 + rng.IntN(int(KindSetAttributes))), Path: Path(name() + "/" + name())}
	if e.Kind == KindMove || e.Kind == KindMoveDir || e.Kind == KindLink {
		e.From = e.Path + Path(name())
	}
	if rng.IntN(3) > 0 {
		e.Facts = Facts{Type: Type(rng.IntN(4)), Size: rng.Int64N(1 << uint(1+rng.IntN(60)))}
		e.Facts.Attr = Attributes{Mode: rng.Uint32N(0o10000), UID: rng.Uint32(), GID: rng.Uint32(), MTime: rng.Int64() - rng.Int64()}
		e.Facts.Content = ContentID{byte(rng.IntN(2))}
		if rng.IntN(2) == 0 {
			e.Facts.Target = name()
			e.Facts.Attr.Xattrs = []Xattr{{Name: "a" + name(), Value: []byte(name())}, {Name: "b" + name()}}
		}
	}
	if e.Kind == KindPut && rng.IntN(2) == 0 {
		e.Held = &Held{Base: ContentID{byte(rng.IntN(2))}, Keep: rng.Int64N(1000), Data: []byte(name())}
	}
	if rng.IntN(2) == 0 {
		e.Stamp = Stamp{rng.Uint64(), rng.Uint64(), rng.Int64(), -rng.Int64()}
	}
	return e
}

func TestEntryRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 5000 {
		e := randomEntry(rng)
		got, err := decodeEntry(encode(t, e))
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("%+v\nbecame %+v, %v", e, got, err)
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	for _, c := range goldenEntries() {
		f.Add(encode(f, c.entry))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(b)
		if err != nil {
			if !errors.Is(err, errEncoding) {
				t.Fatal(err)
			}
			return
		}
		if again := encode(t, e); !bytes.Equal(again, b) {
			t.Fatalf("%x is also %x", b, again)
		}
	})
}
