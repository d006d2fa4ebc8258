package interop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// A cluster is three gateways with one keyring, each with a memory of its own: what
// docs/upgrading.md says of several nodes has to keep a ticket with one of them.
type cluster struct {
	signer *wsticket.Signer
	addrs  []string
	came   chan visit
}

// A visit is a handshake at a node: "accepted", or the code of the refusal.
type visit struct {
	node    int
	verdict string
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	k := newSecretKey(t, "HS256")
	c := &cluster{signer: k.signer(t), came: make(chan visit, 100)}
	for node := range 3 {
		cache, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 100, Since: time.Unix(0, 0)})
		if err != nil {
			t.Fatal(err)
		}
		verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: k.keyring(t), Replay: cache})
		if err != nil {
			t.Fatal(err)
		}
		upgrader, err := wsticket.NewUpgrader(wsticket.UpgraderConfig{Verifier: verifier, Carriers: wsticket.CarrierQuery})
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c.addrs = append(c.addrs, listener.Addr().String())
		serveRaw(t, listener, func(conn net.Conn) {
			var h wsticket.Handshake
			verdict := "accepted"
			if err := upgrader.Upgrade(context.Background(), conn, &h); err != nil {
				code, ok := wsticket.CodeOf(err)
				if !ok {
					return
				}
				verdict = code.Code()
			}
			c.came <- visit{node, verdict}
		})
	}
	return c
}

// try shows a target to the balancer and says which node saw it, or -1 where the
// balancer has refused it itself.
func (c *cluster) try(t *testing.T, socket, target string) visit {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: gw.example:8000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", target)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	io.Copy(io.Discard, io.LimitReader(res.Body, 1<<16))
	select {
	case v := <-c.came:
		if (v.verdict == "accepted") != (res.StatusCode == 101) {
			t.Errorf("%s: %s, and the client sees %d", target, v.verdict, res.StatusCode)
		}
		return v
	case <-time.After(100 * time.Millisecond):
		if res.StatusCode != 400 {
			t.Errorf("%s: no node saw it, and the client sees %d", target, res.StatusCode)
		}
		return visit{node: -1}
	}
}

// TestBalancers has nginx and HAProxy, set up as docs/upgrading.md has them for
// several nodes, spread handshakes over three. However the query is spelled, with A
// for something else that changes each time and T for the ticket: no ticket gets in
// twice, and in its plain spelling it always comes to the same node.
func TestBalancers(t *testing.T) {
	for _, b := range []struct {
		name, program string
		start         func(t *testing.T, path string, nodes []string) string
		fooled        string // a spelling that it routes by A, to see that there is something to see
	}{
		{"nginx", "nginx", balancingNginx, ""},
		{"HAProxy by url_param", "haproxy", balancingHAProxy("    # balance url_param ticket\n"), ""},
		{"HAProxy by hash", "haproxy", balancingHAProxy("    # balance hash url_param(ticket)\n"), "/?x=1;ticket=A&ticket=T"},
	} {
		t.Run(b.name, func(t *testing.T) {
			path := installed(t, b.program, "apt-get install "+b.program, b.program, "/usr/sbin/"+b.program)
			leavesNothing(t)
			c := startCluster(t)
			socket := b.start(t, path, c.addrs)

			usual := map[int]bool{} // the nodes that plain tickets come to
			for range 30 {
				ticket := c.ticket(t)
				first := c.try(t, socket, "/room?ticket="+ticket)
				usual[first.node] = true
				if first.verdict != "accepted" {
					t.Errorf("a good ticket: %v", first)
				}
				for _, target := range []string{"/room?ticket=" + ticket, "/?ticket=" + ticket + "&x=1", "/?x=1&ticket=" + ticket, "/?x=1&y;z&ticket=" + ticket, "http://gw.example:8000/room?ticket=" + ticket} {
					if again := c.try(t, socket, target); again.verdict != "replayed" || again.node != first.node {
						t.Errorf("%s: %v, the first time %v", strings.Replace(target, ticket, "T", 1), again, first)
					}
				}
			}
			if len(usual) != 3 {
				t.Errorf("plain tickets come to the nodes %v", usual)
			}

			for _, spelling := range []string{
				"/?x=1;ticket=A&ticket=T", "/?x?ticket=A&ticket=T", "/??ticket=A&ticket=T", "/?;ticket=A&ticket=T", "/?x=1;ticket=A;ticket=T", "/?x?ticket=A?ticket=T",
				"/?ticket=T;ticket=A", "/?ticket=T?ticket=A", "/?ticket=T&x;ticket=A", "/?ticket=T&x?ticket=A", "/?ticket=A&ticket=T", "/?ticket=T&ticket=A",
				"/?Ticket=A&ticket=T", "/?TICKET=A&ticket=T", "/?ticket=T&tickeT=A", "/?%74icket=A&ticket=T", "/?x;%74icket=A&ticket=T", "/?ticket;x=A&ticket=T", "/?ticket?x=A&ticket=T",
				"/?ticket&x=A&ticket=T", "/?ticket=&x=A&ticket=T", "/?x=A&amp;ticket=A&ticket=T", "/?ticket[]=A&ticket=T", "/?xticket=A&ticket=T", "/?x=ticket=A&ticket=T", "/?ticket%00=A&ticket=T",
				"/?ticket%3dA&ticket=T", "/?x%26ticket=A&ticket=T", "/?+ticket=A&ticket=T", "/?ticket+=A&ticket=T", "/?ticket==A&ticket=T", "/?=ticket=A&ticket=T", "/?ticket.x=A&ticket=T",
				"/r;ticket=A?ticket=T", "/r;x=A;ticket=A?x;y&ticket=T", "/ticket=A?ticket=T", "/%3fticket=A?ticket=T", "/&ticket=A&x?ticket=T", "/r%3bticket=A?ticket=T",
				"http://gw.example:8000/?x;ticket=A&ticket=T", "http://gw.example:8000?x?ticket=A&ticket=T", "http://gw.example:8000/;ticket=A?ticket=T",
			} {
				ticket := c.ticket(t)
				nodes, accepted := map[int]bool{}, 0
				for i := range 8 {
					target := strings.NewReplacer("A", fmt.Sprintf("%d-%d", i, i*i), "T", ticket).Replace(spelling)
					v := c.try(t, socket, target)
					nodes[v.node] = true
					if v.verdict == "accepted" {
						accepted++
					}
				}
				if accepted > 1 {
					t.Errorf("%s: %d accepted, by %d nodes", spelling, accepted, len(nodes))
				}
				if spelling == b.fooled && len(nodes) < 2 {
					t.Errorf("%s: always the same node: this test shows nothing", spelling)
				}
			}
		})
	}
}

func (c *cluster) ticket(t *testing.T) string {
	t.Helper()
	ticket, err := c.signer.Sign(&wsticket.Claims{Subject: "user-4711", TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

func balancingNginx(t *testing.T, path string, nodes []string) string {
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	config := `
daemon off;
master_process off;
pid nginx.pid;
events {}
http {
client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
` + guide(t, "nginx",
		"listen 127.0.0.1:8000", "listen unix:"+socket,
		"    # hash $arg_ticket", "    hash $arg_ticket",
		"server 127.0.0.1:8080;", "server "+strings.Join(nodes, "; server ")+";",
		"/var/log/nginx/gateway.log", "access.log",
		"/var/log/nginx/gateway-errors.log", "error.log") + "}\n"
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	startProgram(t, path, "-p", dir, "-e", "start.log", "-c", file)
	waitForSocket(t, socket)
	return socket
}

// balancingHAProxy has one of the lines on balancing that the guide has in comments.
func balancingHAProxy(line string) func(t *testing.T, path string, nodes []string) string {
	return func(t *testing.T, path string, nodes []string) string {
		dir := t.TempDir()
		socket := filepath.Join(dir, "socket")
		servers := ""
		for i, node := range nodes {
			servers += fmt.Sprintf("    server node%d %s\n", i, node)
		}
		config := guide(t, "haproxy",
			"bind 127.0.0.1:8000", "bind unix@"+socket,
			line, strings.Replace(line, "# ", "", 1),
			"    # hash-type consistent", "    hash-type consistent",
			"    server one 127.0.0.1:8080", servers)
		file := filepath.Join(dir, "haproxy.cfg")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		startProgram(t, path, "-db", "-f", file)
		waitForSocket(t, socket)
		return socket
	}
}
