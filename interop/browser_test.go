package interop

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/wsticket/wsticket"
)

// What a page sees of a handshake, event by event. Every refusal looks like
// refused to it, whatever the answer was.
var (
	connected = []string{"open app.v1", "message grüezi", "close 1000 clean"}
	bare      = []string{"open ", "message grüezi", "close 1000 clean"}
	refused   = []string{"error", "close 1006 unclean"}
)

// A scene is one attempt of the page to connect.
type scene struct {
	Name      string   `json:"name"`
	URL       string   `json:"url"`
	Protocols []string `json:"protocols"` // null: new WebSocket(url) without

	gateway *gateway
	verdict string
	events  map[string][]string // by browser, "" for all others
}

// TestBrowsers has real browsers connect to the raw upgrader from a page of another
// origin, and compares what the page and the gateway saw with what docs/upgrading.md
// says.
func TestBrowsers(t *testing.T) {
	t.Run("chromium", func(t *testing.T) {
		leavesNothing(t)
		p := startBrowser(t)
		inBrowser(t, "chromium", func(url string) {
			p.do(chromedp.Navigate(url))
		}, statuses)
	})
	t.Run("firefox", func(t *testing.T) {
		leavesNothing(t)
		inBrowser(t, "firefox", func(url string) { startFirefox(t, url) }, statuses)
	})
}

// inBrowser has a browser open a page that plays the scenes of a script.
func inBrowser(t *testing.T, browser string, open func(url string), script func(t *testing.T, site string) []scene) {
	var scenes []scene
	seen := make(chan map[string][]string, 1)
	site := startSite(t, &scenes, seen)
	scenes = script(t, site)

	open(site + "/")
	var got map[string][]string
	select {
	case got = <-seen:
	case <-time.After(60 * time.Second):
		t.Fatal("the page has not reported within a minute")
	}
	for _, s := range scenes {
		want, special := s.events[browser]
		if !special {
			want = s.events[""]
		}
		if !slices.Equal(got[s.Name], want) {
			t.Errorf("%s: the page saw %q, want %q", s.Name, got[s.Name], want)
		}
		if s.gateway == nil {
			continue
		}
		if verdict := s.gateway.verdict(); verdict != s.verdict {
			t.Errorf("%s: the gateway says %s, want %s", s.Name, verdict, s.verdict)
		}
	}
	for _, s := range scenes {
		if s.gateway != nil {
			s.gateway.silent()
		}
	}
}

// statuses is what the page is to do, in order, where refusals are answered by a status.
func statuses(t *testing.T, site string) []scene {
	g := startGateway(t, wsticket.UpgraderConfig{Origins: []string{site}, Protocols: []string{"app.v2", "app.v1"}})
	elsewhere := startGateway(t, wsticket.UpgraderConfig{Origins: []string{"https://app.example"}, Protocols: []string{"app.v1"}})
	url := func(query string) string { return "ws://" + g.addr + "/räume/1" + query }
	app := []string{"app.v1"}
	all := func(events []string) map[string][]string { return map[string][]string{"": events} }

	first := g.ticket(func(c *wsticket.Claims) { c.Origin = site })
	inTree := g.ticket(func(c *wsticket.Claims) { c.Path = "/räume/*" })
	alone := g.ticket()
	tampered := []byte(g.ticket())
	tampered[len(tampered)-12] = map[bool]byte{true: 'B', false: 'A'}[tampered[len(tampered)-12] == 'A']
	return []scene{
		{Name: "by query", URL: url("?ticket=" + first), gateway: g, verdict: "accepted", events: all(bare)},
		{Name: "the same ticket again", URL: url("?ticket=" + first), gateway: g, verdict: "replayed", events: all(refused)},
		{Name: "by query, beside others and with a protocol", URL: url("?a=1&ticket=" + inTree + "&b=%26"), Protocols: app, gateway: g, verdict: "accepted", events: all(connected)},
		{Name: "by subprotocol", URL: url(""), Protocols: []string{"app.v1", "ticket." + g.ticket()}, gateway: g, verdict: "accepted", events: all(connected)},
		{Name: "by subprotocol, ticket first", URL: url("?a=1"), Protocols: []string{"ticket." + g.ticket(), "other", "app.v1"}, gateway: g, verdict: "accepted", events: all(connected)},
		{Name: "by subprotocol alone", URL: url(""), Protocols: []string{"ticket." + alone}, gateway: g, verdict: "bad_handshake", events: all(refused)},
		{Name: "by query, since that spent nothing", URL: url("?ticket=" + alone), gateway: g, verdict: "accepted", events: all(bare)},
		{Name: "none of the offered protocols", URL: url("?ticket=" + g.ticket()), Protocols: []string{"other"}, gateway: g, verdict: "accepted",
			events: map[string][]string{"": refused, "firefox": bare}},
		{Name: "without a ticket", URL: url(""), gateway: g, verdict: "missing", events: all(refused)},
		{Name: "by query and by subprotocol", URL: url("?ticket=" + g.ticket()), Protocols: []string{"app.v1", "ticket." + g.ticket()}, gateway: g, verdict: "ambiguous", events: all(refused)},
		{Name: "escaped name", URL: url("?%74icket=" + g.ticket()), gateway: g, verdict: "ambiguous", events: all(refused)},
		{Name: "tampered with", URL: url("?ticket=" + string(tampered)), gateway: g, verdict: "bad_signature", events: all(refused)},
		{Name: "expired", URL: url("?ticket=" + g.ticketAt(time.Now().Add(-2*time.Minute))), gateway: g, verdict: "expired", events: all(refused)},
		{Name: "bound to another page", URL: url("?ticket=" + g.ticket(func(c *wsticket.Claims) { c.Origin = "https://app.example" })), gateway: g, verdict: "origin", events: all(refused)},
		{Name: "bound to another path", URL: url("?ticket=" + g.ticket(func(c *wsticket.Claims) { c.Path = "/raum" })), gateway: g, verdict: "path", events: all(refused)},
		{Name: "from a page that may not", URL: "ws://" + elsewhere.addr + "/?ticket=" + elsewhere.ticket(), gateway: elsewhere, verdict: "origin", events: all(refused)},
		{Name: "head too large", URL: url("?" + strings.Repeat("a", 16<<10) + "&ticket=" + g.ticket()), gateway: g, verdict: "head_too_large", events: all(refused)},
		{Name: "a ticket twice among the protocols, which no browser sends", URL: url(""), Protocols: []string{"app.v1", "ticket.a", "ticket.a"}, events: all([]string{"throws SyntaxError"})},
	}
}

//go:embed testdata/scenes.html
var scenesPage []byte

// startSite serves the page, hands it the scenes and takes what it saw. It
// returns the site's origin.
func startSite(t *testing.T, scenes *[]scene, seen chan<- map[string][]string) string {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(scenesPage)
	})
	mux.HandleFunc("GET /scenes", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(*scenes)
	})
	mux.HandleFunc("POST /seen", func(w http.ResponseWriter, r *http.Request) {
		var events map[string][]string
		if err := json.NewDecoder(r.Body).Decode(&events); err != nil {
			t.Errorf("the page reports nonsense: %v", err)
		}
		select {
		case seen <- events:
		default:
			t.Error("the page reports twice")
		}
	})
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)
	return site.URL
}

// startFirefox opens url in a Firefox with a profile of its own, or skips the test
// where there is none.
func startFirefox(t *testing.T, url string) {
	t.Helper()
	path := installed(t, "Firefox", "apt-get install firefox-esr", "firefox-esr", "firefox")
	profile := t.TempDir()
	prefs := ""
	for name, value := range map[string]string{
		// It would put off an attempt that follows a failed one to the same host,
		// longer each time.
		"network.websocket.delay-failed-reconnects": "false",
		// And it is to talk to nobody else.
		"app.normandy.enabled":                       "false",
		"app.update.enabled":                         "false",
		"browser.aboutwelcome.enabled":               "false",
		"browser.safebrowsing.malware.enabled":       "false",
		"browser.safebrowsing.phishing.enabled":      "false",
		"browser.search.update":                      "false",
		"browser.shell.checkDefaultBrowser":          "false",
		"browser.startup.homepage_override.mstone":   `"ignore"`,
		"datareporting.policy.dataSubmissionEnabled": "false",
		"dom.push.connection.enabled":                "false",
		"extensions.update.enabled":                  "false",
		"network.captive-portal-service.enabled":     "false",
		"network.connectivity-service.enabled":       "false",
		"network.dns.disablePrefetch":                "true",
		"network.proxy.type":                         "0",
		"services.settings.server":                   `"http://127.0.0.1:9/"`,
		"toolkit.telemetry.enabled":                  "false",
		"toolkit.telemetry.unified":                  "false",
	} {
		prefs += fmt.Sprintf("user_pref(%q, %s);\n", name, value)
	}
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(prefs), 0o600); err != nil {
		t.Fatal(err)
	}
	startProgram(t, path, "--headless", "--no-remote", "--profile", profile, url)
}
