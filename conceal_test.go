package wsticket

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestConceal: what is left of a request, for all that stands between Conceal and Gate.
func TestConceal(t *testing.T) {
	k := newGateKit(t)
	T := k.mint(t)
	other := "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." + strings.SplitN(T, ".", 2)[1] // a session's
	short := strings.Repeat("x", shortestTicket-1)
	type lines = []string
	for _, c := range []struct{ name, target, want string }{
		{"nothing", "/ws?a=1", "/ws?a=1"},
		{"alone", "/ws?ticket=" + T, "/ws"},
		{"first", "/ws?ticket=" + T + "&a=1", "/ws?a=1"},
		{"last", "/ws?a=1&ticket=" + T, "/ws?a=1"},
		{"between", "/ws?a=1&ticket=" + T + "&b=2", "/ws?a=1&b=2"},
		{"twice", "/ws?ticket=" + T + "&a&ticket=" + T, "/ws?a"},
		{"in other spellings", "/ws?Ticket=" + T + "&%74icket=" + T + "&tick%65T=" + T, "/ws"},
		{"behind other separators", "/ws?a;ticket=" + T + "?ticket=" + T + "&b", "/ws?a&b"},
		{"with escapes", "/ws?ticket=" + strings.ReplaceAll(T, ".", "%2E"), "/ws"},
		{"of a bug tracker", "/bugs?ticket=JIRA-123&ticket=" + short, "/bugs?ticket=JIRA-123&ticket=" + short},
		{"empty places", "/ws?&&ticket=" + T + "&&", "/ws?&&&"},
		{"other names", "/ws?xticket=" + T, "/ws?xticket=" + T},
	} {
		r := httptest.NewRequest("GET", c.target, nil)
		got := conceal(r)
		if got.RequestURI != c.want || got.URL.String() != c.want {
			t.Errorf("%s: %s and %s, want %s", c.name, got.RequestURI, got.URL, c.want)
		}
		if c.target == c.want && got != r {
			t.Errorf("%s: it is copied without need", c.name)
		}
		if r.RequestURI != c.target || r.URL.String() != c.target {
			t.Errorf("%s: the original was changed", c.name)
		}
	}
	for _, c := range []struct {
		name, header string
		value, want  lines
	}{
		{"protocols", "Sec-WebSocket-Protocol", lines{"app.v1, ticket." + T + ", app.v2"}, lines{"app.v1, app.v2"}},
		{"a protocol alone", "Sec-WebSocket-Protocol", lines{"ticket." + T}, nil},
		{"on one line of two", "Sec-WebSocket-Protocol", lines{"app.v1", "Ticket." + T, "app.v2"}, lines{"app.v1", "app.v2"}},
		{"a short protocol", "Sec-WebSocket-Protocol", lines{"ticket.sale, app.v1"}, lines{"ticket.sale, app.v1"}},
		{"bearer", "Authorization", lines{"Bearer " + T}, nil},
		{"bearer behind a tab", "Authorization", lines{"Bearer\t" + T}, nil},
		{"bearer in another case", "Authorization", lines{"bearer  " + T}, nil},
		{"another token", "Authorization", lines{"Bearer " + other}, lines{"Bearer " + other}},
		{"no token", "Authorization", lines{"Basic YTpi", "Bearer " + T}, lines{"Basic YTpi"}},
		{"cookie", "Cookie", lines{"a=1; __Host-ws-ticket=" + T + "; b=2"}, lines{"a=1; b=2"}},
		{"a cookie alone", "Cookie", lines{"__host-ws-ticket=" + T}, nil},
		{"another cookie", "Cookie", lines{"ticket=" + T}, lines{"ticket=" + T}},
	} {
		r := httptest.NewRequest("GET", "/ws", nil)
		name := http.CanonicalHeaderKey(c.header)
		r.Header[name] = c.value
		before := maps.Clone(r.Header)
		got := conceal(r)
		if !slices.Equal(got.Header[name], c.want) {
			t.Errorf("%s: %q, want %q", c.name, got.Header[name], c.want)
		}
		if !maps.EqualFunc(r.Header, before, slices.Equal) {
			t.Errorf("%s: the original was changed", c.name)
		}
		if slices.Equal(c.value, c.want) && got != r {
			t.Errorf("%s: it is copied without need", c.name)
		}
	}
}

func TestShortestTicket(t *testing.T) {
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"HS256","kid":"a","typ":"ws-ticket+jwt"}`)) + "." + encode([]byte(`{"jti":"a","iat":1,"exp":2}`)) + "." + encode(make([]byte, 32))
	if len(text) != shortestTicket {
		t.Errorf("%d, want %d", shortestTicket, len(text))
	}
}

// gateKit is a gate whose tickets are good, and what its handler saw.
type gateKit struct {
	signer  *Signer
	config  GateConfig
	reached []*http.Request
}

func newGateKit(t testing.TB) *gateKit {
	t.Helper()
	keys, err := ParseKeyring([]byte(`{"keys":[{"kty":"oct","kid":"k","alg":"HS256","k":"c2VjcmV0cy1pbi10ZXN0cy1hcmUtbm8tc2VjcmV0cy4u"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	k := &gateKit{}
	if k.signer, err = NewSigner(SignerConfig{Keys: keys}); err != nil {
		t.Fatal(err)
	}
	replay, err := NewReplayCache(ReplayConfig{PeakPerSecond: 100, Since: time.Unix(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := NewVerifier(VerifierConfig{Keys: keys, Replay: replay})
	if err != nil {
		t.Fatal(err)
	}
	k.config = GateConfig{Verifier: verifier, Origins: []string{"https://app.example"}, Protocols: []string{"app.v1"}}
	return k
}

func (k *gateKit) mint(t testing.TB) string {
	t.Helper()
	text, err := k.signer.Sign(&Claims{Subject: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (k *gateKit) ServeHTTP(w http.ResponseWriter, r *http.Request) { k.reached = append(k.reached, r) }

func handshakeOf(target string, headers ...string) *http.Request {
	r := httptest.NewRequest("GET", target, nil)
	r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"keep-alive", "Upgrade"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Origin": {"https://app.example"}}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

// TestConcealedGate: with Conceal before it a Gate says the same, and hands on the same
// request; and no ticket is in what stands between them.
func TestConcealedGate(t *testing.T) {
	all := CarrierQuery | CarrierSubprotocol | CarrierBearer | CarrierCookie
	for name, c := range map[string]struct {
		carriers Carriers
		request  func(T string) *http.Request
	}{
		"query":                   {all, func(T string) *http.Request { return handshakeOf("/ws?a=1&ticket=" + T + "&b=2") }},
		"protocol":                {all, func(T string) *http.Request { return handshakeOf("/ws", "Sec-Websocket-Protocol", "app.v1, ticket."+T) }},
		"bearer":                  {all, func(T string) *http.Request { return handshakeOf("/ws", "Authorization", "Bearer "+T) }},
		"cookie":                  {all, func(T string) *http.Request { return handshakeOf("/ws", "Cookie", "a=1; __Host-ws-ticket="+T) }},
		"two":                     {all, func(T string) *http.Request { return handshakeOf("/ws?ticket="+T, "Authorization", "Bearer "+T) }},
		"two, one of them short":  {all, func(T string) *http.Request { return handshakeOf("/ws?ticket=x&ticket=" + T) }},
		"another spelling":        {all, func(T string) *http.Request { return handshakeOf("/ws?Ticket=" + T) }},
		"one that is off":         {CarrierQuery, func(T string) *http.Request { return handshakeOf("/ws?ticket="+T, "Cookie", "__Host-ws-ticket="+T) }},
		"only one that is off":    {CarrierQuery, func(T string) *http.Request { return handshakeOf("/ws", "Cookie", "__Host-ws-ticket="+T) }},
		"a bad list of protocols": {all, func(T string) *http.Request { return handshakeOf("/ws?ticket="+T, "Sec-Websocket-Protocol", "a b") }},
		"a bad target": {all, func(T string) *http.Request {
			r := handshakeOf("/ws")
			r.RequestURI = "/ws?ticket=" + T + "#x"
			return r
		}},
		"no protocol beside it": {all, func(T string) *http.Request { return handshakeOf("/ws", "Sec-Websocket-Protocol", "ticket."+T) }},
		"none":                  {all, func(T string) *http.Request { return handshakeOf("/ws") }},
		"broken":                {all, func(T string) *http.Request { return handshakeOf("/ws?ticket=" + T + "x") }},
		"escaped":               {all, func(T string) *http.Request { return handshakeOf("/ws?ticket=" + strings.Replace(T, ".", "%2E", 1)) }},
		"no URI":                {all, func(T string) *http.Request { r := handshakeOf("/ws?ticket=" + T); r.RequestURI = ""; return r }},
	} {
		k := newGateKit(t)
		k.config.Carriers = c.carriers
		gate, err := NewGate(k.config)
		if err != nil {
			t.Fatal(err)
		}
		var between bytes.Buffer
		logged := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(&between, "%s %s %v %q %v\n%+v\n%#v\n", r.RequestURI, r.URL, r.Header, r.Header, r.Context(), r, r)
			slog.New(slog.NewJSONHandler(&between, nil)).Info("request", "url", r.URL, "header", r.Header, "ctx", r.Context())
			gate.Wrap(k).ServeHTTP(w, r)
			fmt.Fprintf(&between, "%v", r.Context())
		})
		plain, concealed := newHijackable(), newHijackable()
		gate.Wrap(k).ServeHTTP(plain, c.request(k.mint(t)))
		T := k.mint(t)
		Conceal(logged).ServeHTTP(concealed, c.request(T))
		if plain.Code != concealed.Code || plain.Body.String() != concealed.Body.String() {
			t.Errorf("%s: %d %s, without Conceal %d %s", name, concealed.Code, concealed.Body, plain.Code, plain.Body)
		}
		if head, _, _ := strings.Cut(T, "."); strings.Contains(between.String(), T[len(head)+1:]) || strings.Contains(between.String(), T[len(T)-43:]) {
			t.Errorf("%s: the ticket is in %s", name, &between)
		}
		if len(k.reached) == 2 {
			without, with := k.reached[0], k.reached[1]
			if c.carriers != all { // what the Gate does not look at, Conceal takes
				without.Header = with.Header
			}
			if without.RequestURI != with.RequestURI || without.URL.String() != with.URL.String() || fmt.Sprint(without.Header) != fmt.Sprint(with.Header) {
				t.Errorf("%s: handed on %s %s %v, without Conceal %s %s %v", name, with.RequestURI, with.URL, with.Header, without.RequestURI, without.URL, without.Header)
			}
			if ticket, ok := TicketFrom(with.Context()); !ok || string(ticket.Subject()) != "ada" {
				t.Errorf("%s: no ticket for the handler", name)
			}
			if _, err := gate.Redeem(with); err != ErrMissing { // as behind a Gate alone
				t.Errorf("%s: behind the gate: %v", name, err)
			}
		} else if len(k.reached) != 0 {
			t.Errorf("%s: %d of 2 got in", name, len(k.reached))
		}
	}
}

// TestConcealTwice: the outer one counts.
func TestConcealTwice(t *testing.T) {
	k := newGateKit(t)
	gate, err := NewGate(k.config)
	if err != nil {
		t.Fatal(err)
	}
	w := newHijackable()
	Conceal(Conceal(gate.Wrap(k))).ServeHTTP(w, handshakeOf("/ws?ticket="+k.mint(t)))
	if len(k.reached) != 1 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func FuzzConceal(f *testing.F) {
	k := newGateKit(f)
	T := k.mint(f)
	f.Add("a=1&ticket="+T, "app.v1, ticket."+T, "Bearer "+T, "a=1; __Host-ws-ticket="+T)
	f.Add("%54ICKET="+T+";ticket="+T+"#"+T, "ticket.,"+T, "bearer\t"+T, "__Host-ws-ticket="+T+"=;")
	f.Add("&&ticket&ticket=&"+T, ",, ,", "Bearer", ";;=")
	f.Fuzz(func(t *testing.T, query, protocols, authorization, cookie string) {
		r := &http.Request{Method: "GET", URL: &url.URL{Path: "/", RawQuery: query}, RequestURI: "/?" + query, Header: http.Header{
			"Sec-Websocket-Protocol": {protocols}, "Authorization": {authorization}, "Cookie": {cookie}}}
		clean := conceal(r)
		if again := conceal(clean.WithContext(t.Context())); again.RequestURI != clean.RequestURI || fmt.Sprint(again.Header) != fmt.Sprint(clean.Header) {
			t.Fatalf("a second time takes more: %s %v, then %s %v", clean.RequestURI, clean.Header, again.RequestURI, again.Header)
		}
		// Where a Gate would find a ticket that could be good, nothing of it is left.
		policy := policy{carriers: 15}
		f := policy.finder()
		readParts(r).find(&f)
		if f.Count > 0 && len(f.Ticket) >= shortestTicket && bytes.HasPrefix(f.Ticket, []byte(T[:63])) {
			left := policy.finder()
			parts := readParts(clean.WithContext(t.Context()))
			parts.find(&left)
			if left.Count > 0 && bytes.Equal(left.Ticket, f.Ticket) && left.By == f.By && f.Count == 1 {
				t.Fatalf("it is left in %s %v", clean.RequestURI, clean.Header)
			}
		}
	})
}

func TestConcealAccessLog(t *testing.T) {
	k := newGateKit(t)
	gate, err := NewGate(k.config)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	logger := log.New(&out, "", 0)
	access := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gate.Wrap(k).ServeHTTP(w, r)
		logger.Printf("%s %s %s %q", r.RemoteAddr, r.Method, r.RequestURI, r.Header)
	})
	server := httptest.NewServer(Conceal(access))
	defer server.Close()
	T := k.mint(t)
	for range 2 { // let in, and refused
		request, err := http.NewRequest("GET", server.URL+"/ws?ticket="+T, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header = handshakeOf("/").Header
		request.Header.Set("Connection", "Upgrade")
		answer, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
	}
	if len(k.reached) != 1 || strings.Contains(out.String(), T[len(T)-43:]) || strings.Count(out.String(), "GET /ws ") != 2 {
		t.Errorf("%d let in; %s", len(k.reached), &out)
	}
}

// TestConcealForm: where a middleware has parsed the form, it has the ticket too.
func TestConcealForm(t *testing.T) {
	T := newGateKit(t).mint(t)
	r := httptest.NewRequest("GET", "/ws?ticket="+T+"&Ticket="+T+"&ticket=JIRA-123&a=1", nil)
	r.ParseForm()
	got := conceal(r)
	if want := (url.Values{"ticket": {"JIRA-123"}, "a": {"1"}}); fmt.Sprint(got.Form) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", strings.ReplaceAll(fmt.Sprint(got.Form), T, "TICKET"), want)
	}
	if len(r.Form["ticket"]) != 2 || len(r.Form["Ticket"]) != 1 {
		t.Error("the original was changed")
	}
}
