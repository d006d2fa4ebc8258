package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/wstickettest/notickets"
)

const variable = "WSTICKET_GATEWAY_PROGRAM"

// The test binary is the program too.
func TestMain(m *testing.M) {
	switch as := os.Getenv(variable); {
	case as == "echo":
		echoServer()
		return
	case as != "":
		os.Unsetenv(variable)
		if path := os.Getenv("WSTICKET_CPUPROFILE"); path != "" { // to find out why a budget is missed
			if f, err := os.Create(path); err == nil {
				pprof.StartCPUProfile(f)
			}
		}
		code := run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
		pprof.StopCPUProfile()
		os.Exit(code)
	}
	notickets.Main(m)
}

// A process is the program as its users run it.
type process struct {
	*testing.T
	*exec.Cmd
	addr   string
	stderr io.ReadCloser
	mu     sync.Mutex
	log    bytes.Buffer
	done   chan struct{}
}

func start(t *testing.T, args ...string) *process { return startAs(t, "1", args...) }

func startAs(t *testing.T, as string, args ...string) *process {
	t.Helper()
	p := &process{T: t, Cmd: exec.Command(os.Args[0], args...), done: make(chan struct{})}
	p.Env = append(os.Environ(), variable+"="+as)
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if os.Getenv("WSTICKET_CPUPROFILE") != "" {
			p.Process.Signal(syscall.SIGTERM)
			time.Sleep(time.Second) // it writes the profile
		}
		p.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("the end of its log:\n%s", p.log.String()[max(0, p.log.Len()-4000):])
		}
		notickets.Check(t, "the gateway's log", p.log.Bytes())
	})
	p.stderr = stderr
	lines := bufio.NewScanner(stderr)
	first := lines.Scan()
	line := lines.Text()
	go func() {
		for lines.Scan() {
			p.mu.Lock()
			p.log.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
		}
		p.Wait()
		close(p.done)
	}()
	if !first || !strings.HasPrefix(line, "listening on ") {
		t.Fatalf("its first line is %q", line)
	}
	p.addr = strings.TrimPrefix(line, "listening on ")
	return p
}

func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// waitLog waits until a line of the log holds want.
func (p *process) waitLog(want string) {
	p.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(p.logged(), want); {
		if time.Now().After(deadline) {
			p.Fatalf("no %q in the log:\n%s", want, p.logged())
		}
		time.Sleep(5 * time.Millisecond) // another process
	}
}

func (p *process) status(method, path string, header ...string) int {
	p.Helper()
	r, err := http.NewRequest(method, "http://"+p.addr+path, nil)
	if err != nil {
		p.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		p.Fatal(err)
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
	return response.StatusCode
}

func keyring(kid, fill string) string {
	return `{"kty":"oct","kid":"` + kid + `","alg":"HS256","k":"` + base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat(fill, 32))) + `"}`
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestReload: SIGHUP puts a configuration in force, all of it or nothing.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	keys, config := filepath.Join(dir, "keys.json"), filepath.Join(dir, "gateway.yaml")
	put(t, keys, `{"keys":[`+keyring("a", "a")+`]}`)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"sub":"ada"}`)
	}))
	defer backend.Close()
	write := func(mintPath, more string) {
		put(t, config, "listen: 127.0.0.1:0\nleeway: 1s\nmint-rate: 600\nkeys: "+keys+"\nupstream: "+backend.URL+"\nmint-auth: "+backend.URL+"\nmint-path: "+mintPath+"\n"+more)
	}
	write("/one", "")
	p := start(t, "serve", "-config", config)
	if got := p.status("POST", "/one"); got != 200 {
		t.Fatalf("mint: %d", got)
	}
	hup := func(want string) {
		t.Helper()
		p.mu.Lock()
		p.log.Reset()
		p.mu.Unlock()
		p.Process.Signal(syscall.SIGHUP)
		p.waitLog(want)
	}
	write("/two", "")
	hup("configuration loaded")
	if one, two := p.status("POST", "/one"), p.status("POST", "/two"); one != 404 || two != 200 {
		t.Errorf("%d, %d", one, two)
	}
	for name, c := range map[string]struct {
		change func()
		want   string
	}{
		"a fault":           {func() { write("/three", "peak: 0\n") }, "peak: is 0"},
		"no YAML":           {func() { put(t, config, "{") }, "config: "},
		"a fixed setting":   {func() { write("/three", "max-ttl: 30s\n") }, "max-ttl: cannot change while the gateway runs"},
		"a broken keyring":  {func() { write("/three", ""); put(t, keys, `{"keys":[`) }, "keys: "},
		"another secret":    {func() { write("/three", ""); put(t, keys, `{"keys":[`+keyring("a", "b")+`]}`) }, "keys: "},
		"TLS out of it":     {func() { write("/three", "tls-cert: /nowhere\ntls-key: /nowhere\n") }, "tls-cert: "},
		"unknown setting":   {func() { write("/three", "colour: red\n") }, "there is no setting"},
		"the file is gone":  {func() { os.Remove(config) }, "config: "},
		"the keys are gone": {func() { write("/three", ""); os.Remove(keys) }, "keys: "},
	} {
		c.change()
		hup("configuration not loaded")
		if log := p.logged(); !strings.Contains(log, c.want) {
			t.Errorf("%s: no %q in\n%s", name, c.want, log)
		}
		if two, three := p.status("POST", "/two"), p.status("POST", "/three"); two != 200 || three != 404 {
			t.Errorf("%s: %d, %d", name, two, three)
		}
		put(t, keys, `{"keys":[`+keyring("a", "a")+`]}`)
	}
	write("/four", "")
	hup("configuration loaded")
	if got := p.status("POST", "/four"); got != 200 {
		t.Errorf("mint: %d", got)
	}
	p.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
	if code := p.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestCertificate: another certificate is served when its files have changed, and the
// one in force stays while they do not fit together.
func TestCertificate(t *testing.T) {
	dir := t.TempDir()
	keys, cert, key := filepath.Join(dir, "keys.json"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	put(t, keys, `{"keys":[`+keyring("a", "a")+`]}`)
	issue := func(serial int64) (certPEM, keyPEM string) {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"gw.example"}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := x509.MarshalECPrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}))
	}
	c1, k1 := issue(1)
	c2, k2 := issue(2)
	put(t, cert, c1)
	put(t, key, k1)
	p := start(t, "serve", "-listen", "127.0.0.1:0", "-leeway", "1s", "-keys", keys, "-upstream", "http://127.0.0.1:9", "-tls-cert", cert, "-tls-key", key)
	serial := func() int64 {
		conn, err := tls.Dial("tcp", p.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got := conn.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
			t.Errorf("it speaks %q", got)
		}
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Fatalf("serial %d", got)
	}
	put(t, cert, c2) // and the key is still the old one
	p.waitLog("certificate not loaded")
	if got := serial(); got != 1 {
		t.Errorf("serial %d", got)
	}
	put(t, key, k2)
	p.waitLog("certificate loaded")
	if got := serial(); got != 2 {
		t.Errorf("serial %d", got)
	}
}

// TestSecondSignal: a first SIGTERM drains, and a second one ends the program at once.
func TestSecondSignal(t *testing.T) {
	p, conn := withConnection(t, "-drain", "5m")
	p.Process.Signal(syscall.SIGTERM)
	p.waitLog("draining")
	select {
	case <-p.done:
		t.Fatal("it does not drain")
	default:
	}
	p.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
	if code := p.ProcessState.ExitCode(); code != -1 { // -1 is by the signal
		t.Errorf("it ends by itself, with %d", code)
	}
	conn.Close()
}

// TestNobodyReadsTheLog: the program goes on when standard error is a pipe that nobody
// reads any more.
func TestNobodyReadsTheLog(t *testing.T) {
	p, conn := withConnection(t)
	defer conn.Close()
	p.stderr.Close()
	for range 100 {
		if got := p.status("GET", "/ws?ticket=x", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="); got != 401 {
			t.Fatalf("status %d", got)
		}
	}
	if err := echoed(conn); err != nil {
		t.Error(err)
	}
}

// withConnection starts a gateway in front of an echo, and a connection through it.
func withConnection(t *testing.T, args ...string) (*process, net.Conn) {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "keys.json")
	put(t, keys, `{"keys":[`+keyring("a", "a")+`]}`)
	loaded, err := wsticket.LoadKeyring(keys)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: loaded})
	if err != nil {
		t.Fatal(err)
	}
	backend := startAs(t, "echo")
	p := start(t, append([]string{"serve", "-listen", "127.0.0.1:0", "-leeway", "0s", "-keys", keys, "-upstream", "http://" + backend.addr}, args...)...)
	ticket, err := signer.Sign(&wsticket.Claims{Subject: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", p.addr)
	if err == nil {
		err = upgrade(conn, p.addr, "/ws?ticket="+ticket)
	}
	if err == nil {
		err = echoed(conn)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p, conn
}

// echoed sends a frame and wants it back.
func echoed(conn net.Conn) error {
	message := frame(10)
	back := make([]byte, len(message))
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write(message); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, back)
	return err
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"", 2, "", "wsticket-gateway serve"},
		{"help", 0, "wsticket-gateway serve", ""},
		{"serve -h", 0, "-max-ttl DURATION", ""},
		{"check -h", 0, "-upstream URL", ""},
		{"start", 2, "", `there is no command "start"`},
		{"check", 1, "", "wsticket-gateway: keys: is missing"},
		{"check -peak x -leeway y", 1, "", `peak (flag): "x" is no whole number`},
		{"check -peak x -leeway y", 1, "", `keys: is missing`}, // all at once
		{"serve -peak x", 1, "", `upstream: is missing`},
		{"serve", 1, "", "upstream: is missing"},
		{"print-config -aud gw", 0, "aud: [gw]", ""},
	} {
		var stdout, stderr bytes.Buffer
		code := run(strings.Fields(c.args), nil, &stdout, &stderr)
		if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) ||
			c.stdout == "" && stdout.Len() > 0 || c.stderr == "" && stderr.Len() > 0 {
			t.Errorf("%s: exit code %d\n%s\n%s", c.args, code, stdout.String(), stderr.String())
		}
		for line := range strings.Lines(stderr.String()) {
			if code == 1 && !strings.HasPrefix(line, "wsticket-gateway: ") {
				t.Errorf("%s: %q", c.args, line)
			}
		}
	}
}
