package layertest

import (
	"fmt"

	"github.com/gogf/gf/v2/os/gsession"
)

var isolated = []check{
	{"requests", "A change of one request shows in another one before the first is closed.", needsMaps, requestsApart},
	{"nested values", "Requests share a map or a list inside a session.", needsMaps, nestedApart},
	{"given maps", "A program that goes on using the map it has saved changes the session.", needsMaps, givenApart},
	{"nested changes", "A change deep inside a value isn't saved.", needsMaps, nestedChanges},
}

func nested() values {
	return values{"map": values{"deep": values{"n": "1"}}, "list": []any{"a", values{"n": "1"}}}
}

// deface changes all that can be changed in what a request was given.
func deface(data values) {
	for _, value := range data {
		switch v := value.(type) {
		case values:
			deface(v)
			v["defaced"] = "yes"
		case []any:
			for n, element := range v {
				if m, ok := element.(values); ok {
					deface(m)
					m["defaced"] = "yes"
				} else {
					v[n] = "defaced"
				}
			}
		}
	}
	data["defaced"] = "yes"
}

func requestsApart(e *env) error {
	s, id := e.storage(), e.id()
	e.must(e.save(s, id, values{"a": "1"}))
	for range 3 {
		one := e.begin(s, id)
		e.must(one.Set("a", "changed"))
		e.must(e.expect(s, id, values{"a": "1"}))
	}
	return nil
}

func nestedApart(e *env) error {
	s, id := e.storage(), e.id()
	e.must(e.save(s, id, nested()))
	for range 3 {
		data := e.find(s, id)
		deface(data)
		m, err := s.GetSession(e.ctx, id, ttl)
		if err != nil {
			return err
		}
		deface(m.Map())
		e.must(e.expect(s, id, nested()))
	}
	return nil
}

func givenApart(e *env) error {
	s, id := e.storage(), e.id()
	for name, save := range map[string]func(values) error{
		"SetSession": func(data values) error { return s.SetSession(e.ctx, id, locked(data), ttl) },
		"Session":    func(data values) error { return e.save(s, id, data) },
	} {
		data := nested()
		e.must(save(data))
		deface(data)
		if err := e.expect(s, id, nested()); err != nil {
			return fmt.Errorf("after %s: %w", name, err)
		}
	}
	return nil
}

func nestedChanges(e *env) error {
	s, id := e.storage(), e.id()
	e.must(e.save(s, id, nested()))
	change := func(request *gsession.Session) error {
		value, err := request.Get("map")
		if err != nil {
			return err
		}
		value.Val().(values)["added"] = "yes"
		return request.Set("touched", "yes")
	}
	request := e.begin(s, id)
	e.must(change(request))
	e.must(request.Close())
	want := nested()
	want["map"].(values)["added"], want["touched"] = "yes", "yes"
	return e.expect(s, id, want)
}
