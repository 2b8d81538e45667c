package content

import (
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Level is how hard a Compressor tries.
type Level int32

// The levels of a Compressor.
const (
	LevelOff Level = iota
	LevelFastest
	LevelDefault
	LevelBetter
)

// String returns the level's name.
func (l Level) String() string {
	switch l {
	case LevelOff:
		return "off"
	case LevelFastest:
		return "fastest"
	case LevelDefault:
		return "default"
	case LevelBetter:
		return "better"
	}
	return "unknown"
}

const (
	// minCompress is the size below which a frame's own bytes cost too much.
	minCompress = 64
	// probeSize is how much of a chunk is tried when the one before it did
	// not compress.
	probeSize = 4 << 10
)

// Compressor compresses chunks, each by itself, at a level that follows what
// holds the sender up (see levelControl): the harder the network, the higher;
// when compressing is what costs the time, lower, at last not at all. Level
// and ReportBlocked may be called at any time from any goroutine; everything
// else belongs to the Encoder. Encoders are made as they are needed: with all
// levels used a Compressor takes about 9 MiB.
type Compressor struct {
	now      func() time.Time
	encoders [LevelBetter + 1]*zstd.Encoder
	out      []byte
	poor     bool // the chunk before, of the same content, did not compress
	hurried  bool // the default level is too slow for the next chunk

	control *levelControl // nil: the level is fixed
	level   atomic.Int32
	blocked atomic.Int64 // nanoseconds not yet given to control
}

// NewCompressor returns a Compressor that finds its level by itself, with now
// for a clock.
func NewCompressor(now func() time.Time) *Compressor {
	c := &Compressor{now: now, control: newLevelControl(now())}
	c.level.Store(int32(c.control.level))
	return c
}

// NewFixedCompressor returns a Compressor of one level.
func NewFixedCompressor(level Level) *Compressor {
	c := &Compressor{}
	c.level.Store(int32(level))
	return c
}

// Level returns the level at which chunks are compressed now.
func (c *Compressor) Level() Level { return Level(c.level.Load()) }

// ReportBlocked says that the sender has waited for the network for d with
// something to send. Waiting for the mirror's credit is the same: it shows
// whether a higher level helps, and goes back if not.
func (c *Compressor) ReportBlocked(d time.Duration) {
	if d > 0 {
		c.blocked.Add(int64(d))
	}
}

// begin says that another content follows.
func (c *Compressor) begin() { c.poor = false }

// compress returns the frame of a chunk, valid until the next call; false if
// it is better sent as it is.
func (c *Compressor) compress(chunk []byte) (out []byte, ok bool) {
	c.measure(chunk, func() { out, ok = c.try(chunk) })
	return out, ok
}

// measure calls f, which compresses a chunk, and finds the next level.
func (c *Compressor) measure(chunk []byte, f func()) {
	if c.control == nil {
		f()
		return
	}
	start := c.now()
	f()
	end := c.now()
	c.control.add(len(chunk), end.Sub(start), time.Duration(c.blocked.Swap(0)))
	c.level.Store(int32(c.control.decide(end)))
}

// try compresses a chunk at the present level.
func (c *Compressor) try(chunk []byte) ([]byte, bool) {
	enc := c.encoder()
	if enc == nil || len(chunk) < minCompress {
		return nil, false
	}
	if c.poor && len(chunk) >= 4*probeSize {
		middle := chunk[len(chunk)/2:][:probeSize]
		c.out = enc.EncodeAll(middle, c.out[:0])
		if !pays(len(c.out), len(middle)) {
			return nil, false
		}
	}
	c.out = enc.EncodeAll(chunk, c.out[:0])
	c.poor = !pays(len(c.out), len(chunk))
	return c.out, !c.poor
}

// pays reports whether a chunk is better sent compressed: it must save 3 %.
func pays(compressed, plain int) bool { return compressed*100 < plain*97 }

// encoder returns the encoder of the present level, nil for LevelOff.
func (c *Compressor) encoder() *zstd.Encoder {
	level := c.Level()
	if c.hurried && level == LevelDefault {
		level = LevelFastest
	}
	if level == LevelOff || c.encoders[level] != nil {
		return c.encoders[level]
	}
	speed := map[Level]zstd.EncoderLevel{
		LevelFastest: zstd.SpeedFastest,
		LevelDefault: zstd.SpeedDefault,
		LevelBetter:  zstd.SpeedBetterCompression,
	}[level]
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(speed),
		zstd.WithAllLitEntropyCompression(true), // base64 has no matches, but six bits in eight
		zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(MaxChunk),
		zstd.WithSingleSegment(true),
		zstd.WithEncoderCRC(false), // the content's id is checked
	)
	if err != nil {
		panic(err) // only for options that contradict each other
	}
	c.encoders[level] = enc
	return enc
}
