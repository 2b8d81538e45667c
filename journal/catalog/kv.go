package catalog

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
)

// This file is all that knows how Pebble is driven: what is above it needs
// an ordered key-value store with snapshots and atomic batches.

// storeFormat is Pebble's own format of its files. It is raised together
// with formatVersion only, so that ours alone says what is newer.
const storeFormat = pebble.FormatWALSyncChunks

// Sizes that bound the store's memory; they do not depend on what it holds.
const (
	memTableSize = 4 << 20 // bytes
	memTables    = 3       // at most: one is written to, two are being flushed
	openFiles    = 200
	bloomBits    = 10      // a key: one absent key in 100 costs a block
	blockSize    = 4 << 10 // bytes; a lookup decompresses one
)

type (
	reader = pebble.Reader
	batch  = pebble.Batch
)

// errStop ends a scan without an error.
var errStop = errors.New("stop")

// store is the key-value store in one directory.
type store struct {
	db          *pebble.DB
	compactions *compactions

	mu     sync.Mutex
	failed error // once set, nothing is written any more
}

func openStore(fsys vfs.FS, dir string, cacheBytes int64, log hclog.Logger) (*store, error) {
	// Pebble takes its memtables out of the cache. Without room for them
	// there would be no cache left.
	cache := pebble.NewCache(cacheBytes + memTables*memTableSize)
	defer cache.Unref()
	s := &store{compactions: newCompactions()}
	opt := &pebble.Options{
		FS:                          fsys,
		Cache:                       cache,
		FormatMajorVersion:          storeFormat,
		MemTableSize:                memTableSize,
		MemTableStopWritesThreshold: memTables - 1,
		MaxOpenFiles:                openFiles,
		L0CompactionThreshold:       4,
		LBaseMaxBytes:               16 << 20,
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, 1 },
		Logger:                      storeLog{log},
		EventListener: &pebble.EventListener{
			WriteStallBegin: func(pebble.WriteStallBeginInfo) { s.compactions.hurry() },
			BackgroundError: func(err error) { log.Warn("catalog store", "error", err) },
			DataCorruption:  func(i pebble.DataCorruptionInfo) { log.Error("catalog store is corrupt", "detail", i.String()) },
		},
	}
	opt.Experimental.FileCacheShards = 1
	opt.Experimental.CompactionScheduler = s.compactions
	opt.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	last := len(opt.Levels) - 1
	for i := range opt.Levels {
		opt.Levels[i].BlockSize = blockSize
		opt.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
	}
	// The filters of the last level, which has most keys, would not fit into
	// the cache, and reading one is dearer than the block that it may save.
	opt.Levels[last].FilterPolicy = pebble.NoFilterPolicy
	db, err := pebble.Open(dir, opt)
	if err != nil {
		return nil, err
	}
	s.compactions.begin(compactAfter)
	s.db = db
	return s, nil
}

func (s *store) snapshot() *pebble.Snapshot { return s.db.NewSnapshot() }

// batch collects changes, and reads as if they were made already.
func (s *store) batch() *batch { return s.db.NewIndexedBatch() }

// commit makes the changes of b, but not durably.
func (s *store) commit(b *batch) error {
	return s.write(func() error { return b.Commit(pebble.NoSync) })
}

// sync makes all that was committed durable.
func (s *store) sync() error {
	return s.write(func() error { return s.db.LogData(nil, pebble.Sync) })
}

// write runs a write. When the log cannot be written Pebble has no way back,
// and panics with a fatalError: then the store refuses all further writes,
// because what a failed fsync has left is not known.
func (s *store) write(f func() error) (err error) {
	if err := s.failure(); err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			fatal, ok := r.(fatalError)
			if !ok {
				panic(r)
			}
			err = s.fail(fatal)
		}
	}()
	return f()
}

func (s *store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *store) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return s.failed
}

func (s *store) close() error { return s.db.Close() }

// get calls f with the value of key, which is f's only until it returns, and
// reports whether there is one.
func get(r reader, key []byte, f func(value []byte) error) (bool, error) {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = f(value)
	return err == nil, errors.Join(err, closer.Close())
}

// scan calls f with the keys from lower up to but not including upper, and
// their values, in order; they are f's only until it returns. It sees the
// store as it was when the scan began. f ends it by an error; errStop is none.
func scan(r reader, lower, upper []byte, f func(key, value []byte) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		var value []byte
		if value, err = it.ValueAndErr(); err != nil {
			break
		}
		if err = f(it.Key(), value); err != nil {
			break
		}
	}
	if errors.Is(err, errStop) {
		err = nil
	}
	return errors.Join(err, it.Close()) // Close has the iterator's own error
}

// isCorruption reports whether err says that files are not as they were written.
func isCorruption(err error) bool { return pebble.IsCorruptionError(err) }

// fatalError is what Pebble cannot go on after.
type fatalError string

func (e fatalError) Error() string { return string(e) }

// storeLog is Pebble's log: details for developers, so debug.
type storeLog struct{ log hclog.Logger }

func (l storeLog) Infof(format string, args ...any) {
	if l.log.IsDebug() {
		l.log.Debug(fmt.Sprintf(format, args...))
	}
}

func (l storeLog) Errorf(format string, args ...any) { l.log.Warn(fmt.Sprintf(format, args...)) }

// Fatalf must not return.
func (l storeLog) Fatalf(format string, args ...any) {
	err := fatalError(fmt.Sprintf(format, args...))
	l.log.Error(err.Error())
	panic(err)
}
