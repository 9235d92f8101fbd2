package redisstore

import (
	"context"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"

	"github.com/gf-strata/strata/telemetry"
)

// GetSession answers the session as a map that is the caller's alone (law 2), nil
// where there is none.
func (s *Storage) GetSession(ctx context.Context, id string, ttl time.Duration) (*gmap.StrAnyMap, error) {
	return s.face.GetSession(ctx, id, ttl)
}

// SetSession commits what was changed in the map since GetSession handed it out
// (law 5), or the whole of a map that it didn't. It answers tiers.ErrRevoked where
// the session is gone (law 6).
func (s *Storage) SetSession(ctx context.Context, id string, data *gmap.StrAnyMap, ttl time.Duration) error {
	return s.face.SetSession(ctx, id, data, ttl)
}

// UpdateTTL sets the session's expiry to ttl from now. Unlike StorageRedis, it does
// so at once, and for a ttl below 10 s as well.
func (s *Storage) UpdateTTL(ctx context.Context, id string, ttl time.Duration) error {
	_, err := s.Slide(ctx, id, ttl)
	return err
}

// RemoveAll removes the session. Once it has returned, no request that loaded the
// session before brings its data back (law 6).
func (s *Storage) RemoveAll(ctx context.Context, id string) error {
	m := s.measure()
	defer m.end(ctx, telemetry.RemoveAll)
	err := s.remove(ctx, m, id)
	m.done(err)
	return err
}

func (s *Storage) remove(ctx context.Context, m *measured, id string) error {
	key, err := s.key(id)
	if err != nil {
		return err
	}
	if err = ctx.Err(); err != nil {
		return fault.New(ctx, "DEL", err)
	}
	m.send()
	del := redis.NewCmd(ctx, "del", key)
	s.roundTrip(ctx, del)
	if _, err = yesOrNo(del); err != nil {
		return fault.New(ctx, "DEL", err)
	}
	s.face.Removed(id)
	return nil
}

// New answers gsession.ErrorDisabled, as all that follows does: GoFrame then makes
// the id, and keeps to whole sessions.
func (s *Storage) New(context.Context, time.Duration) (string, error) {
	return "", gsession.ErrorDisabled
}

// Get answers gsession.ErrorDisabled.
func (s *Storage) Get(context.Context, string, string) (any, error) {
	return nil, gsession.ErrorDisabled
}

// Data answers gsession.ErrorDisabled.
func (s *Storage) Data(context.Context, string) (map[string]any, error) {
	return nil, gsession.ErrorDisabled
}

// GetSize answers gsession.ErrorDisabled.
func (s *Storage) GetSize(context.Context, string) (int, error) {
	return 0, gsession.ErrorDisabled
}

// Set answers gsession.ErrorDisabled.
func (s *Storage) Set(context.Context, string, string, any, time.Duration) error {
	return gsession.ErrorDisabled
}

// SetMap answers gsession.ErrorDisabled.
func (s *Storage) SetMap(context.Context, string, map[string]any, time.Duration) error {
	return gsession.ErrorDisabled
}

// Remove answers gsession.ErrorDisabled.
func (s *Storage) Remove(context.Context, string, string) error {
	return gsession.ErrorDisabled
}
