package journal

import (
	"fmt"
	"time"
)

// Trim drops whole segments from the oldest on, durably: those in which every
// record is at or below keep and at or below every cursor that is not behind
// already; and, while the journal is larger than MaxSize or the segment is older
// than MaxAge, also those that only keep allows, whereby cursors become Behind.
// Never more than keep allows, and never the last segment. What an error leaves
// undone is done by the next call.
func (l *Log) Trim(keep Sequence) error {
	l.trimMu.Lock()
	defer l.trimMu.Unlock()
	if err := l.tidy(); err != nil {
		return err
	}
	for {
		oldest, err := l.droppable(keep)
		if err != nil || oldest == nil {
			return err
		}
		// A cursor that is older in the file than what is kept would be
		// taken for one that is behind.
		if err := l.saveCursors(false); err != nil {
			return err
		}
		if err := l.fs.Remove(oldest.path); err != nil {
			return fmt.Errorf("trimming the journal: %w", err)
		}
		l.mu.Lock()
		l.segments = l.segments[1:]
		l.mu.Unlock()
		l.untidy = true
		if err := l.tidy(); err != nil {
			return err
		}
	}
}

// tidy makes a removal durable before the next one, so that a crash cannot
// leave a gap.
func (l *Log) tidy() error {
	if !l.untidy {
		return nil
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return fmt.Errorf("trimming the journal: %w", err)
	}
	l.untidy = false
	return nil
}

// droppable returns the oldest segment if it may be dropped.
func (l *Log) droppable(keep Sequence) (*segment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	if len(l.segments) == 1 || l.segments[1].before.Sequence > keep {
		return nil, nil
	}
	start, next := l.segments[0].before.Sequence, l.segments[1]
	age := l.opt.Now().Sub(time.Unix(0, next.created))
	if l.bytesLocked() <= l.opt.MaxSize && age <= l.opt.MaxAge {
		for _, p := range l.cursors {
			if p.Sequence >= start && p.Sequence < next.before.Sequence {
				return nil, nil
			}
		}
	}
	return l.segments[0], nil
}
