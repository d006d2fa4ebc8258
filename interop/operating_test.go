package interop

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const operatingPage = "../docs/operating.md"

// TestOperatingAlerts: every alert has its heading on the page, and every heading its
// alert.
func TestOperatingAlerts(t *testing.T) {
	_, section, _ := strings.Cut(readFile(t, operatingPage), "\n## Alerts\n")
	names := func(pattern, text string) (all []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			all = append(all, m[1])
		}
		return all
	}
	rules := readFile(t, "../deploy/prometheus/alerts.yml") + readFile(t, "../deploy/prometheus/gateway-alerts.yml")
	alerts := names(`(?m)^  - alert: (\w+)$`, rules)
	if headings := names(`(?m)^### (\w+)$`, section); len(alerts) == 0 || !slices.Equal(alerts, headings) {
		t.Errorf("the alerts are\n%q, the page has\n%q", alerts, headings)
	}
	// Who is woken is said right.
	for i, part := range strings.Split(section, "\n### ")[1:] {
		_, rule, _ := strings.Cut(rules, "- alert: "+alerts[i]+"\n")
		critical := regexp.MustCompile(`severity: (\w+)`).FindStringSubmatch(rule)[1] == "critical"
		if page := strings.Contains(part, "\n**Page.** "); page != critical {
			t.Errorf("%s: critical %v, to be woken for %v", alerts[i], critical, page)
		}
	}
}

// TestOperatingLog: the gateway writes the messages that the page lists, at that level,
// and no others that are warnings or errors.
func TestOperatingLog(t *testing.T) {
	_, section, _ := strings.Cut(readFile(t, operatingPage), "\n## The log\n")
	section, _, _ = strings.Cut(section, "\n## ")
	listed := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([A-Z]+) \\|").FindAllStringSubmatch(section, -1) {
		listed[m[1]] = m[2]
	}
	written := map[string]string{}
	files, err := filepath.Glob("../gateway/*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, "../gateway/cmd/wsticket-gateway/main.go")
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text := readFile(t, file)
		for _, m := range regexp.MustCompile(`slog\.Level(\w+), "([^"]+)"|[lL]og(?:\(\))?\.(Info|Warn|Error)\("([^"]+)"`).FindAllStringSubmatch(text, -1) {
			written[m[2]+m[4]] = strings.ToUpper(m[1] + m[3])
		}
		for _, m := range regexp.MustCompile(`sampleKey\{"([^"]+)".*slog\.Level(\w+)`).FindAllStringSubmatch(text, -1) {
			written[m[1]] = strings.ToUpper(m[2])
		}
	}
	if len(listed) < 8 {
		t.Fatalf("the page lists %v", listed)
	}
	for message, level := range listed {
		if written[message] != level {
			t.Errorf("the page has %q at %s, the gateway writes it at %q", message, level, written[message])
		}
	}
	for message, level := range written {
		if (level == "WARN" || level == "ERROR") && listed[message] == "" {
			t.Errorf("the page does not have %q, which is written at %s", message, level)
		}
	}
}

// TestOperatingSizing: what the page takes from other pages is still what they say.
func TestOperatingSizing(t *testing.T) {
	_, section, _ := strings.Cut(readFile(t, operatingPage), "\n## Sizing\n")
	section, _, _ = strings.Cut(section, "\n## ")
	nodes, single := readFile(t, "../docs/many-nodes.md"), readFile(t, "../docs/single-use.md")
	for _, c := range []struct{ here, there, page string }{
		{"366 µs each with an ECDSA", "| TLS 1.3, ECDSA P-256, with a ticket | 366 µs |", nodes},
		{"40 µs each", "| TCP, with a ticket | 40 µs |", nodes},
		{"10 KB an idle connection", "An idle connection needs 10 KB in the gateway", nodes},
		{"28,000 connections an address", "takes 28,000 connections from one balancer", nodes},
		{"74,000 claims a second", "so 74,100 a second on its one thread", nodes},
		{"23 B × `peak` × (`max-ttl` + 7)", "MaxTTL + 2 × Leeway + 3 frames", single},
		{"23 B × `peak`", "A frame costs 23.2 bytes for each ticket of the peak", single},
	} {
		if !strings.Contains(section, c.here) {
			t.Errorf("the page does not say %q", c.here)
		}
		if !strings.Contains(c.page, c.there) {
			t.Errorf("the other page does not say %q any more", c.there)
		}
	}
	const users = 50_000
	handshakes := users / 30.0
	for _, want := range []string{
		fmt.Sprintf("| %.1f of a core in that half minute |", handshakes*366e-6),
		fmt.Sprintf("| %.2f of a core |", handshakes*40e-6),
		fmt.Sprintf("| %.1f GB |", users*10e3/1e9),
		fmt.Sprintf("| %.0f MB |", 23.2*3400*(60+7)/1e6),
	} {
		if !strings.Contains(section, want) {
			t.Errorf("the example does not say %q", want)
		}
	}
}

// TestOperatingKeys runs the commands of two sections of the page, with two gateways for
// the two nodes: a rotation, and then a key that leaked.
func TestOperatingKeys(t *testing.T) {
	if os.Getenv("WSTICKET_SLOW") == "" {
		t.Skip("runs two gateways and the commands of a page; set WSTICKET_SLOW=1")
	}
	bash := installed(t, "bash", "apt-get install bash", "bash")
	installed(t, "curl", "apt-get install curl", "curl")
	page := readFile(t, operatingPage)
	block := func(heading string) string {
		_, section, _ := strings.Cut(page, heading+"\n")
		m := regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindStringSubmatch(section)
		if m == nil {
			t.Fatalf("no commands under %s", heading)
		}
		return m[1]
	}
	root, gateway, cli := t.TempDir(), gatewayProgram(t), command(t)
	keyring, err := exec.Command(cli, "keys", "generate").Output()
	if err != nil {
		t.Fatal(err)
	}
	admin := filepath.Join(root, "admin")
	if err := os.MkdirAll(admin, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(path string) {
		if err := os.WriteFile(path, keyring, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(admin, "keyring.json"))

	// Each node is a folder, and what ssh does there is done here.
	fronts := map[string]string{}
	shims := "scp() { cp -- \"$2\" \"" + root + "/${3%%:*}${3#*:}\"; }\nchgrp() { :; }\nexport -f chgrp\nssh() { case $1 in\n"
	for _, node := range []string{"gw-1", "gw-2"} {
		etc := filepath.Join(root, node, "etc/wsticket")
		if err := os.MkdirAll(etc, 0o700); err != nil {
			t.Fatal(err)
		}
		write(filepath.Join(etc, "keyring.json"))
		listen, adminPort := freePort(t), freePort(t)
		fronts[node] = "127.0.0.1:" + listen
		startProgram(t, gateway, "serve", "-listen", fronts[node], "-admin", "127.0.0.1:"+adminPort, "-leeway", "1s", "-keys", filepath.Join(etc, "keyring.json"),
			"-upstream", "http://127.0.0.1:1", "-mint-auth", "http://127.0.0.1:1/me")
		ready(t, "http://127.0.0.1:"+adminPort+"/readyz")
		shims += fmt.Sprintf("%s) bash -c \"$(printf %%s \"$2\" | sed 's#/etc/wsticket#%s#g; s#127.0.0.1:9090#127.0.0.1:%s#')\" ;;\n", node, etc, adminPort)
	}
	shims += "esac; }\n"
	run := func(commands string, env ...string) string {
		t.Helper()
		c := exec.Command(bash, "-e", "-c", shims+commands)
		c.Dir = admin
		c.Env = append(os.Environ(), append(env, "PATH="+filepath.Dir(cli)+string(os.PathListSeparator)+os.Getenv("PATH"))...)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	mint := func() string {
		return strings.TrimSpace(run("wsticket mint -keys keyring.json -sub ada -ttl 60s"))
	}
	// 502 is a ticket that was taken: there is no backend.
	becomes := func(node string, ticket func() string, want int) {
		t.Helper()
		status := 0
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) { // another process
			if status, _ = show(t, "tcp", fronts[node], byQuery("ticket="+ticket())); status == want {
				return
			}
		}
		t.Fatalf("%s answers %d, want %d", node, status, want)
	}

	before := strings.Fields(run("wsticket keys list -keys keyring.json"))
	said := strings.TrimSpace(run(block("\n## Rotating keys")))
	lines := strings.Split(said, "\n")
	if n := len(lines); n < 3 || lines[n-1] != lines[n-2] || lines[n-2] != lines[n-3] {
		t.Errorf("the fingerprints differ:\n%s", said)
	}
	if len(strings.Fields(run("wsticket keys list -keys keyring.json"))) <= len(before) {
		t.Error("the rotation added no key")
	}
	for node := range fronts {
		becomes(node, mint, http.StatusBadGateway)
	}

	leaked := regexp.MustCompile(`"kid":"([^"]+)","alg":"HS256","state":"signing"`).FindStringSubmatch(run("wsticket keys list -keys keyring.json -json"))
	if leaked == nil {
		t.Fatal("no key signs")
	}
	if err := os.WriteFile(filepath.Join(admin, "old.json"), []byte(readFile(t, filepath.Join(admin, "keyring.json"))), 0o600); err != nil {
		t.Fatal(err)
	}
	said = run(block("\n### A key leaked"), "LEAKED="+leaked[1])
	if strings.Count(said, `{"closed":true}`) != 2 {
		t.Errorf("the connections of both nodes were to be closed: %s", said)
	}
	for node := range fronts {
		becomes(node, mint, http.StatusBadGateway)
		forged := func() string { return strings.TrimSpace(run("wsticket mint -keys old.json -sub root -ttl 60s")) }
		becomes(node, forged, http.StatusUnauthorized)
	}
}
