package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/content"
)

// file returns facts of a file.
func file(size int64, id byte) journal.Facts {
	f := journal.Facts{Type: journal.TypeFile, Size: size, Attr: journal.Attributes{Mode: 0o600, UID: 5000, GID: 5000, MTime: 1700000000123456789}}
	if id > 0 {
		f.Content[0] = id
	}
	return f
}

func directory() journal.Facts {
	return journal.Facts{Type: journal.TypeDirectory, Attr: journal.Attributes{Mode: 0o700}}
}

// sampleEntries has an entry of each kind, with names that mail users might
// choose.
func sampleEntries() Entries {
	xattrs := file(1, 2)
	xattrs.Attr.Xattrs = []journal.Xattr{{Name: "user.\xff", Value: []byte("v")}}
	entries := []journal.Entry{
		{Kind: journal.KindPut, Path: "a/cur/1.M1:2,", Facts: file(10, 1)},
		{Kind: journal.KindMove, Path: "a/cur/1.M1:2,S", From: "a/cur/1.M1:2,"},
		{Kind: journal.KindRemove, Path: "a/new/\n\xff"},
		{Kind: journal.KindLink, Path: "b/cur/1.M1:2,S", From: "a/cur/1.M1:2,S"},
		{Kind: journal.KindSymlink, Path: ".dovecot.sieve", Facts: journal.Facts{Type: journal.TypeSymlink, Target: "sieve/a.sieve"}},
		{Kind: journal.KindMakeDir, Path: "c", Facts: directory()},
		{Kind: journal.KindRemoveDir, Path: "c"},
		{Kind: journal.KindMoveDir, Path: "e", From: "d"},
		{Kind: journal.KindSetAttributes, Path: journal.Root, Facts: directory()},
		{Kind: journal.KindPut, Path: "a/dovecot-uidlist", Facts: file(7, 3), Held: &journal.Held{Data: []byte("3 V1 N1")}},
		{Kind: journal.KindPut, Path: "a/dovecot-uidlist", Facts: file(9, 4),
			Held: &journal.Held{Base: journal.ContentID{3}, Keep: 7, Data: []byte("\n1")}},
		{Kind: journal.KindPut, Path: "x", Facts: xattrs},
	}
	out := Entries{First: 41, Last: journal.Position{Epoch: 3, Sequence: 41 + journal.Sequence(len(entries)) - 1, Digest: journal.Digest{1, 2, 3}}}
	for _, e := range entries {
		out.Entries = append(out.Entries, Entry{Entry: e, Outcome: OK})
	}
	out.Entries[0].Transfer = PrimaryTransfer | 41
	out.Entries[11].Outcome = Unreadable
	return out
}

func TestEntriesComeBack(t *testing.T) {
	want := sampleEntries()
	b, err := MarshalEntries(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := UnmarshalEntries(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestGoldenEntries pins the bytes of a batch of entries: a flag change, and a
// new message. A peer of the same version must understand them.
func TestGoldenEntries(t *testing.T) {
	e := Entries{First: 300, Last: journal.Position{Epoch: 1, Sequence: 301, Digest: journal.Digest{0xd1}}, Entries: []Entry{
		{Entry: journal.Entry{Kind: journal.KindMove, Path: "u/cur/7:2,S", From: "u/cur/7:2,"}, Outcome: OK},
		{Entry: journal.Entry{Kind: journal.KindPut, Path: "u/new/8", Facts: file(5, 9)}, Outcome: OK, Transfer: PrimaryTransfer | 301},
	}}
	b, err := MarshalEntries(e)
	if err != nil {
		t.Fatal(err)
	}
	const want = "08ac02" + // first
		"1211" + "0802" + "120b" + "752f6375722f373a322c53" + "180a" + // move: path, what from shares with it
		"1250" + "0801" + "1207" + "752f6e65772f38" +
		"2a38" + "0801" + "108003" + "188827" + "208827" + "2915cd853dfe9c9717" + "3005" +
		"3a20" + "09" + "00000000000000000000000000000000000000000000000000000000000000" +
		"38ad8280808080808080" + "01" +
		"1a10" + "d1000000000000000000000000000000" + "2001"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestEntriesThatAreRefused: what no journal could say is an ErrProtocol.
func TestEntriesThatAreRefused(t *testing.T) {
	digest := make([]byte, 16)
	put := func(change func(*pb.Entry)) *pb.Entries {
		e := &pb.Entry{Kind: uint32(journal.KindPut), Path: []byte("a/b"), Facts: Facts(file(3, 1))}
		change(e)
		return &pb.Entries{First: 1, Digest: digest, Entries: []*pb.Entry{e}}
	}
	move := func(kind journal.Kind, p string, shared uint32, rest string) *pb.Entries {
		return put(func(e *pb.Entry) {
			e.Kind, e.Path, e.FromShared, e.FromRest = uint32(kind), []byte(p), shared, []byte(rest)
		})
	}
	many := make([]*pb.Entry, MaxBatchEntries+1)
	for i := range many {
		many[i] = put(func(*pb.Entry) {}).GetEntries()[0]
	}
	for name, in := range map[string]*pb.Entries{
		"none":             {First: 1, Digest: digest},
		"too many":         {First: 1, Digest: digest, Entries: many},
		"from nowhere":     {First: 0, Digest: digest, Entries: many[:1]},
		"beyond the end":   {First: 1<<64 - 1, Digest: digest, Entries: many[:1]},
		"short digest":     {First: 1, Digest: digest[1:], Entries: many[:1]},
		"kind 0":           put(func(e *pb.Entry) { e.Kind = 0 }),
		"kind 10":          put(func(e *pb.Entry) { e.Kind = 10 }),
		"kind 257":         put(func(e *pb.Entry) { e.Kind = 257 }),
		"empty path":       put(func(e *pb.Entry) { e.Path = nil }),
		"absolute path":    put(func(e *pb.Entry) { e.Path = []byte("/etc/passwd") }),
		"dots":             put(func(e *pb.Entry) { e.Path = []byte("a/../../b") }),
		"NUL":              put(func(e *pb.Entry) { e.Path = []byte("a\x00b") }),
		"long name":        put(func(e *pb.Entry) { e.Path = bytes.Repeat([]byte("n"), journal.MaxName+1) }),
		"put of the root":  put(func(e *pb.Entry) { e.Path = []byte(".") }),
		"no facts":         put(func(e *pb.Entry) { e.Facts = nil }),
		"type 4":           put(func(e *pb.Entry) { e.Facts.Type = 4 }),
		"type 257":         put(func(e *pb.Entry) { e.Facts.Type = 257 }),
		"mode":             put(func(e *pb.Entry) { e.Facts.Mode = 0o10000 }),
		"negative size":    put(func(e *pb.Entry) { e.Facts.Size = 1 << 63 }),
		"long target":      put(func(e *pb.Entry) { e.Facts.Target = make([]byte, journal.MaxTarget+1) }),
		"short content id": put(func(e *pb.Entry) { e.Facts.Content = e.Facts.Content[1:] }),
		"many xattrs":      put(func(e *pb.Entry) { e.Facts.Xattrs = make([]*pb.ExtendedAttribute, journal.MaxXattrs+1) }),
		"large xattrs": put(func(e *pb.Entry) {
			e.Facts.Xattrs = []*pb.ExtendedAttribute{{Value: make([]byte, journal.MaxXattrSize+1)}}
		}),
		"outcome":                put(func(e *pb.Entry) { e.Outcome = 6 }),
		"negative outcome":       put(func(e *pb.Entry) { e.Outcome = -1 }),
		"shares too much":        move(journal.KindMove, "a/b", 4, ""),
		"shares far too much":    move(journal.KindMove, "a/b", 1<<32-1, ""),
		"to itself":              move(journal.KindMove, "a/b", 3, ""),
		"from the root":          move(journal.KindMoveDir, "a/b", 0, "."),
		"from outside":           move(journal.KindMove, "a/b", 2, "../../x"),
		"directory into itself":  move(journal.KindMoveDir, "a/b/c", 3, ""),
		"directory over its own": move(journal.KindMoveDir, "a", 1, "/b"),
		"held too large":         put(func(e *pb.Entry) { e.Held = &pb.Held{Data: make([]byte, journal.MaxHeld+1)} }),
		"held of another size":   put(func(e *pb.Entry) { e.Held = &pb.Held{Data: []byte("four")} }),
		"held keeps too much":    put(func(e *pb.Entry) { e.Held = &pb.Held{Keep: 1<<64 - 1, Data: []byte("four")} }),
		"held of a short base":   put(func(e *pb.Entry) { e.Held = &pb.Held{Keep: 2, Base: digest, Data: []byte("x")} }),
		"held by a mkdir":        put(func(e *pb.Entry) { e.Kind = uint32(journal.KindMakeDir); e.Held = &pb.Held{Data: []byte("abc")} }),
	} {
		t.Run(name, func(t *testing.T) {
			b, err := proto.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := UnmarshalEntries(b); !errors.Is(err, ErrProtocol) {
				t.Errorf("the error is %v", err)
			}
		})
	}
	if _, err := UnmarshalEntries([]byte{0xff}); !errors.Is(err, ErrProtocol) {
		t.Errorf("garbage: the error is %v", err)
	}
}

// TestMessagesComeBack sends a message of each kind through its two halves.
func TestMessagesComeBack(t *testing.T) {
	position := journal.Position{Epoch: 2, Sequence: 9, Digest: journal.Digest{7}}
	check := func(name string, want any, back func() (any, error)) {
		t.Helper()
		got, err := back()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, err, got, want)
		}
	}
	hello := HelloMessage{OldestVersion: OldestVersion, NewestVersion: NewestVersion, Name: "mx2", Position: position, Whole: true}
	check("hello", hello, func() (any, error) { return ParseHello(Hello(hello).GetHello()) })
	welcome := WelcomeMessage{Version: 1, Name: "mx1", Epoch: 2, Position: position, Resync: "why", Began: 7,
		Reigns: []Reign{{Epoch: 2, Start: position, Whole: true}, {Epoch: 4, Start: position}}}
	check("welcome", welcome, func() (any, error) { return ParseWelcome(Welcome(welcome).GetWelcome()) })
	compare := []CompareItem{{Path: journal.Root}, {Path: "a", Digest: [32]byte{1}}, {Path: "a/b/c"}, {Path: "a/b/d"}, {Path: "a/b"}}
	check("compare", compare, func() (any, error) { return ParseCompare(Compare(compare).GetCompare()) })
	fetch := []FetchItem{{Transfer: 1, Path: "a", Have: journal.ContentID{1}}, {Transfer: 2, Path: "b", Plain: true},
		{Transfer: 3, Path: "c", Have: journal.ContentID{2}, Proof: true}}
	check("fetch", fetch, func() (any, error) { return ParseFetch(Fetch(fetch).GetFetch()) })
	listing := Listing{Path: "a", Outcome: OK, Facts: directory(), Last: true, Partial: true, Items: []Item{
		{Name: "d", Facts: directory(), Digest: [32]byte{3}}, {Name: "f\xff", Facts: file(3, 0), Link: 8},
	}}
	check("listing", listing, func() (any, error) { return parseListing(marshalListing(listing)) })
	same := Listing{Path: journal.Root, Outcome: Same, Last: true}
	check("same", same, func() (any, error) { return parseListing(marshalListing(same)) })
	for _, end := range []ContentEnd{{Outcome: OK, Facts: file(3, 1), Link: 4}, {Outcome: Gone}} {
		check("end", end, func() (any, error) { return ParseContentEnd(ContentEndMessage(end)) })
	}
	beat := Heartbeat{Head: 4, Lag: time.Second, LagBytes: 5, Now: time.Unix(0, 1700000000000000001), State: "watching", Detail: "d",
		Files: 6, Bytes: 7, Unread: 8, Unreadable: 9, Heard: time.Minute, MailStopped: "s", Mark: &Mark{Sequence: 4, Digest: [32]byte{5}, Unread: 8}}
	check("heartbeat", beat, func() (any, error) { return ParseHeartbeat(HeartbeatMessage(beat).GetHeartbeat()) })
	report := Report{State: "following", Detail: "d", Applied: 1, DirectoriesLeft: 2, FilesLeft: 3, BytesLeft: 4,
		Files: 5, Bytes: 6, Missing: 7, Assumed: 9, Proven: true, ProvenSequence: 8, Stamp: time.Second}
	check("report", report, func() (any, error) { return ParseReport(ReportMessage(report).GetReport()), nil })
	for _, piece := range []content.Piece{{Raw: []byte("r")}, {Zstd: []byte("z"), Unnumbered: true}, {Run: content.Run{First: 1, Count: 2}}} {
		check("piece", piece, func() (any, error) { return ParsePiece(Piece(piece)), nil })
	}
}

// TestMessagesThatAreRefused: limits and shapes of what a peer says.
func TestMessagesThatAreRefused(t *testing.T) {
	hello := func(change func(*pb.Hello)) func() error {
		h := Hello(HelloMessage{Name: "mx2"}).GetHello()
		change(h)
		return func() error { _, err := ParseHello(h); return err }
	}
	listing := func(change func(*pb.Listing)) func() error {
		l := marshalListing(Listing{Path: "a", Outcome: OK, Facts: directory(), Items: []Item{{Name: "x", Facts: file(1, 1)}}})
		change(l)
		return func() error { _, err := parseListing(l); return err }
	}
	fetch := func(items ...*pb.FetchItem) func() error {
		return func() error { _, err := ParseFetch(&pb.Fetch{Items: items}); return err }
	}
	compare := func(items ...*pb.DirectoryDigest) func() error {
		return func() error { _, err := ParseCompare(&pb.Compare{Directories: items}); return err }
	}
	for name, parse := range map[string]func() error{
		"no hello":          func() error { _, err := ParseHello(nil); return err },
		"no position":       hello(func(h *pb.Hello) { h.Position = nil }),
		"small messages":    hello(func(h *pb.Hello) { h.MaxMessageBytes = MaxMessage - 1 }),
		"small window":      hello(func(h *pb.Hello) { h.ChunkWindow = 0 }),
		"no welcome":        func() error { _, err := ParseWelcome(nil); return err },
		"no place":          func() error { _, err := ParseWelcome(&pb.Welcome{Version: 1}); return err },
		"many directories":  compare(make([]*pb.DirectoryDigest, MaxCompare+1)...),
		"compare outside":   compare(&pb.DirectoryDigest{Path: []byte("..")}),
		"shared too much":   compare(&pb.DirectoryDigest{Path: []byte("ab")}, &pb.DirectoryDigest{Path: []byte("c"), Shared: 3}),
		"short digest":      compare(&pb.DirectoryDigest{Path: []byte("a"), Digest: []byte("short")}),
		"many files":        fetch(make([]*pb.FetchItem, MaxFetch+1)...),
		"fetch outside":     fetch(&pb.FetchItem{Transfer: 1, Path: []byte("/a")}),
		"transfer 0":        fetch(&pb.FetchItem{Path: []byte("a")}),
		"transfer of ours":  fetch(&pb.FetchItem{Transfer: PrimaryTransfer, Path: []byte("a")}),
		"short have":        fetch(&pb.FetchItem{Transfer: 1, Path: []byte("a"), Have: []byte("short")}),
		"no outcome":        listing(func(l *pb.Listing) { l.Outcome = 0 }),
		"listing outside":   listing(func(l *pb.Listing) { l.Path = []byte("../a") }),
		"facts of nothing":  listing(func(l *pb.Listing) { l.Facts = nil }),
		"many items":        listing(func(l *pb.Listing) { l.Items = make([]*pb.Item, MaxListingItems+1) }),
		"no name":           listing(func(l *pb.Listing) { l.Items[0].Name = nil }),
		"two names":         listing(func(l *pb.Listing) { l.Items[0].Name = []byte("x/y") }),
		"parent":            listing(func(l *pb.Listing) { l.Items[0].Name = []byte("..") }),
		"itself":            listing(func(l *pb.Listing) { l.Items[0].Name = []byte(".") }),
		"item of no type":   listing(func(l *pb.Listing) { l.Items[0].Facts = nil }),
		"item's digest":     listing(func(l *pb.Listing) { l.Items[0].Digest = []byte("short") }),
		"end of no outcome": func() error { _, err := ParseContentEnd(&pb.ContentEnd{}); return err },
		"end of no facts":   func() error { _, err := ParseContentEnd(&pb.ContentEnd{Outcome: pb.Outcome_OUTCOME_OK}); return err },
		"mark of no digest": func() error { _, err := ParseHeartbeat(&pb.Heartbeat{Mark: &pb.Mark{}}); return err },
	} {
		if err := parse(); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
	if _, err := ParseWelcome(&pb.Welcome{Version: NewestVersion + 1}); !errors.Is(err, ErrVersion) {
		t.Errorf("a newer version: the error is %v", err)
	}
}

func TestNegotiate(t *testing.T) {
	for _, c := range []struct {
		oldest, newest, want uint32
		ok                   bool
	}{{1, 1, 1, true}, {1, 9, NewestVersion, true}, {0, 1, 1, true}, {2, 9, 0, false}, {0, 0, 0, false}} {
		if v, ok := Negotiate(c.oldest, c.newest); ok != c.ok || ok && v != c.want {
			t.Errorf("%d to %d: %d, %v", c.oldest, c.newest, v, ok)
		}
	}
}

// TestWordsAreSafe: a sentence with a name that is no UTF-8 in it can be sent.
func TestWordsAreSafe(t *testing.T) {
	m := HeartbeatMessage(Heartbeat{State: "watching", Detail: "the store: \xff" + strings.Repeat("ä", maxWords)})
	b, err := proto.Marshal(m)
	if err != nil || len(b) > maxWords+100 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// TestCost: credit pays for the bytes of pieces and of entries.
func TestCost(t *testing.T) {
	b := &pb.Batch{EntriesSize: 100, Contents: []*pb.Content{
		{Pieces: []*pb.Piece{Piece(content.Piece{Raw: make([]byte, 10)}), Piece(content.Piece{Zstd: make([]byte, 5)})}},
		{Pieces: []*pb.Piece{Piece(content.Piece{Run: content.Run{First: 1, Count: 9}})}},
	}}
	if bytes, entries := Cost(b, 3); bytes != 115 || entries != 3 {
		t.Errorf("it costs %d bytes and %d entries", bytes, entries)
	}
}
