package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// floor is the least that a durable mirror can be: one process that hears of
// a new message by inotify, copies it, makes it durable, renames it, and makes
// the directory durable. It has no journal, no network and no memory.
type floor struct {
	fd       int
	from, to string // mailboxes
}

func newFloor(from, to string) (*floor, error) {
	for _, box := range []string{from, to} {
		if err := makeMailbox(box); err != nil {
			return nil, err
		}
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("starting inotify: %w", err)
	}
	if _, err := unix.InotifyAddWatch(fd, filepath.Join(from, "new"), unix.IN_MOVED_TO); err != nil {
		return nil, errors.Join(fmt.Errorf("watching %q: %w", from, err), unix.Close(fd))
	}
	return &floor{fd: fd, from: from, to: to}, nil
}

// follow copies each new message and calls durable with the number of copies
// so far, until the context ends. It can be called once.
func (f *floor) follow(ctx context.Context, durable func(int)) error {
	events := os.NewFile(uintptr(f.fd), "inotify") // the runtime waits for it
	defer events.Close()
	stop := context.AfterFunc(ctx, func() { _ = events.Close() })
	defer stop()
	buf := make([]byte, 64<<10)
	for copies := 0; ; {
		n, err := events.Read(buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("reading inotify's events: %w", err)
		}
		for at := 0; at < n; {
			event := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at]))
			at += unix.SizeofInotifyEvent
			name := string(bytes.TrimRight(buf[at:at+int(event.Len)], "\x00"))
			at += int(event.Len)
			if event.Mask&unix.IN_Q_OVERFLOW != 0 {
				return errors.New("the floor was too slow for its queue of events")
			}
			if err := f.copy(name); err != nil {
				return err
			}
			copies++
			durable(copies)
		}
	}
}

// copy copies one message durably.
func (f *floor) copy(name string) error {
	from, err := os.Open(filepath.Join(f.from, "new", name))
	if err != nil {
		return err
	}
	defer from.Close()
	temporary := filepath.Join(f.to, "tmp", name)
	to, err := os.Create(temporary)
	if err != nil {
		return err
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if err := to.Sync(); err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(f.to, "new", name)); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Join(f.to, "new"))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
