package service

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOnlyThisMachineIsServedProfilesAndMetrics(t *testing.T) {
	metrics := metricsMux(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	for _, c := range []struct {
		handler          http.Handler
		method, url      string
		host             string
		want             int
		network, purpose string
	}{
		{metrics, "GET", "/metrics", "127.0.0.1:9000", http.StatusTeapot, "tcp", "a loopback address"},
		{metrics, "GET", "/metrics", "[::1]:9000", http.StatusTeapot, "tcp", "one of IPv6"},
		{metrics, "GET", "/metrics", "localhost", http.StatusTeapot, "tcp", "its name"},
		{metrics, "GET", "/metrics", "evil.example:9000", http.StatusForbidden, "tcp", "a name of a stranger"},
		{metrics, "GET", "/metrics", "anything", http.StatusTeapot, "unix", "any name on a socket"},
		{metrics, "POST", "/metrics", "localhost", http.StatusMethodNotAllowed, "tcp", "another method"},
		{metrics, "GET", "/debug/pprof/", "localhost", http.StatusNotFound, "tcp", "profiles where there are none"},
		{pprofMux(), "GET", "/debug/pprof/", "localhost:1", http.StatusOK, "tcp", "the list of profiles"},
		{pprofMux(), "GET", "/debug/pprof/goroutine", "localhost:1", http.StatusOK, "tcp", "a profile"},
		{pprofMux(), "GET", "/debug/pprof/cmdline", "evil.example", http.StatusForbidden, "tcp", "a stranger's profile"},
	} {
		t.Run(c.purpose, func(t *testing.T) {
			var addr net.Addr = &net.TCPAddr{}
			if c.network == "unix" {
				addr = &net.UnixAddr{Net: "unix"}
			}
			r := httptest.NewRequest(c.method, c.url, nil)
			r.Host = c.host
			w := httptest.NewRecorder()
			c.handler.ServeHTTP(w, r.WithContext(contextWithAddr(t, addr)))
			require.Equal(t, c.want, w.Code)
		})
	}
}

func contextWithAddr(t *testing.T, addr net.Addr) context.Context {
	t.Helper()
	return context.WithValue(t.Context(), http.LocalAddrContextKey, addr)
}
