// Command gateway is what the tests of the client connect to: a MintHandler, a Gate
// with an echo behind it, pages, and switches that break each of them on request.
// It prints the code of each refusal on standard error, so that a test can count
// them over restarts.
//
//	gateway -keys keys.json -listen 127.0.0.1:0 [-fresh] [-files DIR] [-origin URL]
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/client"
)

func main() {
	log.SetFlags(0)
	listen := flag.String("listen", "127.0.0.1:0", "listen on `ADDRESS`")
	keys := flag.String("keys", "", "read the keyring from `FILE`")
	files := flag.String("files", "", "serve the pages of `DIR`")
	fresh := flag.Bool("fresh", false, "nobody has used tickets of these keys before this start")
	ttl := flag.Duration("ttl", wsticket.DefaultTTL, "tickets live for `TIME`")
	var origins []string
	flag.Func("origin", "let pages of `ORIGIN` connect and mint; repeatable", func(o string) error {
		origins = append(origins, o)
		return nil
	})
	flag.Parse()
	if err := run(*listen, *keys, *files, *fresh, *ttl, origins); err != nil {
		log.Fatal(err)
	}
}

func run(listen, keyfile, files string, fresh bool, ttl time.Duration, origins []string) error {
	keys, err := wsticket.LoadKeyring(keyfile)
	if err != nil {
		return err
	}
	var since time.Time
	if fresh {
		since = time.Unix(0, 0)
	}
	replay, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 5000, Since: since})
	if err != nil {
		return err
	}
	s := &server{conns: map[*conn]bool{}}
	if err := s.build(keys, replay, ttl, origins); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /control", s.control)
	mux.HandleFunc("GET /stats", s.stats)
	mux.Handle("GET /wsticket.js", client.Handler())
	mux.HandleFunc("/ticket", s.ticket)
	mux.HandleFunc("/ws", s.handshake)
	if files != "" {
		mux.Handle("/", http.FileServer(http.Dir(files)))
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Println("listening on http://" + listener.Addr().String())
	return (&http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}).Serve(listener)
}

func (s *server) build(keys *wsticket.Keyring, replay wsticket.ReplayGuard, ttl time.Duration, origins []string) error {
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys, TTL: ttl})
	if err != nil {
		return err
	}
	s.mint, err = wsticket.NewMintHandler(wsticket.MintConfig{
		Signer:  signer,
		Origins: origins,
		Authenticate: func(r *http.Request) (*wsticket.Claims, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			claims := &wsticket.Claims{Subject: "ada"}
			if s.session > 0 {
				claims.SessionExpires = time.Now().Add(s.session)
			}
			return claims, nil
		},
	})
	if err != nil {
		return err
	}
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: replay})
	if err != nil {
		return err
	}
	s.gate, err = wsticket.NewGate(wsticket.GateConfig{
		Verifier:  verifier,
		Origins:   origins,
		Protocols: protocols,
		OnRefuse: func(_ *http.Request, r wsticket.Refusal) {
			fmt.Fprintln(os.Stderr, "refused", r.Code.Code())
		},
	})
	if err != nil {
		return err
	}
	s.behind = s.gate.Wrap(http.HandlerFunc(s.connect))
	return nil
}

// ticket is the mint, unless it is to fail.
func (s *server) ticket(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.mints++
	s.mu.Unlock()
	f, failing := s.fault("mint")
	if !failing {
		s.mint.ServeHTTP(w, r)
		return
	}
	if f.Slow > 0 {
		s.wait(r.Context(), f.Slow)
	}
	switch {
	case f.Hang:
		<-r.Context().Done()
	case f.Drop:
		drop(w)
	case f.Same: // one ticket for all who ask
		s.mu.Lock()
		if s.same == nil {
			recorded := &recorder{header: http.Header{}}
			s.mu.Unlock()
			s.mint.ServeHTTP(recorded, r)
			s.mu.Lock()
			s.same = recorded.body
		}
		body := s.same
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	case f.Status != 0:
		if f.RetryAfter != "" {
			w.Header().Set("Retry-After", f.RetryAfter)
		}
		w.WriteHeader(f.Status)
	default:
		s.mint.ServeHTTP(w, r)
	}
}

// handshake is the gateway, unless it is to fail before it has looked at the ticket.
func (s *server) handshake(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.handshakes++
	s.mu.Unlock()
	if f, failing := s.fault("gate"); failing {
		switch {
		case f.Slow > 0:
			s.wait(r.Context(), f.Slow)
		case f.Hang:
			<-r.Context().Done()
			return
		case f.Drop:
			drop(w)
			return
		case f.Status != 0:
			w.WriteHeader(f.Status)
			return
		}
	}
	s.behind.ServeHTTP(w, r)
}

func (s *server) wait(ctx context.Context, ms int) {
	timer := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// drop ends the connection without an answer.
func drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		log.Print(err)
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) // with a reset
	}
	conn.Close()
}

// A recorder keeps an answer that is to be given more than once.
type recorder struct {
	header http.Header
	body   []byte
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(int)     {}
func (r *recorder) Write(b []byte) (int, error) {
	r.body = append(r.body, b...)
	return len(b), nil
}

func (s *server) stats(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := map[string]any{
		"verdicts":   s.gate.Stats().Map(),
		"mints":      s.mints,
		"handshakes": s.handshakes,
		"opened":     s.opened,
		"live":       len(s.conns),
		"clients":    s.clients(),
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		log.Print(err)
	}
}

// control switches faults on and off, and ends connections:
//
//	POST /control?of=mint&status=401&times=2
//	POST /control?of=gate&status=503        before it has looked at the ticket
//	POST /control?of=accepted&close=3000    101 and a close frame at once
//	POST /control?end=1001, or end=reset
//	POST /control?session=20s
//	POST /control?off=mint
func (s *server) control(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	number := func(name string) int {
		n, _ := strconv.Atoi(q.Get(name))
		return n
	}
	s.mu.Lock()
	if s.faults == nil {
		s.faults = map[string]*fault{}
	}
	if of := q.Get("of"); of != "" {
		times := number("times")
		if times == 0 {
			times = -1 // until it is switched off
		}
		s.faults[of] = &fault{
			Status: number("status"), Close: number("close"), RetryAfter: q.Get("retry-after"), Slow: number("slow"),
			Hang: q.Has("hang"), Drop: q.Has("drop"), Same: q.Has("same"), Times: times,
		}
	}
	if off := q.Get("off"); off != "" {
		delete(s.faults, off)
	}
	if q.Has("session") {
		s.session, _ = time.ParseDuration(q.Get("session"))
	}
	s.mu.Unlock()
	if end := q.Get("end"); end != "" {
		code, _ := strconv.Atoi(end) // 0 for "reset"
		s.endAll(code)
	}
}
