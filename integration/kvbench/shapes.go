package main

import (
	"encoding/binary"
	"fmt"
)

// perDirectory is how many messages are in one cur/.
const perDirectory = 2500

// pair is a key and its value; a nil value removes the key. The first byte of
// a key is its space: 'c' records, 's' inodes, 'i' contents, 'm' the rest.
type pair struct{ key, value []byte }

// mix is a bijection that looks random (splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// name is that of message i after it was renamed for the v-th time.
func name(i, v int) string {
	h := mix(uint64(i))
	size := 2000 + h%90_000
	flags := [...]string{"", "S", "RS", "FS"}[v%4]
	return fmt.Sprintf("%d.M%06dP%d.mx1.example.net,S=%d,W=%d:2,%s",
		1_600_000_000+i*20, h%1_000_000, 1000+h>>40%30_000, size, size+size/70, flags)
}

// keys are those of message i under its v-th name.
func keys(i, v int) (record, inode, content []byte) {
	ref := binary.BigEndian.AppendUint64(nil, uint64(i/perDirectory+1))
	ref = append(ref, name(i, v)...)
	h := mix(uint64(i) ^ 0xabcdef)
	record = append([]byte{'c'}, ref...)
	inode = binary.BigEndian.AppendUint64([]byte{'s'}, 1+mix(uint64(i)>>4)%(1<<26)<<4+uint64(i)&15)
	content = binary.BigEndian.AppendUint64([]byte{'i'}, h)
	content = binary.BigEndian.AppendUint64(content, mix(h))
	return record, append(inode, ref...), append(content, ref...)
}

// record is the value of message i: as much of it repeats in its neighbors,
// and as much does not, as in a record of the catalog.
func record(i, v int) []byte {
	h := mix(uint64(i) ^ 0xabcdef)
	b := []byte{1, 1, 49}
	for _, n := range []uint64{0o600, 5000, 5000} {
		b = binary.AppendUvarint(b, n)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(1_600_000_000+i*20)*1_000_000_000+h%1_000_000_000)
	b = binary.AppendUvarint(b, 2000+mix(uint64(i))%90_000)
	for range 4 {
		b = binary.BigEndian.AppendUint64(b, h)
		h = mix(h)
	}
	b = binary.AppendUvarint(b, 2049)
	b = binary.AppendUvarint(b, 1+mix(uint64(i)>>4)%(1<<26)<<4+uint64(i)&15)
	b = binary.AppendVarint(b, int64(h%2_000_000_000))
	return binary.AppendVarint(b, int64(mix(h)%1_000_000_000_000)+int64(v))
}

// put is what makes message i known.
func put(i int) []pair {
	r, s, c := keys(i, 0)
	return []pair{{r, record(i, 0)}, {s, []byte{}}, {c, []byte{}}}
}

// rename is what a change of flags does: from its v-th name to the next.
func rename(i, v int) []pair {
	r, s, c := keys(i, v)
	nr, ns, nc := keys(i, v+1)
	return []pair{{r, nil}, {s, nil}, {c, nil}, {nr, record(i, v+1)}, {ns, []byte{}}, {nc, []byte{}}}
}

// tail is what each update writes beside: the directory and the position.
func tail(dir, sequence int) []pair {
	k := binary.BigEndian.AppendUint64([]byte{'c', 0, 0, 0, 0, 0, 0, 0, 1}, uint64(dir))
	v := make([]byte, 96)
	binary.BigEndian.PutUint64(v, uint64(sequence))
	return []pair{{k, v}, {[]byte("ms"), v[:32]}}
}
