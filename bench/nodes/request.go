package main

import (
	"context"
	"errors"
	"strconv"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
)

// client is one user's requests at a node, one after the other: the requests are those
// of a GoFrame handler. It belongs to one goroutine.
type client struct {
	node, writer int
	manager      *gsession.Manager
	brief        *gsession.Manager // of the sessions that expire
	versions     map[string]int64  // of its key in each session
	epochs       int64
	records      []Record
	failed       int // reads that returned an error
	timings      []Timing
}

func newClient(node, writer int, manager *gsession.Manager) *client {
	return &client{node: node, writer: writer, manager: manager, brief: gsession.New(brief, manager.GetStorage()), versions: map[string]int64{}}
}

// begin is the beginning of a request.
func (c *client) begin(id string) *gsession.Session {
	if isBrief(id) {
		return c.brief.New(context.Background(), id)
	}
	return c.manager.New(context.Background(), id)
}

func (c *client) record(kind Kind, id string) Record {
	return Record{Node: c.node, Writer: c.writer, Kind: kind, ID: id, Start: now()}
}

func (c *client) keep(r Record, err error) Outcome {
	r.End = now()
	switch {
	case errors.Is(err, layer.ErrRevoked):
		r.Outcome = Revoked
	case err != nil:
		r.Outcome = Maybe
	}
	c.records = append(c.records, r)
	return r.Outcome
}

// read is a request that changes nothing.
func (c *client) read(id string) (Record, bool) {
	failed := true
	defer c.timed(now(), &failed)
	request := c.begin(id)
	r, ok := c.look(request, id)
	err := request.Close()
	failed = !ok
	if ok {
		kept := &c.records[len(c.records)-1]
		if kept.Slid = now(); err != nil {
			kept.Slid = never
		}
	}
	return r, ok
}

func (c *client) look(request *gsession.Session, id string) (Record, bool) {
	r := c.record(Read, id)
	data, err := request.Data()
	if err != nil {
		c.failed++
		return r, false
	}
	r.saw(data)
	c.keep(r, nil)
	return r, true
}

// change is a request that reads, and writes its own key and the shared one. It does
// nothing where nobody is logged in, and reports so.
func (c *client) change(id string) (loggedIn bool, outcome Outcome) {
	failed := true
	defer c.timed(now(), &failed)
	request := c.begin(id)
	seen, ok := c.look(request, id)
	failed = !ok
	if !ok || seen.Absent {
		return false, Maybe
	}
	r := c.record(Change, id)
	r.Epoch, r.Version = seen.Epoch, c.next(id)
	err := c.write(request, r.Version)
	if err == nil {
		err = request.Close()
	}
	outcome = c.keep(r, err)
	failed = outcome == Maybe
	return true, outcome
}

func (c *client) write(request *gsession.Session, version int64) error {
	return errors.Join(request.Set(ownKey(c.writer), strconv.FormatInt(version, 10)), request.Set(keyLast, Token{c.writer, version}.String()))
}

func (c *client) next(id string) int64 {
	c.versions[id]++
	return c.versions[id]
}

// login begins a session.
func (c *client) login(id string) Outcome {
	r := c.record(Login, id)
	c.epochs++
	r.Epoch, r.Version = int64(c.writer)<<32|c.epochs, c.next(id)
	request := c.begin(id)
	err := request.SetMap(content(r.Epoch, c.writer, r.Version))
	if err == nil {
		err = request.Close()
	}
	return c.keep(r, err)
}

// logout ends a session.
func (c *client) logout(id string) Outcome {
	r := c.record(Logout, id)
	request := c.begin(id)
	return c.keep(r, request.RemoveAll())
}
