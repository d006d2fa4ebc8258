// Command quickstart is the whole of wsticket on net/http in one file: it mints
// tickets, and lets in who brings one.
//
//	(umask 077 && wsticket keys generate > keyring.json)
//	go run ./examples/quickstart
package main

import (
	"context"
	"log"
	"net/http"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket"
)

var addr = "127.0.0.1:8080"

func main() {
	keys, err := wsticket.LoadKeyring("keyring.json")
	if err != nil {
		log.Fatal(err)
	}
	go keys.Watch(context.Background(), "keyring.json", 10*time.Second, func(err error) { log.Print(err) })

	// The application server answers POST /ticket to a user whom it knows.
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys})
	if err != nil {
		log.Fatal(err)
	}
	mint, err := wsticket.NewMintHandler(wsticket.MintConfig{
		Signer: signer,
		Authenticate: func(r *http.Request) (*wsticket.Claims, error) {
			user := userOf(r)
			if user == "" {
				return nil, wsticket.ErrUnauthenticated
			}
			return &wsticket.Claims{Subject: user}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}

	// The gateway, here or on any node with the keyring, opens one connection for each ticket.
	replay, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 1000})
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: replay})
	if err != nil {
		log.Fatal(err)
	}
	gate, err := wsticket.NewGate(wsticket.GateConfig{
		Verifier: verifier,
		OnRefuse: func(_ *http.Request, r wsticket.Refusal) { log.Print(r.Err) },
	})
	if err != nil {
		log.Fatal(err)
	}

	http.Handle("/ticket", mint)
	http.Handle("/ws", gate.Wrap(http.HandlerFunc(hello)))
	log.Fatal(http.ListenAndServe(addr, nil))
}

// userOf is yours: look at the session cookie, and return "" for a stranger.
func userOf(r *http.Request) string {
	user, _, _ := r.BasicAuth()
	return user
}

func hello(w http.ResponseWriter, r *http.Request) {
	ticket, _ := wsticket.TicketFrom(r.Context())
	conn, _, _, err := ws.UpgradeHTTP(r, w) // or any other WebSocket library
	if conn != nil {                        // this one returns a connection beside some errors
		defer conn.Close()
	}
	if err != nil {
		return
	}
	wsutil.WriteServerText(conn, []byte("hello "+string(ticket.Subject())))
}
