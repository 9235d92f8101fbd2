package scheme_test

import (
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/gf-strata/strata/internal/scheme"
)

func TestIsTLS(t *testing.T) {
	for proto, want := range map[string]bool{
		"": false, "http": false, "http, https": false, "httpss": false, "ws": false,
		"https": true, "wss": true, "HTTPS": true, " https ,http": true,
	} {
		r := &http.Request{Header: http.Header{"X-Forwarded-Proto": {proto}}}
		if got := scheme.IsTLS(r); got != want {
			t.Errorf("%q: %v", proto, got)
		}
		if r.TLS = (&tls.ConnectionState{}); !scheme.IsTLS(r) {
			t.Errorf("%q: a connection with TLS", proto)
		}
	}
}
