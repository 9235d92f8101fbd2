package main

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
)

// foreigners is how many sessions are changed by programs without Strata alone: they
// overwrite whatever is there, so that nobody else may change them. The nodes read them.
// The even ones are written as redis-cli does, the odd ones by a bare StorageRedis.
const foreigners = 4

// foreign is the programs without Strata.
type foreign struct {
	stop    chan struct{}
	all     sync.WaitGroup
	writers []*outsider
}

// outsider is one of them; it belongs to its goroutine until halt has returned.
type outsider struct {
	*client
	w      *world
	round  int
	number int
	bare   bool
	begun  uint64 // the generation that it has logged in, and one; 0 for none
	epoch  int64  // of that
}

func (w *world) startForeign(round int) *foreign {
	f := &foreign{stop: make(chan struct{})}
	for n := range foreigners {
		o := &outsider{client: newClient(Outside, n+1, w.bare), w: w, round: round, number: n, bare: n%2 == 1}
		f.writers = append(f.writers, o)
		random := rand.New(rand.NewPCG(w.options.Seed, uint64(round*foreigners+n)))
		f.all.Go(func() { o.work(f.stop, random) })
	}
	return f
}

func (f *foreign) halt() (records []Record) {
	close(f.stop)
	f.all.Wait()
	for _, o := range f.writers {
		records = append(records, o.records...)
	}
	return records
}

// work changes the session some 100 times a second. After an outcome that isn't known
// the session is left as it is, as the write may come yet, and replaced by another.
func (o *outsider) work(stop chan struct{}, random *rand.Rand) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	slot := o.w.options.Users + foreigners - 1 - o.number
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		o.w.outside.RLock()
		generation := o.w.slots.Generation(slot)
		id := foreignID(o.round, o.number, generation)
		var outcome Outcome
		out := random.IntN(50) == 0
		switch {
		case o.begun != generation+1:
			o.begun, o.epoch, out = generation+1, int64(o.writer)<<32|int64(o.round)<<16|int64(generation), false
			outcome = o.put(Login, id)
		case out:
			outcome = o.remove(id)
		default:
			outcome = o.put(Change, id)
		}
		if out || outcome != OK {
			o.w.slots.Release(slot, generation+1)
		}
		o.w.outside.RUnlock()
	}
}

func (o *outsider) put(kind Kind, id string) Outcome {
	r := o.record(kind, id)
	r.Epoch, r.Version = o.epoch, o.next(id)
	data := content(r.Epoch, o.writer, r.Version)
	if o.bare {
		request := o.manager.New(context.Background(), id)
		err := request.SetMap(data)
		if err == nil {
			err = request.Close()
		}
		return o.keep(r, err)
	}
	text, err := json.Marshal(data)
	if err == nil {
		err = o.w.client.Set(context.Background(), prefix+id, text, ttl).Err()
	}
	return o.keep(r, err)
}

func (o *outsider) remove(id string) Outcome {
	r := o.record(Logout, id)
	if o.bare {
		request := o.manager.New(context.Background(), id)
		return o.keep(r, request.RemoveAll())
	}
	return o.keep(r, o.w.client.Del(context.Background(), prefix+id).Err())
}

// openBare is a bare StorageRedis in this process.
func (w *world) openBare() *gsession.Manager {
	w.tb.Helper()
	client, err := w.direct.goframe()
	if err != nil {
		w.tb.Fatal(err)
	}
	w.tb.Cleanup(func() { _ = client.Close(context.Background()) })
	return gsession.New(ttl, gsession.NewStorageRedis(client, prefix))
}
