package interop

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestBackends runs the backends of examples/ behind wsticket-gateway, as programs, and
// a real browser in front: log in, connect, a replay refused, log out and see the
// connection close.
func TestBackends(t *testing.T) {
	if os.Getenv("WSTICKET_SLOW") == "" {
		t.Skip("runs four backends and a browser; set WSTICKET_SLOW=1")
	}
	dir := t.TempDir()
	gateway, cli := filepath.Join(dir, "wsticket-gateway"), filepath.Join(dir, "wsticket")
	for path, module := range map[string]string{gateway: "../gateway", cli: ".."} {
		build := exec.Command("go", "build", "-o", path, "./cmd/"+filepath.Base(path))
		build.Dir = module
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for _, backend := range []struct {
		name  string
		start func(t *testing.T, port, socket string, env []string)
	}{
		{"node", func(t *testing.T, port, _ string, env []string) {
			node := installed(t, "Node", "apt-get install nodejs npm", "node")
			npm := installed(t, "npm", "apt-get install npm", "npm")
			dir := copyExample(t, "node")
			install := exec.Command(npm, "install", "--no-audit", "--no-fund", "--silent")
			install.Dir = dir
			if out, err := install.CombinedOutput(); err != nil {
				missing(t, fmt.Sprintf("npm install ws: %v\n%s", err, out))
			}
			startIn(t, dir, append(env, "PORT="+port), node, "server.mjs")
		}},
		{"django", func(t *testing.T, port, _ string, env []string) {
			daphne := installed(t, "daphne", "apt-get install python3-django-channels daphne", "/usr/bin/daphne", "daphne")
			startIn(t, copyExample(t, "django"), env, daphne, "-b", "127.0.0.1", "-p", port, "app:application")
		}},
		{"ruby", func(t *testing.T, port, _ string, env []string) {
			puma := installed(t, "puma", "apt-get install puma ruby-faye-websocket", "puma")
			startIn(t, copyExample(t, "ruby"), env, puma, "-b", "tcp://127.0.0.1:"+port)
		}},
		{"php", func(t *testing.T, port, socket string, env []string) {
			php := installed(t, "PHP", "apt-get install php-cli", "php")
			dir := copyExample(t, "php")
			startIn(t, dir, env, php, "-d", "session.save_path="+t.TempDir(), "-S", "127.0.0.1:"+port, "index.php")
			startIn(t, dir, append(env, "WS_PORT="+socket), php, "ws.php")
		}},
	} {
		t.Run(backend.name, func(t *testing.T) {
			port, socket, front, admin := freePort(t), freePort(t), freePort(t), freePort(t)
			backend.start(t, port, socket, []string{"PORT=" + port, "GATEWAY=http://127.0.0.1:" + front, "ADMIN=http://127.0.0.1:" + admin})
			if backend.name != "php" {
				socket = port
			}
			listens(t, port)
			listens(t, socket)
			keyring, err := exec.Command(cli, "keys", "generate").Output()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "keyring.json")
			if err := os.WriteFile(file, keyring, 0o600); err != nil {
				t.Fatal(err)
			}
			startProgram(t, gateway, "serve", "-listen", "127.0.0.1:"+front, "-admin", "127.0.0.1:"+admin, "-leeway", "1s", "-keys", file,
				"-upstream", "http://127.0.0.1:"+socket, "-mint-auth", "http://127.0.0.1:"+port+"/me", "-origin", "http://127.0.0.1:"+port)
			ready(t, "http://127.0.0.1:"+admin+"/readyz")

			p := startBrowser(t)
			p.do(chromedp.Navigate("http://127.0.0.1:" + port + "/"))
			log := func(want string) {
				t.Helper()
				deadline := time.Now().Add(20 * time.Second)
				for {
					got := evaluate[string](p, `document.getElementById("log").textContent`)
					if strings.Contains(got, want) {
						return
					}
					if time.Now().After(deadline) {
						t.Fatalf("the page says\n%swant %q", got, want)
					}
					time.Sleep(20 * time.Millisecond) // another process
				}
			}
			p.do(chromedp.Click("#connect"))
			log("not logged in")
			p.do(chromedp.Click("#login"))
			log("logged in")
			p.do(chromedp.Click("#connect"))
			log("hello ada")
			log("is anybody there?")

			// What the page did once opens nothing a second time.
			evaluate[bool](p, `(async () => {
				const {ticket} = await (await fetch("http://127.0.0.1:`+front+`/ticket", {method: "POST", credentials: "include"})).json()
				const attempt = () => new Promise(end => {
					const socket = new WebSocket("ws://127.0.0.1:`+front+`/ws?ticket=" + ticket)
					socket.onmessage = event => { end(event.data); socket.close() }
					socket.onclose = event => end("closed " + event.code)
				})
				document.getElementById("log").textContent += "twice: " + await attempt() + ", " + await attempt() + "\n"
			})(), true`)
			log("twice: hello ada, closed 1006")

			p.do(chromedp.Click("#logout"))
			log("closed 3000 session ended")
		})
	}
}

// copyExample copies an example with what it reads beside it, so that nothing is left in
// the tree.
func copyExample(t *testing.T, name string) string {
	t.Helper()
	root := t.TempDir()
	for from, to := range map[string]string{"../examples/" + name: "examples/" + name, "../examples/page": "examples/page", "../client": "client"} {
		entries, err := os.ReadDir(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(root, to), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if !entry.Type().IsRegular() {
				continue
			}
			content, err := os.ReadFile(filepath.Join(from, entry.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, to, entry.Name()), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return filepath.Join(root, "examples", name)
}

// freePort is one that nobody listens on, and that it has not given before.
func freePort(t *testing.T) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		if _, given := givenPorts.LoadOrStore(port, true); !given {
			return port
		}
	}
}

var givenPorts sync.Map

// startIn is startProgram in a folder and with variables.
func startIn(t *testing.T, dir string, env []string, path string, args ...string) {
	t.Helper()
	startProgram(t, "/usr/bin/env", append(append([]string{"-C", dir}, env...), append([]string{path}, args...)...)...)
}

func listens(t *testing.T, port string) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // another process
	}
}

func ready(t *testing.T, url string) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; {
		response, err := http.Get(url)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", url, err)
		}
		time.Sleep(20 * time.Millisecond) // another process
	}
}

// TestFiveCommands runs the five commands of README.md and docs/gateway.md in a copy of
// the repository, and connects as the page does.
func TestFiveCommands(t *testing.T) {
	if os.Getenv("WSTICKET_SLOW") == "" {
		t.Skip("builds, installs and runs programs; set WSTICKET_SLOW=1")
	}
	installed(t, "Node", "apt-get install nodejs npm", "node")
	var commands string
	for _, page := range []string{"../README.md", "../docs/gateway.md"} {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		_, block, _ := strings.Cut(string(content), "```sh\ngo build -o . ")
		block, _, ok := strings.Cut(block, "```\n")
		if !ok || commands != "" && commands != block {
			t.Fatalf("%s does not have the five commands", page)
		}
		commands = block
	}
	if n := strings.Count(commands, "\n"); n != 5 {
		t.Errorf("%d commands", n)
	}
	root := t.TempDir()
	if out, err := exec.Command("sh", "-c", "cd .. && git ls-files -co --exclude-standard -z | tar --null -T - -c | tar -x -C "+root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	page, front, admin := freePort(t), freePort(t), freePort(t)
	script := "export PORT=" + page + " GATEWAY=http://127.0.0.1:" + front + " ADMIN=http://127.0.0.1:" + admin + " WSTICKET_LISTEN=127.0.0.1:" + front + "\n" +
		strings.NewReplacer("127.0.0.1:3000", "127.0.0.1:"+page, "127.0.0.1:9090", "127.0.0.1:"+admin).Replace("go build -o . "+commands)
	startIn(t, root, nil, "sh", "-e", "-c", script)
	ready(t, "http://127.0.0.1:"+admin+"/readyz")
	listens(t, page)
	p := startBrowser(t)
	p.do(chromedp.Navigate("http://127.0.0.1:"+page+"/"), chromedp.Click("#login"))
	p.wants("log", "logged in")
	p.do(chromedp.Click("#connect"))
	p.wants("log", "hello ada")
	p.wants("log", "is anybody there?")
}
