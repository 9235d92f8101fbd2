package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gf-strata/strata/internal/redistest"
)

// ranges are the slots that a master has, as it says itself.
func (w *world) ranges(master *redistest.Server) (ranges [][2]int) {
	w.tb.Helper()
	text, err := w.at(master).ClusterNodes(context.Background()).Result()
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
	for n := 0; ; n++ {
		if key := fmt.Sprintf("marker%d", n); w.has(master, w.slotOf(key)) {
			return key
		}
	}
}

// slotOf is the slot of a key.
func (w *world) slotOf(key string) int {
	w.tb.Helper()
	slot, err := w.at(w.masters[0]).ClusterKeySlot(context.Background(), key).Result()
	if err != nil {
		w.tb.Fatal(err)
	}
	return int(slot)
}

// move moves the slot of a busy user to another master.
func move(w *world, random *rand.Rand, round int) *Loss {
	user := random.IntN(3)
	slot := w.slotOf(prefix + sessionID(round, user, w.slots.Generation(user)))
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
		slot := w.slotOf(prefix + id)
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
	wait(some(random, lease, 4*lease))
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
	views := make([]string, len(w.servers))
	if !polled(90*time.Second, func() bool {
		agreed := true
		for n, server := range w.servers {
			text, err := w.at(server).ClusterNodes(context.Background()).Result()
			views[n] = fmt.Sprintf("%v %s", err, owners(text))
			agreed = agreed && err == nil && views[n] == views[0]
		}
		return agreed
	}) {
		w.tb.Fatalf("the servers don't agree who has which slot:\n%s", strings.Join(views, "\n\n"))
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
