package replicator

import (
	"github.com/mailtwin/mailtwin/journal"
)

// metaModseq is the highest number, in decimal, to which a node of the pair has raised
// HIGHESTMODSEQ, as far as this one knows: the next promotion raises it above that, by
// whatever clock. Each node tells the others when they ask it.
const metaModseq = "modseq.highest"

// maxModseq is the highest that is believed: beyond it there would soon be no number
// left for Dovecot, which counts to 2^63.
const maxModseq = 1 << 62

// knownModseq returns that number; 0 if there is none.
func (n *node) knownModseq() uint64 {
	m, err := n.epochOf(metaModseq)
	if err != nil {
		n.problem("the HIGHESTMODSEQ of promotions before cannot be read: " + err.Error())
	}
	return uint64(m)
}

// noteModseq takes note of such a number, durably.
func (n *node) noteModseq(m uint64) {
	n.modseqs.Lock()
	defer n.modseqs.Unlock()
	if m > maxModseq || m <= n.knownModseq() {
		return
	}
	if err := n.noteEpoch(metaModseq, journal.Epoch(m)); err != nil {
		n.problem("note HIGHESTMODSEQ: " + err.Error())
	}
}

// highestModseq returns that number for the others, the node's own included. It only
// reads: whoever asks a node whose disk hangs gets an answer.
func (n *node) highestModseq() uint64 {
	return max(n.knownModseq(), n.modseq.Status().Modseq)
}
