package primary

import (
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/wire"
)

// TestStride hands batches to networks of different speed: on each, one batch
// takes no longer than a moment soon, and is no smaller than it need be.
func TestStride(t *testing.T) {
	for _, tt := range []struct {
		name      string
		rate      int // bytes a second
		low, high int
	}{
		{"a modem", 1 << 10, minStride, minStride},
		{"1 MiB/s", 1 << 20, 32 << 10, 128 << 10},
		{"a fast network", 1 << 30, wire.MaxBatchBytes, wire.MaxBatchBytes},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStride()
			for range 10 {
				s.took(int(s), time.Second*time.Duration(s)/time.Duration(tt.rate))
			}
			if int(s) < tt.low || int(s) > tt.high {
				t.Errorf("%d bytes, want %d to %d", s, tt.low, tt.high)
			}
		})
	}
	s := newStride()
	s.took(100, 0)
	if s != newStride() {
		t.Errorf("a batch that was hardly filled made of the stride %d", s)
	}
}
