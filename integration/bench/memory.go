package main

import (
	"context"
	"fmt"

	"github.com/mailtwin/mailtwin/integration/pair"
	"github.com/mailtwin/mailtwin/integration/tree"
)

// growthBar is how much more memory the large tree may need.
const growthBar = 32 << 20

// peak is the most memory that the daemons of a pair had resident.
type peak struct {
	messages        int
	primary, mirror int64 // bytes
}

// notePeaks notes the peaks of a running pair.
func (b *bench) notePeaks(p *pair.Pair, messages int) error {
	primary, err := p.Primary.PeakMemory()
	if err != nil {
		return err
	}
	mirror, err := p.Mirror.PeakMemory()
	if err != nil {
		return err
	}
	b.say("memory with %d messages: primary %d MiB, mirror %d MiB", messages, primary>>20, mirror>>20)
	b.peaks = append(b.peaks, peak{messages, primary, mirror})
	return nil
}

// memory is case e: the same work on a tree of small messages with the usual
// number of them and with many.
func (b *bench) memory(ctx context.Context) error {
	b.peaks = nil // those of the first sync had messages of another size
	for _, messages := range []int{b.messages, b.many} {
		if err := b.peakOf(ctx, messages); err != nil {
			return fmt.Errorf("measuring the memory with %d messages: %w", messages, err)
		}
	}
	small, large := b.peaks[0], b.peaks[1]
	for _, node := range []struct {
		name          string
		before, after int64
	}{{"primary", small.primary, large.primary}, {"mirror", small.mirror, large.mirror}} {
		growth := node.after - node.before
		b.rows = append(b.rows, row{
			what: fmt.Sprintf("peak resident memory of the %s, %d messages", node.name, large.messages),
			ours: fmt.Sprintf("%d MiB", node.after>>20), peers: fmt.Sprintf("%d messages: %d MiB", small.messages, node.before>>20),
			ratio: fmt.Sprintf("%+d MiB", growth>>20), bar: "< 32 MiB", met: growth < growthBar,
		})
	}
	return nil
}

// peakOf lets a pair make its first sync of a tree, and some changes, and
// notes the peaks.
func (b *bench) peakOf(ctx context.Context, messages int) error {
	source, mirror := b.path("source"), b.path("mirror")
	spec := tree.Default(messages)
	spec.MeanSize = 3000
	b.say("making a tree of %d small messages", messages)
	if _, err := tree.Generate(ctx, source, spec); err != nil {
		return err
	}
	p, err := b.pair(ctx, source, mirror, true)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.WaitInSync(ctx); err != nil {
		return err
	}
	if err := newChanger(source, 3).mixed(min(2000, messages/2)); err != nil {
		return err
	}
	if err := p.WaitInSync(ctx); err != nil {
		return err
	}
	if err := b.notePeaks(p, messages); err != nil {
		return err
	}
	if err := p.Close(); err != nil {
		return err
	}
	if err := equal(ctx, source, mirror); err != nil {
		return err
	}
	return b.remove(source, mirror)
}
