package config

import (
	"errors"
	"testing"
	"time"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{
		"0B": 0, "1B": 1, "1KiB": 1024, "40MiB": 40 << 20, "4GiB": 4 << 30, "2TiB": 2 << 40,
		"5kB": 5000, "5KB": 5000, "3 MB": 3e6, "1GB": 1e9, "1TB": 1e12, "8388607TiB": 8388607 << 40,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "40", "MiB", "-1MiB", "+1MiB", "1.5GiB", "40mib", "40 Mi B", "0x10B", "8388608TiB", "9223372036854775808B"} {
		if got, err := ParseSize(text); !errors.Is(err, ErrUnit) {
			t.Errorf("ParseSize(%q) = %d, %v, want ErrUnit", text, got, err)
		}
	}
	for size, want := range map[Size]string{0: "0B", 1023: "1023B", 1024: "1KiB", 4 << 30: "4GiB", 1 << 50: "1024TiB", 1e9: "1000000000B"} {
		if got := size.String(); got != want {
			t.Errorf("Size(%d).String() = %q, want %q", int64(size), got, want)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "500ms": 500 * time.Millisecond, "36h": 36 * time.Hour, "7d": 7 * day, "1d12h": 36 * time.Hour, "0d": 0,
		"106751d": 106751 * day, "1d1ns": day + 1,
	} {
		if got, err := ParseDuration(text); err != nil || got != Duration(want) {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "7", "-7d", "+1d", "1d-1h", "1d+1h", "-1h", "1h1d", "1.5d", "106752d", "106751d24h", "1dd", "7 d"} {
		if got, err := ParseDuration(text); !errors.Is(err, ErrUnit) {
			t.Errorf("ParseDuration(%q) = %v, %v, want ErrUnit", text, got, err)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 7 * day: "7d", 36 * time.Hour: "1d12h", 90 * time.Second: "1m30s", 10 * time.Minute: "10m",
		20 * time.Hour: "20h", day + 30*time.Second: "1d30s", time.Hour + time.Second: "1h0m1s",
	} {
		if got := Duration(d).String(); got != want {
			t.Errorf("Duration(%v).String() = %q, want %q", d, got, want)
		}
	}
}

func FuzzSize(f *testing.F) {
	for _, seed := range []string{"40MiB", "0B", "1TB", "9223372036854775807B", "1 KiB"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		size, err := ParseSize(text)
		if err != nil {
			return
		}
		if again, err := ParseSize(size.String()); size < 0 || err != nil || again != size {
			t.Fatalf("%q is %d, written %q, read again %d, %v", text, int64(size), size.String(), int64(again), err)
		}
	})
}

func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"7d", "1d12h", "500ms", "1h0m1s", "106751d23h47m16.854775807s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDuration(text)
		if err != nil {
			return
		}
		if again, err := ParseDuration(d.String()); d < 0 || err != nil || again != d {
			t.Fatalf("%q is %d, written %q, read again %d, %v", text, int64(d), d.String(), int64(again), err)
		}
	})
}
