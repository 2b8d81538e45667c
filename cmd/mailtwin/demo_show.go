package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/replicator/status"
)

// liveLine is the status in one line that is written over, on a terminal; else
// a line every few seconds.
type liveLine struct {
	p        *program
	terminal bool
	drawn    bool
	last     time.Time
}

const lineEvery = 2 * time.Second // where lines cannot be written over

func (p *program) newLiveLine() *liveLine {
	f, ok := p.err.(*os.File)
	if !ok {
		return &liveLine{p: p}
	}
	info, err := f.Stat()
	return &liveLine{p: p, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (l *liveLine) show(d status.Document) {
	text := fmt.Sprintf("%-9s %d files, %s", d.State, d.Store.Files, status.Bytes(d.Store.Bytes))
	if len(d.Mirrors) == 1 {
		m := d.Mirrors[0]
		text += fmt.Sprintf(" | mirror: %d files, %s sent, %d entries behind", m.Files, status.Bytes(m.SentBytes), m.LagEntries)
		if m.FilesLeft > 0 {
			text += fmt.Sprintf(", %d files (%s) to copy", m.FilesLeft, status.Bytes(m.BytesLeft))
		}
	}
	now := l.p.now()
	switch {
	case l.terminal:
		fmt.Fprintf(l.p.err, "\r\x1b[K  %s", text)
		l.drawn = true
	case now.Sub(l.last) >= lineEvery:
		l.p.note("  %s", text)
		l.last = now
	}
}

// end makes room for other lines.
func (l *liveLine) end() {
	if l.drawn {
		fmt.Fprint(l.p.err, "\r\x1b[K")
		l.drawn = false
	}
}

// summary says what was done and proves that both are equal: by the digests
// that the nodes compared, and for sample mail by reading both trees.
func (p *program) summary(pair *demoPair, d status.Document, load *load) error {
	m := d.Mirrors[0]
	fmt.Fprintf(p.out, "replicated   %d files, %s; %d changes in the journal\n", d.Store.Files, status.Bytes(d.Store.Bytes), d.Journal.Sequence)
	if load != nil {
		fmt.Fprintf(p.out, "live         %d deliveries, %d flag changes, %d expunges\n", load.delivered, load.flagged, load.expunged)
		slices.Sort(load.latencies)
		fmt.Fprintf(p.out, "latency      delivered to visible on the mirror: p50 %s, p90 %s, p99 %s, max %s\n",
			percentile(load.latencies, 50), percentile(load.latencies, 90), percentile(load.latencies, 99), percentile(load.latencies, 100))
	}
	if m.SentRawBytes > 0 {
		fmt.Fprintf(p.out, "on the wire  %s for %s of content: %.0f%% saved by deduplication and compression\n",
			status.Bytes(m.SentBytes), status.Bytes(m.SentRawBytes), 100*(1-float64(m.SentBytes)/float64(m.SentRawBytes)))
	}
	fmt.Fprintf(p.out, "proof        both nodes have the same digest at entry %d\n", d.Journal.Sequence)
	if load == nil {
		return nil
	}
	if load.lost > 0 {
		return fmt.Errorf("%d deliveries did not appear on the mirror within %v", load.lost, appearWithin)
	}
	files, err := sameTrees(pair.primary.store, pair.mirror.store)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "             and so say both trees, read again: %d files equal in name, content, mode and mtime\n", files)
	return nil
}

// percentile returns that of sorted values.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, (len(sorted)*p+99)/100-1)].Round(100 * time.Microsecond)
}

// stagingName is the directory that a mirror has beside the mail.
const stagingName = "..mailtwin"

// sameTrees compares two stores file by file and returns how many there are.
func sameTrees(one, other string) (files int, err error) {
	names := make(map[string]bool)
	err = walkFiles(one, func(path string, info fs.FileInfo) error {
		names[path] = true
		files++
		return sameFile(filepath.Join(one, path), filepath.Join(other, path), info)
	})
	if err != nil {
		return files, fmt.Errorf("the stores differ: %w", err)
	}
	err = walkFiles(other, func(path string, _ fs.FileInfo) error {
		if !names[path] {
			return fmt.Errorf("%q is on the mirror alone", path)
		}
		return nil
	})
	if err != nil {
		return files, fmt.Errorf("the stores differ: %w", err)
	}
	return files, nil
}

// walkFiles calls f with the files that are replicated, by their paths in root.
func walkFiles(root string, f func(path string, info fs.FileInfo) error) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == stagingName:
			return fs.SkipDir
		case d.IsDir() || filepath.Base(filepath.Dir(path)) == "tmp":
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return f(strings.TrimPrefix(path, root+"/"), info)
	})
}

func sameFile(path, twin string, info fs.FileInfo) error {
	other, err := os.Lstat(twin)
	if err != nil {
		return err
	}
	if other.Mode() != info.Mode() || !other.ModTime().Equal(info.ModTime()) {
		return fmt.Errorf("%q has other attributes on the mirror", path)
	}
	a, err := os.ReadFile(path)
	b, berr := os.ReadFile(twin)
	if err := errors.Join(err, berr); err != nil {
		return err
	}
	if !bytes.Equal(a, b) {
		return fmt.Errorf("%q has another content on the mirror", path)
	}
	return nil
}
