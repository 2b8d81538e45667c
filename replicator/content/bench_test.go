package content

import (
	"bytes"
	"io"
	"testing"
)

// samples are what mail is made of.
func samples() map[string][]byte {
	return map[string][]byte{
		"base64": encoded(1, 4<<20),
		"text":   words(2, 4<<20, false),
		"html":   words(3, 4<<20, true),
		"binary": random(4, 4<<20),
		"mail":   join(header(1), body(5, 4<<20)),
		"small":  join(header(1), words(6, 6<<10, false)),
	}
}

func BenchmarkChunker(b *testing.B) {
	for name, data := range samples() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			c := NewChunker(nil)
			n := 0
			for b.Loop() {
				c.Reset(bytes.NewReader(data))
				for n = 0; ; n++ {
					if _, err := c.Next(); err == io.EOF {
						break
					}
				}
			}
			b.ReportMetric(float64(len(data))/float64(n)/1024, "KiB/chunk")
		})
	}
}

func BenchmarkEncoder(b *testing.B) {
	for name, data := range samples() {
		for level := LevelOff; level <= LevelBetter; level++ {
			b.Run(name+"/"+level.String(), func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				e := NewEncoder(NewSent(DefaultWindow), NewFixedCompressor(level))
				var res Result
				for b.Loop() {
					res, _ = e.Encode(bytes.NewReader(data), true, func(Piece) error { return nil })
				}
				b.ReportMetric(float64(res.Sent)/float64(len(data)), "ratio")
			})
		}
	}
}

// BenchmarkEncoderReferences is one body again and again.
func BenchmarkEncoderReferences(b *testing.B) {
	data := samples()["mail"]
	b.SetBytes(int64(len(data)))
	e := NewEncoder(NewSent(DefaultWindow), NewFixedCompressor(LevelFastest))
	for b.Loop() {
		if _, err := e.Encode(bytes.NewReader(data), false, func(Piece) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecoder(b *testing.B) {
	for name, data := range samples() {
		var pieces []Piece
		e := NewEncoder(NewSent(DefaultWindow), NewFixedCompressor(LevelFastest))
		if _, err := e.Encode(bytes.NewReader(data), false, func(p Piece) error {
			pieces = append(pieces, p)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			d := NewDecoder(NewReceived(DefaultWindow, DefaultCache), nil)
			for b.Loop() {
				d.Reset(nil)
				for _, p := range pieces {
					if err := d.Write(p, io.Discard); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
