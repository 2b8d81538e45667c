package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// How long the demo takes at the most in each of its parts.
const (
	demoLive    = 5 * time.Second  // mail comes in
	demoPatient = 20 * time.Second // until the mirror has caught up at the end
	demoLine    = 200 * time.Millisecond
)

func (p *program) demoCommand() *cobra.Command {
	var store string
	var keep bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show a pair at work on this machine, with sample mail",
		Long: "Runs a primary and a mirror on this machine, over loopback with mutual TLS, and replicates\n" +
			"a sample mailstore while mail is delivered, read and expunged in it; then proves that both\n" +
			"are equal. Everything is in a temporary directory that is removed at the end.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return p.demo(c.Context(), store, keep) },
	}
	c.Flags().StringVar(&store, "store", "", "replicate this mailstore, which is only read, in place of sample mail (the temporary `directory` must have room for its copy)")
	c.Flags().BoolVar(&keep, "keep", false, "go on until interrupted")
	return c
}

// demo is one run of the command.
func (p *program) demo(ctx context.Context, store string, keep bool) (err error) {
	dir, err := os.MkdirTemp("", "mailtwin-demo-")
	if err != nil {
		return fmt.Errorf("making a temporary directory: %w", err)
	}
	defer func() {
		if rerr := os.RemoveAll(dir); err == nil && rerr != nil {
			err = fmt.Errorf("removing the temporary directory: %w", rerr)
		}
	}()
	var mail *sample
	if store == "" {
		store = filepath.Join(dir, "vmail")
		p.note("Making sample mail in %s", store)
		if mail, err = newSample(store); err != nil {
			return fmt.Errorf("making sample mail: %w", err)
		}
	} else if store, err = filepath.Abs(store); err != nil {
		return err
	} else if err := storeExists(store); err != nil {
		return err
	}
	p.note("Starting a primary and its mirror on loopback, with mutual TLS")
	began := time.Now()
	pair, err := p.startPair(ctx, dir, store)
	if err != nil {
		return err
	}
	err = p.show(ctx, pair, mail, keep, began)
	stopped := pair.stop()
	if err != nil && stopped == nil && ctx.Err() != nil {
		p.note("Interrupted before the end")
		return verdict(exitFailed)
	}
	return errors.Join(err, stopped)
}

// show is what there is to be seen, from the first copy to the proof.
func (p *program) show(ctx context.Context, pair *demoPair, mail *sample, keep bool, began time.Time) error {
	line := p.newLiveLine()
	first, err := p.settle(ctx, pair, line, 0)
	if err != nil {
		return err
	}
	line.end()
	p.note("First copy: %d files, %s in %s", first.Store.Files, status.Bytes(first.Store.Bytes),
		time.Since(began).Round(10*time.Millisecond))
	var load *load
	if mail != nil {
		p.note("Mail is delivered, read and expunged now")
		live, cancel := context.WithTimeout(ctx, demoLive)
		if keep {
			live, cancel = context.WithCancel(ctx)
		}
		load = newLoad(mail, pair.mirror.store)
		err := p.watchLoad(live, pair, load, line)
		cancel()
		if err != nil {
			return err
		}
	} else if keep {
		p.note("Watching %s until interrupted", pair.primary.store)
		if err := p.watchLoad(ctx, pair, nil, line); err != nil {
			return err
		}
	}
	// An interrupt ends the load, not the proof.
	last, err := p.settle(context.WithoutCancel(ctx), pair, line, demoPatient)
	if err != nil {
		return err
	}
	line.end()
	return p.summary(pair, last, load)
}

// watchLoad shows the status until ctx ends, with the load, if any, under way.
func (p *program) watchLoad(ctx context.Context, pair *demoPair, load *load, line *liveLine) error {
	done := make(chan error, 1)
	go func() {
		if load == nil {
			<-ctx.Done()
			done <- nil
			return
		}
		done <- load.run(ctx)
	}()
	tick := time.NewTicker(demoLine)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			line.end()
			return err
		case err := <-pair.failed:
			return err
		case <-tick.C:
			if doc, err := pair.primary.status(ctx); err == nil {
				line.show(doc)
			}
		}
	}
}

// settle waits until the mirror has all and both are proven equal, showing the
// status meanwhile. patience of 0 is as long as it takes.
func (p *program) settle(ctx context.Context, pair *demoPair, line *liveLine, patience time.Duration) (status.Document, error) {
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	tick := time.NewTicker(demoLine)
	defer tick.Stop()
	quiet := 0
	for {
		doc, err := pair.primary.status(ctx)
		if err == nil {
			line.show(doc)
			twin, terr := pair.mirror.status(ctx)
			// Twice, for what was changed last may not have been noticed yet.
			if terr == nil && provenEqual(doc, twin) {
				quiet++
			} else {
				quiet = 0
			}
			if quiet >= 2 {
				return doc, nil
			}
		}
		select {
		case err := <-pair.failed:
			return doc, err
		case <-ctx.Done():
			if patience == 0 {
				return doc, ctx.Err()
			}
			return doc, hint.Add(fmt.Errorf("the mirror was not proven equal within %v: %s", patience, doc.Detail),
				"this should not happen: please report it with the lines above")
		case <-tick.C:
		}
	}
}

// provenEqual reports whether the two nodes say that the mirror has everything
// and that its digest is the primary's.
func provenEqual(primary, mirror status.Document) bool {
	if len(primary.Mirrors) != 1 || primary.Journal == nil || mirror.Primary == nil {
		return false
	}
	w := primary.Store.Watch
	return primary.State == status.InSync && mirror.State == status.InSync &&
		primary.Store.Unread == 0 && (w == nil || w.Pending == 0 && w.BeingWritten == 0) &&
		mirror.Primary.Proven && mirror.Primary.ProvenSequence == primary.Journal.Sequence
}
