package watch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal/vfs"
	"github.com/mailtwin/mailtwin/journal/vfs/crashfs"
)

// BenchmarkLatency measures the time from the rename of a message of 50 KB
// into new/ to its durable entry; with the journal on a disk and in memory,
// which is the observer's own share.
func BenchmarkLatency(b *testing.B) {
	for _, disk := range []struct {
		name string
		fs   vfs.FS
	}{{"disk", vfs.OS()}, {"memory", crashfs.New()}} {
		b.Run(disk.name, func(b *testing.B) {
			f := benchFixture(b, disk.fs)
			content := make([]byte, 50<<10)
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				tmp := f.path(fmt.Sprintf("u1/tmp/%d.h", i))
				if err := os.WriteFile(tmp, content, 0o600); err != nil {
					b.Fatal(err)
				}
				start := time.Now()
				if err := os.Rename(tmp, f.path(fmt.Sprintf("u1/new/%d.h", i))); err != nil {
					b.Fatal(err)
				}
				if _, err := f.reader.Next(f.ctx); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkFloor is the fsync alone that makes an entry durable.
func BenchmarkFloor(b *testing.B) {
	file, err := os.Create(filepath.Join(b.TempDir(), "floor"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	for b.Loop() {
		if _, err := file.Write(make([]byte, 200)); err != nil {
			b.Fatal(err)
		}
		if err := file.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFlags measures how many flag changes are journaled in a second.
func BenchmarkFlags(b *testing.B) {
	f := benchFixture(b, vfs.OS())
	for i := range 1000 {
		f.write(fmt.Sprintf("u1/cur/%d.h:2,", i), "x")
	}
	for range 1000 {
		if _, err := f.reader.Next(f.ctx); err != nil {
			b.Fatal(err)
		}
	}
	n := 0
	for i := 0; b.Loop(); i++ {
		for m := range 1000 {
			from, to := "", "S"
			if i%2 == 1 {
				from, to = to, from
			}
			f.rename(fmt.Sprintf("u1/cur/%d.h:2,%s", m, from), fmt.Sprintf("u1/cur/%d.h:2,%s", m, to))
		}
		for range 1000 {
			if _, err := f.reader.Next(f.ctx); err != nil {
				b.Fatal(err)
			}
		}
		n += 1000
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "changes/s")
}

// BenchmarkScan measures a first scan, and a restart with nothing changed, of
// 50,000 messages in 500 directories.
func BenchmarkScan(b *testing.B) {
	f := newFixture(b)
	for u := range 100 {
		f.mailbox(fmt.Sprintf("s%d", u))
		for m := range 500 {
			f.write(fmt.Sprintf("s%d/cur/%d.h:2,S", u, m), "x")
		}
	}
	f.cfg.Timing.Racy = 1
	for b.Loop() {
		begin := time.Now()
		f.start()
		f.scanned()
		first := time.Since(begin)
		f.close()
		begin = time.Now()
		f.start()
		f.scanned()
		b.ReportMetric(first.Seconds()*1000, "first-ms")
		b.ReportMetric(time.Since(begin).Seconds()*1000, "again-ms")
		b.ReportMetric(float64(f.watcher.Status().DirectoriesListed), "listed")
		f.close()
		f.must(os.RemoveAll(f.state))
		f.must(os.MkdirAll(f.state, 0o700))
		f.disk = crashfs.New()
	}
}

func (f *fixture) scanned() {
	f.wait("scan", func() bool { return !f.watcher.Status().LastScanEnded.IsZero() })
}

func benchFixture(b *testing.B, disk vfs.FS) *fixture {
	f := newFixture(b)
	f.cfg.Timing.Settle, f.cfg.Timing.SettleAtLatest = time.Minute, time.Hour
	f.disk = disk
	f.start()
	f.scanned()
	return f
}
