package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/redistest"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore"
)

// once runs do before the first transaction.
func once(do func()) *probe {
	done := false
	return &probe{before: func(_ int, commands string) {
		if commands == "set exec" && !done {
			done = true
			do()
		}
	}}
}

// A user who may not run scripts commits by transactions, and is advised of it. A right that both need is reported.
func TestAUserWithoutScripts(t *testing.T) {
	f := start(t)
	f.check(f.raw.Do(ctx, "acl", "setuser", "default", "-eval", "-evalsha").Err())
	client := f.server.Client()
	p := &probe{}
	client.AddHook(p)
	s := redisstore.New(client, redisstore.Prefix("p:"))
	for n := range 2 {
		f.check(f.raw.Set(ctx, "p:a", `{"n":0}`, ttl).Err())
		change := update(values{"n": n + 1})(f.base(s, "a"))
		p.reset(nil)
		_, err := s.Commit(ctx, "a", change, ttl)
		f.check(err)
		f.want("p:a", fmt.Sprintf(`{"n":%d}`, n+1))
		want := []string{"watch get multi", "set exec"}
		if n == 0 {
			want = append([]string{"evalsha"}, want...)
		}
		if got := p.seen(); !slices.Equal(got, want) {
			t.Errorf("commit %d: %q, want %q", n, got, want)
		}
	}
	if all := s.Advise(ctx); !slices.ContainsFunc(all, func(a tiers.Advice) bool { return a.Topic == "script" }) {
		t.Errorf("advised %v", all)
	}
	f.check(f.raw.Do(ctx, "acl", "setuser", "default", "+eval", "+evalsha").Err())
	if all := s.Advise(ctx); slices.ContainsFunc(all, func(a tiers.Advice) bool { return a.Topic == "script" }) {
		t.Errorf("advised %v", all)
	}
}

// swallowing is a hook of a user's that keeps the errors of single commands to itself.
type swallowing struct{ mute }

func (swallowing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		_ = next(ctx, cmd)
		return nil
	}
}

func (swallowing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// deaf is a hook of a user's that keeps the errors of pipelines to itself as well.
type deaf struct{ swallowing }

func (deaf) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		_ = next(ctx, commands)
		return nil
	}
}

// A transaction that loses against another write is made anew, also if a hook hides that it was dropped.
func TestAHookThatHidesALostTransaction(t *testing.T) {
	f := start(t, scriptless...)
	client := f.server.Client()
	client.AddHook(once(func() { f.set("a", `{"n":0,"other":1}`) }))
	client.AddHook(deaf{})
	s := redisstore.New(client)
	f.set("a", `{"n":0}`)
	_, err := s.Commit(ctx, "a", update(values{"n": 1})(f.base(s, "a")), ttl)
	f.check(err)
	f.want("a", `{"n":1,"other":1}`)
}

// A user who may run neither scripts nor a part of a transaction writes nothing: a SET that is sent without WATCH or
// MULTI would bring back a session that is removed right before it.
func TestAUserWithoutATransaction(t *testing.T) {
	f := start(t)
	for _, swallows := range []bool{false, true} {
		for _, right := range []string{"-multi", "-watch", "-exec"} {
			for _, known := range []bool{false, true} { // that scripts are refused
				client := f.server.Client()
				s := redisstore.New(client)
				f.check(f.raw.Do(ctx, "acl", "setuser", "default", "+@all", "-eval", "-evalsha").Err())
				if known {
					f.set("warm", `{"n":0}`)
					_, err := s.Commit(ctx, "warm", update(values{"n": 1})(f.base(s, "warm")), ttl)
					f.check(err)
				}
				f.set("a", `{"n":0}`)
				change := update(values{"n": 1})(f.base(s, "a"))
				f.check(f.raw.Do(ctx, "acl", "setuser", "default", right).Err())
				removed := false
				client.AddHook(once(func() { removed = f.raw.Del(ctx, "a").Val() == 1 }))
				if swallows {
					client.AddHook(swallowing{})
				}
				_, err := s.Commit(ctx, "a", change, ttl)
				content := f.raw.Get(ctx, "a").Val()
				if removed { // EXEC alone is refused after the write was sent
					content += `{"n":0}`
				}
				if err == nil || removed && right != "-exec" || content != `{"n":0}` {
					t.Errorf("swallows %v, %s, known %v: %v, removed %v, then %s", swallows, right, known, err, removed, content)
				}
			}
		}
	}
}

// Whatever rights are given and taken, one of both ways is found.
func TestRightsThatChange(t *testing.T) {
	f := start(t)
	s := redisstore.New(f.server.Client())
	for n, rights := range [][]any{{"+@all", "-eval", "-evalsha"}, {"+@all", "-watch", "-multi"}, {"+@all", "-eval", "-evalsha"}} {
		f.check(f.raw.Do(ctx, append([]any{"acl", "setuser", "default"}, rights...)...).Err())
		f.set("a", `{"n":0}`)
		_, err := s.Commit(ctx, "a", update(values{"n": n + 1})(f.base(s, "a")), ttl)
		f.check(err)
		f.want("a", fmt.Sprintf(`{"n":%d}`, n+1))
	}
}

// A transaction whose connection ends isn't sent on another connection, which watches nothing.
func TestATransactionWhoseConnectionEnds(t *testing.T) {
	f := start(t, scriptless...)
	proxy := redistest.StartProxy(t, f.server.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr()})
	t.Cleanup(func() { f.check(client.Close()) })
	client.AddHook(once(func() {
		f.set("a", `{"n":0,"other":1}`)
		proxy.Cut()
	}))
	s := redisstore.New(client)
	f.set("a", `{"n":0}`)
	_, err := s.Commit(ctx, "a", update(values{"n": 1})(f.base(s, "a")), ttl)
	f.check(err)
	f.want("a", `{"n":1,"other":1}`)
}

// A replica that takes over between the read and the transaction takes the commit.
func TestAFailoverDuringATransaction(t *testing.T) {
	sentinel := redistest.StartSentinel(t)
	f := &fixture{T: t, raw: sentinel.Master().Client()}
	f.check(f.raw.Do(ctx, "acl", "setuser", "default", "-eval", "-evalsha").Err())
	client, over := sentinel.Client(), false
	client.AddHook(once(func() { sentinel.Failover(); over = true }))
	s := redisstore.New(client)
	_, err := s.Commit(ctx, "a", delta(tiers.Add(values{"n": 0})), ttl)
	f.check(err)
	_, err = s.Commit(ctx, "a", update(values{"n": 1})(f.base(s, "a")), ttl)
	f.check(err)
	if n := f.base(s, "a").Map()["n"]; fmt.Sprint(n) != "1" || !over {
		t.Errorf("n is %v, over is %v", n, over)
	}
}

// A slot that moves between the read and the transaction takes the commit at its new master.
func TestASlotThatMovesDuringATransaction(t *testing.T) {
	cluster := redistest.StartCluster(t, 3, scriptless...)
	client := cluster.Client()
	f := &fixture{T: t}
	id, slot := "", 0
	for n := 0; id == ""; n++ {
		if slot = int(client.ClusterKeySlot(ctx, fmt.Sprint(n)).Val()); slot < 5000 {
			id = fmt.Sprint(n)
		}
	}
	moved := false
	p := once(func() {
		cluster.Move(slot, cluster.Masters[0], cluster.Masters[1])
		moved = true
	})
	client = cluster.Client()
	client.OnNewNode(func(node *redis.Client) { node.AddHook(p) })
	s := redisstore.New(client)
	_, err := s.Commit(ctx, id, delta(tiers.Add(values{"n": 0})), ttl)
	f.check(err)
	_, err = s.Commit(ctx, id, update(values{"n": 1})(f.base(s, id)), ttl)
	f.check(err)
	if n := f.base(s, id).Map()["n"]; fmt.Sprint(n) != "1" || !moved {
		t.Errorf("n is %v, moved is %v", n, moved)
	}
	// One that has moved before takes it without a further attempt.
	once := redis.NewClusterClient(&redis.ClusterOptions{Addrs: client.Options().Addrs, MaxRedirects: -1})
	t.Cleanup(func() { f.check(once.Close()) })
	s = redisstore.New(once)
	change := update(values{"n": 2})(f.base(s, id))
	cluster.Move(slot, cluster.Masters[1], cluster.Masters[0])
	_, err = s.Commit(ctx, id, change, ttl)
	f.check(err)
	// So does one through a client that has other addresses than the masters name.
	_, port, _ := net.SplitHostPort(client.Options().Addrs[0])
	behind := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"192.0.2.1:" + port}, MaxRedirects: -1,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, strings.Replace(addr, "192.0.2.1", "127.0.0.1", 1))
		}})
	t.Cleanup(func() { f.check(behind.Close()) })
	s = redisstore.New(behind)
	change = update(values{"n": 3})(f.base(s, id))
	cluster.Move(slot, cluster.Masters[0], cluster.Masters[1])
	_, err = s.Commit(ctx, id, change, ttl)
	f.check(err)
}

// A transaction that is refused halfway leaves no connection in the pool on which others' commands are only queued, or
// get the reply of another one.
func TestARefusedTransactionLeavesNoConnectionBehind(t *testing.T) {
	f := start(t)
	for _, right := range []string{"-multi", "-watch", "-exec", "-get"} {
		f.check(f.raw.Do(ctx, "acl", "setuser", "default", "+@all", "-eval", "-evalsha").Err())
		f.set("a", `{"n":0}`)
		client := redis.NewClient(&redis.Options{Addr: f.server.Addr(), PoolSize: 1, MaxRetries: -1})
		s := redisstore.New(client)
		change := update(values{"n": 1})(f.base(s, "a"))
		f.check(f.raw.Do(ctx, "acl", "setuser", "default", right).Err())
		if _, err := s.Commit(ctx, "a", change, ttl); err == nil {
			t.Errorf("%s: committed", right)
		}
		f.check(f.raw.Do(ctx, "acl", "setuser", "default", "+@all").Err())
		if got, err := client.Echo(ctx, right).Result(); err != nil || got != right {
			t.Errorf("%s: the next command gets %q, %v", right, got, err)
		}
		f.check(client.Close())
	}
}

// breaker is a hook that lets nothing through while it is open.
type breaker struct {
	mute
	open atomic.Bool
}

var errOpen = errors.New("the breaker is open")

func (b *breaker) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if b.open.Load() {
			return errOpen
		}
		return next(ctx, cmd)
	}
}

func (b *breaker) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		if b.open.Load() {
			return errOpen
		}
		return next(ctx, commands)
	}
}

// panics is a hook that panics after these commands.
type panics string

func (panics) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (panics) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (p panics) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		err := next(ctx, commands)
		var names []string
		for _, c := range commands {
			names = append(names, c.Name())
		}
		if strings.Join(names, " ") == string(p) {
			panic(p)
		}
		return err
	}
}

// A hook that lets nothing through from the middle of a transaction on leaves no connection in the pool on which what others
// send is only queued.
func TestAHookThatRefusesWithinATransaction(t *testing.T) {
	f := start(t, scriptless...)
	for at, meanwhile := range map[string]string{"set exec": `{"n":0}`, "discard": `{"n":0,"other":1}`} {
		client := redis.NewClient(&redis.Options{Addr: f.server.Addr(), PoolSize: 1, MaxRetries: -1})
		s := redisstore.New(client)
		f.set("a", `{"n":0}`)
		change := update(values{"n": 1})(f.base(s, "a"))
		f.set("a", meanwhile)
		b := &breaker{}
		client.AddHook(&probe{before: func(_ int, commands string) { b.open.Store(b.open.Load() || commands == at) }})
		client.AddHook(b)
		if _, err := s.Commit(ctx, "a", change, ttl); err == nil || tiers.MayBeApplied(err) {
			t.Errorf("%s: %v", at, err)
		}
		b.open.Store(false)
		if got, err := client.Echo(ctx, at).Result(); err != nil || got != at {
			t.Errorf("%s: the next command gets %q, %v", at, got, err)
		}
		f.check(client.Close())
	}
}

// Nor, in a cluster, one on which others' transactions are dropped: go-redis has sent a WATCH of its own.
func TestAHookThatRefusesATransactionInACluster(t *testing.T) {
	cluster := redistest.StartCluster(t, 1, scriptless...)
	f := &fixture{T: t, raw: cluster.Masters[0].Client()}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{cluster.Masters[0].Addr()}, PoolSize: 1, MaxRedirects: -1})
	t.Cleanup(func() { f.check(client.Close()) })
	b := &breaker{}
	client.OnNewNode(func(node *redis.Client) {
		node.AddHook(&probe{before: func(_ int, commands string) { b.open.Store(b.open.Load() || commands == "watch get multi") }})
		node.AddHook(b)
	})
	s := redisstore.New(client)
	f.set("a", `{"n":0}`)
	if _, err := s.Commit(ctx, "a", update(values{"n": 1})(f.base(s, "a")), ttl); err == nil {
		t.Error("committed")
	}
	b.open.Store(false)
	f.set("a", `{"n":2}`)
	if _, err := client.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.Set(ctx, "b", 1, 0).Err() }); err != nil {
		t.Errorf("the next transaction: %v", err)
	}
}

// Nor does a hook that panics once the transaction has begun.
func TestAHookThatPanicsWithinATransaction(t *testing.T) {
	f := start(t, scriptless...)
	for _, at := range []string{"watch get multi", "set exec"} {
		client := redis.NewClient(&redis.Options{Addr: f.server.Addr(), PoolSize: 1, MaxRetries: -1})
		s := redisstore.New(client)
		f.set("a", `{"n":0}`)
		change := update(values{"n": 1})(f.base(s, "a"))
		client.AddHook(panics(at))
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", at)
				}
			}()
			_, _ = s.Commit(ctx, "a", change, ttl)
		}()
		if got, err := client.Echo(ctx, at).Result(); err != nil || got != at {
			t.Errorf("%s: the next command gets %q, %v", at, got, err)
		}
		f.check(client.Close())
	}
}

// A transaction that can't begin, as the server is away, waits for one connection, and not for another one to give up.
func TestATransactionWithoutAServer(t *testing.T) {
	f := start(t, scriptless...)
	var dials atomic.Int32
	client := redis.NewClient(&redis.Options{
		Addr: f.server.Addr(), MaxRetries: 2, DialerRetries: 1,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	})
	t.Cleanup(func() { f.check(client.Close()) })
	s := redisstore.New(client)
	f.set("a", `{"n":0}`)
	base := f.base(s, "a")
	_, err := s.Commit(ctx, "a", update(values{"n": 1})(base), ttl) // which finds the way
	f.check(err)
	f.server.Stop()
	client.AddHook(&probe{before: func(int, string) { dials.Store(0) }})
	if _, err := s.Commit(ctx, "a", update(values{"n": 2})(base), ttl); err == nil || tiers.MayBeApplied(err) || dials.Load() != 1 {
		t.Errorf("%v, the last attempt dialed %d times", err, dials.Load())
	}
}

// rate is a Limiter that allows so many commands.
type rate struct{ left atomic.Int32 }

func (r *rate) Allow() error {
	if r.left.Add(-1) < 0 {
		return errOpen
	}
	return nil
}

func (*rate) ReportResult(error) {}

// Nor does a Limiter, which is asked once for a transaction.
func TestALimiterThatRefusesWithinATransaction(t *testing.T) {
	alone, cluster := start(t, scriptless...), redistest.StartCluster(t, 1, scriptless...)
	for name, way := range map[string]struct {
		raw    *redis.Client
		client func(redis.Limiter) redis.UniversalClient
	}{
		"alone": {alone.raw, func(l redis.Limiter) redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: alone.server.Addr(), PoolSize: 1, MaxRetries: -1, Limiter: l})
		}},
		"cluster": {cluster.Masters[0].Client(), func(l redis.Limiter) redis.UniversalClient {
			return redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{cluster.Masters[0].Addr()}, PoolSize: 1, MaxRedirects: -1,
				NewClient: func(o *redis.Options) *redis.Client {
					o.Limiter = l
					return redis.NewClient(o)
				}})
		}},
	} {
		f := &fixture{T: t, raw: way.raw}
		for n := int32(1); n < 6; n++ {
			for _, meanwhile := range []string{`{"n":0}`, `{"n":0,"other":1}`} {
				limiter := &rate{}
				limiter.left.Store(100)
				client := way.client(limiter)
				s := redisstore.New(client)
				f.set("b", "b")
				f.check(client.Get(ctx, "b").Err()) // and COMMAND, which go-redis asks first
				f.set("a", `{"n":0}`)
				change := update(values{"n": 1})(f.base(s, "a"))
				f.set("a", meanwhile)
				limiter.left.Store(n)
				_, err := s.Commit(ctx, "a", change, ttl)
				switch content := f.raw.Get(ctx, "a").Val(); {
				case err == nil && content == meanwhile, err != nil && content != meanwhile, err != nil && tiers.MayBeApplied(err):
					t.Errorf("%s, %d: %v, then %s", name, n, err, content)
				}
				limiter.left.Store(1)
				if got, err := client.Get(ctx, "b").Result(); err != nil || got != "b" {
					t.Errorf("%s, %d: the next command gets %q, %v", name, n, got, err)
				}
				f.check(client.Close())
			}
		}
	}
}

// A client of another type may have a Limiter that can't be seen.
func TestAWrappedClientWithoutScripts(t *testing.T) {
	f := start(t, scriptless...)
	s := redisstore.New(struct{ redis.UniversalClient }{f.raw})
	f.set("a", `{"n":0}`)
	_, err := s.Commit(ctx, "a", update(values{"n": 1})(f.base(s, "a")), ttl)
	private(t, err)
	if tiers.MayBeApplied(err) || !strings.Contains(err.Error(), "pass a *redis.Client") {
		t.Error(err)
	}
	f.want("a", `{"n":0}`)
}

// A transaction that isn't needed, and can't be discarded, leaves no connection behind, whatever a hook says of it.
func TestATransactionThatCannotBeDiscarded(t *testing.T) {
	f := start(t)
	f.check(f.raw.Do(ctx, "acl", "setuser", "default", "-eval", "-evalsha", "-discard").Err())
	client := redis.NewClient(&redis.Options{Addr: f.server.Addr(), PoolSize: 1})
	t.Cleanup(func() { f.check(client.Close()) })
	client.AddHook(swallowing{})
	s := redisstore.New(client)
	f.set("a", `{"n":0}`)
	change := update(values{"n": 1})(f.base(s, "a"))
	f.check(f.raw.Del(ctx, "a").Err())
	if _, err := s.Commit(ctx, "a", change, ttl); !errors.Is(err, tiers.ErrRevoked) {
		t.Errorf("Commit returned %v", err)
	}
	if got, err := client.Echo(ctx, "a").Result(); err != nil || got != "a" {
		t.Errorf("the next command gets %q, %v", got, err)
	}
}

// A right that is taken away between the question and the write costs no other write.
func TestARightThatIsTakenDuringATransaction(t *testing.T) {
	f := start(t)
	for _, right := range []string{"-multi", "-exec", "-set"} {
		f.check(f.raw.Do(ctx, "acl", "setuser", "default", "+@all", "-eval", "-evalsha").Err())
		f.set("a", `{"n":0}`)
		client := redis.NewClient(&redis.Options{Addr: f.server.Addr(), PoolSize: 1, MaxRetries: -1})
		s := redisstore.New(client)
		change := update(values{"n": 1})(f.base(s, "a"))
		client.AddHook(once(func() {
			f.set("a", `{"n":0,"other":1}`)
			f.check(f.raw.Do(ctx, "acl", "setuser", "default", right).Err())
		}))
		_, err := s.Commit(ctx, "a", change, ttl)
		if content := f.raw.Get(ctx, "a").Val(); err == nil || content != `{"n":0,"other":1}` || tiers.MayBeApplied(err) {
			t.Errorf("%s: %v, then %s", right, err, content)
		}
		f.check(f.raw.Do(ctx, "acl", "setuser", "default", "+@all").Err())
		if got, err := client.Echo(ctx, right).Result(); err != nil || got != right {
			t.Errorf("%s: the next command gets %q, %v", right, got, err)
		}
		f.check(client.Close())
	}
}

// A connection to a master that was demoted is given up, as the address may lead to another one by now.
func TestADemotedMasterLosesItsConnections(t *testing.T) {
	f, next := start(t, scriptless...), start(t, scriptless...)
	proxy := redistest.StartProxy(t, f.server.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), PoolSize: 1})
	t.Cleanup(func() { f.check(client.Close()) })
	s := redisstore.New(client)
	f.set("a", `{"n":0}`)
	next.set("a", `{"n":0}`)
	change := update(values{"n": 1})(f.base(s, "a"))
	client.AddHook(once(func() {
		f.check(f.raw.ReplicaOf(ctx, "127.0.0.1", "1").Err())
		proxy.Lead(next.server.Addr())
	}))
	_, err := s.Commit(ctx, "a", change, ttl)
	f.check(err)
	next.want("a", `{"n":1}`)
}
