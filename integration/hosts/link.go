package hosts

import (
	"context"
	"fmt"
)

// nowhere is the hardware address of no host.
const nowhere = "02:00:00:00:00:ff"

// Unplug pulls the host's cable. Nobody on either side is told: connections
// hang until their owners lose patience.
func (h *Host) Unplug(ctx context.Context) error {
	return ip(ctx, "-n", h.network.switchName(), "link", "set", "dev", h.Name, "down")
}

// PlugIn plugs the cable in again.
func (h *Host) PlugIn(ctx context.Context) error {
	return ip(ctx, "-n", h.network.switchName(), "link", "set", "dev", h.Name, "up")
}

// Cut cuts the link between two hosts and no other: what they send to each
// other's own address is lost without a word.
func (n *Network) Cut(ctx context.Context, a, b *Host) error {
	for _, side := range [][2]*Host{{a, b}, {b, a}} {
		if err := ip(ctx, "-n", side[0].ns, "neighbour", "replace", side[1].Address,
			"lladdr", nowhere, "dev", "eth0", "nud", "permanent"); err != nil {
			return err
		}
	}
	return nil
}

// Mend mends the link between two hosts. It is no error if it was not cut.
func (n *Network) Mend(ctx context.Context, a, b *Host) error {
	for _, side := range [][2]*Host{{a, b}, {b, a}} {
		// Replaced first, so that there is something to delete.
		for _, args := range [][]string{
			{"neighbour", "replace", side[1].Address, "lladdr", nowhere, "dev", "eth0", "nud", "permanent"},
			{"neighbour", "delete", side[1].Address, "dev", "eth0"},
		} {
			if err := ip(ctx, append([]string{"-n", side[0].ns}, args...)...); err != nil {
				return err
			}
		}
	}
	return nil
}

// Slow limits what the host sends and what is sent to it, in bytes a second
// each; up to a second's worth waits, the rest is lost. 0 is no limit.
func (h *Host) Slow(ctx context.Context, bytesPerSecond int) error {
	for _, end := range [][2]string{{h.ns, "eth0"}, {h.network.switchName(), h.Name}} {
		args := []string{"-n", end[0], "qdisc", "replace", "dev", end[1], "root"}
		if bytesPerSecond == 0 {
			args = append(args, "pfifo", "limit", "1000")
		} else {
			args = append(args, "tbf", "rate", fmt.Sprintf("%dbps", bytesPerSecond), "burst", "32kb", "latency", "1s")
		}
		if err := run(ctx, "tc", args...); err != nil {
			return err
		}
	}
	return nil
}
