package mirror

import (
	"fmt"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// staging is never replicated, in neither direction.
const staging = journal.Path(mailstore.Staging)

// checkEntry refuses an entry that can never be meant. What the package wire
// lets through is possible by itself; here it has to fit together.
func checkEntry(c *change) error {
	if err := checkPath(c.Path); err != nil {
		return err
	}
	want := journal.Type(0)
	switch c.Kind {
	case journal.KindPut:
		want = journal.TypeFile
	case journal.KindSymlink:
		want = journal.TypeSymlink
	case journal.KindMakeDir:
		want = journal.TypeDirectory
	case journal.KindMove, journal.KindMoveDir, journal.KindLink:
		if err := checkPath(c.From); err != nil {
			return err
		}
		if c.From == journal.Root || c.Path.Within(c.From) || c.From.Within(c.Path) {
			return fmt.Errorf("%w: %v from %q to %q", wire.ErrProtocol, c.Kind, string(c.From), string(c.Path))
		}
	case journal.KindSetAttributes:
		if c.Path == journal.Root {
			want = journal.TypeDirectory
		}
	default:
	}
	if want != 0 && c.Facts.Type != want {
		return fmt.Errorf("%w: %v of %q, which is of type %d", wire.ErrProtocol, c.Kind, string(c.Path), c.Facts.Type)
	}
	if c.Kind == journal.KindSymlink {
		return checkTarget(c.Path, c.Facts)
	}
	return checkTransfer(c)
}

// checkTransfer compares an entry with the content that came for it.
func checkTransfer(c *change) error {
	if c.Transfer == 0 || c.plain {
		return nil
	}
	switch {
	case c.file == nil:
		return fmt.Errorf("%w: the content of %q, transfer %d, never came", wire.ErrProtocol, string(c.Path), c.Transfer)
	case c.Kind != journal.KindPut || c.Outcome != wire.OK:
		return fmt.Errorf("%w: a content for %v of %q (%v)", wire.ErrProtocol, c.Kind, string(c.Path), c.Outcome)
	case c.file.id != c.Facts.Content || c.file.size != c.Facts.Size:
		return fmt.Errorf("%w: %q is to be %s, %d bytes, and came as %s, %d bytes", wire.ErrProtocol,
			string(c.Path), c.Facts.Content, c.Facts.Size, c.file.id, c.file.size)
	}
	return nil
}

func checkPath(p journal.Path) error {
	if p.Within(staging) {
		return fmt.Errorf("%w: %q is the mirror's own", wire.ErrProtocol, string(p))
	}
	return nil
}

// checkTarget refuses what cannot be the target of a link.
func checkTarget(p journal.Path, f journal.Facts) error {
	if f.Target == "" || strings.IndexByte(f.Target, 0) >= 0 {
		return fmt.Errorf("%w: the link %q leads to %q", wire.ErrProtocol, string(p), f.Target)
	}
	return nil
}

// checkListing refuses a page that does not follow the one before, which ended
// before the name from.
func checkListing(l *wire.Listing, from string) error {
	if l.Outcome != wire.OK {
		if !l.Last {
			return fmt.Errorf("%w: more to follow of %q, which is %v", wire.ErrProtocol, string(l.Path), l.Outcome)
		}
		return nil
	}
	if len(l.Items) == 0 && !l.Last {
		return fmt.Errorf("%w: an empty page of %q", wire.ErrProtocol, string(l.Path))
	}
	for i := range l.Items {
		it := &l.Items[i]
		if it.Name < from || i > 0 && it.Name == l.Items[i-1].Name {
			return fmt.Errorf("%w: the listing of %q is not in order", wire.ErrProtocol, string(l.Path))
		}
		from = it.Name
		p := l.Path.Join(it.Name)
		if err := checkPath(p); err != nil {
			return err
		}
		if it.Facts.Type == journal.TypeSymlink {
			if err := checkTarget(p, it.Facts); err != nil {
				return err
			}
		}
	}
	return nil
}
