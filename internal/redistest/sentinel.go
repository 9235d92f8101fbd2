package redistest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
)

// Sentinel is a redis-server in sentinel mode that watches a master with a replica.
// Its fields are set by StartSentinel.
type Sentinel struct {
	tb   testing.TB
	addr string
	api  *redis.SentinelClient

	Servers []*Server // the first master, and its replica
}

// SentinelMaster is what the sentinel calls the master.
const SentinelMaster = "main"

// StartSentinel runs a master, a replica and a sentinel until the test ends, and waits
// until the sentinel could fail over. It takes more redis-server flags for the master and the replica.
func StartSentinel(tb testing.TB, flags ...string) *Sentinel {
	tb.Helper()
	ctx := context.Background()
	flags = append([]string{"--repl-diskless-sync-delay", "0"}, flags...)
	master := Start(tb, flags...)
	replica := Start(tb, append([]string{"--replicaof", "127.0.0.1 " + strconv.Itoa(master.port)}, flags...)...)
	port, err := freePort()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	config := fmt.Sprintf("bind 127.0.0.1\nport %d\nsentinel monitor %s 127.0.0.1 %d 1\n"+
		"sentinel down-after-milliseconds %[2]s 3000\nsentinel failover-timeout %[2]s 3000\n", port, SentinelMaster, master.port)
	if err = os.WriteFile(filepath.Join(dir, "sentinel.conf"), []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	process, err := start(dir, "sentinel.conf", "--sentinel")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(process.kill)
	poll.Until(tb, "the sentinel listens", func() bool { return (&Server{port: port}).listening() == nil })
	s := &Sentinel{tb: tb, addr: "127.0.0.1:" + strconv.Itoa(port), Servers: []*Server{master, replica}}
	s.api = redis.NewSentinelClient(&redis.Options{Addr: s.addr, MaxRetries: -1, DialerRetries: 1})
	tb.Cleanup(func() { _ = s.api.Close() })
	poll.Until(tb, "the replica has the master's data", replica.Follows)
	poll.Until(tb, "the sentinel knows the replica", func() bool {
		replicas, err := s.api.Replicas(ctx, SentinelMaster).Result()
		return err == nil && len(replicas) == 1 && replicas[0]["flags"] == "slave" && replicas[0]["master-link-status"] == "ok"
	})
	return s
}

// Addr is the sentinel's host:port.
func (s *Sentinel) Addr() string { return s.addr }

// Client is a failover client of its own, closed when the test ends.
func (s *Sentinel) Client() *redis.Client {
	client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: SentinelMaster, SentinelAddrs: []string{s.addr}})
	s.tb.Cleanup(func() { _ = client.Close() })
	return client
}

// Failover makes the replica the master, and waits until it is.
func (s *Sentinel) Failover() {
	s.tb.Helper()
	ctx := context.Background()
	before := s.Master()
	poll.Until(s.tb, "the sentinel begins to fail over", func() bool { return s.api.Failover(ctx, SentinelMaster).Err() == nil })
	poll.Until(s.tb, "the sentinel names the other server", func() bool { return s.Master() != before })
}

// Epoch is one more with each choice of a master. It waits for one that is under way.
func (s *Sentinel) Epoch() (epoch int) {
	s.tb.Helper()
	poll.Until(s.tb, "the sentinel has a master that it is content with", func() bool {
		master, err := s.api.Master(context.Background(), SentinelMaster).Result()
		if err != nil || master["flags"] != "master" {
			return false
		}
		epoch, err = strconv.Atoi(master["config-epoch"])
		return err == nil
	})
	return epoch
}

// Settled reports whether the server that the sentinel names is a master, and the other a
// replica of it that has its data.
func (s *Sentinel) Settled() bool {
	s.tb.Helper()
	master := s.Master()
	for _, server := range s.Servers {
		switch info := server.replication(); {
		case server == master && field(info, "role") != "master":
			return false
		case server != master && (!follows(info) || field(info, "master_port") != strconv.Itoa(master.port)):
			return false
		}
	}
	return true
}

// Master is the server that the sentinel names.
func (s *Sentinel) Master() *Server {
	s.tb.Helper()
	var addr []string
	poll.Until(s.tb, "the sentinel names its master", func() (named bool) {
		var err error
		addr, err = s.api.GetMasterAddrByName(context.Background(), SentinelMaster).Result()
		return err == nil
	})
	for _, server := range s.Servers {
		if addr[1] == strconv.Itoa(server.port) {
			return server
		}
	}
	s.tb.Fatal("the sentinel names a stranger")
	return nil
}
