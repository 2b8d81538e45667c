package hosts

import (
	"errors"
	"os"
	"testing"
)

// Need skips a test that needs hosts where they cannot be made; with CI=true
// in the environment it fails instead.
func Need(t testing.TB) {
	t.Helper()
	err := Available()
	switch {
	case err == nil:
	case errors.Is(err, ErrMissing) && os.Getenv("CI") != "true":
		t.Skipf("SKIPPED: %v", err)
	default:
		t.Fatal(err)
	}
}

// ForTest makes a network that ends with the test.
func ForTest(t testing.TB) *Network {
	t.Helper()
	Need(t)
	n, err := New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}
