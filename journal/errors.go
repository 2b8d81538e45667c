package journal

import "errors"

// What the methods of this package can say besides the errors of the file
// system. Errors wrap them with the detail.
var (
	// ErrNewer says that a file has a format of a later version of this
	// program. Nothing was changed.
	ErrNewer = errors.New("format is newer than this program")
	// ErrCorrupt says that what was durable cannot be read back. Nothing was
	// changed; the detail names the file, the offset, and what to do.
	ErrCorrupt = errors.New("journal is corrupt")
	// ErrTornTail says that the end of the journal was written by an append
	// that was never acknowledged, and was cut off.
	ErrTornTail = errors.New("torn tail")
	// ErrTrimmed says that the journal does not reach back so far any more.
	ErrTrimmed = errors.New("journal is trimmed beyond that place")
	// ErrDiverged says that a position is not one of this journal's history.
	ErrDiverged = errors.New("not in this journal's history")
	// ErrClosed says that the journal or the reader was closed.
	ErrClosed = errors.New("journal is closed")
	// ErrSealed says that the journal takes no more entries.
	ErrSealed = errors.New("journal is sealed")
	// ErrEntry says that an entry cannot be journaled.
	ErrEntry = errors.New("unusable entry")
)
