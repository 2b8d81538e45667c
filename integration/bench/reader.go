package main

import (
	"context"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// reader is a foreground: it opens messages that are in no memory, at random,
// so many times a second, and notes how long that takes. One that is late does
// not hold up the next ones.
type reader struct {
	files  []string // each is read once
	off    atomic.Bool
	opened atomic.Int64

	mu   sync.Mutex
	took []sampleOf
}

type sampleOf struct {
	at   time.Time
	took time.Duration
}

// newReader finds the messages beneath a directory.
func newReader(dir string) (*reader, error) {
	r := &reader{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && (filepath.Base(filepath.Dir(path)) == "cur" || filepath.Base(filepath.Dir(path)) == "new") {
			r.files = append(r.files, path)
		}
		return err
	})
	rng := rand.New(rand.NewPCG(5, 5))
	rng.Shuffle(len(r.files), func(i, j int) { r.files[i], r.files[j] = r.files[j], r.files[i] })
	return r, err
}

// run reads until ctx ends.
func (r *reader) run(ctx context.Context, perSecond int) {
	var group sync.WaitGroup
	defer group.Wait()
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if r.off.Load() {
			continue
		}
		path := r.files[int(r.opened.Add(1)-1)%len(r.files)]
		group.Go(func() {
			start := time.Now()
			f, err := os.Open(path)
			if err != nil {
				return
			}
			defer f.Close()
			_, _ = io.Copy(io.Discard, f) // how long it takes is what counts
			r.mu.Lock()
			r.took = append(r.took, sampleOf{start, time.Since(start)})
			r.mu.Unlock()
		})
	}
}

// between returns what was noted of reads that began from then on, before end.
func (r *reader) between(from, end time.Time) []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []time.Duration
	for _, s := range r.took {
		if !s.at.Before(from) && s.at.Before(end) {
			out = append(out, s.took)
		}
	}
	return out
}
