package tracking

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// reachTime is how long a master without slots may take to reply.
const reachTime = 500 * time.Millisecond

// cluster is all masters of a cluster: one without slots takes writes as well, once a
// slot is on its way to it, and it alone sends their invalidations.
//
// client is set at construction. absent are the ids of the masters without slots that
// didn't reply as masters when the watch session began; masters sets it, and view reads it later.
type cluster struct {
	client *redis.ClusterClient
	absent []string
}

func (c *cluster) masters(ctx context.Context) ([]*redis.Options, error) {
	owners, err := c.owners(ctx)
	if err != nil {
		return nil, asUnsupported(err)
	}
	asked := newProbe(owners[0])
	defer func() { _ = asked.Close() }()
	text, err := asked.ClusterNodes(ctx).Result()
	if err != nil {
		return nil, asUnsupported(err)
	}
	c.absent = nil
	return append(owners, c.reach(ctx, readNodes(text).empty, owners[0])...), nil
}

// owners are the masters that have slots, as the client knows them.
func (c *cluster) owners(ctx context.Context) ([]*redis.Options, error) {
	var (
		mu    sync.Mutex
		found []*redis.Options
	)
	err := c.client.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		o := *node.Options()
		found = append(found, &o)
		return nil
	})
	if err == nil && len(found) == 0 {
		err = errMoved
	}
	return found, err
}

// reach returns how to connect to those of the masters that reply. The others are
// absent: they hold nothing, and mustn't keep the rest from being vouched for. So is a former
// master that calls itself a replica, before gossip has informed the others.
func (c *cluster) reach(ctx context.Context, nodes []node, like *redis.Options) (found []*redis.Options) {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	reached := make([]*redis.Options, len(nodes))
	var finds []func() error
	for n := range nodes {
		finds = append(finds, func() error { reached[n] = find(ctx, nodes[n], like); return nil })
	}
	_ = atOnce(finds)
	for n, o := range reached {
		if o == nil {
			c.absent = append(c.absent, nodes[n].id)
		} else {
			found = append(found, o)
		}
	}
	return found
}

// find tries the addresses that a node publishes, and returns nil if no master is there.
func find(ctx context.Context, n node, like *redis.Options) *redis.Options {
	for _, host := range n.hosts {
		o := *like
		o.Addr = net.JoinHostPort(host, n.port)
		o.NodeAddress = o.Addr
		p := newProbe(&o)
		text, err := p.ClusterNodes(ctx).Result()
		_ = p.Close()
		if said := readNodes(text); err == nil && said.self == n.id && said.master {
			return &o
		}
	}
	return nil
}

// view asks every member for its own view of the cluster. They agree where the text is
// the same: who has which slots, and since which change of the configuration (epoch),
// so that a change and its undoing isn't taken for none. Each node that may take writes must be
// a member: one with slots, and one that is about to get a slot. A master without slots that no
// slot is on its way to may stay absent.
func (c *cluster) view(ctx context.Context, members []*member) (string, error) {
	var asks []func() error
	for _, m := range members {
		asks = append(asks, func() error {
			text, err := m.probe.ClusterNodes(ctx).Result()
			m.nodes = readNodes(text)
			return asUnsupported(err)
		})
	}
	if err := atOnce(asks); err != nil {
		return "", err
	}
	var ids []string
	for _, m := range members {
		if !m.nodes.master || slices.Contains(ids, m.nodes.self) {
			return "", errMoved
		}
		ids = append(ids, m.nodes.self)
	}
	unknown := func(id string) bool { return !slices.Contains(ids, id) }
	missing := func(n node) bool { return unknown(n.id) && !slices.Contains(c.absent, n.id) }
	for _, m := range members {
		v := m.nodes
		if slices.ContainsFunc(v.owners, unknown) || slices.ContainsFunc(v.targets, unknown) || slices.ContainsFunc(v.empty, missing) {
			return "", errMoved
		}
	}
	first := members[0].nodes.slots
	if slices.ContainsFunc(members, func(m *member) bool { return m.nodes.slots != first }) {
		return "", errUnsettled
	}
	return first, nil
}

func (c *cluster) key(m *member, start string) string {
	if len(m.nodes.ranges) == 0 {
		return "" // it would be looked for in vain, again and again
	}
	return keyIn(start, m.nodes.takes)
}
