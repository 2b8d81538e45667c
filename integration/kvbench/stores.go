package main

import (
	"fmt"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"go.etcd.io/bbolt"
)

// store is what the catalog asks of a key-value store.
type store interface {
	// write makes all changes or none; sync: durably.
	write(changes []pair, sync bool) error
	get(key []byte) (bool, error)
	close() error
}

func open(name, dir string) (store, error) {
	switch name {
	case "pebble":
		return openPebble(dir)
	case "bbolt":
		return openBolt(dir)
	}
	return nil, fmt.Errorf("no store %q", name)
}

type pebbleStore struct{ db *pebble.DB }

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// openPebble has the settings of journal/catalog, but for a larger cache and
// one memtable more.
func openPebble(dir string) (store, error) {
	cache := pebble.NewCache(16 << 20)
	defer cache.Unref()
	opt := &pebble.Options{
		Cache:                       cache,
		FormatMajorVersion:          pebble.FormatWALSyncChunks,
		MemTableSize:                4 << 20,
		MemTableStopWritesThreshold: 3,
		MaxOpenFiles:                200,
		L0CompactionThreshold:       4,
		LBaseMaxBytes:               16 << 20,
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, 1 },
		Logger:                      quiet{},
	}
	opt.Experimental.FileCacheShards = 1
	opt.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	last := len(opt.Levels) - 1
	for i := range opt.Levels {
		opt.Levels[i].BlockSize = 4 << 10
		opt.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	opt.Levels[last].FilterPolicy = pebble.NoFilterPolicy
	db, err := pebble.Open(dir, opt)
	return &pebbleStore{db}, err
}

func (s *pebbleStore) write(changes []pair, sync bool) error {
	b := s.db.NewIndexedBatch()
	defer b.Close()
	for _, c := range changes {
		var err error
		if c.value == nil {
			err = b.Delete(c.key, nil)
		} else {
			err = b.Set(c.key, c.value, nil)
		}
		if err != nil {
			return err
		}
	}
	if sync {
		return b.Commit(pebble.Sync)
	}
	return b.Commit(pebble.NoSync)
}

func (s *pebbleStore) get(key []byte) (bool, error) {
	_, closer, err := s.db.Get(key)
	if err == pebble.ErrNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, closer.Close()
}

func (s *pebbleStore) close() error { return s.db.Close() }

type boltStore struct{ db *bbolt.DB }

func openBolt(dir string) (store, error) {
	db, err := bbolt.Open(filepath.Join(dir, "bolt.db"), 0o600, &bbolt.Options{
		FreelistType: bbolt.FreelistMapType, NoFreelistSync: true,
	})
	return &boltStore{db}, err
}

// write without sync is not what bbolt is made for: a power cut can leave
// the whole file unusable, so the catalog could not use it.
func (s *boltStore) write(changes []pair, sync bool) error {
	s.db.NoSync = !sync
	return s.db.Update(func(tx *bbolt.Tx) error {
		for _, c := range changes {
			b, err := tx.CreateBucketIfNotExists(c.key[:1])
			if err != nil {
				return err
			}
			if c.value == nil {
				err = b.Delete(c.key[1:])
			} else {
				err = b.Put(c.key[1:], c.value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *boltStore) get(key []byte) (found bool, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		found = tx.Bucket(key[:1]).Get(key[1:]) != nil
		return nil
	})
	return found, err
}

func (s *boltStore) close() error { return s.db.Close() }
