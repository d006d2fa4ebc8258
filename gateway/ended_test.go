package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

// hears is a backend that counts the texts it gets.
func hears(of *sync.Map) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		defer conn.Close()
		client := struct {
			io.Reader
			io.Writer
		}{buffered, conn}
		for {
			message, _, err := wsutil.ReadClientData(client)
			if err != nil {
				return
			}
			n, _ := of.LoadOrStore(string(message), new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
		}
	}
}

func heardOf(of *sync.Map, text string) int64 {
	if n, ok := of.Load(text); ok {
		return n.(*atomic.Int64).Load()
	}
	return 0
}

// closeFrameComes reads a close frame, and does not answer it.
func closeFrameComes(t *testing.T, conn *dialed) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	header, err := ws.ReadHeader(conn)
	if err == nil {
		_, err = io.CopyN(io.Discard, conn, header.Length)
	}
	if err != nil || header.OpCode != ws.OpClose {
		t.Fatal(header, err)
	}
}

func eventually(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// TestEndBeforeBackendThatDoesNotRead: a connection that has ended gives its seat back,
// though the backend takes nothing of what the client has sent, and so does one whose
// client has closed its half and reads nothing.
func TestEndBeforeBackendThatDoesNotRead(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(w *world, conn *dialed){
		"the session ends": func(w *world, conn *dialed) {
			if err := w.g.registry.End(t.Context(), live.Ending{SessionID: "s3", Cause: live.Ended}); err != nil {
				t.Error(err)
			}
			closeFrameComes(t, conn)
			conn.Close()
		},
		"all are sent away": func(w *world, conn *dialed) {
			w.g.registry.CloseAll(0)
			conn.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			release := make(chan bool)
			defer close(release)
			w.backend.upgrade = func(rw http.ResponseWriter, r *http.Request) {
				conn, _, _, err := ws.UpgradeHTTP(r, rw)
				if err != nil {
					return
				}
				defer conn.Close()
				<-release
			}
			conn := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{SessionID: "s3"}), nil)
			big := ws.MustCompileFrame(ws.MaskFrame(ws.NewBinaryFrame(make([]byte, 1<<20))))
			for { // until nothing more goes in
				conn.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
				if _, err := conn.Write(big); err != nil {
					break
				}
			}
			end(w, conn)
			eventually(t, "its seat is free", lingering+10*time.Second, func() bool { return w.g.seats.taken.Load() == 0 })
		})
	}
	t.Run("the client closes its half and reads nothing", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		w.backend.upgrade = func(rw http.ResponseWriter, r *http.Request) {
			conn, _, _, err := ws.UpgradeHTTP(r, rw)
			if err != nil {
				return
			}
			defer conn.Close()
			for frame := ws.MustCompileFrame(ws.NewBinaryFrame(make([]byte, 1<<20))); err == nil; {
				_, err = conn.Write(frame)
			}
		}
		conn := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil)
		if err := conn.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "its seat is free", lingering+10*time.Second, func() bool { return w.g.seats.taken.Load() == 0 })
	})
}

// TestNothingAfterTheCall: when the call that ends a session has returned, nothing that the
// client sends from then on reaches the backend.
func TestNothingAfterTheCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.LogLevel = "error" })
	var heard sync.Map
	w.backend.upgrade = hears(&heard)
	admin := httptest.NewServer(w.g.admin())
	defer admin.Close()
	before, after := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte("before")))), ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte("after"))))
	const rounds = 100
	for i := range rounds {
		sid := fmt.Sprint("s", i)
		conn := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{SessionID: sid}), nil)
		conn.Write(before)
		eventually(t, "what was sent before is there", 5*time.Second, func() bool { return heardOf(&heard, "before") == int64(i+1) })
		response, err := http.Post(admin.URL+"/close", "", strings.NewReader(`{"sid":"`+sid+`"}`))
		if err != nil || response.StatusCode != 200 {
			t.Fatal(response, err)
		}
		response.Body.Close()
		conn.Write(after)
		w.wantClosed(conn, 3000)
		conn.Close()
	}
	eventually(t, "all are gone", 15*time.Second, func() bool { return w.g.seats.taken.Load() == 0 })
	if n := heardOf(&heard, "after"); n > 0 {
		t.Errorf("%d of %d messages that were sent after the end reached the backend", n, rounds)
	}
}

// TestEndAfterGoingAway: who is sent away, as by a drain, may finish within a second. Then
// nothing goes on any more: the registry has let go of the connection, and could not end it
// when its session does.
func TestEndAfterGoingAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var heard sync.Map
	w.backend.upgrade = hears(&heard)
	conn := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{SessionID: "s3"}), nil)
	say := func(text string) {
		if err := wsutil.WriteClientText(conn, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	say("before")
	eventually(t, "before", 5*time.Second, func() bool { return heardOf(&heard, "before") == 1 })
	w.g.registry.CloseAll(0)
	closeFrameComes(t, conn)
	say("at once")
	eventually(t, "what it says at once goes on", 5*time.Second, func() bool { return heardOf(&heard, "at once") == 1 })
	if err := w.g.registry.End(t.Context(), live.Ending{SessionID: "s3", Cause: live.Ended}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(closing + 500*time.Millisecond); time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	say("after")
	time.Sleep(300 * time.Millisecond) // it would be there
	if heardOf(&heard, "after") > 0 {
		t.Error("a client that was sent away, and whose session has ended, goes on talking")
	}
}

// TestEndDuringHandshake: a session that ends while the backend is asked gets nothing of
// the backend, nor does the backend hear of it if it has not been asked yet.
func TestEndDuringHandshake(t *testing.T) {
	t.Parallel()
	end := func(w *world) {
		if err := w.g.registry.End(t.Context(), live.Ending{SessionID: "s3", Cause: live.Ended}); err != nil {
			t.Error(err)
		}
	}
	t.Run("while it answers", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		asked, answer := make(chan bool), make(chan bool)
		w.backend.upgrade = func(rw http.ResponseWriter, r *http.Request) {
			asked <- true
			<-answer
			rw.Header().Set("Set-Cookie", "fresh=session")
			io.WriteString(rw, "private")
		}
		go func() {
			<-asked
			end(w)
		}()
		got := w.send("GET /ws?ticket=" + w.ticket(wsticket.Claims{SessionID: "s3"}) + " HTTP/1.1\r\nHost: " + w.addr +
			"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		close(answer)
		if !strings.HasPrefix(got, "HTTP/1.1 401 ") || strings.Contains(got, "fresh") || strings.Contains(got, "private") {
			t.Errorf("%q", got)
		}
		if n := w.series()[`wsticket_gateway_upstream_duration_seconds_count{outcome="left"}`]; n != 1 {
			t.Errorf("%v counted as left", n)
		}
	})
	t.Run("while it is dialled", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		dialling := make(chan bool)
		w.g.state.Load().upstream.dialer.Control = func(string, string, syscall.RawConn) error {
			close(dialling)
			time.Sleep(200 * time.Millisecond)
			return nil
		}
		go func() {
			<-dialling
			end(w)
		}()
		_, err := w.dial("/ws?ticket="+w.ticket(wsticket.Claims{SessionID: "s3"}), nil)
		w.wantStatus(err, 401)
		if n := len(w.backend.requests()); n > 0 {
			t.Errorf("the backend got %d handshakes of a session that had ended", n)
		}
	})
}

// TestClientsThatLeave: the backend is not to blame for clients that do not wait for it.
func TestClientsThatLeave(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	hold, asked := make(chan bool), make(chan bool)
	defer close(hold)
	w.backend.upgrade = func(http.ResponseWriter, *http.Request) { asked <- true; <-hold }
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET /ws?ticket=%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", w.ticket(wsticket.Claims{}), w.addr)
	<-asked
	conn.Close()
	eventually(t, "it is counted as one that left", 5*time.Second, func() bool {
		return w.series()[`wsticket_gateway_upstream_duration_seconds_count{outcome="left"}`] == 1
	})
	if s := w.logs.String(); w.series()[`wsticket_gateway_upstream_duration_seconds_count{outcome="failed"}`] != 0 || strings.Contains(s, "upstream failed") {
		t.Error(s)
	}
}

// TestCloseCodeOfStream: a close frame finds its place in a stream whose frames never end
// where what is read ends.
func TestCloseCodeOfStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.backend.upgrade = func(rw http.ResponseWriter, r *http.Request) {
		conn, _, _, err := ws.UpgradeHTTP(r, rw)
		if err != nil {
			return
		}
		defer conn.Close()
		for frame := bytes.Repeat(ws.MustCompileFrame(ws.NewBinaryFrame(make([]byte, 100_000))), 7); err == nil; {
			_, err = conn.Write(frame)
		}
	}
	for i := range 10 {
		sid := fmt.Sprint("s", i)
		conn := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{SessionID: sid}), nil)
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		var err error
		for n := 0; err == nil; n++ {
			if n == 5 {
				go w.g.registry.End(t.Context(), live.Ending{SessionID: sid, Cause: live.Ended})
			}
			_, _, err = wsutil.ReadServerData(conn)
		}
		var closed wsutil.ClosedError
		if !errors.As(err, &closed) || closed.Code != 3000 {
			t.Errorf("connection %d was closed by %v", i, err)
		}
		conn.Close()
	}
}

// TestRatesWithoutDebt: many who are refused at once do not make others wait for longer
// than the rate says.
func TestRatesWithoutDebt(t *testing.T) {
	t.Parallel()
	r := newRates(60)
	now := time.Now()
	for range r.burst {
		if _, ok := r.allow(now, "ada"); !ok {
			t.Fatal("less than the burst")
		}
	}
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 5000 {
				if wait, ok := r.allow(now, "ada"); ok || wait > time.Second {
					t.Errorf("ok %v, wait %v", ok, wait)
					return
				}
			}
		})
	}
	callers.Wait()
	if wait, ok := r.allow(now, "ada"); ok || wait <= 0 || wait > time.Second {
		t.Errorf("ok %v, wait %v", ok, wait)
	}
	if _, ok := r.allow(now.Add(time.Second), "ada"); !ok {
		t.Error("a second later there is one more")
	}
	if newRates(1).burst != 1 {
		t.Error("one a minute is not five at once")
	}
}

// TestSavedSessionsAreOurs: the file of ended sessions is made anew. A link that somebody
// has put there is not followed, and a mode that somebody chose is not kept.
func TestSavedSessionsAreOurs(t *testing.T) {
	dir := t.TempDir()
	other, path := filepath.Join(dir, "other"), filepath.Join(dir, "state.sessions")
	write(t, other, "precious")
	if err := os.Chmod(other, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, path+".new"); err != nil {
		t.Fatal(err)
	}
	e := endings{keep: time.Minute}
	e.add(time.Now(), live.Ending{SessionID: "s3", Cause: live.Ended, At: time.Now().Unix()})
	if err := e.save(time.Now(), path); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(other); err != nil || string(content) != "precious" {
		t.Errorf("%q, %v", content, err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestWhence: what strangers send under the names by which frameworks and clouds are told
// where a request came from does not reach the backend.
func TestWhence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	names := []string{"Client-IP", "Forwarded-For", "X-Original-Forwarded-For", "X-Rewrite-Url", "X-Remote-Addr", "X-Remote-Ip", "X-Originating-Ip",
		"X-Envoy-External-Address", "X-Envoy-Original-Path", "X-Azure-Clientip", "Fly-Client-Ip", "Cf-Connecting-Ipv6", "X-Appengine-User-Ip",
		"X-Proxyuser-Ip", "X-Host", "X-Url-Scheme", "Front-End-Https", "Remote-User", "X-Forwarded", "X-Real-Port", "X_Real_Ip", "Client_ip"}
	sent := http.Header{"X-Trace": {"of the client"}}
	for _, name := range names {
		sent[name] = []string{"192.0.2.66"}
	}
	w.echoes(w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), sent))
	got := w.backend.requests()[0].Header
	for name, values := range got {
		if strings.Contains(strings.Join(values, " "), "192.0.2.66") {
			t.Errorf("%s reached the backend", name)
		}
	}
	if got.Get("X-Trace") == "" {
		t.Error("what says nothing of it is gone too")
	}
}

// TestCookieTicketIsNotAsked: a ticket that waits in a cookie does not go to mint-auth
// with the other cookies.
func TestCookieTicketIsNotAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Carriers, c.Origins = []string{"query", "cookie"}, []string{"https://app.example"} })
	ticket := w.ticket(wsticket.Claims{})
	request, err := http.NewRequest(http.MethodPost, "http://"+w.addr+"/ticket", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Cookie": {"session=1; __Host-ws-ticket=" + ticket}, "Origin": {"https://app.example"}, "Authorization": {"Bearer of.the.application"}}
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode != 200 {
		t.Fatal(response, err)
	}
	response.Body.Close()
	asked := w.backend.requests()[0].Header
	if c := asked.Get("Cookie"); strings.Contains(c, ticket) || !strings.Contains(c, "session=1") || asked.Get("Authorization") != "Bearer of.the.application" {
		t.Errorf("mint-auth gets %v", asked)
	}
}

// TestFailedStartKeepsState: a start that fails for another reason than the state leaves
// what was saved to the next one.
func TestFailedStartKeepsState(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	w := newWorld(t, func(c *Config) { c.State = state })
	w.stop()
	config := w.g.state.Load().config
	config.OTLP = "http://127.0.0.1:1"
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "no pair")
	if _, err := New(t.Context(), config, w.logs); err == nil {
		t.Fatal("it starts")
	}
	for _, path := range []string{state, state + ".sessions"} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}
