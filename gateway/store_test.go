package gateway

import (
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// TestRedis: two gateways on one Redis take a ticket once between them.
func TestRedis(t *testing.T) {
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		const message = "no redis-server on PATH; get it, for instance with: apt-get install redis-server"
		if os.Getenv("CI") == "true" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	server := exec.Command(redis, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // another process
	}
	shared := func(c *Config) { c.SingleUse, c.Leeway = "redis://127.0.0.1:"+port, time.Second }
	first := newWorld(t, shared)
	second := newWorld(t, func(c *Config) { shared(c); c.Keys = first.g.state.Load().config.Keys })
	for range 10 {
		ticket := first.ticket(wsticket.Claims{})
		first.echoes(first.mustDial("/ws?ticket="+ticket, nil))
		_, err := second.dial("/ws?ticket="+ticket, nil)
		second.wantStatus(err, 401)
		ticket = first.ticket(wsticket.Claims{})
		second.echoes(second.mustDial("/ws?ticket="+ticket, nil))
		_, err = first.dial("/ws?ticket="+ticket, nil)
		first.wantStatus(err, 401)
	}
	w := httptest.NewRecorder()
	first.g.metrics.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{`wsticket_verdicts_total{code="accepted",gate="handshakes"} 10`, `wsticket_verdicts_total{code="replayed",gate="handshakes"} 10`,
		"wsticket_store_batches_total ", `wsticket_store_refused_total{reason="skew"} 0`, "wsticket_store_moved_total 0", "wsticket_live_connections "} {
		if !strings.Contains(w.Body.String(), "\n"+line) {
			t.Errorf("no %s in:\n%s", line, w.Body)
		}
	}
	if strings.Contains(w.Body.String(), "wsticket_store_answered_timestamp_seconds 0\n") {
		t.Error("the store has never answered")
	}
	if n := len(second.backend.requests()); n != 10 {
		t.Errorf("%d handshakes reached the second backend", n)
	}
}
