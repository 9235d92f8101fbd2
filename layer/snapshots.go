package layer

import (
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/decorators/snapshots"
)

// Snapshots presents a direct store, such as GoFrame's StorageRedisHashTable, as one
// that loads and writes whole sessions. That cures its RegenerateId, which loses all
// data, its read-only requests, which never slide the expiry, and its round trip a
// key. It belongs first in a chain, right on the store.
func Snapshots() Decorator {
	return func(inner gsession.Storage) gsession.Storage { return snapshots.New(inner) }
}
