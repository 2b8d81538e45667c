package journal

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/mailtwin/mailtwin/journal/vfs"
)

// Create makes a journal in dir whose first record will follow the place
// after, which another journal led to, and whose records have the epoch of opt;
// that must not be lower than that of after. Who has followed the other journal
// to exactly that place goes on in this one.
//
// The journal is durable, and open, when Create returns. There must be no
// journal in dir yet: fs.ErrExist. After an error, or a crash before Create
// has returned, dir holds a journal as asked for or none at all; since Open
// would make another one in a directory without any, it should be given the
// name that Open is called with only when Create has returned.
func Create(fsys vfs.FS, dir string, after Position, opt Options) (*Log, error) {
	if err := opt.setDefaults(); err != nil {
		return nil, err
	}
	l := &Log{fs: fsys, dir: dir, opt: opt, wake: make(chan struct{}), cursors: make(map[string]Position)}
	err := l.vacant()
	if err == nil && opt.Epoch < after.Epoch {
		err = fmt.Errorf("records of epoch %d cannot follow %v", opt.Epoch, after)
	}
	if err == nil {
		err = l.create(after, opt.Now().UnixNano())
	}
	if err != nil {
		return nil, fmt.Errorf("creating a journal in %q: %w", dir, err)
	}
	return l, nil
}

// vacant returns fs.ErrExist if there is a journal in the directory, and removes
// what an interrupted atomic write left behind.
func (l *Log) vacant() error {
	paths, err := l.list()
	if err != nil {
		return err
	}
	names, err := l.fs.List(l.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == cursorsName {
			paths = append(paths, filepath.Join(l.dir, name))
		}
	}
	if len(paths) > 0 {
		return fmt.Errorf("%w: %s", fs.ErrExist, strings.Join(paths, ", "))
	}
	return nil
}

// Seal ends the journal: it waits for the appends under way, and every later
// one is ErrSealed. It returns the head, which does not move any more. Readers,
// cursors and trimming go on; to seal again does nothing. A journal that is
// opened again is not sealed: its owner remembers that.
func (l *Log) Seal() (Position, error) {
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return Position{}, ErrClosed
	}
	l.sealed = true
	return l.head, nil
}

// refusal says why nothing can be appended.
func (l *Log) refusal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return ErrClosed
	case l.sealed:
		return ErrSealed
	}
	return nil
}
