package primary

import (
	"context"
	"io"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath/kindread"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// Pace gives leave to read from the array.
type Pace interface {
	// Read waits until that many bytes may be read for something that can
	// wait, and returns what to call when they have been: with true if a disk
	// was asked.
	Read(ctx context.Context, bytes int64) (done func(fromDevice bool), err error)
	// Live counts bytes of live mail that are read. It never waits.
	Live(bytes int64)
}

// free is the Pace of whoever needs none.
type free struct{}

func (free) Read(context.Context, int64) (func(bool), error) { return func(bool) {}, nil }
func (free) Live(int64)                                      {}

// pieceOfBulk is how much of a file is read with one leave, and wholePiece the
// same where nobody's reads are to go between: most contents at once.
const (
	pieceOfBulk = 128 << 10
	wholePiece  = prefetchSize
)

// piece returns how much of a file is to be read with one leave now.
func (s *Server) piece() int {
	if s.cfg.Evacuating() {
		return wholePiece
	}
	return pieceOfBulk
}

// openBulk opens a file for something that can wait: with leave, which covers
// its first piece too.
func (s *Server) openBulk(ctx context.Context, path journal.Path, item catalog.Item) (*source, error) {
	done, err := s.cfg.Pace.Read(ctx, min(item.Facts.Size, int64(s.piece())))
	if err != nil {
		return nil, err
	}
	src, err := s.openItem(path, item)
	if err == nil {
		err = s.kindly(ctx, src)
	}
	if err != nil {
		done(true)
		return nil, err
	}
	src.bulk.leave = done
	return src, nil
}

// kindly makes a source ask for leave before each piece that is not in memory,
// and leave in memory only what was there.
func (s *Server) kindly(ctx context.Context, src *source) error {
	r, err := s.manner.Reader(src.file)
	if err != nil {
		src.settle()
		return err
	}
	src.bulk = &bulkReader{ctx: ctx, pace: s.cfg.Pace, file: r, piece: s.piece()}
	return nil
}

// bulkReader reads a file piece by piece, with leave for each.
type bulkReader struct {
	ctx   context.Context //nolint:containedctx // it is used for one content
	pace  Pace
	file  *kindread.Reader
	piece int                   // the most that is read at once
	leave func(fromDevice bool) // given already; nil: none is
}

// Read implements io.Reader.
func (b *bulkReader) Read(p []byte) (int, error) {
	p = p[:min(len(p), b.piece)]
	cached := b.file.Cached(len(p))
	if b.leave == nil && !cached {
		var err error
		if b.leave, err = b.pace.Read(b.ctx, int64(len(p))); err != nil {
			return 0, err
		}
	}
	n, err := b.file.Read(p)
	b.end(!cached)
	return n, err
}

// end gives back the leave that is out, if there is one.
func (b *bulkReader) end(fromDevice bool) {
	if b.leave != nil {
		b.leave(fromDevice)
		b.leave = nil
	}
}

var _ io.Reader = (*bulkReader)(nil)
