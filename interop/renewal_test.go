package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestRenewalPage: the page of examples/renewal keeps one connection over session after
// session, with new tickets as messages, until a logout ends it.
func TestRenewalPage(t *testing.T) {
	slow(t)
	t.Parallel()
	p := startBrowser(t)
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys.json")
	if err := os.WriteFile(keys, []byte(output(t, "keys", "generate")), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "renewal")
	if text, err := exec.Command("go", "build", "-o", binary, "github.com/wsticket/wsticket/examples/renewal").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	program := startProgram(t, binary, "-addr", "127.0.0.1:0", "-keys", keys, "-session", "5s")
	var addr string
	poll(t, "it takes tickets", func() bool {
		for line := range strings.Lines(string(program.printed())) {
			if rest, ok := strings.CutPrefix(line, "accepting on "); ok {
				addr = strings.TrimSpace(rest)
			}
		}
		return addr != "" && strings.Contains(string(program.printed()), "listening")
	})

	p.do(chromedp.Navigate("http://"+addr+"/"), chromedp.Click(chromedp.ID("login")))
	p.wants("state", "connected until")
	const times = `new Set([...document.querySelectorAll("#log li")].map((line) => line.textContent).filter((text) => text.startsWith("connected"))).size`
	poll(t, "three sessions were renewed over one connection", func() bool { return evaluate[int](p, times) >= 4 })
	if log := evaluate[string](p, `document.getElementById("log").textContent`); strings.Contains(log, "closed") || strings.Contains(log, "refused") {
		t.Errorf("the page says %q", log)
	}
	p.do(chromedp.Click(chromedp.ID("logout")))
	p.wants("log", "closed: 3000")
	p.wants("log", "log in")
	p.wants("state", "for good")
}

// poll waits until something is so.
func poll(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 40 s: %s", what)
		}
	}
}
