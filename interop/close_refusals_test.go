package interop

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket"
)

// TestBrowsersCloseRefusals: real browsers show a page the code and the reason of a
// refusal, of an Upgrader and of a Gate, where CloseRefusals is on and the page's Origin
// is allowed. What docs/embedding.md says of them is held against them here.
func TestBrowsersCloseRefusals(t *testing.T) {
	t.Run("chromium", func(t *testing.T) {
		leavesNothing(t)
		p := startBrowser(t)
		inBrowser(t, "chromium", func(url string) { p.do(chromedp.Navigate(url)) }, closeFrames)
	})
	t.Run("firefox", func(t *testing.T) {
		leavesNothing(t)
		inBrowser(t, "firefox", func(url string) { startFirefox(t, url) }, closeFrames)
	})
}

// closeFrames is what the page is to do, in order, where refusals are told by a close
// frame.
func closeFrames(t *testing.T, site string) (scenes []scene) {
	protocols := []string{"app.v2", "app.v1"}
	app := []string{"app.v1"}
	authorize := func(ticket *wsticket.Ticket) error {
		if string(ticket.Subject()) == "busy" {
			return wsticket.ErrOverloaded
		}
		return nil
	}
	gate := func(origin string) *gateway {
		return startGate(t, wsticket.GateConfig{Origins: []string{origin}, Protocols: protocols, CloseRefusals: true,
			Authorize: func(_ *http.Request, ticket *wsticket.Ticket) error { return authorize(ticket) }})
	}
	upgrader := func(origin string) *gateway {
		return startGateway(t, wsticket.UpgraderConfig{Origins: []string{origin}, Protocols: protocols, CloseRefusals: true,
			Authorize: func(_ context.Context, h *wsticket.Handshake) error { return authorize(&h.Ticket) }})
	}
	closed := func(what string) map[string][]string {
		return map[string][]string{"": {"open ", "close " + what + " clean"}}
	}
	for _, kind := range []struct {
		name  string
		start func(origin string) *gateway
	}{{"upgrader", upgrader}, {"gate", gate}} {
		g, elsewhere := kind.start(site), kind.start("https://app.example")
		url := func(query string) string { return "ws://" + g.addr + "/room" + query }
		busy := func(c *wsticket.Claims) { c.Subject = "busy" }
		used, alone := g.ticket(), g.ticket()
		all := []scene{
			{Name: "good", URL: url("?ticket=" + used), gateway: g, verdict: "accepted", events: map[string][]string{"": bare}},
			{Name: "used", URL: url("?ticket=" + used), gateway: g, verdict: "replayed", events: closed("3000 invalid_ticket")},
			{Name: "used, with a protocol", URL: url("?ticket=" + used), Protocols: app, gateway: g, verdict: "replayed",
				events: map[string][]string{"": {"open app.v1", "close 3000 invalid_ticket clean"}}},
			{Name: "used, by subprotocol", URL: url(""), Protocols: []string{"ticket." + used, "app.v2"}, gateway: g, verdict: "replayed",
				events: map[string][]string{"": {"open app.v2", "close 3000 invalid_ticket clean"}}},
			{Name: "none", URL: url(""), gateway: g, verdict: "missing", events: closed("3000 invalid_ticket")},
			{Name: "expired", URL: url("?ticket=" + g.ticketAt(time.Now().Add(-2*time.Minute))), gateway: g, verdict: "expired", events: closed("3000 invalid_ticket")},
			{Name: "for another path", URL: url("?ticket=" + g.ticket(func(c *wsticket.Claims) { c.Path = "/other" })), gateway: g, verdict: "path", events: closed("3003 forbidden")},
			{Name: "two", URL: url("?ticket=a&ticket=b"), gateway: g, verdict: "ambiguous", events: closed("3003 bad_request")},
			{Name: "no room", URL: url("?ticket=" + g.ticket(busy)), gateway: g, verdict: "overloaded", events: closed("1013 unavailable")},
			// A 101 without one of the protocols that were offered: one browser takes it.
			{Name: "alone among the protocols", URL: url(""), Protocols: []string{"ticket." + alone}, gateway: g, verdict: "bad_handshake",
				events: map[string][]string{"": refused, "firefox": {"open ", "close 3003 bad_request clean"}}},
			{Name: "since that spent nothing", URL: url("?ticket=" + alone), gateway: g, verdict: "accepted", events: map[string][]string{"": bare}},
			// The other ones.
			{Name: "a page that may not", URL: "ws://" + elsewhere.addr + "/?ticket=" + elsewhere.ticket(), gateway: elsewhere, verdict: "origin", events: map[string][]string{"": refused}},
			{Name: "a head too large", URL: url("?" + strings.Repeat("a", 16<<10)), gateway: g, verdict: "head_too_large", events: map[string][]string{"": refused}},
		}
		for _, s := range all {
			if s.Name == "a head too large" && kind.name == "gate" {
				continue // the limit is that of the http.Server
			}
			s.Name = kind.name + ": " + s.Name
			scenes = append(scenes, s)
		}
	}
	return scenes
}

// startGate starts a gateway on net/http, with an echo behind a Gate.
func startGate(t *testing.T, config wsticket.GateConfig) *gateway {
	t.Helper()
	g := newGateway(t, &config.Verifier)
	config.OnRefuse = func(_ *http.Request, r wsticket.Refusal) { g.verdicts <- r.Code.Code() }
	gate, err := wsticket.NewGate(config)
	if err != nil {
		t.Fatal(err)
	}
	upgrader := ws.HTTPUpgrader{Protocol: func(string) bool { return true }}
	server := httptest.NewServer(gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.verdicts <- "accepted"
		conn, _, _, err := upgrader.Upgrade(r, w)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(time.Minute))
		for {
			message, op, err := wsutil.ReadClientData(conn)
			if err != nil || wsutil.WriteServerMessage(conn, op, message) != nil {
				return
			}
		}
	})))
	t.Cleanup(server.Close)
	g.addr = server.Listener.Addr().String()
	return g
}
