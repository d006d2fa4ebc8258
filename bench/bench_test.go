package bench

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsticket/wsticket/wstickettest/notickets"
)

func TestMain(m *testing.M) {
	Child()
	notickets.Main(m)
}

func needRedis(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no redis-server; get it with: apt-get install redis-server")
		}
		t.Skip("no redis-server; get it with: apt-get install redis-server")
	}
}

// Every scheme lets a fresh ticket in and refuses a made-up one. Ours take a ticket once;
// the store that is read and then deleted takes some twice, or the report has no story.
func TestSchemes(t *testing.T) {
	needRedis(t)
	config := schemeConfig{Dir: t.TempDir()}
	stop, err := startRedis(&config)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for i := range schemes {
		k := &schemes[i]
		t.Run(k.name, func(t *testing.T) {
			if k.ours && k.redis && os.Getenv("WSTICKET_SLOW") != "1" {
				t.Skip("a guard beside an empty store is ready after 9 s; WSTICKET_SLOW=1 runs it")
			}
			for _, secure := range []bool{false, true} {
				c, err := startChild(t.Context(), k, config, secure)
				if err != nil {
					t.Fatal(err)
				}
				defer c.stop()
				d := newDialer(c.addr, secure)
				minted, err := c.ask(childAsk{Mint: 30})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := d.all(t.Context(), minted.Tickets[:10], 4); err != nil {
					t.Errorf("TLS %v: %v", secure, err)
				}
				if status, err := d.shake("made-up"); err != nil || (status != 101) == k.floor {
					t.Errorf("TLS %v: a made-up ticket: %d, %v", secure, status, err)
				}
				if secure || k.floor {
					continue
				}
				double, never, err := d.doubles(minted.Tickets[10:], 8)
				if err != nil || never > 0 {
					t.Errorf("%d never accepted, %v", never, err)
				}
				if k.ours && double > 0 {
					t.Errorf("%d of 20 tickets were accepted twice", double)
				}
				if strings.Contains(k.name, "Redis") && !k.ours && double == 0 {
					t.Error("no ticket was accepted twice, though it is read and then deleted")
				}
				if c.mints == "" {
					t.Error("no mint endpoint")
				} else if _, err := post(c.mints, 20); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestServerEnds: a server ends where nobody is left who could stop it.
func TestServerEnds(t *testing.T) {
	needRedis(t)
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr)
	s, err := startServer(addr, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s.hold.Close() // as the system does with a process that was killed
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		conn.Close()
		if time.Now().After(end) {
			t.Fatal("it still listens")
		}
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

// What stands in front of the backend lets a fresh ticket in and hands messages on; a
// made-up one, and one that was used, come in nowhere but where nobody looks.
func TestFronts(t *testing.T) {
	t.Parallel()
	s := &Section{}
	r := &run{Context: t.Context(), Options: Options{Quick: true}, began: time.Now()}
	all, err := startFronts(r, t.TempDir(), s)
	t.Cleanup(func() {
		for _, f := range slices.Backward(all) {
			f.stop()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 4 {
		if os.Getenv("CI") != "" {
			t.Fatal("no nginx; get it with: apt-get install nginx")
		}
		t.Log("without nginx; get it with: apt-get install nginx")
	}
	tickets, err := fileSigner()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if err := f.waitFor(t.Context(), tickets); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		d := f.dialer()
		used := ""
		if _, _, err := d.echo(func() (string, error) { used, err = tickets(); return used, err }, 10); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
		if rate, err := d.stream(tickets, 1<<20); err != nil || rate <= 0 {
			t.Errorf("%s: %v MB/s, %v", f.name, rate, err)
		}
		open := f.floor || f.path == "/open"
		for _, ticket := range []string{used, "made-up"} {
			if status, err := d.shake(ticket); err != nil || (status == 101) != open || !open && status != 401 {
				t.Errorf("%s: a ticket that is used or made up: %d, %v", f.name, status, err)
			}
		}
		if n, err := f.idle(tickets, 100); err != nil || n < 0 {
			t.Errorf("%s: %v bytes, %v", f.name, n, err)
		}
		if took, err := f.used(); f.floor != errors.Is(err, errUnmeasured) || !f.floor && took <= 0 {
			t.Errorf("%s: %v, %v", f.name, took, err)
		}
	}
}

// The whole of a quick run, at full length: a minute and a half.
func TestQuickRun(t *testing.T) {
	if os.Getenv("WSTICKET_SLOW") != "1" {
		t.Skip("takes two minutes; WSTICKET_SLOW=1 runs it")
	}
	var progress bytes.Buffer
	report, err := Run(t.Context(), Options{Quick: true, Progress: &progress})
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	dir := t.TempDir()
	if err := report.Write(dir); err != nil {
		t.Fatal(err)
	}
	for i, s := range report.Sections {
		if s.ID != IDs()[i] {
			t.Errorf("section %d is %s, want %s", i, s.ID, IDs()[i])
		}
		for j := range s.Rows {
			if v := s.Rows[j].Value(s.Chart); math.IsNaN(v) || v < 0 {
				t.Errorf("%s: %s is %v", s.ID, s.Rows[j].Name, v)
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "report.md"))
	if err != nil || !bytes.Contains(text, []byte("A quick run")) {
		t.Errorf("report.md: %v\n%.200s", err, text)
	}
}

// One short section, from the beginning to the files.
func TestRun(t *testing.T) {
	var progress bytes.Buffer
	report, err := Run(t.Context(), Options{Quick: true, Only: []string{"mint"}, Progress: &progress})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Sections) != 1 || report.Sections[0].Rows[0].Value(0) < 10 {
		t.Errorf("%+v", report)
	}
	if !strings.Contains(progress.String(), fmt.Sprintf("section 7 of %d: mint", len(sections))) {
		t.Errorf("progress: %q", progress.String())
	}
	dir := t.TempDir()
	if err := report.Write(dir); err != nil {
		t.Fatal(err)
	}
	again, err := Read(filepath.Join(dir, "report.json"))
	if err != nil || !reflect.DeepEqual(again, report) {
		t.Errorf("report.json does not say the same: %v", err)
	}
	if _, err := Run(t.Context(), Options{Only: []string{"speed"}}); err == nil || !strings.Contains(err.Error(), "checks, inmemory") {
		t.Errorf("an unknown section: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ended, Options{Quick: true, Only: []string{"checks"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("after a signal: %v", err)
	}
}

func TestReport(t *testing.T) {
	s := Section{ID: "x", Title: "A < B", Asks: "Which?", Chart: 1,
		Columns: []Column{{Name: "up", Better: 1}, {Name: "down", Digits: 1, Better: -1}, {Name: "neither"}}}
	add := func(name string, ours, floor bool, values ...float64) {
		r := Row{Name: name, Ours: ours, Floor: floor, Source: "x.go"}
		r.add(values...)
		r.add(values...)
		r.add(math.NaN(), 1e9, 1e9)
		s.Rows = append(s.Rows, r)
	}
	add("ours", true, false, 1234567, 2.25, 1)
	add("ours too", true, false, 1000, 2.5, 1)
	add("theirs", false, false, 1234568, 2.3, 9)
	add("the floor", false, true, 1e12, 0, 0)
	add("not measured", false, false, math.NaN(), math.NaN(), math.NaN())
	r := Report{Sections: []Section{s}}
	text := r.Markdown()
	for _, want := range []string{
		"| **ours** [↗](x.go) | 1,234,567 | 2.2 | 1 |", "| A < B: up | 1,234,567 | 1,234,568 | theirs |", "| not measured [↗](x.go) | – | 1,000,000,000.0 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "A < B: down") || strings.Contains(text, "A < B: neither") {
		t.Errorf("a loss that is none:\n%s", text)
	}
	for d := xml.NewDecoder(strings.NewReader(s.chart())); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the chart is no XML: %v", err)
		}
	}
}

// A server that stands still for half a second makes all those late that were due
// meanwhile, not only the one that was on its way.
func TestPacedFromTheIntendedStart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const n, rate = 200, 200.0
	go func() {
		for i := 0; ; i++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if i == n/2 {
				time.Sleep(500 * time.Millisecond) // the stall that is tested
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, "HTTP/1.1 101 x\r\n\r\n")
			conn.Close()
		}
	}()
	var seen atomic.Int64
	h := newDialer(l.Addr().String(), false).paced(t.Context(), func() (string, error) { return "x", nil }, n, rate, 2, func(status int, err error) {
		if err == nil && status == 101 {
			seen.Add(1)
		}
	})
	if seen.Load() != n {
		t.Errorf("%d of %d were answered", seen.Load(), n)
	}
	// 100 come in those 500 ms at 200 a second, and wait a quarter of a second on average.
	if p70 := h.ValueAtQuantile(70); p70 < 50_000 {
		t.Errorf("p70 is %d µs: what waited was not counted", p70)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(keys, fmt.Appendf(nil, `{"keys":[{"kty":"oct","kid":%q,"alg":"HS256","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}`, keyID), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := schemeOf("wsticket.Upgrader")
	if err != nil {
		t.Fatal(err)
	}
	c, err := startChild(t.Context(), s, schemeConfig{}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.stop()
	good := LoadConfig{URL: "ws://" + c.addr + "/rooms/7?x=1", Keys: keys, Rate: 50, Connections: 8, For: time.Second, Carrier: "query", Audience: audience}
	for name, change := range map[string]func(*LoadConfig){
		"query":       func(*LoadConfig) {},
		"bearer":      func(c *LoadConfig) { c.Carrier = "bearer" },
		"subprotocol": func(c *LoadConfig) { c.Carrier, c.Protocol = "subprotocol", "app.v1" },
		"wrong aud":   func(c *LoadConfig) { c.Audience = "else" },
	} {
		config := good
		change(&config)
		result, err := Load(t.Context(), config)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := map[string]int{"query": 101, "bearer": 401, "subprotocol": 400, "wrong aud": 403}[name] // this server has the query and no subprotocol
		if result.Statuses[want] != 50 || result.Latency.TotalCount() != 50 {
			t.Errorf("%s: %v, want 50 times %d", name, result.Statuses, want)
		}
	}
	for want, change := range map[string]func(*LoadConfig){
		"not this machine": func(c *LoadConfig) { c.URL = "wss://gw.example/ws" },
		"-url is":          func(c *LoadConfig) { c.URL = "http://127.0.0.1/" },
		"-rate is":         func(c *LoadConfig) { c.Rate = 0 },
		"-connections is":  func(c *LoadConfig) { c.Connections = 0 },
		"-for is":          func(c *LoadConfig) { c.For = 0 },
		"-carrier is":      func(c *LoadConfig) { c.Carrier = "cookie" },
		"-keys":            func(c *LoadConfig) { c.Keys = "nowhere" },
	} {
		config := good
		change(&config)
		if _, err := Load(t.Context(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	bad := good
	bad.URL, bad.Rate, bad.Carrier = "wss://gw.example/", 0, "x"
	if _, err := Load(t.Context(), bad); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("three faults: %v", err)
	}
}

// What the report says of single use is so: at the planned load nobody accepts twice, and
// a cache that evicts does at twice the load.
func TestOnce(t *testing.T) {
	for name, start := range map[string]func() func(*[16]byte, int64, int64) bool{"wsticket": replayCache, "lru": lruCache, "map": plainMap} {
		m := rememberer{start: start}
		if _, _, double, refused := m.trial(1, 11); double > 0 || refused > 0 {
			t.Errorf("%s at its load: %d twice, %d refused", name, double, refused)
		}
		_, _, double, _ := m.trial(2, 11)
		if (double > 0) != (name == "lru") {
			t.Errorf("%s at twice its load: %d twice", name, double)
		}
	}
}
