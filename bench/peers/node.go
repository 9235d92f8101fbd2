package peers

import (
	"context"
	"errors"
	"time"

	"github.com/gogf/gf/v2/os/gsession"
)

// node runs requests through gsession's own Session. Its fields are set at construction.
type node struct {
	storage gsession.Storage
	manager *gsession.Manager
	seed    func(ctx context.Context, ids []string, data func(string) map[string]any) error
	misses  func() int64                    // nil without a cache
	flush   func(ctx context.Context) error // nil where nothing is held back
	close   []func() error                  // the last first
}

// newNode makes a node; close is called from last to first.
func newNode(storage gsession.Storage, ttl time.Duration, close ...func() error) *node {
	return &node{storage: storage, manager: gsession.New(ttl, storage), close: close}
}

// request is a session by another name, so that beginning one costs nothing more.
type request gsession.Session

// OfSession is a request of a session that another program part began, such as ghttp.
func OfSession(session *gsession.Session) Request { return (*request)(session) }

func (n *node) Begin(ctx context.Context, id string) Request {
	return (*request)(n.manager.New(ctx, id))
}

func (n *node) Storage() gsession.Storage { return n.storage }

func (n *node) Seed(ctx context.Context, ids []string, data func(string) map[string]any) error {
	return n.seed(ctx, ids, data)
}

func (n *node) Flush(ctx context.Context) error {
	if n.flush == nil {
		return nil
	}
	return n.flush(ctx)
}

func (n *node) Misses() (int64, bool) {
	if n.misses == nil {
		return 0, false
	}
	return n.misses(), true
}

func (n *node) Close() error {
	var errs []error
	for i := len(n.close) - 1; i >= 0; i-- {
		errs = append(errs, n.close[i]())
	}
	return errors.Join(errs...)
}

func (r *request) ID() (string, error) { return (*gsession.Session)(r).Id() }

func (r *request) Get(key string) (any, error) {
	v, err := (*gsession.Session)(r).Get(key)
	if v == nil {
		return nil, err
	}
	return v.Val(), err
}

func (r *request) Set(key string, value any) error { return (*gsession.Session)(r).Set(key, value) }
func (r *request) Clear() error                    { return (*gsession.Session)(r).RemoveAll() }
func (r *request) Close() error                    { return (*gsession.Session)(r).Close() }
