package peers

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	_ "github.com/gogf/gf/contrib/nosql/redis/v2" // lets gredis.New make a client
	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/database/gredis"
	"github.com/gogf/gf/v2/os/gsession"
)

func storageMemory() Subject {
	return Subject{Name: "StorageMemory", Memory: true, HTTP: true,
		Setup: "gsession.NewStorageMemory(), GoFrame v2.10.2. One process only; requests share one map.",
		Open: func(e Env) (Node, error) {
			n := newNode(gsession.NewStorageMemory(), e.TTL)
			n.seed = func(ctx context.Context, ids []string, data func(string) map[string]any) error {
				for _, id := range ids {
					if err := n.storage.SetSession(ctx, id, gmap.NewStrAnyMapFrom(data(id), true), e.TTL); err != nil {
						return err
					}
				}
				return nil
			}
			return n, nil
		}}
}

func storageFile() Subject {
	return Subject{Name: "StorageFile", Torn: true, Isolated: true, HTTP: true,
		Setup: "gsession.NewStorageFile(dir, ttl), GoFrame v2.10.2, in the system's folder for temporary files. " +
			"It isn't atomic: a session that is being written is read as empty, which is counted as stale.",
		Open: func(e Env) (Node, error) {
			n := newNode(gsession.NewStorageFile(e.Dir, e.TTL), e.TTL)
			n.seed = func(_ context.Context, ids []string, data func(string) map[string]any) error {
				for _, id := range ids {
					text, err := json.Marshal(data(id))
					if err != nil {
						return err
					}
					// Its file format: milliseconds, and the session as JSON.
					content := binary.LittleEndian.AppendUint64(nil, uint64(time.Now().UnixMilli()))
					if err = os.WriteFile(filepath.Join(e.Dir, id+".session"), append(content, text...), 0o600); err != nil {
						return err
					}
				}
				return nil
			}
			return n, nil
		}}
}

func storageRedis() Subject {
	return Subject{Name: "StorageRedis", Isolated: true, Redis: true, HTTP: true,
		Setup: "gsession.NewStorageRedis on contrib/nosql/redis v2.10.2 with its default pool. " +
			"It slides expiries every 10 s, in the background.",
		Open: func(e Env) (Node, error) {
			client, err := goframe(e)
			if err != nil {
				return nil, err
			}
			n := newNode(gsession.NewStorageRedis(client, Prefix), e.TTL, closer(client))
			n.seed = SeedJSON(e, e.TTL)
			return n, nil
		}}
}

func storageHashTable() Subject {
	return Subject{Name: "StorageRedisHashTable", Direct: true, Isolated: true, Redis: true, HTTP: true,
		Setup: "gsession.NewStorageRedisHashTable on contrib/nosql/redis v2.10.2 with its default pool. " +
			"A round trip a key; reads don't slide the expiry.",
		Open: func(e Env) (Node, error) {
			client, err := goframe(e)
			if err != nil {
				return nil, err
			}
			n := newNode(gsession.NewStorageRedisHashTable(client, Prefix), e.TTL, closer(client))
			n.seed = seedHashes(e)
			return n, nil
		}}
}

// goframe is a client as a GoFrame program has it.
func goframe(e Env) (*gredis.Redis, error) { return gredis.New(&gredis.Config{Address: e.Addr}) }

func closer(client *gredis.Redis) func() error {
	return func() error { return client.Close(context.Background()) }
}
