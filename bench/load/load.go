package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/gf-strata/strata/bench/peers"
)

// Op is what a request does.
type Op string

// The operations.
const (
	Read   Op = "read"    // 2 of 10 keys
	Change Op = "change"  // reads 2 keys and changes one
	Cart   Op = "cart"    // reads a key and what is nested
	Login  Op = "log-in"  // sets 4 keys of a new session
	Logout Op = "log-out" // reads a key and removes the session
	Hit    Op = "hit"     // GetSession of the storage, no Session around it
)

// written are the keys that Change writes.
var written = [...]int{4, 5, 6}

// Load is the requests of a workload on one node, and what is known of its sessions. Its
// methods may be called from any goroutine.
//
// The fields but the counters are set by New; slots guard themselves.
type Load struct {
	// Node may be set after New, before the first request.
	Node     peers.Node
	shape    Shape
	scribble bool // into what is handed out, to see whether it is shared
	torn     bool // a result without data is stale, not wrong
	// Fresh has each request bring an id of its own memory, as a parsed cookie is, so that
	// a cache which keeps the string pays for it. It is set before the first request.
	Fresh bool
	ids   []string
	slots []slot // three for each session

	logins atomic.Int64
	// Stale counts results that lacked a write, a log-in or a log-out which had returned
	// before the request began: a stale cache, or a lost update.
	Stale atomic.Int64
}

// New makes a load of sessions of a subject that have been seeded.
func New(subject peers.Subject, node peers.Node, shape Shape, ids []string) *Load {
	return &Load{Node: node, shape: shape, ids: ids, scribble: subject.Isolated, torn: subject.Torn, slots: make([]slot, len(ids)*len(written))}
}

// Do runs one request on the nth session; turn differs between calls.
func (l *Load) Do(ctx context.Context, op Op, n, turn int) error {
	switch op {
	case Hit:
		id := l.ids[n]
		if l.Fresh {
			id = strings.Clone(id)
		}
		return l.hit(ctx, id)
	case Login:
		return l.login(ctx)
	}
	slot, _ := l.slot(n, turn)
	floor := slot.floor.Load()
	r := l.Node.Begin(ctx, l.ids[n])
	var err error
	switch op {
	case Read:
		err = l.read(r, n, turn, floor)
	case Change:
		return l.change(r, n, turn, floor)
	case Cart:
		err = l.cart(r, n)
	case Logout:
		err = l.logout(r, n)
	default:
		err = fmt.Errorf("no operation %q", op)
	}
	if err != nil {
		return err
	}
	return r.Close()
}

// unchanged reads a key that nobody writes.
func (l *Load) unchanged(r peers.Request, n int, key string) error {
	v, err := r.Get(key)
	if l.isHalf(err) || err == nil && v == nil && l.torn {
		l.Stale.Add(1)
		return nil
	}
	if err != nil {
		return err
	}
	return l.shape.checkUnchanged(l.ids[n], key, v)
}

// writable reads a key that requests write, and compares it with what had been written
// before the request began, floor.
func (l *Load) writable(r peers.Request, n int, key string, floor uint64) error {
	v, err := r.Get(key)
	if l.isHalf(err) {
		return nil
	}
	if err != nil || v == nil && l.torn {
		return err
	}
	is, err := l.shape.checkChanged(l.ids[n], key, v)
	if err == nil && is < floor {
		l.Stale.Add(1)
	}
	return err
}

func (l *Load) slot(n, turn int) (*slot, string) {
	k := turn % len(written)
	return &l.slots[n*len(written)+k], Keys[written[k]]
}

func (l *Load) read(r peers.Request, n, turn int, floor uint64) error {
	_, key := l.slot(n, turn)
	if err := l.unchanged(r, n, "key3"); err != nil {
		return err
	}
	return l.writable(r, n, key, floor)
}

func (l *Load) change(r peers.Request, n, turn int, floor uint64) error {
	if err := l.read(r, n, turn, floor); err != nil {
		return err
	}
	slot, key := l.slot(n, turn)
	write, alone := slot.begin()
	err := r.Set(key, l.shape.changed(l.ids[n], key, write))
	if err == nil {
		err = r.Close()
	}
	slot.end(write, alone && err == nil)
	if l.isHalf(err) {
		return nil
	}
	return err
}

// isHalf reports whether a read has met a half of what was being written, as such a subject's may.
func (l *Load) isHalf(err error) bool {
	var syntax *json.SyntaxError
	return l.torn && (errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &syntax))
}

func (l *Load) cart(r peers.Request, n int) error {
	if err := l.unchanged(r, n, "key3"); err != nil {
		return err
	}
	v, err := r.Get(CartKey)
	if err != nil {
		return err
	}
	return checkCart(l.ids[n], v, l.scribble)
}

// loginSeries is the series of ids that log-ins take.
const loginSeries = 9

// checkLogin is how many log-ins there are for each that is looked at again.
const checkLogin = 64

func (l *Load) login(ctx context.Context) error {
	turn := l.logins.Add(1)
	id := ID(loginSeries, int(turn))
	r := l.Node.Begin(ctx, id)
	for _, key := range Keys[:4] {
		if err := r.Set(key, Value(id, key)); err != nil {
			return err
		}
	}
	if err := r.Close(); err != nil || turn%checkLogin != 0 {
		return err
	}
	is, err := r.ID()
	if err != nil {
		return err
	}
	again := l.Node.Begin(ctx, is)
	v, err := again.Get("key3")
	if v == nil && err == nil { // a cache knows yet that there is no such session
		l.Stale.Add(1)
		return nil
	}
	if err != nil {
		return err
	}
	return TenKeys.checkUnchanged(id, "key3", v)
}

func (l *Load) logout(r peers.Request, n int) error {
	if err := l.unchanged(r, n, "key3"); err != nil {
		return err
	}
	return r.Clear()
}

func (l *Load) hit(ctx context.Context, id string) error {
	m, err := l.Node.Storage().GetSession(ctx, id, peers.TTL)
	if err != nil {
		return err
	}
	if m == nil {
		return Wrong("the session is gone")
	}
	return l.shape.checkUnchanged(id, "key3", m.Get("key3"))
}

// Gone looks for a session that has been logged out; one that is there counts as Stale.
func (l *Load) Gone(ctx context.Context, n int) error {
	v, err := l.Node.Begin(ctx, l.ids[n]).Get("key3")
	if v != nil {
		l.Stale.Add(1)
	}
	return err
}

// Serving is a request of a server that closes the session itself, after its response. Its
// zero value is ready; it is one goroutine's.
type Serving struct {
	slot  *slot
	write uint64
	alone bool
}

// Done says that the session is closed.
func (v *Serving) Done() {
	if v.slot != nil {
		v.slot.end(v.write, v.alone)
	}
}

// Serve returns what the response says: the name of the session that was read.
func (l *Load) Serve(r peers.Request, op Op, n, turn int, v *Serving) (string, error) {
	slot, key := l.slot(n, turn)
	if err := l.read(r, n, turn, slot.floor.Load()); err != nil {
		return "", err
	}
	if op == Change {
		v.slot = slot
		v.write, v.alone = slot.begin()
		switch err := r.Set(key, l.shape.changed(l.ids[n], key, v.write)); {
		case l.isHalf(err):
			v.alone = false
		case err != nil:
			return "", err
		}
	}
	return l.Name(n), nil
}

// Name is what a response about the nth session says.
func (l *Load) Name(n int) string { return l.ids[n][:nameLen] }

// Sweep reads every key that requests write, so that each update that was lost is counted,
// whether a later request has come across it or not.
func (l *Load) Sweep(ctx context.Context) error {
	for n := range l.ids {
		for turn := range written {
			if err := l.Do(ctx, Read, n, turn); err != nil {
				return err
			}
		}
	}
	return nil
}

// CheckServed finds out whether a response is about the session that was asked for.
func CheckServed(id string, body []byte) error {
	if string(body) != id[:nameLen] {
		return Wrong("the response is another session's, or an error: " + string(body[min(nameLen, len(body)):]))
	}
	return nil
}
