package primary

import (
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// nextBatch returns the next batch that the primary sends.
func (s *script) nextBatch(t *testing.T) *pb.Batch {
	t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case m := <-s.said:
			if m.GetBatch() != nil {
				return m.GetBatch()
			}
		case <-s.done:
			t.Fatalf("the stream has ended: %v", *s.err)
		case <-late:
			t.Fatal("no batch")
		}
	}
}

// TestContentsGoAhead: a content is sent while its entry is being journaled, the
// entry only when it is durable, and one that was announced in vain with nothing.
func TestContentsGoAhead(t *testing.T) {
	p := newStore(t)
	first := p.put("1", []byte("x")).Position
	s := p.dial(t, wire.HelloMessage{Name: "mx2", Position: first, Whole: true})
	s.welcome(t)
	s.say(credit(1<<20, 1000))
	announce := func(path journal.Path, data string) journal.Entry {
		p.write(path, []byte(data))
		e := p.entry(journal.KindPut, path, []byte(data))
		p.server.Ahead([]journal.Entry{e})
		return e
	}
	content := func() uint64 {
		t.Helper()
		b := s.nextBatch(t)
		if b.GetEntriesSize() > 0 || len(b.GetContents()) != 1 || b.GetContents()[0].GetEnd() == nil {
			t.Fatalf("not a content alone: %v", b)
		}
		return b.GetContents()[0].GetTransfer()
	}
	in := newModel(p)
	in.connect(t.Context(), true)
	in.at = first
	entry := func(contents int) wire.Entry {
		t.Helper()
		b := s.nextBatch(t)
		plain, err := in.entries.Decompress(b.GetEntries(), int(b.GetEntriesSize()))
		if err != nil {
			t.Fatal(err)
		}
		list, err := wire.UnmarshalEntries(plain)
		if err != nil || len(list.Entries) != 1 || len(b.GetContents()) != contents {
			t.Fatalf("%v, %d contents: %v", list, len(b.GetContents()), err)
		}
		return list.Entries[0]
	}

	e := announce("2", "a message")
	transfer := content()
	p.append(e)
	if got := entry(0); got.Transfer != transfer || got.Path != "2" || got.Outcome != wire.OK {
		t.Errorf("entry %+v, its content was transfer %x", got, transfer)
	}

	// The append fails, and is tried again: the content is there already.
	e = announce("3", "another message")
	transfer = content()
	p.server.Ahead([]journal.Entry{e})
	p.append(e)
	if got := entry(0); got.Transfer != transfer || got.Path != "3" {
		t.Errorf("entry %+v, its content was transfer %x", got, transfer)
	}

	// The append fails, and the file is another one when it is tried again.
	announce("4", "a draft")
	wrong := content()
	p.write("4", []byte("what was meant"))
	p.append(p.entry(journal.KindPut, "4", []byte("what was meant")))
	if got := entry(1); got.Transfer == wrong || got.Transfer == 0 || got.Path != "4" {
		t.Errorf("entry %+v; the content that was announced was transfer %x", got, wrong)
	}
}

// TestAheadIsForFewAndSmall: what is many, large or unread goes with its entries.
func TestAheadIsForFewAndSmall(t *testing.T) {
	p := newStore(t)
	put := func(size int64, id journal.ContentID) journal.Entry {
		return journal.Entry{Kind: journal.KindPut, Path: "a", Facts: journal.Facts{Type: journal.TypeFile, Size: size, Content: id}}
	}
	known := journal.ContentID{1}
	held := put(5, known)
	held.Held = &journal.Held{Data: []byte("12345")}
	sess := newSession(p.server, "mx2", nil, nil, nil)
	p.server.sessions["mx2"] = sess
	for name, entries := range map[string][]journal.Entry{
		"large":  {put(aheadBytes+1, known)},
		"many":   {put(1, known), put(1, known), put(1, known), put(1, known), put(1, known)},
		"unread": {put(5, journal.ContentID{})},
		"empty":  {put(0, known)},
		"held":   {held},
		"none":   {{Kind: journal.KindRemove, Path: "a"}},
	} {
		if p.server.Ahead(entries); len(sess.ahead) > 0 {
			t.Errorf("%s: it is announced", name)
			<-sess.ahead
		}
	}
	p.server.Ahead([]journal.Entry{put(aheadBytes, known)})
	p.server.Ahead([]journal.Entry{put(1, known)}) // nobody takes it, and nobody waits
	if a := <-sess.ahead; len(a.puts) != 1 || a.puts[0].Facts.Size != aheadBytes {
		t.Errorf("announced: %+v", a)
	}
	delete(p.server.sessions, "mx2")
}
