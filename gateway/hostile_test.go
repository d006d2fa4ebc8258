package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
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
	goroutines, files := runtime.NumGoroutine(), descriptors(t)
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		for deadline := time.Now().Add(20 * time.Second); ; {
			g, f := runtime.NumGoroutine(), descriptors(t)
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

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc here: " + err.Error())
	}
	return len(entries)
}

// TestSlowHandshakes: many clients that send a byte now and then are sent away at the
// deadline, and good ones connect beside them.
func TestSlowHandshakes(t *testing.T) {
	slow(t)
	leavesNothing(t)
	w := newWorld(t, nil)
	const clients = 2000
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var all sync.WaitGroup
	closed := make(chan error, clients)
	for range clients {
		conn, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			defer conn.Close()
			head := "GET /ws?ticket=" + strings.Repeat("a", 4000)
			conn.SetDeadline(time.Now().Add(30 * time.Second))
			go func() {
				for i := range head {
					if _, err := conn.Write([]byte{head[i]}); err != nil {
						return
					}
					time.Sleep(100 * time.Millisecond) // a slow client is what this is
				}
			}()
			_, err := io.Copy(io.Discard, conn)
			closed <- err
		})
	}
	for range 20 {
		w.echoes(w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil))
	}
	runtime.GC()
	runtime.ReadMemStats(&during)
	each := (int64(during.HeapInuse+during.StackInuse) - int64(before.HeapInuse+before.StackInuse)) / clients
	t.Logf("%d bytes for each pending handshake, its client included", each)
	if each > 48<<10 {
		t.Errorf("%d bytes for each pending handshake", each)
	}
	all.Wait()
	for range clients {
		if err := <-closed; err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatalf("a slow client was still connected after 30 s: %v", err)
		}
	}
}

// TestBackPressure: a client that does not read holds the backend back, in bounded
// memory.
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
	conn := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil)
	total := <-sent
	t.Logf("%d KiB were taken before the backend had to wait", total>>10)
	if total > 64<<20 {
		t.Errorf("%d bytes were taken from the backend for a client that does not read", total)
	}
	w.echoes(func() *dialed {
		w.backend.upgrade = nil
		return w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil)
	}())
	conn.Close()
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
