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

// model is a store that is slow, refuses calls and loses replies at random, and what requests have done to a few sessions
// of it. Each change sets a key of its own, so that it is known in whatever the store and readers hold. mu guards all
// fields after it.
type model struct {
	*teststore.Store
	t       *testing.T
	certain bool // errors say that nothing was applied, and no reply is lost
	slow    bool
	batches bool // the store takes them
	refuses bool // the journal's disk does at times

	mu       sync.Mutex
	random   *rand.Rand
	clock    int // grows with each event
	sessions map[string]*history
	lost     int // changes that were reported
}

// history is what requests have done to a session. The model's mu guards all fields.
type history struct {
	changes map[string]*deed
	ends    []*deed         // removals, of other nodes too, and replacements, each of which ends what was there
	stored  map[string]bool // keys that the store holds, or false if it did
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
func (m *model) looked(id string) {
	read, _ := m.Store.Load(ctx, id, ttl)
	m.clock++
	stored := m.sessions[id].stored
	for key, there := range stored {
		if there && (read.Snapshot == nil || read.Snapshot.Get(key) == nil) {
			stored[key] = false
		}
	}
	if read.Snapshot == nil {
		return
	}
	for key := range read.Snapshot.Data() {
		if there, known := stored[key]; known && !there {
			m.t.Errorf("%s is back in the store", key)
		}
		stored[key] = true
	}
}

// process is the model as one process reaches it. The model's mu guards dead.
type process struct {
	*model
	steps  int           // until it is killed, 0 or less for never
	dead   bool          // it was killed, and nothing of it reaches the store
	dying  chan struct{} // closed then
	copied chan struct{} // closed when the next process has its disk
}

// kill is called under mu.
func (p *process) kill() {
	if !p.dead {
		p.dead = true
		close(p.dying)
	}
}

// step is one at which the process may be killed. Then it returns an error, once the disk was copied.
func (p *process) step() error {
	unlock := p.under()
	if p.steps--; p.steps == 0 {
		p.kill()
	}
	dead := p.dead
	unlock()
	if !dead {
		return nil
	}
	<-p.copied
	return errAway
}

// call makes a call of the store.
func (p *process) call(do func() error) error {
	if p.slow {
		p.pause(40)
	}
	fails, err := p.draw(8) == 0, p.step()
	switch {
	case fails && p.certain, err != nil:
		return tiers.NotApplied(errAway)
	case fails:
		return errAway
	}
	err = do()
	if dead := p.step(); dead != nil {
		return dead
	}
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
		return do()
	})
}

func (p *process) Commit(_ context.Context, id string, delta *tiers.Delta, life time.Duration) (snapshot *tiers.Snapshot, err error) {
	err = p.write(func() (err error) {
		defer p.looked(id)
		snapshot, err = p.Store.Commit(ctx, id, delta, life)
		return err
	})
	return snapshot, err
}

func (p *process) RemoveAll(_ context.Context, id string) error {
	return p.write(func() error {
		defer p.looked(id)
		return p.Store.RemoveAll(ctx, id)
	})
}

// together is a process whose store takes batches, of which some commits fail and others don't.
type together struct{ *process }

func (b together) CommitAll(_ context.Context, commits []tiers.Commit) []tiers.Committed {
	results := make([]tiers.Committed, len(commits))
	err := b.write(func() error {
		for n, c := range commits {
			fails := b.random.IntN(8) == 0
			if fails && (b.certain || b.random.IntN(2) == 0) {
				if results[n].Err = errAway; b.certain {
					results[n].Err = tiers.NotApplied(errAway)
				}
				continue
			}
			results[n].Snapshot, results[n].Err = b.Store.Commit(ctx, c.ID, c.Delta, c.TTL)
			if b.looked(c.ID); fails {
				results[n] = tiers.Committed{Err: errAway}
			}
		}
		return nil
	})
	for n := range results {
		if err != nil {
			results[n] = tiers.Committed{Err: err}
		}
	}
	return results
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

// request makes one call, or reads a session and changes it.
func (p *process) request(c *coalesce.Storage) {
	p.pause(40)
	id := string(rune('a' + p.draw(len(p.sessions))))
	h := p.sessions[id]
	key, d := fmt.Sprint(id, p.draw(1<<30)), &deed{}
	commit := func(delta *tiers.Delta, err error) func() error {
		return func() error {
			if err == nil {
				_, err = c.Commit(ctx, id, delta, ttl)
			}
			return err
		}
	}
	changes := func() { h.changes[key] = d }
	ends := func() { h.ends = append(h.ends, d) }
	switch p.draw(14) {
	case 0:
		d.removes = true
		p.does(d, ends, func() error { return c.RemoveAll(ctx, id) })
	case 1:
		if p.certain { // what a replacement was made on isn't known, so that it isn't repeated
			p.does(d, func() { changes(); ends() }, commit(tiers.Replace(map[string]any{key: "1"})))
		}
	case 2:
		p.does(d, func() {}, func() error { _, err := c.Slide(ctx, id, ttl); return err })
	case 3:
		soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_ = c.Flush(soon)
	case 4:
		p.does(d, changes, commit(tiers.Add(map[string]any{key: "1"})))
	case 5:
		defer p.under()()
		p.clock++
		h.ends = append(h.ends, &deed{began: p.clock, returned: p.clock})
		p.Store.Drop(id)
		p.looked(id)
	default:
		read := &deed{}
		var given *tiers.Snapshot
		p.does(read, func() {}, func() error {
			read, err := c.Load(ctx, id, ttl)
			given = read.Snapshot
			return err
		})
		if !read.succeeded() {
			return
		}
		p.shows(h, given, read)
		p.pause(20)
		d.began = read.began // what comes after the read may end it
		switch {
		case given == nil:
			p.does(d, changes, commit(tiers.Add(map[string]any{key: "1"})))
		case p.draw(4) == 0:
			p.does(d, func() {}, commit(tiers.Diff(given, given.Map())))
		default:
			p.does(d, changes, commit(change(p.t, given, key, "1"), nil))
		}
	}
}

// ended reports whether a call may have taken away what a change has set.
func (h *history) ended(change *deed) bool {
	for _, e := range h.ends {
		if e != change && (e.returned == 0 || e.returned > change.began) {
			return true
		}
	}
	return false
}

// shows checks what a read has returned.
func (p *process) shows(h *history, given *tiers.Snapshot, read *deed) {
	defer p.under()()
	for key, d := range h.changes {
		if !d.succeeded() || d.returned > read.began {
			continue
		}
		there := given != nil && given.Get(key) != nil
		if !there && p.certain && !h.ended(d) {
			h.lacks = append(h.lacks, key)
		}
		for _, e := range h.ends {
			if there && e.removes && e.succeeded() && e.began > d.returned && e.returned < read.began {
				p.t.Errorf("a read shows %s, which was removed", key)
			}
		}
	}
}

// run has a process serve requests until it is closed or killed, and returns the journal's directory for the next one.
func (m *model) run(dir string, last bool, opts ...coalesce.Option) string {
	p, how := &process{model: m, dying: make(chan struct{}), copied: make(chan struct{})}, m.draw(4)
	if !last && how > 1 {
		p.steps = 1 + m.draw(60)
	}
	if dir != "" {
		opts = append(slices.Clip(opts), inJournal(dir))
	}
	var store tiers.Storage = p
	if m.batches {
		store = together{p}
	}
	c := coalesce.New(store, append(slices.Clip(opts), onGiveUp(func(g coalesce.GiveUp) {
		defer m.under()()
		if !p.dead {
			m.lost += g.Changes
		}
	}))...)
	within := 24 * time.Hour
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for range 6 {
				p.request(c)
			}
		})
	}
	disk := diskOf(m.t, dir, m.refuses)
	clients.Go(func() {
		for range 2 {
			m.pause(300)
			disk.refuse()
			m.pause(300)
			disk.restore()
		}
	})
	switch {
	case last || how == 0:
		clients.Wait()
	case how == 1:
		m.pause(300)
		within = time.Duration(m.draw(300)) * time.Millisecond
	default:
		go func() {
			clients.Wait()
			defer m.under()()
			p.kill()
		}()
		<-p.dying
		within, dir = 0, killed(m.t, dir)
		close(p.copied)
	}
	disk.stay()
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
	disk.close()
	return dir
}

// Whatever the store, Close, kills and the disk do to a few sessions: each accepted change is in the store, ended by a later
// call or reported; nothing comes back that was removed or has left the store; and reads show what was accepted
// before.
func TestSessionsUnderRandomFaults(t *testing.T) {
	for seed := range uint64(80) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &model{Store: teststore.New(), t: t, random: rand.New(rand.NewPCG(seed, 0)), certain: seed%2 == 0, slow: seed%3 > 0,
					sessions: map[string]*history{}}
				m.batches, m.refuses = m.draw(2) == 0, m.draw(2) == 0
				for n := range 1 + m.draw(2) {
					m.sessions[string(rune('a'+n))] = &history{changes: map[string]*deed{}, stored: map[string]bool{}}
				}
				opts := []coalesce.Option{writeTimeout(time.Hour)}
				if seed%5 > 0 {
					opts = append(opts, writeBehind(time.Duration(1+m.draw(100))*time.Millisecond))
				}
				if m.draw(4) == 0 {
					opts = append(opts, maxPending(1))
				}
				dir := ""
				if seed%5 > 1 { // only what a journal keeps outlives its process
					dir = t.TempDir()
					for range m.draw(4) {
						dir = m.run(dir, false, opts...)
					}
				}
				m.run(dir, true, opts...)
				m.judge()
			})
		})
	}
}

// judge checks what is left when all has been delivered or reported.
func (m *model) judge() {
	defer m.under()()
	var missing, lacks []string
	for _, h := range m.sessions {
		for key, d := range h.changes {
			if _, was := h.stored[key]; d.succeeded() && !was && !h.ended(d) {
				missing = append(missing, key)
			}
		}
		lacks = append(lacks, slices.DeleteFunc(h.lacks, func(key string) bool { return h.ended(h.changes[key]) })...)
	}
	if len(lacks) > 0 && m.lost == 0 {
		m.t.Errorf("reads lack %s, which were accepted", strings.Join(lacks, " "))
	}
	if len(missing) > m.lost {
		m.t.Errorf("%s aren't in the store, %d were reported", strings.Join(missing, " "), m.lost)
	}
}
