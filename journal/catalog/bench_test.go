package catalog

import (
	"fmt"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
)

func benchPath(i int) journal.Path {
	return journal.Path(fmt.Sprintf("example.net/user%03d/cur/%d.M%06dP12345.mx1.example.net,S=%d,W=%d:2,S",
		i/2500, 1_600_000_000+i*20, i*7919%1_000_000, 2000+i%90_000, 2100+i%90_000))
}

func fillBench(b *testing.B, n int) *Catalog {
	b.Helper()
	c := openTest(b, b.TempDir())
	for i := 0; i < n; i += 1000 {
		update(b, c, func(tx *Tx) {
			for j := i; j < i+1000; j++ {
				check(b, tx.Put(benchPath(j), file(uint64(j+1))))
			}
		})
	}
	return c
}

func BenchmarkUpdate1000Puts(b *testing.B) {
	c := fillBench(b, 10_000)
	n := 10_000
	for b.Loop() {
		update(b, c, func(tx *Tx) {
			for range 1000 {
				check(b, tx.Put(benchPath(n), file(uint64(n+1))))
				n++
			}
		})
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "puts/s")
}

func BenchmarkUpdate1000FlagChanges(b *testing.B) {
	const n = 10_000
	c := fillBench(b, n)
	from, to := "", "F"
	at := 0
	for b.Loop() {
		update(b, c, func(tx *Tx) {
			for i := at; i < at+1000; i++ {
				e := journal.Entry{
					Kind: journal.KindMove, From: benchPath(i) + journal.Path(from), Path: benchPath(i) + journal.Path(to),
					Facts: file(uint64(i + 1)).Facts, Stamp: stamp(uint64(i + 1)),
				}
				check(b, tx.Apply(&e))
			}
		})
		if at = (at + 1000) % n; at == 0 {
			from, to = to, to+"F"
			if len(to) > 20 {
				to = ""
			}
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "changes/s")
}

func BenchmarkDurablePut(b *testing.B) {
	c := fillBench(b, 10_000)
	n := 10_000
	for b.Loop() {
		check(b, c.UpdateDurably(func(tx *Tx) error { return tx.Put(benchPath(n), file(uint64(n+1))) }))
		n++
	}
}

func BenchmarkLookup(b *testing.B) {
	const n = 50_000
	c := fillBench(b, n)
	view(b, c, func(tx *Tx) {
		for i := 0; b.Loop(); i++ {
			if _, err := tx.Lookup(benchPath(i * 7919 % n)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkView(b *testing.B) {
	c := fillBench(b, 1000)
	for b.Loop() {
		view(b, c, func(*Tx) {})
	}
}

func BenchmarkList10000(b *testing.B) {
	c := openTest(b, b.TempDir())
	update(b, c, func(tx *Tx) {
		for i := range 10_000 {
			check(b, tx.Put(journal.Path("cur/"+benchPath(i).Name()), file(uint64(i+1))))
		}
	})
	for b.Loop() {
		view(b, c, func(tx *Tx) {
			check(b, tx.List("cur", "", func(string, Item) error { return nil }))
		})
	}
}

func BenchmarkRemoveDirectoryOf10000(b *testing.B) {
	c := openTest(b, b.TempDir())
	for b.Loop() {
		b.StopTimer()
		update(b, c, func(tx *Tx) {
			for i := range 10_000 {
				check(b, tx.Put(journal.Path("cur/"+benchPath(i).Name()), file(uint64(i+1))))
			}
		})
		b.StartTimer()
		update(b, c, func(tx *Tx) { check(b, tx.Remove("cur")) })
	}
}
