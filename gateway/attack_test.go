package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// A rawBackend keeps the heads of requests as they came, byte for byte, and answers
// with what it is told.
type rawBackend struct {
	net.Listener
	mu     sync.Mutex
	heads  []string
	answer string // ACCEPT stands for the right Sec-WebSocket-Accept
}

const rightAnswer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n"

func newRawBackend(t *testing.T) *rawBackend {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &rawBackend{Listener: l, answer: rightAnswer}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(20 * time.Second))
				r := bufio.NewReaderSize(conn, 64<<10)
				var head strings.Builder
				key := ""
				for {
					line, err := r.ReadString('\n')
					head.WriteString(line)
					if value, ok := strings.CutPrefix(line, "Sec-Websocket-Key: "); ok {
						key = strings.TrimSpace(value)
					}
					if err != nil || line == "\r\n" {
						break
					}
				}
				b.mu.Lock()
				b.heads = append(b.heads, head.String())
				answer := b.answer
				b.mu.Unlock()
				io.WriteString(conn, strings.ReplaceAll(answer, "ACCEPT", acceptFor(key)))
				if strings.HasPrefix(answer, rightAnswer) {
					io.Copy(conn, r) // an echo of bytes
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return b
}

func (b *rawBackend) seen() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	heads := b.heads
	b.heads = nil
	return heads
}

// send writes bytes to the gateway, and returns all that comes back until it closes, or
// until nothing has come for a while.
func (w *world) send(request string) string {
	w.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.Fatal(err)
	}
	defer conn.Close()
	go io.WriteString(conn, request)
	var all bytes.Buffer
	block := make([]byte, 64<<10)
	for {
		wait := 300 * time.Millisecond
		if all.Len() == 0 {
			wait = 10 * time.Second
		}
		conn.SetReadDeadline(time.Now().Add(wait))
		n, err := conn.Read(block)
		all.Write(block[:n])
		if err != nil {
			return all.String()
		}
	}
}

// TestNothingIsSmuggled sends handshakes that try to bring something past the gateway,
// and looks at what reaches the backend, byte for byte.
func TestNothingIsSmuggled(t *testing.T) {
	t.Parallel()
	b := newRawBackend(t)
	w := newWorld(t, func(c *Config) { c.Upstream = "http://" + b.Addr().String() + "/base"; c.TrustedProxies = nil })
	const rest = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	const connection = "Connection: Upgrade\r\n"
	host := "Host: " + w.addr + "\r\n"
	get := func(more string) string {
		return "GET /ws?ticket=TICKET HTTP/1.1\r\n" + host + connection + rest + more + "\r\n"
	}
	for name, c := range map[string]struct {
		request string
		status  int // 0 for any that is no 101
		with    []string
		without []string
	}{
		"plain":                        {get(""), 101, []string{"GET /base/ws HTTP/1.1\r\n", "Ticket-Subject: ada\r\n", "X-Forwarded-For: 127.0.0.1\r\n"}, nil},
		"Connection names ours":        {strings.Replace(get(""), connection, "Connection: Upgrade, Ticket-Subject, Ticket-Claims, X-Forwarded-For, Host\r\n", 1), 101, []string{"\r\nConnection: Upgrade\r\n", "\r\nTicket-Subject: ada\r\n", "\r\nX-Forwarded-For: 127.0.0.1\r\n"}, nil},
		"two lines of Connection":      {strings.Replace(get(""), connection, "Connection: Ticket-Session\r\nConnection: Upgrade\r\n", 1), 101, []string{"\r\nConnection: Upgrade\r\n", "\r\nTicket-Session: \r\n"}, []string{"Connection: Ticket"}},
		"hop by hop":                   {get("TE: trailers\r\nTrailer: Ticket-Subject\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\n"), 101, nil, []string{"\r\nTe:", "\r\nTrailer:", "\r\nKeep-Alive:", "\r\nProxy-"}},
		"named by Connection":          {strings.Replace(get("X-Mine: 1\r\n"), connection, "Connection: Upgrade, X-Mine\r\n", 1), 101, nil, []string{"X-Mine"}},
		"identity":                     {get("Ticket-Subject: eve\r\nTicket-Subject: eve\r\nticket_subject: eve\r\nTICKET-SESSION: eve\r\nTicket.Scope: eve\r\nTicket~Id: eve\r\n"), 101, []string{"\r\nTicket-Subject: ada\r\n"}, []string{"eve"}},
		"where it came from":           {get("X-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nx.forwarded.host: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX_REAL_IP: 6.6.6.6\r\nX-Forwarded-Host: 6.6.6.6\r\nX-Original-URL: /6.6.6.6\r\nX-Forwarded-Scheme: 6.6.6.6\r\nX_FORWARDED_PATH: 6.6.6.6\r\nCF-Connecting-IP: 6.6.6.6\r\n"), 101, nil, []string{"6.6.6.6"}},
		"folded line":                  {get("X: a\r\n Ticket-Subject: eve\r\n"), -1, nil, []string{"\nTicket-Subject: eve", "\r\n Ticket"}},
		"bare LF":                      {get("X: a\nTicket-Subject: eve\r\n"), -1, nil, []string{"eve"}},
		"bare CR":                      {get("X: a\rTicket-Subject: eve\r\n"), 0, nil, nil},
		"NUL":                          {get("X: a\x00b\r\n"), 0, nil, nil},
		"space before the colon":       {get("Ticket-Subject : eve\r\n"), 0, nil, nil},
		"no name":                      {get(": eve\r\n"), 0, nil, nil},
		"absolute":                     {strings.Replace(get(""), "GET /ws", "GET http://"+w.addr+"/ws", 1), 101, []string{"GET /base/ws HTTP/1.1\r\n"}, nil},
		"absolute, another host":       {strings.Replace(get(""), "GET /ws", "GET http://evil.example/ws", 1), 101, []string{"\r\nHost: evil.example\r\n", "X-Forwarded-Host: evil.example\r\n"}, nil}, // as if Host were that (RFC 9112 section 3.2.2)
		"absolute, user":               {strings.Replace(get(""), "GET /ws", "GET http://a@"+w.addr+"/ws", 1), 0, nil, nil},
		"asterisk":                     {strings.Replace(get(""), "GET /ws?ticket=TICKET", "GET *", 1), 0, nil, nil},
		"no slash":                     {strings.Replace(get(""), "GET /ws", "GET ws", 1), 0, nil, nil},
		"CONNECT":                      {strings.Replace(get(""), "GET /ws?ticket=TICKET", "CONNECT "+w.addr, 1), 0, nil, nil},
		"two slashes":                  {strings.Replace(get(""), "GET /ws", "GET //evil.example/ws", 1), 101, []string{"GET /base//evil.example/ws HTTP/1.1\r\n", host}, nil},
		"as it came":                   {strings.Replace(get(""), "/ws?", "/a%2Fb/%7Ez^;v=1/..%2f?q=%20+x&", 1), 101, []string{"GET /base/a%2Fb/%7Ez^;v=1/..%2f?q=%20+x HTTP/1.1\r\n"}, nil},
		"HTTP/1.0":                     {strings.Replace(get(""), "HTTP/1.1", "HTTP/1.0", 1), 0, nil, nil},
		"HTTP/2.0":                     {strings.Replace(get(""), "HTTP/1.1", "HTTP/2.0", 1), 0, nil, nil},
		"POST":                         {strings.Replace(get("Content-Length: 0\r\n"), "GET", "POST", 1), 0, nil, nil},
		"a body":                       {get("Content-Length: 5\r\n") + "hello", 0, nil, nil},
		"chunks":                       {get("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", 0, nil, nil},
		"both":                         {get("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") + "0\r\n\r\n", 0, nil, nil},
		"two lengths":                  {get("Content-Length: 0\r\nContent-Length: 5\r\n") + "hello", 0, nil, nil},
		"two keys":                     {get("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"), 0, nil, nil},
		"two upgrades":                 {get("Upgrade: h2c\r\n"), 0, nil, nil},
		"h2c":                          {strings.Replace(get(""), "Upgrade: websocket", "Upgrade: h2c", 1), 404, nil, nil},
		"two hosts":                    {get("Host: evil.example\r\n"), 0, nil, nil},
		"no host":                      {strings.Replace(get(""), host, "", 1), 0, nil, nil},
		"odd host":                     {strings.Replace(get(""), host, "Host: a b\r\n", 1), 0, nil, nil},
		"long header":                  {get("X: " + strings.Repeat("x", 64<<10) + "\r\n"), 431, nil, nil},
		"long target":                  {strings.Replace(get(""), "/ws", "/"+strings.Repeat("w", 64<<10), 1), 431, nil, nil},
		"many headers":                 {get(strings.Repeat("X: y\r\n", 10<<10)), 431, nil, nil},
		"another behind a refused one": {strings.Replace(get(""), "TICKET", "x", 1) + "GET /ws HTTP/1.1\r\n" + host + "\r\n" + strings.Replace(get(""), "TICKET", "y", 1), 0, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b.seen()
			got := w.send(strings.Replace(c.request, "TICKET", w.ticket(wsticket.Claims{}), 1))
			status := 0
			fmt.Sscanf(got, "HTTP/1.1 %d", &status)
			heads := b.seen()
			switch {
			case status == 0 && c.status != 0:
				t.Fatalf("no answer: %.200q", got)
			case c.status > 0 && status != c.status, c.status == 0 && status == 101:
				t.Errorf("status %d, want %d: %.300q", status, c.status, got)
			case status >= 500 && status != 505:
				t.Errorf("status %d", status)
			}
			if want := map[bool]int{true: 1, false: 0}[status == 101]; len(heads) != want {
				t.Fatalf("%d requests reached the backend: %q", len(heads), heads)
			}
			for _, head := range heads {
				for _, want := range c.with {
					if !strings.Contains(head, want) {
						t.Errorf("no %q in %q", want, head)
					}
				}
				for _, no := range append(c.without, "ticket=", "\x00") {
					if strings.Contains(head, no) {
						t.Errorf("%q is in %q", no, head)
					}
				}
				for _, name := range append([]string{"Connection", "Upgrade", "Host", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}, identityHeaders...) {
					if n := strings.Count(strings.ToLower(head), "\n"+strings.ToLower(name)+":"); n != 1 {
						t.Errorf("%s is there %d times: %q", name, n, head)
					}
				}
				if strings.Contains(strings.ReplaceAll(head, "\r\n", ""), "\r") || strings.Contains(strings.ReplaceAll(head, "\r\n", ""), "\n") {
					t.Errorf("half a line break in %q", head)
				}
			}
		})
	}
}

// TestBytesBehindTheHandshake: what a client sends in one go with its handshake reaches
// the backend that upgrades, all of it, and nobody where there is none that does.
func TestBytesBehindTheHandshake(t *testing.T) {
	t.Parallel()
	b := newRawBackend(t)
	w := newWorld(t, func(c *Config) { c.Upstream = "http://" + b.Addr().String() })
	behind := strings.Repeat("0123456789abcdef", 2<<10) // more than any buffer on the way
	request := func() string {
		return "GET /ws?ticket=" + w.ticket(wsticket.Claims{}) + " HTTP/1.1\r\nHost: " + w.addr + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	}
	got := w.send(request() + behind)
	if _, back, _ := strings.Cut(got, "\r\n\r\n"); back != behind {
		t.Errorf("%d of %d bytes come back", len(back), len(behind))
	}
	b.mu.Lock()
	b.answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
	b.mu.Unlock()
	b.seen()
	got = w.send(request() + "GET /ws HTTP/1.1\r\nHost: smuggled\r\n\r\n" + behind)
	if !strings.HasPrefix(got, "HTTP/1.1 403 ") || strings.Count(got, "HTTP/1.1") != 1 || !strings.HasSuffix(got, "no") {
		t.Errorf("%.300q", got)
	}
	if heads := b.seen(); len(heads) != 1 || strings.Contains(heads[0], "smuggled") {
		t.Errorf("%q", heads)
	}
}

// TestHostileBackend: what a backend answers cannot split the answer to the client, and
// is an answer or a 502; nothing of it is left behind.
func TestHostileBackend(t *testing.T) {
	leavesNothing(t)
	b := newRawBackend(t)
	w := newWorld(t, func(c *Config) {
		c.Upstream, c.MaxPerSubject = "http://"+b.Addr().String(), 1
	})
	right := strings.TrimSuffix(rightAnswer, "\r\n")
	for name, c := range map[string]struct {
		answer  string
		status  int // 0 where the answer breaks off
		with    string
		without []string
	}{
		"bare CR":             {right + "X: a\rSet-Cookie: evil=1\r\n\r\n", -1, "", []string{"\rSet-Cookie"}},
		"bare CR, no upgrade": {"HTTP/1.1 403 F\r\nX: a\rSet-Cookie: evil=1\r\nContent-Length: 0\r\n\r\n", -1, "", []string{"\rSet-Cookie", "\nSet-Cookie"}},
		"reason":              {"HTTP/1.1 403 F\rSet-Cookie: evil=1\r\nContent-Length: 0\r\n\r\n", -1, "", []string{"Set-Cookie"}},
		"space in a name":     {right + "X y: 1\r\n\r\n", -1, "", []string{"X y"}},
		"no name":             {right + ": 1\r\n\r\n", 502, "", nil},
		"no colon":            {right + "Set-Cookie\r\n\r\n", 502, "", nil},
		"status 0":            {"HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n", 502, "", nil},
		"status 42":           {"HTTP/1.1 042 None\r\nContent-Length: 0\r\n\r\n", 502, "", nil},
		"status -1":           {"HTTP/1.1 -01 None\r\nContent-Length: 0\r\n\r\n", 502, "", nil},
		"status 999":          {"HTTP/1.1 999 None\r\nContent-Length: 0\r\n\r\n", 999, "", nil},
		"status 1010":         {"HTTP/1.1 1010 None\r\n\r\n", 502, "", nil},
		"101 of HTTP/1.0":     {strings.Replace(rightAnswer, "HTTP/1.1", "HTTP/1.0", 1) + " ", 502, "", nil},
		"101 of HTTP/2.0":     {strings.Replace(rightAnswer, "HTTP/1.1", "HTTP/2.0", 1) + " ", 502, "", nil},
		"continue first":      {"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n" + rightAnswer, 101, "", []string{"X: 1"}},
		"hints first":         {"HTTP/1.1 103 Early Hints\r\nLink: evil\r\n\r\n" + rightAnswer, 101, "", []string{"evil"}},
		"hop by hop":          {right + "Keep-Alive: 1\r\nProxy-Authenticate: x\r\nX-Hop: 1\r\nConnection: X-Hop\r\nSet-Cookie: good=1\r\n\r\n", 101, "Set-Cookie: good=1\r\n", []string{"Keep-Alive", "Proxy-", "X-Hop"}},
		"two lengths":         {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 502, "", []string{"hello"}},
		"length and chunks":   {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "ok", []string{"Content-Length: 5"}},
		"no content":          {"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 204, "", []string{"200 OK"}},
		"not modified":        {"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\nhello!!", 304, "", []string{"hello"}},
		"short body":          {"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello", 0, "", nil},
		"long body":           {"HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 3<<20), 0, "", nil},
		"long body of length": {"HTTP/1.1 200 OK\r\nContent-Length: 3145728\r\n\r\n" + strings.Repeat("x", 3<<20), 0, "", nil},
		"bad chunk":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n", 0, "", nil},
		"other coding":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxx", 502, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			b.mu.Lock()
			b.answer = c.answer
			b.mu.Unlock()
			got := w.send("GET /ws?ticket=" + w.ticket(wsticket.Claims{}) + " HTTP/1.1\r\nHost: " + w.addr + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
			response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(got)), &http.Request{Method: "GET"})
			if err == nil && response.StatusCode != 101 {
				_, err = io.ReadAll(response.Body)
			}
			switch {
			case c.status == 0 && err == nil:
				t.Errorf("it looks whole: %.300q", got)
			case c.status != 0 && err != nil, c.status > 0 && response.StatusCode != c.status:
				t.Errorf("%v, want status %d: %.300q", err, c.status, got)
			}
			if !strings.Contains(got, c.with) {
				t.Errorf("no %q in %.300q", c.with, got)
			}
			for _, no := range c.without {
				if strings.Contains(got, no) {
					t.Errorf("%q is in %.300q", no, got)
				}
			}
			for deadline := time.Now().Add(5 * time.Second); w.g.registry.Stats().Connections > 0 || w.g.seats.taken.Load() > 0; {
				if time.Now().After(deadline) {
					t.Fatalf("%d connections, %d seats are left", w.g.registry.Stats().Connections, w.g.seats.taken.Load())
				}
				time.Sleep(time.Millisecond) // the tunnel ends on its own goroutines
			}
		})
	}
	if log := w.logs.String(); strings.Contains(log, "panic") {
		t.Errorf("it panics:\n%s", log)
	}
}

// TestHopsOfTrusted: a client behind a trusted proxy cannot have the chain of addresses
// dropped by naming it in Connection.
func TestHopsOfTrusted(t *testing.T) {
	t.Parallel()
	b := newRawBackend(t)
	w := newWorld(t, func(c *Config) { c.Upstream = "http://" + b.Addr().String(); c.TrustedProxies = []string{"127.0.0.1"} })
	w.send("GET /ws?ticket=" + w.ticket(wsticket.Claims{IP: "192.0.2.1"}) + " HTTP/1.1\r\nHost: x.example\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nConnection: X-Forwarded-For, X-Forwarded-Proto, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if heads := b.seen(); len(heads) != 1 || !strings.Contains(heads[0], "X-Forwarded-For: 192.0.2.1, 127.0.0.1\r\n") || !strings.Contains(heads[0], "X-Forwarded-Proto: https\r\n") {
		t.Errorf("%q", heads)
	}
}

// TestAdminFromPages: a page in a browser on this machine can neither close connections
// nor read, by any name it has for the address.
func TestAdminFromPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, c := range map[string]struct {
		host, method, path string
		header             http.Header
		status             int
	}{
		"by hand":     {"127.0.0.1:9090", "POST", "/close", nil, 200},
		"localhost":   {"localhost:9090", "GET", "/metrics", nil, 200},
		"v6":          {"[::1]:9090", "GET", "/metrics", nil, 200},
		"page":        {"127.0.0.1:9090", "POST", "/close", http.Header{"Origin": {"https://evil.example"}}, 403},
		"page, null":  {"127.0.0.1:9090", "POST", "/close", http.Header{"Origin": {"null"}}, 403},
		"page, fetch": {"127.0.0.1:9090", "POST", "/close", http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		"rebinding":   {"evil.example:9090", "POST", "/close", http.Header{"Origin": {"http://evil.example:9090"}}, 403},
		"rebound get": {"evil.example:9090", "GET", "/metrics", nil, 403},
		"probe":       {"10.0.0.7:9090", "GET", "/readyz", nil, 200},
	} {
		r := httptest.NewRequest(c.method, "http://"+c.host+c.path, strings.NewReader(`{"sid":"s3"}`))
		for k, v := range c.header {
			r.Header[k] = v
		}
		rec := httptest.NewRecorder()
		w.g.admin().ServeHTTP(rec, r)
		if rec.Code != c.status {
			t.Errorf("%s: %d, want %d: %s", name, rec.Code, c.status, rec.Body)
		}
	}
}

// TestAllElse: what is no handshake, no mint and no verify is 404.
func TestAllElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, line := range []string{"GET /", "GET /metrics", "POST /close", "GET /verify", "OPTIONS *", "OPTIONS /", "TRACE /", "GET /ticket/", "GET //ticket"} {
		answer := w.send(line + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 404 ") {
			t.Errorf("%s: %.40q", line, answer)
		}
	}
}
