package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/mailtwin/mailtwin/integration/ledger"
	"github.com/mailtwin/mailtwin/integration/site"
	"github.com/mailtwin/mailtwin/integration/tree"
)

// within is how long what is expected may take, and what is done; each of a
// number of messages has as long.
const within = time.Minute

// Options say how a story is run.
type Options struct {
	Binary string // the mailtwin command
	Seed   uint64 // of all chance in it
	// Hooks gives the nodes hooks, which a mailtwin without failover has not.
	Hooks bool
	// Say is told each sentence as it is run, and what came of it.
	Say func(format string, args ...any)
	// Shown is told what operators typed and saw, once the story has ended well.
	Shown func(typed []site.Typed)
	// Keep is a directory for what hosts have on their disks when a story fails; "":
	// nothing is kept.
	Keep string
}

// run is a story that is being run.
type run struct {
	*site.Site
	opt     Options
	rng     *rand.Rand
	mail    *tree.Writer
	primary *site.Machine // as far as the story knows
	loss    site.Loss     // what the last failover said that it may lose
	wrong   []string      // what users were shown that cannot be
}

// Run runs a story. The error says what was not as expected, and how
// everything was then.
func (s Script) Run(ctx context.Context, opt Options) (err error) {
	r := &run{opt: opt, rng: rand.New(rand.NewPCG(opt.Seed, 17)), mail: tree.NewWriter(opt.Seed)}
	r.Site, err = site.New(ctx, site.Options{Binary: opt.Binary, Names: s.Hosts, Hooks: opt.Hooks, Keep: opt.Keep})
	if r.Site != nil {
		defer func() { err = errors.Join(err, r.Close()) }()
	}
	if err != nil {
		return err
	}
	began := time.Now()
	for _, st := range s.steps {
		if err := r.step(ctx, st); err != nil {
			err = fmt.Errorf("line %d, %q: %w\n%s\n%s", st.line, st.text, err, r.Describe(), r.Logs())
			return errors.Join(err, r.Keep(context.WithoutCancel(ctx)))
		}
		opt.Say("%6.2f s  %s", time.Since(began).Seconds(), st.text)
	}
	opt.Say("%s", r.Ledger.Counts())
	if opt.Shown != nil {
		opt.Shown(r.Typed())
	}
	return nil
}

// step runs one sentence.
func (r *run) step(ctx context.Context, st step) error {
	if !st.verb.many {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, within)
		defer cancel()
	}
	if err := st.verb.run(ctx, r, st.args); err != nil {
		return err
	}
	return told("users were shown what cannot be", r.wrong)
}

// rest ends the traffic and notes what users were shown.
func (r *run) rest() { r.wrong = append(r.wrong, r.StopTraffic()...) }

// check holds all mail against the ledger.
func (r *run) check(ctx context.Context, salvaged bool) (ledger.Verdict, error) {
	r.rest()
	v, err := r.Check(ctx, salvaged)
	if err != nil {
		return v, err
	}
	return v, told("promises were not kept ("+r.Ledger.Counts().String()+")", v.Wrong)
}
