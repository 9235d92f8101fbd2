package status_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/gogf/gf/v2/os/gsession"

	"github.com/gf-strata/strata/layer"
	"github.com/gf-strata/strata/layer/status"
)

// The page is for administrators: allow says who is one. Programs take the JSON.
func ExampleHandler() {
	ctx := context.Background()
	chain := layer.Chain(gsession.NewStorageMemory(), layer.Local(layer.Exclusive()))
	defer chain.Close(ctx)
	allow := func(r *http.Request) bool { return r.Header.Get("X-Admin") == "root" } // as your program knows it
	server := httptest.NewServer(status.Handler(chain, allow))
	defer server.Close()

	_, _ = chain.GetSession(ctx, "an-id", time.Hour)
	for _, admin := range []string{"", "root"} {
		request, _ := http.NewRequest(http.MethodGet, server.URL+"/status.json", nil)
		request.Header.Set("X-Admin", admin)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			panic(err)
		}
		state, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		fmt.Println(response.StatusCode, strings.Contains(string(state), "strata.local.reads"))
	}
	// Output:
	// 403 false
	// 200 true
}
