package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/wsticket/wsticket"
)

// The traps of forward authentication, each a test.

func newVerifier(t *testing.T, change func(*Config)) *world {
	return newWorld(t, func(c *Config) {
		c.VerifyPath = "/verify"
		c.TrustedProxies = []string{"127.0.0.1"}
		if change != nil {
			change(c)
		}
	})
}

// ask is a subrequest with these headers, as names and values in turn.
func (w *world) ask(path string, headers ...string) *http.Response {
	w.Helper()
	r, err := http.NewRequest("GET", "http://"+w.addr+path, nil)
	if err != nil {
		w.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.Fatal(err)
	}
	response.Body.Close()
	if got := response.Header["Cache-Control"]; len(got) != 1 || got[0] != "no-store" {
		w.Errorf("%s %v: Cache-Control %q", path, headers, got)
	}
	return response
}

// TestVerifyAnswersEveryIdentityHeader: what is not set is kept by who copies it
// (GHSA-7r4p-vjf4-gxv4), so all are there, on refusals too.
func TestVerifyAnswersEveryIdentityHeader(t *testing.T) {
	t.Parallel()
	w := newVerifier(t, nil)
	target := "/ws?ticket=" + w.ticket(wsticket.Claims{Scope: "a b"})
	for _, want := range []struct {
		status         int
		subject, scope string
	}{{200, "ada", "a b"}, {401, "", ""}} {
		response := w.ask("/verify", "X-Original-Uri", target, "Ticket-Session", "forged")
		if response.StatusCode != want.status || response.Header.Get("Ticket-Subject") != want.subject || response.Header.Get("Ticket-Scope") != want.scope {
			t.Errorf("%s %v", response.Status, response.Header)
		}
		for _, name := range identityHeaders {
			if lines, ok := response.Header[name]; !ok || len(lines) != 1 || strings.Contains(lines[0], "forged") {
				t.Errorf("status %d: %s is %q", want.status, name, lines)
			}
		}
	}
}

// TestVerifyNeverUpgrades: nginx and Caddy pass Connection and Upgrade on to the
// subrequest.
func TestVerifyNeverUpgrades(t *testing.T) {
	t.Parallel()
	w := newVerifier(t, nil)
	for _, offer := range []string{"websocket", "h2c"} {
		response := w.ask("/verify", "X-Original-Uri", "/ws?ticket="+w.ticket(wsticket.Claims{}), "Connection", "Upgrade", "Upgrade", offer,
			"Sec-Websocket-Version", "13", "Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-Websocket-Extensions", "permessage-deflate")
		if response.StatusCode != 200 {
			t.Errorf("%s: %s", offer, response.Status)
		}
	}
	if n := len(w.backend.requests()); n != 0 {
		t.Errorf("%d requests reached the backend", n)
	}
}

// TestVerifyTarget: the original target, by the names that proxies give it. Two that
// disagree, or none, or those of a stranger, are refused.
func TestVerifyTarget(t *testing.T) {
	t.Parallel()
	w := newVerifier(t, nil)
	good := func() string { return "/ws?a=1&ticket=" + w.ticket(wsticket.Claims{Path: "/ws"}) }
	for _, name := range []string{"X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url"} {
		if response := w.ask("/verify", name, good()); response.StatusCode != 200 {
			t.Errorf("%s: %s", name, response.Status)
		}
	}
	same := good()
	for name, c := range map[string]struct {
		path    string
		headers []string
		status  int
	}{
		"behind the path":        {"/verify" + good(), nil, 200},
		"absolute":               {"/verify", []string{"X-Original-Url", "https://app.example" + good()}, 200},
		"the same twice":         {"/verify", []string{"X-Original-Uri", same, "X-Forwarded-Uri", same}, 200},
		"two":                    {"/verify", []string{"X-Original-Uri", good(), "X-Forwarded-Uri", good()}, 400},
		"one header, two lines":  {"/verify", []string{"X-Original-Uri", good(), "X-Original-Uri", good()}, 400},
		"behind and in a header": {"/verify" + good(), []string{"X-Original-Uri", good()}, 400},
		"none":                   {"/verify", nil, 400},
		"only its own query":     {"/verify?ticket=" + w.ticket(wsticket.Claims{}), nil, 400},
		"no slash":               {"/verify", []string{"X-Original-Uri", "ws?ticket=" + w.ticket(wsticket.Claims{})}, 400},
		"two slashes":            {"/verify", []string{"X-Original-Uri", "//host" + good()}, 403}, // no ticket is for that path
		"bad escape":             {"/verify", []string{"X-Original-Uri", "/%zz?ticket=" + w.ticket(wsticket.Claims{})}, 400},
		"another path":           {"/verify", []string{"X-Original-Uri", strings.Replace(good(), "/ws", "/xs", 1)}, 403},
		"no ticket":              {"/verify", []string{"X-Original-Uri", "/ws"}, 401},
		"two tickets":            {"/verify", []string{"X-Original-Uri", good() + "&ticket=x"}, 400},
		"prefix is not read":     {"/verify", []string{"X-Original-Uri", strings.TrimPrefix(good(), "/ws"), "X-Forwarded-Prefix", "/ws"}, 400},
		"by bearer":              {"/verify", []string{"X-Original-Uri", "/ws", "Authorization", "Bearer " + w.ticket(wsticket.Claims{})}, 401},
		"by subprotocol":         {"/verify", []string{"X-Original-Uri", "/ws", "Sec-Websocket-Protocol", "app.v1, ticket." + w.ticket(wsticket.Claims{})}, 401},
		"by cookie":              {"/verify", []string{"X-Original-Uri", "/ws", "Cookie", "__Host-ws-ticket=" + w.ticket(wsticket.Claims{})}, 401},
		"another origin":         {"/verify", []string{"X-Original-Uri", good(), "Origin", "https://evil.example"}, 403},
		"own origin":             {"/verify", []string{"X-Original-Uri", good(), "Origin", "https://app.example", "X-Forwarded-Host", "app.example"}, 200},
		"below":                  {"/verifyx", []string{"X-Original-Uri", good()}, 404},
	} {
		r, err := http.NewRequest("GET", "http://"+w.addr+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(c.headers); i += 2 {
			r.Header[c.headers[i]] = append(r.Header[c.headers[i]], c.headers[i+1])
		}
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != c.status {
			t.Errorf("%s: %s, want %d", name, response.Status, c.status)
		}
	}
	stranger := newVerifier(t, func(c *Config) { c.TrustedProxies = []string{"192.0.2.0/24"} })
	if response := stranger.ask("/verify", "X-Original-Uri", "/ws?ticket="+stranger.ticket(wsticket.Claims{})); response.StatusCode != 400 {
		t.Errorf("a stranger's subrequest: %s", response.Status)
	}
}

// TestVerifyMethods: Traefik sends the method of the original request in a header, and
// some proxies a HEAD or a POST; none makes the subrequest fail.
func TestVerifyMethods(t *testing.T) {
	t.Parallel()
	w := newVerifier(t, nil)
	for _, method := range []string{"GET", "HEAD", "POST"} {
		r, err := http.NewRequest(method, "http://"+w.addr+"/verify", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Original-URI", "/ws?ticket="+w.ticket(wsticket.Claims{}))
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil || response.StatusCode != 200 {
			t.Errorf("%s: %v, %v", method, response, err)
		}
		response.Body.Close()
	}
}

// TestForwarded: only of a trusted peer is it believed where a request came from.
func TestForwarded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		trusted, forwarded []string
		want, ip           string
		in                 bool
	}{
		"stranger":      {nil, []string{"192.0.2.1"}, "127.0.0.1", "192.0.2.1", false},
		"trusted":       {[]string{"127.0.0.1"}, []string{"192.0.2.1"}, "192.0.2.1, 127.0.0.1", "192.0.2.1", true},
		"client's lie":  {[]string{"127.0.0.1"}, []string{"6.6.6.6, 192.0.2.1"}, "6.6.6.6, 192.0.2.1, 127.0.0.1", "6.6.6.6", false},
		"two proxies":   {[]string{"127.0.0.1", "10.0.0.0/8"}, []string{"192.0.2.1", "10.1.1.1"}, "192.0.2.1, 10.1.1.1, 127.0.0.1", "192.0.2.1", true},
		"not an addr":   {[]string{"127.0.0.1"}, []string{"192.0.2.1, unknown"}, "192.0.2.1, unknown, 127.0.0.1", "192.0.2.1", false},
		"with port, v6": {[]string{"127.0.0.1"}, []string{"[2001:db8::1]:99"}, "[2001:db8::1]:99, 127.0.0.1", "2001:db8::1", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(conf *Config) { conf.TrustedProxies = c.trusted })
			_, err := w.dial("/ws?ticket="+w.ticket(wsticket.Claims{IP: c.ip}), http.Header{"X-Forwarded-For": c.forwarded, "X-Forwarded-Proto": {"https"}})
			if (err == nil) != c.in {
				t.Fatalf("%v", err)
			}
			w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), http.Header{"X-Forwarded-For": c.forwarded, "X-Forwarded-Proto": {"https"}})
			seen := w.backend.requests()
			h := seen[len(seen)-1].Header
			proto := "http"
			if c.trusted != nil {
				proto = "https"
			}
			if got := strings.Join(h["X-Forwarded-For"], "|"); got != c.want || h.Get("X-Forwarded-Proto") != proto {
				t.Errorf("X-Forwarded-For %q, want %q; proto %s", got, c.want, h.Get("X-Forwarded-Proto"))
			}
		})
	}
}
