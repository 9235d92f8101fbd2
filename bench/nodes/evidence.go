package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// evidence is what passed between the nodes and the servers in one round, and what was done to
// them, so that a violation can be explained. mu guards its fields.
type evidence struct {
	began int64

	mu     sync.Mutex
	pieces []piece
	bytes  int
	events []string
}

// piece is some bytes on a connection.
type piece struct {
	at           int64
	node, server int
	conn         int
	toServer     bool
	content      []byte
}

// evidenceBytes bounds what is kept of a round; what comes later is left out.
const evidenceBytes = 512 << 20

// tap begins to watch all connections of the nodes.
func (w *world) tap() *evidence {
	e := &evidence{began: now()}
	for node, proxies := range w.proxies {
		for server, p := range proxies {
			p.Tap(func(conn int, toServer bool, content []byte) {
				e.mu.Lock()
				defer e.mu.Unlock()
				if e.bytes += len(content); e.bytes <= evidenceBytes {
					e.pieces = append(e.pieces, piece{now(), node, server, conn, toServer, bytes.Clone(content)})
				}
			})
		}
	}
	return e
}

func (e *evidence) event(name string, began int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, fmt.Sprintf("%s to %s: %s", e.when(began), e.when(now()), name))
}

// when is a moment of the round in milliseconds.
func (e *evidence) when(at int64) string {
	if at == never {
		return "never"
	}
	return fmt.Sprintf("%.3f ms", float64(at-e.began)/1e6)
}

// explained is how many sessions of each law are written down.
const explained = 3

// keepEvidence writes down the sessions that a law was broken for, and returns the folder: a
// file for each session with its operations and the servers' commands and replies
// about it, all by the moment; one with the faults and the servers' roles; and one for each node
// with what passed on its tracking connections.
func (w *world) keepEvidence(records []Record, violations []Violation) string {
	w.tb.Helper()
	folder, err := os.MkdirTemp("", "nodes-history-")
	if err != nil {
		w.tb.Fatal(err)
	}
	e := w.evidence
	e.mu.Lock()
	defer e.mu.Unlock()
	write := func(name string, lines []string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			w.tb.Fatal(err)
		}
	}
	write("faults.txt", e.events)
	for node := range w.proxies {
		write(fmt.Sprintf("tracking-node%d.txt", node), e.tracking(node))
	}
	sessions, laws := map[string][]string{}, map[Law]int{}
	for _, v := range violations {
		if _, known := sessions[v.ID]; !known {
			if laws[v.Law]++; laws[v.Law] > explained {
				continue
			}
		}
		sessions[v.ID] = append(sessions[v.ID], string(v.Law)+": "+v.Text)
	}
	for id, broken := range sessions {
		write(id+".txt", append(append(broken, ""), e.history(id, records)...))
	}
	return folder
}

// history is all that happened to a session, a line each, in the order of its moments.
func (e *evidence) history(id string, records []Record) []string {
	type line struct {
		at   int64
		text string
	}
	var lines []line
	for _, r := range records {
		if r.ID != id {
			continue
		}
		text := fmt.Sprintf("node %d: %s %s to %s, outcome %d, acknowledged %s", r.Node, []string{"read", "change", "login", "logout"}[r.Kind],
			e.when(r.Start), e.when(r.End), r.Outcome, e.when(r.Acked))
		if content, err := json.Marshal(struct {
			Epoch, Version int64
			Writer         int
			Absent         bool
			Last           Token
			Cells          []Cell
		}{r.Epoch, r.Version, r.Writer, r.Absent, r.Last, r.Cells}); err == nil {
			text += " " + string(content)
		}
		lines = append(lines, line{r.Start, text})
	}
	asked := map[way]bool{} // the next answer there is about the session, or about others too
	key := []byte(id)       // in an index without the prefix
	for _, p := range e.pieces {
		at := way{p.node, p.server, p.conn}
		about := names(p.content, key)
		if !about && (p.toServer || !asked[at]) {
			continue
		}
		asked[at] = p.toServer
		lines = append(lines, line{p.at, "  " + e.passed(p)})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	var texts []string
	for _, l := range lines {
		texts = append(texts, l.text)
	}
	return texts
}

// way is a connection of a node.
type way struct{ node, server, conn int }

// passed is a piece in a line.
func (e *evidence) passed(p piece) string {
	arrow := "<-"
	if p.toServer {
		arrow = "->"
	}
	return fmt.Sprintf("%s node %d %s server %d, connection %d: %.600q", e.when(p.at), p.node, arrow, p.server, p.conn, p.content)
}

// tracking is all that passed on the connections over which a node asked for invalidations.
func (e *evidence) tracking(node int) (lines []string) {
	asked := map[way]bool{}
	for _, p := range e.pieces {
		if p.toServer && bytes.Contains(bytes.ToLower(p.content), []byte("tracking")) {
			asked[way{p.node, p.server, p.conn}] = true
		}
	}
	for _, p := range e.pieces {
		if p.node == node && asked[way{p.node, p.server, p.conn}] {
			lines = append(lines, e.passed(p))
		}
	}
	return lines
}

// names reports whether a piece has a key that isn't the beginning of a longer one.
func names(content, key []byte) bool {
	for {
		n := bytes.Index(content, key)
		if n < 0 {
			return false
		}
		if content = content[n+len(key):]; len(content) == 0 || content[0] < '0' || content[0] > '9' {
			return true
		}
	}
}

// rolesEvery is how often the servers are asked for their roles.
const rolesEvery = 50 * time.Millisecond

// watchRoles notes what each server is whenever that changes, until stop has returned.
func (w *world) watchRoles(e *evidence) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for n, s := range w.servers {
		all.Go(func() { e.roles(ctx, n, s.Addr()) })
	}
	return func() {
		cancel()
		all.Wait()
	}
}

func (e *evidence) roles(ctx context.Context, server int, addr string) {
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true, ReadTimeout: ioTimeout})
	defer func() { _ = client.Close() }()
	tick := time.NewTicker(rolesEvery)
	defer tick.Stop()
	for last := ""; ; {
		began, role := now(), "away"
		if info, err := client.InfoMap(ctx, "replication").Result(); err == nil {
			r := info["Replication"]
			role = strings.TrimSpace("role:" + r["role"] + " " + r["master_port"] + " " + r["master_link_status"])
		}
		if ctx.Err() != nil {
			return
		}
		if role != last {
			e.event(fmt.Sprintf("server %d, port %s: %s", server, addr[strings.LastIndexByte(addr, ':')+1:], role), began)
			last = role
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
