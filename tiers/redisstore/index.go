package redisstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/principals"
	"github.com/gf-strata/strata/tiers"
	"github.com/gf-strata/strata/tiers/redisstore/internal/fault"
)

// index keeps whose the sessions are, under names that no session id has:
//
//	strata:{07}:i:<principal's hash>  a sorted set: a principal's sessions by their expiry
//	strata:{07}:p                     a sorted set: the principals of a shard by their expiry
//	strata:{07}:m                     a hash: the marks of a shard
//	strata:{07}:d:<a mark's nonce>    a sorted set: the sessions that it has ended, while they are removed
//	strata:r:<id's hash>              a text: why a session has ended
//
// What one script touches is in one slot of a cluster. All of it expires by itself, and the
// server's clock alone decides when. It has no fields of its own to guard.
type index struct{ *Storage }

var (
	_ principals.Index   = index{}
	_ principals.Remover = index{}
)

const indexShards = 64

var text = base64.RawURLEncoding

func (index) Shards() int                    { return indexShards }
func (index) ShardOf(key principals.Key) int { return int(key[0]) % indexShards }

func (x index) shardKey(shard int, kind string) string {
	return fmt.Sprintf("%s%s{%02x}:%s", x.prefix, tiers.Namespace, shard, kind)
}

func (x index) entriesKey(key principals.Key) string {
	return x.shardKey(x.ShardOf(key), "i:") + text.EncodeToString(key[:])
}

func (x index) principalsKey(key principals.Key) string { return x.shardKey(x.ShardOf(key), "p") }
func (x index) marksKey(shard int) string               { return x.shardKey(shard, "m") }

func (x index) reasonKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return x.prefix + tiers.Namespace + "r:" + text.EncodeToString(sum[:16])
}

// ShardOfInvalidated knows a shard's marks by what follows the prefix.
func (index) ShardOfInvalidated(id string) (shard int, ok bool) {
	rest, ours := strings.CutPrefix(id, tiers.Namespace+"{")
	number, marks := strings.CutSuffix(rest, "}:m")
	if !ours || !marks || len(number) != 2 {
		return 0, false
	}
	n, err := strconv.ParseUint(number, 16, 8)
	return int(n), err == nil && n < indexShards
}

// A member of a principal's sorted set is the moment at which the session began, in milliseconds
// in base 36, its tag, its class, a space and its id. So members are in the order in which
// sessions began, and a script can separate the parts.
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

// life is the ttl in the units of the scripts: milliseconds, and as the code of a score.
func life(ttl time.Duration) (ms, code int64) {
	if ttl <= 0 || ttl > mostLife {
		ttl = mostLife
	}
	if code = up(ttl, time.Second); code >= codeUnit {
		hours := up(ttl, time.Hour)
		return hours * int64(time.Hour/time.Millisecond), codeUnit + hours
	}
	return up(ttl, time.Millisecond), code
}

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

// scriptHead gives scripts the moment in tenths of a second, a way to extend a key's life, and one that has a
// principal end with the last of its entries.
const scriptHead = `
local time = redis.call('TIME')
local now = tonumber(time[1]) * 10 + math.floor(tonumber(time[2]) / 100000)
local function lasts(key, ms)
	if redis.call('PTTL', key) < ms then
		redis.call('PEXPIRE', key, string.format('%.0f', ms))
	end
end
local function ends(entries, principals, principal)
	local last = redis.call('ZRANGE', entries, -1, -1, 'WITHSCORES')[2]
	local expiry = math.floor(tonumber(last or '0') / 262144)
	if expiry < now then
		redis.call('ZREM', principals, principal)
	else
		redis.call('ZADD', principals, expiry, principal)
	end
end
local function put(entries, principals, member, principal, ms, code)
	redis.call('ZADD', entries, string.format('%.0f', (now + math.ceil(ms / 100)) * 262144 + code), member)
	lasts(entries, ms + 1000)
	ends(entries, principals, principal)
	redis.call('ZREMRANGEBYSCORE', principals, '-inf', '(' .. now)
	lasts(principals, ms + 1000)
end
local function expire(entries)
	redis.call('ZREMRANGEBYSCORE', entries, '-inf', string.format('%.0f', now * 262144))
end
`

// enterScript takes the keys of the entries, the principals and the marks, and a member, the
// principal, its hash, milliseconds and code of the time to live, the limit (0 for none), 1 to
// refuse, 1 to count the class alone, and how many members it reads at most: those that end first. It
// returns the two marks, and the moment with the members beyond the limit and their scores, or 0 where it refuses.
const enterScript = scriptHead + `
local member, most = ARGV[1], tonumber(ARGV[6])
local tag, class, id = string.match(string.sub(member, 10), '^(...........)(%S*) (.*)$')
local excess = {}
if most > 0 then
	expire(KEYS[1])
	local all, some, others = redis.call('ZCARD', KEYS[1]), {}, {}
	if all >= most then
		some = redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[9]) - 1)
	end
	for _, other in ipairs(some) do
		local itsTag, itsClass, itsId = string.match(string.sub(other, 10), '^(...........)(%S*) (.*)$')
		if itsTag ~= tag and itsId ~= id and (ARGV[8] ~= '1' or itsClass == class) then
			table.insert(others, other)
		end
	end
	local beyond = #others + 1 - most
	if ARGV[8] ~= '1' then
		beyond = beyond + all - #some
	end
	if beyond > 0 and ARGV[7] == '1' then
		return 0
	end
	table.sort(others)
	for n = 1, math.min(beyond, #others) do
		table.insert(excess, others[n])
		table.insert(excess, redis.call('ZSCORE', KEYS[1], others[n]))
	end
end
put(KEYS[1], KEYS[2], member, ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5]))
local marks = redis.call('HMGET', KEYS[3], ARGV[3], '*')
return {marks[1] or '', marks[2] or '', {now, excess}}
`

// entriesScript takes the key of the entries, and the least score, how many members from there on to leave out, and how
// many to return with their scores, beside the moment.
const entriesScript = scriptHead + `
return {now, redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', ARGV[2], ARGV[3])}
`

// mostCounted bounds for how long a log-in of a principal with very many sessions holds the server up.
const mostCounted = 4096

// touchScript takes the keys of the entries and the principals, and a member, the principal,
// milliseconds and code.
const touchScript = scriptHead + `
put(KEYS[1], KEYS[2], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]))
return 1
`

// leaveScript takes the keys of the entries and the principals, the principal, and members.
const leaveScript = scriptHead + `
for n = 2, #ARGV do
	redis.call('ZREM', KEYS[1], ARGV[n])
end
if ARGV[1] ~= '' then
	ends(KEYS[1], KEYS[2], ARGV[1])
end
return 1
`

// countScript takes the key of principals or entries, what a tenth of a second is in its scores, and a score. It returns
// how many members have that score at least and haven't ended, and the moment.
const countScript = scriptHead + `
local least = math.max(now * tonumber(ARGV[1]), tonumber(ARGV[2]))
return {redis.call('ZCOUNT', KEYS[1], string.format('%.0f', least), '+inf'), now}
`

// markHead takes the keys of the marks and of what has the sessions that the mark may end, and a field, its value
// without the moment up to which it lasts, and how long that is at least in milliseconds. The mark outlives these
// sessions, also if the script is repeated, as its reply was lost. It removes some marks that have lasted.
const markHead = scriptHead + `
local lasted = math.max(tonumber(ARGV[3]), redis.call('PTTL', KEYS[2]))
local before, value = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%d+);(.*)$')
local repeated = value == ARGV[2]
local last = math.max(now + math.ceil(lasted / 100), repeated and tonumber(before) or 0)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', last) .. ';' .. ARGV[2])
lasts(KEYS[1], lasted + 1000)
local page = redis.call('HSCAN', KEYS[1], redis.call('HGET', KEYS[1], 'c') or '0', 'COUNT', 50)
for n = 1, #page[2], 2 do
	local until_ = tonumber(string.match(page[2][n + 1], '^(%d+);') or '')
	if until_ and until_ < now then
		redis.call('HDEL', KEYS[1], page[2][n])
	end
end
if page[1] == '0' then
	redis.call('HDEL', KEYS[1], 'c')
else
	redis.call('HSET', KEYS[1], 'c', page[1])
end
`

const markScript = markHead + `return 1`

// endScript is markHead and then nextScript, with the key of the marks, and the field, value and time before what that
// takes.
const endScript = markHead + `
if not repeated and redis.call('EXISTS', KEYS[2]) == 1 then
	redis.call('RENAME', KEYS[2], KEYS[4])
end
if redis.call('EXISTS', KEYS[4]) == 0 then
	return {now, {}, 0}
end
` + takes + `
return take(KEYS[2], KEYS[3], KEYS[4], 4)
`

// nextScript takes the keys of a principal's entries, the principals and what a mark has ended, and the principal, how many
// members to take from that, the last one that was taken before, and the tags that the mark spares. It returns them with
// their scores, and whether there are more. They stay there until the next ones are taken, or for a minute, so that the
// script returns them again if it is repeated.
const nextScript = scriptHead + takes + `
return take(KEYS[1], KEYS[2], KEYS[3], 1)
`

const takes = `
local function take(entries, principals, ended, at)
	local spared, taken = {}, {}
	for n = at + 3, #ARGV do
		spared[ARGV[n]] = true
	end
	local ms, rank = redis.call('PTTL', ended), redis.call('ZRANK', ended, ARGV[at + 2])
	if rank then
		redis.call('ZREMRANGEBYRANK', ended, 0, rank)
	end
	local page = redis.call('ZRANGE', ended, 0, ARGV[at + 1] - 1, 'WITHSCORES')
	for n = 1, #page, 2 do
		if not spared[string.sub(page[n], 10, 20)] and tonumber(page[n + 1]) >= now * 262144 then
			table.insert(taken, page[n])
			table.insert(taken, page[n + 1])
		else
			redis.call('ZREM', ended, page[n])
			if spared[string.sub(page[n], 10, 20)] then
				redis.call('ZADD', entries, page[n + 1], page[n])
				lasts(entries, ms)
			end
		end
	end
	local more = redis.call('ZCARD', ended) > #taken / 2
	if not more then
		redis.call('PEXPIRE', ended, 60000)
	end
	ends(entries, principals, ARGV[at])
	return {now, taken, more and 1 or 0}
end
`

// The fields of a shard's marks: a principal's hash as it is, everybody's, a tag after a letter,
// and where the search for what has lasted goes on.
const (
	everybody = "*"
	endedMark = "x"
)

// call is one run of a script.
type call struct {
	source string
	keys   []string
	args   []any
	*redis.Cmd
}

func newCall(ctx context.Context, source string, keys []string, args ...any) *call {
	c := &call{source: source, keys: keys, args: args}
	c.set(ctx, "eval", source)
	return c
}

func (c *call) set(ctx context.Context, command, script string) {
	all := make([]any, 0, 3+len(c.keys)+len(c.args))
	all = append(all, command, script, len(c.keys))
	for _, key := range c.keys {
		all = append(all, key)
	}
	c.Cmd = redis.NewCmd(ctx, append(all, c.args...)...)
}

// byHash has the server run a script that it knows most likely.
func (c *call) byHash(ctx context.Context) *call {
	c.set(ctx, "evalsha", hashOf(c.source))
	return c
}

func hashOf(source string) string { return hexOf(digest([]byte(source))) }

// run sends scripts together, and with their texts those that the server doesn't know.
func (x index) run(ctx context.Context, calls []*call) error {
	if err := ctx.Err(); err != nil {
		return fault.New(ctx, "EVAL", err)
	}
	commands := make([]command, len(calls))
	for n, c := range calls {
		commands[n] = c.Cmd
	}
	x.roundTrip(ctx, commands...)
	var again []command
	for _, c := range calls {
		if redis.HasErrorPrefix(c.Err(), "NOSCRIPT") {
			c.set(ctx, "eval", c.source)
			again = append(again, c.Cmd)
		}
	}
	if len(again) > 0 {
		x.roundTrip(ctx, again...)
	}
	for _, c := range calls {
		switch err := c.Err(); {
		case err == nil, err == redis.Nil:
		case fault.IsRefusal(err):
			return tiers.NewError(forbidden, err)
		default:
			return fault.New(ctx, "EVAL", err)
		}
	}
	return nil
}

const forbidden = "strata: redis: EVAL: layer.Indexed needs scripts, and the server or the user's rights forbid them; give the user the rights of docs/production.md, or leave layer.Indexed out"

// send sends commands together, and returns the first error.
func (x index) send(ctx context.Context, name string, commands []command) error {
	if err := ctx.Err(); err != nil {
		return fault.New(ctx, name, err)
	}
	if len(commands) == 0 {
		return nil
	}
	x.roundTrip(ctx, commands...)
	for _, c := range commands {
		if err := c.Err(); err != nil && err != redis.Nil {
			return fault.New(ctx, name, err)
		}
	}
	return nil
}

func flag(set bool) int {
	if set {
		return 1
	}
	return 0
}

// Enter is one script in one slot.
func (x index) Enter(ctx context.Context, e principals.Entry, limit principals.Limit) (principals.Entered, error) {
	ms, code := life(e.TTL)
	c := newCall(ctx, enterScript,
		[]string{x.entriesKey(e.Key), x.principalsKey(e.Key), x.marksKey(x.ShardOf(e.Key))},
		memberOf(e), e.Principal, string(e.Key[:]), ms, code, limit.Most, flag(limit.Refuse), flag(limit.PerClass), mostCounted).byHash(ctx)
	if err := x.run(ctx, []*call{c}); err != nil {
		return principals.Entered{}, err
	}
	got, _ := c.Result()
	if got == int64(0) {
		return principals.Entered{Refused: true}, nil
	}
	parts, _ := got.([]any)
	if len(parts) != 3 {
		return principals.Entered{}, fault.New(ctx, "EVAL", fault.ErrReply)
	}
	var entered principals.Entered
	for n, nonce := range []*string{&entered.Own, &entered.All} {
		value, ok := parts[n].(string)
		if !ok {
			return principals.Entered{}, fault.New(ctx, "EVAL", fault.ErrReply)
		}
		*nonce = readMark(value).Nonce
	}
	timed, _ := parts[2].([]any)
	excess, err := readEntries(ctx, e.Key, timed)
	for _, other := range excess {
		other.Principal = e.Principal
		entered.Excess = append(entered.Excess, other)
	}
	return entered, err
}

// Touch is one script an entry, all in one pipeline.
func (x index) Touch(ctx context.Context, entries []principals.Entry) error {
	calls := make([]*call, len(entries))
	for n, e := range entries {
		ms, code := life(e.TTL)
		calls[n] = newCall(ctx, touchScript, []string{x.entriesKey(e.Key), x.principalsKey(e.Key)},
			memberOf(e), e.Principal, ms, code).byHash(ctx)
	}
	return x.run(ctx, calls)
}

// Leave is one script a principal, all in one pipeline.
func (x index) Leave(ctx context.Context, entries []principals.Entry) error {
	members := map[principals.Key][]any{}
	for _, e := range entries {
		if members[e.Key] == nil {
			members[e.Key] = []any{e.Principal}
		}
		if e.Principal != "" {
			members[e.Key][0] = e.Principal
		}
		members[e.Key] = append(members[e.Key], memberOf(e))
	}
	var calls []*call
	for key, args := range members {
		calls = append(calls, newCall(ctx, leaveScript, []string{x.entriesKey(key), x.principalsKey(key)}, args...).byHash(ctx))
	}
	return x.run(ctx, calls)
}

// RemoveSessions removes sessions in one pipeline: the caller has marked them, so that one whose removal fails is over
// all the same.
func (x index) RemoveSessions(ctx context.Context, sessions []principals.Entry) error {
	var commands []command
	for _, e := range sessions {
		key, err := x.key(e.ID)
		if err != nil {
			continue // no session has it
		}
		commands = append(commands, redis.NewCmd(ctx, "del", key))
	}
	if err := x.send(ctx, "DEL", commands); err != nil {
		return err
	}
	for _, e := range sessions {
		x.face.Removed(e.ID)
	}
	return nil
}

// Entries reads a part of a principal's sorted set. An entry that has expired is in it until the next Enter
// with a limit, or a mark.
func (x index) Entries(ctx context.Context, key principals.Key, after principals.Entry, most int) (entries []principals.Entry, err error) {
	least := int64(0)
	if !after.Expires.IsZero() {
		_, code := life(after.TTL)
		least = after.Expires.UnixMilli()/100<<codeBits | code
	}
	for offset := 0; ; offset += most + 1 { // beyond those that have the score of after, and come before it
		c := newCall(ctx, entriesScript, []string{x.entriesKey(key)}, least, offset, most+1).byHash(ctx)
		if err := x.run(ctx, []*call{c}); err != nil {
			return nil, err
		}
		timed, err := reply[[]any](c.Cmd)
		if err != nil {
			return nil, fault.New(ctx, "EVAL", err)
		}
		some, err := readEntries(ctx, key, timed)
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

// readEntries reads a moment and the members with their scores at it. It leaves out what is no member.
func readEntries(ctx context.Context, key principals.Key, timed []any) (entries []principals.Entry, err error) {
	if len(timed) < 2 {
		return nil, fault.New(ctx, "EVAL", fault.ErrReply)
	}
	now, isMoment := timed[0].(int64)
	all, isList := timed[1].([]any)
	if !isMoment || !isList {
		return nil, fault.New(ctx, "EVAL", fault.ErrReply)
	}
	pairs, err := readPairs(ctx, all)
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

// readPairs reads [m, s, m, s], as RESP2 and scripts have it, or [[m, s], [m, s]].
func readPairs(ctx context.Context, all []any) (pairs []pair, err error) {
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
func (x index) Page(ctx context.Context, cursor string, size int) (page []principals.Indexed, next string, err error) {
	at, ok := readCursor(cursor)
	if !ok {
		return nil, "", principals.ErrCursor
	}
	listed, err := x.principalsFrom(ctx, at, size+1)
	if err != nil {
		return nil, "", err
	}
	more := len(listed) > size
	listed = listed[:min(len(listed), size)]
	keys := make([]string, len(listed))
	for n, l := range listed {
		keys[n] = x.entriesKey(principals.KeyOf(l.member))
	}
	sessions, err := x.counts(ctx, 1<<codeBits, 0, keys)
	if err != nil {
		return nil, "", err
	}
	var none []principals.Entry
	for n, l := range listed {
		if at.shard != l.shard || at.expiry != int64(l.score) {
			at = place{shard: l.shard, expiry: int64(l.score)}
		}
		if count := sessions[n].count; count > 0 {
			page = append(page, principals.Indexed{Principal: l.member, Sessions: int(count)})
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
func (x index) principalsFrom(ctx context.Context, at place, most int) (all []found, err error) {
	keys := make([]string, indexShards-at.shard)
	for n := range keys {
		keys[n] = x.shardKey(at.shard+n, "p")
	}
	cards, err := x.counts(ctx, 1, at.expiry, keys)
	if err != nil {
		return nil, err
	}
	var (
		ranges []command
		shards []int
		expect int64
	)
	for n, c := range cards {
		if expect >= int64(most) {
			break
		}
		least, offset := c.now, 0
		if n == 0 && at.expiry >= least {
			least, offset = at.expiry, at.same
		}
		if c.count -= int64(offset); c.count <= 0 {
			continue
		}
		expect += c.count
		shards = append(shards, at.shard+n)
		ranges = append(ranges, redis.NewCmd(ctx, "zrangebyscore", keys[n], least, "+inf", "withscores", "limit", offset, most))
	}
	if err := x.send(ctx, "ZRANGEBYSCORE", ranges); err != nil {
		return nil, err
	}
	for n, c := range ranges {
		got, err := reply[[]any](c)
		if err != nil {
			return nil, fault.New(ctx, "ZRANGEBYSCORE", err)
		}
		pairs, err := readPairs(ctx, got)
		if err != nil {
			return nil, err
		}
		for _, p := range pairs {
			all = append(all, found{p, shards[n]})
		}
	}
	return all, nil
}

// card is how many members of a sorted set haven't ended, and the moment by its server's clock.
type card struct{ count, now int64 }

// counts counts in sorted sets what hasn't ended, in the first one from a score on. A tenth of a second is unit in scores.
func (x index) counts(ctx context.Context, unit, from int64, keys []string) ([]card, error) {
	calls := make([]*call, len(keys))
	for n, key := range keys {
		calls[n] = newCall(ctx, countScript, []string{key}, unit, from).byHash(ctx)
		from = 0
	}
	if err := x.run(ctx, calls); err != nil {
		return nil, err
	}
	cards := make([]card, len(calls))
	for n, c := range calls {
		got, err := reply[[]any](c.Cmd)
		if err != nil || len(got) != 2 {
			return nil, fault.New(ctx, "EVAL", cmp.Or(err, fault.ErrReply))
		}
		cards[n].count, _ = got[0].(int64)
		cards[n].now, _ = got[1].(int64)
	}
	return cards, nil
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
func (x index) Count(ctx context.Context) (n int, err error) {
	keys := make([]string, indexShards)
	for shard := range keys {
		keys[shard] = x.shardKey(shard, "p")
	}
	cards, err := x.counts(ctx, 1, 0, keys)
	for _, c := range cards {
		n += int(c.count)
	}
	return n, err
}

// Mark is one script in one slot, and one more for each mostTaken sessions after the first.
func (x index) Mark(ctx context.Context, principal string, mark principals.Mark, lasts time.Duration) (principals.Next, error) {
	var (
		key    = principals.KeyOf(principal)
		shard  = x.ShardOf(key)
		keys   = []string{x.entriesKey(key), x.principalsKey(key), x.shardKey(shard, "d:") + mark.Nonce}
		args   = []any{principal, mostTaken, ""}
		ms, _  = life(lasts)
		marked = []any{string(key[:]), writeMark(mark), ms}
	)
	for _, tag := range mark.Kept {
		args = append(args, tag)
	}
	taken, last, more, err := x.take(ctx, key, newCall(ctx, endScript, append([]string{x.marksKey(shard)}, keys...), append(marked, args...)...))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (entries []principals.Entry, err error) {
		for entries, taken = taken, nil; len(entries) == 0 && more; {
			args[2] = last
			part, until, left, err := x.take(ctx, key, newCall(ctx, nextScript, keys, args...))
			if err != nil {
				return nil, err
			}
			entries, last, more = part, until, left
		}
		return entries, nil
	}, nil
}

// mostTaken is how many sessions one script takes at most that a mark has ended.
const mostTaken = 512

// take runs one of the scripts that take what a mark has ended, up to the last member.
func (x index) take(ctx context.Context, key principals.Key, c *call) (entries []principals.Entry, last string, more bool, err error) {
	if err := x.run(ctx, []*call{c.byHash(ctx)}); err != nil {
		return nil, "", false, err
	}
	got, err := reply[[]any](c.Cmd)
	if err == nil && len(got) == 3 {
		if left, isNumber := got[2].(int64); isNumber {
			if all, _ := got[1].([]any); len(all) > 1 {
				last, _ = all[len(all)-2].(string)
			}
			entries, err = readEntries(ctx, key, got)
			return entries, last, left > 0, err
		}
	}
	return nil, "", false, fault.New(ctx, "EVAL", cmp.Or(err, fault.ErrReply))
}

// MarkAll is one script a shard, all in one pipeline.
func (x index) MarkAll(ctx context.Context, mark principals.Mark, lasts time.Duration) error {
	ms, _ := life(lasts)
	calls := make([]*call, indexShards)
	for shard := range calls {
		calls[shard] = newCall(ctx, markScript, []string{x.marksKey(shard), x.shardKey(shard, "p")}, everybody, writeMark(mark), ms)
	}
	return x.run(ctx, calls)
}

// MarkEnded is one script in one slot.
func (x index) MarkEnded(ctx context.Context, e principals.Entry, reason principals.Reason, lasts time.Duration) error {
	ms, _ := life(lasts)
	c := newCall(ctx, markScript, []string{x.marksKey(x.ShardOf(e.Key)), x.entriesKey(e.Key)}, endedMark+e.Tag, writeMark(principals.Mark{Reason: reason}), ms)
	return x.run(ctx, []*call{c})
}

// A mark is kept as the moment up to which it lasts, its nonce, the tags that it spares between
// commas, and the reason, between semicolons.
func writeMark(m principals.Mark) string {
	return m.Nonce + ";" + strings.Join(m.Kept, ",") + ";" + string(m.Reason)
}

func readMark(value string) (m principals.Mark) {
	parts := strings.SplitN(value, ";", 4)
	if len(parts) != 4 {
		return m
	}
	m.Nonce, m.Reason = parts[1], principals.Reason(parts[3])
	if parts[2] != "" {
		m.Kept = strings.Split(parts[2], ",")
	}
	return m
}

// Marks reads the hashes of shards in one pipeline.
func (x index) Marks(ctx context.Context, shards []int) ([]principals.Marks, error) {
	commands := make([]command, len(shards))
	for n, shard := range shards {
		commands[n] = redis.NewCmd(ctx, "hgetall", x.marksKey(shard))
	}
	if err := x.send(ctx, "HGETALL", commands); err != nil {
		return nil, err
	}
	all := make([]principals.Marks, len(shards))
	for n, c := range commands {
		fields, err := readFields(c)
		if err != nil {
			return nil, fault.New(ctx, "HGETALL", err)
		}
		m := &all[n]
		for field, value := range fields {
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

// readFields reads a hash, as either protocol has it.
func readFields(c command) (map[string]string, error) {
	got, err := c.Result()
	if err != nil {
		return nil, err
	}
	fields := map[string]string{}
	switch all := got.(type) {
	case map[any]any:
		for field, value := range all {
			f, isField := field.(string)
			v, isValue := value.(string)
			if !isField || !isValue {
				return nil, fault.ErrReply
			}
			fields[f] = v
		}
	case []any:
		if len(all)%2 != 0 {
			return nil, fault.ErrReply
		}
		for n := 0; n < len(all); n += 2 {
			f, isField := all[n].(string)
			v, isValue := all[n+1].(string)
			if !isField || !isValue {
				return nil, fault.ErrReply
			}
			fields[f] = v
		}
	default:
		return nil, fault.ErrReply
	}
	return fields, nil
}

// Because writes one key a session, all in one pipeline.
func (x index) Because(ctx context.Context, ids []string, reason principals.Reason, lasts time.Duration) error {
	ms, _ := life(lasts)
	commands := make([]command, len(ids))
	for n, id := range ids {
		commands[n] = redis.NewCmd(ctx, "set", x.reasonKey(id), string(reason), "px", ms)
	}
	return x.send(ctx, "SET", commands)
}

// ReasonOf reads one key.
func (x index) ReasonOf(ctx context.Context, id string) (principals.Reason, error) {
	cmd := redis.NewCmd(ctx, "get", x.reasonKey(id))
	if err := x.send(ctx, "GET", []command{cmd}); err != nil {
		return "", err
	}
	reason, _, err := replyOrNil[string](cmd)
	return principals.Reason(reason), fault.New(ctx, "GET", err)
}
