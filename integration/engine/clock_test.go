package engine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/status"
)

// shifted is a clock that can be set. Its time goes back for everybody who has
// asked for it before, which is more than the clock of a machine does: the
// monotonic part of its times is set too.
type shifted struct {
	systemClock
	back *atomic.Int64
}

func (c shifted) Now() time.Time { return time.Now().Add(-time.Duration(c.back.Load())) }

// TestClockSetBack: the clock of both nodes is set back an hour while mail comes,
// and forward again. Nothing waits for the hour to pass, nothing is lost or
// doubled, and no lag is told that is not.
func TestClockSetBack(t *testing.T) {
	p := newPair(t)
	p.stopPrimary()
	back := new(atomic.Int64)
	p.clock = shifted{back: back}
	p.start()
	p.startMirror()
	store := p.primary.Store.Path
	const box = "d/u/Maildir/"
	round := 0
	live := func(when string) {
		t.Helper()
		round++
		for i := range 40 {
			name := fmt.Sprintf("%d.M%dP1.host", i, round)
			p.write(box+"new/"+name, fmt.Sprintf("Subject: %s %d\n\nbody\n", when, i))
			var err error
			switch i % 4 {
			case 1:
				p.write(box+"cur/"+name+"x:2,", "Subject: flags\n\nbody\n")
				err = os.Rename(filepath.Join(store, box+"cur", name+"x:2,"), filepath.Join(store, box+"cur", name+"x:2,S"))
			case 2:
				err = os.Remove(filepath.Join(store, box+"new", name))
			case 3:
				// The uidlist is rewritten in place of the one before.
				p.write(box+"dovecot-uidlist", fmt.Sprintf("3 V1 N%d Gabc\n%d :%s\n", i+2, i+1, name))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		d := p.inSync()
		if m := d.Mirrors[0]; m.LagSeconds < 0 || m.LagSeconds > 60 || d.Loss.Entries > 0 {
			t.Errorf("%s: the mirror is %+v, lost: %+v", when, m, d.Loss)
		}
		p.until(p.mirror, "in sync "+when, func(d status.Document) bool {
			return d.State == status.InSync && d.Primary.LagSeconds >= 0 && d.Primary.LagSeconds < 60
		})
		p.equal()
	}
	live("before")
	back.Store(int64(time.Hour))
	live("an hour back")
	p.stopMirror()
	p.write(box+"new/away.M1P1.host", "Subject: away\n\nbody\n")
	p.until(p.primary, "without a mirror", func(d status.Document) bool { return d.State == status.Unknown && d.Mirrors[0].LagEntries > 0 })
	p.stopPrimary()
	p.write(box+"new/down.M1P1.host", "Subject: down\n\nbody\n")
	p.start()
	p.startMirror()
	live("started an hour back")
	back.Store(0)
	live("forward again")
}
