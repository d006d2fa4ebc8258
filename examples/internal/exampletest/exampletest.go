// Package exampletest runs an example as a program, with its flags and its
// signals, and connects to it as its users would.
package exampletest

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
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
	"github.com/wsticket/wsticket/internal/jwkset"
)

const variable = "WSTICKET_EXAMPLE"

// Main is for TestMain: the test binary is the program too.
func Main(m *testing.M, main func()) {
	if os.Getenv(variable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// gateway starts the program and returns its address once it says that it
// listens.
func gateway(t *testing.T, keyfile string) (addr string, process *exec.Cmd) {
	t.Helper()
	process = exec.Command(os.Args[0], "-addr", "127.0.0.1:0", "-keys", keyfile, "-origin", "https://a.example", "-origin", "https://b.example")
	process.Env = append(os.Environ(), variable+"=1")
	stderr, err := process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Process.Kill() })
	lines := bufio.NewScanner(stderr)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "accepting on ") {
		t.Fatalf("it says %q", lines.Text())
	}
	addr = strings.TrimPrefix(lines.Text(), "accepting on ")
	go func() {
		for lines.Scan() { // the refusals
		}
	}()
	conn, err := net.Dial("tcp", addr) // at once
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	ready := bufio.NewScanner(stdout)
	if !ready.Scan() || ready.Text() != "listening" {
		t.Fatalf("it says %q", ready.Text())
	}
	return addr, process
}

func keyring(t *testing.T) (file string, signer *wsticket.Signer) {
	t.Helper()
	set, err := jwkset.Generate("HS256", "test", 0)
	if err != nil {
		t.Fatal(err)
	}
	text, err := set.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := wsticket.LoadKeyring(file)
	if err != nil {
		t.Fatal(err)
	}
	if signer, err = wsticket.NewSigner(wsticket.SignerConfig{Keys: keys}); err != nil {
		t.Fatal(err)
	}
	return file, signer
}

// Run connects to path by query and by subprotocol, or by every carrier, and sees
// what the program does with used tickets, ended sessions and its own end.
func Run(t *testing.T, path string, everyCarrier bool) {
	file, signer := keyring(t)
	addr, process := gateway(t, file)
	ticket := func(c wsticket.Claims) string {
		c.Subject = "ada"
		ticket, err := signer.Sign(&c)
		if err != nil {
			t.Fatal(err)
		}
		return ticket
	}
	dial := func(query string, protocols []string, header http.Header) (net.Conn, string, error) {
		d := ws.Dialer{Protocols: protocols, Header: ws.HandshakeHeaderHTTP(header)}
		conn, _, hs, err := d.Dial(context.Background(), "ws://"+addr+path+query)
		return conn, hs.Protocol, err
	}
	echoes := func(name string, conn net.Conn) {
		t.Helper()
		if err := wsutil.WriteClientText(conn, []byte("hello")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := wsutil.ReadServerText(conn); err != nil || string(got) != "hello" {
			t.Fatalf("%s: %q, %v", name, got, err)
		}
	}
	used := ticket(wsticket.Claims{})
	type attempt struct {
		name, query string
		protocols   []string
		header      http.Header
		selected    string
	}
	attempts := []attempt{
		{name: "query", query: "?ticket=" + used, header: http.Header{"Origin": {"https://b.example"}}},
		{name: "query and protocol", query: "?ticket=" + ticket(wsticket.Claims{}), protocols: []string{"app.v1"}, selected: "app.v1"},
		{name: "subprotocol", protocols: []string{"app.v1", "ticket." + ticket(wsticket.Claims{})}, selected: "app.v1"},
	}
	if everyCarrier {
		attempts = append(attempts,
			attempt{name: "bearer", header: http.Header{"Authorization": {"Bearer " + ticket(wsticket.Claims{})}}},
			attempt{name: "cookie", header: http.Header{"Origin": {"https://a.example"}, "Cookie": {"__Host-ws-ticket=" + ticket(wsticket.Claims{})}}},
		)
	}
	for _, c := range attempts {
		conn, selected, err := dial(c.query, c.protocols, c.header)
		if err != nil || selected != c.selected {
			t.Fatalf("%s: %v, protocol %q", c.name, err, selected)
		}
		echoes(c.name, conn)
		conn.Close()
	}
	for name, query := range map[string]string{"replayed": "?ticket=" + used, "missing": ""} {
		var status ws.StatusError
		if _, _, err := dial(query, nil, nil); !errors.As(err, &status) || status != 401 {
			t.Errorf("%s: %v", name, err)
		}
	}

	ends := time.Now().Add(2 * time.Second)
	conn, _, err := dial("?ticket="+ticket(wsticket.Claims{SessionExpires: ends}), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	echoes("before session_exp", conn)
	wantClosed(t, "session_exp", conn)
	if early := time.Until(ends.Truncate(time.Second)); early > 0 {
		t.Errorf("closed %v before session_exp", early)
	}

	conn, _, err = dial("?ticket="+ticket(wsticket.Claims{}), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	echoes("before SIGTERM", conn)
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, "SIGTERM", conn)
	if err := process.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}

// wantClosed reads until the gateway says goodbye.
func wantClosed(t *testing.T, name string, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	var closed wsutil.ClosedError
	if _, err := wsutil.ReadServerText(conn); !errors.As(err, &closed) || closed.Code != ws.StatusGoingAway {
		t.Errorf("%s: %v", name, err)
	}
}
