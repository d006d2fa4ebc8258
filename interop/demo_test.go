package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/wsticket/wsticket/live"
	"github.com/wsticket/wsticket/wstickettest/notickets"
)

// TestDemoPage clicks through every scene of the demo in a real browser. With
// WSTICKET_SCREENSHOTS naming a directory it leaves pictures of the page there.
func TestDemoPage(t *testing.T) {
	t.Parallel()
	p := startBrowser(t)
	demo := startDemo(t)
	console := chromedp.Console(p.ctx)

	p.do(chromedp.Navigate(demo.url), chromedp.WaitEnabled(chromedp.ID("connect")))
	p.wants("attempts", "None yet.")
	p.wants("counters", "accepted\n0")
	demo.counts(t, nil)

	p.do(chromedp.Click(chromedp.ID("connect")))
	p.wants("connect-says", "accepted")
	p.wants("claims", `"sub":"demo"`)
	demo.counts(t, map[string]int{"accepted": 1})

	p.say("grüezi <b>")
	p.wants("echo-says", "“grüezi <b>”")

	p.do(chromedp.Click(chromedp.ID("again")))
	p.wants("again-says", "replayed")
	demo.counts(t, map[string]int{"accepted": 1, "replayed": 1})
	p.say("still here") // the first connection is none the worse for it
	p.wants("echo-says", "“still here”")

	p.do(chromedp.Click(chromedp.ID("tamper")))
	p.wants("tamper-says", "bad_signature")
	p.do(chromedp.WaitVisible(chromedp.CSS("#ticket mark")))
	demo.counts(t, map[string]int{"accepted": 1, "replayed": 1, "bad_signature": 1})

	p.do(chromedp.Click(chromedp.ID("expire")))
	p.wants("expire-says", "s to go.")
	p.do(chromedp.WaitVisible(chromedp.ID("countdown")))
	p.screenshot("waiting")
	p.wants("expire-says", "expired")
	p.do(chromedp.WaitNotVisible(chromedp.ID("countdown")))
	all := map[string]int{"accepted": 1, "replayed": 1, "bad_signature": 1, "expired": 1}
	demo.counts(t, all)

	// The server drops the connection; the client comes back with another ticket.
	p.do(chromedp.Click(chromedp.ID("lose")))
	p.wants("lose-says", "accepted again after")
	p.wants("lose-says", "code 1006")
	p.wants("connect-says", "open again")
	p.say("back")
	p.wants("echo-says", "“back”")
	all["accepted"]++
	demo.counts(t, all)

	verdicts := evaluate[[]string](p, `[...document.querySelectorAll("#attempts tr")].map((r) => r.dataset.code)`)
	if want := []string{"accepted", "expired", "bad_signature", "replayed", "accepted"}; !slices.Equal(verdicts, want) {
		t.Errorf("the page lists %q, want %q", verdicts, want)
	}
	for _, text := range evaluate[[]string](p, `[...document.querySelectorAll("#attempts td.num")].map((c) => c.textContent)`) {
		var micros float64
		if _, err := fmt.Sscan(text, &micros); err != nil || micros <= 0 || micros > 1e6 {
			t.Errorf("a check took %q µs", text)
		}
	}
	for code, n := range all {
		p.wants("counters", fmt.Sprintf("%s\n%d", code, n))
	}

	p.screenshot("light")
	p.media("dark")
	p.screenshot("dark")
	p.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateScale(2)))
	p.screenshot("phone-dark")
	p.media("light")
	p.screenshot("phone-light")
	if width := evaluate[int](p, `document.documentElement.scrollWidth`); width > 390 {
		t.Errorf("the page is %d wide on a phone of 390", width)
	}

	// A signal ends it, and the open connection with it.
	demo.stop(t)
	p.wants("connect-says", "has ended: "+live.GoingAway.Reason()+" (1001)")
	p.wants("connect-says", "The mint does not answer")
	if text := demo.stderr.String(); text != "" {
		t.Errorf("the demo wrote to standard error: %s", text)
	}

	p.close()
	for message, err := range console {
		if err != nil {
			break
		}
		// Browsers log a refused handshake, a mint that says no after the logout, and
		// what finds no server once it is gone.
		if !slices.ContainsFunc([]string{"WebSocket connection to", "status of 401", "ERR_CONNECTION_REFUSED"}, func(known string) bool { return strings.Contains(message.Text, known) }) {
			t.Errorf("the console says: %v", message)
		}
	}
}

// A session of the demo page is renewed before its end, and ended by a logout.
func TestDemoSession(t *testing.T) {
	slow(t)
	t.Parallel()
	p := startBrowser(t)
	demo := startDemo(t)
	p.do(chromedp.Navigate(demo.url), chromedp.WaitEnabled(chromedp.ID("connect")))
	p.do(chromedp.Click(chromedp.ID("connect")))
	p.wants("connect-says", "accepted")

	p.do(chromedp.Click(chromedp.ID("login")))
	p.wants("login-says", "ends with the session")
	p.do(chromedp.WaitVisible(chromedp.ID("session")))
	p.wants("login-says", "Renewed 1 time: a second connection")
	p.wants("claims", `"session_exp":`)
	all := map[string]int{"accepted": 3}
	demo.counts(t, all)
	p.do(chromedp.Click(chromedp.ID("logout")))
	p.wants("login-says", "unauthorized")
	p.do(chromedp.WaitNotVisible(chromedp.ID("session")))
	demo.counts(t, all)
	p.say("untouched") // that was another connection
	p.wants("echo-says", "“untouched”")
	demo.stop(t)
	if text := demo.stderr.String(); text != "" {
		t.Errorf("the demo wrote to standard error: %s", text)
	}
}

// TestDemoWithKeys takes the tickets that others mint with the same keyring, but
// none from before its start.
func TestDemoWithKeys(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys.json")
	text := output(t, "keys", "generate")
	if err := os.WriteFile(keys, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	early := output(t, "mint", "-keys", keys, "-sub", "early", "-ttl", "60s")
	demo := startDemo(t, "-keys", keys)
	ticket := output(t, "mint", "-keys", keys, "-sub", "alice")
	for _, c := range []struct {
		ticket string
		status int
	}{{ticket, 101}, {ticket, 401}, {early, 401}, {"x", 401}, {"", 401}} {
		if status := demo.handshake(t, c.ticket); status != c.status {
			t.Errorf("status %d, want %d", status, c.status)
		}
	}
	demo.counts(t, map[string]int{"accepted": 1, "replayed": 1, "issued_before_start": 1, "malformed": 2})

	// A key that signs at once is taken without a restart.
	output(t, "keys", "rotate", "-keys", keys, "-activate-in", "0s")
	rotated := output(t, "mint", "-keys", keys, "-sub", "alice", "-ttl", "60s")
	for end := time.Now().Add(20 * time.Second); demo.handshake(t, rotated) != 101; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the new key is not taken")
		}
	}
	demo.stop(t)
	if text := demo.stderr.String(); strings.Contains(text, "eyJ") || !strings.HasPrefix(text, "wsticket: waiting ") {
		t.Errorf("standard error: %q", text)
	}
}

// TestDemoForAll warns when other machines can reach it.
func TestDemoForAll(t *testing.T) {
	t.Parallel()
	demo := startDemo(t, "-addr", "0.0.0.0:0")
	demo.stop(t)
	if text := demo.stderr.String(); !strings.Contains(text, "warning: ") || strings.Count(text, "\n") != 1 {
		t.Errorf("standard error: %q", text)
	}
}

// output runs wsticket and returns what it wrote, without the line break.
func output(t *testing.T, args ...string) string {
	t.Helper()
	text, err := exec.Command(command(t), args...).Output()
	if err != nil {
		t.Fatalf("wsticket %q: %v", args, err)
	}
	return strings.TrimSpace(string(text))
}

// handshake asks for a connection with a ticket and returns the status.
func (d *runningDemo) handshake(t *testing.T, ticket string) int {
	t.Helper()
	r, err := http.NewRequest("GET", d.url+"ws?ticket="+ticket, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// A page is a tab of a browser of its own.
type page struct {
	t     *testing.T
	ctx   context.Context
	close context.CancelFunc
}

// do does one thing after the other.
func (p *page) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

func evaluate[T any](p *page, script string) T {
	p.t.Helper()
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](script))
	if err != nil {
		p.t.Fatal(err)
	}
	return value
}

// wants waits until the text that is to be seen in an element holds want.
func (p *page) wants(id, want string) {
	p.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		text := evaluate[string](p, fmt.Sprintf("document.getElementById(%q).innerText", id))
		if strings.Contains(text, want) {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("#%s says %q, want %q", id, text, want)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// say sends a message over the connection that is open.
func (p *page) say(text string) {
	p.t.Helper()
	p.do(chromedp.WaitEnabled(chromedp.ID("send")), chromedp.SetValue(chromedp.ID("message"), text), chromedp.SendKeys(chromedp.ID("message"), "\n"))
}

func (p *page) media(scheme string) {
	p.t.Helper()
	params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, params); err != nil {
		p.t.Fatal(err)
	}
}

// screenshot leaves a picture of the whole page when that was asked for.
func (p *page) screenshot(name string) {
	p.t.Helper()
	dir := os.Getenv("WSTICKET_SCREENSHOTS")
	if dir == "" {
		return
	}
	picture, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// startBrowser starts a Chromium, or skips the test where there is none.
func startBrowser(t *testing.T) *page {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		const how = "no Chromium on PATH; get one, for instance with: apt-get install chromium"
		if os.Getenv("CI") == "true" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WindowSize(1280, 900),
	}
	for _, flag := range []string{"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
		"disable-component-update", "disable-sync", "disable-dev-shm-usage"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("%s does not start: %v", path, err)
	}
	return &page{t, ctx, cancel}
}

// A runningDemo is a wsticket demo of its own.
type runningDemo struct {
	url     string
	command *exec.Cmd
	stdout  *bufio.Reader
	stderr  bytes.Buffer
	ended   bool
}

func startDemo(t *testing.T, args ...string) *runningDemo {
	t.Helper()
	d := &runningDemo{command: exec.Command(command(t), append([]string{"demo", "-addr", "127.0.0.1:0"}, args...)...)}
	pipe, err := d.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.command.Stderr = &d.stderr
	d.stdout = bufio.NewReader(pipe)
	if err := d.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !d.ended {
			d.command.Process.Kill()
			d.command.Wait()
		}
		notickets.Check(t, "the demo's log", d.stderr.Bytes())
	})
	line, err := d.stdout.ReadString('\n')
	if err != nil {
		t.Fatalf("the demo does not listen: %v, %s", err, &d.stderr)
	}
	url, found := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if !found {
		t.Fatalf("the demo says %q", line)
	}
	d.url = url
	return d
}

// counts wants these counters, and zero for every other.
func (d *runningDemo) counts(t *testing.T, want map[string]int) {
	t.Helper()
	response, err := http.Get(d.url + "stats")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var got map[string]int
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 23 {
		t.Errorf("%d counters, want accepted and 22 codes: %v", len(got), got)
	}
	for code, n := range got {
		if n != want[code] {
			t.Errorf("counter %s is %d, want %d", code, n, want[code])
		}
	}
}

// stop ends the demo by a signal and wants it to end well.
func (d *runningDemo) stop(t *testing.T) {
	t.Helper()
	d.command.Process.Signal(syscall.SIGTERM)
	d.ended = true
	if err := d.command.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, %s", err, &d.stderr)
	}
}
