package wsticket

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// gateways are the three ways in, each made anew from a configuration and told of
// one head. They return the refusal that OnRefuse heard, cloned, and what was
// returned.
var gateways = map[string]func(*testing.T, *door, string, netip.Addr) (Refusal, error){
	"Upgrader": func(t *testing.T, d *door, head string, peer netip.Addr) (told Refusal, err error) {
		config := d.config
		config.OnRefuse = func(r Refusal) { told = r.Clone() }
		if peer.IsValid() {
			config.PeerAddr = func(net.Conn, *Handshake) netip.Addr { return peer }
		}
		u, err := NewUpgrader(config)
		if err != nil {
			t.Fatal(err)
		}
		return told, u.Upgrade(context.Background(), newMemConn([]byte(head)), new(Handshake))
	},
	"Gate": func(t *testing.T, d *door, head string, peer netip.Addr) (told Refusal, err error) {
		g := newGate(t, d, func(c *GateConfig) {
			c.OnRefuse = func(_ *http.Request, r Refusal) { told = r.Clone() }
			if peer.IsValid() {
				c.PeerAddr = func(*http.Request) netip.Addr { return peer }
			}
		})
		_, err = g.Redeem(parsed(head))
		return told, err
	},
	"Hooks": func(t *testing.T, d *door, head string, peer netip.Addr) (told Refusal, err error) {
		h := newHooks(t, d, func(c *HooksConfig) {
			c.OnRefuse = func(r Refusal) { told = r.Clone() }
			if peer.IsValid() {
				c.PeerAddr = func(net.Conn) netip.Addr { return peer }
			}
		})
		_, err = h.Upgrade(context.Background(), newMemConn([]byte(strings.Replace(head, "keep-alive, Upgrade", "Upgrade", 1))), new(Ticket))
		return told, err
	},
}

// The three say the same words, with the same values.
func TestRefusalSaysWhy(t *testing.T) {
	sameHost := func(c *UpgraderConfig) { c.Origins = nil }
	for name, c := range map[string]struct {
		alter  func(*UpgraderConfig)
		claims Claims
		lines  []string
		target string // "" for the ticket in the query
		peer   netip.Addr
		want   string
		addr   string // of the refusal
	}{
		"another port": {alter: sameHost, lines: []string{"Origin: https://gw.example:8443"},
			want: `origin: the Origin is not that of Host (rule: same host, as no Origins are listed): Origin "https://gw.example:8443", Host "gw.example"`},
		"hostile origin": {alter: sameHost, lines: []string{"Origin: https://\xe2\x80\xae" + strings.Repeat("x", 90)},
			want: `origin: the Origin is not that of Host (rule: same host, as no Origins are listed): Origin "https://\u202e` + strings.Repeat("x", 50) + `"…, Host "gw.example"`},
		"not listed": {lines: []string{"Origin: http://localhost:3000"},
			want: `origin: the Origin is not listed in Origins: Origin "http://localhost:3000", Host "gw.example", listed "https://app.example"`},
		"cookie without Origin": {target: "/", lines: []string{"Cookie: __Host-ws-ticket=TICKET"},
			want: `origin: the ticket came by cookie, and that takes an Origin that is listed: no Origin, Host "gw.example", listed "https://app.example"`},
		"cookie of the same host": {alter: sameHost, target: "/", lines: []string{"Cookie: __Host-ws-ticket=TICKET", "Origin: https://gw.example"},
			want: `origin: the ticket came by cookie, and that takes an Origin that is listed: Origin "https://gw.example", Host "gw.example", listed none`},
		"no ticket": {target: "/",
			want: "missing: no ticket in the request: looked for in query, subprotocol, bearer, cookie"},
		"subprotocol alone": {target: "/", lines: []string{"Sec-WebSocket-Protocol: ticket.TICKET"},
			want: `bad_handshake: the ticket came as a subprotocol, and none of the application was offered beside it; offer one of Protocols too: Protocols "app.v1" "app.v2"`},
		"subprotocol, no Protocols": {alter: func(c *UpgraderConfig) { c.Protocols = nil }, target: "/", lines: []string{"Sec-WebSocket-Protocol: app.v1, ticket.TICKET"},
			want: `bad_handshake: the ticket came as a subprotocol, and none of the application was offered beside it; offer one of Protocols too: Protocols none`},
		"no ticket, fewer carriers": {alter: func(c *UpgraderConfig) { c.Carriers = CarrierQuery }, target: "/", lines: []string{"Authorization: Bearer TICKET"},
			want: "missing: no ticket in the request: looked for in query"},
		"two tickets": {target: "/?ticket=TICKET&ticket=TICKET", want: "ambiguous: " + ErrAmbiguous.meaning()},
		"ticket as the Origin": {lines: []string{"Origin: https://TICKET"},
			want: `origin: the Origin is not listed in Origins: Origin (not shown: it holds a piece of a ticket), Host "gw.example", listed "https://app.example"`},
		"bound to an address": {claims: Claims{IP: "198.51.100.0/24"}, addr: "192.0.2.7",
			want: "ip: the peer's address is not one that the ticket is bound to: address 192.0.2.7, claim 198.51.100.0/24"},
		"bound to an address, behind a proxy": {claims: Claims{IP: "198.51.100.0/24"}, peer: netip.MustParseAddr("10.1.2.3"), addr: "10.1.2.3",
			want: "ip: the peer's address is not one that the ticket is bound to: address 10.1.2.3, claim 198.51.100.0/24"},
		"bound to a path": {claims: Claims{Path: "/room"}, addr: "192.0.2.7",
			want: `path: the request path is not one that the ticket is bound to: path "/", claim "/room"`},
		"ticket in the path": {claims: Claims{Path: "/room"}, target: "/TICKET?ticket=TICKET", addr: "192.0.2.7",
			want: `path: the request path is not one that the ticket is bound to: path (not shown: it holds a piece of a ticket), claim "/room"`},
		"bound to an origin": {claims: Claims{Origin: "https://app.example"}, addr: "192.0.2.7",
			want: `origin: the ticket is bound to an origin, and the handshake has no Origin: claim "https://app.example"`},
		"for somebody else": {claims: Claims{Audiences: []string{"chat"}}, addr: "192.0.2.7",
			want: `audience: aud is given, and the verifier has no Audiences: aud "chat"`},
		"two Origins": {lines: []string{"Origin: https://app.example", "Origin: https://app.example"}, want: "bad_handshake: there is more than one Origin header"},
	} {
		for way, refuse := range gateways {
			t.Run(name+"/"+way, func(t *testing.T) {
				d := newDoor(t, c.alter)
				ticket := d.ticket(t, c.claims)
				target := c.target
				if target == "" {
					target = "/?ticket=TICKET"
				}
				told, err := refuse(t, d, strings.ReplaceAll(request(target, c.lines...), "TICKET", ticket), c.peer)
				if told.Err == nil || told.Err.Error() != "wsticket: "+c.want {
					t.Errorf("told\n     %v\nwant wsticket: %s", told.Err, c.want)
				}
				if code, ok := CodeOf(err); !ok || code != told.Code || !errors.Is(told.Err, err) {
					t.Errorf("returned %v, told %v of code %v", err, told.Err, told.Code)
				}
				if brief := err.Error(); !strings.HasPrefix(told.Err.Error(), brief) || strings.Contains(brief, "gw.example") {
					t.Errorf("returned %q, told %q", brief, told.Err)
				}
				if addr := told.Addr; addr.IsValid() != (c.addr != "") || addr.IsValid() && addr != netip.MustParseAddr(c.addr) {
					t.Errorf("the address is %v, want %q", addr, c.addr)
				}
				if told.Remote == nil || told.Remote.String() != "192.0.2.7:4711" {
					t.Errorf("Remote is %v", told.Remote)
				}
			})
		}
	}
}

// The faults of a head come with the limit, or with the header that has them.
func TestRefusalSaysWhichHeader(t *testing.T) {
	d := newDoor(t, func(c *UpgraderConfig) { c.HeadBytes, c.MaxHeaders = 600, 8 })
	const upgrade, connection, version = "Upgrade: websocket\r\n", "Connection: keep-alive, Upgrade\r\n", "Sec-WebSocket-Version: 13\r\n"
	with := func(old, new string) string { return strings.Replace(request("/"), old, new, 1) }
	for _, c := range []struct {
		head, want string
		gate       bool // net/http hands it on
	}{
		{request("/", "X: "+strings.Repeat("x", 600)), "head_too_large: the head is longer than the limit allows: limit 600 bytes", false},
		{request("/", "A: 1", "B: 2", "C: 3", "D: 4", "E: 5"), "head_too_large: there are more header lines than the limit allows: limit 8 lines", false},
		{with(version, "Sec-WebSocket-Version: 8\r\n"), `bad_handshake: the Sec-WebSocket-Version header is missing or is not 13: Sec-WebSocket-Version "8"`, true},
		{with(version, ""), `bad_handshake: the Sec-WebSocket-Version header is missing or is not 13: no Sec-WebSocket-Version`, true},
		{with(upgrade, "Upgrade: h2c\r\n"), `bad_handshake: the Upgrade header is missing or is not websocket: Upgrade "h2c"`, true},
		{with(upgrade, ""), `bad_handshake: the Upgrade header is missing or is not websocket: no Upgrade`, true},
		{with(connection, "Connection: keep-alive\r\n"), `bad_handshake: no Connection header lists upgrade: Connection "keep-alive"`, true},
		{with(connection, ""), `bad_handshake: no Connection header lists upgrade: no Connection`, true},
		{with(connection, "Connection: a b\r\n"), `bad_handshake: the Connection header is not a list of tokens: Connection "a b"`, true},
		{with("GET", "DELETE"), `bad_handshake: the method is not GET: method "DELETE"`, true},
		{with("Host: gw.example", "Host: gw example"), `bad_handshake: the Host header is empty or holds a character that no host has: Host "gw example"`, false},
		{request("/", "Transfer-Encoding: chunked"), `bad_handshake: there is a Content-Length other than 0, or a Transfer-Encoding header, and a handshake has no body: Transfer-Encoding "chunked"`, false},
		{request("/", "Content-Length: 5"), `bad_handshake: there is a Content-Length other than 0, or a Transfer-Encoding header, and a handshake has no body: Content-Length "5"`, true},
		{request("/", "Bad Header: x"), `bad_handshake: a header line is not name:value CRLF, or holds a control character: line 6 of the headers`, false},
		{request("/", "Sec-WebSocket-Protocol: a b"), "bad_handshake: the Sec-WebSocket-Protocol header is not a list of tokens", true},
	} {
		for _, way := range []string{"Upgrader", "Gate"} {
			if way == "Gate" && !c.gate {
				continue
			}
			told, _ := gateways[way](t, d, c.head, netip.Addr{})
			if told.Err == nil || told.Err.Error() != "wsticket: "+c.want {
				t.Errorf("%s told\n     %v,\nwant wsticket: %s", way, told.Err, c.want)
			}
		}
	}
}

// A refusal is one group of one line.
func TestRefusalInALog(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}}))
	v := testVerifier(t, nil)
	text := forge(testHeader, `{"jti":"n-1\u202e","iat":1795219200,"exp":1795219210,"sub":"ada\n","path":"/a"}`)
	for _, c := range []struct {
		ticket []byte
		want   string
	}{
		{text, `msg=refused r.code=path r.why="the request path is not one that the ticket is bound to: path \"/b\", claim \"/a\"" r.remote=192.0.2.7:4711 r.addr=10.0.0.1 r.kid=k1 r.jti=n-1\u202e r.sub=ada\n r.age=3s` + "\n"},
		{[]byte(tampered(string(text))), `msg=refused r.code=bad_signature r.why="the MAC is wrong: key \"k1\"" r.remote=192.0.2.7:4711 r.addr=10.0.0.1` + "\n"},
	} {
		var ticket Ticket
		d := details{verifier: v, now: testNow.Unix() + 3, ticket: &ticket,
			request: Request{Ticket: c.ticket, Path: []byte("/b"), Addr: netip.MustParseAddr("10.0.0.1")}}
		d.err = v.judge(d.now, &d.request, &ticket)
		r := d.refusal(codeOf(d.err), &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711})
		for _, r := range []Refusal{r, r.Clone()} {
			out.Reset()
			logger.Warn("refused", "r", r)
			if got := strings.ReplaceAll(out.String(), `\\`, `\`); got != c.want {
				t.Errorf("logged\n     %swant %s", got, c.want)
			}
		}
	}
	out.Reset()
	logger.Warn("refused", "r", Refusal{Code: ErrOverloaded, Err: ErrOverloaded})
	if want := `msg=refused r.code=overloaded r.why="too many handshakes in progress"` + "\n"; out.String() != want {
		t.Errorf("logged %s, want %s", out.String(), want)
	}
}

// Err is what it was for as long as the call lasts, and no more than the reason
// behind it: never the values of another handshake.
func TestRefusalIsKept(t *testing.T) {
	var kept, cloned []Refusal
	d := newDoor(t, nil)
	config := d.config
	config.OnRefuse = func(r Refusal) { kept, cloned = append(kept, r), append(cloned, r.Clone()) }
	u, err := NewUpgrader(config)
	if err != nil {
		t.Fatal(err)
	}
	var h Handshake
	tickets := []string{d.ticket(t, Claims{Subject: "ada", Path: "/ada"}), d.ticket(t, Claims{Subject: "bob", Audiences: []string{"bob"}})}
	for _, ticket := range tickets {
		if err := u.Upgrade(context.Background(), newMemConn([]byte(request("/?ticket="+ticket))), &h); err == nil {
			t.Fatal("accepted")
		}
		if h.why.verifier != nil || h.why.request.Ticket != nil || h.asked.Ticket != nil || h.asked.Addr.IsValid() {
			t.Error("the handshake holds on to what it showed")
		}
	}
	for i, want := range []string{`path "/", claim "/ada"`, `aud "bob"`} {
		if got := cloned[i].Err.Error(); !strings.HasSuffix(got, want) {
			t.Errorf("cloned %q, want %s", got, want)
		}
		if got := kept[i].Err.Error(); strings.Contains(got, "ada") || strings.Contains(got, "bob") {
			t.Errorf("kept %q", got)
		}
		if string(cloned[i].Subject) != []string{"ada", "bob"}[i] || cap(cloned[i].Subject) > 8 {
			t.Errorf("cloned %q", cloned[i].Subject)
		}
	}

	hooks := newHooks(t, d, func(c *HooksConfig) { c.OnRefuse = func(r Refusal) { kept = append(kept, r) } })
	for _, ticket := range tickets {
		head := strings.Replace(request("/?ticket="+ticket), "keep-alive, Upgrade", "Upgrade", 1)
		if _, err := hooks.Upgrade(context.Background(), newMemConn([]byte(head)), new(Ticket)); err == nil {
			t.Fatal("accepted")
		}
	}
	// The memory of both may have been the same: then both say what the second did.
	for _, r := range kept {
		if got := r.Err.Error(); got != errOtherPath.Error() && got != errAnyAudience.Error() {
			t.Errorf("kept %q", got)
		}
	}
}

// Single use has its values too.
func TestRefusalSaysWhenTheCacheBegan(t *testing.T) {
	d := newDoor(t, nil)
	cache, err := NewReplayCache(ReplayConfig{PeakPerSecond: 100})
	if err != nil {
		t.Fatal(err)
	}
	if d.config.Verifier, err = NewVerifier(VerifierConfig{Keys: d.keys, Replay: cache}); err != nil {
		t.Fatal(err)
	}
	told, err := gateways["Upgrader"](t, d, request("/?ticket="+d.ticket(t, Claims{})), netip.Addr{})
	want := regexp.MustCompile(`^wsticket: issued_before_start: may have been used before this single-use cache began: iat (\d+), taken from (\d+) on$`)
	m := want.FindStringSubmatch(told.Err.Error())
	if err != ErrIssuedBeforeStart || m == nil {
		t.Fatalf("%v, told %v", err, told.Err)
	}
	iat, _ := strconv.ParseInt(m[1], 10, 64)
	if from, _ := strconv.ParseInt(m[2], 10, 64); from != cache.notAfter+1 || iat >= from {
		t.Error(told.Err)
	}
}

// What an application refuses by itself comes as it is.
func TestRefusalOfTheApplication(t *testing.T) {
	no := errors.New("ada has gone")
	d := newDoor(t, func(c *UpgraderConfig) { c.Authorize = func(context.Context, *Handshake) error { return no } })
	told, err := gateways["Upgrader"](t, d, request("/?ticket="+d.ticket(t, Claims{Subject: "ada"})), netip.Addr{})
	if !errors.Is(told.Err, no) || !errors.Is(err, no) || told.Code != ErrUnauthorized || string(told.Subject) != "ada" || told.Addr.String() != "192.0.2.7" {
		t.Errorf("%+v, %v", told, err)
	}
	if why := ReasonOf(told.Err); why != "ada has gone" {
		t.Error(why)
	}
}

// Words cost nobody anything who does not read them: with OnRefuse set, and with
// every value at hand, a refusal does not allocate. TestUpgradeAllocs has the codes.
func TestReasonsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	var ticket Ticket
	for _, c := range explainedCases() {
		v := testVerifier(t, c.config)
		r := Request{Ticket: []byte(c.ticket)}
		if c.alter != nil {
			c.alter(&r)
		}
		now := testNow.Add(c.at)
		if n := testing.AllocsPerRun(20, func() {
			if v.PeekAt(now, r, &ticket) == nil {
				t.Fatal(c.name)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

// A payload that was refused shows nothing of itself but in the words of the
// refusal, also where its first claims were read before the fault.
func TestRefusedPayloadIsNoTicket(t *testing.T) {
	v := testVerifier(t, nil)
	for name, payload := range map[string]string{
		"claims":   `{"jti":"n-1","iat":1795219200,"exp":1795219210,"sub":"\u0061da","iss":7}`,
		"alphabet": "",
	} {
		text := forge(testHeader, payload)
		if name == "alphabet" {
			text = []byte(resign(strings.Replace(string(forge(testHeader, fullPayload)), ".", ".=", 1)))
		}
		d := details{verifier: v, ticket: new(Ticket), now: testNow.Unix(), request: Request{Ticket: text}}
		d.err = v.judge(d.now, &d.request, d.ticket)
		r := d.refusal(codeOf(d.err), nil)
		if r.Code != ErrMalformed || string(r.KeyID) != "k1" || r.ID != nil || r.Subject != nil || r.Age != 0 {
			t.Errorf("%s: %+v", name, r)
		}
		tk := d.ticket
		if len(tk.Payload()) != 0 || tk.Issuer() != nil || !tk.IssuedAt().IsZero() || !tk.Expires().Equal(time.Time{}) {
			t.Errorf("%s: the payload shows", name)
		}
		if tk.reset(); !bytes.Equal(tk.buf[:], make([]byte, len(tk.buf))) || *tk != (Ticket{}) {
			t.Errorf("%s: the payload stays", name)
		}
	}
}

// Some middlewares put a header of the client into RemoteAddr, and the name of a Unix
// socket is the peer's choice: what is logged of an address is escaped and cut too.
func TestRefusalsLogAddressesEscaped(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&text, nil))
	hostile := "\x1b[2J\u202e" + strings.Repeat("z", 4000)
	remote := func(r *http.Request) *http.Request { r.RemoteAddr = "fe80::1%" + hostile; return r }
	d := newDoor(t, nil)
	ticket := d.ticket(t, Claims{})
	g := newGate(t, d, func(c *GateConfig) {
		c.OnRefuse = func(_ *http.Request, r Refusal) { log.Warn("gate", "refusal", r, "text", r.Remote.String()) }
	})
	g.Redeem(remote(parsed(request("/"))))
	log.Warn("socket", "refusal", Refusal{Code: ErrMissing, Err: ErrMissing, Remote: &net.UnixAddr{Name: "/" + hostile, Net: "unix"}})
	log.Warn("ticket", "refusal", Refusal{Code: ErrMissing, Err: ErrMissing, Remote: &net.UnixAddr{Name: "/" + ticket, Net: "unix"}})
	h := mintHandler(t, func(c *MintConfig) {
		c.OnRefuse = func(_ *http.Request, r MintRefusal) { log.Warn("mint", "refusal", r) }
	})
	h.ServeHTTP(httptest.NewRecorder(), remote(httptest.NewRequest("POST", "/ticket", nil)))
	for line := range strings.Lines(text.String()) {
		if strings.ContainsAny(line, "\u202e\x1b") || strings.Contains(line, "[2J\u202e") || len(line) > 500 || strings.Contains(line, ticket[:40]) {
			t.Errorf("%d bytes: %.400q", len(line), line)
		}
	}
	if n := strings.Count(text.String(), "\n"); n != 4 {
		t.Errorf("%d lines", n)
	}
	// The zone of a true peer stays.
	r := parsed(request("/"))
	if r.RemoteAddr = "[fe80::1%eth0]:1234"; remoteOf(r).String() != r.RemoteAddr {
		t.Errorf("%v", remoteOf(r))
	}
}
