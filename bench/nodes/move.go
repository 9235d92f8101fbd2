package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gf-strata/strata/internal/redistest"
)

// ranges are the slots that a master has, as it says itself.
func (w *world) ranges(master *redistest.Server) (ranges [][2]int) {
	w.tb.Helper()
	client := redis.NewClient(&redis.Options{Addr: master.Addr()})
	defer func() { _ = client.Close() }()
	text, err := client.ClusterNodes(context.Background()).Result()
	if err != nil {
		w.tb.Fatal(err)
	}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 8 || !strings.Contains(fields[2], "myself") {
			continue
		}
		for _, field := range fields[8:] {
			low, high, two := strings.Cut(field, "-")
			if !two {
				high = low
			}
			a, errA := strconv.Atoi(low)
			b, errB := strconv.Atoi(high)
			if errA == nil && errB == nil {
				ranges = append(ranges, [2]int{a, b})
			}
		}
	}
	return ranges
}

func (w *world) has(master *redistest.Server, slot int) bool {
	for _, r := range w.ranges(master) {
		if r[0] <= slot && slot <= r[1] {
			return true
		}
	}
	return false
}

// keyOf is a key that a master has.
func (w *world) keyOf(master *redistest.Server) string {
	w.tb.Helper()
	ranges := w.ranges(master)
	for n := range 1 << 20 {
		key := fmt.Sprintf("marker%d", n)
		slot := keySlot(key)
		for _, r := range ranges {
			if r[0] <= slot && slot <= r[1] {
				return key
			}
		}
	}
	w.tb.Fatal("a master has no slot")
	return ""
}

// keySlot is the slot of a key without a {tag}: CRC16, as Redis Cluster's specification
// has it.
func keySlot(key string) int {
	var crc uint16
	for n := range len(key) {
		crc ^= uint16(key[n]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % 16384)
}

// move moves the slot of a busy user to another master.
func move(w *world, random *rand.Rand, round int) *Loss {
	user := random.IntN(3)
	slot := keySlot(prefix + sessionID(round, user, w.slots.Generation(user)))
	for n, from := range w.masters {
		if w.has(from, slot) {
			w.cluster.Move(slot, from, w.masters[(n+1+random.IntN(len(w.masters)-1))%len(w.masters)])
			break
		}
	}
	w.agreed()
	return nil
}

// lingering is how many users' slots are on their way at once.
const lingering = 5

// linger has slots of busy users, and of those whom programs without Strata change, on
// their way to a master that has none, for a time in which they are written through ASK.
// Then they get there, and are moved back.
func linger(w *world, random *rand.Rand, round int) *Loss {
	slots := map[int]*redistest.Server{}
	add := func(id string) {
		slot := keySlot(prefix + id)
		for _, master := range w.masters {
			if w.has(master, slot) {
				slots[slot] = master
			}
		}
	}
	for user := range lingering {
		add(sessionID(round, user, w.slots.Generation(user)))
	}
	for n := range foreigners {
		add(foreignID(round, n, w.slots.Generation(w.options.Users+foreigners-1-n)))
	}
	var finish []func()
	for slot, master := range slots {
		finish = append(finish, w.cluster.Linger(slot, master, w.spare))
	}
	wait(some(random, w.options.Lease, 4*w.options.Lease))
	for _, finish := range finish {
		finish()
	}
	w.agreed()
	for slot, master := range slots {
		w.cluster.Move(slot, w.spare, master)
	}
	w.agreed()
	return nil
}

// agreed waits until all servers say the same of the slots. A replica that takes over
// takes those that it knows to be its master's.
func (w *world) agreed() {
	w.tb.Helper()
	clients := make([]*redis.Client, len(w.servers))
	for n, server := range w.servers {
		clients[n] = redis.NewClient(&redis.Options{Addr: server.Addr()})
		defer func() { _ = clients[n].Close() }()
	}
	if !polled(20*time.Second, func() bool {
		var first string
		for n, client := range clients {
			text, err := client.ClusterNodes(context.Background()).Result()
			view := owners(text)
			if n == 0 {
				first = view
			}
			if err != nil || view != first {
				return false
			}
		}
		return true
	}) {
		w.tb.Fatal("the servers don't agree who has which slot")
	}
}

// owners is who has which slots, and since which epoch, in the answer of CLUSTER NODES. A
// replica that takes over without knowing its master's newest epoch is put back.
func owners(text string) string {
	var all []string
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 8 {
			all = append(all, fields[0]+" "+fields[6]+" "+strings.Join(fields[8:], " "))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}
