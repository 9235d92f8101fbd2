package tracking

import (
	"slices"
	"strconv"
	"strings"
)

// nodes is one node's view of a cluster.
type nodes struct {
	self    string   // who says it
	master  bool     // it takes itself for one
	ranges  [][2]int // its slots
	leaving []int    // those of them that are on their way to another
	slots   string   // which master has which slots: all that matters, as a text
	owners  []string // the ids of the masters that have slots
	targets []string // and of those that a slot of self's is on its way to
	empty   []node   // the masters without slots, but those that are known to be away
}

// node is a master, and where it says it can be reached: its address, and its name if
// it has one.
type node struct {
	id    string
	hosts []string
	port  string
}

// readNodes reads the reply to CLUSTER NODES (its fields are explained at
// https://redis.io/docs/latest/commands/cluster-nodes/).
func readNodes(text string) (n nodes) {
	var lines []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 8 {
			continue
		}
		id, flags, epoch := fields[0], strings.Split(fields[2], ","), fields[6]
		myself := slices.Contains(flags, "myself")
		if myself {
			n.self, n.master = id, slices.Contains(flags, "master")
		}
		if !slices.Contains(flags, "master") {
			continue
		}
		owned := slices.DeleteFunc(slices.Clone(fields[8:]), func(slot string) bool { return strings.HasPrefix(slot, "[") })
		switch {
		case len(owned) > 0:
			n.owners = append(n.owners, id)
			lines = append(lines, id+" "+epoch+" "+strings.Join(owned, " "))
		case !slices.ContainsFunc(flags, away):
			n.empty = append(n.empty, newNode(id, fields[1]))
		}
		if myself {
			n.own(fields[8:])
		}
	}
	slices.Sort(lines)
	n.slots = strings.Join(lines, "\n")
	return n
}

// own reads the slots of the node that replied, such as 7, 0-5 and [5->-id]: one on its
// way to another is still its own as well.
func (n *nodes) own(slots []string) {
	for _, slot := range slots {
		if slot, target, moving := strings.Cut(slot, "->-"); moving {
			n.targets = append(n.targets, strings.TrimSuffix(target, "]"))
			if number, err := strconv.Atoi(strings.TrimPrefix(slot, "[")); err == nil {
				n.leaving = append(n.leaving, number)
			}
			continue
		}
		first, last, several := strings.Cut(slot, "-")
		if !several {
			last = first
		}
		low, errLow := strconv.Atoi(first)
		high, errHigh := strconv.Atoi(last)
		if errLow == nil && errHigh == nil {
			n.ranges = append(n.ranges, [2]int{low, high})
		}
	}
}

// takes reports whether the node that replied takes any key of a slot.
func (n *nodes) takes(slot int) bool {
	return !slices.Contains(n.leaving, slot) &&
		slices.ContainsFunc(n.ranges, func(r [2]int) bool { return r[0] <= slot && slot <= r[1] })
}

func away(flag string) bool {
	return flag == "fail" || flag == "fail?" || flag == "noaddr" || flag == "handshake"
}

// newNode reads ip:port@busport[,name[,more]].
func newNode(id, address string) node {
	address, names, _ := strings.Cut(address, ",")
	address, _, _ = strings.Cut(address, "@")
	colon := max(0, strings.LastIndex(address, ":")) // an IPv6 address has no brackets
	n := node{id: id, hosts: []string{address[:colon]}, port: strings.TrimPrefix(address[colon:], ":")}
	if name, _, _ := strings.Cut(names, ","); name != "" {
		n.hosts = append(n.hosts, name)
	}
	return n
}
