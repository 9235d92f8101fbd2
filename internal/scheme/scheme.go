// Package scheme says whether a client has sent a request over TLS.
package scheme

import (
	"net/http"
	"strings"
)

// IsTLS reports whether the client has sent a request over TLS, which a proxy may have ended. Of
// several proxies in a row, the first one names what the client has spoken.
func IsTLS(r *http.Request) bool {
	proto, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	proto = strings.ToLower(strings.TrimSpace(proto))
	return r.TLS != nil || proto == "https" || proto == "wss" // which Traefik sets for a WebSocket
}
