package tracking

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/gf-strata/strata/tiers"
)

var errReplica = tiers.NewError("strata: redis: the server is a replica, which may be behind its master; connect to the master", nil)

// topology knows which masters there are to watch.
type topology interface {
	// masters are the options of a connection to each of them.
	masters(ctx context.Context) ([]*redis.Options, error)

	// view describes what the masters are in charge of; another text means that it has
	// changed. It returns errMoved where others than the members are masters, or some of
	// them aren't, and errUnsettled where they don't agree.
	view(ctx context.Context, members []*member) (string, error)

	// key is a key that begins so and that the member takes, by what it said in its view;
	// "" if there is none.
	key(m *member, start string) string
}

func topologyOf(client redis.UniversalClient) (topology, error) {
	switch c := client.(type) {
	case *redis.Client:
		o := *c.Options()
		return &single{options: &o}, nil
	case *redis.ClusterClient:
		if c.Options().ClusterSlots == nil {
			return &cluster{client: c}, nil
		}
		return nil, tiers.NewError("strata: redis: a cluster client with ClusterOptions.ClusterSlots, such as redis.NewFailoverClusterClient makes, can't be watched", nil)
	default:
		return nil, tiers.NewError(fmt.Sprintf("strata: redis: a client of type %T can't be watched; use a *redis.Client or a *redis.ClusterClient", client), nil)
	}
}

// single is one master, that of sentinels too. options are set at construction; named, which
// the sentinels named last, belongs to follow.
type single struct {
	options *redis.Options
	named   string
}

// IsBehindSentinels knows redis.NewFailoverClient by the name that it gives its address.
func IsBehindSentinels(o *redis.Options) bool { return o.Addr == "FailoverClient" }

func (s *single) masters(context.Context) ([]*redis.Options, error) {
	s.named = ""
	return []*redis.Options{s.options}, nil
}

// view asks whether the server is a master, and the sentinels which one they name now. Where it
// is another one than before, a canary is due, which distinguishes servers.
func (s *single) view(ctx context.Context, members []*member) (string, error) {
	m := members[0]
	if IsBehindSentinels(s.options) {
		named, err := s.ask(ctx)
		if err != nil {
			return "", err
		}
		m.due = m.due || named != s.named
		s.named = named
	}
	version := m.watchSession.protocol()
	hello := redis.NewMapStringInterfaceCmd(ctx, "hello", version)
	_ = m.probe.Process(ctx, hello)
	return "master", isMaster(hello, version)
}

// ask returns the address that the sentinels name. Only the client's Dialer, which asks them on a
// connection that the client keeps, shows it. As a Unix socket there is nothing at such an address:
// the Dialer's error holds it, and no connection is made. A Dialer of the user's that makes one
// all the same shows where that leads; one that does neither, nor ever did, shows nothing, and the
// canaries alone find another master.
func (s *single) ask(ctx context.Context) (string, error) {
	conn, err := s.options.Dialer(ctx, "unix", s.options.Addr)
	if err == nil {
		defer func() { _ = conn.Close() }()
		return conn.RemoteAddr().String(), nil
	}
	var refused *net.OpError
	switch {
	case errors.As(err, &refused) && refused.Net == "unix" && refused.Addr != nil:
		return refused.Addr.String(), nil
	case s.named == "":
		return "", nil
	}
	return "", err
}

func (s *single) key(_ *member, start string) string { return start }

// isMaster returns an error unless HELLO's reply is that of a master in that version of RESP. Only RESP3 can't do without
// HELLO. Where RESP2 does, the tripwire, which is a write, shows a replica as well.
func isMaster(hello *redis.MapStringInterfaceCmd, version int) error {
	reply, err := hello.Result()
	role := reply["role"]
	switch {
	case version == 2 && isRefused(err):
		return nil
	case err != nil:
		return asUnsupported(err)
	case version == 3 && reply["proto"] != int64(3):
		return errNoRESP3
	case role == "replica" || role == "slave":
		return errReplica
	}
	return nil
}

// newProbe makes a client that asks a master on an ordinary connection.
func newProbe(master *redis.Options) *redis.Client {
	o := derive(master)
	dial := o.Dialer
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return undialed{err}, nil
		}
		return conn, nil
	}
	return redis.NewClient(o)
}

// undialed is a connection that couldn't be made. go-redis would write a line of its own, with
// the address, for each time that a Dialer fails; this one fails at its first use.
type undialed struct{ err error }

func (u undialed) Read([]byte) (int, error)         { return 0, u.err }
func (u undialed) Write([]byte) (int, error)        { return 0, u.err }
func (u undialed) Close() error                     { return nil }
func (u undialed) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (u undialed) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (u undialed) SetDeadline(time.Time) error      { return nil }
func (u undialed) SetReadDeadline(time.Time) error  { return nil }
func (u undialed) SetWriteDeadline(time.Time) error { return nil }

// greetBy has greet called with each new connection, after the function of the user's options.
func greetBy(o *redis.Options, greet func(context.Context, *redis.Conn) error) {
	first := o.OnConnect
	o.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
		if first != nil {
			if err := first(ctx, conn); err != nil {
				return err
			}
		}
		return greet(ctx, conn)
	}
}

// derive makes options for a connection of the watcher's own.
func derive(o *redis.Options) *redis.Options {
	d := *o
	d.Protocol = 3
	d.PoolSize, d.MinIdleConns, d.MaxIdleConns, d.MaxActiveConns, d.MaxConcurrentDials = 1, 0, 0, 0, 1
	d.PipelineReadBufferSize, d.PipelineWriteBufferSize, d.AutoPipelineOptions = 0, 0, nil
	d.MaxRetries, d.DialerRetries = -1, 1
	d.DialTimeout, d.ReadTimeout, d.WriteTimeout, d.PoolTimeout = dialTimeout, ioTimeout, ioTimeout, poolTimeout
	d.ContextTimeoutEnabled = true
	d.Limiter, d.ClientSideCache, d.ClientSideCacheConfig = nil, nil, nil
	d.PushNotificationProcessor = nil // it is the client's, and would take our handler for its own connections
	d.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return &d
}
