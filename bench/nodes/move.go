package main

import (
	"math/rand/v2"

	"github.com/gf-strata/strata/internal/redistest"
)

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
