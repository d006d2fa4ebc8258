package interop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/wsticket/wsticket"
)

// TestProxies has clients connect through a proxy that is set up as
// docs/upgrading.md has it, so that no ticket gets into its logs; and, to see that
// there is something to see, through one that logs as it does by default.
func TestProxies(t *testing.T) {
	for _, p := range []struct {
		name, program string
		start         func(t *testing.T, path, gateway string, quiet bool) (socket string, logs func() string)
		headers       bool // it logs them by default
	}{
		{"nginx", "nginx", startNginx, false},
		{"HAProxy", "haproxy", startHAProxy, false},
		{"Caddy", "caddy", startCaddy, true},
	} {
		for _, quiet := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/quiet=%t", p.name, quiet), func(t *testing.T) {
				path := installed(t, p.name, "apt-get install "+p.program, p.program, "/usr/sbin/"+p.program)
				leavesNothing(t)
				g := startGateway(t, wsticket.UpgraderConfig{Protocols: []string{"app.v1"}})
				socket, logs := p.start(t, path, g.addr, quiet)

				byQuery, byProtocol, lost := g.ticket(), g.ticket(), g.ticket()
				for _, protocols := range [][]string{nil, {"app.v1", "ticket." + byProtocol}} {
					target := "/r%C3%A4ume/1?a=1"
					if protocols == nil {
						target += "&ticket=" + byQuery
					}
					conn, answer, err := dialThrough(t, socket, target, protocols)
					if err != nil {
						t.Fatal(err, answer)
					}
					err = conn.WriteMessage(gorilla.TextMessage, []byte("grüezi"))
					_, got, readErr := conn.ReadMessage()
					if err = errors.Join(err, readErr); err != nil || string(got) != "grüezi" {
						t.Errorf("the echo is %q, %v", got, err)
					}
					if protocols != nil && conn.Subprotocol() != "app.v1" {
						t.Errorf("the selected protocol is %q", conn.Subprotocol())
					}
					conn.Close()
					if verdict := g.verdict(); verdict != "accepted" {
						t.Errorf("the gateway says %s", verdict)
					}
				}
				_, answer, err := dialThrough(t, socket, "/replay?ticket="+byQuery, nil)
				if err == nil {
					t.Fatal("the same ticket is let in again")
				}
				wantProblem(t, answer, 401, `{"type":"invalid_ticket","status":401}`)
				if verdict := g.verdict(); verdict != "replayed" {
					t.Errorf("the gateway says %s, want replayed", verdict)
				}
				// Without a gateway the proxy has something to complain about itself.
				g.listener.Close()
				_, answer, err = dialThrough(t, socket, "/down?ticket="+lost, nil)
				if err == nil || answer == nil || answer.StatusCode < 500 {
					t.Errorf("%v, %v, want a 5xx where there is no gateway", answer, err)
				}
				g.silent()

				text := logs()
				if !allLogged(text) {
					t.Errorf("the requests are not in the logs:\n%s", text)
				}
				for name, ticket := range map[string]string{"by query": byQuery, "that met no gateway": lost} {
					if stands := strings.Contains(text, ticket); stands == quiet {
						t.Errorf("the ticket %s stands in the logs: %t, want %t:\n%s", name, stands, !quiet, text)
					}
				}
				if stands := strings.Contains(text, byProtocol); stands != (p.headers && !quiet) {
					t.Errorf("the ticket by subprotocol stands in the logs: %t\n%s", stands, text)
				}
			})
		}
	}
}

// allLogged says whether the log has the requests of the test.
func allLogged(text string) bool {
	return strings.Count(text, "ume/1") >= 2 && strings.Contains(text, "/replay") && strings.Contains(text, "/down")
}

// guide returns the block of docs/upgrading.md in that language, with something
// for each place that the reader is to fill in.
func guide(t *testing.T, language string, places ...string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/upgrading.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(text), "\n```"+language+"\n")
	block, _, closed := strings.Cut(block, "\n```\n")
	if !found || !closed {
		t.Fatalf("docs/upgrading.md has no block of %s", language)
	}
	for i := 0; i < len(places); i += 2 {
		if strings.Count(block, places[i]) != 1 {
			t.Fatalf("the block of %s in docs/upgrading.md does not have %q once:\n%s", language, places[i], block)
		}
		block = strings.Replace(block, places[i], places[i+1], 1)
	}
	return block + "\n"
}

func startNginx(t *testing.T, path, gateway string, quiet bool) (string, func() string) {
	if quiet {
		return startNginxWith(t, path, gateway)
	}
	return startNginxWith(t, path, gateway, " without_query;", ";", " crit;", ";")
}

// startNginxWith starts one as the guide has it, but for these changes.
func startNginxWith(t *testing.T, path, gateway string, changes ...string) (string, func() string) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	places := append([]string{
		"listen 127.0.0.1:8000", "listen unix:" + socket,
		"server 127.0.0.1:8080", "server " + gateway,
		"/var/log/nginx/gateway.log", "access.log",
		"/var/log/nginx/gateway-errors.log", "error.log",
	}, changes...)
	config := `
daemon off;
master_process off;
pid nginx.pid;
events {}
http {
client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
` + guide(t, "nginx", places...) + "}\n"
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, path, "-p", dir, "-e", "start.log", "-c", file)
	waitForSocket(t, socket)
	return socket, func() string {
		p.stop()
		text := string(p.printed())
		for _, name := range []string{"access.log", "error.log", "start.log"} {
			part, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
			text += string(part)
		}
		return text
	}
}

func startHAProxy(t *testing.T, path, gateway string, quiet bool) (string, func() string) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	places := []string{
		"bind 127.0.0.1:8000", "bind unix@" + socket,
		// It would try a gateway that is gone three times more, a second apart.
		"server one 127.0.0.1:8080", "retries 0\n    server one " + gateway,
	}
	if !quiet {
		places = append(places, "    log-format ", "    option httplog # ")
	}
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(guide(t, "haproxy", places...)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, path, "-db", "-f", file)
	p.shows = !quiet
	waitForSocket(t, socket)
	return socket, func() string { return p.whenLogged() }
}

func startCaddy(t *testing.T, path, gateway string, quiet bool) (string, func() string) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Setenv("XDG_DATA_HOME", dir)
	places := []string{
		"http://:8000 {\n", "http://:8000 {\n\tbind unix/" + socket + "\n",
		"{\n\tlog default {", "{\n\tadmin off\n\tlog default {",
		"reverse_proxy 127.0.0.1:8080", "reverse_proxy " + gateway,
	}
	if !quiet {
		places = append(places, "replace ticket ", "replace other ", ">Sec-Websocket-Protocol delete", ">Other delete")
	}
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(guide(t, "caddyfile", places...)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, path, "run", "--adapter", "caddyfile", "--config", file)
	p.shows = !quiet
	waitForSocket(t, socket)
	return socket, func() string { return p.whenLogged() }
}

// whenLogged ends a program that writes a line when a connection has ended, a moment
// after we closed it.
func (p *program) whenLogged() string {
	deadline := time.Now().Add(10 * time.Second)
	for !allLogged(string(p.printed())) && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	p.stop()
	return string(p.printed())
}

func dialThrough(t *testing.T, socket, target string, protocols []string) (*gorilla.Conn, *http.Response, error) {
	dialer := gorilla.Dialer{
		Subprotocols:     protocols,
		HandshakeTimeout: 10 * time.Second,
		NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	return dialer.DialContext(t.Context(), "ws://gw.example:8000"+target, http.Header{"Origin": {"http://gw.example:8000"}})
}

func waitForSocket(t *testing.T, socket string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
