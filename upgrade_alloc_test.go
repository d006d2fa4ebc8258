package wsticket

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// replayConn is a memory connection that can be played again without allocating.
type replayConn struct {
	memConn
	whole bytes.Reader
}

func newReplayConn(head string, singly bool) *replayConn {
	c := &replayConn{memConn: *newMemConn(nil)}
	c.out = make([]byte, 0, 512)
	c.whole.Reset([]byte(head))
	c.in = &c.whole
	if singly {
		c.in = iotest.OneByteReader(&c.whole)
	}
	return c
}

func (c *replayConn) rewind() {
	c.whole.Seek(0, io.SeekStart)
	c.out = c.out[:0]
}

// An allocCase is one handshake that may be played again and again with the same
// outcome.
type allocCase struct {
	name string
	u    *Upgrader
	head string
	want error
	late bool // nothing comes before the deadline
}

// allocCases has every carrier, and every refusal there is a code for.
func allocCases(t testing.TB) []allocCase {
	t.Helper()
	now := time.Now()
	keys := benchKeyring(t, "HS256", 2)
	signer, err := NewSigner(SignerConfig{Keys: keys, MaxTTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	at := func(when time.Time, c Claims) string {
		c.Subject = "ada"
		ticket, err := signer.SignAt(when, &c)
		if err != nil {
			t.Fatal(err)
		}
		return ticket
	}
	mint := func(c Claims) string { return at(now, c) }
	cache := func(since time.Time) *ReplayCache {
		c, err := NewReplayCache(ReplayConfig{PeakPerSecond: 100, Since: since})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	gateway := func(alter func(*VerifierConfig, *UpgraderConfig)) *Upgrader {
		vc := VerifierConfig{Keys: keys, Replay: DangerouslyAllowReplay}
		uc := UpgraderConfig{
			Origins:   []string{"https://app.example"},
			Carriers:  CarrierQuery | CarrierSubprotocol | CarrierBearer | CarrierCookie,
			Protocols: []string{"app.v1", "app.v2"},
			OnRefuse:  func(Refusal) {},
			Authorize: func(context.Context, *Handshake) error { return nil },
		}
		if alter != nil {
			alter(&vc, &uc)
		}
		var err error
		if uc.Verifier, err = NewVerifier(vc); err != nil {
			t.Fatal(err)
		}
		u, err := NewUpgrader(uc)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	verifying := func(alter func(*VerifierConfig)) *Upgrader {
		return gateway(func(v *VerifierConfig, _ *UpgraderConfig) { alter(v) })
	}
	query := func(ticket string) string { return request("/?ticket=" + ticket) }
	plain, ticket := gateway(nil), mint(Claims{})

	long := now.Add(-time.Hour)
	spent := mint(Claims{})
	once := verifying(func(v *VerifierConfig) { v.Replay = cache(long) })
	if err := once.Upgrade(context.Background(), newMemConn([]byte(query(spent))), new(Handshake)); err != nil {
		t.Fatal(err)
	}
	// A cache in which the slot of ticket had its frame and lost it.
	lost := cache(long)
	exp := now.Unix() + int64(DefaultTTL/time.Second)
	for id, later := range []int64{0, 600} {
		if err := lost.Spend(context.Background(), Use{Identity: [16]byte{byte(id)}, Issued: now.Unix(), Expires: exp + later, Now: now.Unix() + later}); err != nil {
			t.Fatal(err)
		}
	}
	full := gateway(func(_ *VerifierConfig, u *UpgraderConfig) { u.MaxPending = 1 })
	full.pending.Store(1)

	cases := []allocCase{
		{"missing", plain, request("/"), ErrMissing, false},
		{"ambiguous", plain, request("/?ticket&ticket"), ErrAmbiguous, false},
		{"malformed", plain, query("a.b.c"), ErrMalformed, false},
		{"unknown_key", verifying(func(v *VerifierConfig) { v.Keys = testKeyring(t) }), query(ticket), ErrUnknownKey, false},
		{"bad_signature", plain, query(ticket[:len(ticket)-43] + strings.Repeat("A", 43)), ErrBadSignature, false},
		{"expired", plain, query(at(now.Add(-time.Minute), Claims{})), ErrExpired, false},
		{"not_yet_valid", plain, query(at(now.Add(time.Hour), Claims{})), ErrNotYetValid, false},
		{"ttl_too_long", plain, query(mint(Claims{TTL: time.Hour})), ErrTTLTooLong, false},
		{"issued_before_start", verifying(func(v *VerifierConfig) { v.Replay = cache(now.Add(time.Hour)) }), query(ticket), ErrIssuedBeforeStart, false},
		{"replayed", once, query(spent), ErrReplayed, false},
		{"audience", plain, query(mint(Claims{Audiences: []string{"other"}})), ErrAudience, false},
		{"issuer", verifying(func(v *VerifierConfig) { v.Issuers = []string{"mint"} }), query(ticket), ErrIssuer, false},
		{"scope", verifying(func(v *VerifierConfig) { v.RequireScopes = []string{"chat"} }), query(ticket), ErrScope, false},
		{"origin", plain, request("/?ticket="+ticket, "Origin: null"), ErrOrigin, false},
		{"path", plain, query(mint(Claims{Path: "/x"})), ErrPath, false},
		{"ip", plain, query(mint(Claims{IP: "198.51.100.0/24"})), ErrIP, false},
		{"unauthorized", gateway(func(_ *VerifierConfig, u *UpgraderConfig) {
			u.Authorize = func(context.Context, *Handshake) error { return ErrUnauthorized }
		}), query(ticket), ErrUnauthorized, false},
		{"replay_unavailable", verifying(func(v *VerifierConfig) { v.Replay = lost }), query(ticket), ErrReplayUnavailable, false},
		{"overloaded", full, query(ticket), ErrOverloaded, false},
		{"bad_handshake", plain, "POST / HTTP/1.1\r\n\r\n", ErrBadHandshake, false},
		{"bad_handshake, bad list", plain, request("/?ticket="+ticket, "Sec-WebSocket-Protocol: a b"), ErrBadHandshake, false},
		{"head_too_large", plain, padded(t, 17000, ticket), ErrHeadTooLarge, false},
		{"timeout", plain, "GET / HT", ErrTimeout, true},
		{"a long head", plain, padded(t, 16384, ticket), nil, false},
	}
	for _, c := range carried {
		cases = append(cases, allocCase{c.name, plain, c.head(ticket), nil, false})
	}
	tried := map[error]bool{}
	for _, c := range cases {
		tried[c.want] = true
	}
	for _, code := range Codes() {
		if !tried[code] {
			t.Errorf("no case for %s", code.Code())
		}
	}
	return cases
}

func TestUpgradeAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, c := range allocCases(t) {
		for _, singly := range []bool{false, true} {
			conn := newReplayConn(c.head, singly)
			if c.late {
				conn.in = io.MultiReader(conn.in, late{})
			}
			start := conn.in
			var h Handshake
			ctx := context.Background()
			if n := testing.AllocsPerRun(20, func() {
				conn.rewind()
				conn.in = start
				if err := c.u.Upgrade(ctx, conn, &h); err != c.want && !errors.Is(err, c.want) {
					t.Fatalf("%s: %v", c.name, err)
				}
			}); n != 0 {
				t.Errorf("%s, byte by byte %v: %v allocations", c.name, singly, n)
			}
		}
	}
}

// late is the read that the deadline ends.
type late struct{}

func (late) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

// On real sockets too: what is counted is the server's side alone, so the client
// writes from memory that is there.
func TestUpgradeAllocsTCP(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range allocCases(t) {
		if c.late {
			continue // waits for its deadline each time; see TestUpgradeAllocs
		}
		const runs = 20
		var servers []net.Conn
		for range runs + 1 {
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			io.WriteString(client, c.head)
			if c.want != nil { // or the drain would wait for the deadline
				client.(*net.TCPConn).CloseWrite()
			}
			server.SetDeadline(time.Now().Add(time.Minute)) // makes the timers that later deadlines set
			servers = append(servers, server)
		}
		var h Handshake
		i := 0
		if n := testing.AllocsPerRun(runs, func() {
			if err := c.u.Upgrade(context.Background(), servers[i], &h); err != c.want && !errors.Is(err, c.want) {
				t.Fatalf("%s: %v", c.name, err)
			}
			i++
		}); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}
