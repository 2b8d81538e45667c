package kindread

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// seen is which pages of a part of a file were in memory.
type seen struct {
	from  int64 // of the first page
	pages []bool
	known bool
}

// resident counts the pages of n bytes at off that are in memory, and all.
func resident(fd int, off, n int64) (have, all uint64, err error) {
	page := int64(os.Getpagesize())
	var size unix.Stat_t
	if err := unix.Fstat(fd, &size); err != nil {
		return 0, 0, err
	}
	n = min(n, size.Size-off)
	if n <= 0 {
		return 0, 0, nil
	}
	all = uint64((off+n+page-1)/page - off/page)
	var stat unix.Cachestat_t
	err = unix.Cachestat(uint(fd), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &stat, 0)
	return min(stat.Cache, all), all, err
}

// look finds which pages of n bytes at off are in memory.
func look(fd int, off, n int64) seen {
	page := int64(os.Getpagesize())
	s := seen{from: off / page * page}
	count := int((off+n+page-1)/page - off/page)
	have, all, err := resident(fd, off, n)
	switch {
	case err == nil && (have == 0 || have == all):
		s.pages, s.known = make([]bool, count), true
		for i := range s.pages {
			s.pages[i] = have == all && all > 0
		}
	default:
		s.pages, s.known = mincore(fd, s.from, count)
	}
	return s
}

// mincore asks for each page. It maps the file to ask, but never touches the
// mapping.
func mincore(fd int, from int64, count int) ([]bool, bool) {
	page := os.Getpagesize()
	mapped, err := unix.Mmap(fd, from, count*page, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, false
	}
	defer func() { _ = unix.Munmap(mapped) }() // it cannot fail for what was mapped
	vec := make([]byte, count)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mapped[0])), uintptr(len(mapped)), uintptr(unsafe.Pointer(&vec[0])))
	if errno != 0 {
		return nil, false
	}
	pages := make([]bool, count)
	for i := range pages {
		pages[i] = vec[i]&1 != 0
	}
	return pages, true
}

// dropOthers lets the kernel forget the pages before the offset end that were
// not in memory, in runs.
func (s seen) dropOthers(fd int, end int64) {
	if !s.known {
		return
	}
	page := int64(os.Getpagesize())
	for i := 0; i < len(s.pages); {
		j := i
		for j < len(s.pages) && !s.pages[j] {
			j++
		}
		from, to := s.from+int64(i)*page, min(s.from+int64(j)*page, (end+page-1)/page*page)
		if to > from {
			// It is advice: what is not forgotten now will be some time.
			_ = unix.Fadvise(fd, from, to-from, unix.FADV_DONTNEED)
		}
		i = j + 1
	}
}
