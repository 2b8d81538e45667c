package watch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// metaMount and a path say, in the catalog, that something was mounted there. A
// mount leaves no trace in what the catalog knows of a directory if it is of the
// same file system as what is around it.
const metaMount = "watch.mount:"

// mountAt is one line of the mount table. The number is another one each time that
// something is mounted.
type mountAt struct {
	id string
	at journal.Path
}

// mountsWithin returns what is mounted at or below a directory.
func mountsWithin(root string) ([]mountAt, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	return parseMounts(table, root), nil
}

// parseMounts is mountsWithin of the text of a mount table.
func parseMounts(table []byte, root string) (within []mountAt) {
	for line := range bytes.Lines(table) {
		fields := bytes.Fields(line)
		if len(fields) < 5 {
			continue
		}
		rest, ok := strings.CutPrefix(unescaped(string(fields[4])), strings.TrimSuffix(root, "/"))
		if ok && (rest == "" || rest[0] == '/') {
			at := journal.Root
			if rest = strings.TrimPrefix(rest, "/"); rest != "" {
				at = journal.Path(rest)
			}
			within = append(within, mountAt{string(fields[0]), at})
		}
	}
	return within
}

// unescaped returns a path of the mount table as it is: there, blanks and
// backslashes are three octal digits behind a backslash.
func unescaped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// noteMounts has the catalog remember where something is mounted now, before what
// is there is looked at. Where nothing is any more, it is looked whether what the
// catalog knows there is the mount; if it knows nothing there, that is forgotten.
func (w *Watcher) noteMounts() error {
	var fresh, stale []journal.Path
	err := w.cfg.Catalog.View(func(tx *catalog.Tx) error {
		for _, m := range w.mounts {
			known, err := isMount(tx, m.at)
			if err != nil {
				return err
			}
			if !known && m.at != journal.Root {
				fresh = append(fresh, m.at)
			}
		}
		return tx.EachMeta(metaMount, func(at string) error {
			p := journal.Path(at)
			if mounted(w.mounts, p) {
				return nil
			}
			_, err := tx.Lookup(p)
			if errors.Is(err, catalog.ErrNotFound) {
				stale = append(stale, p)
				return nil
			}
			w.dirty.name(p)
			return err
		})
	})
	if err != nil || len(fresh)+len(stale) == 0 {
		return err
	}
	return w.cfg.Catalog.UpdateDurably(func(tx *catalog.Tx) error {
		for _, p := range fresh {
			if err := tx.SetMeta(metaMount+string(p), []byte{1}); err != nil {
				return fmt.Errorf("note a mount: %w", err)
			}
		}
		for _, p := range stale {
			if err := tx.SetMeta(metaMount+string(p), nil); err != nil {
				return fmt.Errorf("forget a mount: %w", err)
			}
		}
		return nil
	})
}

// mounted reports whether something is mounted at a path.
func mounted(all []mountAt, p journal.Path) bool {
	return slices.ContainsFunc(all, func(m mountAt) bool { return m.at == p })
}

// isMount reports whether something is mounted at a path, or was when the catalog
// last had to do with what is there.
func isMount(tx *catalog.Tx, p journal.Path) (bool, error) {
	_, err := tx.Meta(metaMount + string(p))
	if errors.Is(err, catalog.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// notMounted has the catalog forget that something was mounted at a path, if
// nothing is: what the catalog knows of the path is no mount.
func (c *cycle) notMounted(p journal.Path) error {
	known, err := isMount(c.tx, p)
	if err != nil || !known || mounted(c.mounts, p) {
		return err
	}
	c.changed = true
	return c.tx.SetMeta(metaMount+string(p), nil)
}

// deviceAround returns the device of the directory that the catalog knows around a
// path; 0 if nobody has seen that.
func (c *cycle) deviceAround(p journal.Path) (uint64, error) {
	dir := p.Dir()
	if dir == journal.Root {
		return c.store.Identity.Device, nil // the root has no stamp
	}
	around, err := c.tx.Lookup(dir)
	return around.Stamp.Device, err
}
