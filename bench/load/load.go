package load

import (
	"context"
	"fmt"
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
	node     peers.Node
	shape    Shape
	scribble bool // into what is handed out, to see whether it is shared
	torn     bool // an answer of nothing is outdated, not wrong
	ids      []string
	slots    []slot // three for each session

	logins atomic.Int64
	// Outdated counts answers that lacked a write, a log-in or a log-out which had returned
	// before the request began: a stale cache, or a lost update.
	Outdated atomic.Int64
}

// New makes a load of sessions of a subject that have been seeded.
func New(subject peers.Subject, node peers.Node, shape Shape, ids []string) *Load {
	return &Load{node: node, shape: shape, ids: ids, scribble: subject.Isolated, torn: subject.Torn, slots: make([]slot, len(ids)*len(written))}
}

// Do runs one request on the nth session; turn differs between calls.
func (l *Load) Do(ctx context.Context, op Op, n, turn int) error {
	switch op {
	case Hit:
		return l.hit(ctx, l.ids[n])
	case Login:
		return l.login(ctx)
	}
	slot, _ := l.slot(n, turn)
	floor := slot.floor.Load()
	r := l.node.Begin(ctx, l.ids[n])
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
	if err != nil {
		return err
	}
	if v == nil && l.torn {
		l.Outdated.Add(1)
		return nil
	}
	return l.shape.checkUnchanged(l.ids[n], key, v)
}

// writable reads a key that requests write, and compares it with what had been written
// before the request began, floor.
func (l *Load) writable(r peers.Request, n int, key string, floor uint64) error {
	v, err := r.Get(key)
	if err != nil || v == nil && l.torn {
		return err
	}
	is, err := l.shape.checkChanged(l.ids[n], key, v)
	if err == nil && is < floor {
		l.Outdated.Add(1)
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
	return err
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
	r := l.node.Begin(ctx, id)
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
	again := l.node.Begin(ctx, is)
	v, err := again.Get("key3")
	if v == nil && err == nil { // a cache knows yet that there is no such session
		l.Outdated.Add(1)
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
	m, err := l.node.Storage().GetSession(ctx, id, peers.TTL)
	if err != nil {
		return err
	}
	if m == nil {
		return Wrong("the session is gone")
	}
	return l.shape.checkUnchanged(id, "key3", m.Get("key3"))
}

// Gone looks for a session that has been logged out; one that is there is outdated.
func (l *Load) Gone(ctx context.Context, n int) error {
	v, err := l.node.Begin(ctx, l.ids[n]).Get("key3")
	if v != nil {
		l.Outdated.Add(1)
	}
	return err
}

// Serve is a request of a server that closes the session itself, after its response. It
// answers what the response says: the name of the session that was read.
func (l *Load) Serve(r peers.Request, op Op, n, turn int) (string, error) {
	if err := l.read(r, n, turn, 0); err != nil {
		return "", err
	}
	if op == Change {
		slot, key := l.slot(n, turn)
		write, _ := slot.begin()
		if err := r.Set(key, l.shape.changed(l.ids[n], key, write)); err != nil {
			return "", err
		}
	}
	return l.ids[n][:nameLen], nil
}

// CheckServed finds out whether a response is about the session that was asked for.
func CheckServed(id string, body []byte) error {
	if string(body) != id[:nameLen] {
		return Wrong("the response is another session's, or an error: " + string(body[min(nameLen, len(body)):]))
	}
	return nil
}
