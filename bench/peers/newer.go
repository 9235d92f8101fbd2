package peers

// GoRedisCache is go-redis v9.23's client-side caching. It needs Go 1.26, so that the
// module goredis923 opens it; here it has no Open.
var GoRedisCache = Subject{Name: "go-redis v9.23 cache", Isolated: true, Redis: true, Memory: true, HTTP: true,
	Setup: "go-redis v9.23.0 with Protocol 3 and ClientSideCacheConfig (MaxEntries as the other caches' bound) and a pool of 100, behind the " +
		"same storage by hand as rueidis; in a program of its own, built with Go 1.26.",
}
