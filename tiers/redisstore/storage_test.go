package redisstore_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/database/gredis"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers/redisstore"
)

func itoa(n int) string { return strconv.Itoa(n) }

// write makes a session of one key.
func (f *fixture) write(s *redisstore.Storage, id string, n int) {
	f.Helper()
	f.check(s.SetSession(ctx, id, gmap.NewStrAnyMapFrom(values{"n": n}, true), ttl))
}

// adapter is an adapter of another make.
type adapter struct {
	gredis.AdapterOperation
	raw any
}

func (a adapter) Client() gredis.RedisRawClient { return a.raw }

type otherAdapter struct {
	gredis.Adapter
	adapter
}

func (a otherAdapter) Client() gredis.RedisRawClient { return a.raw }

// TestMistakesPanicAtOnce says what to write instead.
func TestMistakesPanicAtOnce(t *testing.T) {
	client := redis.NewClient(&redis.Options{})
	defer func() { _ = client.Close() }()
	ring := redis.NewRing(&redis.RingOptions{HeartbeatFrequency: time.Hour})
	defer func() { _ = ring.Close() }()
	cluster := func(o redis.ClusterOptions) redis.UniversalClient {
		o.Addrs = []string{"127.0.0.1:1"}
		return redis.NewClusterClient(&o)
	}
	goframe := func(raw any) *gredis.Redis {
		r := &gredis.Redis{}
		r.SetAdapter(otherAdapter{adapter: adapter{raw: raw}})
		return r
	}
	for name, c := range map[string]struct {
		do   func()
		want string
	}{
		"nil":        {func() { redisstore.New(nil) }, "redis.NewClient("},
		"nil client": {func() { redisstore.New((*redis.Client)(nil)) }, "redis.NewClient("},
		"nil option": {func() { redisstore.New(client, nil) }, "redisstore.Prefix("},
		"ring":       {func() { redisstore.New(ring) }, "use a cluster"},
		"replicas":   {func() { redisstore.New(cluster(redis.ClusterOptions{ReadOnly: true})) }, "masters"},
		"latency":    {func() { redisstore.New(cluster(redis.ClusterOptions{RouteByLatency: true})) }, "masters"},
		"random":     {func() { redisstore.New(cluster(redis.ClusterOptions{RouteRandomly: true})) }, "masters"},
		"fail-over": {func() {
			redisstore.New(redis.NewFailoverClusterClient(&redis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{"127.0.0.1:1"}, ReplicaOnly: true}))
		}, "masters"},
		"nil GoFrame":      {func() { redisstore.FromGoFrame(nil) }, "contrib/nosql/redis"},
		"no adapter":       {func() { redisstore.FromGoFrame(&gredis.Redis{}) }, "contrib/nosql/redis"},
		"another adapter":  {func() { redisstore.FromGoFrame(goframe("x")) }, "an adapter on string"},
		"adapter of nil":   {func() { redisstore.FromGoFrame(goframe(nil)) }, "contrib/nosql/redis"},
		"adapter of a nil": {func() { redisstore.FromGoFrame(goframe((*redis.Client)(nil))) }, "contrib/nosql/redis"},
	} {
		text := func() (text string) {
			defer func() { text = fmt.Sprint(recover()) }()
			c.do()
			return
		}()
		if !strings.HasPrefix(text, "strata: ") || !strings.Contains(text, c.want) {
			t.Errorf("%s: panics with %s", name, text)
		}
	}
}

func TestFromGoFrameTakesAnyAdapterOnGoRedis(t *testing.T) {
	f := start(t)
	r := &gredis.Redis{}
	r.SetAdapter(otherAdapter{adapter: adapter{raw: f.server.Client()}})
	s := redisstore.FromGoFrame(r, redisstore.Prefix("p:"))
	f.write(s, "a", 1)
	f.want("p:a", `{"n":1}`)
}

func TestOpenHidesThePassword(t *testing.T) {
	for _, url := range []string{
		"", "x", "://", "http://u:" + secretValue + "@h", "redis://:" + secretValue + "@h:port", "redis://:" + secretValue + "%zz@h",
		"redis://u:" + secretValue + "@h/x", "redis://u:" + secretValue + "@h/1/2", "redis://:" + secretValue + "@h/?nonsense=1",
		"redis://u:" + secretValue + "@h/?read_timeout=x", "unix://u:" + secretValue + "@",
	} {
		s, err := redisstore.Open(url)
		if s != nil {
			t.Errorf("%s is taken", url)
		}
		private(t, err)
		for ; err != nil; err = errors.Unwrap(err) {
			if text := fmt.Sprintf("%+v %#v", err, err); strings.Contains(text, secretValue) {
				t.Error(text)
			}
		}
	}
}

func TestCloseClosesWhatOpenMade(t *testing.T) {
	f := start(t)
	s, err := redisstore.Open(f.server.URL())
	f.check(err)
	f.write(s, "a", 1)
	f.check(s.Close(ctx))
	f.check(s.Close(ctx))
	for call, err := range everyCall(s, secretID) {
		private(t, err)
		if !errors.Is(err, redis.ErrClosed) || !strings.HasSuffix(err.Error(), ": the client is closed; close the chain first") {
			t.Errorf("%s: %v", call, err)
		}
	}

	client := f.server.Client()
	s = redisstore.New(client)
	f.check(s.Close(ctx))
	f.write(s, "a", 2)
	f.check(client.Ping(ctx).Err())

	goframe := f.server.GoFrame(t)
	s = redisstore.FromGoFrame(goframe)
	f.check(s.Close(ctx))
	f.write(s, "a", 3)
	if _, err = goframe.Get(ctx, "a"); err != nil {
		t.Error(err)
	}
}
