package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/gogf/gf/v2/net/ghttp"
)

//go:embed texts.json
var written []byte

// texts are what the shop says in one language, by key.
type texts map[string]string

var languages = func() (all map[string]texts) {
	if err := json.Unmarshal(written, &all); err != nil {
		panic(err)
	}
	return all
}()

// language is the one that the browser likes best, English where it knows no other.
func language(r *ghttp.Request) texts { return languages[preferred(r.GetHeader("Accept-Language"))] }

func preferred(header string) string {
	best, most := "en", 0.0
	for _, part := range strings.Split(header, ",") {
		tag, parameter, _ := strings.Cut(strings.TrimSpace(part), ";")
		tag, _, _ = strings.Cut(tag, "-")
		weight := 1.0
		if q, ok := strings.CutPrefix(strings.TrimSpace(parameter), "q="); ok {
			weight, _ = strconv.ParseFloat(q, 64)
		}
		if name := strings.ToLower(tag); languages[name] != nil && weight > most {
			best, most = name, weight
		}
	}
	return best
}

func (t texts) says(key string, args ...any) string { return fmt.Sprintf(t[key], args...) }

func (t texts) verdict(good bool, yes, no string) string {
	if good {
		return t[yes]
	}
	return t[no]
}

func (t texts) status(code int) string {
	switch code {
	case http.StatusOK:
		return t["done"]
	case http.StatusConflict:
		return t["refused"]
	}
	return strconv.Itoa(code)
}
