package content

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/iotest"
	"unsafe"

	"github.com/klauspost/compress/zstd"
)

// big returns a content of one numbered chunk.
func big(seed uint64) []byte { return random(seed, MinChunk+1) }

func TestWindowForgets(t *testing.T) {
	const window = 8
	l := newLink(t, window, 0)
	l.must(big(1)) // number 0
	for i := range uint64(window - 1) {
		l.must(big(100 + i)) // 1 to 7
	}
	l.must(big(1))
	if l.runs != 1 {
		t.Fatalf("the oldest chunk of the window was not referred to")
	}
	l.must(big(200)) // 8: 0 is forgotten
	l.must(big(1))
	if l.runs != 1 {
		t.Errorf("a chunk beyond the window was referred to")
	}
	l.must(big(1))
	if l.runs != 2 {
		t.Errorf("a chunk sent a second time was not referred to")
	}
}

func TestWindowOfNone(t *testing.T) {
	l := newLink(t, 0, 0)
	l.must(big(1))
	l.must(big(1))
	if l.runs != 0 {
		t.Errorf("%d references without a window", l.runs)
	}
}

// Chunks that repeat out of order make several runs.
func TestEncoderRuns(t *testing.T) {
	a, b, c := random(1, MaxChunk), random(2, MaxChunk), random(3, MaxChunk)
	for _, x := range [][]byte{a, b, c} {
		x[10], x[11] = '\n', '\n' // an end of the header: what follows is cut alike everywhere
	}
	l := newLink(t, 1000, DefaultCache)
	l.must(join(a, b, c))
	wire := l.wire
	l.must(join(a, b, c))
	if l.runs != 1 || l.wire-wire > 12 {
		t.Errorf("the same again: %d runs, %d bytes", l.runs, l.wire-wire)
	}
	l.must(join(a, c, b, a, a))
}

// A sender that fails in the middle leaves both windows in step.
func TestReadErrorInTheMiddle(t *testing.T) {
	l := newLink(t, 100, 0)
	data := random(5, 1<<20)
	d := NewDecoder(l.window, &store{})
	broken := io.MultiReader(bytes.NewReader(data[:700<<10]), iotest.ErrReader(errGone))
	res, err := l.enc.Encode(broken, false, func(p Piece) error { return d.Write(p, io.Discard) })
	if !errors.Is(err, ErrRead) || !errors.Is(err, errGone) || res.ID.Known() || res.Size == 0 {
		t.Fatalf("got %+v, %v", res, err)
	}
	l.must(join([]byte("a\n\n"), words(6, 100<<10, false)))
	if l.enc.sent.next != l.window.next {
		t.Errorf("the next number is %d here and %d there", l.enc.sent.next, l.window.next)
	}
	// What was kept of it is of no use, as its source has nothing; it is noticed.
	if _, err := l.send(data, true); !errors.Is(err, ErrChunkLost) {
		t.Errorf("got %v, want ErrChunkLost", err)
	}
	if _, err := l.send(data, false); err != nil {
		t.Errorf("without references: %v", err)
	}
	l.must(data)
}

func TestEmitErrorIsReturned(t *testing.T) {
	stop := errors.New("stop")
	e := NewEncoder(NewSent(10), NewFixedCompressor(LevelOff))
	for _, again := range []bool{false, true} { // new chunks, then references
		if again {
			if _, err := e.Encode(bytes.NewReader(random(1, 1<<20)), false, func(Piece) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		_, err := e.Encode(bytes.NewReader(random(1, 1<<20)), false, func(Piece) error { return stop })
		if err != stop {
			t.Errorf("got %v, want what emit said", err)
		}
	}
}

func TestChunkLost(t *testing.T) {
	data := random(1, 1<<20)
	spoil := map[string]func(*store){
		"gone":    func(s *store) { s.gone = true },
		"altered": func(s *store) { s.Bytes()[5000] ^= 1 },
		"cut":     func(s *store) { s.Truncate(s.Len() - 1) },
	}
	for name, f := range spoil {
		t.Run(name, func(t *testing.T) {
			l := newLink(t, 1000, 0)
			f(l.must(data))
			if _, err := l.send(data, true); !errors.Is(err, ErrChunkLost) {
				t.Fatalf("got %v, want ErrChunkLost", err)
			}
			if _, err := l.send(data, false); err != nil {
				t.Fatalf("without references: %v", err)
			}
			l.must(data)
		})
	}
}

// The newest place of a chunk is the one that counts.
func TestChunkIsFoundInNewestPlace(t *testing.T) {
	l := newLink(t, 1000, 0)
	data := random(1, 1<<20)
	first := l.must(data)
	l.must(data)
	first.gone = true
	l.must(data)
}

// A transfer without a Source serves as long as the cache has it.
func TestCacheServes(t *testing.T) {
	r := NewReceived(1000, 1<<20)
	e := NewEncoder(NewSent(1000), NewFixedCompressor(LevelFastest))
	carry := func(data []byte) error {
		d := NewDecoder(r, nil)
		_, err := e.Encode(bytes.NewReader(data), false, func(p Piece) error { return d.Write(p, io.Discard) })
		return err
	}
	hot, cold := random(1, 600<<10), random(2, 1<<20)
	for range 2 {
		if err := carry(hot); err != nil {
			t.Fatal(err)
		}
	}
	if err := carry(cold); err != nil {
		t.Fatal(err)
	}
	if err := carry(hot); !errors.Is(err, ErrChunkLost) {
		t.Errorf("got %v, want ErrChunkLost", err)
	}
}

// A chunk that is referred to again and again is not pushed out by all those
// that nothing refers to.
func TestCacheKeepsWhatIsReferredTo(t *testing.T) {
	r := NewReceived(1000, DefaultCache)
	e := NewEncoder(NewSent(1000), NewFixedCompressor(LevelOff))
	carry := func(data []byte) error {
		d := NewDecoder(r, nil)
		_, err := e.Encode(bytes.NewReader(data), false, func(p Piece) error { return d.Write(p, io.Discard) })
		return err
	}
	hot := random(1, 600<<10)
	if err := carry(hot); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(10) {
		if err := carry(hot); err != nil {
			t.Fatalf("after %d MiB of others: %v", seed, err)
		}
		if err := carry(random(seed+2, 900<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := carry(random(2, 900<<10)); !errors.Is(err, ErrChunkLost) {
		t.Errorf("what nothing referred to: got %v, want ErrChunkLost", err)
	}
}

func TestDecoderRefuses(t *testing.T) {
	enc, _ := zstd.NewWriter(nil)
	frame := func(n int) []byte { return enc.EncodeAll(make([]byte, n), nil) }
	tests := map[string]Piece{
		"nothing":          {},
		"too large":        {Raw: make([]byte, MaxChunk+1)},
		"bomb":             {Zstd: frame(64 << 20)},
		"a little bomb":    {Zstd: frame(MaxChunk + 1)},
		"empty frame":      {Zstd: frame(0)},
		"two frames":       {Zstd: join(frame(MaxChunk), frame(MaxChunk))},
		"no frame":         {Zstd: []byte("nonsense")},
		"half a frame":     {Zstd: frame(1000)[:10]},
		"two kinds":        {Raw: []byte("x"), Zstd: frame(10)},
		"run and bytes":    {Raw: []byte("x"), Run: Run{First: 4, Count: 1}},
		"unnumbered run":   {Run: Run{First: 4, Count: 1}, Unnumbered: true},
		"run of future":    {Run: Run{First: 6, Count: 1}},
		"run into future":  {Run: Run{First: 5, Count: 2}},
		"run of forgotten": {Run: Run{First: 1, Count: 1}},
		"endless run":      {Run: Run{First: 4, Count: ^uint64(0)}},
		"far run":          {Run: Run{First: ^uint64(0), Count: 2}},
	}
	for name, p := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLink(t, 4, 0)
			for i := range uint64(6) {
				l.must(big(i))
			}
			d := NewDecoder(l.window, nil)
			if err := d.Write(p, io.Discard); !errors.Is(err, ErrCorrupt) {
				t.Errorf("got %v, want ErrCorrupt", err)
			}
			next := l.window.next
			if err := d.Write(Piece{Raw: []byte("good")}, io.Discard); !errors.Is(err, ErrCorrupt) {
				t.Errorf("afterwards: got %v, want ErrCorrupt", err)
			}
			if l.window.next != next+1 {
				t.Errorf("a piece after the error was not counted")
			}
		})
	}
}

func TestWriterErrors(t *testing.T) {
	full := errors.New("no space left")
	l := newLink(t, 10, 0)
	data := big(1)
	d := NewDecoder(l.window, nil)
	if _, err := l.enc.Encode(bytes.NewReader(data), false, func(p Piece) error {
		if err := d.Write(p, writerFunc(func([]byte) (int, error) { return 0, full })); err != full {
			t.Errorf("got %v, want what the writer said", err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	d.Reset(nil)
	short := writerFunc(func(p []byte) (int, error) { return len(p) - 1, nil })
	if err := d.Write(Piece{Raw: data, Unnumbered: true}, short); err != io.ErrShortWrite {
		t.Errorf("got %v, want %v", err, io.ErrShortWrite)
	}
	if _, err := l.send(data, true); !errors.Is(err, ErrChunkLost) {
		t.Errorf("got %v, want ErrChunkLost", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestCompressor(t *testing.T) {
	tests := map[string]struct {
		data      []byte
		low, high float64
	}{
		"base64": {encoded(1, 512<<10), 0.70, 0.77},
		"prose":  {words(2, 512<<10, false), 0, 0.5},
		"random": {random(3, 512<<10), 1, 1},
		"mixed":  {join(random(4, 256<<10), words(5, 256<<10, true)), 0.5, 0.7},
		"tiny":   {[]byte("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), 1, 1},
	}
	for name, test := range tests {
		for level := LevelFastest; level <= LevelBetter; level++ {
			e := NewEncoder(NewSent(0), NewFixedCompressor(level))
			res, _ := e.Encode(bytes.NewReader(test.data), false, func(Piece) error { return nil })
			ratio := float64(res.Sent) / float64(res.Size)
			if ratio < test.low || ratio > test.high {
				t.Errorf("%s at %v: %.3f, want %.2f to %.2f", name, level, ratio, test.low, test.high)
			}
		}
	}
}

// What the package says of its memory.
func TestMemory(t *testing.T) {
	if size := unsafe.Sizeof(location{}); size != 48 {
		t.Errorf("a location takes %d bytes", size)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := NewSent(DefaultWindow)
	for i := range uint64(4 * DefaultWindow) {
		s.add(chunkID(mix(i)))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	bytes := float64(after.HeapAlloc) - float64(before.HeapAlloc)
	t.Logf("a Sent window: %.0f bytes a chunk, %.1f MiB", bytes/DefaultWindow, bytes/(1<<20))
	if bytes > 6<<20 {
		t.Errorf("a Sent window takes %.1f MiB", bytes/(1<<20))
	}
	runtime.KeepAlive(s)
}

// What small messages have in common is sent once, also where one of them was
// given up in between.
func TestSmallMessagesSharePacking(t *testing.T) {
	l := newLink(t, 100, 0)
	common := words(7, 6<<10, false)
	l.must(join([]byte("X-Number: 0\n"), common))
	first := l.wire
	given := NewDecoder(l.window, nil)
	given.err = ErrChunkLost
	if _, err := l.enc.EncodeBytes(join([]byte("X-Number: 1\n"), common), false, func(p Piece) error {
		if err := given.Write(p, io.Discard); !errors.Is(err, ErrChunkLost) {
			t.Errorf("a piece of a lost transfer: %v", err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		l.must(join([]byte("X-Number: "), words(uint64(i), 20, false), []byte("\n"), common))
	}
	if each := (l.wire - first) / 10; each > 200 {
		t.Errorf("the first took %d bytes, each other one %d", first, each)
	}
}

func TestPackedIsChecked(t *testing.T) {
	sent := NewSent(10)
	packed, err := sent.pack([]byte("some text, to be packed"))
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]Piece{
		"with a number":    {Packed: packed},
		"of another size":  {Packed: Packed{Block: packed.Block, Size: 5}, Unnumbered: true},
		"of a large size":  {Packed: Packed{Block: packed.Block, Size: MinChunk + 1}, Unnumbered: true},
		"no block":         {Packed: Packed{Block: []byte("x"), Size: 1}, Unnumbered: true},
		"two kinds in one": {Packed: packed, Raw: []byte("x"), Unnumbered: true},
	} {
		window := NewReceived(10, 0)
		if err := NewDecoder(window, nil).Write(p, io.Discard); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		window.Close()
	}
}
