package redisstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/telemetry"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
	"github.com/gf-strata/strata/tiers/redisstore/internal/pause"
	"github.com/gf-strata/strata/tiers/redisstore/internal/tracking"
)

// index keeps whose the sessions are, under names that no session id has:
//
//	strata:{07}:i:<principal's hash>  a sorted set: a principal's sessions by their expiry
//	strata:{07}:p                     a sorted set: the principals of a shard by their expiry
//	strata:{07}:m                     a hash: the marks of a shard
//	strata:r:<id's hash>              a text: why a session has ended
//
// What is of one principal is in one slot of a cluster. A log-in is one transaction, as log-ins at the same time count each
// other; marks aren't repeated; all else is commands that may be repeated, or stop half-way: an entry that is lost or left is
// corrected by the session's next use, or by what reads it. All moments are by the server's clock.
//
// clock and transacts guard themselves.
type index struct {
	*Storage
	clock     atomic.Pointer[moment]
	transacts atomic.Bool // the servers of a cluster take EXEC
}

var (
	_ principals.Index   = (*index)(nil)
	_ principals.Remover = (*index)(nil)
)

const indexShards = 64

var text = base64.RawURLEncoding

func (*index) Shards() int                    { return indexShards }
func (*index) ShardOf(key principals.Key) int { return int(key[0]) % indexShards }

func (x *index) shardKey(shard int, kind string) string {
	return fmt.Sprintf("%s%s{%02x}:%s", x.prefix, tiers.Namespace, shard, kind)
}

func (x *index) entriesKey(key principals.Key) string {
	return x.shardKey(x.ShardOf(key), "i:") + text.EncodeToString(key[:])
}

func (x *index) principalsKey(key principals.Key) string { return x.shardKey(x.ShardOf(key), "p") }
func (x *index) marksKey(shard int) string               { return x.shardKey(shard, "m") }

// Node is the address of the master that has a shard.
func (x *index) Node(shard int) string { return x.masterOf(x.marksKey(shard)) }

// shardKeys are the keys of a kind, by shard.
func (x *index) shardKeys(kind string) []string {
	keys := make([]string, indexShards)
	for shard := range keys {
		keys[shard] = x.shardKey(shard, kind)
	}
	return keys
}

func (x *index) reasonKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return x.prefix + tiers.Namespace + "r:" + text.EncodeToString(sum[:16])
}

// ShardOfInvalidated knows a shard's marks by what follows the prefix.
func (*index) ShardOfInvalidated(id string) (shard int, ok bool) {
	rest, ours := strings.CutPrefix(id, tiers.Namespace+"{")
	number, marks := strings.CutSuffix(rest, "}:m")
	if !ours || !marks || len(number) != 2 {
		return 0, false
	}
	n, err := strconv.ParseUint(number, 16, 8)
	return int(n), err == nil && n < indexShards
}

// A member of a principal's sorted set is the moment at which the session began, in milliseconds
// in base 36, its tag, its class, a space and its id.
const (
	begunLength = 9
	tagLength   = 11
)

func memberOf(e principals.Entry) string {
	begun := strconv.FormatInt(max(0, e.Begun.UnixMilli()), 36)
	return strings.Repeat("0", max(0, begunLength-len(begun))) + begun + e.Tag + e.Class + " " + e.ID
}

// A score is the expiry in tenths of a second, and below it, in 18 bits, the time to live in
// seconds or, with the highest of them, in hours: so that the last use is known as well. Both are of the time to live
// rounded up to whole hours where it is longer than 36 of them.
const (
	codeBits = 18
	codeUnit = 1 << (codeBits - 1)
	mostLife = 10 * 365 * 24 * time.Hour
)

// life is the ttl in tenths of a second, and as the code of a score.
func life(ttl time.Duration) (tenths, code int64) {
	if ttl <= 0 || ttl > mostLife {
		ttl = mostLife
	}
	if code = up(ttl, time.Second); code >= codeUnit {
		hours := up(ttl, time.Hour)
		return hours * int64(time.Hour/tenth), codeUnit + hours
	}
	return up(ttl, tenth), code
}

const tenth = 100 * time.Millisecond

// up is a time in units, rounded up.
func up(d, unit time.Duration) int64 { return int64((d + unit - 1) / unit) }

// readMember reads a member with its score at a moment of the server's, in tenths of a second.
func readMember(key principals.Key, p pair, now int64) (e principals.Entry, ok bool) {
	head, id, ok := strings.Cut(p.member, " ")
	if !ok || len(head) < begunLength+tagLength {
		return e, false
	}
	begun, err := strconv.ParseInt(head[:begunLength], 36, 64)
	if err != nil {
		return e, false
	}
	e = principals.Entry{Key: key, ID: id, Tag: head[begunLength : begunLength+tagLength], Class: head[begunLength+tagLength:], Begun: time.UnixMilli(begun)}
	tenths, code := int64(p.score)>>codeBits, int64(p.score)&(1<<codeBits-1)
	e.Expires = time.UnixMilli(tenths * 100)
	if e.TTL = time.Duration(code) * time.Second; code >= codeUnit {
		e.TTL = time.Duration(code-codeUnit) * time.Hour
	}
	e.Age = time.UnixMilli(now * 100).Sub(e.Expires.Add(-e.TTL))
	return e, true
}

// moment is the server's clock when it was asked for.
type moment struct{ here, there time.Time }

// clockAge bounds for how long the server isn't asked again: its clock may be set, and another server take over.
const clockAge = time.Minute

// now is the moment by the clock of the server that has a key, in tenths of a second. The masters of a cluster are taken to
// agree. While the server doesn't reply, its clock is taken to go on.
func (x *index) now(ctx context.Context, key string) (int64, error) {
	known := x.clock.Load()
	if known == nil || time.Since(known.here) > clockAge {
		asked, err := x.ask(ctx, key)
		switch {
		case err == nil:
			known = asked
			x.clock.Store(known)
		case known == nil:
			return 0, err
		}
	}
	return known.there.Add(time.Since(known.here)).UnixMilli() / 100, nil
}

// ask asks the server that has a key for its clock.
func (x *index) ask(ctx context.Context, key string) (*moment, error) {
	cmd := redis.NewCmd(ctx, "time")
	err := x.sendBy(ctx, "TIME", func(ctx context.Context, commands ...command) {
		if cluster, ok := x.client.(*redis.ClusterClient); ok { // which sends TIME to any master
			if master, err := cluster.MasterForKey(ctx, key); err == nil {
				replied(commands, master.Process(ctx, cmd))
				return
			}
		}
		x.roundTrip(ctx, commands...)
	}, []command{cmd})
	if err != nil {
		return nil, err
	}
	here := time.Now() // after the reply: a request may wait for long
	parts, _ := cmd.StringSlice()
	if len(parts) != 2 {
		return nil, fault.New(ctx, "TIME", fault.ErrReply)
	}
	seconds, err := strconv.ParseInt(parts[0], 10, 64)
	micros, bad := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || bad != nil {
		return nil, fault.New(ctx, "TIME", fault.ErrReply)
	}
	return &moment{here: here, there: time.UnixMicro(seconds*1e6 + micros)}, nil
}

// The fields of a shard's marks: a principal's hash as it is, everybody's, and a tag after a letter.
const (
	everybody = "*"
	endedMark = "x"
)

// send sends commands together, and returns the first error.
func (x *index) send(ctx context.Context, name string, commands ...command) error {
	return x.sendBy(ctx, name, x.roundTrip, commands)
}

func (x *index) sendBy(ctx context.Context, name string, trip func(context.Context, ...command), commands []command) error {
	if err := ctx.Err(); err != nil {
		return fault.New(ctx, name, err)
	}
	if len(commands) == 0 {
		return nil
	}
	o := x.begin()
	defer o.end(ctx, telemetry.Index)
	o.starts()
	trip(ctx, commands...)
	var err error
	for _, c := range commands {
		if failed := c.Err(); failed != nil && failed != redis.Nil {
			err = failedBy(ctx, name, failed)
			break
		}
	}
	o.done(err)
	return err
}

func failedBy(ctx context.Context, name string, err error) error {
	if fault.IsRefusal(err) {
		return tiers.NewError("strata: redis: "+name+": "+forbidden, err)
	}
	return fault.New(ctx, name, err)
}

const forbidden = "layer.Indexed needs transactions and sorted sets, and the server or the user's rights forbid them; give the user the rights of docs/production.md, or leave layer.Indexed out"

// transact has the server run commands of one slot in one step. A server that is alone gets MULTI and EXEC as any commands:
// go-redis leaves replies unread on a connection if MULTI is refused. They may be repeated.
func (x *index) transact(ctx context.Context, commands ...command) {
	if _, alone := x.client.(*redis.Client); !alone {
		err := x.tryTransaction(ctx, commands[0])
		if err == nil {
			err = x.tracker.Transact(ctx, cmders(commands))
		}
		replied(commands, err)
		return
	}
	multi, exec := redis.NewCmd(ctx, "multi"), redis.NewCmd(ctx, "exec")
	all := append(append([]command{multi}, commands...), exec)
	for range 2 { // the connection may be broken, or lead to a master that was demoted
		failed := x.tracker.Watch(ctx, "", func(tx *redis.Tx) error {
			err := tracking.Together(ctx, tx.Pipeline(), cmders(all)...)
			if _, refused := reply[[]any](exec); refused != nil {
				giveUpAfter(ctx, tx, all...)
			}
			return err
		})
		replied(all, failed)
		if err := exec.Err(); err == nil || ctx.Err() != nil || fault.IsReply(err) && !slices.ContainsFunc(all, isReadOnly) {
			break
		}
	}
	results, err := reply[[]any](exec)
	if err == nil && len(results) != len(commands) {
		err = fault.ErrReply
	}
	for _, c := range append(commands, multi) {
		if err != nil && c.Err() != nil { // it wasn't queued, which is why EXEC failed
			err = c.Err()
			break
		}
	}
	for n, c := range commands {
		if err != nil {
			c.SetErr(err)
		} else if failed, bad := results[n].(error); bad {
			c.SetErr(failed)
		} else {
			c.(*redis.Cmd).SetVal(results[n])
		}
	}
}

// tryTransaction has the server that takes a command execute an empty transaction, until one has: where EXEC isn't known,
// go-redis gives a connection to a cluster back to the pool within the transaction, and the server only queues what others send on it.
func (x *index) tryTransaction(ctx context.Context, like command) error {
	key, _ := like.Args()[1].(string)
	for tries := 1; !x.transacts.Load(); tries++ {
		multi, exec := redis.NewCmd(ctx, "multi"), redis.NewCmd(ctx, "exec")
		failed := x.tracker.Watch(ctx, key, func(tx *redis.Tx) error {
			_ = tracking.Together(ctx, tx.Pipeline(), multi, exec)
			_, _, err := replyOrNil[[]any](exec)
			if err != nil {
				giveUpAfter(ctx, tx, multi, exec)
			}
			x.transacts.Store(err == nil)
			return err
		})
		if err := cmp.Or(multi.Err(), failed, fault.ErrReply); !x.transacts.Load() && (fault.IsReply(err) || tries > x.retries || !pause.Before(ctx, tries)) {
			return err
		}
	}
	return nil
}

// isReadOnly reports whether a replica has refused a command, which it wasn't when it was connected to.
func isReadOnly(c command) bool { return redis.HasErrorPrefix(c.Err(), "READONLY") }

// put are the commands that enter a session at a moment; the last one returns the entry that lives longest.
func (x *index) put(ctx context.Context, e principals.Entry, now int64) []command {
	tenths, code := life(e.TTL)
	entries, of := x.entriesKey(e.Key), x.principalsKey(e.Key)
	return []command{
		redis.NewCmd(ctx, "zadd", entries, (now+tenths)<<codeBits|code, memberOf(e)),
		redis.NewCmd(ctx, "zadd", of, now+tenths, e.Principal),
		longLived(ctx, of),
		redis.NewCmd(ctx, "zremrangebyscore", entries, "-inf", now<<codeBits),
		redis.NewCmd(ctx, "zremrangebyscore", of, "-inf", now-1),
		redis.NewCmd(ctx, "pexpire", entries, tenths*100+1000),
		longest(ctx, entries),
	}
}

// longLived has a key of a shard outlive all that is in it. Former versions gave these keys a shorter life, and lengthen
// it where they find none.
func longLived(ctx context.Context, key string) command {
	return redis.NewCmd(ctx, "pexpire", key, mostLife.Milliseconds())
}

// longest reads the member of a sorted set that has the highest score.
func longest(ctx context.Context, key string) command {
	return redis.NewCmd(ctx, "zrange", key, -1, -1, "withscores")
}

// expiryOf reads the reply of longest, 0 for none. Scores hold so many bits beside the expiry.
func expiryOf(ctx context.Context, c command, bits int) (tenths int64, err error) {
	pairs, err := readPairs(ctx, c)
	if err != nil || len(pairs) == 0 {
		return 0, err
	}
	return int64(pairs[0].score) >> bits, nil
}

// settle has principals end with the entry that lives longest, where that isn't the one that was put.
func (x *index) settle(ctx context.Context, put []principals.Entry, last []command, now int64) error {
	var commands []command
	for n, e := range put {
		expiry, err := expiryOf(ctx, last[n], codeBits)
		if err != nil {
			return err
		}
		if tenths, _ := life(e.TTL); expiry > now+tenths {
			commands = append(commands,
				redis.NewCmd(ctx, "pexpire", x.entriesKey(e.Key), (expiry-now)*100+1000),
				redis.NewCmd(ctx, "zadd", x.principalsKey(e.Key), expiry, e.Principal))
		}
	}
	return x.send(ctx, "ZADD", commands...)
}

// Enter is one transaction in one slot.
func (x *index) Enter(ctx context.Context, e principals.Entry, others int) (entered principals.Entered, err error) {
	now, err := x.now(ctx, x.entriesKey(e.Key))
	if err != nil {
		return entered, err
	}
	all := x.put(ctx, e, now)
	last := all[len(all)-1:]
	marks := redis.NewCmd(ctx, "hmget", x.marksKey(x.ShardOf(e.Key)), string(e.Key[:]), everybody)
	card := redis.NewCmd(ctx, "zcard", x.entriesKey(e.Key))
	list := redis.NewCmd(ctx, "zrange", x.entriesKey(e.Key), 0, others, "withscores")
	if all = append(all, marks); others > 0 {
		all = append(all, card, list)
	}
	if err := x.sendBy(ctx, "MULTI", x.transact, all); err != nil {
		return entered, err
	}
	values, err := reply[[]any](marks)
	if err != nil || len(values) != 2 {
		return entered, fault.New(ctx, "HMGET", cmp.Or(err, fault.ErrReply))
	}
	for n, nonce := range []*string{&entered.Own, &entered.All} {
		value, _ := values[n].(string)
		*nonce = readMark(value).Nonce
	}
	if others > 0 {
		there, err := reply[int64](card)
		if err != nil {
			return entered, fault.New(ctx, "ZCARD", err)
		}
		some, err := readEntries(ctx, e.Key, list, now)
		if err != nil {
			return entered, err
		}
		for _, other := range some {
			if other.ID != e.ID || other.Tag != e.Tag {
				other.Principal = e.Principal
				entered.Others = append(entered.Others, other)
			}
		}
		entered.Others = entered.Others[:min(len(entered.Others), others)]
		entered.More = int(there) - 1 - len(entered.Others)
	}
	return entered, x.settle(ctx, []principals.Entry{e}, last, now)
}

// Touch is one pipeline, and one more where sessions of one principal live for different times.
func (x *index) Touch(ctx context.Context, entries []principals.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	now, err := x.now(ctx, x.entriesKey(entries[0].Key))
	if err != nil {
		return err
	}
	var all, last []command
	for _, e := range entries {
		all = append(all, x.put(ctx, e, now)...)
		last = append(last, all[len(all)-1])
	}
	if err := x.send(ctx, "ZADD", all...); err != nil {
		return err
	}
	return x.settle(ctx, entries, last, now)
}

// Leave is two pipelines. A log-in that comes between may take its principal out of Page and Count until the session's next use.
func (x *index) Leave(ctx context.Context, entries []principals.Entry) error {
	members := map[principals.Key][]any{}
	names := map[principals.Key]string{}
	for _, e := range entries {
		members[e.Key] = append(members[e.Key], memberOf(e))
		names[e.Key] = cmp.Or(names[e.Key], e.Principal)
	}
	var all, ends []command
	lasts := map[principals.Key]command{}
	for key, gone := range members {
		lasts[key] = longest(ctx, x.entriesKey(key))
		all = append(all, redis.NewCmd(ctx, append([]any{"zrem", x.entriesKey(key)}, gone...)...), lasts[key])
	}
	if err := x.send(ctx, "ZREM", all...); err != nil {
		return err
	}
	for key, name := range names {
		expiry, err := expiryOf(ctx, lasts[key], codeBits)
		switch {
		case err != nil:
			return err
		case name == "": // Page finds it
		case expiry == 0:
			ends = append(ends, redis.NewCmd(ctx, "zrem", x.principalsKey(key), name))
		default:
			ends = append(ends, redis.NewCmd(ctx, "zadd", x.principalsKey(key), expiry, name))
		}
	}
	return x.send(ctx, "ZREM", ends...)
}

// RemoveSessions removes sessions in one pipeline: the caller has marked them, so that one whose removal fails is over
// all the same.
func (x *index) RemoveSessions(ctx context.Context, sessions []principals.Entry) error {
	var commands []command
	for _, e := range sessions {
		key, err := x.key(e.ID)
		if err != nil {
			continue // no session has it
		}
		commands = append(commands, redis.NewCmd(ctx, "del", key))
	}
	if err := x.send(ctx, "DEL", commands...); err != nil {
		return err
	}
	for _, e := range sessions {
		x.face.Removed(e.ID)
	}
	return nil
}

// Entries reads a part of a principal's sorted set.
func (x *index) Entries(ctx context.Context, key principals.Key, after principals.Entry, most int) (entries []principals.Entry, err error) {
	now, err := x.now(ctx, x.entriesKey(key))
	if err != nil {
		return nil, err
	}
	least := now << codeBits
	if !after.Expires.IsZero() {
		_, code := life(after.TTL)
		least = max(least, after.Expires.UnixMilli()/100<<codeBits|code)
	}
	for offset := 0; ; offset += most + 1 { // beyond those that have the score of after, and come before it
		c := redis.NewCmd(ctx, "zrangebyscore", x.entriesKey(key), least, "+inf", "withscores", "limit", offset, most+1)
		if err := x.send(ctx, "ZRANGEBYSCORE", c); err != nil {
			return nil, err
		}
		some, err := readEntries(ctx, key, c, now)
		if err != nil {
			return nil, err
		}
		for _, e := range some {
			if e.Compare(after) > 0 {
				entries = append(entries, e)
			}
		}
		if len(entries) >= most || len(some) <= most {
			return entries[:min(len(entries), most)], nil
		}
	}
}

// readEntries reads members with their scores at a moment. It leaves out what is no member.
func readEntries(ctx context.Context, key principals.Key, c command, now int64) (entries []principals.Entry, err error) {
	pairs, err := readPairs(ctx, c)
	for _, p := range pairs {
		if e, ok := readMember(key, p, now); ok {
			entries = append(entries, e)
		}
	}
	return entries, err
}

// pair is a member of a sorted set with its score.
type pair struct {
	member string
	score  float64
}

// readPairs reads [m, s, m, s], as RESP2 has it, or [[m, s], [m, s]].
func readPairs(ctx context.Context, c command) (pairs []pair, err error) {
	all, err := reply[[]any](c)
	if err != nil {
		return nil, fault.New(ctx, "ZRANGE", err)
	}
	for n := 0; n < len(all); n++ {
		both, nested := all[n].([]any)
		if !nested && n+1 < len(all) {
			both = all[n : n+2]
			n++
		}
		if len(both) != 2 {
			return nil, fault.New(ctx, "ZRANGE", fault.ErrReply)
		}
		member, ok := both[0].(string)
		if !ok {
			return nil, fault.New(ctx, "ZRANGE", fault.ErrReply)
		}
		p := pair{member: member}
		switch score := both[1].(type) {
		case float64:
			p.score = score
		case string:
			if p.score, err = strconv.ParseFloat(score, 64); err != nil {
				return nil, fault.New(ctx, "ZRANGE", fault.ErrReply)
			}
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// Page goes from shard to shard, in each by expiry: one that is used meanwhile moves on, and isn't
// left out.
func (x *index) Page(ctx context.Context, cursor string, size int) (page []principals.Indexed, next string, err error) {
	at, ok := readCursor(cursor)
	if !ok {
		return nil, "", principals.ErrCursor
	}
	now, err := x.now(ctx, x.shardKey(at.shard, "p"))
	if err != nil {
		return nil, "", err
	}
	if at.expiry < now {
		at.expiry, at.same = now, 0
	}
	listed, err := x.principalsFrom(ctx, at, now, size+1)
	if err != nil {
		return nil, "", err
	}
	more := len(listed) > size
	listed = listed[:min(len(listed), size)]
	keys := make([]string, len(listed))
	for n, l := range listed {
		keys[n] = x.entriesKey(principals.KeyOf(l.member))
	}
	sessions, err := x.counts(ctx, keys, now<<codeBits)
	if err != nil {
		return nil, "", err
	}
	var none []principals.Entry
	for n, l := range listed {
		if at.shard != l.shard || at.expiry != int64(l.score) {
			at = place{shard: l.shard, expiry: int64(l.score)}
		}
		if sessions[n] > 0 {
			page = append(page, principals.Indexed{Principal: l.member, Sessions: int(sessions[n])})
			at.same++
		} else {
			none = append(none, principals.Entry{Principal: l.member, Key: principals.KeyOf(l.member)})
		}
	}
	if more {
		next = at.cursor()
	}
	return page, next, x.Leave(ctx, none) // so that Count agrees
}

// found is a principal with its expiry as it is in a shard.
type found struct {
	pair
	shard int
}

// principalsFrom reads most principals from a place on, or a few more.
func (x *index) principalsFrom(ctx context.Context, at place, now int64, most int) (all []found, err error) {
	for first := at.shard; first < indexShards && len(all) < most; first += shardsAtOnce {
		var ranges []command
		for shard := first; shard < min(first+shardsAtOnce, indexShards); shard++ {
			least, offset := now, 0
			if shard == at.shard {
				least, offset = at.expiry, at.same
			}
			ranges = append(ranges, redis.NewCmd(ctx, "zrangebyscore", x.shardKey(shard, "p"), least, "+inf", "withscores", "limit", offset, most))
		}
		if err := x.send(ctx, "ZRANGEBYSCORE", ranges...); err != nil {
			return nil, err
		}
		for n, c := range ranges {
			pairs, err := readPairs(ctx, c)
			if err != nil {
				return nil, err
			}
			for _, p := range pairs {
				all = append(all, found{p, first + n})
			}
		}
	}
	return all, nil
}

const shardsAtOnce = 16

// counts counts in sorted sets what hasn't a lower score.
func (x *index) counts(ctx context.Context, keys []string, least int64) ([]int64, error) {
	commands := make([]command, len(keys))
	for n, key := range keys {
		commands[n] = redis.NewCmd(ctx, "zcount", key, least, "+inf")
	}
	if err := x.send(ctx, "ZCOUNT", commands...); err != nil {
		return nil, err
	}
	counts := make([]int64, len(keys))
	for n, c := range commands {
		var err error
		if counts[n], err = reply[int64](c); err != nil {
			return nil, fault.New(ctx, "ZCOUNT", err)
		}
	}
	return counts, nil
}

// place is where a page begins: in a shard, at an expiry, after so many principals that have it.
type place struct {
	shard  int
	expiry int64 // in tenths of a second
	same   int
}

func (p place) cursor() string { return fmt.Sprintf("%02x.%d.%d", p.shard, p.expiry, p.same) }

func readCursor(cursor string) (p place, ok bool) {
	if cursor == "" {
		return p, true
	}
	parts := strings.Split(cursor, ".")
	if len(parts) != 3 {
		return p, false
	}
	shard, errShard := strconv.ParseUint(parts[0], 16, 8)
	expiry, errExpiry := strconv.ParseInt(parts[1], 10, 64)
	same, errSame := strconv.Atoi(parts[2])
	ok = errShard == nil && errExpiry == nil && errSame == nil && shard < indexShards && expiry >= 0 && same >= 0 && same < math.MaxInt32
	return place{int(shard), expiry, same}, ok
}

// Count adds up the shards.
func (x *index) Count(ctx context.Context) (n int, err error) {
	now, err := x.now(ctx, x.shardKey(0, "p"))
	if err != nil {
		return 0, err
	}
	counts, err := x.counts(ctx, x.shardKeys("p"), now)
	for _, c := range counts {
		n += int(c)
	}
	return n, err
}

// Mark is a transaction where it keeps sessions, as it depends on the mark that it replaces; else it is two pipelines, as MarkAll and
// MarkEnded are.
func (x *index) Mark(ctx context.Context, key principals.Key, mark principals.Mark, lasts time.Duration) (principals.Mark, error) {
	hash, entries, field := x.marksKey(x.ShardOf(key)), x.entriesKey(key), string(key[:])
	if len(mark.Kept) == 0 {
		return mark, x.mark(ctx, []string{hash}, []string{entries}, codeBits, field, mark, lasts)
	}
	until, err := x.lasting(ctx, []string{hash}, []string{entries}, codeBits, field, lasts)
	if err != nil {
		return mark, err
	}
	for tries := 1; ; tries++ {
		before := redis.NewCmd(ctx, "hmget", hash, field)
		done, err := x.ifUnchanged(ctx, hash, before, func() ([]redis.Cmder, error) {
			value, err := onlyField(before)
			mark = mark.After(readMark(value))
			return cmders(x.set(ctx, hash, field, max(until[0], lastsUntil(value)), mark)), err
		})
		if redis.HasErrorPrefix(err, "ASK") { // its slot moves to another master, where it will be in a moment
			err = nil
		}
		if err == nil && !done && !pause.Before(ctx, tries) {
			err = context.Cause(ctx)
		}
		if err != nil || done {
			return mark, failedBy(ctx, "WATCH", err)
		}
	}
}

func (x *index) MarkAll(ctx context.Context, mark principals.Mark, lasts time.Duration) error {
	return x.mark(ctx, x.shardKeys("m"), x.shardKeys("p"), 0, everybody, mark, lasts)
}

func (x *index) MarkEnded(ctx context.Context, e principals.Entry, reason principals.Reason, lasts time.Duration) error {
	return x.mark(ctx, []string{x.marksKey(x.ShardOf(e.Key))}, []string{x.entriesKey(e.Key)}, codeBits, endedMark+e.Tag, principals.Mark{Reason: reason}, lasts)
}

// mark writes a mark.
func (x *index) mark(ctx context.Context, hashes, sets []string, bits int, field string, mark principals.Mark, lasts time.Duration) error {
	until, err := x.lasting(ctx, hashes, sets, bits, field, lasts)
	if err != nil {
		return err
	}
	var writes []command
	for n, hash := range hashes {
		writes = append(writes, x.set(ctx, hash, field, until[n], mark)...)
	}
	if err := x.send(ctx, "HSET", writes...); err != nil {
		return err
	}
	if rand.N(cleanEvery) == 0 {
		if now, err := x.now(ctx, hashes[0]); err == nil {
			_ = x.clean(ctx, hashes[rand.N(len(hashes))], now) // or a later one does
		}
	}
	return nil
}

// lasting are the moments up to which marks last: each outlives the sessions in a sorted set, and the mark that it replaces.
func (x *index) lasting(ctx context.Context, hashes, sets []string, bits int, field string, lasts time.Duration) ([]int64, error) {
	now, err := x.now(ctx, hashes[0])
	if err != nil {
		return nil, err
	}
	var sessions, marks []command
	for n := range hashes {
		sessions = append(sessions, longest(ctx, sets[n]))
		marks = append(marks, redis.NewCmd(ctx, "hmget", hashes[n], field))
	}
	if err := x.send(ctx, "ZRANGE", slices.Concat(sessions, marks)...); err != nil {
		return nil, err
	}
	tenths, _ := life(lasts)
	until := make([]int64, len(hashes))
	for n := range until {
		expiry, err := expiryOf(ctx, sessions[n], bits)
		if err != nil {
			return nil, err
		}
		before, err := onlyField(marks[n])
		if err != nil {
			return nil, fault.New(ctx, "HMGET", err)
		}
		until[n] = max(max(now+tenths, expiry)+int64(time.Second/tenth), lastsUntil(before))
	}
	return until, nil
}

// onlyField is the reply of an HMGET of one field, "" if it isn't there.
func onlyField(c command) (value string, err error) {
	values, err := reply[[]any](c)
	if err != nil || len(values) != 1 {
		return "", cmp.Or(err, fault.ErrReply)
	}
	value, _ = values[0].(string)
	return value, nil
}

// set are the commands that set a mark. One with a nonce isn't sent again by the client: see principals.Index.
func (x *index) set(ctx context.Context, hash, field string, until int64, mark principals.Mark) []command {
	set := redis.NewCmd(ctx, "hset", hash, field, fmt.Sprintf("%d;%s", until, writeMark(mark)))
	if mark.Nonce != "" {
		return []command{&write{Cmd: set}, longLived(ctx, hash)}
	}
	return []command{set, longLived(ctx, hash)}
}

// cleanEvery is how many marks are set for each search for those that have lasted, which reads a shard.
const cleanEvery = 64

// clean removes the marks of a shard that have lasted, unless one is set meanwhile.
func (x *index) clean(ctx context.Context, hash string, now int64) error {
	read := hgetall(ctx, hash)
	_, err := x.ifUnchanged(ctx, hash, read, func() ([]redis.Cmder, error) {
		remove := []any{"hdel", hash}
		for field, value := range read.Val() {
			if until := lastsUntil(value); until > 0 && until < now {
				remove = append(remove, field)
			}
		}
		if len(remove) == 2 {
			return nil, nil
		}
		return []redis.Cmder{redis.NewCmd(ctx, remove...)}, nil
	})
	return err
}

// ifUnchanged has the server run commands in one step, unless the hash has changed since it was read. It reports whether it has.
func (x *index) ifUnchanged(ctx context.Context, hash string, read command, then func() ([]redis.Cmder, error)) (done bool, err error) {
	o := x.begin()
	defer o.end(ctx, telemetry.Index)
	o.starts()
	err = x.tracker.Watch(ctx, hash, func(tx *redis.Tx) error {
		if err := x.open(ctx, tx, hash, read); err != nil {
			return err
		}
		over := false
		defer func() {
			if !over {
				giveUp(ctx, tx)
			}
		}()
		commands, err := then()
		if err != nil {
			return err
		}
		exec := redis.NewCmd(ctx, "exec")
		_ = tracking.Together(ctx, tx.Pipeline(), append(commands, exec)...)
		results, executed, err := replyOrNil[[]any](exec)
		over, done = err == nil, executed
		for n, c := range commands {
			if err = cmp.Or(c.Err(), err); err == nil && n < len(results) {
				err, _ = results[n].(error)
			}
		}
		return err
	})
	o.done(err)
	return done, err
}

// A mark is kept as the moment up to which it lasts, its nonce, the sessions that it keeps between commas, and the reason, between semicolons.
// Of a session it has the tag and the nonce that the session has to hold, if any, after a colon.
func writeMark(m principals.Mark) string {
	kept := make([]string, len(m.Kept))
	for n, k := range m.Kept {
		if kept[n] = k.Tag; k.Own != "" {
			kept[n] += ":" + k.Own
		}
	}
	return m.Nonce + ";" + strings.Join(kept, ",") + ";" + string(m.Reason)
}

func readMark(value string) (m principals.Mark) {
	parts := strings.SplitN(value, ";", 4)
	if len(parts) != 4 {
		return m
	}
	m.Nonce, m.Reason = parts[1], principals.Reason(parts[3])
	for kept := range strings.SplitSeq(parts[2], ",") {
		if tag, own, _ := strings.Cut(kept, ":"); tag != "" {
			m.Kept = append(m.Kept, principals.Kept{Tag: tag, Own: own})
		}
	}
	return m
}

// lastsUntil is the moment up to which a mark lasts, 0 for no mark.
func lastsUntil(value string) int64 {
	until, _, _ := strings.Cut(value, ";")
	last, _ := strconv.ParseInt(until, 10, 64)
	return last
}

// Marks reads the hashes of shards in one pipeline.
func (x *index) Marks(ctx context.Context, shards []int) ([]principals.Marks, error) {
	var (
		hashes   []hash
		commands []command
	)
	for _, shard := range shards {
		h := hgetall(ctx, x.marksKey(shard))
		hashes, commands = append(hashes, h), append(commands, h)
	}
	if err := x.send(ctx, "HGETALL", commands...); err != nil {
		return nil, err
	}
	all := make([]principals.Marks, len(shards))
	for n, h := range hashes {
		m := &all[n]
		for field, value := range h.Val() {
			switch mark := readMark(value); {
			case field == everybody:
				m.All = mark
			case len(field) == len(principals.Key{}):
				if m.Own == nil {
					m.Own = map[principals.Key]principals.Mark{}
				}
				m.Own[principals.Key([]byte(field))] = mark
			case strings.HasPrefix(field, endedMark):
				if m.Ended == nil {
					m.Ended = map[string]principals.Reason{}
				}
				m.Ended[field[len(endedMark):]] = mark.Reason
			}
		}
	}
	return all, nil
}

// hash is a command that reads a hash, as either protocol has it.
type hash struct{ *redis.MapStringStringCmd }

func hgetall(ctx context.Context, key string) hash {
	return hash{redis.NewMapStringStringCmd(ctx, "hgetall", key)}
}

// Result distinguishes a reply from none.
func (h hash) Result() (any, error) {
	if h.Val() == nil {
		return nil, h.Err()
	}
	return h.Val(), h.Err()
}

// Because writes one key a session, all in one pipeline.
func (x *index) Because(ctx context.Context, ids []string, reason principals.Reason, lasts time.Duration) error {
	tenths, _ := life(lasts)
	commands := make([]command, len(ids))
	for n, id := range ids {
		commands[n] = redis.NewCmd(ctx, "set", x.reasonKey(id), string(reason), "px", tenths*100)
	}
	return x.send(ctx, "SET", commands...)
}

// ReasonOf reads one key.
func (x *index) ReasonOf(ctx context.Context, id string) (principals.Reason, error) {
	cmd := redis.NewCmd(ctx, "get", x.reasonKey(id))
	if err := x.send(ctx, "GET", cmd); err != nil {
		return "", err
	}
	reason, _, err := replyOrNil[string](cmd)
	return principals.Reason(reason), fault.New(ctx, "GET", err)
}
