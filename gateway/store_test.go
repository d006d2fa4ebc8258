package gateway

import (
	"net"
	"os"
	"os/exec"
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
	if n := len(second.backend.requests()); n != 10 {
		t.Errorf("%d handshakes reached the second backend", n)
	}
}
