package gateway

import (
	"context"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// TestStarting: while no fresh ticket can be taken yet, everybody is told when to come
// again, nothing is minted, and the log says what is waited for.
func TestStarting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	config := w.g.state.Load().config
	config.since, config.Leeway = time.Time{}, time.Second
	g, err := New(t.Context(), config, w.logs)
	if err != nil {
		t.Fatal(err)
	}
	w.addr = g.listener.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- g.Serve(ctx, func(a string) { ready <- a }) }()

	asked := len(w.backend.requests())
	for _, target := range []string{"/ticket", "/ws", "/else"} {
		response, err := http.Post("http://"+w.addr+target, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		after, err := strconv.Atoi(response.Header.Get("Retry-After"))
		if response.StatusCode != 503 || err != nil || after < 1 || after > 7 || !strings.Contains(string(body), `"unavailable"`) {
			t.Errorf("%s: %d, Retry-After %q, %s", target, response.StatusCode, response.Header.Get("Retry-After"), body)
		}
	}
	_, err = w.dial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil)
	w.wantStatus(err, 503)
	if len(ready) > 0 {
		t.Fatal("it was ready before: the test is too slow to see anything")
	}
	select {
	case <-ready:
	case <-time.After(30 * time.Second):
		t.Fatal("it does not get ready")
	}
	if n := len(w.backend.requests()); n != asked {
		t.Errorf("the backend was asked %d times", n-asked)
	}
	if s := w.logs.String(); !strings.Contains(s, `"msg":"waiting before tickets are taken`) || strings.Contains(s, `"msg":"refused"`) {
		t.Errorf("the log: %s", s)
	}
	w.echoes(w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil))
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	// It ends at once when it is told to while it waits.
	config.Leeway = time.Minute
	if g, err = New(t.Context(), config, w.logs); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	go func() { ended <- g.Serve(ctx, func(string) { t.Error("ready") }) }()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it waits on")
	}
}

// TestLostUpgrade: a proxy that takes Upgrade away leaves a handshake that is none. It is
// 404 as all else that is none, and counted and logged, since somebody wanted to connect.
func TestLostUpgrade(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ticket := w.ticket(wsticket.Claims{})
	for _, lost := range []bool{true, false} {
		request, err := http.NewRequest(http.MethodGet, "http://"+w.addr+"/ws?ticket="+ticket, nil)
		if err != nil {
			t.Fatal(err)
		}
		if lost {
			request.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
			request.Header.Set("Sec-WebSocket-Version", "13")
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != 404 {
			t.Errorf("status %d", response.StatusCode)
		}
		written, _ := lines(t, w.logs.String())
		if n := written["refused bad_handshake"]; n != 1 {
			t.Errorf("lost %v: %d lines", lost, n)
		}
		if n := w.series()[`wsticket_verdicts_total{code="bad_handshake",gate="handshakes"}`]; n != 1 {
			t.Errorf("lost %v: %v counted", lost, n)
		}
	}
	w.echoes(w.mustDial("/ws?ticket="+ticket, nil)) // which is not spent
}

// TestLogNamesSettings: a line says which setting a refusal was held against.
func TestLogNamesSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) {
		c.Origins, c.Audiences, c.Issuers, c.MintRate, c.MaxTTL = []string{"https://app.example"}, []string{"chat"}, []string{"login"}, 1, 20*time.Second
	})
	good := wsticket.Claims{Issuer: "login", Audiences: []string{"chat"}}
	show := func(change func(*wsticket.Claims), header http.Header) {
		claims := good
		change(&claims)
		w.dial("/ws?ticket="+w.ticket(claims), header)
	}
	show(func(*wsticket.Claims) {}, http.Header{"Origin": {"https://else.example"}})
	show(func(c *wsticket.Claims) { c.Audiences = []string{"mail"} }, nil)
	show(func(c *wsticket.Claims) { c.Issuer = "other" }, nil)
	bound := good
	bound.Origin = "https://b.example"
	w.dial("/ws?ticket="+w.ticket(bound), http.Header{"Origin": {"https://app.example"}})
	if s := w.logs.String(); !strings.Contains(s, "bound to") || strings.Count(s, `"setting":"origin"`) != 1 {
		t.Errorf("an origin that the ticket is bound to is no setting:\n%s", s)
	}
	show(func(c *wsticket.Claims) { c.TTL = 30 * time.Second }, nil)
	mint := func(header http.Header) {
		request, err := http.NewRequest(http.MethodPost, "http://"+w.addr+"/ticket", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header = header
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	mint(http.Header{"Origin": {"https://else.example"}, "Sec-Fetch-Site": {"cross-site"}})
	w.backend.mu.Lock()
	w.backend.me = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }
	w.backend.mu.Unlock()
	mint(http.Header{})
	for range 20 { // of which it allows a few at once
		mint(http.Header{})
	}
	said := w.logs.String()
	for code, setting := range map[string]string{`"code":"origin"`: "origin", `"code":"audience"`: "aud", `"code":"issuer"`: "iss",
		`"code":"ttl_too_long"`: "max-ttl", `"status":429`: "mint-rate", `"status":403`: "origin", `"status":401`: `mint-auth","answered":401`} {
		found := false
		for line := range strings.Lines(said) {
			found = found || strings.Contains(line, code) && strings.Contains(line, `"setting":"`+setting)
		}
		if !found {
			t.Errorf("no line with %s names %s in:\n%s", code, setting, said)
		}
	}
}

// TestKeyringForAll: who can read the keyring can mint, and check and serve say who can.
func TestKeyringForAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	config := w.g.state.Load().config
	for mode, want := range map[os.FileMode]string{0o600: "", 0o640: "", 0o644: "chmod o= ", 0o660: "chmod go-w ", 0o666: "chmod o= "} {
		if err := os.Chmod(config.Keys, mode); err != nil {
			t.Fatal(err)
		}
		said := strings.Join(config.Warnings(), "\n")
		if want == "" && said != "" || !strings.Contains(said, want) || want != "" && !strings.HasSuffix(said, config.Keys) {
			t.Errorf("%v: %q", mode, said)
		}
	}
	if err := os.Chmod(config.Keys, 0o644); err != nil {
		t.Fatal(err)
	}
	w.start(config)
	if !strings.Contains(w.logs.String(), "whoever reads it can mint") {
		t.Error("serve does not say so")
	}
}
