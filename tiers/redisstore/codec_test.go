package redisstore

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/gogf/gf/v2/container/gmap"
	"github.com/gogf/gf/v2/encoding/gjson"

	"github.com/gf-strata/strata/tiers"
)

// FuzzDecode holds the decoder against StorageRedis' and against its own encoder.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"", "null", " null ", "{}", "[]", "1", `"x"`, "{", "}", "{}}", "{} {}", "{}\x00", `{"a":1}`, `{"a":1,"a":2}`,
		`{"a":{"b":[1,2.50,1e400,-0,null,true,"\ud800","\u003c"]}}`, `{"":""}`, "{\"a\":\"\xff\"}", `{"a":01}`, `{"a":nul}`,
		"\xef\xbb\xbf{}", strings.Repeat("[", 100), `{"a":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		var want map[string]any
		decoder := json.NewDecoder(bytes.NewReader(content))
		decoder.UseNumber()
		theirs := decoder.Decode(&want) // what StorageRedis does

		snapshot, err := decode(content)
		switch {
		case len(content) == 0:
			if snapshot != nil || err != nil {
				t.Fatal("an empty value is a session")
			}
			return
		case theirs != nil && err == nil:
			t.Fatalf("StorageRedis can't read it: %v", theirs)
		case err != nil:
			if text := err.Error(); !strings.HasPrefix(text, decoding) || !strings.HasSuffix(text, foreign) || len(text) > 200 {
				t.Fatalf("the error is %s", text)
			}
			if theirs == nil && json.Valid(content) {
				t.Fatalf("StorageRedis reads it, and it is nothing but JSON: %v", err)
			}
			return
		case (want == nil) != (snapshot == nil):
			t.Fatalf("read %v, StorageRedis reads %v", snapshot, want)
		case want == nil:
			return
		}
		if got := snapshot.Map(); !reflect.DeepEqual(got, want) || snapshot.Len() != len(want) {
			t.Fatalf("read %v, StorageRedis reads %v", got, want)
		}
		if snapshot.Version() != digest(content) {
			t.Fatal("the version isn't the value's digest")
		}

		encoded, err := encode(want)
		if err != nil {
			t.Fatalf("what was read can't be written: %v", err)
		}
		if theirs, err := gjson.Marshal(gmap.NewStrAnyMapFrom(want)); err != nil || !bytes.Equal(encoded, theirs) {
			t.Fatalf("encoded as %q, gmap as %q, %v", encoded, theirs, err)
		}
		again, err := decode(encoded)
		if err != nil {
			t.Fatalf("what was written can't be read: %v", err)
		}
		// Invalid UTF-8 in two keys may make them one.
		if again.Len() != len(want) && !bytes.Contains(encoded, []byte(`\ufffd`)) {
			t.Fatalf("%d keys became %d", len(want), again.Len())
		}
	})
}

// FuzzForm holds the way past JSON against the way through it.
func FuzzForm(f *testing.F) {
	f.Add("k", "v", int64(1), true)
	f.Add("\xff", "<&>\u2028", int64(-1<<63), false)
	f.Add("", "\xc0", int64(0), false)
	for _, c := range "\"\\<>& /'\x00\x1f\x7f\u00ff\u2028" {
		f.Add("key"+string(c), string(c), int64(1), true)
	}
	f.Add("key", "a \"quoted\" \\ text\x7f\n with <html> & \u2028 and 中文", int64(1), true)
	f.Fuzz(func(t *testing.T, key, text string, number int64, yes bool) {
		for _, data := range []map[string]any{
			{key: text}, {key: number, "n": int(number)}, {key: yes, "none": nil, "other": text}, {}, nil,
			{key: text, key + key: text + text, "z": "plain", "a": []any{text, key}},
		} {
			content, err := encode(data)
			if err != nil {
				t.Fatal(err)
			}
			if theirs, err := gjson.Marshal(gmap.NewStrAnyMapFrom(data)); err != nil || len(data) > 0 && !bytes.Equal(content, theirs) {
				t.Fatalf("encoded as %q, gmap as %q, %v", content, theirs, err)
			}
			want, err := unmarshal(content)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := tiers.PreviewJSON(data); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%v, %v, through JSON %v", got, err, want)
			}
		}
	})
}

// TestDeepest is too long for a seed: the fuzzer would spend its time shrinking it.
func TestDeepest(t *testing.T) {
	nested := func(depth int) []byte {
		return []byte(`{"a":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}`)
	}
	snapshot, err := decode(nested(9999))
	if err != nil {
		t.Fatal(err)
	}
	if encoded, err := encode(snapshot.Map()); err != nil || !bytes.Equal(encoded, nested(9999)) {
		t.Fatal(err)
	}
	if _, err = decode(nested(10_000)); err == nil {
		t.Fatal("JSON that encoding/json refuses is read")
	}
}
