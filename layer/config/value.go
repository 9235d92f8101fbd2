package config

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/gogf/gf/v2/os/gfile"
	"github.com/gogf/gf/v2/util/gconv"
)

// keys are the keys that a section of the configuration may have, each with the function that takes its value.
type keys map[string]take

// take returns an error that says what to write instead, if it can't take the value.
type take func(place string, value any) error

// read gives each value of a section to its key.
func read(place string, value any, known keys) error {
	names := slices.Sorted(maps.Keys(known))
	section, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("strata: %s is %v; write a section, such as {%s: …}", place, shown(value), names[0])
	}
	// In order, so that of several mistakes the same one is returned each time.
	for _, name := range slices.Sorted(maps.Keys(section)) {
		take, ok := known[name]
		if !ok {
			return fmt.Errorf("strata: %s.%s is no option; write one of %s", place, name, strings.Join(names, ", "))
		}
		if err := take(place+"."+name, section[name]); err != nil {
			return err
		}
	}
	return nil
}

// section is a layer: false leaves it out, true and nothing at all take its defaults.
func section(out *bool, known keys) take {
	return func(place string, value any) error {
		switch v := value.(type) {
		case nil:
			return nil
		case bool:
			*out = !v
			return nil
		}
		return read(place, value, known)
	}
}

func text(into *string) take { return word(func(s string) { *into = s }) }

func word(set func(string)) take {
	return func(place string, value any) error {
		s, ok := value.(string)
		if !ok {
			return wrong(place, value, "a text")
		}
		return apply(place, func() { set(s) })
	}
}

func flag(set func(bool)) take {
	return func(place string, value any) error {
		on, ok := value.(bool)
		if !ok {
			return wrong(place, value, "true or false")
		}
		return apply(place, func() { set(on) })
	}
}

// yes takes an option that is on or off.
func yes(set func()) take {
	return flag(func(on bool) {
		if on {
			set()
		}
	})
}

// words takes a list of texts, or one.
func words(set func([]string)) take {
	return func(place string, value any) error {
		list, ok := value.([]any)
		if !ok {
			list = []any{value}
		}
		var all []string
		for _, element := range list {
			s, ok := element.(string)
			if !ok || s == "" {
				return fmt.Errorf("strata: %s needs a list of texts, such as [a, b]", place)
			}
			all = append(all, s)
		}
		return apply(place, func() { set(all) })
	}
}

// oneOf takes one of a few words, whose case doesn't matter.
func oneOf[T any](into *T, known map[string]T, write string) take {
	return func(place string, value any) error {
		s, _ := value.(string)
		chosen, ok := known[strings.ToLower(s)]
		if !ok {
			return wrong(place, value, write)
		}
		*into = chosen
		return nil
	}
}

func duration(set func(time.Duration)) take {
	return func(place string, value any) error {
		d, err := time.ParseDuration(gconv.String(value)) // 0 needs no unit
		if err != nil {
			return wrong(place, value, `a duration with its unit, such as "500ms"`)
		}
		return apply(place, func() { set(d) })
	}
}

func size(set func(int64)) take {
	return func(place string, value any) error {
		s := strings.ReplaceAll(gconv.String(value), " ", "")
		n := gfile.StrToSize(s)
		if s == "" || s[0] < '0' || s[0] > '9' || n < 0 {
			return wrong(place, value, `a size, such as "64MiB"`)
		}
		return apply(place, func() { set(n) })
	}
}

func count(set func(int)) take {
	return func(place string, value any) error {
		f, ok := number(value)
		if !ok || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return wrong(place, value, "a whole number")
		}
		return apply(place, func() { set(int(f)) })
	}
}

func fraction(set func(float64)) take {
	return func(place string, value any) error {
		f, ok := number(value)
		if !ok {
			return wrong(place, value, "a number, such as 0.1")
		}
		return apply(place, func() { set(f) })
	}
}

func number(value any) (float64, bool) {
	switch value.(type) {
	case int, int32, int64, uint, uint32, uint64, float32, float64:
		return gconv.Float64(value), true
	}
	if s, ok := value.(interface{ Float64() (float64, error) }); ok { // json.Number
		f, err := s.Float64()
		return f, err == nil
	}
	return 0, false
}

// apply makes the option, which panics at what it can't take, with a sentence for the program
// that would have written it.
func apply(place string, set func()) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("strata: %s: %s", place, strings.TrimPrefix(fmt.Sprint(reason), "strata: "))
		}
	}()
	set()
	return nil
}

func wrong(place string, value any, want string) error {
	return fmt.Errorf("strata: %s is %v; write %s", place, shown(value), want)
}

// shown is a value as a message may quote it.
func shown(value any) string {
	if value == nil {
		return "empty"
	}
	s := fmt.Sprintf("%#v", value)
	if len(s) > 40 {
		return fmt.Sprintf("a %T", value)
	}
	return s
}
