package replicator

import (
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/salvage"
)

// letFencedIn lets nodes bring their mail over that were primary before, unless the
// part is ending.
func (p *primaryPart) letFencedIn() {
	p.opening.Lock()
	defer p.opening.Unlock()
	if p.ending {
		return
	}
	p.n.salvageDoor.Open(salvage.NewServer(salvage.ServerConfig{
		Name: p.n.id.Name(), Reign: p.reign, Reigns: p.reigns, Root: p.root,
		Catalog: p.n.catalog, Journal: p.journal, Rules: mailstore.Maildir{}, Log: p.n.opt.Log.Named("salvage"),
		Dir: p.n.salvageDir(), Peer: p.n.id.RequirePeer,
	}))
}

// letFencedOut ends that for good.
func (p *primaryPart) letFencedOut() {
	p.opening.Lock()
	defer p.opening.Unlock()
	p.ending = true
	p.n.salvageDoor.Shut(p.n.id.Name() + " is not primary now")
}
