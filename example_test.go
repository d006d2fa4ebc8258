package wsticket_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket"
)

// exampleKeys stands for LoadKeyring("keyring.json").
func exampleKeys() *wsticket.Keyring {
	keys, err := wsticket.ParseKeyring([]byte(`{"keys":[{"kty":"oct","kid":"example","alg":"HS256","k":"c2VjcmV0cy1pbi1leGFtcGxlcy1hcmUtbm8tc2VjcmV0cy4"}]}`))
	if err != nil {
		panic(err)
	}
	return keys
}

func exampleSigner() *wsticket.Signer {
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: exampleKeys()})
	if err != nil {
		panic(err)
	}
	return signer
}

// No ticket of these keys was used before, so the cache may begin in the past. A
// program leaves Since out.
func exampleVerifier() *wsticket.Verifier {
	replay, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 1000, Since: time.Unix(0, 0)})
	if err != nil {
		panic(err)
	}
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: exampleKeys(), Replay: replay})
	if err != nil {
		panic(err)
	}
	return verifier
}

func Example() {
	mint, err := wsticket.NewMintHandler(wsticket.MintConfig{
		Signer: exampleSigner(),
		Authenticate: func(*http.Request) (*wsticket.Claims, error) {
			return &wsticket.Claims{Subject: "ada"}, nil
		},
	})
	if err != nil {
		panic(err)
	}
	gate, err := wsticket.NewGate(wsticket.GateConfig{Verifier: exampleVerifier()})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ticket", mint)
	mux.Handle("/ws", gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ticket, _ := wsticket.TicketFrom(r.Context())
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if conn != nil {
			defer conn.Close()
		}
		if err == nil {
			wsutil.WriteServerText(conn, []byte("hello "+string(ticket.Subject())))
		}
	})))
	server := httptest.NewServer(mux)
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
	verifier := exampleVerifier()
	text, err := exampleSigner().Sign(&wsticket.Claims{Subject: "ada", Path: "/rooms/*"})
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

func ExampleNewMintHandler() {
	sessions := map[string]string{"s3": "ada"} // what the application knows
	mint, err := wsticket.NewMintHandler(wsticket.MintConfig{
		Signer: exampleSigner(),
		Authenticate: func(r *http.Request) (*wsticket.Claims, error) {
			cookie, err := r.Cookie("session")
			if err != nil || sessions[cookie.Value] == "" {
				return nil, wsticket.ErrUnauthenticated
			}
			return &wsticket.Claims{Subject: sessions[cookie.Value], SessionID: cookie.Value}, nil
		},
	})
	if err != nil {
		panic(err)
	}
	for _, session := range []string{"s3", "stranger"} {
		r := httptest.NewRequest("POST", "https://app.example/ticket", nil)
		r.AddCookie(&http.Cookie{Name: "session", Value: session})
		w := httptest.NewRecorder()
		mint.ServeHTTP(w, r)
		fmt.Println(session, w.Code)
	}
	// Output:
	// s3 200
	// stranger 401
}

func ExampleGate_Wrap() {
	gate, err := wsticket.NewGate(wsticket.GateConfig{
		Verifier: exampleVerifier(),
		Origins:  []string{"https://app.example"},
		OnRefuse: func(_ *http.Request, r wsticket.Refusal) { fmt.Println("refused:", r.Code.Code()) },
	})
	if err != nil {
		panic(err)
	}
	handler := gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ticket, _ := wsticket.TicketFrom(r.Context())
		fmt.Fprintf(w, "%s is in, and the URL is %s", ticket.Subject(), r.URL)
	}))
	text, err := exampleSigner().Sign(&wsticket.Claims{Subject: "ada"})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	for range 2 {
		r, _ := http.NewRequest("GET", server.URL+"/ws?room=7&ticket="+text, nil)
		r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
			"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Origin": {"https://app.example"}}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			panic(err)
		}
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		fmt.Println(strings.TrimSpace(string(body)))
	}
	// Output:
	// ada is in, and the URL is /ws?room=7
	// refused: replayed
	// {"type":"invalid_ticket","status":401}
}

func ExampleUpgrader_Upgrade() {
	upgrader, err := wsticket.NewUpgrader(wsticket.UpgraderConfig{Verifier: exampleVerifier(), Protocols: []string{"app.v1"}})
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()       // Upgrade never closes it
		var h wsticket.Handshake // used again for the next connection, it spares the allocation
		if upgrader.Upgrade(context.Background(), conn, &h) != nil {
			return // the client has its answer
		}
		wsutil.WriteServerText(conn, []byte("hello "+string(h.Ticket.Subject())+", we speak "+h.Protocol))
	}()

	text, err := exampleSigner().Sign(&wsticket.Claims{Subject: "ada"})
	if err != nil {
		panic(err)
	}
	dialer := ws.Dialer{Protocols: []string{"app.v1", "ticket." + text}}
	conn, early, _, err := dialer.Dial(context.Background(), "ws://"+listener.Addr().String()+"/ws")
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	var stream io.ReadWriter = conn
	if early != nil {
		stream = struct {
			io.Reader
			io.Writer
		}{early, conn}
	}
	greeting, err := wsutil.ReadServerText(stream)
	fmt.Println(string(greeting), err)
	// Output: hello ada, we speak app.v1 <nil>
}

// A ws.Upgrader that a gateway has already, with tickets.
func ExampleHooks() {
	hooks, err := wsticket.NewHooks(wsticket.HooksConfig{
		Verifier: exampleVerifier(),
		Upgrader: ws.Upgrader{OnHost: func(host []byte) error { fmt.Println("host", string(host)); return nil }},
	})
	if err != nil {
		panic(err)
	}
	text, err := exampleSigner().Sign(&wsticket.Claims{Subject: "ada"})
	if err != nil {
		panic(err)
	}
	client, server := net.Pipe()
	go func() {
		fmt.Fprintf(client, "GET /ws?ticket=%s HTTP/1.1\r\nHost: gw.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", text)
		io.Copy(io.Discard, client)
	}()
	var ticket wsticket.Ticket
	if _, err := hooks.Upgrade(context.Background(), server, &ticket); err != nil {
		panic(err)
	}
	fmt.Println("subject", string(ticket.Subject()))
	server.Close()
	// Output:
	// host gw.example
	// subject ada
}

// Rotation: every node watches its keyring file.
func ExampleKeyring_Watch() {
	dir, err := os.MkdirTemp("", "wsticket")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "keyring.json")
	key := func(kid, k string) string { return `{"kty":"oct","kid":"` + kid + `","alg":"HS256","k":"` + k + `"}` }
	first := key("a", "c2VjcmV0cy1pbi1leGFtcGxlcy1hcmUtbm8tc2VjcmV0cy4")
	os.WriteFile(file, []byte(`{"keys":[`+first+`]}`), 0o600)
	keys, err := wsticket.LoadKeyring(file)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	faults := make(chan error, 8)
	go keys.Watch(ctx, file, time.Millisecond, func(err error) { faults <- err })

	os.WriteFile(file, []byte("half a key"), 0o600) // a broken push leaves the keys in force
	<-faults
	fmt.Println(len(keys.Keys()), "key in force")
	os.WriteFile(file+".new", []byte(`{"keys":[`+first+`,`+key("b", "YW5vdGhlci1zZWNyZXQtb2YtYW4tZXhhbXBsZS1vbmx5LiE")+`]}`), 0o600)
	os.Rename(file+".new", file)
	for len(keys.Keys()) < 2 {
		runtime.Gosched()
	}
	fmt.Println(len(keys.Keys()), "keys in force")
	// Output:
	// 1 key in force
	// 2 keys in force
}

// once is a guard on a store that can insert a key if it is absent.
type once struct{ store sync.Map }

// Spend puts the identity into the store. A store of its own process forgets
// nothing here; one on a server needs an expiry after Expires plus the leeway, a
// deadline from ctx, and an answer for a claim that may have been carried out.
func (g *once) Spend(_ context.Context, u wsticket.Use) error {
	if _, used := g.store.LoadOrStore(u.Identity, u.Expires); used {
		return wsticket.ErrReplayed
	}
	return nil
}

func (g *once) Covers() (maxTTL, leeway time.Duration) { return time.Hour, time.Minute }

func ExampleReplayGuard() {
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: exampleKeys(), Replay: &once{}})
	if err != nil {
		panic(err)
	}
	text, err := exampleSigner().Sign(&wsticket.Claims{Subject: "ada"})
	if err != nil {
		panic(err)
	}
	var ticket wsticket.Ticket
	for range 2 {
		err := verifier.Redeem(context.Background(), wsticket.Request{Ticket: []byte(text)}, &ticket)
		fmt.Println(errors.Is(err, wsticket.ErrReplayed))
	}
	// Output:
	// false
	// true
}

// A connection that must not outlive the session of its user.
func ExampleTicket_Context() {
	text, err := exampleSigner().Sign(&wsticket.Claims{Subject: "ada", SessionExpires: time.Now().Add(time.Hour)})
	if err != nil {
		panic(err)
	}
	var ticket wsticket.Ticket
	if err := exampleVerifier().Redeem(context.Background(), wsticket.Request{Ticket: []byte(text)}, &ticket); err != nil {
		panic(err)
	}
	ctx, cancel := ticket.Context(context.Background())
	defer cancel()
	end, _ := ctx.Deadline()
	fmt.Println(time.Until(end).Round(time.Minute))
	// Output: 1h0m0s
}

// What the format leaves to the application travels as members of its own.
func ExampleTicket_Claim() {
	text, err := exampleSigner().Sign(&wsticket.Claims{
		Subject: "ada",
		Extra:   []wsticket.Member{{Name: "rooms", JSON: []byte(`[7,12]`)}},
	})
	if err != nil {
		panic(err)
	}
	var ticket wsticket.Ticket
	if err := exampleVerifier().Redeem(context.Background(), wsticket.Request{Ticket: []byte(text)}, &ticket); err != nil {
		panic(err)
	}
	rooms, ok := ticket.Claim("rooms")
	fmt.Println(string(rooms), ok)
	// Output: [7,12] true
}

func ExampleRedactURL() {
	fmt.Println(wsticket.RedactURL("/ws?room=7&ticket=eyJhbGciOi.eyJqdGkiOi.c2lnbmF0dX"))
	// Output: /ws?room=7&ticket=redacted
}

func ExampleCodeOf() {
	var ticket wsticket.Ticket
	err := exampleVerifier().Peek(wsticket.Request{Ticket: []byte("no ticket")}, &ticket)
	if code, ok := wsticket.CodeOf(err); ok {
		fmt.Println(code.Code(), code.Status(), code.Class())
	}
	// Output: malformed 401 invalid_ticket
}
