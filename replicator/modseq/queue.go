package modseq

import (
	"container/heap"
	"fmt"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/journal"
)

// The pauses before a user that failed is tried again.
const (
	firstRetry = 250 * time.Millisecond // a promotion comes before the start of Dovecot
	lastRetry  = 10 * time.Minute
)

// user is one whose mailboxes are to be raised.
type user struct {
	name   string
	newest time.Time // when mail last came to him, as far as that is known
	asked  uint64    // the higher, the later was he asked for; 0: never
	due    time.Time // not before; zero: now
	place  int       // in the heap; -1: being done
	tries  int
	// widened are the folders that a gap of UIDs was left in, so that a user
	// who has to be tried again and again gets one gap only.
	widened map[string]bool
	// renumbered is the directory in which the last UIDVALIDITY of the user's is kept
	// and was raised, in the store.
	renumbered journal.Path
	failed     error
	ended      chan struct{} // closed when the next try has ended
}

// queue holds the users that are not done, in the order to do them. It is safe
// for concurrent use.
type queue struct {
	mu      sync.Mutex
	heap    byTurn
	users   map[string]*user // that are not done
	done    map[string]bool
	asked   uint64
	failing int
	last    error // of the last try that failed
	closed  bool  // no more are added than those who are asked for
	changed chan struct{}
}

func newQueue(done map[string]bool) *queue {
	return &queue{users: make(map[string]*user), done: done, changed: make(chan struct{})}
}

// news wakes those who wait for work. q.mu is held.
func (q *queue) news() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// add adds users that are neither done nor in the queue, and returns an error
// if there are too many.
func (q *queue) add(names []string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.news()
	for _, name := range names {
		if _, err := q.get(name); err != nil {
			return err
		}
	}
	return nil
}

// get returns the user of that name, and nil for one who is done. q.mu is
// held.
func (q *queue) get(name string) (*user, error) {
	if q.done[name] {
		return nil, nil
	}
	if u := q.users[name]; u != nil {
		return u, nil
	}
	if len(q.users)+len(q.done) >= MaxUsers {
		return nil, fmt.Errorf("there are more than %d users", MaxUsers)
	}
	u := &user{name: name, ended: make(chan struct{})}
	q.users[name] = u
	heap.Push(&q.heap, u)
	return u, nil
}

// order puts those to whom mail came last first.
func (q *queue) order(newest map[string]time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for name, at := range newest {
		if u := q.users[name]; u != nil {
			u.newest = at
		}
	}
	heap.Init(&q.heap)
}

// close says that all users have been added.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.news()
}

// ask puts a user first. He is done if ended is nil; otherwise it is closed
// when the next try has ended.
func (q *queue) ask(name string) (ended <-chan struct{}, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u, err := q.get(name)
	if u == nil || err != nil {
		return nil, err
	}
	q.asked++
	u.asked, u.due = q.asked, time.Time{}
	if u.place >= 0 {
		heap.Fix(&q.heap, u.place)
	}
	q.news()
	return u.ended, nil
}

// result returns why the last try of a user failed; nil if he is done.
func (q *queue) result(name string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if u := q.users[name]; u != nil {
		return u.failed
	}
	return nil
}

// next takes the user whose turn it is. If there is none now, it returns what
// is closed at the next change and, unless it is 0, how long it is until the
// turn of the next one. finished says that there will be none.
func (q *queue) next(now time.Time) (u *user, changed <-chan struct{}, wait time.Duration, finished bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.take(now)
}

// nextAsked is next for those who were asked for, and for nobody else.
func (q *queue) nextAsked(now time.Time) (u *user, changed <-chan struct{}, wait time.Duration, finished bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.heap) > 0 && q.heap[0].asked == 0 {
		return nil, q.changed, 0, false
	}
	return q.take(now)
}

// take is next. q.mu is held.
func (q *queue) take(now time.Time) (u *user, changed <-chan struct{}, wait time.Duration, finished bool) {
	if len(q.heap) == 0 {
		return nil, q.changed, 0, q.closed && len(q.users) == 0
	}
	if first := q.heap[0]; first.due.After(now) {
		return nil, q.changed, first.due.Sub(now), false
	}
	u, _ = heap.Pop(&q.heap).(*user)
	return u, q.changed, 0, false
}

// end says how a try of a user ended.
func (q *queue) end(u *user, err error, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if u.failed != nil {
		q.failing--
	}
	u.failed = err
	close(u.ended)
	if err == nil {
		delete(q.users, u.name)
		q.done[u.name] = true
	} else {
		q.failing++
		q.last = err
		u.ended = make(chan struct{})
		u.asked = 0
		u.due = now.Add(min(firstRetry<<min(u.tries, 20), lastRetry))
		u.tries++
		heap.Push(&q.heap, u)
	}
	q.news()
}

// counts are what the queue holds.
func (q *queue) counts() (done, left, failing int, last error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failing > 0 {
		last = q.last
	}
	return len(q.done), len(q.users), q.failing, last
}

// byTurn is a heap: who was asked for first, then whose mail is newest; who
// has to wait comes after all others.
type byTurn []*user

func (h byTurn) Len() int { return len(h) }

func (h byTurn) Less(i, j int) bool {
	a, b := h[i], h[j]
	switch {
	case !a.due.Equal(b.due):
		return a.due.Before(b.due)
	case (a.asked == 0) != (b.asked == 0):
		return a.asked != 0
	case a.asked != b.asked:
		return a.asked < b.asked
	case !a.newest.Equal(b.newest):
		return a.newest.After(b.newest)
	}
	return a.name < b.name
}

func (h byTurn) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *byTurn) Push(x any) {
	if u, ok := x.(*user); ok {
		u.place = len(*h)
		*h = append(*h, u)
	}
}

// Pop implements heap.Interface.
func (h *byTurn) Pop() any {
	last := len(*h) - 1
	u := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	u.place = -1
	return u
}
