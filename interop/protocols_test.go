package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestProtocols runs the snippets of docs/protocols.md: a client of each protocol from npm,
// behind wsticket-gateway and in front of a server of that protocol. It connects, has its
// connection broken, is refused a ticket once and comes back; each of the two handshakes
// must be one ticket. Once in Node, and once in Chromium.
func TestProtocols(t *testing.T) {
	if os.Getenv("WSTICKET_SLOW") == "" {
		t.Skip("installs and runs clients and servers of npm; set WSTICKET_SLOW=1")
	}
	node := installed(t, "Node", "apt-get install nodejs npm", "node")
	npm := installed(t, "npm", "apt-get install npm", "npm")
	content, err := os.ReadFile("../docs/protocols.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	shared := snippetsOf(t, page, "A fresh ticket for each attempt", 2)
	asSubprotocol := snippetsOf(t, page, "The ticket as a subprotocol", 1)[0]

	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "server.mjs", "checks.mjs"} {
		content, err := os.ReadFile(filepath.Join("testdata/protocols", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.Command(npm, "ci", "--no-audit", "--no-fund", "--silent")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		missing(t, fmt.Sprintf("npm ci, which needs the npm registry: %v\n%s", err, out))
	}
	gateway, cli := gatewayProgram(t), command(t)
	keyring, err := exec.Command(cli, "keys", "generate").Output()
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "keyring.json")
	if err := os.WriteFile(keys, keyring, 0o600); err != nil {
		t.Fatal(err)
	}

	var chromium sync.Mutex // one at a time
	for _, p := range []struct {
		name, heading, client string
		subprotocol           string // by which the ticket goes; empty: by query
		offered               string // to the backend
	}{
		{"graphql", "GraphQL over WebSocket", "client", "", "graphql-transport-ws"},
		{"graphql", "GraphQL over WebSocket", "client", "graphql-transport-ws", "graphql-transport-ws"},
		{"socketio", "Socket.IO", "socket", "", ""},
		{"mqtt", "MQTT", "client", "", "mqtt"},
		{"mqtt", "MQTT", "client", "mqtt", "mqtt"},
		{"stomp", "STOMP", "client", "", "v12.stomp"},
		{"stomp", "STOMP", "client", "v12.stomp", "v12.stomp"},
		{"phoenix", "Phoenix channels", "socket", "", ""},
		{"signalr", "SignalR", "connection", "", ""},
	} {
		name := p.name
		if p.subprotocol != "" {
			name += " by subprotocol"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port, listen, admin := freePort(t), freePort(t), freePort(t)
			startIn(t, dir, nil, node, "server.mjs", p.name, port)
			listens(t, port)
			args := []string{"serve", "-listen", "127.0.0.1:" + listen, "-admin", "127.0.0.1:" + admin, "-leeway", "1s", "-keys", keys,
				"-upstream", "http://127.0.0.1:" + port, "-mint-auth", "http://127.0.0.1:" + port + "/me", "-origin", "http://127.0.0.1:" + port}
			helper := shared[1]
			if p.subprotocol != "" {
				args = append(args, "-protocols", p.subprotocol, "-carriers", "subprotocol")
				line := regexp.MustCompile(`(?m)^.*new WebSocket\(target, protocols\)\n`)
				if !line.MatchString(helper) {
					t.Fatal("TicketSocket does not have the line that is to change")
				}
				helper = line.ReplaceAllLiteralString(helper, asSubprotocol)
			}
			front := startProgram(t, gateway, args...)
			ready(t, "http://127.0.0.1:"+admin+"/readyz")

			program := "import { checks } from \"./checks.mjs\"\n" + shared[0] + helper + snippetsOf(t, page, p.heading, 1)[0] +
				fmt.Sprintf("checks.%s({ %s })\n", p.name, p.client)
			program = strings.NewReplacer("https://gateway.example", "http://127.0.0.1:"+listen, "wss://gateway.example", "ws://127.0.0.1:"+listen).Replace(program)
			file, err := os.CreateTemp(dir, p.name+"-*.mjs") // where node finds the packages
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(file, program)
			file.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			client := exec.CommandContext(ctx, node, file.Name())
			client.Env = append(os.Environ(), "BACKEND=http://127.0.0.1:"+port)
			if out, err := client.CombinedOutput(); err != nil {
				t.Fatalf("the client: %v\n%s", err, out)
			}

			bundle := exec.Command(filepath.Join(dir, "node_modules/.bin/esbuild"), filepath.Base(file.Name()), "--bundle", "--format=esm", "--outfile=app-"+port+".js")
			bundle.Dir = dir
			if out, err := bundle.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			inPage(t, &chromium, "http://127.0.0.1:"+port+"/")

			var seen []struct{ Target, User, Protocols string }
			if err := json.Unmarshal([]byte(get(t, "http://127.0.0.1:"+port+"/seen")), &seen); err != nil {
				t.Fatal(err)
			}
			if len(seen) != 4 {
				t.Errorf("the backend saw %d handshakes, want 2 of Node and 2 of Chromium: %v", len(seen), seen)
			}
			for _, h := range seen {
				if h.User != "ada" || strings.Contains(h.Target+h.Protocols, "ticket") || strings.ReplaceAll(h.Protocols, " ", "") != p.offered {
					t.Errorf("the backend saw %q", h)
				}
			}
			log := front.printed()
			if bytes.Contains(log, []byte(`"refused`)) {
				t.Errorf("the gateway refused a handshake:\n%s", log)
			}
			if n := bytes.Count(log, []byte(`"mint failed"`)); n != 2 {
				t.Errorf("%d mints failed, want 2:\n%s", n, log)
			}

			if p.name == "socketio" {
				response, err := http.Get("http://127.0.0.1:" + listen + "/socket.io/?EIO=4&transport=polling&ticket=x")
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				if response.StatusCode != http.StatusNotFound {
					t.Errorf("long polling is answered with %d, want 404", response.StatusCode)
				}
			}
		})
	}
}

// inPage waits until the client in a page says how it ended.
func inPage(t *testing.T, one *sync.Mutex, url string) {
	t.Helper()
	one.Lock()
	defer one.Unlock()
	p := startBrowser(t)
	p.do(chromedp.Navigate(url))
	title := ""
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) { // another process
		title = evaluate[string](p, "document.title")
		if title == "came back" {
			p.do(chromedp.Navigate("about:blank")) // or it would connect again when the test breaks up
			return
		}
		if strings.HasPrefix(title, "failed") {
			break
		}
	}
	t.Fatalf("in Chromium: %q", title)
}

// snippetsOf returns the n snippets of JavaScript in a section of a page.
func snippetsOf(t *testing.T, page, heading string, n int) []string {
	t.Helper()
	_, section, ok := strings.Cut(page, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var snippets []string
	for _, m := range regexp.MustCompile("(?ms)^```js\n(.*?)^```").FindAllStringSubmatch(section, -1) {
		snippets = append(snippets, m[1])
	}
	if len(snippets) != n {
		t.Fatalf("%d snippets under %q, want %d", len(snippets), heading, n)
	}
	return snippets
}

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", url, response.Status, err)
	}
	return string(body)
}
