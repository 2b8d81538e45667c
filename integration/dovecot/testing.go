package dovecot

import (
	"errors"
	"os"
	"testing"
)

// logShown is how much of the log a failed test shows.
const logShown = 4 << 10

// New starts a Dovecot for a test, which ends with the test; its log is shown
// when the test failed. Where there is no Dovecot the test is skipped, and
// says what to install; with CI=true in the environment it fails instead.
func New(t testing.TB, opt Options) *Server {
	t.Helper()
	Need(t)
	s, err := Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log := s.Log()
			t.Logf("dovecot complains of %q; its log ends with:\n%s", s.Complaints(), log[max(0, len(log)-logShown):])
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Need skips a test that needs a Dovecot where there is none; with CI=true it
// fails.
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

// StoreDir makes a directory that the owner of the mail can reach, which the
// directories of t.TempDir are not. It is removed when the test ends.
func StoreDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mailstore")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
