package redisstore

import (
	"fmt"

	"github.com/gogf/gf/v2/database/gredis"
	"github.com/redis/go-redis/v9"
)

// FromGoFrame makes a storage on the connections of a GoFrame client, such as
// g.Redis(), which stays the caller's to close. It panics where the client isn't
// made by github.com/gogf/gf/contrib/nosql/redis/v2.
//
// The storage talks to the server without GoFrame's adapter, whose spans carry
// whole sessions. That adapter sets no time-outs unless its configuration does, and
// a server that hangs would hold every request; where it has set none, reads and
// writes of a single server end after 3 s here. For a cluster set readTimeout and
// writeTimeout in the configuration. A context's deadline isn't looked at while a
// command is under way; Open's client does.
func FromGoFrame(client *gredis.Redis, opts ...Option) *Storage {
	const instead = `import _ "github.com/gogf/gf/contrib/nosql/redis/v2" and pass g.Redis() with its configuration, or use redisstore.New with a go-redis client`
	if client == nil || client.GetAdapter() == nil {
		panic("strata: redisstore.FromGoFrame needs a client; " + instead)
	}
	raw := client.GetAdapter().Client()
	universal, ok := raw.(redis.UniversalClient)
	if !ok || isNil(raw) {
		panic(fmt.Sprintf("strata: redisstore.FromGoFrame can't use an adapter on %T; %s", raw, instead))
	}
	return New(bounded(universal), opts...)
}

// bounded is a view of the same connections that doesn't wait for ever.
func bounded(client redis.UniversalClient) redis.UniversalClient {
	if c, ok := client.(*redis.Client); ok && c != nil && c.Options().ReadTimeout <= 0 {
		return c.WithTimeout(ioTimeout)
	}
	return client
}
