package layer_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/tiers"
)

// counter counts what reaches the layers below it.
type counter struct {
	tiers.Base
	loads atomic.Int64
}

func (c *counter) Load(ctx context.Context, id string, ttl time.Duration) (tiers.Read, error) {
	c.loads.Add(1)
	return c.Base.Load(ctx, id, ttl)
}

// A decorator of one's own has methods for what it looks at; Base passes on all the rest.
func ExampleAround() {
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Around(func(below tiers.Storage) tiers.Storage {
		return &counter{Base: tiers.Base{Storage: below}}
	}))
	_, _ = chain.GetSession(context.Background(), "an-id", time.Hour)
	own, _ := layer.As[*counter](chain)
	fmt.Println(own.loads.Load())
	// Output: 1
}

// sealed encrypts the values of sessions with two keys of 32 bytes. The nonce comes from the key's
// name and the value, so that equal values give equal texts, which a repeated commit compares.
func sealed(encryption, nonces []byte) layer.Decorator {
	block, err := aes.NewCipher(encryption)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	write := func(key string, value any) (string, error) {
		content, err := json.Marshal(value)
		if err != nil {
			return "", err
		}
		mac := hmac.New(sha256.New, nonces)
		fmt.Fprintf(mac, "%d:%s%s", len(key), key, content)
		nonce := mac.Sum(nil)[:aead.NonceSize()]
		return base64.RawStdEncoding.EncodeToString(aead.Seal(nonce, nonce, content, []byte(key))), nil
	}
	read := func(key string, stored any) (value any, err error) {
		text, _ := stored.(string)
		box, err := base64.RawStdEncoding.DecodeString(text)
		if err != nil || len(box) < aead.NonceSize() {
			return nil, errors.New("no sealed value")
		}
		content, err := aead.Open(nil, box[:aead.NonceSize()], box[aead.NonceSize():], []byte(key))
		if err != nil {
			return nil, err
		}
		decoder := json.NewDecoder(strings.NewReader(string(content)))
		decoder.UseNumber() // as a store of JSON reads them
		return value, errors.Join(err, decoder.Decode(&value))
	}
	return layer.Mapped(write, read)
}

// A decorator that encrypts: what reaches the store can't be read there, and two requests that
// overlap are merged all the same.
func ExampleMapped() {
	ctx, store := context.Background(), gsession.NewStorageMemory()
	chain := layer.Chain(store, sealed([]byte("01234567890123456789012345678901"), []byte("another key of thirty-two bytes.")), layer.Local())
	defer chain.Close(ctx)

	_ = chain.SetSession(ctx, "an-id", gmap.NewStrAnyMapFrom(map[string]any{"user": "ann"}, true), time.Hour)
	one, _ := chain.GetSession(ctx, "an-id", time.Hour)
	two, _ := chain.GetSession(ctx, "an-id", time.Hour)
	one.Set("cart", 1)
	two.Set("theme", "dark")
	fmt.Println(chain.SetSession(ctx, "an-id", one, time.Hour), chain.SetSession(ctx, "an-id", two, time.Hour))

	both, _ := chain.GetSession(ctx, "an-id", time.Hour)
	kept, _ := store.GetSession(ctx, "an-id", time.Hour)
	fmt.Println(both.Map(), strings.Contains(fmt.Sprint(kept.Map()), "ann"))
	// Output:
	// <nil> <nil>
	// map[cart:1 theme:dark user:ann] false
}
