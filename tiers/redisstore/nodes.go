package redisstore

import (
	"slices"
	"strings"
)

// nodes is what one of a cluster's nodes says of all of them.
type nodes struct {
	self    string   // who says it
	master  bool     // it takes itself for one
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

// readNodes reads the answer of CLUSTER NODES (its fields are explained at
// https://redis.io/docs/latest/commands/cluster-nodes/).
func readNodes(text string) (n nodes) {
	var lines []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 8 {
			continue
		}
		id, flags, epoch := fields[0], strings.Split(fields[2], ","), fields[6]
		if slices.Contains(flags, "myself") {
			n.self, n.master = id, slices.Contains(flags, "master")
		}
		if !slices.Contains(flags, "master") {
			continue
		}
		// A slot that is about to be moved, in brackets, is still where it was as well.
		var owned []string
		for _, slot := range fields[8:] {
			if _, target, moving := strings.Cut(slot, "->-"); moving {
				n.targets = append(n.targets, strings.TrimSuffix(target, "]"))
			} else if !strings.HasPrefix(slot, "[") {
				owned = append(owned, slot)
			}
		}
		switch {
		case len(owned) > 0:
			n.owners = append(n.owners, id)
			lines = append(lines, id+" "+epoch+" "+strings.Join(owned, " "))
		case !slices.ContainsFunc(flags, away):
			n.empty = append(n.empty, newNode(id, fields[1]))
		}
	}
	slices.Sort(lines)
	n.slots = strings.Join(lines, "\n")
	return n
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
