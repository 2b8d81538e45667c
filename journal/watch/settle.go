package watch

import (
	"time"

	"github.com/mailtwin/mailtwin/journal"
)

// settler remembers the directories that had hints, until they are listed in
// full: what hints did not tell is found then. Only the observer uses it.
type settler struct {
	quiet    time.Duration // how long a directory is quiet before it is due
	atLatest time.Duration // how often a busy one is due, and a quiet one at most
	limit    int
	dirs     map[journal.Path]*unsettled
	next     time.Duration // nothing is due before it
	active   int           // those that had hints since they were listed
	lost     bool          // there was no room for one
}

// unsettled is a directory that had hints, or was listed a moment ago.
type unsettled struct {
	first, last time.Duration // hints since it was listed
	listed      time.Duration // 0: not remembered
	quiet       bool          // no hints since it was listed
}

func newSettler(quiet, atLatest time.Duration, limit int) *settler {
	return &settler{quiet: quiet, atLatest: atLatest, limit: limit, dirs: make(map[journal.Path]*unsettled), next: never}
}

// touch says that something in a directory may have changed.
func (s *settler) touch(dir journal.Path, now time.Duration) {
	u := s.dirs[dir]
	if u == nil {
		if len(s.dirs) >= s.limit {
			s.lost = true
			return
		}
		u = &unsettled{quiet: true}
		s.dirs[dir] = u
	}
	if u.quiet {
		u.quiet, u.first = false, now
		s.active++
	}
	u.last = now
	s.next = min(s.next, s.due(u))
}

// due returns when a directory is to be listed: when it has been quiet for a
// while, but not more often than once in atLatest, and at the latest
// that long after its first hint.
func (s *settler) due(u *unsettled) time.Duration {
	if u.quiet {
		return u.listed + s.atLatest // to be forgotten
	}
	due := u.last + s.quiet
	if u.listed != 0 {
		due = max(due, u.listed+s.atLatest)
	}
	return min(due, max(u.first, u.listed)+s.atLatest)
}

// listed says that a directory was listed. One whose observation was not
// complete will be listed again.
func (s *settler) listed(dir journal.Path, now time.Duration, complete bool) {
	if !complete {
		s.touch(dir, now)
		if u := s.dirs[dir]; u != nil {
			u.first = now
		}
		return
	}
	if u := s.dirs[dir]; u != nil {
		s.rest(u, now)
	}
}

// take returns a directory that is due.
func (s *settler) take(now time.Duration) (journal.Path, bool) {
	if now < s.next {
		return "", false
	}
	s.next = never
	var found journal.Path
	ok := false
	for p, u := range s.dirs {
		due := s.due(u)
		switch {
		case due > now:
			s.next = min(s.next, due)
		case u.quiet:
			delete(s.dirs, p)
		case !ok:
			found, ok = p, true
			s.rest(u, now)
		default:
			s.next = now
		}
	}
	return found, ok
}

// rush makes every directory that had hints due now.
func (s *settler) rush(now time.Duration) {
	for _, u := range s.dirs {
		if !u.quiet {
			u.first, u.last, u.listed = now-s.atLatest, now-s.quiet, 0
			s.next = min(s.next, now)
		}
	}
}

// rest says that a directory is being listed, or was.
func (s *settler) rest(u *unsettled, now time.Duration) {
	if !u.quiet {
		s.active--
	}
	u.quiet, u.listed = true, max(now, 1)
	s.next = min(s.next, s.due(u))
}

// forget forgets a directory that is gone.
func (s *settler) forget(dir journal.Path) {
	if u := s.dirs[dir]; u != nil && !u.quiet {
		s.active--
	}
	delete(s.dirs, dir)
}
