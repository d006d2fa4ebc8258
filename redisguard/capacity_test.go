package redisguard

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/wsticket/wsticket"
)

var (
	measureCapacity = flag.Bool("measure-capacity", false, "measure what a handshake costs, for docs/many-nodes.md; on a quiet machine")
	updateCapacity  = flag.Bool("update-capacity", false, "write the table and the chart of docs/many-nodes.md from what was measured")
)

const (
	capacityResult = "../docs/benchmarks/capacity.json"
	capacityChart  = "../docs/many-nodes-capacity.svg"
	capacityDoc    = "../docs/many-nodes.md"
)

// A capacity is what docs/benchmarks/capacity.json holds.
type capacity struct {
	Processor, Go, Redis string
	Cores                int
	Date                 string
	Rows                 []capacityRow
}

// A capacityRow is what one handshake costs in microseconds of CPU time.
type capacityRow struct {
	Name    string
	Gateway []float64 // each run
	Store   []float64 `json:",omitempty"`
}

var capacityKinds = []struct {
	name       string
	handshakes int
	gateway    capacityGateway
	resume     bool
}{
	{"TCP and a 101 alone", 20000, capacityGateway{}, false},
	{"TCP, gobwas/ws alone", 20000, capacityGateway{Gobwas: true}, false},
	{"TCP, with a ticket", 20000, capacityGateway{Ticket: true}, false},
	{"TCP, with a ticket and Redis", 20000, capacityGateway{Ticket: true, Redis: "wanted"}, false},
	{"TLS 1.3 resumed, with a ticket", 6000, capacityGateway{Ticket: true, TLS: "ECDSA"}, true},
	{"TLS 1.3, ECDSA P-256, with a ticket", 6000, capacityGateway{Ticket: true, TLS: "ECDSA"}, false},
	{"TLS 1.3, RSA 2048, with a ticket", 3000, capacityGateway{Ticket: true, TLS: "RSA"}, false},
}

// TestMeasureCapacity measures the CPU time of a gateway process, of which this test is the client,
// and of the Redis process beside it.
//
//	go test -run TestMeasureCapacity -measure-capacity -v . && go test -run TestCapacityPage -update-capacity .
func TestMeasureCapacity(t *testing.T) {
	if !*measureCapacity {
		t.Skip("measures: -measure-capacity asks for it")
	}
	const runs = 9
	s := startServer(t)
	remember(t, s, capacityGuard(""))
	result := capacity{Processor: processor(t), Go: runtime.Version(), Cores: runtime.NumCPU(), Redis: s.info("server", "redis_version"), Date: time.Now().Format(time.DateOnly)}
	for _, k := range capacityKinds {
		result.Rows = append(result.Rows, capacityRow{Name: k.name})
	}
	for run := range runs {
		for i, k := range capacityKinds { // in turns, so that a busy moment is not one row's
			g := k.gateway
			if g.Redis != "" {
				g.Redis = s.url()
			}
			gateway, store := measureHandshakes(t, s, g, k.handshakes, k.resume)
			t.Logf("run %d: %-40s %6.1f µs, store %5.1f µs", run, k.name, gateway, store)
			result.Rows[i].Gateway = append(result.Rows[i].Gateway, gateway)
			if g.Redis != "" {
				result.Rows[i].Store = append(result.Rows[i].Store, store)
			}
		}
	}
	text, err := json.MarshalIndent(result, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(capacityResult, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// measureHandshakes returns the µs of CPU time of one handshake, of the gateway and of the store.
func measureHandshakes(t *testing.T, s *server, g capacityGateway, n int, resume bool) (gateway, store float64) {
	t.Helper()
	g.Keys = fmt.Sprintf(`{"keys":[{"kty":"oct","kid":"c","alg":"HS256","k":"%s"}]}`, strings.Repeat("QUJD", 12))
	config, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "WSTICKET_TEST_GATEWAY="+string(config))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = endsWithUs()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); _ = cmd.Wait() }()
	lines := bufio.NewScanner(out)
	answer := func() string {
		if !lines.Scan() {
			t.Fatal("the gateway has ended")
		}
		return lines.Text()
	}
	usage := func() time.Duration {
		fmt.Fprintln(in, "usage")
		ns, err := strconv.ParseInt(answer(), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(ns)
	}
	addr := answer()
	keys, err := wsticket.ParseKeyring([]byte(g.Keys))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys, TTL: wsticket.DefaultMaxTTL})
	if err != nil {
		t.Fatal(err)
	}
	const warm = 500
	heads := make([]string, warm+n)
	for i := range heads {
		ticket, err := signer.Sign(&wsticket.Claims{Subject: "user-4711", SessionID: "s-1795219100"})
		if err != nil {
			t.Fatal(err)
		}
		heads[i] = "GET /ws?ticket=" + ticket + " HTTP/1.1\r\nHost: " + addr + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
			"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36\r\nAccept-Language: en-US,en;q=0.9\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nOrigin: http://" + addr + "\r\n\r\n"
	}
	connectAll(t, addr, heads[:warm], g.TLS != "", resume)
	before, beforeStore := usage(), processTime(t, s)
	connectAll(t, addr, heads[warm:], g.TLS != "", resume)
	return float64((usage() - before).Nanoseconds()) / 1e3 / float64(n), float64((processTime(t, s) - beforeStore).Nanoseconds()) / 1e3 / float64(n)
}

// connectAll opens a WebSocket with each head, sixteen at a time, and leaves.
func connectAll(t *testing.T, addr string, heads []string, secure, resume bool) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			config := &tls.Config{InsecureSkipVerify: true}
			if resume {
				config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
			}
			answer := make([]byte, 4096)
			resumed := 0
			for i := int(next.Add(1) - 1); i < len(heads); i = int(next.Add(1) - 1) {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				_ = conn.(*net.TCPConn).SetLinger(0) // no port waits
				if secure {
					conn = tls.Client(conn, config)
				}
				_, err = io.WriteString(conn, heads[i])
				n := 0
				if err == nil {
					n, err = conn.Read(answer)
				}
				if err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 101 ") {
					t.Errorf("%v: %.200q", err, answer[:n])
					return
				}
				if c, ok := conn.(*tls.Conn); ok && c.ConnectionState().DidResume {
					resumed++
				}
				conn.Close()
			}
			if resume && resumed == 0 {
				t.Error("no connection was resumed")
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// processTime is the CPU time that a store's process has used.
func processTime(t *testing.T, s *server) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // of USER_HZ, 100 on Linux
}

func processor(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "model name\t: ")
	name, _, _ := strings.Cut(rest, "\n")
	if strings.Contains(string(text), " sha_ni") {
		return name + ", with SHA instructions"
	}
	return name + ", without SHA instructions"
}

// A capacityGateway is the process that is measured.
type capacityGateway struct {
	Gobwas bool // else, without a ticket, an answer that was made ahead
	Ticket bool
	Redis  string
	TLS    string // ECDSA, RSA, or "" for none
	Keys   string
}

func capacityGuard(url string) Config {
	return Config{URL: url, Timeout: 2 * time.Second, Leeway: 2 * time.Second, MaxSkew: 2 * time.Second}
}

func capacityMain(config string) error {
	var c capacityGateway
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	heads := sync.Pool{New: func() any { return new([4096]byte) }}
	upgrade := func(conn net.Conn) error {
		buf := heads.Get().(*[4096]byte)
		defer heads.Put(buf)
		for n := 0; n < 4 || string(buf[n-4:n]) != "\r\n\r\n"; {
			m, err := conn.Read(buf[n:])
			if err != nil {
				return err
			}
			n += m
		}
		_, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		return err
	}
	switch {
	case c.Gobwas:
		upgrade = func(conn net.Conn) error { _, err := ws.Upgrade(conn); return err }
	case c.Ticket:
		keys, err := wsticket.ParseKeyring([]byte(c.Keys))
		if err != nil {
			return err
		}
		var guard wsticket.ReplayGuard
		if c.Redis != "" {
			guard, err = New(context.Background(), capacityGuard(c.Redis))
		} else {
			guard, err = wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 30_000, Since: time.Unix(0, 0)})
		}
		if err != nil {
			return err
		}
		verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: guard})
		if err != nil {
			return err
		}
		upgrader, err := wsticket.NewUpgrader(wsticket.UpgraderConfig{Verifier: verifier})
		if err != nil {
			return err
		}
		pool := sync.Pool{New: func() any { return new(wsticket.Handshake) }}
		upgrade = func(conn net.Conn) error {
			h := pool.Get().(*wsticket.Handshake)
			defer pool.Put(h)
			defer h.Reset()
			return upgrader.Upgrade(context.Background(), conn, h)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := listener.Addr()
	if c.TLS != "" {
		certificate, err := capacityCertificate(c.TLS)
		if err != nil {
			return err
		}
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13})
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if err := upgrade(conn); err != nil {
					fmt.Fprintln(os.Stderr, err)
				}
				_, _ = conn.Read(make([]byte, 1)) // until the client leaves
			}()
		}
	}()
	fmt.Println(addr)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		used, err := cpuTime()
		if err != nil {
			return err
		}
		fmt.Println(used.Nanoseconds())
	}
	return nil
}

func capacityCertificate(kind string) (tls.Certificate, error) {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "capacity"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if kind == "RSA" {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return tls.Certificate{}, err
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// TestCapacityPage demands that the page says what was measured.
func TestCapacityPage(t *testing.T) {
	text, err := os.ReadFile(capacityResult)
	if err != nil {
		t.Fatal(err)
	}
	var c capacity
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(capacityDoc)
	if err != nil {
		t.Fatal(err)
	}
	const open, end = "<!-- capacity: computed -->\n", "<!-- end -->\n"
	before, rest, ok := strings.Cut(string(page), open)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", capacityDoc)
	}
	for file, want := range map[string]string{capacityDoc: before + open + c.table() + end + after, capacityChart: c.chart()} {
		if *updateCapacity {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s is out of date (%v): run go test -run TestCapacityPage -update-capacity", filepath.Base(file), err)
		}
	}
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

// busy is the share of a core that may be used, so that there is room for a peak and for
// a node that is missing.
const busy, nodeCores = 0.6, 16

func (c *capacity) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| a handshake over | CPU time of the node | a second on one core | cores for a million a second | nodes of %d cores at %.0f%% |\n|---|---:|---:|---:|---:|\n", nodeCores, 100*busy)
	for _, r := range c.Rows {
		us := median(r.Gateway)
		fmt.Fprintf(&b, "| %s | %.0f µs | %s | %.0f | %.0f |\n", r.Name, us, thousands(1e6/us), us, math.Ceil(us/busy/nodeCores))
	}
	for _, r := range c.Rows {
		if us := median(r.Store); us > 0 {
			fmt.Fprintf(&b, "\nThe Redis process beside it: %.1f µs a claim, so %s a second on its one thread, and for a million a second %.0f processes at %.0f%%.\n",
				us, thousands(1e6/us), math.Ceil(us/busy), 100*busy)
		}
	}
	fmt.Fprintf(&b, "\nSo a ticket costs %.1f µs above a 101 that was made ahead, and %.1f above gobwas/ws without a ticket.\n",
		c.us("TCP, with a ticket")-c.us("TCP and a 101 alone"), c.us("TCP, with a ticket")-c.us("TCP, gobwas/ws alone"))
	fmt.Fprintf(&b, "\nMedians of %d runs; %s, %d cores, %s, Redis %s, %s; [raw](benchmarks/capacity.json).\n",
		len(c.Rows[0].Gateway), c.Processor, c.Cores, c.Go, c.Redis, c.Date)
	return b.String()
}

// us is the median of a row.
func (c *capacity) us(name string) float64 {
	i := slices.IndexFunc(c.Rows, func(r capacityRow) bool { return r.Name == name })
	return median(c.Rows[i].Gateway)
}

// thousands writes a number in two or three digits: 12,300.
func thousands(x float64) string {
	step := math.Pow(10, math.Max(0, math.Floor(math.Log10(x))-2))
	n := int(math.Round(x/step) * step)
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// chart draws the rows as bars: the dark part is what a 101 alone costs.
func (c *capacity) chart() string {
	const left, right, top, row, bar, width = 250, 70, 44, 30, 18, 760
	most := 0.0
	for _, r := range c.Rows {
		most = max(most, median(r.Gateway))
	}
	height := top + row*len(c.Rows) + 14
	scale := (width - left - right) / most
	base := c.us("TCP and a 101 alone")
	ticket := c.us("TCP, with a ticket")
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" role="img" aria-label="CPU time of a handshake: TLS costs most of it">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	x := float64(left)
	for _, part := range []struct{ colour, name string }{{"#9aa5a0", "TCP and a 101"}, {"#b00", "the ticket"}, {"#46a", "TLS"}, {"#c90", "the claim at Redis"}} {
		fmt.Fprintf(&b, `<rect x="%.0f" y="14" width="12" height="12" fill="%s"/><text x="%.0f" y="24">%s</text>`+"\n", x, part.colour, x+17, part.name)
		x += 30 + 7*float64(len(part.name))
	}
	for i, r := range c.Rows {
		us, y := median(r.Gateway), top+row*i
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left-10, y+14, r.Name)
		at := 0.0
		draw := func(to float64, colour string) {
			fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`, left+at*scale, y, max(0, to-at)*scale, bar, colour)
			at = max(at, to)
		}
		draw(min(us, base), "#9aa5a0")
		draw(min(us, ticket), "#b00")
		if len(r.Store) > 0 {
			draw(us, "#c90")
		} else {
			draw(us, "#46a")
		}
		fmt.Fprintf(&b, `<text x="%.1f" y="%d">%.0f µs</text>`+"\n", left+us*scale+6, y+14, us)
	}
	b.WriteString("</svg>\n")
	return b.String()
}
