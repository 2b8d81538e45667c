package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	fillBatch    = 10_000 // messages, not durable
	batches      = 100    // of 1000 renames, measured
	singles      = 1000   // durable single renames, measured
	lookups      = 100_000
	batchRenames = 1000
)

// fill measures what can be measured in the process that makes the store.
func fill(store, dir string, n int) error {
	s, err := open(store, dir)
	if err != nil {
		return err
	}
	begin := time.Now()
	for i := 0; i < n; i += fillBatch {
		var changes []pair
		for j := i; j < min(i+fillBatch, n); j++ {
			changes = append(changes, put(j)...)
		}
		changes = append(changes, tail(i/perDirectory, i)...)
		if err := s.write(changes, false); err != nil {
			return err
		}
	}
	report(store, "fill, batches of 10,000, not durable", "%.0f messages/s", float64(n)/time.Since(begin).Seconds())
	for _, sync := range []bool{false, true} {
		if err := renames(s, store, n, sync); err != nil {
			return err
		}
	}
	anon, file, err := resident()
	if err != nil {
		return err
	}
	report(store, "resident after the updates", "%d MiB anonymous + %d MiB of files", anon>>20, file>>20)
	if err := s.close(); err != nil {
		return err
	}
	size, err := diskUse(dir)
	report(store, "on disk", "%.1f bytes a message, %d MiB", float64(size)/float64(n), size>>20)
	return err
}

// renames measures changes of the flags of messages here and there.
func renames(s store, store string, n int, sync bool) error {
	version := map[int]int{}
	if sync {
		version = nil // other messages than before, so none was renamed
	}
	pick := func(k int) int {
		i := int(mix(uint64(k)<<1)%uint64(n/2)) * 2
		if sync {
			i++
		}
		return i
	}
	begin := time.Now()
	for b := range batches {
		var changes []pair
		for k := range batchRenames {
			i := pick(b*batchRenames + k)
			if version != nil {
				changes = append(changes, rename(i, version[i])...)
				version[i]++
			} else {
				changes = append(changes, rename(i, 0)...)
			}
			changes = append(changes, tail(i/perDirectory, k)...)
		}
		if err := readFirst(s, changes); err != nil {
			return err
		}
		if err := s.write(changes, sync); err != nil {
			return err
		}
	}
	how := "not durable"
	if sync {
		how = "durable"
	}
	report(store, "renames, batches of 1000, "+how, "%.0f/s", float64(batches*batchRenames)/time.Since(begin).Seconds())
	if !sync {
		return nil
	}
	begin = time.Now()
	for k := range singles {
		i := pick(batches*batchRenames + k)
		if err := s.write(append(rename(i, 0), tail(i/perDirectory, k)...), true); err != nil {
			return err
		}
	}
	report(store, "single durable renames", "%.0f/s", singles/time.Since(begin).Seconds())
	return nil
}

// readFirst looks the records up, as the catalog does before it changes them.
func readFirst(s store, changes []pair) error {
	for _, c := range changes {
		if c.key[0] == 'c' {
			if _, err := s.get(c.key); err != nil {
				return err
			}
		}
	}
	return nil
}

// reopen measures a process that finds the store.
func reopen(store, dir string, n int) error {
	begin := time.Now()
	s, err := open(store, dir)
	if err != nil {
		return err
	}
	report(store, "open", "%v", time.Since(begin).Round(time.Microsecond))
	begin = time.Now()
	found := 0
	for k := range lookups {
		key, _, _ := keys(int(mix(uint64(k)<<8)%uint64(n)), 0)
		ok, err := s.get(key)
		if err != nil {
			return err
		}
		if ok {
			found++
		}
	}
	report(store, "random lookups", "%.0f/s (%d%% found)", lookups/time.Since(begin).Seconds(), found*100/lookups)
	anon, file, err := resident()
	if err != nil {
		return err
	}
	report(store, "resident after the lookups", "%d MiB anonymous + %d MiB of files", anon>>20, file>>20)
	return s.close()
}

func report(store, what, format string, args ...any) {
	fmt.Printf("%-8s %-40s %s\n", store, what, fmt.Sprintf(format, args...))
}

// resident returns what of this process is in memory, in bytes.
func resident() (anon, file int64, err error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		var kib int64
		switch name {
		case "RssAnon":
			_, err = fmt.Sscan(rest, &kib)
			anon = kib << 10
		case "RssFile":
			_, err = fmt.Sscan(rest, &kib)
			file = kib << 10
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return anon, file, nil
}

func diskUse(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}
