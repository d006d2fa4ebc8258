package gateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// TestRedis: two gateways on one Redis take a ticket once between them, and a session
// that is ended at one of them ends at the other.
func TestRedis(t *testing.T) {
	t.Parallel()
	redis := installed(t, "redis-server", "apt-get install redis-server")
	port := freePort(t)
	serve(t, port, redis, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	first, second := onStore(t, "redis://127.0.0.1:"+port)
	// That a new store knows of no ended sessions alarms nobody.
	if s := first.logs.String(); !strings.Contains(s, "it is new, or was emptied") || strings.Contains(s, `"level":"ERROR"`) {
		t.Errorf("beside a new store the log has %s", s)
	}
	conn := second.mustDial("/ws?ticket="+second.ticket(wsticket.Claims{SessionID: "s7"}), nil)
	unspent := second.ticket(wsticket.Claims{SessionID: "s7"})
	second.echoes(conn)
	admin := httptest.NewServer(first.g.admin())
	defer admin.Close()
	began := time.Now()
	response, err := http.Post(admin.URL+"/close", "", strings.NewReader(`{"sid":"s7"}`))
	if err != nil || response.StatusCode != 200 {
		t.Fatal(response, err)
	}
	second.wantClosed(conn, 3000)
	if took := time.Since(began); took > 3*time.Second { // 1 s on a machine that has nothing else to do
		t.Errorf("it took %v to close it at the other", took)
	}
	_, err = second.dial("/ws?ticket="+unspent, nil)
	second.wantStatus(err, 401)
	if s := first.series(); s[`wsticket_store_claims_total{outcome="accepted"}`] != 10 || s[`wsticket_store_claims_total{outcome="replayed"}`] != 10 {
		t.Errorf("of the store it tells %v accepted, %v replayed", s[`wsticket_store_claims_total{outcome="accepted"}`], s[`wsticket_store_claims_total{outcome="replayed"}`])
	}

	// While the store is away, the log says why nobody gets in.
	store, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	fmt.Fprint(store, "SHUTDOWN NOSAVE\r\n")
	io.Copy(io.Discard, store) // until it has ended
	_, err = first.dial("/ws?ticket="+first.ticket(wsticket.Claims{}), nil)
	first.wantStatus(err, 503)
	said := first.logs.String()
	if last := said[strings.LastIndex(strings.TrimSpace(said), "\n")+1:]; !strings.Contains(said, `"setting":"single-use","store":"redis://127.0.0.1:`+port+`","cause":"`) {
		t.Errorf("the log does not say why: %s", last)
	}
}

// TestEtcd: two gateways on one etcd take a ticket once between them.
func TestEtcd(t *testing.T) {
	t.Parallel()
	etcd := installed(t, "etcd", "apt-get install etcd-server")
	port, peers, dir := freePort(t), freePort(t), t.TempDir()
	serve(t, port, etcd, "--data-dir", dir, "--listen-client-urls", "http://127.0.0.1:"+port, "--advertise-client-urls", "http://127.0.0.1:"+port,
		"--listen-peer-urls", "http://127.0.0.1:"+peers, "--initial-advertise-peer-urls", "http://127.0.0.1:"+peers, "--initial-cluster", "default=http://127.0.0.1:"+peers)
	onStore(t, "etcd://127.0.0.1:"+port)
}

// onStore starts two gateways on a store and shows ten tickets to each, first to the one
// and then to the other.
func onStore(t *testing.T, url string) (first, second *world) {
	t.Helper()
	shared := func(c *Config) { c.SingleUse, c.Leeway = url, time.Second }
	first = newWorld(t, shared)
	second = newWorld(t, func(c *Config) { shared(c); c.Keys = first.g.state.Load().config.Keys })
	for range 10 {
		ticket := first.ticket(wsticket.Claims{})
		first.echoes(first.mustDial("/ws?ticket="+ticket, nil))
		_, err := second.dial("/ws?ticket="+ticket, nil)
		second.wantStatus(err, 401)
		ticket = first.ticket(wsticket.Claims{})
		second.echoes(second.mustDial("/ws?ticket="+ticket, nil))
		_, err = first.dial("/ws?ticket="+ticket, nil)
		first.wantStatus(err, 401)
	}
	w := httptest.NewRecorder()
	first.g.metrics.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{`wsticket_verdicts_total{code="accepted",gate="handshakes"} 10`, `wsticket_verdicts_total{code="replayed",gate="handshakes"} 10`,
		"wsticket_store_batches_total ", `wsticket_store_refused_total{reason="timeout"} 0`, "wsticket_store_moved_total 0", "wsticket_live_connections "} {
		if !strings.Contains(w.Body.String(), "\n"+line) {
			t.Errorf("no %s in:\n%s", line, w.Body)
		}
	}
	if strings.Contains(w.Body.String(), "wsticket_store_answered_timestamp_seconds 0\n") {
		t.Error("the store has never answered")
	}
	if n := len(second.backend.requests()); n != 10 {
		t.Errorf("%d handshakes reached the second backend", n)
	}
	return first, second
}
