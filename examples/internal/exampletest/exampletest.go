// Package exampletest runs an example as a program, with its flags and its
// signals, and connects to it as its users would.
package exampletest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
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
	"github.com/wsticket/wsticket/wstickettest/notickets"
)

const variable = "WSTICKET_EXAMPLE"

// Main is for TestMain: the test binary is the program too.
func Main(m *testing.M, main func()) {
	if os.Getenv(variable) != "" {
		main()
		return
	}
	notickets.Main(m)
}

func program(args ...string) *exec.Cmd {
	process := exec.Command(os.Args[0], args...)
	process.Env = append(os.Environ(), variable+"=1")
	return process
}

// Start starts the program with more flags and returns its addresses once it says that
// it listens.
func Start(t *testing.T, keyfile string, flags ...string) (addr, admin string, process *exec.Cmd) {
	t.Helper()
	process = program(append([]string{"-addr", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-keys", keyfile, "-leeway", "1s"}, flags...)...)
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
	said := func(prefix string) string {
		rest, ok := "", lines.Scan()
		if ok {
			rest, ok = strings.CutPrefix(lines.Text(), prefix)
		}
		if !ok {
			t.Fatalf("it says %q", lines.Text())
		}
		return rest
	}
	admin, addr = said("admin on "), said("accepting on ")
	var log bytes.Buffer // the refusals
	logged := make(chan struct{})
	t.Cleanup(func() {
		process.Process.Kill()
		<-logged
		notickets.Check(t, "the program's log", log.Bytes())
	})
	go func() {
		defer close(logged)
		for lines.Scan() {
			log.WriteString(lines.Text() + "\n")
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
	return addr, admin, process
}

// Keyring writes a keyring and returns who signs with it.
func Keyring(t *testing.T) (file string, signer *wsticket.Signer) {
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
	file, signer := Keyring(t)
	addr, admin, process := Start(t, file, "-idle", "4s", "-origin", "https://a.example", "-origin", "https://b.example")
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

	enter := func(c wsticket.Claims) net.Conn {
		t.Helper()
		conn, _, err := dial("?ticket="+ticket(c), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		echoes("on entering", conn)
		return conn
	}
	silent := enter(wsticket.Claims{})
	ends := time.Now().Add(2 * time.Second)
	conn := enter(wsticket.Claims{SessionExpires: ends})
	WantClosed(t, "session_exp", conn, 3000)
	if early := time.Until(ends.Truncate(time.Second)); early > 0 {
		t.Errorf("closed %v before session_exp", early)
	}

	// A logout ends the session's connections, and refuses its unspent tickets.
	conn, other := enter(wsticket.Claims{SessionID: "s"}), enter(wsticket.Claims{SessionID: "t"})
	unspent := ticket(wsticket.Claims{SessionID: "s"})
	if answer, err := http.PostForm("http://"+admin+"/close", url.Values{"sid": {"s"}}); err != nil || answer.StatusCode != 200 {
		t.Fatal(answer, err)
	}
	WantClosed(t, "logout", conn, 3000)
	var status ws.StatusError
	if _, _, err := dial("?ticket="+unspent, nil, nil); !errors.As(err, &status) || status != 401 {
		t.Errorf("an unspent ticket of a session that has ended: %v", err)
	}
	echoes("another session", other)

	if err := wsutil.WriteClientText(other, make([]byte, 100<<10)); err != nil {
		t.Fatal(err)
	}
	WantClosed(t, "a message of 100 KiB", other, ws.StatusMessageTooBig)
	WantClosed(t, "saying nothing", silent, ws.StatusGoingAway)

	conn = enter(wsticket.Claims{})
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	WantClosed(t, "SIGTERM", conn, ws.StatusGoingAway)
	if err := process.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	if out, err := program("-keys", filepath.Join(t.TempDir(), "none")).CombinedOutput(); err == nil {
		t.Errorf("it runs without a keyring: %s", out)
	}
}

// WantClosed reads until the gateway says goodbye, and does so too.
func WantClosed(t *testing.T, name string, conn net.Conn, code ws.StatusCode) {
	t.Helper()
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	var closed wsutil.ClosedError
	if _, err := wsutil.ReadServerText(conn); !errors.As(err, &closed) || closed.Code != code {
		t.Errorf("%s: %v, want %d", name, err, code)
	}
}
