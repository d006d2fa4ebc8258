package wsticket_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket"
)

// exampleParts stand for what the program has made already.
func exampleParts() (*wsticket.Verifier, *wsticket.Signer, *wsticket.ReplayCache) {
	keys, err := wsticket.ParseKeyring([]byte(`{"keys":[{"kty":"oct","kid":"example","alg":"HS256","k":"c2VjcmV0cy1pbi1leGFtcGxlcy1hcmUtbm8tc2VjcmV0cy4"}]}`))
	if err != nil {
		panic(err)
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys})
	if err != nil {
		panic(err)
	}
	cache, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 100, Since: time.Unix(0, 0)})
	if err != nil {
		panic(err)
	}
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: cache})
	if err != nil {
		panic(err)
	}
	return verifier, signer, cache
}

// exchange shows a request to a server and returns the status line of the answer.
func exchange(conn net.Conn, target string, lines ...string) string {
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: gateway.example\r\n%s\r\n", target, strings.Join(append(lines, ""), "\r\n"))
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(answer)
}

var handshakeLines = []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}

func ExampleUpgrader_Upgrade_healthPath() {
	verifier, signer, _ := exampleParts()
	upgrader, err := wsticket.NewUpgrader(wsticket.UpgraderConfig{
		Verifier:   verifier,
		Origins:    []string{"https://app.example", "https://*.app.example"},
		HealthPath: "/healthz",
	})
	if err != nil {
		panic(err)
	}
	handshakes := sync.Pool{New: func() any { return new(wsticket.Handshake) }}
	serve := func(conn net.Conn) {
		defer conn.Close()
		h := handshakes.Get().(*wsticket.Handshake)
		defer func() {
			h.Reset()
			handshakes.Put(h)
		}()
		if err := upgrader.Upgrade(context.Background(), conn, h); err != nil {
			return // the client has its answer
		}
		wsutil.WriteServerText(conn, []byte("hello "+string(h.Ticket.Subject())))
	}

	ticket, err := signer.Sign(&wsticket.Claims{Subject: "ada"})
	if err != nil {
		panic(err)
	}
	for _, request := range []struct {
		target string
		lines  []string
	}{
		{"/room?ticket=" + ticket, handshakeLines},
		{"/room?ticket=" + ticket, handshakeLines},
		{"/healthz", nil},
	} {
		client, server := net.Pipe()
		go serve(server)
		fmt.Println(exchange(client, request.target, request.lines...))
		client.Close()
	}
	// Output:
	// HTTP/1.1 101 Switching Protocols
	// HTTP/1.1 401 Unauthorized
	// HTTP/1.1 200 OK
}

// Behind a proxy that sets X-Real-IP, and that nobody can go around.
func ExampleGate_Wrap_behindProxy() {
	verifier, signer, cache := exampleParts()
	gate, err := wsticket.NewGate(wsticket.GateConfig{
		Verifier:   verifier,
		AnyRequest: true, // event streams
		PeerAddr: func(r *http.Request) netip.Addr {
			addr, _ := netip.ParseAddr(r.Header.Get("X-Real-IP"))
			return addr // the zero Addr equals no ip: the ticket is refused
		},
	})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /events", gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ticket, _ := wsticket.TicketFrom(r.Context())
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: hello %s\n\n", ticket.Subject())
	})))
	// For load balancers: not before tickets are accepted.
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if time.Now().Before(cache.ReadyAt()) {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ok\n")
	})

	ticket, err := signer.Sign(&wsticket.Claims{Subject: "ada", IP: "192.0.2.0/24"})
	if err != nil {
		panic(err)
	}
	for _, target := range []string{"/healthz", "/events", "/events?ticket=" + ticket, "/events?ticket=" + ticket} {
		r := httptest.NewRequest("GET", target, nil)
		r.Header.Set("X-Real-IP", "192.0.2.7")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
	}
	// Output:
	// 200 ok
	// 401 {"type":"invalid_ticket","status":401}
	// 200 data: hello ada
	// 401 {"type":"invalid_ticket","status":401}
}
