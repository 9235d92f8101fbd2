package teststore

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
)

// Unread is a store whose sessions can't be read while Away is set.
type Unread struct {
	gsession.Storage
	Away atomic.Bool
}

func (u *Unread) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	if u.Away.Load() {
		return nil, errors.New("away")
	}
	return u.Storage.GetSession(ctx, id, ttl)
}
