package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/wsticket/wsticket"
)

func slow(t *testing.T) {
	t.Helper()
	if os.Getenv("WSTICKET_SLOW") != "1" {
		t.Skip("takes long: set WSTICKET_SLOW=1")
	}
}

// leavesNothing fails the test where it leaves goroutines or descriptors behind. Call it
// first: it looks when all else is cleaned up.
func leavesNothing(t *testing.T) {
	t.Helper()
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	t.Cleanup(func() {
		if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
			t.Errorf("temporary files are left: %v, %v", left, err)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		for deadline := time.Now().Add(20 * time.Second); ; {
			g, f := runtime.NumGoroutine(), openFiles(t)
			if g <= goroutines+2 && f <= files+2 { // the runtime's own
				return
			}
			if time.Now().After(deadline) {
				stacks := make([]byte, 1<<20)
				t.Errorf("%d goroutines, %d before; %d descriptors, %d before\n%s", g, goroutines, f, files, stacks[:runtime.Stack(stacks, true)])
				return
			}
			time.Sleep(20 * time.Millisecond) // what was closed ends on its own goroutine
		}
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc here: " + err.Error())
	}
	return len(entries)
}

// TestSlowHandshakes: 5,000 clients that send a byte a second are sent away at the
// deadline, in bounded memory, and good ones connect beside them as if they were not
// there.
func TestSlowHandshakes(t *testing.T) {
	slow(t)
	leavesNothing(t)
	w := newWorld(t, func(c *Config) { c.Timeout = 5 * time.Second; c.MaxConnections = 100 })
	const clients = 5000
	before := heap()
	head := "GET /ws?ticket=" + strings.Repeat("a", 4000)
	conns := make([]net.Conn, clients)
	opened := time.Now()
	for i := range conns {
		conn, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[i] = conn
	}
	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for at := range head {
			for _, conn := range conns {
				conn.Write([]byte{head[at]}) // fails where it was sent away
			}
			select {
			case <-time.After(time.Second): // slow is what they are
			case <-stop:
				return
			}
		}
	})
	time.Sleep(time.Second) // until all have sent something
	during := heap()
	each := (during - before) / clients
	t.Logf("%d bytes for each pending handshake, its client included", each)
	if each > 32<<10 {
		t.Errorf("%d bytes for each pending handshake", each)
	}
	var took []time.Duration
	for range 50 {
		began := time.Now()
		conn := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil)
		w.echoes(conn)
		took = append(took, time.Since(began))
		conn.Close()
	}
	slices.Sort(took)
	t.Logf("good clients beside them took %v, the slowest %v", took[len(took)/2], took[len(took)-1])
	if took[len(took)/2] > 500*time.Millisecond {
		t.Errorf("good clients took %v", took[len(took)/2])
	}
	for _, conn := range conns {
		conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
			t.Fatal("a slow client is still connected")
		}
	}
	if took := time.Since(opened); took > 25*time.Second {
		t.Errorf("it took %v until all were sent away", took)
	}
	close(stop)
	writing.Wait()
}

// heap is the memory in use, behind a collection.
func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapInuse + stats.StackInuse)
}

// TestBackPressure: a client that does not read, while the backend would send 1 GB, holds
// the backend back, in bounded memory, and another client is not held back.
func TestBackPressure(t *testing.T) {
	slow(t)
	leavesNothing(t)
	w := newWorld(t, nil)
	sent := make(chan int64, 1)
	w.backend.upgrade = func(rw http.ResponseWriter, r *http.Request) {
		conn, _, _, err := ws.UpgradeHTTP(r, rw)
		if err != nil {
			return
		}
		defer conn.Close()
		var total int64
		block := make([]byte, 1<<20)
		for total < 1<<30 {
			conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
			n, err := conn.Write(block)
			total += int64(n)
			if err != nil {
				break
			}
		}
		sent <- total
	}
	before := heap()
	conn := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil)
	total := <-sent
	grown := heap() - before
	t.Logf("%d KiB were taken before the backend had to wait; the heap grew by %d KiB", total>>10, grown>>10)
	if total > 64<<20 {
		t.Errorf("%d bytes were taken from the backend for a client that does not read", total)
	}
	if grown > 8<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	w.backend.mu.Lock()
	w.backend.upgrade = nil
	w.backend.mu.Unlock()
	w.echoes(w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil))
	conn.Close()
}

// TestBadUpstreams: hundreds of handshakes at once with an upstream that never answers,
// and with one that answers with 10 MB of headers, cost bounded memory and leave nothing
// behind, and a good one beside them is not held back.
func TestBadUpstreams(t *testing.T) {
	slow(t)
	line := []byte("X-Long: " + strings.Repeat("x", 1<<10) + "\r\n")
	megabyte := bytes.Repeat([]byte("x"), 1<<20) // one for all: memory is what is measured
	for name, c := range map[string]struct {
		bad     func(http.ResponseWriter, *http.Request)
		timeout time.Duration
		status  int
	}{
		"never answers": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 3 * time.Second, 504},
		"10 MB of headers": {func(rw http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n")
			for range 10 << 10 {
				if _, err := conn.Write(line); err != nil {
					return
				}
			}
			io.WriteString(conn, "\r\n")
		}, time.Minute, 502},
		"10 MB in one line": {func(rw http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nX: ")
			for range 10 {
				if _, err := conn.Write(megabyte); err != nil {
					return
				}
			}
		}, time.Minute, 502},
	} {
		t.Run(name, func(t *testing.T) {
			leavesNothing(t)
			w := newWorld(t, func(conf *Config) { conf.Timeout = c.timeout })
			w.backend.upgrade = func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/good" {
					echo(rw, r)
				} else {
					c.bad(rw, r)
				}
			}
			const clients = 200
			before := heap()
			var most atomic.Int64
			var all sync.WaitGroup
			for range clients {
				ticket := w.ticket(wsticket.Claims{})
				all.Go(func() {
					_, err := w.dial("/bad?ticket="+ticket, nil)
					w.wantStatus(err, c.status)
				})
			}
			all.Go(func() {
				for range 10 {
					most.Store(max(most.Load(), heap()-before))
					w.echoes(w.mustDial("/good?ticket="+w.ticket(wsticket.Claims{}), nil))
				}
			})
			all.Wait()
			each := most.Load() / clients
			t.Logf("%d bytes for each, client and backend included", each)
			if each > 256<<10 {
				t.Errorf("%d bytes for each", each)
			}
		})
	}
}

// TestUpstreamClosesAnywhere: an upstream that closes behind each byte of its answer.
func TestUpstreamClosesAnywhere(t *testing.T) {
	leavesNothing(t)
	w := newWorld(t, nil)
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	whole := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + acceptFor(key) + "\r\n\r\n\x82\x05hello"
	step := 1
	if os.Getenv("WSTICKET_SLOW") != "1" {
		step = 7
	}
	for n := 0; n <= len(whole); n += step {
		w.backend.mu.Lock()
		w.backend.upgrade = func(rw http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				return
			}
			io.WriteString(conn, whole[:n])
			conn.Close()
		}
		w.backend.mu.Unlock()
		conn, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(conn, "GET /ws?ticket=%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", w.ticket(wsticket.Claims{}), w.addr, key)
		reader := bufio.NewReader(conn)
		response, err := http.ReadResponse(reader, &http.Request{Method: "GET"})
		if err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
		head := strings.Index(whole, "\r\n\r\n") + 4
		want := http.StatusBadGateway
		if n >= head {
			want = http.StatusSwitchingProtocols
		}
		if response.StatusCode != want {
			t.Errorf("after %d bytes: %s", n, response.Status)
		}
		if want == http.StatusSwitchingProtocols {
			rest, err := io.ReadAll(reader)
			if err != nil || string(rest) != whole[head:n] {
				t.Errorf("after %d bytes: %q, %v", n, rest, err)
			}
		}
		conn.Close()
	}
}

// TestKilled: a process that is killed in the middle of load accepts nothing twice when
// its successor has started. It is about what the successor refuses, so it kills no
// process: it starts a second gateway with the state that a killed one leaves, none.
func TestKilled(t *testing.T) {
	t.Parallel()
	state := t.TempDir() + "/state"
	w := newWorld(t, func(c *Config) { c.State, c.Leeway = state, time.Second })
	used := []string{}
	for range 20 {
		ticket := w.ticket(wsticket.Claims{TTL: 30 * time.Second})
		w.echoes(w.mustDial("/ws?ticket="+ticket, nil))
		used = append(used, ticket)
	}
	config := w.g.state.Load().config
	config.since = time.Time{}
	config.State = state + ".other" // as if nothing had been saved
	w.start(config)
	for _, ticket := range used {
		_, err := w.dial("/ws?ticket="+ticket, nil)
		w.wantStatus(err, 401)
	}
	w.echoes(w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil))
}

// TestEndOfClientThatDoesNotRead: the end of a session, and the drain, do not wait for
// a client that has stopped to read while the backend sends.
func TestEndOfClientThatDoesNotRead(t *testing.T) {
	leavesNothing(t)
	w := newWorld(t, func(c *Config) { c.Drain = 2 * time.Second })
	full := make(chan struct{}, 2)
	w.backend.upgrade = func(rw http.ResponseWriter, r *http.Request) {
		conn, _, _, err := ws.UpgradeHTTP(r, rw)
		if err != nil {
			return
		}
		defer conn.Close()
		block := make([]byte, 1<<20)
		for {
			conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			if _, err := conn.Write(block); err != nil {
				break
			}
		}
		full <- struct{}{}
		io.Copy(io.Discard, conn) // ends when the gateway lets go
		full <- struct{}{}
	}
	admin := httptest.NewServer(w.g.admin())
	defer admin.Close()
	first := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{SessionID: "s3"}), nil)
	defer first.Close()
	<-full
	began := time.Now()
	response, err := http.Post(admin.URL+"/close", "", strings.NewReader(`{"sid":"s3"}`))
	if err != nil || response.StatusCode != 200 {
		t.Fatal(response, err)
	}
	<-full
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v to end the session", took)
	}
	second := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{SessionID: "s4"}), nil)
	defer second.Close()
	<-full
	began = time.Now()
	w.stop()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %v to drain in 2 s", took)
	}
	<-full
	if taken := w.g.seats.taken.Load(); taken != 0 {
		t.Errorf("%d seats are taken", taken)
	}
}

// TestWaitingConnections: sockets on which nothing is said take no more than their part of
// the descriptors, whoever has shaken hands is not touched, and their part comes back.
func TestWaitingConnections(t *testing.T) {
	leavesNothing(t)
	w := newWorld(t, nil)
	good := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil)
	w.echoes(good)
	w.wait(func() bool { return w.g.waiting.now.Load() == 0 })
	w.g.waiting.most.Store(5)
	var silent []net.Conn
	for range 5 {
		conn, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
	}
	w.wait(func() bool { return w.g.waiting.now.Load() == 5 })
	if conn, err := w.dial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil); err == nil {
		conn.Close()
		t.Error("a sixth got in")
	}
	w.echoes(good)
	silent[0].Close()
	w.wait(func() bool { return w.g.waiting.now.Load() < 5 })
	w.echoes(w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil))
}

// wait waits until something is so that goroutines of the gateway make so.
func (w *world) wait(so func() bool) {
	w.Helper()
	for deadline := time.Now().Add(10 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatal("it does not become so")
		}
	}
}
