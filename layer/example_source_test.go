package layer_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
)

// lease is how long a node may serve what it knows after the last heartbeat. Heartbeats
// come more often.
const lease = 400 * time.Millisecond

// bus is a source of one's own: a queue whose messages are the ids of sessions that were
// written, in the order of the writes, and heartbeats. The queue's reader calls its
// methods. mu guards listeners.
type bus struct {
	mu        sync.Mutex
	listeners map[tiers.InvalidationListener]bool
}

var _ layer.InvalidationSource = (*bus)(nil)

// Subscribe begins to notify a chain, here by a queue that is connected already.
func (b *bus) Subscribe(l tiers.InvalidationListener) (stop func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listeners[l] = true
	l.ValidUntil(time.Now().Add(lease))
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.listeners, l)
	}
}

func (b *bus) each(notify func(l tiers.InvalidationListener)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for l := range b.listeners {
		notify(l)
	}
}

// changed is called for each message.
func (b *bus) changed(id string) { b.each(func(l tiers.InvalidationListener) { l.Invalidate(id) }) }

// alive is called for each heartbeat, with the moment at which this process had asked for
// it: a message for each earlier write has arrived by then.
func (b *bus) alive(asked time.Time) {
	b.each(func(l tiers.InvalidationListener) { l.ValidUntil(asked.Add(lease)) })
}

// lost is called when the connection breaks, and back when it stands again: messages may
// have been lost in between.
func (b *bus) lost() { b.each(func(l tiers.InvalidationListener) { l.ValidUntil(time.Time{}) }) }

func (b *bus) back(asked time.Time) {
	b.each(func(l tiers.InvalidationListener) {
		l.InvalidateAll()
		l.ValidUntil(asked.Add(lease))
	})
}

// A store that sends no invalidations, and a queue that does: each writer of a session sends its
// id afterwards.
func ExampleSource() {
	ctx := context.Background()
	store, queue := gsession.NewStorageMemory(), &bus{listeners: map[tiers.InvalidationListener]bool{}}
	node := func() (*layer.Stack, *gsession.Manager) {
		chain := layer.Chain(store, layer.Local(layer.MaxStale(time.Hour), layer.Invalidation(queue)))
		return chain, gsession.New(time.Hour, chain)
	}
	one, here := node()
	defer one.Close(ctx)
	other, there := node()
	defer other.Close(ctx)

	write := func(name string) {
		request := here.New(ctx, "an-id")
		request.MustSet("name", name)
		if err := request.Close(); err != nil {
			fmt.Println(err)
		}
	}
	read := func() { fmt.Println(there.New(ctx, "an-id").MustGet("name")) }

	queue.alive(time.Now())
	write("john")
	queue.changed("an-id")
	read()

	queue.lost() // the store is asked for each read meanwhile
	write("jane")
	read()
	queue.back(time.Now())
	read()
	// Output:
	// john
	// jane
	// jane
}
