package gateway

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/wstickettest/notickets"
)

// TestForwardAuthNginx and TestForwardAuthCaddy run the proxies from the files of
// deploy/forward-auth, with other ports and paths: a ticket opens a connection once, a
// forged header does not reach the backend, a cache does not let a used ticket in, and
// the ticket is neither in the log nor at the backend.
func TestForwardAuthNginx(t *testing.T) {
	t.Parallel()
	nginx := installed(t, "nginx", "apt-get install nginx")
	for name, cache := range map[string]bool{"as it is": false, "with a cache on": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := newVerifier(t, nil)
			port := freePort(t)
			conf := deployed(t, w, "nginx.conf", port, map[string]string{"/run/nginx.pid": dir + "/pid", "/var/log/nginx": dir})
			conf = "daemon off;\nuser root;\nerror_log " + dir + "/error.log;\n" + conf
			conf = strings.Replace(conf, "events {}", "events {}\n", 1)
			temp := fmt.Sprintf("http {\n\tclient_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;\n", dir)
			if cache {
				temp += fmt.Sprintf("\tproxy_cache_path %s/cache keys_zone=answers:1m;\n", dir)
				conf = strings.Replace(conf, "\t\t\tinternal;\n", "\t\t\tinternal;\n\t\t\tproxy_cache answers;\n\t\t\tproxy_cache_key $request_uri;\n\t\t\tproxy_cache_valid any 30s;\n", 1)
			}
			conf = strings.Replace(conf, "http {\n", temp, 1)
			file := filepath.Join(dir, "nginx.conf")
			write(t, file, conf)
			serve(t, port, nginx, "-p", dir, "-c", file)
			throughProxy(t, w, port, filepath.Join(dir, "access.log"), false)
		})
	}
}

func TestForwardAuthCaddy(t *testing.T) {
	caddy := installed(t, "caddy", "apt-get install caddy")
	dir := t.TempDir()
	w := newVerifier(t, nil)
	port := freePort(t)
	file := filepath.Join(dir, "Caddyfile")
	write(t, file, deployed(t, w, "Caddyfile", port, map[string]string{"/var/log/caddy": dir}))
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	serve(t, port, caddy, "run", "--adapter", "caddyfile", "--config", file)
	throughProxy(t, w, port, filepath.Join(dir, "access.log"), false)
}

// TestForwardAuthTraefik runs where there is a Traefik: it is in none of the places that
// the tests install from.
func TestForwardAuthTraefik(t *testing.T) {
	t.Parallel()
	traefik, err := exec.LookPath("traefik")
	if err != nil {
		t.Skip("no traefik on PATH; get it from https://github.com/traefik/traefik/releases")
	}
	dir := t.TempDir()
	w := newVerifier(t, nil)
	port := freePort(t)
	write(t, filepath.Join(dir, "traefik.yaml"), deployed(t, w, "traefik.yaml", port, nil))
	file := filepath.Join(dir, "traefik-static.yaml")
	write(t, file, deployed(t, w, "traefik-static.yaml", port, map[string]string{"/etc/traefik": dir, "/var/log/traefik": dir}))
	serve(t, port, traefik, "--configFile="+file)
	for deadline := time.Now().Add(20 * time.Second); ; { // it listens before it has read its routes
		answer, err := http.Get("http://127.0.0.1:" + port + "/ticket")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode != http.StatusNotFound {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("no route: ", answer, err)
		}
		time.Sleep(10 * time.Millisecond) // another process
	}
	throughProxy(t, w, port, filepath.Join(dir, "access.log"), true)
}

// deployed is a file of deploy/forward-auth with the ports and paths of this test.
func deployed(t *testing.T, w *world, name, port string, paths map[string]string) string {
	t.Helper()
	content, err := os.ReadFile("../deploy/forward-auth/" + name)
	if err != nil {
		t.Fatal(err)
	}
	conf := string(content)
	backend := strings.TrimPrefix(w.backend.URL, "http://")
	for from, to := range map[string]string{"127.0.0.1:8000": "127.0.0.1:" + port, "127.0.0.1:8080": w.addr, "127.0.0.1:3000": backend} {
		conf = strings.ReplaceAll(conf, from, to)
	}
	for from, to := range paths {
		conf = strings.ReplaceAll(conf, from, to)
	}
	return conf
}

func throughProxy(t *testing.T, w *world, port, log string, keepsQuery bool) {
	proxied := *w
	proxied.addr = "127.0.0.1:" + port
	ticket := w.ticket(wsticket.Claims{Path: "/ws"})
	target := "/ws?a=1&ticket=" + ticket
	forged := http.Header{"Ticket-Subject": {"eve"}, "Ticket_Subject": {"eve"}, "Ticket-Session": {"eve"}, "ticket-scope": {"eve"}, "Ticket.Id": {"eve"}, "Ticket!Audience": {"eve"}, "ticket~claims": {"eve"},
		"X-Forwarded-Uri": {"/ws?ticket=x"}, "X-Original-Url": {"/ws?ticket=x"}, "X-Forwarded-For": {"6.6.6.6"}}
	conn := proxied.mustDial(target, forged)
	proxied.echoes(conn)
	for range 3 {
		_, err := proxied.dial(target, forged)
		w.wantStatus(err, 401)
	}
	for path, status := range map[string]int{"/ws": 401, "/ws?ticket=x": 401, "/ws?ticket=" + w.ticket(wsticket.Claims{Path: "/other"}): 403} {
		_, err := proxied.dial(path, nil)
		w.wantStatus(err, status)
	}
	seen := w.backend.requests()
	if len(seen) != 1 {
		t.Fatalf("%d handshakes reached the backend, want 1", len(seen))
	}
	h := seen[0].Header
	if h.Get("Ticket-Subject") != "ada" || h.Get("Ticket-Session") != "" || h.Get("Ticket-Scope") != "" || strings.Contains(fmt.Sprint(h), "eve") {
		t.Errorf("the backend got %v", h)
	}
	if has := strings.Contains(seen[0].RequestURI, "ticket"); has != keepsQuery {
		t.Errorf("the backend got %s", seen[0].RequestURI)
	}
	proxied.mint(200) // the page gets its ticket by the proxy
	w.stop()          // what cannot be asked is refused
	if _, err := proxied.dial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil); err == nil {
		t.Error("let in without the gateway")
	}
	conn.Close()
	lines := regexp.MustCompile(`"?/ws`)
	deadline := time.Now().Add(10 * time.Second)
	for {
		content, err := os.ReadFile(log)
		if err == nil && len(lines.FindAll(content, -1)) > 5 {
			if strings.Contains(string(content), ticket[:40]) || strings.Contains(string(content), ticket[len(ticket)-30:]) {
				t.Errorf("the ticket is in the log:\n%s", content)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log: %v\n%s", err, content)
		}
		time.Sleep(20 * time.Millisecond) // another process
	}
}

// installed finds a program. Where there is none the test is skipped, but on a build
// server it fails.
func installed(t *testing.T, name, how string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		message := fmt.Sprintf("no %s on PATH; get it, for instance with: %s", name, how)
		if os.Getenv("CI") == "true" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	return path
}

// freePort is one that nobody listens on, and that it has not given before.
func freePort(t *testing.T) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		if _, given := givenPorts.LoadOrStore(port, true); !given {
			return port
		}
	}
}

var givenPorts sync.Map

// serve runs a program until the test ends, and returns when it listens.
func serve(t *testing.T, port, path string, args ...string) {
	t.Helper()
	var out syncBuffer
	p := exec.Command(path, args...)
	p.Stdout, p.Stderr = &out, &out
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Process.Signal(os.Interrupt)
		p.Wait()
		notickets.Check(t, "the log of "+filepath.Base(path), []byte(out.String()))
		if t.Failed() {
			t.Logf("%s printed:\n%s", filepath.Base(path), out.String())
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen: %s", path, out.String())
		}
		time.Sleep(10 * time.Millisecond) // another process
	}
}
