package catalog

import "fmt"

// Check computes indexes, totals and digests from the items, and compares
// them with what is stored. It reads the whole catalog, in bounded memory,
// and returns ErrCorrupt with the first difference.
func (c *Catalog) Check() error {
	return c.View(func(t *Tx) error {
		k := checker{t: t, hash: c.hash.clone(), counts: map[byte]uint64{}}
		if err := k.run(); err != nil {
			return fmt.Errorf("check the catalog: %w", err)
		}
		return nil
	})
}

type checker struct {
	t      *Tx
	hash   *digester
	counts map[byte]uint64 // expected keys, by space
}

func (k *checker) run() error {
	k.counts[spaceChild]++ // the root
	err := scan(k.t.r, []byte{spaceDir}, []byte{spaceDir + 1}, func(key, _ []byte) error {
		dir, _, err := parseRef(key[1:])
		if err != nil {
			return err
		}
		return k.directory(dir)
	})
	if err != nil {
		return err
	}
	k.counts[spaceTrash] = k.t.state.trash.next - k.t.state.trash.first
	for _, space := range []byte{spaceChild, spaceTrash, spaceStamp, spaceContent, spaceLink, spaceUnread, spaceMissing} {
		var n uint64
		if err := scan(k.t.r, []byte{space}, []byte{space + 1}, func(_, _ []byte) error { n++; return nil }); err != nil {
			return err
		}
		if n != k.counts[space] {
			return fmt.Errorf("%w: %d keys of %q, not %d", errRecord, n, space, k.counts[space])
		}
	}
	return nil
}

// directory checks one directory against its children.
func (k *checker) directory(dir dirID) error {
	if dir >= k.t.state.next {
		return fmt.Errorf("%w: directory %d before its time", errRecord, dir)
	}
	var sum Digest
	var totals Totals
	err := scan(k.t.r, refKey(nil, spaceChild, dir, ""), after(refKey(nil, spaceChild, dir, "")), func(key, value []byte) error {
		_, name, err := parseRef(key[1:])
		if err != nil {
			return err
		}
		r, err := parseRecord(value)
		if err != nil {
			return err
		}
		sum.add(k.hash.child(name, r))
		totals.add(r.counts())
		return k.child(dir, name, r)
	})
	if err != nil {
		return err
	}
	up, name, err := k.t.dirName(dir)
	if err != nil || dir != rootDir && up == noDir {
		return err // it only waits to be swept, and has no record
	}
	p, live, err := k.t.path(up, name)
	if err != nil {
		return err
	}
	r, err := k.t.child(up, name)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %q: %w", errRecord, p, err)
	case r.Dir != dir:
		return fmt.Errorf("%w: %q is directory %d, not %d", errRecord, p, r.Dir, dir)
	case !live: // no sums are kept any more
	case r.Digest != sum:
		return fmt.Errorf("%w: digest of %q is %v, not %v", errRecord, p, r.Digest, sum)
	case r.Totals != totals:
		return fmt.Errorf("%w: totals of %q are %+v, not %+v", errRecord, p, r.Totals, totals)
	}
	return k.marks(up, name, r)
}

// child counts an item, and checks the indexes of a file or link; those of a
// directory are checked with it.
func (k *checker) child(dir dirID, name string, r *record) error {
	k.counts[spaceChild]++
	if !r.isDir() {
		return k.marks(dir, name, r)
	}
	up, n, err := k.t.dirName(r.Dir)
	if err == nil && (up != dir || n != name) {
		err = fmt.Errorf("%w: directory %d is %q in %d, not %q in %d", errRecord, r.Dir, n, up, name, dir)
	}
	return err
}

func (k *checker) marks(dir dirID, name string, r *record) error {
	m := r.marks()
	for _, x := range []struct {
		on  bool
		key []byte
	}{
		{m.inode != 0, numberKey(nil, spaceStamp, m.inode, dir, name)},
		{m.link != 0, numberKey(nil, spaceLink, m.link, dir, name)},
		{m.content.Known(), contentKey(nil, m.content, dir, name)},
		{m.unread, refKey(nil, spaceUnread, dir, name)},
		{m.missing, refKey(nil, spaceMissing, dir, name)},
	} {
		if !x.on {
			continue
		}
		k.counts[x.key[0]]++
		found, err := get(k.t.r, x.key, func([]byte) error { return nil })
		if err == nil && !found {
			err = fmt.Errorf("%w: %q in directory %d is not in the index %q", errRecord, name, dir, x.key[0])
		}
		if err != nil {
			return err
		}
	}
	return nil
}
