package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"log/slog"
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
// ttl is atomic; waiting and reading belong to the one goroutine, which reads until everything is
// read, the store fails or the tier is closed, and to save after that. The others are set at
// construction.
type restart struct {
	s       *Storage
	path    string
	done    sync.WaitGroup
	ttl     atomic.Int64 // of the last load
	waiting []known      // to be read
	reading int          // of the first of them
}

// known is a session that memory held.
type known struct {
	id   string
	size int64 // bytes of its state, about
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
	sessions, ttl, err := readKnown(r.path, r.s.options.MaxBytes)
	if err != nil {
		r.s.reporter.Warn(ctx, "restart", "strata: the file of WarmRestart can't be used and is ignored",
			slog.String("reason", failure.Explain(err)))
		return
	}
	r.waiting = sessions
	r.ttl.CompareAndSwap(0, int64(ttl))
	if len(sessions) == 0 {
		return
	}
	if r.s.own.reloader == nil {
		r.s.reporter.Warn(ctx, "restart", "strata: WarmRestart has no use over this store, which reads sessions one by one")
		return
	}
	if !r.s.options.Exclusive && !r.s.watch.await(ctx) {
		return
	}
	for !r.s.memory.gate.closed() { // or else the batch may not have been kept, and waits on
		batch, began := r.next(), time.Now()
		if len(batch) == 0 {
			r.waiting = nil
			return
		}
		if r.s.own.reread(batch) == len(batch) {
			return
		}
		pause := time.NewTimer(time.Since(began)) // half of the store's time is others'
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// next begins to read a batch of the sessions that wait and weren't loaded meanwhile.
func (r *restart) next() (batch []rereading) {
	r.waiting, r.reading = r.waiting[r.reading:], 0
	for bytes := int64(0); r.reading < len(r.waiting) && len(batch) < rereadBatch && bytes < rereadBytes; {
		next := r.waiting[r.reading]
		r.reading++
		hash := r.s.memory.guard.Hash(next.id)
		if e, v := r.s.memory.look(hash); e != nil && e.current(next.id, v) {
			continue
		}
		e := &entry{hash: hash, id: next.id, own: r.s.own.of(time.Duration(r.ttl.Load()))}
		batch = append(batch, rereading{entry: e, call: r.s.order.begin(hash, false)})
		bytes += next.size
	}
	return batch
}

// holds returns the sessions in memory. It is called when nothing is kept any more.
func (r *restart) holds() (held []known) {
	if r == nil {
		return nil
	}
	r.s.memory.each(func(id string, size int64) { held = append(held, known{id, size}) })
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
		if !seen[k.id] {
			seen[k.id] = true
			sessions = append(sessions, k)
		}
	}
	if err := writeKnown(r.path, sessions, time.Duration(r.ttl.Load())); err != nil {
		return tiers.NewError("strata: what memory held couldn't be saved for the next start (WarmRestart): "+reasonOf(err)+"; nothing else is lost", err)
	}
	return nil
}

// The file begins with restartMark and its version, has the ttl and then each session's size and
// id, which has its length before it, all numbers being varints, and ends with the SHA-256 of
// what comes before.
const (
	restartMark    = "strata warm restart\n"
	restartVersion = 1
)

var (
	errForeign = tiers.NewError("it isn't a file of WarmRestart; choose another path", nil)
	errDamaged = tiers.NewError("it is damaged, or of another version", nil)
	errTooLong = tiers.NewError("it is larger than MaxBytes", nil)
)

// reasonOf is an error of a file in words without its path.
func reasonOf(err error) string {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err.Error()
	case errors.As(err, &link):
		return link.Err.Error()
	}
	return failure.Explain(err)
}

// inspectKnown fails if there is something at the path that isn't a file of ours.
func inspectKnown(path string) (found fs.FileInfo, err error) {
	found, err = os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !found.Mode().IsRegular():
		return nil, errForeign
	case found.Size() == 0:
		return found, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	mark := make([]byte, len(restartMark))
	if _, err := io.ReadFull(f, mark); err != nil || string(mark) != restartMark {
		return nil, errForeign
	}
	return found, nil
}

// readKnown returns nothing if there is no file, and of a list that is too long for memory
// its beginning.
func readKnown(path string, maxBytes int64) (sessions []known, ttl time.Duration, err error) {
	found, err := inspectKnown(path)
	switch {
	case err != nil:
		return nil, 0, tiers.NewError(reasonOf(err), err)
	case found == nil:
		return nil, 0, nil
	case found.Size() > maxBytes+entryBytes:
		return nil, 0, errTooLong
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, tiers.NewError(reasonOf(err), err)
	}
	end := len(content) - sha256.Size
	if end < len(restartMark) {
		return nil, 0, errDamaged
	}
	if sum := sha256.Sum256(content[:end]); !bytes.Equal(sum[:], content[end:]) {
		return nil, 0, errDamaged
	}
	rest := content[len(restartMark):end]
	number := func() (n uint64) {
		n, length := binary.Uvarint(rest)
		if length <= 0 {
			err, rest = errDamaged, nil
			return 0
		}
		rest = rest[length:]
		return n
	}
	if number() != restartVersion {
		return nil, 0, errDamaged
	}
	ttl = time.Duration(number())
	for held := int64(0); len(rest) > 0 && err == nil; {
		size, length := number(), number()
		if err != nil || length > uint64(len(rest)) {
			return nil, 0, errDamaged
		}
		s := known{id: string(rest[:length]), size: int64(min(size, uint64(maxBytes)))}
		rest = rest[length:]
		if held += entryBytes + int64(length) + s.size; held <= maxBytes {
			sessions = append(sessions, s)
		}
	}
	return sessions, ttl, err
}

// writeKnown replaces the file as a whole, or leaves it as it is.
func writeKnown(path string, sessions []known, ttl time.Duration) (err error) {
	if _, err := inspectKnown(path); err != nil {
		return err
	}
	content := binary.AppendUvarint([]byte(restartMark), restartVersion)
	content = binary.AppendUvarint(content, uint64(ttl))
	for _, s := range sessions {
		content = binary.AppendUvarint(content, uint64(s.size))
		content = append(binary.AppendUvarint(content, uint64(len(s.id))), s.id...)
	}
	sum := sha256.Sum256(content)
	content = append(content, sum[:]...)

	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		_ = os.Remove(next)
	}
	return err
}
