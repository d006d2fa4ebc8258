package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket"
)

// The proxies that docs/upgrading.md configures, configured as it says: pages
// connect through them, and no ticket gets into what they log, also not when the
// gateway is gone.
func TestProxies(t *testing.T) {
	page, err := os.ReadFile("../../docs/upgrading.md")
	if err != nil {
		t.Fatal(err)
	}
	file, signer := keyring(t)
	addr, _ := gateway(t, file)
	ticket := func(path string) string {
		ticket, err := signer.Sign(&wsticket.Claims{Subject: "ada", Path: path})
		if err != nil {
			t.Fatal(err)
		}
		return ticket
	}
	for _, proxy := range []string{"nginx", "haproxy"} {
		_, rest, ok := strings.Cut(string(page), "```"+proxy+"\n")
		config, _, ok2 := strings.Cut(rest, "```")
		if !ok || !ok2 {
			t.Fatalf("the page has no configuration for %s", proxy)
		}
		t.Run(proxy, func(t *testing.T) {
			p := start(t, proxy, config, addr)
			here, elsewhere, bare := ticket("/seen/room"), ticket("/y"), ticket("")
			escaped := ticket("/seen/A")
			if err := p.connect("/seen/room?ticket=" + here); err != nil {
				t.Errorf("by query: %v", err)
			}
			if err := p.connect("/seen/%41?a=b&ticket=" + escaped); err != nil {
				t.Errorf("by query, with an escape in the path: %v", err)
			}
			if err := p.connect("/seen", "app.v1", "ticket."+bare); err != nil {
				t.Errorf("by subprotocol: %v", err)
			}
			if err := p.connect("/seen/x?ticket=" + elsewhere); err == nil {
				t.Error("a ticket for another path got in")
			}
			p.wantLog(t, 4, here, escaped, bare, elsewhere)
		})
		t.Run(proxy+", the gateway gone", func(t *testing.T) {
			p := start(t, proxy, config, freeAddr(t))
			kept := ticket("")
			if err := p.connect("/seen?ticket=" + kept); err == nil {
				t.Error("connects to nothing")
			}
			p.wantLog(t, 1, kept)
		})
	}
}

// proxy is one that runs.
type proxy struct {
	cmd    *exec.Cmd
	softly os.Signal // asks it to finish what it has and end
	addr   string
	dir    string
	out    bytes.Buffer
}

// start runs the proxy of that name as the page configures it, but for the
// addresses and the place of the logs.
func start(t *testing.T, name, config, gateway string) *proxy {
	t.Helper()
	binary, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	p := &proxy{addr: freeAddr(t), dir: t.TempDir(), softly: syscall.SIGUSR1}
	config = strings.NewReplacer("127.0.0.1:8080", gateway, "127.0.0.1:8000", p.addr, "/var/log/nginx", p.dir).Replace(config)
	file := filepath.Join(p.dir, "config")
	p.cmd = exec.Command(binary, "-db", "-f", file)
	if name == "nginx" {
		head := "daemon off;\nmaster_process off;\npid DIR/pid;\nevents {}\nhttp {\n"
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			head += kind + "_temp_path DIR;\n"
		}
		config = strings.ReplaceAll(head, "DIR", p.dir) + config + "}\n"
		p.softly = syscall.SIGQUIT
		p.cmd = exec.Command(binary, "-p", p.dir, "-c", file, "-e", p.dir+"/start.log")
	}
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", p.addr); err == nil {
			conn.Close()
			return p
		}
		if time.Now().After(deadline) {
			p.cmd.Process.Kill()
			p.cmd.Wait()
			t.Fatalf("it does not come up:\n%s", &p.out)
		}
	}
}

// connect sends a message through the proxy and waits for its echo.
func (p *proxy) connect(target string, protocols ...string) error {
	conn, _, _, err := ws.Dialer{Protocols: protocols, Timeout: 10 * time.Second}.Dial(context.Background(), "ws://"+p.addr+target)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := wsutil.WriteClientText(conn, []byte("hello")); err != nil {
		return err
	}
	_, err = wsutil.ReadServerText(conn)
	return err
}

// wantLog stops the proxy and looks for the requests in what it logged, and for
// what must not be there.
func (p *proxy) wantLog(t *testing.T, requests int, tickets ...string) {
	t.Helper()
	p.cmd.Process.Signal(p.softly)
	p.cmd.Wait()
	logs := p.out.String()
	files, _ := filepath.Glob(p.dir + "/*.log")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		logs += string(text)
	}
	if n := strings.Count(logs, "/seen"); n != requests {
		t.Errorf("it logged %d requests, want %d:\n%s", n, requests, logs)
	}
	for _, ticket := range tickets {
		if strings.Contains(logs, ticket[len(ticket)-20:]) {
			t.Errorf("a ticket is in the log:\n%s", logs)
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
