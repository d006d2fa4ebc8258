package prommetrics

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	alerts    = "../deploy/prometheus/alerts.yml"
	dashboard = "../deploy/grafana/wsticket.json"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestAlerts: the rules are well formed, go off when they should and are silent beside
// that.
func TestAlerts(t *testing.T) {
	promtool := program(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "--lint-fatal", alerts}, {"test", "rules", "../deploy/prometheus/alerts_test.yml"}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", args, out)
		}
	}
	cases := read(t, "../deploy/prometheus/alerts_test.yml")
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(read(t, alerts), -1) {
		goesOff := strings.Contains(cases, "alertname: "+m[1]+"\n    exp_alerts:\n")
		silent := strings.Contains(cases, "alertname: "+m[1]+"\n    exp_alerts: []\n")
		if !goesOff || !silent {
			t.Errorf("%s: tested to go off %v, to be silent %v", m[1], goesOff, silent)
		}
	}
}

// TestNames: what rules, dashboard and page name is there.
func TestNames(t *testing.T) {
	p := newPlant(t)
	families, err := p.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	page := read(t, "../docs/metrics.md")
	there := map[string]bool{}
	for _, f := range families {
		there[f.GetName()] = true
		if !strings.Contains(page, "`"+f.GetName()) {
			t.Errorf("docs/metrics.md does not name %s", f.GetName())
		}
	}
	for _, file := range []string{alerts, dashboard, "../docs/metrics.md"} {
		for _, name := range regexp.MustCompile(`wsticket_[a-z_]+`).FindAllString(read(t, file), -1) {
			base := strings.TrimSuffix(name, "_bucket")
			if !there[base] && !strings.HasPrefix(name, "wsticket_gateway_") {
				t.Errorf("%s names %s, which is not there", file, name)
			}
		}
	}
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(read(t, alerts), -1) {
		if !strings.Contains(page, "`"+m[1]+"`") {
			t.Errorf("docs/metrics.md does not explain %s", m[1])
		}
	}
}

// TestDashboard runs every query of the dashboard on a real Prometheus that scrapes a
// real collector, and each brings something.
func TestDashboard(t *testing.T) {
	path := program(t, "prometheus")
	p := newPlant(t)
	site := httptest.NewServer(promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{}))
	t.Cleanup(site.Close)
	api := startPrometheus(t, path, site.Listener.Addr().String())
	p.work() // after the first scrape or before: rates are over what follows

	queries := 0
	deadline := time.Now().Add(time.Minute)
	for _, panel := range panels(t) {
		for _, target := range panel.Targets {
			queries++
			for query := queried.Replace(target.Expr); ; {
				n, err := ask(api, query)
				if err != nil {
					t.Errorf("%s: %s: %v", panel.Title, query, err)
				}
				if err != nil || n > 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Errorf("%s: %s brings nothing", panel.Title, query)
					break
				}
				time.Sleep(200 * time.Millisecond) // another process scrapes once a second
			}
		}
	}
	if queries < 15 {
		t.Errorf("only %d queries", queries)
	}
}

// startPrometheus starts one that scrapes an address every second, and returns where it
// answers.
func startPrometheus(t *testing.T, path, target string) (api string) {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	rules, err := filepath.Abs(alerts)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs:\n- job_name: gw\n  static_configs: [{targets: [%q]}]\n", rules, target)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	command := exec.Command(path, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr, "--log.level=error")
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
		output.Close()
		if t.Failed() {
			t.Logf("prometheus printed:\n%s", read(t, output.Name()))
		}
	})
	api = "http://" + addr
	for deadline := time.Now().Add(30 * time.Second); ; {
		if n, err := ask(api, `up == 1`); err == nil && n == 1 {
			return api
		}
		if time.Now().After(deadline) {
			t.Fatal("prometheus does not scrape")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// ask runs a query and returns how many series it brings.
func ask(api, query string) (n int, err error) {
	client := http.Client{Timeout: 10 * time.Second}
	answer, err := client.Get(api + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	var body struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		return 0, err
	}
	if body.Status != "success" {
		return 0, fmt.Errorf("%s", body.Error)
	}
	return len(body.Data.Result), nil
}
