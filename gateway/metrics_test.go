package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// series are what the admin address shows, by name with labels.
func (w *world) series() map[string]float64 {
	w.Helper()
	page := httptest.NewRecorder()
	w.g.admin().ServeHTTP(page, httptest.NewRequest("GET", "http://localhost/metrics", nil))
	if page.Code != 200 {
		w.Fatalf("status %d: %s", page.Code, page.Body)
	}
	all := map[string]float64{}
	for line := range strings.Lines(page.Body.String()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(line[i+1:]), 64)
		if err != nil {
			w.Fatal(line, err)
		}
		all[line[:i]] = value
	}
	return all
}

// TestMetricsFromTheStart: every series of counts is there at 0 before anything
// happens, and none is new afterwards, whatever clients send.
func TestMetricsFromTheStart(t *testing.T) {
	t.Parallel()
	w := newVerifier(t, nil)
	before := w.series()
	for name, value := range before {
		if strings.HasPrefix(name, "wsticket_") && regexp.MustCompile(`_(total|count|sum|bucket)(\{|$)`).MatchString(name) && value != 0 {
			t.Errorf("%s is %v at the start", name, value)
		}
	}
	for _, name := range []string{`wsticket_verdicts_total{code="replayed",gate="handshakes"}`, `wsticket_verdicts_total{code="accepted",gate="subrequests"}`,
		`wsticket_mint_total{outcome="minted"}`, `wsticket_mint_total{outcome="503"}`, `wsticket_live_connections`, `wsticket_replay_live_tickets`, `wsticket_replay_ready`,
		`wsticket_sessions_ended_total{cause="ended"}`, `wsticket_keyring_load_failures_total`, `wsticket_key_not_after_timestamp_seconds{kid="k1"}`,
		`wsticket_handshake_duration_seconds_count{gate="handshakes",verdict="refused"}`, `wsticket_ticket_age_seconds_count{gate="subrequests"}`,
		`wsticket_gateway_upstream_duration_seconds_count{outcome="failed"}`, `wsticket_gateway_reloads_total{outcome="failed"}`,
		`wsticket_gateway_bad_subrequests_total`, `wsticket_gateway_log_lines_skipped_total`, `wsticket_gateway_max_connections`, `process_resident_memory_bytes`, `go_goroutines`} {
		if _, ok := before[name]; !ok {
			t.Errorf("%s is not there", name)
		}
	}
	ticket := w.ticket(wsticket.Claims{Subject: "subject-7"})
	w.echoes(w.mustDial("/ws/secret-path?ticket="+ticket, nil))
	w.dial("/ws?ticket="+ticket, nil)
	w.dial("/ws?ticket=x", http.Header{"Origin": {"https://evil.example"}})
	w.ask("/verify", "X-Original-Uri", "/ws?ticket="+w.ticket(wsticket.Claims{}))
	w.ask("/verify", "X-Original-Uri", "/ws")
	w.ask("/verify")
	w.mint(200)
	w.backend.mu.Lock()
	w.backend.me = func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }
	w.backend.mu.Unlock()
	w.mint(503)
	after := w.series()
	for name, want := range map[string]float64{`wsticket_verdicts_total{code="accepted",gate="handshakes"}`: 1, `wsticket_verdicts_total{code="replayed",gate="handshakes"}`: 1,
		`wsticket_verdicts_total{code="accepted",gate="subrequests"}`: 1, `wsticket_verdicts_total{code="missing",gate="subrequests"}`: 1, `wsticket_gateway_bad_subrequests_total`: 1,
		`wsticket_mint_total{outcome="minted"}`: 1, `wsticket_mint_total{outcome="503"}`: 1, `wsticket_live_connections`: 1, `wsticket_gateway_connections`: 1,
		`wsticket_handshake_duration_seconds_count{gate="handshakes",verdict="accepted"}`: 1, `wsticket_handshake_duration_seconds_count{gate="handshakes",verdict="refused"}`: 2,
		`wsticket_handshake_duration_seconds_count{gate="subrequests",verdict="accepted"}`: 1, `wsticket_handshake_duration_seconds_count{gate="subrequests",verdict="refused"}`: 1,
		`wsticket_ticket_age_seconds_count{gate="handshakes"}`: 1, `wsticket_replay_live_tickets`: 2,
		`wsticket_gateway_upstream_duration_seconds_count{outcome="upgraded"}`: 1} {
		if got := after[name]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			t.Errorf("%s was not there at the start", name)
		}
		for _, secret := range []string{"subject-7", "secret-path", "127.0.0.1", ticket[len(ticket)-20:]} {
			if strings.Contains(name, secret) {
				t.Errorf("%s has %q in it", name, secret)
			}
		}
	}
}

// TestMetricsOverReload: what was counted is not forgotten by a reload, and is counted
// on.
func TestMetricsOverReload(t *testing.T) {
	t.Parallel()
	w := newVerifier(t, nil)
	work := func() {
		w.echoes(w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil))
		w.dial("/ws?ticket=x", nil)
		w.ask("/verify", "X-Original-Uri", "/ws?ticket="+w.ticket(wsticket.Claims{}))
		w.mint(200)
	}
	work()
	config := w.g.state.Load().config
	config.Drain += time.Second
	if err := w.g.Reload(config); err != nil {
		t.Fatal(err)
	}
	config.Peak++
	if err := w.g.Reload(config); err == nil {
		t.Fatal("no fault")
	}
	work()
	s := w.series()
	for name, want := range map[string]float64{`wsticket_verdicts_total{code="accepted",gate="handshakes"}`: 2, `wsticket_verdicts_total{code="malformed",gate="handshakes"}`: 2,
		`wsticket_verdicts_total{code="accepted",gate="subrequests"}`: 2, `wsticket_mint_total{outcome="minted"}`: 2,
		`wsticket_handshake_duration_seconds_count{gate="handshakes",verdict="accepted"}`: 2,
		`wsticket_gateway_reloads_total{outcome="done"}`:                                  1, `wsticket_gateway_reloads_total{outcome="failed"}`: 1} {
		if got := s[name]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// TestKeyringOverReload: the keyring in force stays one over reloads, also when its
// file has another name, so that it still knows which keys were taken out.
func TestKeyringOverReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	keys, config := w.g.state.Load().keys, w.g.state.Load().config
	old, err := os.ReadFile(config.Keys)
	if err != nil {
		t.Fatal(err)
	}
	reload := func(file, content string) {
		t.Helper()
		config.Keys = filepath.Join(t.TempDir(), file)
		write(t, config.Keys, content)
		if err := w.g.Reload(config); err != nil {
			t.Fatal(err)
		}
	}
	reload("other.json", strings.Replace(string(old), "k1", "k2", 1))
	if s := w.series(); s[`wsticket_key_not_after_timestamp_seconds{kid="k2"}`] == 0 || s[`wsticket_key_not_after_timestamp_seconds{kid="k1"}`] != 0 {
		t.Error("the other keyring is not in force")
	}
	_, err = w.dial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil) // by k1
	w.wantStatus(err, 401)
	reload("back.json", string(old))
	if log := w.logs.String(); !strings.Contains(log, "k1 had been dropped") {
		t.Errorf("the log does not tell of a key that came back:\n%s", log)
	}
	w.echoes(w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil))
	if w.g.state.Load().keys != keys {
		t.Error("it is another keyring")
	}
}

func (w *world) mint(status int) {
	w.Helper()
	response, err := http.Post("http://"+w.addr+"/ticket", "", nil)
	if err != nil {
		w.Fatal(err)
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
	if response.StatusCode != status {
		w.Errorf("mint: %s, want %d", response.Status, status)
	}
}

const deployDir = "../deploy/"

func names(text string) []string {
	found := map[string]bool{}
	for _, name := range regexp.MustCompile(`wsticket_[a-z_]+`).FindAllString(text, -1) {
		found[name] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// ofStores are shown where single use asks a store.
var ofStores = regexp.MustCompile(`wsticket_(store_|redis|etcd)`)

// TestAlertsFit: the gateway's alerts are well formed and go off when they should, and
// every metric that rules, dashboard and the documentation name is one of the gateway.
func TestAlertsFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	there := map[string]bool{}
	for name := range w.series() {
		name, _, _ = strings.Cut(name, "{")
		for _, suffix := range []string{"_bucket", "_count", "_sum", ""} {
			there[strings.TrimSuffix(name, suffix)] = true
		}
		there[name] = true
	}
	read := func(path string) string {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	page := read("../docs/gateway.md")
	for _, file := range []string{deployDir + "prometheus/alerts.yml", deployDir + "prometheus/gateway-alerts.yml", deployDir + "grafana/wsticket.json", "../docs/gateway.md"} {
		for _, name := range names(read(file)) {
			if !there[name] && !ofStores.MatchString(name) {
				t.Errorf("%s names %s, which the gateway does not show", file, name)
			}
		}
	}
	for name := range there {
		if strings.HasPrefix(name, "wsticket_gateway_") && !strings.Contains(page, "`"+name) && there[name+"_bucket"] == there[name+"_count"] &&
			!regexp.MustCompile(`_(bucket|count|sum)$`).MatchString(name) {
			t.Errorf("docs/gateway.md does not name %s", name)
		}
	}
	alerts, cases := read(deployDir+"prometheus/gateway-alerts.yml"), read(deployDir+"prometheus/gateway-alerts_test.yml")
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(alerts, -1) {
		if !strings.Contains(cases, "alertname: "+m[1]+"\n    exp_alerts:\n") || !strings.Contains(cases, "alertname: "+m[1]+"\n    exp_alerts: []\n") {
			t.Errorf("%s is not tested both to go off and to be silent", m[1])
		}
		if !strings.Contains(page, "`"+m[1]+"`") {
			t.Errorf("docs/gateway.md does not say what to do about %s", m[1])
		}
	}
	promtool := installed(t, "promtool", "apt-get install prometheus")
	for _, args := range [][]string{{"check", "rules", "--lint-fatal", deployDir + "prometheus/gateway-alerts.yml"}, {"test", "rules", deployDir + "prometheus/gateway-alerts_test.yml"}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}

// TestDashboardOnGateway: every query of the dashboard brings something when a real
// Prometheus has scraped a gateway, but for those of a store.
func TestDashboardOnGateway(t *testing.T) {
	slow(t)
	prometheus := installed(t, "prometheus", "apt-get install prometheus")
	w := newVerifier(t, nil)
	admin := httptest.NewServer(w.g.admin())
	t.Cleanup(admin.Close)
	dir, port := t.TempDir(), freePort(t)
	alerts, err := filepath.Abs(deployDir + "prometheus")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "prometheus.yml")
	write(t, config, fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q, %q]\nscrape_configs:\n- job_name: gw\n  static_configs: [{targets: [%q]}]\n",
		alerts+"/alerts.yml", alerts+"/gateway-alerts.yml", admin.Listener.Addr()))
	serve(t, port, prometheus, "--config.file="+config, "--storage.tsdb.path="+dir+"/data", "--web.listen-address=127.0.0.1:"+port, "--log.level=error")
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	content, err := os.ReadFile(deployDir + "grafana/wsticket.json")
	if err != nil || json.Unmarshal(content, &board) != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for round := 0; ; round++ {
		w.echoes(w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil))
		w.dial("/ws?ticket=x", nil)
		w.mint(200)
		empty := []string{}
		for _, panel := range board.Panels {
			for _, target := range panel.Targets {
				query := strings.NewReplacer("$job", ".*", "$instance", ".*", "$__rate_interval", "10s").Replace(target.Expr)
				if ofStores.MatchString(query) {
					continue
				}
				n, err := queryPrometheus("http://127.0.0.1:"+port, query)
				if err != nil || n == 0 {
					empty = append(empty, fmt.Sprintf("%s: %s: %v", panel.Title, query, err))
				}
			}
		}
		if len(empty) == 0 && round > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("these bring nothing:\n%s", strings.Join(empty, "\n"))
		}
		time.Sleep(500 * time.Millisecond) // another process scrapes once a second
	}
}

// queryPrometheus runs a query and returns how many series it brings.
func queryPrometheus(api, query string) (int, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext}}
	answer, err := client.Get(api + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	var body struct {
		Error string
		Data  struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		return 0, err
	}
	if body.Error != "" {
		return 0, fmt.Errorf("%s", body.Error)
	}
	return len(body.Data.Result), nil
}
