package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// step is one operation on the shared key of a session that one node alone uses.
type step struct {
	kind  Kind // Change stands for a log-in too
	value string
}

// register is the session as one node shows it: absent (""), or what the last write left
// in the shared key. It is the model that porcupine checks histories against.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		s := input.(step)
		switch s.kind {
		case Read:
			return state == output, state
		case Logout:
			return true, ""
		default:
			return true, s.value
		}
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprint(input, output) },
}

// searchTimeout bounds the search in one session's history.
const searchTimeout = time.Minute

// Linearizable checks the sessions that one node alone used, all its workers at once:
// there every read sees the last write, whichever of overlapping ones that is. It returns
// how many histories it checked, how many took too long to check, and those that aren't
// linearizable.
//
// A write whose outcome isn't known has no end, so that it may come after all else, as
// if it never did; so has one that was refused, see Revoked, and one that was under way when the servers
// were swept: nothing is checked from then on.
func Linearizable(records []Record) (checked, unknown int, violations []Violation) {
	own := map[string][]porcupine.Operation{}
	swept := int64(never) // the servers end sessions, which isn't their node's doing
	for _, r := range records {
		if r.Node == Outside && isOwn(r.ID) {
			swept = min(swept, r.Start)
		}
	}
	for _, r := range records {
		if !isOwn(r.ID) || r.Start >= swept || r.Kind == Read && r.End >= swept {
			continue
		}
		op := porcupine.Operation{ClientId: r.Writer, Input: step{kind: r.Kind}, Call: r.Start, Return: ended(&r)}
		switch r.Kind {
		case Read:
			op.Output, op.Return = "", r.End
			if !r.Absent {
				op.Output = r.Last.String()
			}
		case Login, Change:
			op.Input = step{kind: Change, value: Token{r.Writer, r.Version}.String()}
		}
		if op.Return >= swept {
			op.Return = never
		}
		if r.Node == Truth {
			op.ClientId = 0
		}
		own[r.ID] = append(own[r.ID], op)
	}
	for id, ops := range own {
		slices.SortFunc(ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
		checked++
		switch porcupine.CheckOperationsTimeout(register, ops, searchTimeout) {
		case porcupine.Unknown:
			unknown++
		case porcupine.Illegal:
			violations = append(violations, Violation{NotLinear, id, "the history of " + id + " at its node has no order"})
		}
	}
	return checked, unknown, violations
}
