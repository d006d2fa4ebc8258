package prommetrics_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
	"github.com/wsticket/wsticket/prommetrics"
)

// newGateway is a gateway on net/http: three connections a user, which end with the
// session, metrics, and a log without tickets.
func newGateway(keys *wsticket.Keyring, cache *wsticket.ReplayCache, connections *live.Registry, logger *slog.Logger) (http.Handler, error) {
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: cache})
	if err != nil {
		return nil, err
	}
	gate, err := wsticket.NewGate(wsticket.GateConfig{
		Verifier:      verifier,
		CloseRefusals: true,
		Authorize:     func(_ *http.Request, t *wsticket.Ticket) error { return connections.Admit(t) },
		OnRefuse:      func(_ *http.Request, r wsticket.Refusal) { logger.Warn("refused", "refusal", r) },
	})
	if err != nil {
		return nil, err
	}
	metrics, err := prommetrics.New(prommetrics.Config{
		Gates: map[string]prommetrics.Gate{"web": gate}, Replay: cache, Keys: keys, Connections: connections,
	})
	if err != nil {
		return nil, err
	}
	observed, err := metrics.Handshakes("web") // for the two histograms
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(metrics); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", observed.Wrap(gate, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { greet(connections, w, r) })))
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{})) // for the operators only
	return wsticket.Conceal(mux), nil
}

func greet(connections *live.Registry, w http.ResponseWriter, r *http.Request) {
	ticket, _ := wsticket.TicketFrom(r.Context())
	conn, buffered, _, err := ws.UpgradeHTTP(r, w)
	if conn != nil {
		defer conn.Close()
	}
	if err != nil {
		return
	}
	socket, err := connections.Socket(ticket, conn)
	if err != nil {
		return // the client has been told
	}
	defer socket.Close()
	wsutil.WriteServerText(socket, []byte("hello "+socket.Live().Subject()))
	client := struct {
		io.Reader // which may hold frames that came with the head
		io.Writer
	}{buffered.Reader, socket}
	for {
		if _, err := wsutil.ReadClientText(client); err != nil {
			return
		}
	}
}

// A whole gateway, and a user who logs out.
func Example() {
	secret := "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE"
	keys, err1 := wsticket.ParseKeyring([]byte(`{"keys":[{"kty":"oct","kid":"a","alg":"HS256","k":"` + secret + `"}]}`))
	cache, err2 := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 100, Since: time.Unix(0, 0)})
	connections, err3 := live.New(live.Config{MaxPerSubject: 3, Since: time.Unix(0, 0)})
	if err := errors.Join(err1, err2, err3); err != nil {
		fmt.Println(err)
		return
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys})
	if err != nil {
		fmt.Println(err)
		return
	}
	logger := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{ReplaceAttr: wsticket.SlogReplace}))
	handler, err := newGateway(keys, cache, connections, logger)
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(handler)
	defer server.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for range 4 {
		ticket, err := signer.Sign(&wsticket.Claims{Subject: "ada", SessionID: "s"})
		if err != nil {
			fmt.Println(err)
			return
		}
		conn, early, _, err := ws.Dial(ctx, "ws"+strings.TrimPrefix(server.URL, "http")+"/ws?ticket="+ticket)
		if err != nil {
			fmt.Println(err)
			continue
		}
		defer conn.Close()
		server := struct {
			io.Reader
			io.Writer
		}{conn, conn}
		if early != nil { // what came with the answer
			server.Reader = early
		}
		hello, err := wsutil.ReadServerText(server)
		fmt.Println(string(hello), err)
	}
	if err := connections.CloseSession(ctx, "s"); err != nil { // the logout
		fmt.Println(err)
	}
	fmt.Println("ended", connections.Stats().Ended(live.Ended))

	answer, err := http.Get(server.URL + "/metrics")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	fmt.Println("metrics", answer.StatusCode)
	// Output:
	// hello ada <nil>
	// hello ada <nil>
	// hello ada <nil>
	// unexpected HTTP response status: 503
	// ended 3
	// metrics 200
}
