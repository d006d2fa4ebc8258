package wsticket_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket"
)

// serve is the code of the README, to the letter.
func serve(keyringFile string, userOf func(*http.Request) string, since time.Time) (http.Handler, error) {
	keys, err := wsticket.LoadKeyring(keyringFile)
	if err != nil {
		return nil, err
	}
	// The application server answers POST /ticket to whom it knows.
	signer, err1 := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys})
	mint, err2 := wsticket.NewMintHandler(wsticket.MintConfig{Signer: signer,
		Authenticate: func(r *http.Request) (*wsticket.Claims, error) { return &wsticket.Claims{Subject: userOf(r)}, nil }})
	// The gateway, here or on any node with the keyring, opens one connection for each ticket.
	replay, err3 := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 1000, Since: since})
	verifier, err4 := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: replay})
	gate, err5 := wsticket.NewGate(wsticket.GateConfig{Verifier: verifier})
	mux := http.NewServeMux()
	mux.Handle("/ticket", mint)
	mux.Handle("/ws", gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ticket, _ := wsticket.TicketFrom(r.Context())
		if conn, _, _, err := ws.UpgradeHTTP(r, w); err == nil { // or any other WebSocket library
			defer conn.Close()
			wsutil.WriteServerText(conn, []byte("hello "+string(ticket.Subject())))
		}
	})))
	return mux, errors.Join(err1, err2, err3, err4, err5)
}

func Example() {
	dir, err := os.MkdirTemp("", "wsticket")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "keyring.json")
	// wsticket keys generate > keyring.json
	os.WriteFile(file, []byte(`{"keys":[{"kty":"oct","kid":"example","alg":"HS256","k":"c2VjcmV0cy1pbi1leGFtcGxlcy1hcmUtbm8tc2VjcmV0cy4"}]}`), 0o600)

	// No ticket of these keys was used before, so the cache may begin in the past.
	handler, err := serve(file, func(*http.Request) string { return "ada" }, time.Unix(0, 0))
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()

	// What a page does with fetch and new WebSocket.
	answer, err := http.Post(server.URL+"/ticket", "", nil)
	if err != nil {
		panic(err)
	}
	var minted struct{ Ticket string }
	json.NewDecoder(answer.Body).Decode(&minted)
	answer.Body.Close()
	url := strings.Replace(server.URL, "http:", "ws:", 1) + "/ws?ticket=" + minted.Ticket

	for range 2 {
		conn, early, _, err := ws.Dial(context.Background(), url)
		if err != nil {
			fmt.Println(err)
			continue
		}
		var stream io.ReadWriter = conn
		if early != nil { // the greeting came together with the 101
			stream = struct {
				io.Reader
				io.Writer
			}{early, conn}
		}
		text, err := wsutil.ReadServerText(stream)
		if err != nil {
			fmt.Println(err)
		}
		fmt.Println(string(text))
		conn.Close()
	}
	// Output:
	// hello ada
	// unexpected HTTP response status: 401
}

// A Verifier by hand, for a gateway that reads its handshakes itself.
func ExampleVerifier_Redeem() {
	keys, err := wsticket.ParseKeyring([]byte(`{"keys":[{"kty":"oct","kid":"example","alg":"HS256","k":"c2VjcmV0cy1pbi1leGFtcGxlcy1hcmUtbm8tc2VjcmV0cy4"}]}`))
	if err != nil {
		panic(err)
	}
	replay, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 1000, Since: time.Unix(0, 0)})
	if err != nil {
		panic(err)
	}
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: replay, Audiences: []string{"gw"}})
	if err != nil {
		panic(err)
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys, Audiences: []string{"gw"}})
	if err != nil {
		panic(err)
	}
	text, err := signer.Sign(&wsticket.Claims{Subject: "ada", Path: "/rooms/*"})
	if err != nil {
		panic(err)
	}
	var ticket wsticket.Ticket // one for each goroutine, used again and again
	for _, path := range []string{"/lobby", "/rooms/7", "/rooms/7"} {
		err := verifier.Redeem(context.Background(), wsticket.Request{Ticket: []byte(text), Path: []byte(path)}, &ticket)
		switch code, refused := wsticket.CodeOf(err); {
		case refused:
			fmt.Println(path, "refused:", code.Code())
		default:
			fmt.Println(path, "let in:", string(ticket.Subject()))
		}
	}
	// Output:
	// /lobby refused: path
	// /rooms/7 let in: ada
	// /rooms/7 refused: replayed
}

// TestReadmeShowsTheExample: the code of the README is the code above.
func TestReadmeShowsTheExample(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(source), "\nfunc serve(")
	code, _, _ = strings.Cut(code, "\n}\n")
	if code == "" || !strings.Contains(string(readme), "```go\nfunc serve("+code+"\n}\n```") {
		t.Error("README.md does not show func serve of example_test.go as it is")
	}
}
