package layer

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/tiers"
)

// ErrNoValue is returned by TypedKey.Get if the session has no value under the key.
var ErrNoValue error = tiers.NewError("strata: the session has no value under this key", nil)

// TypedKey reads and writes one value of type T under one key of a session, as JSON. It is
// a small value; make it once, as a package's variable:
//
//	var Cart = layer.Typed[CartData]("cart")
//
//	cart, err := Cart.Get(r.Session) // ErrNoValue if there is none
//	err = Cart.Set(r.Session, cart)
type TypedKey[T any] struct {
	key     string
	version int
	migrate func(version int, raw json.RawMessage) (T, error)
}

// Typed makes the key. Without Migrate the session holds the value's own JSON, which programs
// without Strata read by session.Get(key).Scan.
func Typed[T any](key string) TypedKey[T] {
	if key == "" {
		panic("strata: layer.Typed needs a key; write layer.Typed[Cart](\"cart\")")
	}
	return TypedKey[T]{key: key}
}

// Migrate returns the same key, whose values carry a version, 1 or more. A value of another
// version is given to f as it was written; version 0 is one without a version. Raise the
// version whenever T's JSON changes so that older values would be misread.
func (k TypedKey[T]) Migrate(version int, f func(version int, raw json.RawMessage) (T, error)) TypedKey[T] {
	if version < 1 || f == nil {
		panic(fmt.Sprintf("strata: Migrate(%d, …) of layer.Typed needs a version of 1 or more and a function that reads older values", version))
	}
	k.version, k.migrate = version, f
	return k
}

// versioned is how a value with a version is kept.
type versioned struct {
	Version int             `json:"$version"`
	Value   json.RawMessage `json:"value"`
}

// Get returns the value, ErrNoValue if there is none. A value that memory holds as a T (a text,
// a bool, a json.Number) isn't decoded again.
func (k TypedKey[T]) Get(session *gsession.Session) (value T, err error) {
	found, err := session.Get(k.key)
	if err != nil {
		return value, err
	}
	if found.IsNil() {
		return value, ErrNoValue
	}
	held := found.Val()
	if k.migrate == nil {
		if value, ok := held.(T); ok {
			return value, nil
		}
	}
	raw, err := json.Marshal(held)
	if err != nil {
		return value, errTyped("can't be read as JSON", err)
	}
	if k.migrate != nil {
		var v versioned
		if json.Unmarshal(raw, &v) != nil || v.Version < 1 || v.Value == nil {
			v = versioned{Value: raw}
		}
		if v.Version != k.version {
			return k.migrate(v.Version, v.Value)
		}
		raw = v.Value
	}
	if err := decode(raw, &value); err != nil {
		var none T
		return none, errTyped(fmt.Sprintf("isn't a %T", none), err)
	}
	return value, nil
}

// Set keeps the value's JSON in the session. It fails, and changes nothing, if the value has
// none.
func (k TypedKey[T]) Set(session *gsession.Session, value T) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return errTyped("has no JSON; give its type exported fields or a MarshalJSON", err)
	}
	if k.migrate != nil {
		if raw, err = json.Marshal(versioned{k.version, raw}); err != nil {
			return errTyped("has no JSON", err)
		}
	}
	// As any store gives it back, whichever the chain stands on.
	var held any
	if err := decode(raw, &held); err != nil {
		return errTyped("has JSON that can't be read back", err)
	}
	if held == nil {
		return errTyped("is null in JSON, which is no value; remove the key instead", nil)
	}
	return session.Set(k.key, held)
}

func decode(raw []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	return decoder.Decode(into)
}

// errTyped keeps the value, which the cause may quote, out of the text.
func errTyped(what string, cause error) error {
	return tiers.NewError("strata: the value under a key of layer.Typed "+what, cause)
}
