package interop

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/wsticket/wsticket"
)

// TestTroubleshooting makes the four mistakes of docs/troubleshooting.md, and holds the
// line of the gateway's log against the one on the page.
func TestTroubleshooting(t *testing.T) {
	for _, slip := range []struct {
		heading, fence, right, wrong string
	}{
		{"A float from Python", "python", "now = int(time.time())", "now = time.time()"},
		{"Milliseconds from Node", "js", "const now = Math.floor(Date.now() / 1000)", "const now = Date.now()"},
	} {
		t.Run(slip.fence, func(t *testing.T) {
			t.Parallel()
			g := startTroubled(t)
			addr := g.addr
			ticket := mintWrongly(t, g.keyring, slip.fence, slip.right, slip.wrong)
			g.dial(t, addr, ticket, "http://"+addr)
			g.expect(t, slip.heading, slip.right, slip.wrong)
		})
	}
	t.Run("page", func(t *testing.T) {
		g := startTroubled(t)
		ticket := g.ticket(t)
		p := startBrowser(t)
		site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, `<!doctype html><link rel="icon" href="data:,"><script>new WebSocket("ws://%s/?ticket=%s")</script>`, g.addr, ticket)
		}))
		defer site.Close()
		p.do(chromedp.Navigate(site.URL))
		g.expect(t, "A page on another port")
	})
	t.Run("proxy", func(t *testing.T) {
		path := installed(t, "nginx", "apt-get install nginx", "nginx", "/usr/sbin/nginx")
		g := startTroubled(t)
		const line = "proxy_set_header Host $http_host;"
		socket, _ := startNginxWith(t, path, g.addr, line, "#")
		if conn, _, err := dialThrough(t, socket, "/?ticket="+g.ticket(t), nil); err == nil {
			conn.Close()
			t.Error("accepted")
		}
		g.expect(t, "A proxy that rewrites Host", line)
	})
}

// troubled is a gateway without Origins that logs its refusals as the page says.
type troubled struct {
	addr    string
	keyring string // file
	keys    *wsticket.Keyring
	log     chan string
}

func startTroubled(t *testing.T) *troubled {
	t.Helper()
	g := &troubled{keyring: filepath.Join(t.TempDir(), "keyring.json"), log: make(chan string, 100)}
	err := os.WriteFile(g.keyring, []byte(mintingKeyrings()["HS256"]), 0o600)
	if err == nil {
		g.keys, err = wsticket.LoadKeyring(g.keyring)
	}
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(lines(g.log), &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: g.keys, Replay: wsticket.DangerouslyAllowReplay})
	if err != nil {
		t.Fatal(err)
	}
	upgrader, err := wsticket.NewUpgrader(wsticket.UpgraderConfig{
		Verifier: verifier,
		OnRefuse: func(r wsticket.Refusal) { logger.Warn("refused", "refusal", r) },
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.addr = listener.Addr().String()
	serveRaw(t, listener, func(conn net.Conn) {
		var h wsticket.Handshake
		if upgrader.Upgrade(context.Background(), conn, &h) == nil {
			g.log <- "accepted"
		}
	})
	return g
}

// lines is a writer that passes on each write as one line.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- strings.TrimSuffix(string(p), "\n")
	return len(p), nil
}

func (g *troubled) ticket(t *testing.T) string {
	t.Helper()
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: g.keys})
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := signer.Sign(&wsticket.Claims{Subject: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

func (g *troubled) dial(t *testing.T, addr, ticket, origin string) {
	t.Helper()
	conn, _, err := websocketClients["gorilla"](t.Context(), offer{url: "ws://" + addr + "/?ticket=" + ticket, header: http.Header{"Origin": {origin}}})
	if err == nil {
		conn.close()
		t.Error("accepted")
	}
}

// mintWrongly runs the program of docs/minting.md with one line changed.
func mintWrongly(t *testing.T, keyring, fence, right, wrong string) string {
	t.Helper()
	for _, language := range mintingLanguages {
		if language.fence != fence {
			continue
		}
		dir := t.TempDir()
		argv := append(language.run(t, dir), filepath.Join(dir, language.file), keyring, "ada")
		code := language.program(t)
		if strings.Count(code, right) != 1 {
			t.Fatalf("the program in %s does not have %q once", fence, right)
		}
		if err := os.WriteFile(filepath.Join(dir, language.file), []byte(strings.Replace(code, right, wrong, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
		if err != nil {
			t.Fatalf("%v: %v", argv, err)
		}
		return strings.TrimSpace(string(out))
	}
	t.Fatalf("no program in %s", fence)
	return ""
}

var (
	digits = regexp.MustCompile(`[0-9]+`)
	random = regexp.MustCompile(`#(\.#)+`) // addresses, fractions
)

// expect waits for a line of the log and compares it with the one under a heading of
// the page, whose section must have these words too. All numbers are alike.
func (g *troubled) expect(t *testing.T, heading string, words ...string) {
	t.Helper()
	page, err := os.ReadFile("../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n### "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n#")
	before, want, quoted := strings.Cut(section, "```log\n")
	want, _, closed := strings.Cut(want, "\n```\n")
	if !found || !quoted || !closed {
		t.Fatalf("the page has no log under %q", heading)
	}
	for _, w := range words {
		if !strings.Contains(before, "`"+w+"`") {
			t.Errorf("under %q the page does not say `%s`", heading, w)
		}
	}
	select {
	case got := <-g.log:
		alike := func(line string) string { return random.ReplaceAllString(digits.ReplaceAllString(line, "#"), "#") }
		if alike(got) != alike(want) {
			t.Errorf("the log says\n%s\nthe page says\n%s", got, want)
		}
	case <-time.After(30 * time.Second):
		t.Error("no refusal within 30 s")
	}
}
