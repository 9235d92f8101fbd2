// Package journal keeps records on disk until they are dropped, so that they outlive
// the process and a power loss.
//
// It is one bbolt file: a transaction is in it whole or not at all (its two meta pages
// are checksummed, and a torn one gives way to the other), and each record carries a
// CRC-32C of its own. All that callers put and drop meanwhile goes into one transaction
// and one sync of the disk, and of each record only what it is by then.
package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/gf-strata/strata/tiers"
)

// Record is one entry as it was found when the journal was opened.
type Record struct {
	Entry   uint64
	Content []byte
}

// Journal is an open file, which no other process can open meanwhile. It runs one
// goroutine until it is closed. Safe for concurrent use.
//
// db, kick and gone are set by Open. mu guards the rest.
type Journal struct {
	db   *bbolt.DB
	kick chan struct{} // something waits for the next transaction
	gone chan struct{} // the goroutine has ended

	mu     sync.Mutex
	last   uint64                   // the entry that was given out last
	due    map[uint64]func() []byte // what a record is to be; nil drops it
	next   *Transaction             // that writes what is due
	closed bool
}

// Transaction brings to the disk what was put or dropped until it began.
type Transaction struct {
	done      chan struct{}
	put, drop error // as Wait returns them; written before done is closed
}

func newTransaction() *Transaction { return &Transaction{done: make(chan struct{})} }

// Wait returns why records that were put aren't on disk, and why those that were dropped still are, nil for none of
// these. Another transaction tries again.
func (t *Transaction) Wait(ctx context.Context) (put, drop error) {
	select {
	case <-t.done:
		return t.put, t.drop
	case <-ctx.Done():
		return context.Cause(ctx), context.Cause(ctx)
	}
}

const (
	fileName    = "pending.db"
	lockTimeout = time.Second // for another process to let go of the file
	retryAfter  = time.Second
	growBytes   = 128 << 10 // by which the file grows
)

var (
	bucket     = []byte("pending")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errClosed = tiers.NewError("strata: the journal was closed", nil)
	errInUse  = tiers.NewError("strata: another process has the journal open; give each process a directory of its own", nil)
)

// Open makes or opens the journal in a directory of its own, and returns what it holds,
// oldest first, and how many records were damaged. The directory and the file are
// readable by this user only, as they hold what sessions hold. A file that is damaged is
// an error, and stays as it is.
func Open(dir string) (j *Journal, records []Record, damaged int, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, 0, unusable("the journal's directory can't be made", err)
	}
	path := filepath.Join(dir, fileName)
	info, err := os.Stat(path)
	isNew := errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 // bbolt has begun it at most
	if !isNew {
		if err := check(path); err != nil {
			return nil, nil, 0, err
		}
	}
	j = &Journal{kick: make(chan struct{}, 1), gone: make(chan struct{}), due: map[uint64]func() []byte{}, next: newTransaction()}
	if err := j.open(path); err != nil {
		if isNew && !errors.Is(err, errInUse) {
			_ = os.Remove(path) // half of a file is none
		}
		return nil, nil, 0, err
	}
	if isNew {
		syncDir(dir)
		syncDir(filepath.Dir(dir))
	}
	if records, damaged, err = j.read(); err != nil {
		return nil, nil, 0, errors.Join(unusable("the journal can't be read", err), j.db.Close())
	}
	go j.run()
	return j, records, damaged, nil
}

// read returns the records. Those that are damaged are due to be dropped.
func (j *Journal) read() (records []Record, damaged int, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(key, value []byte) error {
			if len(key) != 8 {
				damaged++
				return nil
			}
			j.last = binary.BigEndian.Uint64(key)
			if content, ok := unseal(value); ok {
				records = append(records, Record{Entry: j.last, Content: slices.Clone(content)})
			} else {
				damaged++
				j.due[j.last] = nil
			}
			return nil
		})
	})
	return records, damaged, err
}

func (j *Journal) open(path string) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return errInUse
	}
	if err != nil {
		return unusable("the journal can't be opened", err)
	}
	db.AllocSize = growBytes
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		return errors.Join(unusable("the journal can't be written", err), db.Close())
	}
	j.db = db
	return nil
}

// unusable is an error with the cause, if that is the disk's or the system's.
func unusable(what string, err error) error {
	var number syscall.Errno
	text := "strata: " + what
	if errors.As(err, &number) {
		text += ": " + number.Error()
	}
	return tiers.NewError(text+"; give it a directory that this process can write, on a disk with room", err)
}

// syncDir has a file that was made in a directory outlive a power loss, if the system
// can do that.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// seal puts a record's checksum before it.
func seal(content []byte) []byte {
	sealed := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(content)), crc32.Checksum(content, castagnoli))
	return append(sealed, content...)
}

func unseal(sealed []byte) (content []byte, ok bool) {
	if len(sealed) < 4 {
		return nil, false
	}
	content = sealed[4:]
	return content, crc32.Checksum(content, castagnoli) == binary.BigEndian.Uint32(sealed)
}

// Put makes the record of an entry what encode returns, which is called when the record is written,
// unless another Put or Drop comes before. An entry of 0 becomes one that no record has or had. A nil journal
// keeps nothing.
func (j *Journal) Put(entry *uint64, encode func() []byte) *Transaction {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if *entry == 0 {
		j.last++
		*entry = j.last
	}
	return j.ask(*entry, encode)
}

// Drop removes the record of an entry, which becomes 0, and tries again if that fails. Once the journal is closed, both stay.
func (j *Journal) Drop(entry *uint64) {
	if *entry == 0 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.closed {
		j.ask(*entry, nil)
		*entry = 0
	}
}

// Next is the transaction that writes all that is due.
func (j *Journal) Next() *Transaction {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.ask(0, nil)
}

// ask has an entry written, unless it is 0. It is called under mu.
func (j *Journal) ask(entry uint64, encode func() []byte) *Transaction {
	switch {
	case j.closed && entry != 0:
		refused := newTransaction()
		refused.put = errClosed
		close(refused.done)
		return refused
	case j.closed:
		return j.next
	case entry != 0:
		j.due[entry] = encode
	}
	select {
	case j.kick <- struct{}{}:
	default: // it is about to look
	}
	return j.next
}

func (j *Journal) run() {
	defer close(j.gone)
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case _, ok := <-j.kick:
			if !ok {
				return
			}
		case <-retry.C:
		}
		if err := j.flush(newTransaction()); err != nil {
			retry.Reset(retryAfter)
		}
	}
}

// flush writes what is due. If not all of it can be written, records are dropped
// nevertheless, as a session that was logged out must not come back; what wasn't done
// stays due, unless something else is by then. The next transaction, nil for none, writes what comes meanwhile.
func (j *Journal) flush(next *Transaction) error {
	j.mu.Lock()
	due, t := j.due, j.next
	j.due = map[uint64]func() []byte{}
	if next != nil {
		j.next = next
	}
	j.mu.Unlock()
	if t.put = j.write(due, false); t.put != nil {
		t.drop = j.write(due, true)
	}
	j.mu.Lock()
	for entry, encode := range due {
		failed := t.put
		if encode == nil {
			failed = t.drop
		}
		if _, newer := j.due[entry]; failed != nil && !newer {
			j.due[entry] = encode
		}
	}
	j.mu.Unlock()
	close(t.done)
	return t.put
}

// write makes one transaction, of all that is due or of the records to drop.
func (j *Journal) write(due map[uint64]func() []byte, dropsOnly bool) error {
	if len(due) == 0 {
		return nil
	}
	err := j.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		b.FillPercent = 0.9 // entries only grow
		for _, entry := range slices.Sorted(maps.Keys(due)) {
			encode, key := due[entry], binary.BigEndian.AppendUint64(nil, entry)
			if encode == nil {
				if err := b.Delete(key); err != nil {
					return err
				}
				continue
			}
			if dropsOnly {
				continue
			}
			if err := b.Put(key, seal(encode())); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return unusable("the journal can't be written", err)
	}
	return nil
}

// Close writes what was asked for and closes the file; the error says what isn't written.
// Close again does nothing.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	close(j.kick)
	j.mu.Unlock()
	<-j.gone
	return errors.Join(j.flush(nil), j.db.Close())
}
