package redisstore

import "time"

// RetryAfter is how soon a server that can't announce changes is asked again.
func RetryAfter(d time.Duration) WatchOption { return func(w *Watcher) { w.rarely = d } }
