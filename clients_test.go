package wsticket

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/wsticket/wsticket/internal/answer"
)

// Clients, proxies and servers as they are: each case goes through the Upgrader, the
// Gate and the Hooks, and all three must come to the same verdict.

// A way is one of the three. It has its own single use.
type way struct {
	name string
	door *door
	try  func(head string) (answered string, err error)
	conn func(net.Conn) error // nil for the Gate
}

// A wayConfig is what the three configurations have in common.
type wayConfig struct {
	Origins     []string
	AllowOrigin func(origin, host []byte) bool
	Carriers    Carriers
	Protocols   []string
	Timeout     time.Duration
	Guard       ReplayGuard  // nil means a cache
	Agrees      func() error // Authorize, or what is in its place
	PeerAddr    func() netip.Addr
}

func threeWays(t testing.TB, alter func(*wayConfig)) []way {
	t.Helper()
	common := wayConfig{
		Origins:   []string{"https://app.example"},
		Carriers:  CarrierQuery | CarrierSubprotocol | CarrierBearer | CarrierCookie,
		Protocols: []string{"app.v1"},
	}
	if alter != nil {
		alter(&common)
	}
	fill := func() (*door, UpgraderConfig) {
		d := newDoor(t, nil)
		if common.Guard != nil {
			d.guard.ReplayGuard = common.Guard
		}
		return d, UpgraderConfig{Verifier: d.verifier, Origins: common.Origins, AllowOrigin: common.AllowOrigin,
			Carriers: common.Carriers, Protocols: common.Protocols, Timeout: common.Timeout}
	}

	raw, uc := fill()
	if common.Agrees != nil {
		uc.Authorize = func(context.Context, *Handshake) error { return common.Agrees() }
	}
	if common.PeerAddr != nil {
		uc.PeerAddr = func(net.Conn, *Handshake) netip.Addr { return common.PeerAddr() }
	}
	u, err := NewUpgrader(uc)
	if err != nil {
		t.Fatal(err)
	}

	behind, c := fill()
	gc := GateConfig{Verifier: c.Verifier, Origins: c.Origins, AllowOrigin: c.AllowOrigin, Carriers: c.Carriers, Protocols: c.Protocols, Timeout: c.Timeout}
	if common.Agrees != nil {
		gc.Authorize = func(*http.Request, *Ticket) error { return common.Agrees() }
	}
	if common.PeerAddr != nil {
		gc.PeerAddr = func(*http.Request) netip.Addr { return common.PeerAddr() }
	}
	g, err := NewGate(gc)
	if err != nil {
		t.Fatal(err)
	}

	hooked, c := fill()
	hc := HooksConfig{Verifier: c.Verifier, Origins: c.Origins, AllowOrigin: c.AllowOrigin, Carriers: c.Carriers, Protocols: c.Protocols, Timeout: c.Timeout}
	if common.Agrees != nil {
		hc.Upgrader.OnBeforeUpgrade = func() (ws.HandshakeHeader, error) { return ws.HandshakeHeaderString(""), common.Agrees() }
	}
	if common.PeerAddr != nil {
		hc.PeerAddr = func(net.Conn) netip.Addr { return common.PeerAddr() }
	}
	h, err := NewHooks(hc)
	if err != nil {
		t.Fatal(err)
	}

	return []way{
		{"Upgrader", raw, func(head string) (string, error) {
			conn := newMemConn([]byte(head))
			err := u.Upgrade(context.Background(), conn, new(Handshake))
			return string(conn.out), err
		}, func(conn net.Conn) error { return u.Upgrade(context.Background(), conn, new(Handshake)) }},
		{"Gate", behind, func(head string) (string, error) {
			r := parsed(head)
			if r == nil {
				return "HTTP/1.1 400 Bad Request\r\n", errors.New("net/http refuses it")
			}
			w := newHijackable()
			var err error
			g.config.OnRefuse = func(_ *http.Request, r Refusal) { err = r.Err }
			g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(101) })).ServeHTTP(w, r)
			var out strings.Builder
			w.Result().Write(&out)
			return out.String(), err
		}, nil},
		{"Hooks", hooked, func(head string) (string, error) {
			conn := newMemConn([]byte(strings.Replace(head, "Connection: keep-alive, Upgrade", "Connection: Upgrade", 1)))
			_, err := h.Upgrade(context.Background(), conn, new(Ticket))
			return string(conn.out), err
		}, func(conn net.Conn) error {
			_, err := h.Upgrade(context.Background(), conn, new(Ticket))
			return err
		}},
	}
}

// wants tries a head that brings a fresh ticket for $T: accepted for the zero Error,
// else refused with that code.
func (w *way) wants(t *testing.T, name, head string, code Error, c Claims) {
	t.Helper()
	head = strings.Replace(head, "$T", w.door.ticket(t, c), 1)
	spent := w.door.guard.spent
	answered, err := w.try(head)
	if code == 0 {
		if err != nil || !strings.HasPrefix(answered, "HTTP/1.1 101 ") || w.door.guard.spent != spent+1 {
			t.Errorf("%s, %s: %v, answered %q", w.name, name, err, answered)
		}
		return
	}
	if !errors.Is(err, code) || w.door.guard.spent != spent {
		t.Errorf("%s, %s: %v, want %v; %d spent", w.name, name, err, code, w.door.guard.spent-spent)
	}
	if status := refusalOf(statusOf(err, code)); !strings.HasPrefix(answered, status[:len("HTTP/1.1 xxx")]) {
		t.Errorf("%s, %s: answered %q", w.name, name, answered)
	}
}

// Some clients and proxies say that a handshake has no body.
func TestHandshakeOfNoLength(t *testing.T) {
	for _, w := range threeWays(t, nil) {
		w.wants(t, "Content-Length: 0", request("/?ticket=$T", "Content-Length: 0"), 0, Claims{})
		w.wants(t, "content-length:0", request("/?ticket=$T", "content-length:0"), 0, Claims{})
		for _, value := range []string{"1", "00", "5"} {
			w.wants(t, "Content-Length: "+value, request("/?ticket=$T", "Content-Length: "+value), ErrBadHandshake, Claims{})
		}
		if w.name != "Gate" { // net/http joins two that are the same, and refuses these itself
			for _, value := range []string{"", "-0", "+0", "0, 0", "0x0", "00000000000000000000000000000000", "18446744073709551616"} {
				w.wants(t, "Content-Length: "+value, request("/?ticket=$T", "Content-Length: "+value), ErrBadHandshake, Claims{})
			}
			w.wants(t, "twice", request("/?ticket=$T", "Content-Length: 0", "Content-Length: 0"), ErrBadHandshake, Claims{})
			w.wants(t, "identity", request("/?ticket=$T", "Transfer-Encoding: identity"), ErrBadHandshake, Claims{})
			w.wants(t, "empty coding", request("/?ticket=$T", "Transfer-Encoding:"), ErrBadHandshake, Claims{})
		}
		w.wants(t, "chunked", request("/?ticket=$T", "Transfer-Encoding: chunked"), ErrBadHandshake, Claims{})
	}
}

// A server must take targets in absolute-form (RFC 9112 section 3.2.2).
func TestHandshakeAbsoluteForm(t *testing.T) {
	for _, w := range threeWays(t, nil) {
		for _, target := range []string{"http://gw.example/room?ticket=$T", "https://gw.example/room?ticket=$T", "HTTP://gw.example/room?a=b&ticket=$T"} {
			w.wants(t, target, request(target), 0, Claims{Path: "/room"})
			w.wants(t, target, request(target), ErrPath, Claims{Path: "/"})
		}
		w.wants(t, "no path", request("http://gw.example?ticket=$T"), 0, Claims{Path: "/"})
		w.wants(t, "same host", request("http://gw.example/?ticket=$T", fromApp), 0, Claims{})
		w.wants(t, "with a port", strings.Replace(request("http://gw.example:8080/?ticket=$T"), "Host: gw.example", "Host: gw.example:8080", 1), 0, Claims{})
		w.wants(t, "an address", strings.Replace(request("http://[::1]:8080/?ticket=$T"), "Host: gw.example", "Host: [::1]:8080", 1), 0, Claims{})
		for _, target := range []string{"ws://gw.example/?ticket=$T", "wss://gw.example/?ticket=$T", "ftp://gw.example/?ticket=$T", "http:/gw.example/?ticket=$T"} {
			w.wants(t, target, request(target), ErrBadHandshake, Claims{})
		}
		if w.name == "Gate" {
			continue // for net/http the host of the target is the Host, and what is no host it refuses itself
		}
		for _, target := range []string{"http://gw.example:80/?ticket=$T", "http://GW.example/?ticket=$T", "http://gw.example./?ticket=$T", "http://evil.example/?ticket=$T",
			"http://u@gw.example/?ticket=$T", "http://gw.example@evil.example/?ticket=$T", "http://gw%2Eexample/?ticket=$T", "http:///?ticket=$T"} {
			w.wants(t, target, request(target), ErrBadHandshake, Claims{})
		}
	}
}

// What the handler behind a Gate sees of an absolute-form is like the rest.
func TestGateAbsoluteForm(t *testing.T) {
	d := newDoor(t, nil)
	g := newGate(t, d, nil)
	for target, want := range map[string]string{
		"http://gw.example/room?a=1&ticket=$T": "http://gw.example/room?a=1",
		"http://gw.example?ticket=$T":          "http://gw.example",
		"http://gw.example?ticket=$T&b":        "http://gw.example?b",
	} {
		r := parsed(strings.Replace(request(target), "$T", d.ticket(t, Claims{}), 1))
		called := false
		g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, clean *http.Request) {
			called = true
			if clean.RequestURI != want || !strings.HasPrefix(clean.URL.Path, "/") || strings.Contains(clean.URL.RawQuery, "ticket") {
				t.Errorf("%s: RequestURI %q, path %q, query %q", target, clean.RequestURI, clean.URL.Path, clean.URL.RawQuery)
			}
		})).ServeHTTP(newHijackable(), r)
		if !called || r.URL.Path == "/" && !strings.Contains(target, "/room") {
			t.Errorf("%s: called %v, and the request itself has path %q", target, called, r.URL.Path)
		}
	}
	// Whoever has rewritten the Host since.
	r := parsed(strings.Replace(request("http://gw.example/?ticket=$T"), "$T", d.ticket(t, Claims{}), 1))
	r.Host = "other.example"
	if _, err := g.Redeem(r); !errors.Is(err, ErrBadHandshake) {
		t.Errorf("another Host: %v", err)
	}
}

// HTTP clients that offer HTTP/2 with every request do so for an event stream too
// (RFC 9110 section 7.8).
func TestGateIgnoresOtherUpgrades(t *testing.T) {
	d := newDoor(t, nil)
	g := newGate(t, d, func(c *GateConfig) { c.AnyRequest = true })
	page := func(lines string) string {
		return "GET /events?ticket=" + d.ticket(t, Claims{}) + " HTTP/1.1\r\nHost: gw.example\r\n" + lines + "\r\n"
	}
	for _, lines := range []string{
		"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
		"Connection: Upgrade\r\nUpgrade: TLS/1.2, HTTP/2.0\r\n", "Upgrade:\r\n", "Upgrade: h2c\r\nUpgrade: TLS/1.0\r\n",
	} {
		w := httptest.NewRecorder() // a stream needs no Hijacker
		g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "data: x") })).ServeHTTP(w, parsed(page(lines)))
		if w.Code != 200 || w.Body.String() != "data: x" {
			t.Errorf("%q: answered %d %s", lines, w.Code, w.Body)
		}
	}
	for _, lines := range []string{
		"Connection: Upgrade\r\nUpgrade: websocket\r\n", "Connection: Upgrade\r\nUpgrade: h2c, WebSocket\r\n", "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
		"Connection: Upgrade\r\nUpgrade: websocket/13\r\n",
	} {
		if _, err := g.Redeem(parsed(page(lines))); !errors.Is(err, ErrBadHandshake) {
			t.Errorf("%q: %v", lines, err)
		}
	}
}

// Middlewares that believe a proxy leave an address without a port in RemoteAddr.
func TestGateRemoteAddr(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:4711": "192.0.2.7:4711", "192.0.2.7": "192.0.2.7", "[2001:db8::7]:4711": "[2001:db8::7]:4711", "2001:db8::7": "2001:db8::7", "[2001:db8::7]": "2001:db8::7",
		"::ffff:192.0.2.7": "192.0.2.7", "fe80::1%eth0": "fe80::1%eth0",
		"": "", "@": "", "gw.example": "", "192.0.2.7:": "", "192.0.2": "", "192.0.2.7, 192.0.2.8": "", " 192.0.2.7": "", "[192.0.2.7": "", "[]": "",
	} {
		d := newDoor(t, nil)
		var told Refusal
		g := newGate(t, d, func(c *GateConfig) { c.OnRefuse = func(_ *http.Request, r Refusal) { told = r } })
		r := parsed(request("/?ticket=" + d.ticket(t, Claims{IP: "192.0.2.7"})))
		r.RemoteAddr = remote
		_, err := g.Redeem(r)
		if strings.Contains(want, "192.0.2.7") {
			if err != nil {
				t.Errorf("%q: %v", remote, err)
			}
			continue
		}
		if !errors.Is(err, ErrIP) {
			t.Errorf("%q: %v", remote, err)
		}
		if got := told.Remote; (got == nil) != (want == "") || got != nil && got.String() != want {
			t.Errorf("%q: told of %v, want %q", remote, got, want)
		}
	}
}

// A connection may say where it comes from in its own way.
func TestUpgradeRemoteAddr(t *testing.T) {
	for want, addrs := range map[string][]net.Addr{
		"192.0.2.7": {&net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1}, &net.IPAddr{IP: net.IPv4(192, 0, 2, 7)}, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 7)},
			textAddr("192.0.2.7:80"), textAddr("192.0.2.7")},
		"": {nil, (*net.TCPAddr)(nil), (*net.IPAddr)(nil), &net.IPAddr{}, &net.UnixAddr{Name: "192.0.2.7", Net: "unix"}, textAddr("pipe"), textAddr("")},
	} {
		for _, addr := range addrs {
			got := addrOf(addr)
			if got.Unmap().String() != want && !(want == "" && !got.IsValid()) {
				t.Errorf("%T %v: %v, want %q", addr, addr, got, want)
			}
			d := newDoor(t, nil)
			for _, hooks := range []bool{false, true} {
				conn := newMemConn([]byte(strings.Replace(request("/?ticket="+d.ticket(t, Claims{IP: "192.0.2.7"})), "keep-alive, ", "", 1)))
				conn.remote = addr
				var err error
				if hooks {
					_, err = newHooks(t, d, nil).Upgrade(context.Background(), conn, new(Ticket))
				} else {
					err = d.Upgrade(context.Background(), conn, new(Handshake))
				}
				if (err == nil) != (want != "") || err != nil && !errors.Is(err, ErrIP) {
					t.Errorf("%T %v, Hooks %v: %v", addr, addr, hooks, err)
				}
			}
		}
	}
}

// textAddr is an address of a package that has its own type for it.
type textAddr string

func (textAddr) Network() string  { return "tcp" }
func (a textAddr) String() string { return string(a) }

// Nothing is spent where the connection cannot be taken over.
func TestGateLooksForAHijacker(t *testing.T) {
	type onlyWriter struct{ http.ResponseWriter } // what many middlewares do
	var fault error
	var seen *http.Request
	d := newDoor(t, nil)
	g := newGate(t, d, func(c *GateConfig) {
		c.AnyRequest = true
		c.OnError = func(r *http.Request, err error) { seen, fault = r, err }
	})
	for name, c := range map[string]struct {
		writer http.ResponseWriter
		names  string // the type at fault, if there is one
	}{
		"a hijacker":              {newHijackable(), ""},
		"one within":              {unwrapping{newHijackable()}, ""},
		"one within another":      {unwrapping{unwrapping{newHijackable()}}, ""},
		"a recorder":              {httptest.NewRecorder(), "*httptest.ResponseRecorder"},
		"a wrapper that hides":    {onlyWriter{newHijackable()}, "wsticket.onlyWriter"},
		"hidden further in":       {unwrapping{onlyWriter{newHijackable()}}, "wsticket.onlyWriter"},
		"none within":             {unwrapping{httptest.NewRecorder()}, "*httptest.ResponseRecorder"},
		"one that is its own":     {&ownWrapper{httptest.NewRecorder()}, "*wsticket.ownWrapper"},
		"one that unwraps to nil": {unwrapping{nil}, "<nil>"},
	} {
		fault, seen = nil, nil
		called := 0
		ticket := d.ticket(t, Claims{})
		spent, broken, stats := d.guard.spent, g.Broken(), g.Stats()
		recorder := httptest.NewRecorder()
		w := c.writer
		if own, ok := w.(*ownWrapper); ok {
			recorder = own.ResponseWriter.(*httptest.ResponseRecorder)
		}
		r := parsed(request("/?ticket=" + ticket))
		if name == "one that unwraps to nil" {
			w = nilWrapper{recorder}
		}
		g.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called++ })).ServeHTTP(w, r)
		if c.names == "" {
			if called != 1 || fault != nil || d.guard.spent != spent+1 || g.Broken() != broken {
				t.Errorf("%s: called %d times, %v, %d spent", name, called, fault, d.guard.spent-spent)
			}
			continue
		}
		if called != 0 || d.guard.spent != spent || g.Broken() != broken+1 || g.Stats() != stats {
			t.Errorf("%s: called %d times, %d spent, %d broken", name, called, d.guard.spent-spent, g.Broken()-broken)
		}
		if fault == nil || seen != r || !strings.Contains(fault.Error(), " "+c.names+" is in the way") || !strings.Contains(fault.Error(), "Unwrap") || strings.Contains(fault.Error(), ticket) {
			t.Errorf("%s: told of %v", name, fault)
		}
		if _, ok := CodeOf(fault); ok {
			t.Errorf("%s: a fault of the gateway has a refusal's code", name)
		}
		// The ticket still gets in where the gateway works.
		g.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called++ })).ServeHTTP(newHijackable(), r)
		if called != 1 {
			t.Errorf("%s: the ticket is gone", name)
		}
	}

	// Who has no good ticket learns nothing of it.
	w := httptest.NewRecorder()
	fault = nil
	g.Wrap(nil).ServeHTTP(w, parsed(request("/?ticket=x")))
	if w.Code != 401 || fault != nil {
		t.Errorf("a bad ticket: %d, %v", w.Code, fault)
	}
	w = httptest.NewRecorder()
	g.Wrap(nil).ServeHTTP(w, parsed(request("/?ticket="+d.ticket(t, Claims{}))))
	want := answer.Of(500)
	if w.Code != 500 || w.Body.String() != want.Body || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("answered %d %v %s", w.Code, w.Header(), w.Body)
	}
}

type unwrapping struct{ inner http.ResponseWriter }

func (u unwrapping) Header() http.Header         { return u.inner.Header() }
func (u unwrapping) Write(b []byte) (int, error) { return u.inner.Write(b) }
func (u unwrapping) WriteHeader(status int)      { u.inner.WriteHeader(status) }
func (u unwrapping) Unwrap() http.ResponseWriter { return u.inner }

type ownWrapper struct{ http.ResponseWriter }

func (o *ownWrapper) Unwrap() http.ResponseWriter { return o }

type nilWrapper struct{ http.ResponseWriter }

func (nilWrapper) Unwrap() http.ResponseWriter { return nil }

// The real server, with the real wrapper that hides its connection.
func TestGateBehindTimeoutHandler(t *testing.T) {
	d := newDoor(t, nil)
	faults := make(chan error, 1)
	g := newGate(t, d, func(c *GateConfig) { c.OnError = func(_ *http.Request, err error) { faults <- err } })
	server := httptest.NewServer(http.TimeoutHandler(g.Wrap(nil), time.Minute, ""))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, request("/?ticket="+d.ticket(t, Claims{})))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != 500 {
		t.Fatalf("%v, %v", res, err)
	}
	if err := <-faults; !strings.Contains(err.Error(), "*http.timeoutWriter") || d.guard.spent != 0 {
		t.Errorf("%v, %d spent", err, d.guard.spent)
	}
}

// Each Origin and what it gets, by list, by pattern and by function.
func TestOrigins(t *testing.T) {
	type asked struct{ origin, host string }
	var question asked
	for name, c := range map[string]struct {
		origins []string
		allow   func(origin, host []byte) bool
		passes  []string
		refused []string
	}{
		"a pattern": {[]string{"https://*.app.example", "https://app.example"}, nil,
			[]string{"https://app.example", "https://a.app.example", "https://a.b.app.example"},
			[]string{"https://app.example.evil", "https://evilapp.example", "https://.app.example", "http://a.app.example", "https://gw.example", "null", ""}},
		"shells of apps": {[]string{"capacitor://localhost", "tauri://localhost", "file://", "chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb"}, nil,
			[]string{"capacitor://localhost", "tauri://localhost", "file://", "chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb"},
			[]string{"capacitor://localhos", "file:///x", "chrome-extension://other", "https://localhost", "null"}},
		"a function beside a list": {[]string{"https://app.example"}, func(o, h []byte) bool { question = asked{string(o), string(h)}; return string(o) == "null" },
			[]string{"https://app.example", "null"}, []string{"https://gw.example", "https://evil.example", ""}},
		"a function beside the same host": {nil, func(o, h []byte) bool {
			question = asked{string(o), string(h)}
			return string(o) == "https://app.example"
		},
			[]string{"https://gw.example", "https://app.example"}, []string{"https://evil.example", "null"}},
		"a function that lets nobody in": {nil, func(o, h []byte) bool { return false }, []string{"https://gw.example"}, []string{"null", "https://evil.example"}},
	} {
		for _, w := range threeWays(t, func(config *wayConfig) { config.Origins, config.AllowOrigin = c.origins, c.allow }) {
			for _, origin := range c.passes {
				w.wants(t, name+": "+origin, request("/?ticket=$T", "Origin: "+origin), 0, Claims{})
				if origin != "null" { // which no Signer binds a ticket to
					w.wants(t, name+": "+origin, request("/?ticket=$T", "Origin: "+origin), 0, Claims{Origin: origin})
				}
				w.wants(t, name+": "+origin, request("/?ticket=$T", "Origin: "+origin), ErrOrigin, Claims{Origin: "https://other.example"})
			}
			for _, origin := range c.refused {
				question = asked{}
				w.wants(t, name+": "+origin, request("/?ticket=$T", "Origin: "+origin), ErrOrigin, Claims{})
				if strings.HasPrefix(name, "a function beside") && question != (asked{origin, "gw.example"}) {
					t.Errorf("%s, %s: asked about %v, not %q", w.name, name, question, origin)
				}
			}
			w.wants(t, name+": none", request("/?ticket=$T"), 0, Claims{})
		}
	}
}

// A ticket in a cookie needs an Origin of the list, patterns among it. That a
// function lets an Origin in is not enough: it may be every page's.
func TestOriginsAndCookies(t *testing.T) {
	everybody := func(_, _ []byte) bool { return true }
	cookie := func(origin string) string {
		if origin != "" {
			origin = "Origin: " + origin
		} else {
			origin = "X: y"
		}
		return request("/", origin, "Cookie: __Host-ws-ticket=$T")
	}
	for _, w := range threeWays(t, func(c *wayConfig) {
		c.Origins, c.AllowOrigin = []string{"https://*.app.example", "capacitor://localhost"}, everybody
	}) {
		w.wants(t, "pattern", cookie("https://a.app.example"), 0, Claims{})
		w.wants(t, "listed", cookie("capacitor://localhost"), 0, Claims{})
		for _, origin := range []string{"https://gw.example", "https://evil.example", "null", ""} {
			w.wants(t, "cookie from "+origin, cookie(origin), ErrOrigin, Claims{})
		}
	}
	for _, w := range threeWays(t, func(c *wayConfig) { c.Origins, c.AllowOrigin = nil, everybody }) {
		w.wants(t, "no list", cookie("https://gw.example"), ErrOrigin, Claims{})
	}
}

// No page can set Authorization, and programs send an Origin of their own making. The
// claim holds for them too.
func TestOriginsAndBearers(t *testing.T) {
	asked := false
	for _, w := range threeWays(t, func(c *wayConfig) { c.AllowOrigin = func(_, _ []byte) bool { asked = true; return false } }) {
		for _, origin := range []string{"https://evil.example", "http://localhost", "null", "file://", "react-native", ""} {
			w.wants(t, "bearer from "+origin, request("/", "Origin: "+origin, "Authorization: Bearer $T"), 0, Claims{})
			w.wants(t, "bearer bound, from "+origin, request("/", "Origin: "+origin, "Authorization: Bearer $T"), ErrOrigin, Claims{Origin: "https://app.example"})
		}
		w.wants(t, "bearer bound", request("/", fromApp, "Authorization: Bearer $T"), 0, Claims{Origin: "https://app.example"})
		w.wants(t, "bearer bound, no Origin", request("/", "Authorization: Bearer $T"), ErrOrigin, Claims{Origin: "https://app.example"})
		if asked {
			t.Errorf("%s: AllowOrigin was asked about a program", w.name)
		}
		// Beside another ticket it is none that came by Authorization.
		for _, head := range []string{
			request("/?ticket=x", "Origin: null", "Authorization: Bearer $T"), request("/?Ticket=x", "Origin: null", "Authorization: Bearer $T"),
			request("/", "Origin: null", "Authorization: Bearer $T", "Cookie: __Host-ws-ticket=x"),
			request("/", "Origin: null", "Authorization: Bearer $T", "Authorization: Bearer x"),
			request("/?ticket=$T", "Origin: null", "Authorization: Basic x"),
		} {
			w.wants(t, head, head, ErrOrigin, Claims{})
		}
		asked = false
	}
	// Where the carrier is off, the header says nothing.
	for _, w := range threeWays(t, func(c *wayConfig) { c.Carriers = 0 }) {
		w.wants(t, "bearer is off", request("/?ticket=$T", "Origin: null", "Authorization: Bearer x"), ErrOrigin, Claims{})
	}
}

// Routers that drop the parameters of a segment read /a/..;/b as /b.
func TestPathParameters(t *testing.T) {
	for _, w := range threeWays(t, nil) {
		for _, path := range []string{"/a/..;/b", "/a/..;x=1/b", "/a/.;/b", "/a/b/..;", "/a/;x/b", "/a/;", "/a/..%3b/b", "/a/..%3B/b", "/a/%2e%2e;/b", "/a/.%2e%3b/b"} {
			w.wants(t, path, request(path+"?ticket=$T"), ErrPath, Claims{Path: "/a/*"})
			w.wants(t, path+", not bound", request(path+"?ticket=$T"), 0, Claims{})
		}
		for _, path := range []string{"/a/b;x=1", "/a/b;x/c", "/a/...;x", "/a/..b;x", "/a/b;..", "/a/b;/c", "/a/b%3bx", "/a/x..;/b", "/a/%41;/b", "/a/b.;x"} {
			w.wants(t, path, request(path+"?ticket=$T"), 0, Claims{Path: "/a/*"})
		}
	}
}

// Whatever a load balancer may read as the ticket is one here.
func TestQueryThatOthersReadOtherwise(t *testing.T) {
	for _, w := range threeWays(t, nil) {
		for _, query := range []string{"x=1;ticket=A&ticket=$T", "x?ticket=A&ticket=$T", "ticket=$T&x=1;ticket=A", "ticket=$T&x?ticket=A", "?ticket=$T", ";ticket=$T", "x=1;ticket=$T",
			"ticket=$T&amp;ticket=A", "Ticket=A&ticket=$T", "ticket=$T&TICKET", "%74icket=A&ticket=$T", "x;%74icket=A&ticket=$T", "ticket;&ticket=$T"} {
			w.wants(t, query, request("/?"+query), ErrAmbiguous, Claims{})
		}
		for _, query := range []string{"x=1;y=2&ticket=$T", "x?y&ticket=$T", "ticket=$T&x=?;", "ticket=$T&x=a;tickets=1", "ticket=$T&xticket=1;myticket?x"} {
			w.wants(t, query, request("/?"+query), 0, Claims{})
		}
	}
}

// MintHandler reads Origins as the gateways do.
func TestMintOrigins(t *testing.T) {
	h := mintHandler(t, func(c *MintConfig) {
		c.Origins = []string{"https://*.app.example", "capacitor://localhost", "file://"}
		c.AllowOrigin = func(origin, host []byte) bool { return string(origin) == "null" && string(host) == "gw.example" }
	})
	for origin, want := range map[string]int{
		"https://a.app.example": 200, "capacitor://localhost": 200, "file://": 200, "null": 200,
		"https://app.example": 403, "https://evil.example": 403, "https://a.app.example.evil": 403, "capacitor://localhos": 403,
	} {
		for _, method := range []string{"POST", "OPTIONS"} {
			r := httptest.NewRequest(method, "http://gw.example/ticket", nil)
			r.Header.Set("Origin", origin)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Cookie", "session=ada")
			if method == "OPTIONS" {
				r.Header.Set("Access-Control-Request-Method", "POST")
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			status, named := w.Code, w.Header().Get("Access-Control-Allow-Origin")
			if status == 204 {
				status = 200
			}
			if status != want || (named == origin) != (want == 200) {
				t.Errorf("%s from %s: %d, allows %q", method, origin, w.Code, named)
			}
		}
	}
	// Two Origins are nobody's.
	r := httptest.NewRequest("POST", "http://gw.example/ticket", nil)
	r.Header["Origin"] = []string{"https://a.app.example", "https://a.app.example"}
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Cookie", "session=ada")
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 403 || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("two Origins: %d, %v", w.Code, w.Header())
	}
}
