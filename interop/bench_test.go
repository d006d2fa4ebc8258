//go:build unix

package interop

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	gorilla "github.com/gorilla/websocket"

	"github.com/wsticket/wsticket"
)

// BenchmarkUpgradeTCP takes handshakes over loopback TCP, each with a ticket of
// its own, in turns: every server gets the same number from the same client, one
// after the other, so that whatever else the machine does falls on all.
//
// The client is a process of its own on the same cores, as cheap as can be: a
// blocking socket, one write, one read, a reset. What it costs, and what the
// kernel and Accept cost, is in every number; the server called tcp does nothing
// else. So the first metrics dilute what the servers differ in, and the CPU time
// of this process, which holds the server alone, shows it.
//
//	NAME-hs/s        handshakes per second, the median turn
//	NAME-cpu-µs      CPU time of the server for each, user and system
//	NAME-allocs      heap allocations of the server for each
//	x-gorilla-jwt    wsticket's handshakes per second over gorilla-jwt's, the
//	                 median of the ratios of neighbouring turns
//	x-gate-gorilla   the same over gate-gorilla's
func BenchmarkUpgradeTCP(b *testing.B) {
	k := newSecretKey(b, "HS256")
	client := startLoad(b, k)
	type result struct {
		turns   []time.Duration
		cpu     time.Duration
		mallocs uint64
	}
	results := make([]result, len(tcpServers))
	addrs := make([]string, len(tcpServers))
	for i, s := range tcpServers {
		addrs[i] = s.start(b, k)
		client.run(b, addrs[i], 64)
	}
	const turn = 256
	n := 0
	for b.Loop() {
		for i := range tcpServers {
			client.mint(b, addrs[i], turn)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			cpu := cpuTimeOf(b)
			results[i].turns = append(results[i].turns, client.fire(b, turn))
			results[i].cpu += cpuTimeOf(b) - cpu
			runtime.ReadMemStats(&after)
			results[i].mallocs += after.Mallocs - before.Mallocs
		}
		n += turn
	}
	turns := map[string][]time.Duration{}
	for i, s := range tcpServers {
		r := &results[i]
		turns[s.name] = r.turns
		b.ReportMetric(turn/median(r.turns).Seconds(), s.name+"-hs/s")
		b.ReportMetric(float64(r.cpu.Microseconds())/float64(n), s.name+"-cpu-µs")
		b.ReportMetric(float64(r.mallocs)/float64(n), s.name+"-allocs")
	}
	b.ReportMetric(0, "ns/op")
	for _, other := range []string{"gorilla-jwt", "gate-gorilla"} {
		ratios := make([]float64, len(turns[other]))
		for i, took := range turns[other] {
			ratios[i] = float64(took) / float64(turns["wsticket"][i])
		}
		b.ReportMetric(median(ratios), "x-"+other)
	}
}

func median[T cmp.Ordered](list []T) T {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// tcpServers answer 101 to a client with a good ticket and hang up.
var tcpServers = []struct {
	name  string
	start func(b *testing.B, k secretKey) (addr string)
}{
	{"tcp", startTCP},
	{"wsticket", startRaw},
	{"gorilla-jwt", startGorillaJWT},
	{"gate-gorilla", startGateGorilla},
}

// startTCP answers without looking.
func startTCP(b *testing.B, _ secretKey) string {
	buffers := sync.Pool{New: func() any { return new([4096]byte) }}
	return serveTCP(b, func(conn net.Conn) {
		buf := buffers.Get().(*[4096]byte)
		if _, err := conn.Read(buf[:]); err == nil {
			conn.Write(switching)
		}
		buffers.Put(buf)
	})
}

var switching = []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")

// startRaw is wsticket.Upgrader, single use included.
func startRaw(b *testing.B, k secretKey) string {
	upgrader, err := wsticket.NewUpgrader(wsticket.UpgraderConfig{Verifier: loadVerifier(b, k)})
	if err != nil {
		b.Fatal(err)
	}
	handshakes := sync.Pool{New: func() any { return new(wsticket.Handshake) }}
	return serveTCP(b, func(conn net.Conn) {
		h := handshakes.Get().(*wsticket.Handshake)
		if err := upgrader.Upgrade(context.Background(), conn, h); err != nil {
			b.Error(err)
		}
		h.Reset()
		handshakes.Put(h)
	})
}

// startGorillaJWT is net/http, golang-jwt and gorilla/websocket, set up for speed:
// one parser, typed claims, the server's own buffers. It does not know whether a
// ticket was used before.
func startGorillaJWT(b *testing.B, k secretKey) string {
	keys := map[string][]byte{k.id: k.secret}
	lookUp := func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		secret, ok := keys[kid]
		if !ok || token.Header["typ"] != "ws-ticket+jwt" {
			return nil, errors.New("no such key, or no ticket")
		}
		return secret, nil
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithAudience("wss://gw.example"), jwt.WithExpirationRequired())
	var upgrader gorilla.Upgrader
	return serveHTTP(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var claims jwt.RegisteredClaims
		if _, err := parser.ParseWithClaims(r.URL.Query().Get("ticket"), &claims, lookUp); err != nil {
			b.Error(err)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			b.Error(err)
			return
		}
		conn.Close()
	}))
}

// startGateGorilla is net/http, wsticket.Gate and gorilla/websocket, single use
// included.
func startGateGorilla(b *testing.B, k secretKey) string {
	gate, err := wsticket.NewGate(wsticket.GateConfig{
		Verifier: loadVerifier(b, k),
		OnRefuse: func(_ *http.Request, r wsticket.Refusal) { b.Error(r.Err) },
	})
	if err != nil {
		b.Fatal(err)
	}
	var upgrader gorilla.Upgrader
	return serveHTTP(b, gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			b.Error(err)
			return
		}
		conn.Close()
	})))
}

func loadVerifier(b *testing.B, k secretKey) *wsticket.Verifier {
	const ttl = 10 * time.Second
	cache, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 100_000, MaxTTL: ttl, Since: time.Unix(0, 0)})
	if err != nil {
		b.Fatal(err)
	}
	v, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: k.keyring(b), Replay: cache, MaxTTL: ttl, Audiences: []string{"wss://gw.example"}})
	if err != nil {
		b.Fatal(err)
	}
	return v
}

func serveTCP(b *testing.B, serve func(net.Conn)) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				serve(conn)
				conn.Close()
			})
		}
	})
	b.Cleanup(func() { listener.Close(); all.Wait() })
	return listener.Addr().String()
}

func serveHTTP(b *testing.B, handler http.Handler) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() { server.Serve(listener); close(done) }()
	b.Cleanup(func() { server.Close(); <-done })
	return listener.Addr().String()
}

func cpuTimeOf(b *testing.B) time.Duration {
	used, err := cpuTime()
	if err != nil {
		b.Fatal(err)
	}
	return used
}

// A load is the client's side: a process of its own, so that what is counted in
// this one is the server's.
type load struct {
	in  io.WriteCloser
	out *json.Decoder
}

// loadVariable marks the process that is the client.
const loadVariable = "WSTICKET_LOAD"

type loadSetup struct{ JWKS []byte }

// A loadStep is to mint tickets for Addr, or to use N that were minted.
type loadStep struct {
	Addr string
	N    int
}

type loadResult struct {
	Took  time.Duration
	Error string
}

func startLoad(b *testing.B, k secretKey) *load {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	command := exec.Command(self)
	command.Env = append(os.Environ(), loadVariable+"=1", "GODEBUG=asyncpreemptoff=1") // no signals into its system calls
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close() // which ends it
		if err := command.Wait(); err != nil {
			b.Errorf("the client: %v", err)
		}
	})
	l := &load{in, json.NewDecoder(bufio.NewReader(out))}
	l.send(b, loadSetup{k.jwks()})
	return l
}

// mint has the client make n requests to addr.
func (l *load) mint(b *testing.B, addr string, n int) {
	l.send(b, loadStep{addr, n})
	l.receive(b)
}

// fire has the client send them, and returns how long it took until all were
// answered.
func (l *load) fire(b *testing.B, n int) time.Duration {
	l.send(b, loadStep{"", n})
	return l.receive(b)
}

func (l *load) run(b *testing.B, addr string, n int) {
	l.mint(b, addr, n)
	l.fire(b, n)
}

func (l *load) send(b *testing.B, value any) {
	b.Helper()
	if err := json.NewEncoder(l.in).Encode(value); err != nil {
		b.Fatalf("the client: %v", err)
	}
}

func (l *load) receive(b *testing.B) time.Duration {
	b.Helper()
	var r loadResult
	if err := l.out.Decode(&r); err != nil {
		b.Fatalf("the client: %v", err)
	}
	if r.Error != "" {
		b.Fatalf("the client: %s", r.Error)
	}
	return r.Took
}
