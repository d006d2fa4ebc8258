package gateway

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestUpstreamErrors: what a backend sends that is no HTTP, its cookies and the echo of
// a query among it, is no part of an error, which goes into the log.
func TestUpstreamErrors(t *testing.T) {
	for _, answer := range []string{
		"GET /ws?q=secret HTTP/1.1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nSet-Cookie secret\r\n\r\n",
		"secret\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: secret\r\n\r\n",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				conn.Read(make([]byte, 4096))
				conn.Write([]byte(answer))
				conn.Close()
			}
		}()
		up, err := parseUpstream("http://" + l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ask := newAsker(&url.URL{Scheme: "http", Host: l.Addr().String(), Path: "/me"}, 10*time.Second, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		r, _ := http.NewRequest(http.MethodGet, "http://app.example/ws", nil)
		r.RequestURI = "/ws"
		_, err = up.ask(ctx, r, http.Header{})
		cancel()
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", answer, err)
		}
		if _, err := ask.claims(r); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("asked who it is, %q: %v", answer, err)
		}
		l.Close()
	}
}
