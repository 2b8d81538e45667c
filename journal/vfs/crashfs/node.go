package crashfs

import (
	"math/rand/v2"
	"slices"
)

// sector is how many bytes reach the disk together.
const sector = 512

// node is a file, whatever its name.
type node struct {
	live    []byte
	durable []byte
	pending []dataChange // since the last Sync, in order
}

// dataChange is a write or a truncation that is not durable yet.
type dataChange struct {
	off  int64
	data []byte
	cut  bool // a truncation to off
}

func (c dataChange) apply(b []byte) []byte {
	if c.cut {
		return resize(b, c.off)
	}
	if end := c.off + int64(len(c.data)); end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[c.off:], c.data)
	return b
}

// resize cuts b, or fills it up with zeros.
func resize(b []byte, size int64) []byte {
	if n := size - int64(len(b)); n > 0 {
		return append(b, make([]byte, n)...)
	}
	return b[:size]
}

func (n *node) change(c dataChange) {
	n.live = c.apply(n.live)
	n.pending = append(n.pending, c)
}

func (n *node) write(p []byte, off int64) {
	n.change(dataChange{off: off, data: slices.Clone(p)})
}

func (n *node) truncate(size int64) {
	n.change(dataChange{off: size, cut: true})
}

func (n *node) sync() {
	for _, c := range n.pending {
		n.durable = c.apply(n.durable)
	}
	n.pending = nil
}

// crash returns what is left of the content.
func (n *node) crash(loss Loss, rng *rand.Rand) []byte {
	b := slices.Clone(n.durable)
	if loss == LoseSome {
		for _, c := range n.pending {
			b = c.applySome(b, rng)
		}
		return b
	}
	kept := surviving(n.pending, loss, rng)
	for i, c := range kept {
		if loss == LoseEnd && i == len(kept)-1 && !c.cut {
			c.data = c.data[:rng.IntN(len(c.data)+1)]
		}
		b = c.apply(b)
	}
	return b
}

// applySome applies some sectors of a write, and maybe only its length; of a
// truncation all or nothing.
func (c dataChange) applySome(b []byte, rng *rand.Rand) []byte {
	if c.cut {
		if rng.IntN(2) == 0 {
			b = c.apply(b)
		}
		return b
	}
	if rng.IntN(2) == 0 {
		b = resize(b, max(int64(len(b)), c.off+int64(len(c.data))))
	}
	for from := int64(0); from < int64(len(c.data)); {
		to := min((c.off+from)/sector*sector+sector-c.off, int64(len(c.data)))
		if rng.IntN(2) == 0 {
			b = dataChange{off: c.off + from, data: c.data[from:to]}.apply(b)
		}
		from = to
	}
	return b
}
