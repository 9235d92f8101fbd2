package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"syscall"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/gf-strata/strata/tiers"
)

// The layout of a page of bbolt's, in the byte order of the machine.
const (
	headBytes  = 16 // its number, flags, count of elements, and pages that follow
	itemBytes  = 16 // of an element
	branchPage = 0x01
	leafPage   = 0x02
	recordItem = 0x00
	bucketItem = 0x01
)

var (
	errShort = errors.New("it is cut short")
	errPage  = errors.New("a page is damaged")
)

// check looks at all that bbolt will, with plain reads: bbolt maps the file, where what is
// missing ends the process, and panics at a page that is no such one in a goroutine of its
// own. Opened for reading it looks at no more than the file's heads, which have checksums.
func check(path string) error {
	err := checkPages(path)
	var number syscall.Errno
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return errInUse
	case errors.As(err, &number):
		return unusable("the journal can't be read", err)
	}
	return tiers.NewError("strata: the journal is damaged: "+err.Error()+
		"; move its file away to start without what it holds", err)
}

func checkPages(path string) error {
	db, err := bbolt.Open(path, 0, &bbolt.Options{Timeout: lockTimeout, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return errShort
		}
		w := walk{file: f, size: int64(db.Info().PageSize), seen: map[uint64]bool{}}
		w.pages = uint64(tx.Size() / w.size)
		w.begun = tx.ID() <= 1
		return w.page(uint64(tx.Cursor().Bucket().Root()), true)
	})
}

// walk goes through the pages that the newest head leads to.
type walk struct {
	file  *os.File
	size  int64  // of a page
	pages uint64 // in all
	begun bool   // bbolt has made the file, and no transaction has ended
	seen  map[uint64]bool
	last  []byte // the key that came last
}

// page checks a page and those below it. The top is the bucket of all buckets.
func (w *walk) page(number uint64, top bool) error {
	if number < 2 || number >= w.pages {
		return errPage
	}
	b := make([]byte, w.size)
	at := int64(number) * w.size
	if _, err := w.file.ReadAt(b, at); err != nil {
		return err
	}
	more := uint64(binary.NativeEndian.Uint32(b[12:]))
	if binary.NativeEndian.Uint64(b) != number || more >= w.pages-number {
		return errPage
	}
	for n := number; n <= number+more; n++ {
		if w.seen[n] {
			return errPage
		}
		w.seen[n] = true
	}
	if more > 0 {
		b = make([]byte, (int64(more)+1)*w.size)
		if _, err := w.file.ReadAt(b, at); err != nil {
			return err
		}
	}
	return w.items(b, top)
}

// items checks the elements of a page. Keys ascend, from page to page too; the first on a page may
// be the one by which a branch refers to it. The top has one element, once the first transaction has ended.
func (w *walk) items(page []byte, top bool) error {
	flags, count := binary.NativeEndian.Uint16(page[8:]), int(binary.NativeEndian.Uint16(page[10:]))
	switch {
	case flags != branchPage && flags != leafPage, flags == branchPage && count == 0, headBytes+count*itemBytes > len(page),
		top && (flags != leafPage || count != 1 && (count != 0 || !w.begun)):
		return errPage
	}
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
		if order := bytes.Compare(w.last, key); order > 0 || order == 0 && n > 0 {
			return errPage
		}
		w.last = key
		var err error
		switch {
		case flags == branchPage:
			err = w.page(binary.NativeEndian.Uint64(item[8:]), false)
		case top && word(0) == bucketItem:
			err = w.bucket(key, value)
		case top || word(0) != recordItem:
			err = errPage
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bucket checks the bucket that holds the records. It has a page of its own, or is inline after its head.
func (w *walk) bucket(name, value []byte) error {
	w.last = nil
	switch {
	case !bytes.Equal(name, bucket), len(value) < 16:
		return errPage
	case binary.NativeEndian.Uint64(value) != 0:
		return w.page(binary.NativeEndian.Uint64(value), false)
	case len(value) < 16+headBytes:
		return errPage
	}
	return w.items(value[16:], false)
}
