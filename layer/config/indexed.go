package config

import (
	"fmt"
	"time"

	"github.com/gf-strata/strata/layer"
)

// indexedConfig holds a group's settings of layer.Indexed, which is there only if the group names it.
type indexedConfig struct {
	in       bool
	opts     []layer.IndexedOption
	limit    int
	at       layer.AtLimit
	perClass bool
}

func (c *indexedConfig) section() take {
	c.at = layer.EndOldest
	known := keys{
		"limit":          count(func(n int) { c.limit = n; _ = layer.Limit(n, c.at) }),
		"atLimit":        oneOf(&c.at, map[string]layer.AtLimit{"endoldest": layer.EndOldest, "refusenew": layer.RefuseNew}, "endOldest or refuseNew"),
		"perDeviceClass": yes(func() { c.perClass = true }),
		"keepReasons":    duration(func(d time.Duration) { c.opts = append(c.opts, layer.KeepReasons(d)) }),
		"longestSession": duration(func(d time.Duration) { c.opts = append(c.opts, layer.LongestSession(d)) }),
	}
	return func(place string, value any) error {
		if on, ok := value.(bool); ok {
			c.in = on
			return nil
		}
		c.in = true
		if value == nil {
			return nil
		}
		err := read(place, value, known)
		if section, ok := value.(map[string]any); ok && err == nil && c.limit == 0 && (section["atLimit"] != nil || c.perClass) {
			err = fmt.Errorf("strata: %s has no limit for atLimit and perDeviceClass; write limit: 3, or take them out", place)
		}
		return err
	}
}

func (c *indexedConfig) options() []layer.IndexedOption {
	if c.limit == 0 {
		return c.opts
	}
	var opts []layer.LimitOption
	if c.perClass {
		opts = append(opts, layer.PerDeviceClass())
	}
	return append(c.opts, layer.Limit(c.limit, c.at, opts...))
}
