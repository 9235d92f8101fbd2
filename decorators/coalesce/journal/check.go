package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"os"
)

// The layout of a file of bbolt's, in the byte order of the machine.
const (
	magic       = 0xED0CDAED
	version     = 2
	headBytes   = 16 // of a page: its number, flags, count of elements, and pages that follow
	itemBytes   = 16 // of an element
	metaBytes   = 64 // of a meta page, behind its head
	branchPage  = 0x01
	leafPage    = 0x02
	bucketItem  = 0x01
	noFreelist  = ^uint64(0)
	smallestPge = 1 << 10
	largestPage = 1 << 24
)

var (
	errNoJournal = errors.New("it is no journal, or both its heads are damaged")
	errShort     = errors.New("it is cut short")
	errPage      = errors.New("a page is damaged")
)

// meta is one of the two heads of the file. The one with the higher txid counts.
type meta struct {
	pageSize int64
	root     uint64
	pages    uint64
	txid     uint64
}

// check looks at all that bbolt will, with plain reads: bbolt maps the file, where what is
// missing ends the process, and panics at a page that is no such one in a goroutine of its
// own. It passes each record to found.
func check(f *os.File, found func(key, value []byte)) (meta, error) {
	info, err := f.Stat()
	if err != nil {
		return meta{}, err
	}
	m, err := readMeta(f, info.Size())
	if err != nil {
		return m, err
	}
	if int64(m.pages) > info.Size()/m.pageSize {
		return m, errShort
	}
	w := walk{file: f, meta: m, seen: map[uint64]bool{}, found: found}
	return m, w.page(m.root, true)
}

// readMeta is the head that counts.
func readMeta(f io.ReaderAt, size int64) (newest meta, err error) {
	err = errNoJournal
	for at := int64(0); at <= largestPage && at+headBytes+metaBytes <= size; at = max(2*at, smallestPge) {
		b := make([]byte, headBytes+metaBytes)
		if _, fault := f.ReadAt(b, at); fault != nil {
			return newest, fault
		}
		b = b[headBytes:]
		sum := fnv.New64a()
		_, _ = sum.Write(b[:metaBytes-8])
		word, long := binary.NativeEndian.Uint32, binary.NativeEndian.Uint64
		m := meta{pageSize: int64(word(b[8:])), root: long(b[16:]), pages: long(b[40:]), txid: long(b[48:])}
		switch {
		case word(b) != magic, word(b[4:]) != version, long(b[56:]) != sum.Sum64():
		case m.pageSize < smallestPge, m.pageSize > largestPage, at != 0 && at != m.pageSize, long(b[32:]) != noFreelist:
		case err != nil || m.txid > newest.txid:
			newest, err = m, nil
		}
	}
	return newest, err
}

// walk goes through the pages that the newest head leads to.
type walk struct {
	file  *os.File
	meta  meta
	seen  map[uint64]bool
	found func(key, value []byte)
}

// page checks a page and those below it. The top is the bucket of all buckets.
func (w *walk) page(number uint64, top bool) error {
	if number < 2 || number >= w.meta.pages {
		return errPage
	}
	b := make([]byte, w.meta.pageSize)
	at := int64(number) * w.meta.pageSize
	if _, err := w.file.ReadAt(b, at); err != nil {
		return err
	}
	more := uint64(binary.NativeEndian.Uint32(b[12:]))
	if binary.NativeEndian.Uint64(b) != number || more >= w.meta.pages-number {
		return errPage
	}
	for n := number; n <= number+more; n++ {
		if w.seen[n] {
			return errPage
		}
		w.seen[n] = true
	}
	if more > 0 {
		b = make([]byte, (int64(more)+1)*w.meta.pageSize)
		if _, err := w.file.ReadAt(b, at); err != nil {
			return err
		}
	}
	return w.items(b, top)
}

// items checks the elements of a page, whose keys ascend.
func (w *walk) items(page []byte, top bool) error {
	flags, count := binary.NativeEndian.Uint16(page[8:]), int(binary.NativeEndian.Uint16(page[10:]))
	if flags != branchPage && flags != leafPage || flags == branchPage && count == 0 || headBytes+count*itemBytes > len(page) {
		return errPage
	}
	var last []byte
	for n := range count {
		item := page[headBytes+n*itemBytes:]
		word := func(n int) uint64 { return uint64(binary.NativeEndian.Uint32(item[4*n:])) }
		start, size, length := word(0), word(1), uint64(0) // of the key, and of a value behind it
		if flags == leafPage {
			start, size, length = word(1), word(2), word(3)
		}
		if start+size+length > uint64(len(item)) {
			return errPage
		}
		key, value := item[start:start+size], item[start+size:start+size+length]
		if n > 0 && bytes.Compare(last, key) >= 0 {
			return errPage
		}
		last = key
		var err error
		if flags == branchPage {
			err = w.page(binary.NativeEndian.Uint64(item[8:]), top)
		} else {
			err = w.leaf(word(0), key, value, top)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leaf is one element at the end: a record, or at the top the bucket that holds them, which
// is a page of its own, or in place of one follows its head.
func (w *walk) leaf(flags uint64, key, value []byte, top bool) error {
	switch {
	case top != (flags == bucketItem):
		return errPage
	case !top:
		w.found(key, value)
		return nil
	case len(value) < 16 || !bytes.Equal(key, bucket):
		return errPage
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return w.page(root, false)
	}
	if len(value) < 16+headBytes {
		return errPage
	}
	return w.items(value[16:], false)
}
