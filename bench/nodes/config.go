package main

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/gogf/gf/v2/database/gredis"
	"github.com/redis/go-redis/v9"
)

// The chains that a node may have.
const (
	modeChain      = "chain"
	modeBehind     = "behind"     // write-behind with a journal; see behind
	modePrincipals = "principals" // sessions are indexed, limited and ended by whose they are; see principals
	modeBroken     = "broken"     // a cache that never receives an invalidation
)

const prefix = "nodes:"

// ttl outlives every run, so that nothing but brief sessions expires by itself.
const ttl = time.Hour

// Config is what a node process is started with.
type Config struct {
	Work
	Node      int
	Dir       string // for its ledger and its journal
	SlotsFile string
	Slots     int // users
	Server    Server
	Skew      time.Duration // of its clock
}

// Work is what a node does.
type Work struct {
	Mode    string
	Workers int
	Crowd   int     // more workers, that meet at few sessions as fast as they can
	Rate    int     // requests a second and worker
	Audit   float64 // the part of the hits that the node compares with the store
	Seed    uint64
}

// Server is how to reach Redis. Via holds the proxy to dial in an address's place.
type Server struct {
	Topology string
	Addrs    []string
	Sentinel string
	Master   string
	User     string // "" for the default one
	Via      map[string]string
}

// Topologies.
const (
	standalone = "standalone"
	cluster    = "cluster"
	sentinel   = "sentinel"
)

var topologies = []string{standalone, cluster, sentinel}

// ioTimeout bounds each wait for a server, so that no fault outlasts a round.
const ioTimeout = time.Second

// dial connects to a server, by its proxy if it has one.
func (s Server) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if via, ok := s.Via[addr]; ok {
		addr = via
	}
	return (&net.Dialer{Timeout: ioTimeout}).DialContext(ctx, network, addr)
}

// client is a go-redis client as a program would make it.
func (s Server) client() redis.UniversalClient {
	switch s.Topology {
	case cluster:
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: s.Addrs, Username: s.User, Password: s.User, Dialer: s.dial, ContextTimeoutEnabled: true,
			DialTimeout: ioTimeout, ReadTimeout: ioTimeout, WriteTimeout: ioTimeout, DialerRetries: 1})
	case sentinel:
		return redis.NewFailoverClient(&redis.FailoverOptions{MasterName: s.Master, SentinelAddrs: []string{s.Sentinel}, Username: s.User, Password: s.User, Dialer: s.dial,
			ContextTimeoutEnabled: true, DialTimeout: ioTimeout, ReadTimeout: ioTimeout, WriteTimeout: ioTimeout, DialerRetries: 1})
	default:
		return redis.NewClient(&redis.Options{Addr: s.Addrs[0], Username: s.User, Password: s.User, Dialer: s.dial, ContextTimeoutEnabled: true,
			DialTimeout: ioTimeout, ReadTimeout: ioTimeout, WriteTimeout: ioTimeout, MaxRetries: 1, DialerRetries: 1})
	}
}

// goframe is a client as a GoFrame program has it.
func (s Server) goframe() (*gredis.Redis, error) {
	config := &gredis.Config{Address: strings.Join(s.Addrs, ",")}
	if s.Topology == sentinel {
		config = &gredis.Config{Address: s.Sentinel, MasterName: s.Master}
	}
	return gredis.New(config)
}
