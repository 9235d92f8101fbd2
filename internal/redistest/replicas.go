package redistest

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/poll"
)

// replication is what a server says of its role; nothing if it doesn't reply.
func (s *Server) replication() string {
	client := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, DialerRetries: 1})
	defer func() { _ = client.Close() }()
	return client.Info(context.Background(), "replication").Val()
}

// Follows reports whether the server is a replica that has its master's data.
func (s *Server) Follows() bool { return follows(s.replication()) }

func follows(info string) bool {
	return field(info, "role") == "slave" && field(info, "master_link_status") == "up"
}

// AddReplica runs a replica of a master of the cluster until the test ends, and waits
// until it has the master's data, and all masters know it.
func (c *Cluster) AddReplica(master *Server) *Server {
	c.tb.Helper()
	ctx := context.Background()
	replica, client := c.join()
	id := c.id(master)
	poll.Until(c.tb, "the replica knows its master", func() bool { return client.ClusterReplicate(ctx, id).Err() == nil })
	poll.Until(c.tb, "the replica has the master's data", replica.Follows)
	self := c.id(replica)
	for _, s := range c.Masters {
		poll.Until(c.tb, "a master knows the replica", func() bool {
			return strings.Contains(s.Client().ClusterNodes(ctx).Val(), self)
		})
	}
	return replica
}

// AddMaster runs a master without slots until the test ends, and waits until all
// masters know it, and it knows who has every slot.
func (c *Cluster) AddMaster() *Server {
	c.tb.Helper()
	ctx := context.Background()
	// It stays a master when its last slot is moved; so one that is failed over may stay one, too, and isn't to be.
	master, client := c.join("--cluster-allow-replica-migration", "no")
	self := c.id(master)
	poll.Until(c.tb, "the new master knows the cluster", func() bool {
		return field(client.ClusterInfo(ctx).Val(), "cluster_state") == "ok"
	})
	for _, s := range c.Masters {
		poll.Until(c.tb, "a master knows the new one", func() bool {
			return strings.Contains(s.Client().ClusterNodes(ctx).Val(), self)
		})
	}
	c.Masters = append(c.Masters, master)
	return master
}

// knows reports whether a node of the cluster lists another with the flag.
func (c *Cluster) knows(s *Server, id, flag string) bool {
	for line := range strings.Lines(s.Client().ClusterNodes(context.Background()).Val()) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == id {
			return strings.Contains(fields[2], flag)
		}
	}
	return false
}

func (c *Cluster) join(more ...string) (*Server, *redis.Client) {
	c.tb.Helper()
	s, bus := c.start(more...)
	for _, m := range c.Masters { // each, as gossip takes seconds
		if err := m.Client().Do(context.Background(), "cluster", "meet", "127.0.0.1", s.port, bus).Err(); err != nil {
			c.tb.Fatal(err)
		}
	}
	return s, s.Client()
}

func (c *Cluster) id(s *Server) string {
	c.tb.Helper()
	id, err := s.Client().Do(context.Background(), "cluster", "myid").Text()
	if err != nil {
		c.tb.Fatal(err)
	}
	return id
}

// Failover makes a replica the master, and waits until it is. On a busy machine votes
// come too late, and aren't given again for twice the node time-out; it then takes over
// without them.
func (c *Cluster) Failover(replica *Server) {
	c.tb.Helper()
	ctx := context.Background()
	client := replica.Client()
	poll.Until(c.tb, "the replica has the master's data", replica.Follows)
	self := c.id(replica)
	for _, s := range c.Masters {
		if s != replica { // one that doesn't know it for a replica gives it no vote
			poll.Until(c.tb, "a master knows the replica", func() bool { return c.knows(s, self, "slave") })
		}
	}
	if err := client.ClusterFailover(ctx).Err(); err != nil {
		c.tb.Fatal(err)
	}
	asked := time.Now()
	poll.Until(c.tb, "the replica is a master", func() bool {
		if time.Since(asked) > timeout/4 {
			_ = client.Do(ctx, "cluster", "failover", "takeover").Err()
		}
		info, err := client.Info(ctx, "replication").Result()
		return err == nil && field(info, "role") == "master"
	})
}

// Move moves a slot with its keys from one master to another.
func (c *Cluster) Move(slot int, from, to *Server) {
	c.tb.Helper()
	c.Linger(slot, from, to)()
}

// Linger begins to move a slot, with the keys that it holds, and leaves it on its way
// until finish is called: a client is sent to the other master for a key that the first
// one doesn't have, and that is each of them. At the end each master learns who has the slot, as
// redis-cli does.
func (c *Cluster) Linger(slot int, from, to *Server) (finish func()) {
	c.tb.Helper()
	ctx := context.Background()
	do := func(s *Server, args ...any) any {
		c.tb.Helper()
		answer, err := s.Client().Do(ctx, args...).Result()
		if err != nil {
			c.tb.Fatal(err)
		}
		return answer
	}
	source, target := c.id(from), c.id(to)
	do(to, "cluster", "setslot", slot, "importing", source)
	do(from, "cluster", "setslot", slot, "migrating", target)
	for _, key := range do(from, "cluster", "getkeysinslot", slot, 1000).([]any) {
		do(from, "migrate", "127.0.0.1", to.port, key, 0, 5000)
	}
	return func() {
		c.tb.Helper()
		do(to, "cluster", "setslot", slot, "node", target)
		do(from, "cluster", "setslot", slot, "node", target)
		for _, s := range c.servers {
			if s != to && s != from && field(s.replication(), "role") == "master" {
				poll.Until(c.tb, "a master knows who has the slot", func() bool {
					return s.Client().Do(ctx, "cluster", "setslot", slot, "node", target).Err() == nil
				})
			}
		}
	}
}
