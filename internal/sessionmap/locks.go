package sessionmap

import (
	"context"
	"sync"
)

// Locks serialise what is done with one id; different ids don't wait for each
// other. The zero value is ready. mu guards locks and every waiters count; a lock's
// token is held by the goroutine that has received it.
type Locks struct {
	mu    sync.Mutex
	locks map[string]*idLock
}

type idLock struct {
	token   chan struct{}
	waiters int
}

// Lock waits for the id, or returns why ctx ended.
func (l *Locks) Lock(ctx context.Context, id string) (unlock func(), err error) {
	l.mu.Lock()
	if l.locks == nil {
		l.locks = map[string]*idLock{}
	}
	lock := l.locks[id]
	if lock == nil {
		lock = &idLock{token: make(chan struct{}, 1)}
		lock.token <- struct{}{}
		l.locks[id] = lock
	}
	lock.waiters++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if lock.waiters--; lock.waiters == 0 {
			delete(l.locks, id)
		}
	}
	select {
	case <-lock.token:
		return func() { lock.token <- struct{}{}; leave() }, nil
	default:
	}
	select {
	case <-lock.token:
		return func() { lock.token <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}
