// Package journal keeps records on disk until they are dropped, so that they outlive
// the process and a power loss.
//
// It is one bbolt file: a transaction is in it whole or not at all (its two meta pages
// are checksummed, and a torn one gives way to the other), and each record carries a
// CRC-32C of its own. Appends and drops of all callers go into one transaction and one
// sync of the disk.
package journal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
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
	last   uint64 // the entry that was given out last
	queue  group
	closed bool
}

// group is what the next transaction does.
type group struct {
	append  []Record
	drop    []uint64
	waiting []chan<- error
}

const (
	fileName = "pending.db"
	patience = time.Second // for another process to let go of the file
)

var (
	bucket     = []byte("pending")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errClosed = tiers.NewError("strata: the journal was closed", nil)
)

// Open makes or opens the journal in a directory of its own, and answers what it holds,
// oldest first, and how many records were damaged. The directory and the file are
// readable by this user only, as they hold what sessions hold.
func Open(dir string) (j *Journal, records []Record, damaged int, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, 0, tiers.NewError("strata: the journal's directory can't be made", err)
	}
	db, err := bbolt.Open(filepath.Join(dir, fileName), 0o600, &bbolt.Options{
		Timeout: patience, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, nil, 0, tiers.NewError("strata: another process has the journal open; give each process a directory of its own", err)
	}
	if err != nil {
		return nil, nil, 0, tiers.NewError("strata: the journal can't be opened; move its file away to start without what it holds", err)
	}
	j = &Journal{db: db, kick: make(chan struct{}, 1), gone: make(chan struct{})}
	if records, damaged, err = j.read(); err != nil {
		return nil, nil, 0, errors.Join(err, db.Close())
	}
	go j.run()
	return j, records, damaged, nil
}

// read answers the records, and drops those that are damaged.
func (j *Journal) read() (records []Record, damaged int, err error) {
	err = j.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		var drop [][]byte
		err = b.ForEach(func(key, value []byte) error {
			if len(key) == 8 {
				j.last = max(j.last, binary.BigEndian.Uint64(key))
			}
			content, ok := open(value)
			if !ok || len(key) != 8 {
				drop = append(drop, append([]byte(nil), key...))
				return nil
			}
			records = append(records, Record{Entry: binary.BigEndian.Uint64(key), Content: append([]byte(nil), content...)})
			return nil
		})
		for _, key := range drop {
			err = errors.Join(err, b.Delete(key))
		}
		damaged = len(drop)
		return err
	})
	if err != nil {
		return nil, 0, tiers.NewError("strata: the journal can't be read; move its file away to start without what it holds", err)
	}
	return records, damaged, nil
}

// seal puts a record's checksum before it.
func seal(content []byte) []byte {
	sealed := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(content)), crc32.Checksum(content, castagnoli))
	return append(sealed, content...)
}

func open(sealed []byte) (content []byte, ok bool) {
	if len(sealed) < 4 {
		return nil, false
	}
	content = sealed[4:]
	return content, crc32.Checksum(content, castagnoli) == binary.BigEndian.Uint32(sealed)
}

// Append keeps a record. The channel tells when it is on disk, or why it isn't.
func (j *Journal) Append(content []byte) (entry uint64, synced <-chan error) {
	done := make(chan error, 1)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		done <- errClosed
		return 0, done
	}
	j.last++
	j.queue.append = append(j.queue.append, Record{Entry: j.last, Content: content})
	j.queue.waiting = append(j.queue.waiting, done)
	j.wake()
	return j.last, done
}

// Drop removes records, some time soon; Sync tells when they are gone.
func (j *Journal) Drop(entries []uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(entries) > 0 && !j.closed {
		j.queue.drop = append(j.queue.drop, entries...)
		j.wake()
	}
}

// Sync tells when all that was asked for before is on disk.
func (j *Journal) Sync() <-chan error {
	done := make(chan error, 1)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		done <- nil // Close has written what there was
		return done
	}
	j.queue.waiting = append(j.queue.waiting, done)
	j.wake()
	return done
}

func (j *Journal) wake() {
	select {
	case j.kick <- struct{}{}:
	default:
	}
}

func (j *Journal) run() {
	defer close(j.gone)
	for range j.kick {
		j.mu.Lock()
		g := j.queue
		j.queue = group{}
		j.mu.Unlock()
		err := j.write(g)
		for _, done := range g.waiting {
			done <- err
		}
	}
}

// write is one transaction. A record that is dropped before it was ever written isn't
// written.
func (j *Journal) write(g group) error {
	if len(g.append)+len(g.drop) == 0 {
		return nil
	}
	dropped := make(map[uint64]bool, len(g.drop))
	for _, entry := range g.drop {
		dropped[entry] = true
	}
	err := j.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		b.FillPercent = 0.9 // entries only grow
		var key [8]byte
		for _, r := range g.append {
			if dropped[r.Entry] {
				delete(dropped, r.Entry)
				continue
			}
			if err := b.Put(binary.BigEndian.AppendUint64(key[:0:8], r.Entry), seal(r.Content)); err != nil {
				return err
			}
		}
		for entry := range dropped {
			if err := b.Delete(binary.BigEndian.AppendUint64(key[:0:8], entry)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return tiers.NewError("strata: the journal can't be written", err)
	}
	return nil
}

// Close writes what was asked for and closes the file. Close again does nothing.
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
	j.mu.Lock()
	g := j.queue
	j.queue = group{}
	j.mu.Unlock()
	err := j.write(g)
	for _, done := range g.waiting {
		done <- err
	}
	return errors.Join(err, j.db.Close())
}
