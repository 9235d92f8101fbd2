package tiers

import (
	"errors"
	"maps"
	"slices"

	"github.com/gf-strata/strata/internal/change"
	"github.com/gf-strata/strata/internal/value"
)

// Delta is what one request changed, to be applied to whatever the store holds by
// then (law 5). It is immutable, and shares nothing with the request, not even the bytes
// of a text: a delta, and the state that it leads to, are kept beyond the call.
//
// internal/change has the rule by which it is applied.
type Delta struct {
	change    change.Change
	base      *Snapshot // whose data is change.Base, nil if that is
	inquires  bool      // see Inquiry
	urgent    bool      // see Urgent
	recreates bool      // see Recreates
}

// deltaOf is the delta of a change of base. Texts come back from every store as they are.
func deltaOf(base *Snapshot, c change.Change) *Delta {
	c.Previewed = c.Previewed || value.IsText(c.Set)
	return &Delta{base: base, change: c}
}

// Replace is the delta of a map that no layer handed out: the session becomes data.
func Replace(data map[string]any) (*Delta, error) {
	set, err := value.OwnMap(data)
	if err != nil {
		return nil, unkept(err)
	}
	return deltaOf(nil, change.Change{Kind: change.Replace, Set: set}), nil
}

// Add is the delta of a request that was given no session: its keys create one, or join what
// other requests have created meanwhile.
func Add(data map[string]any) (*Delta, error) {
	set, err := value.OwnMap(data)
	if err != nil {
		return nil, unkept(err)
	}
	return deltaOf(nil, change.Change{Kind: change.Add, Set: set}), nil
}

// Diff is the delta of a request that was given base and closes with data.
func Diff(base *Snapshot, data map[string]any) (*Delta, error) {
	return DeltaOf(base, change.Compare(base.data, data, ""))
}

// DeltaOf is Diff for two states that were compared already; it uses the difference up. The delta is refused
// once one of the removals has happened.
func DeltaOf(base *Snapshot, difference change.Difference, removals ...change.Removal) (*Delta, error) {
	c, err := difference.Change()
	if err != nil {
		return nil, unkept(err)
	}
	c.Removals = removals
	return deltaOf(base, c), nil
}

// Inquiry is a delta that changes nothing, and is committed to learn what the store holds: a
// cache on the way may not know yet that it has changed.
func Inquiry(base *Snapshot) *Delta {
	d := updateOf(base, change.Update)
	d.inquires, d.urgent = true, true // also with what a layer adds, or merged with a change
	return d
}

// End is the delta that empties a session if it is still what base holds: ErrConflict if it has
// changed since, and ErrRevoked if it is gone. An empty session is none for a request that holds
// keys of it, until RemoveAll follows.
func End(base *Snapshot) *Delta {
	d := updateOf(base, change.End)
	d.urgent = true
	return d
}

func updateOf(base *Snapshot, kind change.Kind) *Delta {
	d := deltaOf(base, change.Change{Kind: kind, Had: base.Len() > 0})
	if base != nil {
		d.change.Base = base.data
	}
	return d
}

// Restore is the delta that MarshalJSON has encoded. Time has passed since: it changes
// only keys that the store holds as the request had seen them, and is refused, as ever,
// if the session is gone. sent says that it may have begun its session.
func Restore(content []byte, sent bool) (*Delta, error) {
	c, err := change.Decode(content, sent)
	if err != nil {
		return nil, unkept(err)
	}
	d := deltaOf(nil, c)
	if c.Kind == change.Update {
		d.base = Adopt(c.Base)
	}
	return d, nil
}

// MarshalJSON encodes the delta for [Restore].
func (d *Delta) MarshalJSON() ([]byte, error) {
	content, err := d.change.Encode()
	return content, unkept(err)
}

// AsUrgent returns the same change, to be committed without delay; see [Delta.Urgent].
func (d *Delta) AsUrgent() *Delta {
	c := *d
	c.urgent = true
	return &c
}

// AsRecreating returns the same change of a session that has begun anew; see [Delta.Recreates].
func (d *Delta) AsRecreating() *Delta {
	c := *d
	c.recreates = true
	return &c
}

// Conditional is the same change once an attempt may have reached the store, which held
// current then as far as is known (nil if it isn't, or held no session). It overwrites
// nothing newer, and begins no session a second time:
//
//   - A key is written if the store holds what the request had seen of it, or what
//     the attempt was made on. If it holds what was to be written, that is done.
//     Every other key is left out, and Apply returns ErrConflict. So it does for all keys
//     if the session has no value in common any more with the one it was.
//   - A session that the attempt may have begun is either there with all its keys, or
//     Apply returns ErrConflict: it may have been removed meanwhile, or be another one's.
func (d *Delta) Conditional(current *Snapshot) *Delta {
	c := *d
	if kind := d.change.Kind; !d.change.Conditional && current.Len() > 0 &&
		(kind == change.Add || kind == change.Update) && !d.change.IsRevoked() {
		c.change.Kind, c.change.Had = change.Update, true
		c.base, c.change.Base = current, current.data
	}
	c.change.Conditional, c.change.Sent = true, true
	return &c
}

// IfUnchanged is the same change of a session that is there, if the store holds the given keys, which
// include those that it changes, as Base has them; none of it is done otherwise, and Apply returns
// ErrConflict.
func (d *Delta) IfUnchanged(keys map[string]bool) *Delta {
	c := *d
	c.urgent = true
	c.change.Conditional, c.change.Guards, c.change.Cleared = true, keys, false
	return &c
}

// With is the same change that also sets a key to a text.
func (d *Delta) With(key, text string) *Delta {
	c := *d
	c.change.Set = make(map[string]any, len(d.change.Set)+1)
	maps.Copy(c.change.Set, d.change.Set)
	c.change.Set[key] = text
	c.change.Removed = slices.DeleteFunc(slices.Clone(d.change.Removed), func(removed string) bool { return removed == key })
	return &c
}

// Without is the same change that also removes a key.
func (d *Delta) Without(key string) *Delta {
	c := *d
	c.change.Set = maps.Clone(d.change.Set)
	delete(c.change.Set, key)
	if d.change.Kind != change.Replace && !slices.Contains(d.change.Removed, key) {
		c.change.Removed = append(slices.Clone(d.change.Removed), key)
	}
	return &c
}

// Merge is the delta that does what d and then later do, and whose outcome stands for
// both. Not all pairs have one: of a session that is gone, an update is refused and an
// addition isn't.
func (d *Delta) Merge(later *Delta) (*Delta, bool) {
	merged, ok := d.change.Merge(&later.change)
	if !ok {
		return nil, false
	}
	return &Delta{
		base: d.base, change: merged, inquires: d.inquires || later.inquires,
		urgent: d.urgent || later.urgent, recreates: d.recreates || later.recreates,
	}, true
}

// Rebase is the same change, made by a request that was given another state: the one
// that the store is known to hold by now.
func (d *Delta) Rebase(current *Snapshot) *Delta {
	if !d.change.NeedsSession() || d.change.Conditional || current.Len() == 0 {
		return d
	}
	c := *d
	c.base, c.change.Base = current, current.data
	return &c
}

// Apply returns what the session becomes, given what the store holds (nil: no
// session). The map is new, its values are shared and must not be changed. Without a
// map there is nothing to write. A map beside ErrConflict is written, and the error
// returned then.
//
//   - A replacement is its data.
//   - An addition joins what is there.
//   - An update joins what is there. If nothing is there, or an empty session,
//     although base had keys: ErrRevoked, unless the request removed every key that
//     it was given; then what it set is a new session.
//   - A conditional delta does so key by key; see [Delta.Conditional].
func (d *Delta) Apply(current *Snapshot) (map[string]any, error) {
	p, err := d.plan(current)
	switch {
	case !p.Writes:
		return nil, err
	case p.Whole:
		return maps.Clone(p.Set), err
	}
	next := current.clone()
	maps.Copy(next, p.Set)
	for _, key := range p.Removed {
		delete(next, key)
	}
	return next, err
}

// Changes is Apply for a store of single keys: the keys to write, and to remove. The map
// is the caller's alone, and nil if there is nothing to write.
func (d *Delta) Changes(current *Snapshot) (set map[string]any, removed []string, err error) {
	p, err := d.plan(current)
	if !p.Writes {
		return nil, nil, err
	}
	removed = p.Removed
	if p.Whole && current != nil {
		for key := range current.data {
			if _, kept := p.Set[key]; !kept {
				removed = append(removed, key)
			}
		}
	}
	return Adopt(p.Set).Map(), removed, err
}

func (d *Delta) plan(current *Snapshot) (change.Plan, error) {
	if current == nil {
		return d.change.Plan(nil)
	}
	return d.change.Plan(current.data)
}

// Base is the snapshot that the request was given, nil if it was given none.
func (d *Delta) Base() *Snapshot { return d.base }

// Set returns the keys that the request set, with their values. It must not be changed.
func (d *Delta) Set() map[string]any { return d.change.Set }

// Removed returns the keys that the request removed. It must not be changed.
func (d *Delta) Removed() []string { return d.change.Removed }

// Empty reports whether the request changed nothing.
func (d *Delta) Empty() bool { return d.changesNothing() && !d.inquires }

// IsInquiry reports whether the delta is there to learn what the store holds.
func (d *Delta) IsInquiry() bool { return d.changesNothing() && d.inquires }

func (d *Delta) changesNothing() bool {
	return d.change.Kind == change.Update && len(d.change.Set) == 0 && len(d.change.Removed) == 0
}

// Replaces reports whether the delta replaces the session whatever the store holds, so that
// a store needn't read it first.
func (d *Delta) Replaces() bool { return d.change.Kind == change.Replace && !d.change.Conditional }

// NeedsCurrent reports whether the result of the delta depends on more of the store's state than Base
// has. If so, a store reads the session first.
func (d *Delta) NeedsCurrent() bool {
	return d.change.Conditional && (d.change.Kind != change.Update || !d.change.Had || d.change.Marks != nil)
}

// Creates reports whether the delta may begin a session.
func (d *Delta) Creates() bool {
	switch d.change.Kind {
	case change.Replace, change.Add:
		return true
	case change.Update:
		return !d.change.Had
	default:
		return false
	}
}

// Begins reports whether the delta may begin a session, and hasn't been sent to the store
// yet, as far as it knows.
func (d *Delta) Begins() bool { return (d.Creates() || d.change.Cleared) && !d.change.Sent }

// Recreates reports whether the session has begun anew under its id, so that a store which
// compares what it holds must distinguish the two if they are equal: a commit of the old
// one may still be on its way.
func (d *Delta) Recreates() bool { return d.recreates }

// Urgent reports whether the delta mustn't be delayed, as writing behind would: what its caller does next
// depends on the outcome.
func (d *Delta) Urgent() bool { return d.urgent }

// IsConditional reports whether the delta depends on what the store holds.
func (d *Delta) IsConditional() bool { return d.change.Conditional }

// Previewed is the same delta with its values as the store will give them back, which are
// then also those that are written: a value whose encoding differs each time is encoded
// once. It fails if the store can't keep a value. If preview isn't known, and nil,
// values other than texts stay as they are.
func (d *Delta) Previewed(preview Preview) (*Delta, error) {
	if d.change.Previewed || preview == nil {
		return d, nil
	}
	set, err := preview(d.change.Set)
	if err != nil {
		return nil, err
	}
	c := *d
	c.change.Set, c.change.Previewed = set, true
	return &c, nil
}

// CanPreview reports whether Preview knows the values: whether Previewed knew how the store
// gives them back.
func (d *Delta) CanPreview() bool { return d.change.Previewed }

// Preview is the state that reads will return once the delta is in the store, given what
// it holds now, with the mark of [Snapshot.AsPublished] if it is to be published. A delta that will be
// refused shows no session.
func (d *Delta) Preview(current *Snapshot, publish bool) *Snapshot {
	next, err := d.Apply(current)
	switch {
	case next != nil:
	case errors.Is(err, ErrRevoked):
		return nil
	default:
		return current
	}
	preview := adopt(next)
	if preview.published = publish; current != nil {
		preview.expires, preview.known, preview.read = current.expires, current.known, current.read
	}
	return &preview
}

// MapValues is the same change of a session whose values f maps to others; back is its
// inverse. f gives the same for the same key and value.
func (d *Delta) MapValues(f, back func(key string, value any) (any, error)) (*Delta, error) {
	c := *d
	var err error
	if c.change.Set, err = value.Map(Adopt(d.change.Set).Map(), f); err != nil {
		return nil, err
	}
	if d.base != nil {
		if c.base, err = d.base.MapValues(f); err != nil {
			return nil, err
		}
		c.change.Base = c.base.data
	}
	c.change.Previewed, c.change.Origin = value.IsText(c.change.Set), back
	return &c, nil
}
