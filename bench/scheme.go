package bench

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"
	"github.com/redis/rueidis"
	_ "modernc.org/sqlite"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/redisguard"
)

// A scheme is a way to let a WebSocket in by a ticket, set up as its own documentation
// has it and for speed where it gives the choice.
type scheme struct {
	name   string
	ours   bool
	floor  bool
	redis  bool // it needs a Redis
	start  func(c schemeConfig) (*running, error)
	source string
}

// A schemeConfig is where a scheme finds what it needs.
type schemeConfig struct {
	Redis, Dir string
	Arguments  []string // of a program
}

// running is a scheme at work.
type running struct {
	mint  func() (string, error)
	mints http.Handler // as an endpoint; nil where it has none
	serve func(net.Listener) error
	// A program listens by itself, and tells where.
	listens func(ready func(addr string)) error
}

const schemeSource = "../../bench/scheme.go"

var schemes = []scheme{
	{name: "floor: a 101 without a look", floor: true, start: bare, source: schemeSource},
	{name: "wsticket.Upgrader", ours: true, start: upgraderAlone, source: schemeSource},
	{name: "wsticket.Gate, gorilla/websocket", ours: true, start: gateGorilla, source: schemeSource},
	{name: "wsticket.Upgrader, redisguard", ours: true, redis: true, start: upgraderRedis, source: schemeSource},
	{name: "gobwas/ws, golang-jwt", start: gobwasJWT, source: schemeSource},
	{name: "gorilla/websocket, golang-jwt", start: gorillaJWT, source: schemeSource},
	{name: "gorilla/websocket, UUID in Redis", redis: true, start: gorillaRedis, source: schemeSource},
	{name: "gorilla/websocket, UUID in SQLite", start: gorillaSQLite, source: schemeSource},
}

// accept serves raw connections: those that are upgraded are handed to then.
func accept(upgrade func(net.Conn) error, then func(net.Conn)) func(net.Listener) error {
	return func(l net.Listener) error {
		for {
			conn, err := l.Accept()
			if err != nil {
				return err
			}
			go func() {
				defer conn.Close()
				if upgrade(conn) == nil {
					then(conn)
				}
			}()
		}
	}
}

// idle waits until the client leaves.
func idle(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) }

// serveHTTP serves a handler that upgrades.
func serveHTTP(h http.HandlerFunc) func(net.Listener) error {
	return func(l net.Listener) error {
		server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
		return server.Serve(l)
	}
}

func bare(schemeConfig) (*running, error) {
	return &running{
		mint:  func() (string, error) { return "none", nil },
		serve: accept(blind(), idle),
	}, nil
}

// blind answers whatever comes with 101.
func blind() func(net.Conn) error {
	buffers := sync.Pool{New: func() any { return new([4096]byte) }}
	return func(conn net.Conn) error {
		buf := buffers.Get().(*[4096]byte)
		defer buffers.Put(buf)
		for n := 0; n < 4 || string(buf[n-4:n]) != "\r\n\r\n"; {
			m, err := conn.Read(buf[n:])
			if err != nil {
				return err
			}
			n += m
		}
		_, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		return err
	}
}

// ticketed are the parts of every scheme of ours.
func ticketed(guard wsticket.ReplayGuard) (*running, *wsticket.Verifier, error) {
	keys, err := keyring()
	if err != nil {
		return nil, nil, err
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys, TTL: wsticket.DefaultMaxTTL, Audiences: []string{audience}})
	if err != nil {
		return nil, nil, err
	}
	if guard == nil {
		if guard, err = wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 30_000, Since: time.Unix(0, 0)}); err != nil {
			return nil, nil, err
		}
	}
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: guard, Audiences: []string{audience}})
	if err != nil {
		return nil, nil, err
	}
	mints, err := wsticket.NewMintHandler(wsticket.MintConfig{
		Signer:       signer,
		Authenticate: func(*http.Request) (*wsticket.Claims, error) { return &claims, nil },
	})
	if err != nil {
		return nil, nil, err
	}
	return &running{mint: func() (string, error) { return signer.Sign(&claims) }, mints: mints}, verifier, nil
}

func upgraderAlone(schemeConfig) (*running, error) { return upgrader(nil) }

func upgraderRedis(c schemeConfig) (*running, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	guard, err := redisguard.New(ctx, redisguard.Config{URL: "redis://" + c.Redis})
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Until(guard.ReadyAt()))
	return upgrader(guard)
}

func upgrader(guard wsticket.ReplayGuard) (*running, error) {
	s, verifier, err := ticketed(guard)
	if err != nil {
		return nil, err
	}
	u, err := wsticket.NewUpgrader(wsticket.UpgraderConfig{Verifier: verifier})
	if err != nil {
		return nil, err
	}
	pool := sync.Pool{New: func() any { return new(wsticket.Handshake) }}
	s.serve = accept(func(conn net.Conn) error {
		h := pool.Get().(*wsticket.Handshake)
		defer pool.Put(h)
		defer h.Reset()
		return u.Upgrade(context.Background(), conn, h)
	}, idle)
	return s, nil
}

// gorilla upgrades who let says may come in, and waits until they leave.
func gorilla(let func(*http.Request) bool) http.HandlerFunc {
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	return func(w http.ResponseWriter, r *http.Request) {
		if !let(r) {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		conn, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		_, _, _ = conn.ReadMessage()
	}
}

func gateGorilla(schemeConfig) (*running, error) {
	s, verifier, err := ticketed(nil)
	if err != nil {
		return nil, err
	}
	gate, err := wsticket.NewGate(wsticket.GateConfig{Verifier: verifier})
	if err != nil {
		return nil, err
	}
	s.serve = serveHTTP(gate.Wrap(gorilla(func(*http.Request) bool { return true })).ServeHTTP)
	return s, nil
}

// A jwtScheme is golang-jwt with one parser and typed claims. It does not know whether a
// ticket was used before.
type jwtScheme struct{ parser *jwt.Parser }

func newJWT() *jwtScheme {
	return &jwtScheme{jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithAudience(audience), jwt.WithExpirationRequired())}
}

func (*jwtScheme) mint() (string, error) {
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		ID: rand.Text(), Subject: claims.Subject, Audience: jwt.ClaimStrings{audience},
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(wsticket.DefaultMaxTTL)),
	})
	return t.SignedString(secret)
}

func (s *jwtScheme) good(token string) bool {
	var c jwt.RegisteredClaims
	_, err := s.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return secret, nil })
	return err == nil
}

// upgrader is gobwas's, which looks at the query.
func (s *jwtScheme) upgrader() *ws.Upgrader {
	return &ws.Upgrader{OnRequest: func(uri []byte) error {
		u, err := url.ParseRequestURI(string(uri))
		if err == nil && s.good(u.Query().Get("ticket")) {
			return nil
		}
		return ws.RejectConnectionError(ws.RejectionStatus(http.StatusUnauthorized))
	}}
}

func gobwasJWT(schemeConfig) (*running, error) {
	s := newJWT()
	up := s.upgrader()
	return &running{mint: s.mint, mints: endpoint(s.mint), serve: accept(func(conn net.Conn) error { _, err := up.Upgrade(conn); return err }, idle)}, nil
}

func gorillaJWT(schemeConfig) (*running, error) {
	s := newJWT()
	return &running{mint: s.mint, mints: endpoint(s.mint),
		serve: serveHTTP(gorilla(func(r *http.Request) bool { return s.good(r.URL.Query().Get("ticket")) }))}, nil
}

// endpoint answers with a ticket as JSON.
func endpoint(mint func() (string, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ticket, err := mint()
		if err != nil {
			http.Error(w, "no ticket", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		fmt.Fprintf(w, `{"ticket":%q}`, ticket)
	})
}

// newUUID is one of version 4.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// gorillaRedis is the scheme that is found most: a ticket is a UUID in a cache, which the
// handshake reads, and then deletes.
func gorillaRedis(c schemeConfig) (*running, error) {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{c.Redis}, DisableCache: true})
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	mint := func() (string, error) {
		id := newUUID()
		return id, client.Do(ctx, client.B().Set().Key("ticket:"+id).Value(claims.Subject).Ex(wsticket.DefaultMaxTTL).Build()).Error()
	}
	return &running{mint: mint, mints: endpoint(mint), serve: serveHTTP(gorilla(func(r *http.Request) bool {
		key := "ticket:" + r.URL.Query().Get("ticket")
		user, err := client.Do(ctx, client.B().Get().Key(key).Build()).ToString()
		if err != nil || user == "" {
			return false
		}
		return client.Do(ctx, client.B().Del().Key(key).Build()).Error() == nil
	}))}, nil
}

// gorillaSQLite is the same with a table: read the row, then delete it. SQLite writes
// ahead and does not wait for the disk.
func gorillaSQLite(c schemeConfig) (*running, error) {
	db, err := sql.Open("sqlite", "file:"+c.Dir+"/tickets.db?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS tickets (id TEXT PRIMARY KEY, subject TEXT NOT NULL, expires INTEGER NOT NULL)"); err != nil {
		return nil, err
	}
	statements := make([]*sql.Stmt, 3)
	for i, text := range []string{
		"INSERT INTO tickets VALUES (?, ?, ?)",
		"SELECT subject FROM tickets WHERE id = ? AND expires > ?",
		"DELETE FROM tickets WHERE id = ?",
	} {
		if statements[i], err = db.Prepare(text); err != nil {
			return nil, err
		}
	}
	mint := func() (string, error) {
		id := newUUID()
		_, err := statements[0].Exec(id, claims.Subject, time.Now().Add(wsticket.DefaultMaxTTL).Unix())
		return id, err
	}
	return &running{mint: mint, mints: endpoint(mint), serve: serveHTTP(gorilla(func(r *http.Request) bool {
		id := r.URL.Query().Get("ticket")
		var subject string
		if err := statements[1].QueryRow(id, time.Now().Unix()).Scan(&subject); err != nil {
			return false
		}
		_, err := statements[2].Exec(id)
		return err == nil
	}))}, nil
}

// schemeOf finds a scheme by its name.
func schemeOf(name string) (*scheme, error) {
	for _, all := range [][]scheme{schemes, fronts} {
		for i := range all {
			if all[i].name == name {
				return &all[i], nil
			}
		}
	}
	return nil, errors.New("no scheme " + strings.TrimSpace(name))
}
