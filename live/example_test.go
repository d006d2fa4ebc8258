package live_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

// mustParts are a signer and a verifier with one key, of which the examples do not
// speak.
func mustParts() (*wsticket.Signer, *wsticket.Verifier) {
	keys, err := wsticket.ParseKeyring([]byte(`{"keys":[{"kty":"oct","kid":"a","alg":"HS256","k":"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE"}]}`))
	if err != nil {
		log.Fatal(err)
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 100, Since: time.Unix(0, 0)})
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: cache})
	if err != nil {
		log.Fatal(err)
	}
	return signer, verifier
}

// A connection that ends when its user logs out. A ticket of that session which is still
// unspent does not get in afterwards.
func Example() {
	signer, verifier := mustParts()
	connections, err := live.New(live.Config{MaxPerSubject: 10, Since: time.Unix(0, 0)})
	if err != nil {
		log.Fatal(err)
	}
	redeem := func() *wsticket.Ticket {
		text, err := signer.Sign(&wsticket.Claims{Subject: "ada", SessionID: "session-7"})
		if err != nil {
			log.Fatal(err)
		}
		ticket := new(wsticket.Ticket)
		if err := verifier.Redeem(context.Background(), wsticket.Request{Ticket: []byte(text)}, ticket); err != nil {
			log.Fatal(err)
		}
		return ticket
	}

	closed := make(chan live.Cause)
	conn, err := connections.Add(redeem(), func(cause live.Cause) { closed <- cause }) // after the handshake
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Remove() // when the connection is gone

	if err := connections.CloseSession(context.Background(), "session-7"); err != nil { // at the logout
		log.Print(err)
	}
	cause := <-closed
	fmt.Println("close", cause.CloseCode(), cause.Reason())

	_, err = connections.Add(redeem(), func(live.Cause) {})
	fmt.Println(err)
	// Output:
	// close 3000 session ended
	// live: the session has ended
}

// An event stream (EventSource in a page) behind a Gate that lets in requests which are
// no WebSocket handshakes. It ends with its session.
func ExampleRegistry_Context() {
	signer, verifier := mustParts()
	connections, err := live.New(live.Config{Since: time.Unix(0, 0)})
	if err != nil {
		log.Fatal(err)
	}
	gate, err := wsticket.NewGate(wsticket.GateConfig{Verifier: verifier, AnyRequest: true})
	if err != nil {
		log.Fatal(err)
	}
	events := gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ticket, _ := wsticket.TicketFrom(r.Context())
		ctx, conn, err := connections.Context(r.Context(), ticket)
		if err != nil {
			http.Error(w, "mint once more", http.StatusUnauthorized)
			return
		}
		defer conn.Remove()
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "event: hello\ndata: %s\n\n", conn.Subject())
		http.NewResponseController(w).Flush()
		<-ctx.Done()
		if cause, ok := live.CauseOf(context.Cause(ctx)); ok {
			fmt.Fprintf(w, "event: end\ndata: %s\n\n", cause.String())
		}
	}))

	server := httptest.NewServer(events)
	defer server.Close()
	ticket, err := signer.Sign(&wsticket.Claims{Subject: "ada", SessionID: "session-7"})
	if err != nil {
		log.Fatal(err)
	}
	answer, err := http.Get(server.URL + "/events?ticket=" + ticket)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		fmt.Println(lines.Text())
		if lines.Text() == "data: ada" {
			connections.CloseSession(context.Background(), "session-7") // a logout
		}
	}
	// Output:
	// event: hello
	// data: ada
	//
	// event: end
	// data: ended
}
