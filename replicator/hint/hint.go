package hint

import (
	"errors"
	"fmt"
)

// Hinted is an error that knows a remedy. Errors of any package may implement
// it without importing this one.
type Hinted interface {
	error
	// Hint returns what to do, a sentence or two without a full stop at the end.
	Hint() string
}

type hinted struct {
	error
	hint string
}

func (h hinted) Hint() string  { return h.hint }
func (h hinted) Unwrap() error { return h.error }

// Add returns err with a remedy, formatted as by fmt.Sprintf. The text of the
// error and what it wraps stay as they are. A nil err stays nil.
func Add(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return hinted{err, fmt.Sprintf(format, args...)}
}

// Of returns the outermost remedy that err carries, or "".
func Of(err error) string {
	if h, ok := errors.AsType[Hinted](err); ok {
		return h.Hint()
	}
	return ""
}
