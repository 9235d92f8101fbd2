package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gf-strata/strata/internal/failure"
	"github.com/gf-strata/strata/tiers"
)

// restart saves which sessions memory holds when the tier is closed, and reads them again in the
// next process, in batches. The file holds ids alone, so a session that was changed or removed in
// between is never served as it was.
//
// ttl is atomic; waiting belongs to the one goroutine, which reads until everything is
// read, the store fails or the tier is closed, and to save after that. The others are set at
// construction.
type restart struct {
	s       *Storage
	path    string
	done    sync.WaitGroup
	ttl     atomic.Int64 // of the last load
	waiting []known      // to be read
}

// known is a session that memory held.
type known struct {
	ID   []byte
	Size uint32 // bytes of its state, about
}

// newRestart is nil without a path.
func newRestart(s *Storage, path string) *restart {
	if path == "" {
		return nil
	}
	r := &restart{s: s, path: path}
	r.done.Go(func() { r.run(s.own.life) })
	return r
}

// asked notes with which ttl sessions are loaded.
func (r *restart) asked(ttl time.Duration) {
	if r != nil {
		r.ttl.Store(int64(ttl))
	}
}

// run reads the file, and its sessions once the sources vouch for memory: before that
// nothing would be served. Without sources they would be served for MaxStale only.
func (r *restart) run(ctx context.Context) {
	l, err := readList(r.path, r.s.options.MaxBytes)
	if err != nil {
		r.s.reporter.Warn(ctx, "restart", "strata: the file of WarmRestart can't be used and is ignored",
			slog.String("reason", failure.Explain(err)))
		return
	}
	r.waiting = l.Sessions
	r.ttl.CompareAndSwap(0, int64(l.TTL))
	if len(r.waiting) == 0 {
		return
	}
	if r.s.own.reloader == nil {
		r.s.reporter.Warn(ctx, "restart", "strata: WarmRestart has no use over this store, which reads sessions one by one")
		return
	}
	if !r.s.options.Exclusive && !r.s.watch.await(ctx) {
		return
	}
	for len(r.waiting) > 0 {
		began := time.Now()
		batch, taken := r.next()
		failed := r.s.own.reread(batch)
		if r.s.memory.gate.closed() || failed > 0 && failed == len(batch) {
			return // the batch may not have been kept, and waits on
		}
		r.waiting = r.waiting[taken:]
		pause := time.NewTimer(time.Since(began)) // half of the store's time is others'
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// next begins to read a batch of the sessions that wait and weren't loaded meanwhile, of the first ones that are taken.
func (r *restart) next() (batch []rereading, taken int) {
	for bytes := int64(0); taken < len(r.waiting) && len(batch) < rereadBatch && bytes < rereadBytes; taken++ {
		next := r.waiting[taken]
		id := string(next.ID)
		hash := r.s.memory.guard.Hash(id)
		if e, v := r.s.memory.look(hash); e != nil && e.current(id, v) {
			continue
		}
		e := &entry{hash: hash, id: id, own: r.s.own.of(time.Duration(r.ttl.Load()))}
		batch = append(batch, rereading{entry: e, call: r.s.order.begin(hash, false)})
		bytes += int64(next.Size)
	}
	return batch, taken
}

// holds returns the sessions in memory. It is called when nothing is kept any more.
func (r *restart) holds() (held []known) {
	if r == nil {
		return nil
	}
	r.s.memory.each(func(id string, size int64) {
		held = append(held, known{[]byte(id), uint32(min(size, math.MaxUint32))})
	})
	return held
}

// save writes the file anew, of the sessions that memory held and those that are still to be read.
// It is called when reads in the background have been broken off.
func (r *restart) save(held []known) error {
	if r == nil {
		return nil
	}
	r.done.Wait()
	var sessions []known
	seen := map[string]bool{}
	for _, k := range slices.Concat(held, r.waiting) {
		if !seen[string(k.ID)] {
			seen[string(k.ID)] = true
			sessions = append(sessions, k)
		}
	}
	if err := writeList(r.path, list{time.Duration(r.ttl.Load()), sessions}); err != nil {
		return tiers.NewError("strata: what memory held couldn't be saved for the next start (WarmRestart): "+failure.Explain(err)+"; nothing else is lost", err)
	}
	return nil
}

// A file is restartMark, the SHA-256 of what comes after it, and a list as JSON.
const restartMark = "strata warm restart\n"

// list is the content of a file.
type list struct {
	TTL      time.Duration // of the sessions
	Sessions []known
}

var (
	errForeign = tiers.NewError("it isn't a file of WarmRestart; choose another path", nil)
	errDamaged = tiers.NewError("it is damaged, or of another version", nil)
	errTooLong = tiers.NewError("it is larger than MaxBytes", nil)
)

// inspectList returns the size of the file, 0 if there is none, and fails if what is at the path isn't a file of ours.
func inspectList(path string) (size int64, err error) {
	found, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, err
	case !found.Mode().IsRegular():
		return 0, errForeign
	case found.Size() == 0:
		return 0, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	mark := make([]byte, len(restartMark))
	if _, err := io.ReadFull(f, mark); err != nil || string(mark) != restartMark {
		return 0, errForeign
	}
	return found.Size(), nil
}

// readList returns nothing if there is no file, and of a list that is too long for memory its beginning.
func readList(path string, maxBytes int64) (l list, err error) {
	size, err := inspectList(path)
	switch {
	case err != nil || size == 0:
		return list{}, err
	case size > maxBytes+entryBytes:
		return list{}, errTooLong
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return list{}, err
	}
	sum, found := bytes.CutPrefix(content, []byte(restartMark))
	if !found || len(sum) < sha256.Size {
		return list{}, errDamaged
	}
	content = sum[sha256.Size:]
	if sha256.Sum256(content) != [sha256.Size]byte(sum) || json.Unmarshal(content, &l) != nil {
		return list{}, errDamaged
	}
	held := int64(0)
	for n, s := range l.Sessions {
		if held += entryBytes + int64(len(s.ID)) + int64(s.Size); held > maxBytes {
			l.Sessions = l.Sessions[:n]
			break
		}
	}
	return l, nil
}

// writeList replaces the file as a whole, or leaves it as it is.
func writeList(path string, l list) error {
	if _, err := inspectList(path); err != nil {
		return err
	}
	content, err := json.Marshal(l)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(slices.Concat([]byte(restartMark), sum[:], content))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		_ = os.Remove(next)
	}
	return err
}
