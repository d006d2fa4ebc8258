package wsticket

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/wsticket/wsticket/internal/answer"
)

func TestHealthPath(t *testing.T) {
	told := 0
	d := newDoor(t, func(c *UpgraderConfig) {
		c.HealthPath = "/healthz"
		c.OnRefuse = func(Refusal) { told++ }
	})
	for name, head := range map[string]string{
		"kube-probe":     "GET /healthz HTTP/1.1\r\nHost: 10.0.0.7:8080\r\nUser-Agent: kube-probe/1.30\r\nAccept: */*\r\nConnection: close\r\n\r\n",
		"ELB":            "GET /healthz HTTP/1.1\r\nHost: 10.0.0.7:8080\r\nConnection: close\r\nUser-Agent: ELB-HealthChecker/2.0\r\nAccept-Encoding: gzip, compressed\r\n\r\n",
		"HAProxy":        "GET /healthz HTTP/1.0\r\n\r\n",
		"GoogleHC":       "GET /healthz HTTP/1.1\r\nHost: 10.0.0.7\r\nUser-Agent: GoogleHC/1.0\r\nConnection: Keep-alive\r\n\r\n",
		"a query":        "GET /healthz?full=1 HTTP/1.1\r\nHost: h\r\n\r\n",
		"a Java client":  "GET /healthz HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nHost: h\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\n\r\n",
		"another Origin": "GET /healthz HTTP/1.1\r\nHost: h\r\nOrigin: https://evil.example\r\n\r\n",
	} {
		for _, singly := range []bool{false, true} {
			before := d.HealthChecks()
			conn := newMemConn([]byte(head))
			if singly {
				conn.in = iotest.OneByteReader(conn.in)
			}
			var h Handshake
			err := d.Upgrade(context.Background(), conn, &h)
			if !errors.Is(err, ErrHealthCheck) || string(conn.out) != string(answer.Healthy().Bytes()) || !conn.closed {
				t.Errorf("%s: %v, answered %q, closed for writing %v", name, err, conn.out, conn.closed)
			}
			if _, ok := CodeOf(err); ok || d.HealthChecks() != before+1 || h.n != 0 {
				t.Errorf("%s: it has a code, or was not counted, or left something", name)
			}
		}
	}
	if s := d.Stats(); told != 0 || s != (Stats{}) || d.Pending() != 0 || d.guard.spent != 0 {
		t.Errorf("told %d times, counted %v, %d pending", told, s.Map(), d.Pending())
	}
	checks := d.HealthChecks()
	for name, c := range map[string]struct {
		head   string
		want   Error
		status int
	}{
		"another path":       {"GET /healthzz HTTP/1.1\r\nHost: h\r\n\r\n", ErrBadHandshake, 426},
		"below it":           {"GET /healthz/ HTTP/1.1\r\nHost: h\r\n\r\n", ErrBadHandshake, 426},
		"POST":               {"POST /healthz HTTP/1.1\r\nHost: h\r\n\r\n", ErrBadHandshake, 405},
		"HTTP/1.0 elsewhere": {"GET / HTTP/1.0\r\n\r\n", ErrBadHandshake, 505},
		"no Host":            {"GET /healthz HTTP/1.1\r\n\r\n", ErrBadHandshake, 400},
		"a body":             {"GET /healthz HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab", ErrBadHandshake, 400},
		"half a head":        {"GET /healthz HTTP/1.1\r\nHost: h\r\n", ErrBadHandshake, 400},
		"a bad handshake":    {strings.Replace(request("/healthz"), ": 13", ": 8", 1), ErrBadHandshake, 426},
		"a handshake":        {request("/healthz"), ErrMissing, 401},
		"too long":           {"GET /healthz HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("a", 17000) + "\r\n\r\n", ErrHeadTooLarge, 431},
	} {
		conn := newMemConn([]byte(c.head))
		if err := d.Upgrade(context.Background(), conn, new(Handshake)); !errors.Is(err, c.want) || string(conn.out) != refusalOf(c.status) {
			t.Errorf("%s: %v, answered %q", name, err, conn.out)
		}
	}
	if err := d.Upgrade(context.Background(), newMemConn([]byte(request("/healthz?ticket="+d.ticket(t, Claims{})))), new(Handshake)); err != nil {
		t.Errorf("a handshake with a ticket at that path: %v", err)
	}
	if d.HealthChecks() != checks {
		t.Error("one of these was taken for a health check")
	}
	// Where there is no HealthPath there is none.
	d = newDoor(t, nil)
	for _, target := range []string{"/", "/healthz", "//"} {
		conn := newMemConn([]byte("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n"))
		if err := d.Upgrade(context.Background(), conn, new(Handshake)); !errors.Is(err, ErrBadHandshake) || string(conn.out) != refusalOf(426) {
			t.Errorf("no HealthPath: %v, answered %q", err, conn.out)
		}
	}
}

// readyGuard is a guard that is ready at some time.
type readyGuard struct {
	guardFunc
	at time.Time
}

func (g readyGuard) ReadyAt() time.Time { return g.at }

func TestHealthPathReady(t *testing.T) {
	yes := guardFunc(func(Use) error { return nil })
	cache, err := NewReplayCache(ReplayConfig{PeakPerSecond: 10})
	if err != nil {
		t.Fatal(err)
	}
	old, err := NewReplayCache(ReplayConfig{PeakPerSecond: 10, Since: time.Unix(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		guard ReplayGuard
		ready bool
	}{
		"a cache that has just begun": {cache, false},
		"a cache that has long begun": {old, true},
		"a guard that says not yet":   {readyGuard{yes, time.Now().Add(time.Hour)}, false},
		"a guard that says now":       {readyGuard{yes, time.Now()}, true},
		"a guard without ReadyAt":     {yes, true},
		"no single use":               {DangerouslyAllowReplay, true},
	} {
		d := newDoor(t, nil)
		v, err := NewVerifier(VerifierConfig{Keys: d.keys, Replay: c.guard})
		if err != nil {
			t.Fatal(err)
		}
		u, err := NewUpgrader(UpgraderConfig{Verifier: v, HealthPath: "/live"})
		if err != nil {
			t.Fatal(err)
		}
		want := string(answer.Healthy().Bytes())
		if !c.ready {
			want = refusalOf(503)
		}
		conn := newMemConn([]byte("GET /live HTTP/1.0\r\n\r\n"))
		if err := u.Upgrade(context.Background(), conn, new(Handshake)); !errors.Is(err, ErrHealthCheck) || string(conn.out) != want || u.HealthChecks() != 1 {
			t.Errorf("%s: %v, answered %q", name, err, conn.out)
		}
		if u.Stats() != (Stats{}) {
			t.Errorf("%s: counted as a refusal", name)
		}
	}
}

func TestHealthPathFaults(t *testing.T) {
	d := newDoor(t, nil)
	for _, path := range []string{"healthz", "/health?x", "/health z", "/health#x", "http://h/healthz", "/%zz", "*", "/ä", "?", " "} {
		if _, err := NewUpgrader(UpgraderConfig{Verifier: d.verifier, HealthPath: path}); err == nil || !strings.Contains(err.Error(), "HealthPath is") {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestHealthPathAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	d := newDoor(t, func(c *UpgraderConfig) { c.HealthPath = "/healthz" })
	for _, head := range []string{"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", "GET /healthz HTTP/1.0\r\n\r\n"} {
		conn := newReplayConn(head, false)
		var h Handshake
		if n := testing.AllocsPerRun(20, func() {
			conn.rewind()
			if err := d.Upgrade(context.Background(), conn, &h); err != ErrHealthCheck {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%q: %v allocations", head, n)
		}
	}
}

// Real clients of health checks, over TCP: they get their answer whole.
func TestHealthPathTCP(t *testing.T) {
	d := newDoor(t, func(c *UpgraderConfig) { c.HealthPath = "/healthz" })
	addr := listen(t, func(conn net.Conn) { d.Upgrade(context.Background(), conn, new(Handshake)) })
	for range 20 {
		res, err := http.Get("http://" + addr + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 200 || !res.Close {
			t.Fatalf("%v", res)
		}
	}
	if d.HealthChecks() != 20 {
		t.Errorf("%d counted", d.HealthChecks())
	}
}
