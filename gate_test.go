package wsticket

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket/internal/head"
)

func newGate(t testing.TB, d *door, alter func(*GateConfig)) *Gate {
	t.Helper()
	config := GateConfig{Verifier: d.config.Verifier, Origins: d.config.Origins, Carriers: d.config.Carriers, Protocols: d.config.Protocols}
	if alter != nil {
		alter(&config)
	}
	g, err := NewGate(config)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// parsed is what a handler behind http.Server gets of a head, or nil.
func parsed(text string) *http.Request {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		return nil
	}
	for name := range r.Header {
		if !head.ValidToken(name) { // ReadRequest takes those with a space in them
			return nil
		}
	}
	r.RemoteAddr = "192.0.2.7:4711"
	return r
}

// A hijackableRecorder is one that could be hijacked, and never is.
type hijackableRecorder struct{ *httptest.ResponseRecorder }

func newHijackable() hijackableRecorder { return hijackableRecorder{httptest.NewRecorder()} }

func (hijackableRecorder) Hijack() (net.Conn, *bufio.ReadWriter, error) { panic("hijacked") }

func TestGateAccepts(t *testing.T) {
	for _, c := range carried {
		d := newDoor(t, nil)
		g := newGate(t, d, nil)
		ticket := d.ticket(t, Claims{Subject: "ada", Path: "/room", IP: "192.0.2.7"})
		r := parsed(c.head(ticket))
		before := r.Clone(context.Background())
		calls := 0
		handler := g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, clean *http.Request) {
			calls++
			got, ok := TicketFrom(clean.Context())
			if !ok || string(got.Subject()) != "ada" {
				t.Errorf("%s: the ticket in the context: %v", c.name, ok)
			}
			if clean.URL.String() != "/room?a=1&b=2" || clean.RequestURI != "/room?a=1&b=2" {
				t.Errorf("%s: URL %s, RequestURI %s", c.name, clean.URL, clean.RequestURI)
			}
			if got := clean.Header.Get("Cookie"); got != "theme=dark" {
				t.Errorf("%s: Cookie %q", c.name, got)
			}
			for name, lines := range clean.Header {
				if len(lines) == 0 || name == "Authorization" {
					t.Errorf("%s: %s is there, with %q", c.name, name, lines)
				}
			}
			if got := clean.Header.Get("Sec-WebSocket-Protocol"); c.name == "subprotocol" && got != "app.v1" {
				t.Errorf("%s: Sec-WebSocket-Protocol %q", c.name, got)
			}
		}))
		w := newHijackable()
		handler.ServeHTTP(w, r)
		if calls != 1 {
			t.Fatalf("%s: the handler ran %d times; %d %s", c.name, calls, w.Code, w.Body)
		}
		if r.RequestURI != before.RequestURI || r.URL.String() != before.URL.String() || strings.Join(r.Header["Cookie"], "") != strings.Join(before.Header["Cookie"], "") ||
			r.Header.Get("Authorization") != before.Header.Get("Authorization") || r.Header.Get("Sec-WebSocket-Protocol") != before.Header.Get("Sec-WebSocket-Protocol") {
			t.Errorf("%s: the request itself was changed", c.name)
		}
		w = newHijackable()
		handler.ServeHTTP(w, r)
		if calls != 1 || w.Code != 401 || w.Body.String() != `{"type":"invalid_ticket","status":401}` || w.Header().Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: the second time: %d %v %s", c.name, w.Code, w.Header(), w.Body)
		}
		if s := g.Stats(); s.Accepted() != 1 || s.Refused(ErrReplayed) != 1 {
			t.Errorf("%s: counted %v", c.name, s.Map())
		}
	}
	if _, ok := TicketFrom(context.Background()); ok {
		t.Error("a ticket in an empty context")
	}
}

func TestGateRefuses(t *testing.T) {
	d := newDoor(t, nil)
	var told []Refusal
	g := newGate(t, d, func(c *GateConfig) {
		c.OnRefuse = func(r *http.Request, f Refusal) {
			if r.RequestURI == "" {
				t.Error("told of another request")
			}
			told = append(told, f)
		}
	})
	good := d.ticket(t, Claims{})
	for name, c := range map[string]struct {
		head   string
		want   Error
		status int
	}{
		"missing":         {request("/"), ErrMissing, 401},
		"malformed":       {request("/?ticket=x"), ErrMalformed, 401},
		"ambiguous":       {request("/?ticket=" + good + "&Ticket=x"), ErrAmbiguous, 400},
		"origin":          {request("/?ticket="+good, "Origin: null"), ErrOrigin, 403},
		"two origins":     {request("/?ticket="+good, fromApp, fromApp), ErrBadHandshake, 400},
		"cookie":          {request("/", "Cookie: __Host-ws-ticket="+good), ErrOrigin, 403},
		"path":            {request("/b?ticket=" + d.ticket(t, Claims{Path: "/a"})), ErrPath, 403},
		"ip":              {request("/?ticket=" + d.ticket(t, Claims{IP: "192.0.2.8"})), ErrIP, 403},
		"no app protocol": {request("/", "Sec-WebSocket-Protocol: ticket."+good), ErrBadHandshake, 400},
		"a bad list":      {request("/?ticket="+good, "Sec-WebSocket-Protocol: a b"), ErrBadHandshake, 400},
		"a page":          {"GET /?ticket=" + good + " HTTP/1.1\r\nHost: gw.example\r\n\r\n", ErrBadHandshake, 426},
		"no upgrade":      {strings.Replace(request("/?ticket="+good), "keep-alive, Upgrade", "keep-alive", 1), ErrBadHandshake, 426},
		"h2c":             {strings.Replace(request("/?ticket="+good), "websocket", "h2c", 1), ErrBadHandshake, 426},
		"version 8":       {strings.Replace(request("/?ticket="+good), ": 13", ": 8", 1), ErrBadHandshake, 426},
		"bad key":         {strings.Replace(request("/?ticket="+good), sampleKey, "x", 1), ErrBadHandshake, 400},
		"no key":          {strings.Replace(request("/?ticket="+good), "Sec-WebSocket-Key", "X", 1), ErrBadHandshake, 400},
		"two keys":        {request("/?ticket="+good, "Sec-WebSocket-Key: "+sampleKey), ErrBadHandshake, 400},
		"two versions":    {request("/?ticket="+good, "Sec-WebSocket-Version: 13"), ErrBadHandshake, 400},
		"two upgrades":    {request("/?ticket="+good, "Upgrade: websocket"), ErrBadHandshake, 400},
		"a body":          {request("/?ticket="+good, "Content-Length: 1") + "x", ErrBadHandshake, 400},
		"chunked":         {request("/?ticket="+good, "Transfer-Encoding: chunked") + "0\r\n\r\n", ErrBadHandshake, 400},
		"POST":            {strings.Replace(request("/?ticket="+good), "GET", "POST", 1), ErrBadHandshake, 405},
		"another scheme":  {request("ws://gw.example/?ticket=" + good), ErrBadHandshake, 400},
		"HTTP/1.0":        {strings.Replace(request("/?ticket="+good), "HTTP/1.1", "HTTP/1.0", 1), ErrBadHandshake, 505},
		"bad Connection":  {request("/?ticket="+good, "Connection: a b"), ErrBadHandshake, 400},
	} {
		told = nil
		w := httptest.NewRecorder()
		g.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Errorf("%s: let through", name) })).ServeHTTP(w, parsed(c.head))
		wire := refusalOf(c.status)
		if w.Code != c.status || w.Body.String() != wire[strings.Index(wire, "{"):] || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: answered %d %v %s", name, w.Code, w.Header(), w.Body)
		}
		if len(told) != 1 || told[0].Code != c.want || !errors.Is(told[0].Err, c.want) || told[0].Remote.String() != "192.0.2.7:4711" {
			t.Errorf("%s: told %+v", name, told)
		}
		if got, err := g.Redeem(parsed(c.head)); got != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: Check: %v, %v", name, got, err)
		}
	}
	if d.guard.spent != 0 {
		t.Error("a ticket was spent")
	}
	if got, err := g.Redeem(parsed(request("/?ticket=" + good))); err != nil || string(got.Subject()) != "ada" {
		t.Errorf("Check: %v", err)
	}
}

func TestGateOptions(t *testing.T) {
	d := newDoor(t, nil)
	good := func() string { return d.ticket(t, Claims{IP: "198.51.100.1"}) }
	mine := errors.New("mine")
	no := false
	g := newGate(t, d, func(c *GateConfig) {
		c.AnyRequest = true
		c.Protocols = nil
		c.PeerAddr = func(*http.Request) netip.Addr { return netip.MustParseAddr("198.51.100.1") }
		c.Authorize = func(r *http.Request, ticket *Ticket) error {
			if strings.Contains(r.RequestURI, "ticket") || string(ticket.Subject()) != "ada" {
				t.Errorf("Authorize sees %s of %s", r.RequestURI, ticket.Subject())
			}
			if no {
				return mine
			}
			return nil
		}
	})
	for name, head := range map[string]string{
		"an event stream": "GET /events?ticket=" + good() + " HTTP/1.1\r\nHost: gw.example\r\n\r\n",
		"a POST":          "POST /x HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer " + good() + "\r\nContent-Length: 1\r\n\r\nx",
	} {
		no = true
		if _, err := g.Redeem(parsed(head)); !errors.Is(err, ErrUnauthorized) || !errors.Is(err, mine) {
			t.Errorf("%s: %v", name, err)
		}
		no = false
		if _, err := g.Redeem(parsed(head)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, protocols := range []string{"ticket." + good(), "ticket." + good() + ", other"} {
		if _, err := g.Redeem(parsed(request("/", "Sec-WebSocket-Protocol: "+protocols))); !errors.Is(err, ErrBadHandshake) {
			t.Errorf("a subprotocol though none is configured: %v", err)
		}
	}
	if _, err := g.Redeem(parsed(strings.Replace(request("/?ticket="+good()), ": 13", ": 8", 1))); !errors.Is(err, ErrBadHandshake) {
		t.Errorf("a bad handshake, though any request will do: %v", err)
	}
	// Whoever has parsed the form before leaves no ticket in it.
	r := parsed("GET /events?x=1&ticket=" + good() + " HTTP/1.1\r\nHost: gw.example\r\n\r\n")
	r.ParseForm()
	g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, clean *http.Request) {
		if clean.Form.Has("ticket") || clean.FormValue("x") != "1" {
			t.Errorf("the form is %v", clean.Form)
		}
	})).ServeHTTP(httptest.NewRecorder(), r)
	if !r.Form.Has("ticket") {
		t.Error("the form of the request itself was changed")
	}
	// The path is the one that the client showed, whatever was stripped since.
	bound := parsed(request("/api/room?ticket=" + d.ticket(t, Claims{Path: "/api/room"})))
	bound.URL.Path = "/room"
	if _, err := g.Redeem(bound); err != nil {
		t.Errorf("behind StripPrefix: %v", err)
	}
	made := httptest.NewRequest("GET", "/room?ticket="+d.ticket(t, Claims{Path: "/room"}), nil)
	made.RequestURI = ""
	if _, err := g.Redeem(made); err != nil {
		t.Errorf("a request without RequestURI: %v", err)
	}
	if _, err := NewGate(GateConfig{Origins: []string{"null"}, Protocols: []string{""}}); err == nil ||
		!strings.Contains(err.Error(), "Verifier") || !strings.Contains(err.Error(), "Origins") || !strings.Contains(err.Error(), "Protocols") {
		t.Errorf("faults: %v", err)
	}
}

func TestGateServes(t *testing.T) {
	d := newDoor(t, nil)
	g := newGate(t, d, nil)
	upgrader := ws.HTTPUpgrader{Protocol: ws.SelectFromSlice([]string{"app.v1"})}
	server := httptest.NewServer(g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, _, err := upgrader.Upgrade(r, w)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		echo(conn)
	})))
	defer server.Close()
	url := "ws" + strings.TrimPrefix(server.URL, "http")
	dialer := ws.Dialer{Protocols: []string{"ticket." + d.ticket(t, Claims{}), "app.v1"}}
	conn, _, hs, err := dialer.Dial(context.Background(), url)
	if err != nil || hs.Protocol != "app.v1" {
		t.Fatalf("%v, protocol %q", err, hs.Protocol)
	}
	defer conn.Close()
	wsutil.WriteClientText(conn, []byte("hello"))
	if got, err := wsutil.ReadServerText(conn); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	res, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 426 || res.Header.Get("Upgrade") != "websocket" || res.Header.Get("Sec-WebSocket-Version") != "13" || string(body) != `{"type":"bad_request","status":426}` {
		t.Errorf("a page: %d %v %s", res.StatusCode, res.Header, body)
	}
}

// There are libraries that read the first line of a header only, and lists with
// nothing in them: what is handed on is what they understand.
func TestGateHandsOnPlainHeaders(t *testing.T) {
	d := newDoor(t, nil)
	g := newGate(t, d, nil)
	for _, head := range []string{
		strings.Replace(request("/?ticket="+d.ticket(t, Claims{})), "Connection: keep-alive, Upgrade", "Connection: keep-alive\r\nConnection: Upgrade", 1),
		strings.Replace(request("/", "Sec-WebSocket-Protocol: ,ticket."+d.ticket(t, Claims{})+" ,, ", "Sec-WebSocket-Protocol: app.v1"), "Connection: keep-alive, Upgrade", "Connection: keep-alive\r\nConnection: Upgrade", 1),
	} {
		r := parsed(head)
		if len(r.Header["Connection"]) != 2 {
			t.Fatalf("no head for this test: %q", head)
		}
		calls := 0
		recorder := newHijackable()
		g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, clean *http.Request) {
			calls++
			if got := clean.Header["Connection"]; len(got) != 1 || got[0] != "keep-alive, Upgrade" {
				t.Errorf("Connection %q", got)
			}
			if got := clean.Header["Sec-Websocket-Protocol"]; len(got) > 1 || len(got) == 1 && got[0] != "app.v1" {
				t.Errorf("Sec-WebSocket-Protocol %q", got)
			}
		})).ServeHTTP(recorder, r)
		if calls != 1 {
			t.Errorf("refused with %d", recorder.Code)
		}
		if len(r.Header["Connection"]) != 2 {
			t.Error("the request that came in was changed")
		}
	}
}

// Nothing is spent on a client that is gone.
func TestGateClientLeaves(t *testing.T) {
	d := newDoor(t, nil)
	ctx, leave := context.WithCancel(context.Background())
	g := newGate(t, d, func(c *GateConfig) {
		c.Authorize = func(*http.Request, *Ticket) error { leave(); return nil }
	})
	r := parsed(carried[0].head(d.ticket(t, Claims{}))).WithContext(ctx)
	if _, err := g.Redeem(r); !errors.Is(err, ErrTimeout) || d.guard.spent != 0 {
		t.Errorf("%v, %d spent", err, d.guard.spent)
	}
}

// TestGateDenyLeavesOpen: where Deny says no status, or nothing, net/http would answer
// 200, which looks like an acceptance. The refusal's own answer takes its place.
func TestGateDenyLeavesOpen(t *testing.T) {
	d := newDoor(t, nil)
	for name, c := range map[string]struct {
		deny func(http.ResponseWriter)
		code int
		body string
	}{
		"nothing":          {func(http.ResponseWriter) {}, 401, `{"type":"invalid_ticket","status":401}`},
		"headers":          {func(w http.ResponseWriter) { w.Header().Set("X-Own", "1") }, 401, `{"type":"invalid_ticket","status":401}`},
		"a body":           {func(w http.ResponseWriter) { io.WriteString(w, "no") }, 401, "no"},
		"a flush":          {func(w http.ResponseWriter) { w.(http.Flusher).Flush() }, 401, ""},
		"a flush by hand":  {func(w http.ResponseWriter) { http.NewResponseController(w).Flush() }, 401, ""},
		"its own status":   {func(w http.ResponseWriter) { w.WriteHeader(418); io.WriteString(w, "no") }, 418, "no"},
		"a hint, no more":  {func(w http.ResponseWriter) { w.WriteHeader(103) }, 401, `{"type":"invalid_ticket","status":401}`},
		"a redirect":       {func(w http.ResponseWriter) { http.Redirect(w, parsed(request("/x")), "/login", http.StatusSeeOther) }, 303, ""},
		"a status, twice":  {func(w http.ResponseWriter) { w.WriteHeader(418); w.WriteHeader(419) }, 418, ""},
		"200, on purpose":  {func(w http.ResponseWriter) { w.WriteHeader(200); io.WriteString(w, "log in") }, 200, "log in"},
		"a body, in parts": {func(w http.ResponseWriter) { io.WriteString(w, "n"); io.WriteString(w, "o") }, 401, "no"},
	} {
		g := newGate(t, d, func(config *GateConfig) {
			config.AnyRequest = true
			config.Deny = func(w http.ResponseWriter, _ *http.Request, _ Refusal) { c.deny(w) }
		})
		server := httptest.NewUnstartedServer(g.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("let in") })))
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.Start()
		client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		answer, err := client.Get(server.URL + "/stream")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		server.Close()
		if answer.StatusCode != c.code || c.code != 303 && string(body) != c.body {
			t.Errorf("%s: %d %s", name, answer.StatusCode, body)
		}
	}
	// It may take the connection over all the same. A server that closes does not wait for
	// such a handler.
	hijacked := make(chan bool, 1)
	g := newGate(t, d, func(config *GateConfig) {
		config.AnyRequest = true
		config.Deny = func(w http.ResponseWriter, _ *http.Request, _ Refusal) {
			conn, _, err := w.(http.Hijacker).Hijack()
			hijacked <- err == nil
			if err == nil {
				conn.Close()
			}
		}
	})
	server := httptest.NewUnstartedServer(g.Wrap(http.NotFoundHandler()))
	var errorLog bytes.Buffer
	server.Config.ErrorLog = log.New(&errorLog, "", 0)
	server.Start()
	if answer, err := http.Get(server.URL); err == nil {
		t.Errorf("answered %s", answer.Status)
		answer.Body.Close()
	}
	server.Close()
	select {
	case ok := <-hijacked: // sent before the connection closed
		if !ok || errorLog.Len() > 0 {
			t.Errorf("hijacked: %v; %s", ok, &errorLog)
		}
	default:
		t.Error("Deny was not called")
	}
}
