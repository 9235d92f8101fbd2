package coalesce_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gf-strata/strata/decorators/coalesce"
	"github.com/gf-strata/strata/internal/teststore"
	"github.com/gf-strata/strata/tiers"
)

// model is a store that is slow, refuses calls and loses replies at random, and what requests have done to one session
// of it. Each change sets a key of its own, so that it is known in whatever the store and readers hold. mu guards all
// fields after it.
type model struct {
	*teststore.Store
	t       *testing.T
	certain bool // errors say that nothing was applied, and no reply is lost
	slow    bool

	mu      sync.Mutex
	random  *rand.Rand
	clock   int // grows with each event
	changes map[string]*deed
	ends    []*deed         // removals, of other nodes too, and replacements, each of which ends what was there
	stored  map[string]bool // keys that the store holds, or false if it did
	lost    int             // changes that were reported
	lacks   []string        // accepted changes that a read hasn't shown
}

// deed is one call: when it began and returned, 0 for not yet, and its error. A call of a process that was killed
// doesn't return.
type deed struct {
	began, returned int
	err             error
	removes         bool // it is a removal of this node
}

func (d *deed) succeeded() bool { return d.returned > 0 && d.err == nil }

// under locks the model for the rest of a function.
func (m *model) under() func() { m.mu.Lock(); return m.mu.Unlock }

// draw returns a number below n.
func (m *model) draw(n int) int { defer m.under()(); return m.random.IntN(n) }

func (m *model) pause(most int) { time.Sleep(time.Duration(m.draw(most)) * time.Millisecond) }

// looked notes what the store holds after a write: nothing comes back that has gone. It is called under mu.
func (m *model) looked() {
	read, _ := m.Store.Load(ctx, "a", ttl)
	m.clock++
	for key, there := range m.stored {
		if there && (read.Snapshot == nil || read.Snapshot.Get(key) == nil) {
			m.stored[key] = false
		}
	}
	if read.Snapshot == nil {
		return
	}
	for key := range read.Snapshot.Data() {
		if there, known := m.stored[key]; known && !there {
			m.t.Errorf("%s is back in the store", key)
		}
		m.stored[key] = true
	}
}

// process is the model as one process reaches it. The model's mu guards dead.
type process struct {
	*model
	dead bool // it was killed, and nothing of it reaches the store
}

// call makes a call of the store.
func (p *process) call(do func() error) error {
	if p.slow {
		p.pause(40)
	}
	fails, err := p.draw(8) == 0, func() error {
		defer p.under()()
		if p.dead {
			return errAway
		}
		return nil
	}()
	switch {
	case fails && p.certain, err != nil:
		return tiers.NotApplied(errAway)
	case fails:
		return errAway
	}
	err = do()
	if p.slow {
		p.pause(40)
	}
	if !p.certain && p.draw(8) == 0 {
		return errAway
	}
	return err
}

func (p *process) write(do func() error) error {
	return p.call(func() error {
		defer p.under()()
		if p.dead {
			return errAway
		}
		defer p.looked()
		return do()
	})
}

func (p *process) Commit(_ context.Context, id string, delta *tiers.Delta, life time.Duration) (snapshot *tiers.Snapshot, err error) {
	err = p.write(func() (err error) { snapshot, err = p.Store.Commit(ctx, id, delta, life); return err })
	return snapshot, err
}

func (p *process) RemoveAll(_ context.Context, id string) error {
	return p.write(func() error { return p.Store.RemoveAll(ctx, id) })
}

func (p *process) Load(_ context.Context, id string, life time.Duration) (read tiers.Read, err error) {
	err = p.call(func() (err error) { read, err = p.Store.Load(ctx, id, life); return err })
	return read, err
}

// does notes a call of a request.
func (p *process) does(d *deed, note func(), call func() error) {
	unlock := p.under()
	if p.clock++; d.began == 0 {
		d.began = p.clock
	}
	note()
	unlock()
	err := call()
	defer p.under()()
	if p.clock++; !p.dead {
		d.returned, d.err = p.clock, err
	}
}

// request makes one call, or reads the session and changes it.
func (p *process) request(c *coalesce.Storage) {
	p.pause(40)
	key, d := fmt.Sprint("k", p.draw(1<<30)), &deed{}
	commit := func(delta *tiers.Delta, err error) func() error {
		return func() error {
			if err == nil {
				_, err = c.Commit(ctx, "a", delta, ttl)
			}
			return err
		}
	}
	changes := func() { p.changes[key] = d }
	ends := func() { p.ends = append(p.ends, d) }
	switch p.draw(13) {
	case 0:
		d.removes = true
		p.does(d, ends, func() error { return c.RemoveAll(ctx, "a") })
	case 1:
		if p.certain { // what a replacement was made on isn't known, so that it isn't repeated
			p.does(d, func() { changes(); ends() }, commit(tiers.Replace(map[string]any{key: "1"})))
		}
	case 2:
		_, _ = c.Slide(ctx, "a", ttl)
	case 3:
		soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_ = c.Flush(soon)
	case 4:
		p.does(d, changes, commit(tiers.Add(map[string]any{key: "1"})))
	case 5:
		defer p.under()()
		p.clock++
		p.ends = append(p.ends, &deed{began: p.clock, returned: p.clock})
		p.Store.Drop("a")
		p.looked()
	default:
		read := &deed{}
		var given *tiers.Snapshot
		p.does(read, func() {}, func() error {
			read, err := c.Load(ctx, "a", ttl)
			given = read.Snapshot
			return err
		})
		if read.succeeded() {
			p.shows(given, read)
			p.pause(20)
			add := commit(tiers.Add(map[string]any{key: "1"}))
			if given != nil {
				add = commit(change(p.t, given, key, "1"), nil)
			}
			d.began = read.began // what comes after the read may end it
			p.does(d, changes, add)
		}
	}
}

// ended reports whether a call may have taken away what a change has set.
func (m *model) ended(change *deed) bool {
	for _, e := range m.ends {
		if e != change && (e.returned == 0 || e.returned > change.began) {
			return true
		}
	}
	return false
}

// shows checks what a read has returned.
func (p *process) shows(given *tiers.Snapshot, read *deed) {
	defer p.under()()
	for key, d := range p.changes {
		if !d.succeeded() || d.returned > read.began {
			continue
		}
		there := given != nil && given.Get(key) != nil
		if !there && p.certain && !p.ended(d) {
			p.lacks = append(p.lacks, key)
		}
		for _, e := range p.ends {
			if there && e.removes && e.succeeded() && e.began > d.returned && e.returned < read.began {
				p.t.Errorf("a read shows %s, which was removed", key)
			}
		}
	}
}

// run has a process serve requests until it is closed or killed, and returns the journal's directory for the next one.
func (m *model) run(dir string, last bool, opts ...coalesce.Option) string {
	p := &process{model: m}
	if dir != "" {
		opts = append(slices.Clip(opts), inJournal(dir))
	}
	c := coalesce.New(p, append(slices.Clip(opts), onGiveUp(func(g coalesce.GiveUp) {
		defer m.under()()
		if !p.dead {
			m.lost += g.Changes
		}
	}))...)
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for range 6 {
				p.request(c)
			}
		})
	}
	within := 24 * time.Hour
	switch how := m.draw(3); {
	case last || how == 0:
		clients.Wait()
	case how == 1:
		m.pause(300)
		within = time.Duration(m.draw(300)) * time.Millisecond
	default:
		m.pause(300)
		unlock := m.under()
		p.dead, within = true, 0
		unlock()
		dir = killed(m.t, dir)
	}
	late, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := c.Close(late)
	if changes, bytes, _ := c.Pending(); err == nil && (changes != 0 || bytes != 0) {
		m.t.Errorf("%d changes of %d bytes are pending after Close", changes, bytes)
	}
	if last && err != nil {
		m.t.Error(err)
	}
	clients.Wait()
	coalesce.Leave(c)
	time.Sleep(time.Minute) // until reports are made
	return dir
}

// Whatever the store, Close and kills do to one session: each accepted change is in the store, ended by a later call or
// reported; nothing comes back that was removed or has left the store; and reads show what was accepted before.
func TestOneSessionUnderRandomFaults(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &model{Store: teststore.New(), t: t, random: rand.New(rand.NewPCG(seed, 0)), certain: seed%2 == 0, slow: seed%3 > 0,
					changes: map[string]*deed{}, stored: map[string]bool{}}
				opts := []coalesce.Option{writeTimeout(time.Hour)}
				if seed%5 > 0 {
					opts = append(opts, writeBehind(time.Duration(1+m.draw(100))*time.Millisecond))
				}
				dir := ""
				if seed%5 > 1 { // only what a journal keeps outlives its process
					dir = t.TempDir()
					for range m.draw(3) {
						dir = m.run(dir, false, opts...)
					}
				}
				m.run(dir, true, opts...)
				var missing []string
				for key, d := range m.changes {
					if _, was := m.stored[key]; d.succeeded() && !was && !m.ended(d) {
						missing = append(missing, key)
					}
				}
				m.lacks = slices.DeleteFunc(m.lacks, func(key string) bool { return m.ended(m.changes[key]) })
				if len(m.lacks) > 0 && m.lost == 0 {
					t.Errorf("reads lack %s, which were accepted", strings.Join(m.lacks, " "))
				}
				if len(missing) > m.lost {
					t.Errorf("%s aren't in the store, %d were reported", strings.Join(missing, " "), m.lost)
				}
			})
		})
	}
}
