package prommetrics

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
	"github.com/wsticket/wsticket/wstickettest"
)

// A plant has everything that is counted.
type plant struct {
	t           testing.TB
	keys        *wsticket.Keyring
	signer      *wsticket.Signer
	verifier    *wsticket.Verifier
	store       *Guard
	cache       *wsticket.ReplayCache
	connections *live.Registry
	up          *wsticket.Upgrader
	gate        *wsticket.Gate
	mint        *wsticket.MintHandler
	collector   *Collector
	registry    *prometheus.Registry
	minted      []string
	storeStats  StoreStats
}

func newPlant(t testing.TB) *plant {
	t.Helper()
	p := &plant{t: t, keys: wstickettest.NewKeyring(t), storeStats: StoreStats{Refused: map[string]uint64{"timeout": 0, "gone": 0}}}
	var errs [8]error
	p.signer, errs[0] = wsticket.NewSigner(wsticket.SignerConfig{Keys: p.keys})
	p.cache, errs[1] = wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 1000, Since: time.Unix(0, 0)})
	p.store, errs[2] = NewGuard(p.cache)
	p.verifier, errs[3] = wsticket.NewVerifier(wsticket.VerifierConfig{Keys: p.keys, Replay: p.store})
	p.connections, errs[4] = live.New(live.Config{Since: time.Unix(0, 0)})
	p.up, errs[5] = wsticket.NewUpgrader(wsticket.UpgraderConfig{Verifier: p.verifier})
	p.gate, errs[6] = wsticket.NewGate(wsticket.GateConfig{Verifier: p.verifier, AnyRequest: true})
	p.mint, errs[7] = wsticket.NewMintHandler(wsticket.MintConfig{Signer: p.signer, Authenticate: func(r *http.Request) (*wsticket.Claims, error) {
		if user, _, ok := r.BasicAuth(); ok {
			return &wsticket.Claims{Subject: user}, nil
		}
		return nil, nil
	}})
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	var err error
	p.collector, err = New(Config{Gates: map[string]Gate{"raw": p.up, "web": p.gate}, Mint: p.mint, Replay: p.cache, Store: p.store, Keys: p.keys, Connections: p.connections,
		StoreStats: func() StoreStats { return p.storeStats }})
	if err != nil {
		t.Fatal(err)
	}
	p.registry = prometheus.NewPedanticRegistry()
	if err := p.registry.Register(p.collector); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *plant) ticket() string {
	text, err := p.signer.Sign(&wsticket.Claims{Subject: "ada", SessionID: "session-7"})
	if err != nil {
		p.t.Fatal(err)
	}
	p.minted = append(p.minted, text)
	return text
}

// series returns every series and its value, of a histogram the count.
func (p *plant) series() map[string]float64 {
	p.t.Helper()
	families, err := p.registry.Gather()
	if err != nil {
		p.t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				all[name] = m.Counter.GetValue()
			case dto.MetricType_GAUGE:
				all[name] = m.Gauge.GetValue()
			case dto.MetricType_HISTOGRAM:
				all[name] = float64(m.Histogram.GetSampleCount())
			}
		}
	}
	return all
}

// TestFromTheStart: every series is there before anything has happened, and stays the
// same series whatever happens.
func TestFromTheStart(t *testing.T) {
	p := newPlant(t)
	before := p.series()
	for _, code := range append([]string{"accepted"}, codes()...) {
		for _, gate := range []string{"raw", "web"} {
			if n, ok := before["wsticket_verdicts_total code="+code+" gate="+gate]; !ok || n != 0 {
				t.Errorf("verdict %s of %s: %v, %v", code, gate, n, ok)
			}
		}
	}
	for _, name := range []string{"wsticket_handshake_duration_seconds gate=raw verdict=accepted", "wsticket_handshake_duration_seconds gate=web verdict=refused",
		"wsticket_ticket_age_seconds gate=web", "wsticket_mint_total outcome=minted", "wsticket_mint_total outcome=429",
		"wsticket_replay_live_tickets", "wsticket_replay_overflow_ratio", "wsticket_keyring_load_failures_total", "wsticket_live_connections",
		"wsticket_sessions_ended_total cause=ended", "wsticket_sessions_ended_total cause=going_away", "wsticket_live_refused_total reason=limit",
		"wsticket_live_bus_missed_total", "wsticket_store_claims_total outcome=accepted", "wsticket_store_claims_total outcome=unavailable", "wsticket_store_duration_seconds",
		"wsticket_store_refused_total reason=timeout", "wsticket_store_moved_total", "wsticket_store_evicted_total", "wsticket_store_since_timestamp_seconds"} {
		if n, ok := before[name]; !ok || n != 0 {
			t.Errorf("%s: %v, %v", name, n, ok)
		}
	}
	fingerprint, _ := p.keys.Fingerprint()
	for _, name := range []string{"wsticket_replay_ready", "wsticket_keyring_fingerprint_info fingerprint=" + fingerprint} {
		if before[name] != 1 {
			t.Errorf("%s: %v", name, before[name])
		}
	}
	if age := float64(time.Now().Unix()) - before["wsticket_keyring_last_load_timestamp_seconds"]; age < -1 || age > 60 {
		t.Errorf("the keys are %v s old", age)
	}
	if end := before["wsticket_key_not_after_timestamp_seconds kid=test"]; !math.IsInf(end, 1) {
		t.Errorf("a key without an end ends at %v", end)
	}

	p.work()
	after := p.series()
	if len(after) != len(before) {
		t.Errorf("%d series, then %d", len(before), len(after))
	}
	for name, want := range map[string]float64{
		"wsticket_verdicts_total code=accepted gate=raw": 1, "wsticket_verdicts_total code=replayed gate=raw": 1,
		"wsticket_verdicts_total code=accepted gate=web": 1, "wsticket_verdicts_total code=missing gate=web": 1,
		"wsticket_handshake_duration_seconds gate=raw verdict=accepted": 1, "wsticket_handshake_duration_seconds gate=raw verdict=refused": 1,
		"wsticket_handshake_duration_seconds gate=web verdict=accepted": 1, "wsticket_handshake_duration_seconds gate=web verdict=refused": 1,
		"wsticket_ticket_age_seconds gate=raw": 1, "wsticket_ticket_age_seconds gate=web": 1,
		"wsticket_mint_total outcome=minted": 1, "wsticket_mint_total outcome=401": 1,
		"wsticket_store_claims_total outcome=accepted": 2, "wsticket_store_claims_total outcome=replayed": 1, "wsticket_store_duration_seconds": 3,
		"wsticket_replay_live_tickets": 2, "wsticket_live_connections": 1, "wsticket_sessions_ended_total cause=ended": 1, "wsticket_live_refused_total reason=ended": 1,
	} {
		if after[name] != want {
			t.Errorf("%s: %v, want %v", name, after[name], want)
		}
	}
	for name := range after {
		for _, secret := range append([]string{"ada", "session-7", "127.0.0.1", "/ws"}, p.minted...) {
			if strings.Contains(name, "="+secret) {
				t.Errorf("%s has %s in it", name, secret)
			}
		}
	}
}

func codes() (all []string) {
	for _, code := range wsticket.Codes() {
		all = append(all, code.Code())
	}
	return all
}

// work has a little of everything happen.
func (p *plant) work() {
	p.t.Helper()
	raw, err := p.collector.Handshakes("raw")
	if err != nil {
		p.t.Fatal(err)
	}
	web, err := p.collector.Handshakes("web")
	if err != nil {
		p.t.Fatal(err)
	}
	text := p.ticket()
	for range 2 {
		server, client := net.Pipe()
		go func() {
			ws.Dialer{NetDial: func(context.Context, string, string) (net.Conn, error) { return client, nil }}.
				Dial(context.Background(), "ws://gateway/ws?ticket="+text)
		}()
		var h wsticket.Handshake
		if raw.Upgrade(context.Background(), p.up, server, &h) == nil {
			p.live(&h.Ticket)
		}
		server.Close()
		client.Close()
	}
	handler := web.Wrap(p.gate, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, target := range []string{"/events?ticket=" + p.ticket(), "/events"} {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", target, nil))
	}
	for _, user := range []string{"ada", ""} {
		r := httptest.NewRequest("POST", "/ticket", nil)
		if user != "" {
			r.SetBasicAuth(user, "")
		}
		p.mint.ServeHTTP(httptest.NewRecorder(), r)
	}
}

// live has a session come and end, and somebody else stay.
func (p *plant) live(ticket *wsticket.Ticket) {
	p.t.Helper()
	if _, err := p.connections.Add(ticket, func(live.Cause) {}); err != nil {
		p.t.Error(err)
	}
	p.connections.CloseSession(context.Background(), string(ticket.SessionID()))
	if _, err := p.connections.Add(ticket, func(live.Cause) {}); !errors.Is(err, live.ErrEnded) {
		p.t.Error(err)
	}
	text, err := p.signer.Sign(&wsticket.Claims{Subject: "bob"})
	if err != nil {
		p.t.Fatal(err)
	}
	stays := new(wsticket.Ticket)
	if err := p.verifier.Peek(wsticket.Request{Ticket: []byte(text)}, stays); err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.connections.Add(stays, func(live.Cause) {}); err != nil {
		p.t.Error(err)
	}
}

// TestLint: promtool finds nothing to say about names, units and help.
func TestLint(t *testing.T) {
	promtool := program(t, "promtool")
	p := newPlant(t)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	command := exec.Command(promtool, "check", "metrics")
	command.Stdin = bytes.NewReader(w.Body.Bytes())
	if out, err := command.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

// program returns the path of a program, or skips the test where it is missing.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing; install it by: apt-get install prometheus", name)
	}
	t.Skipf("%s is missing; install it by: apt-get install prometheus", name)
	return ""
}

func TestConfig(t *testing.T) {
	_, err := New(Config{Gates: map[string]Gate{"": nil, "a\xff": &wsticket.Counters{}}})
	for _, want := range []string{`""`, "is nil", `\xff`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not among the faults: %v", want, err)
		}
	}
	c, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Handshakes("web"); err == nil {
		t.Error("it observes a gate that is not there")
	}
	if _, err := NewGuard(nil); err == nil {
		t.Error("no guard is counted")
	}
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		t.Error(err)
	}
	if families, err := registry.Gather(); err != nil || len(families) != 0 {
		t.Errorf("of nothing it shows %v, %v", families, err)
	}
}

type failing struct{ error }

func (f failing) Spend(context.Context, wsticket.Use) error { return f.error }
func (failing) Covers() (maxTTL, leeway time.Duration)      { return time.Minute, 2 * time.Second }
func outcomes(t *testing.T, g *Guard) (got map[string]float64) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(g.claims)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got = map[string]float64{}
	for _, m := range families[0].Metric {
		if n := m.Counter.GetValue(); n > 0 {
			got[m.Label[0].GetValue()] = n
		}
	}
	return got
}

func TestGuard(t *testing.T) {
	for want, err := range map[string]error{
		"accepted": nil, "replayed": wsticket.ErrReplayed, "issued_before_start": fmt.Errorf("store: %w", wsticket.ErrIssuedBeforeStart),
		"unavailable": errors.New("connection refused"),
	} {
		g, fault := NewGuard(failing{err})
		if fault != nil {
			t.Fatal(fault)
		}
		if got := g.Spend(t.Context(), wsticket.Use{}); got != err {
			t.Errorf("%v becomes %v", err, got)
		}
		if got := outcomes(t, g); len(got) != 1 || got[want] != 1 {
			t.Errorf("%v is counted as %v", err, got)
		}
		if ttl, leeway := g.Covers(); ttl != time.Minute || leeway != 2*time.Second {
			t.Errorf("covers %v and %v", ttl, leeway)
		}
	}
}

// TestGuardIsReady: a health check is answered as without the counting.
func TestGuardIsReady(t *testing.T) {
	if g, err := NewGuard(failing{}); err != nil || !g.ReadyAt().IsZero() {
		t.Errorf("a guard that has no ReadyAt is ready at %v, %v", g.ReadyAt(), err)
	}
	cache, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 100})
	if err != nil {
		t.Fatal(err)
	}
	counted, err := NewGuard(cache)
	if err != nil {
		t.Fatal(err)
	}
	for what, guard := range map[string]wsticket.ReplayGuard{"as it is": cache, "counted": counted} {
		verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: wstickettest.NewKeyring(t), Replay: guard})
		if err != nil {
			t.Fatal(err)
		}
		up, err := wsticket.NewUpgrader(wsticket.UpgraderConfig{Verifier: verifier, HealthPath: "/healthz"})
		if err != nil {
			t.Fatal(err)
		}
		server, client := net.Pipe()
		go func() {
			up.Upgrade(t.Context(), server, new(wsticket.Handshake))
			server.Close()
		}()
		client.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(client, "GET /healthz HTTP/1.1\r\nHost: gw.example\r\n\r\n")
		answer, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil || answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: %v, %v, want 503 before ReadyAt", what, answer, err)
		}
		client.Close()
	}
}

// TestNewKeys: the fingerprint follows the keys, and nobody waits for it.
func TestNewKeys(t *testing.T) {
	p := newPlant(t)
	before, _ := p.keys.Fingerprint()
	const jwks = `{"keys":[{"kty":"oct","kid":"other","alg":"HS256","exp":4102444800,"k":"c2VjcmV0cy1pbi10ZXN0cy1hcmUtbm8tc2VjcmV0cy4u"}]}`
	if err := p.keys.Replace([]byte(jwks)); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for p.series()["wsticket_keyring_fingerprint_info fingerprint="+before] == 1 {
		if time.Now().After(deadline) {
			t.Fatal("the old fingerprint is still shown")
		}
	}
	after, _ := p.keys.Fingerprint()
	s := p.series()
	if s["wsticket_keyring_fingerprint_info fingerprint="+after] != 1 || s["wsticket_key_not_after_timestamp_seconds kid=other"] != 4102444800 {
		t.Errorf("%v", s)
	}
}

// TestStoreStats: every figure of a store, and those that cannot be labels.
func TestStoreStats(t *testing.T) {
	p := newPlant(t)
	p.storeStats = StoreStats{Refused: map[string]uint64{"timeout": 1, "later": 9}, Moved: 2, Evicted: 3, Retries: 4, Batches: 5, Pending: 6,
		Since: time.Unix(7, 0), Answered: time.UnixMilli(8500)}
	got := p.series()
	for name, want := range map[string]float64{"refused_total reason=timeout": 1, "refused_total reason=gone": 0, "moved_total": 2, "evicted_total": 3,
		"retries_total": 4, "batches_total": 5, "pending_claims": 6, "since_timestamp_seconds": 7, "answered_timestamp_seconds": 8.5} {
		if got, ok := got["wsticket_store_"+name]; !ok || got != want {
			t.Errorf("%s is %v, %v, want %v", name, got, ok, want)
		}
	}
	if _, ok := got["wsticket_store_refused_total reason=later"]; ok {
		t.Error("a reason that was not there at the start is a series")
	}
	many := map[string]uint64{}
	for i := range maxReasons + 1 {
		many[strings.Repeat("a", i+1)] = 0
	}
	for _, refused := range []map[string]uint64{{"": 1}, {"user 4711": 1}, {strings.Repeat("a", 33): 1}, many} {
		if _, err := New(Config{StoreStats: func() StoreStats { return StoreStats{Refused: refused} }}); err == nil {
			t.Errorf("%v is taken", refused)
		}
	}
}

// TestNilInside: a nil pointer in an interface, as is left behind by an error that nobody
// looked at, is found by New and not by the first scrape.
func TestNilInside(t *testing.T) {
	for name, gate := range map[string]Gate{
		"gate": (*wsticket.Gate)(nil), "upgrader": (*wsticket.Upgrader)(nil), "counters": (*wsticket.Counters)(nil),
	} {
		if _, err := New(Config{Gates: map[string]Gate{name: gate}}); err == nil || !strings.Contains(err.Error(), `gate "`+name+`" is nil`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewGuard((*wsticket.ReplayCache)(nil)); err == nil {
		t.Error("a guard that is nil")
	}
}

// TestGatesAreCopied: the map is the caller's to change.
func TestGatesAreCopied(t *testing.T) {
	gates := map[string]Gate{"web": new(wsticket.Counters)}
	c, err := New(Config{Gates: gates})
	if err != nil {
		t.Fatal(err)
	}
	delete(gates, "web")
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	if families, err := registry.Gather(); err != nil || len(families) != 3 {
		t.Errorf("%d families, %v", len(families), err)
	}
}
