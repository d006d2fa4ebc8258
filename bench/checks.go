package bench

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	mathrand "math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwa"
	jwtv3 "github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/wsticket/wsticket"
)

const (
	audience = "wss://gw.example"
	keyID    = "bench-2026"
)

var (
	secret = bytes.Repeat([]byte("0123456789abcdef"), 2)
	claims = wsticket.Claims{Subject: "user-4711", Audiences: []string{audience}, SessionID: "s-1795219100"}
)

func keyring() (*wsticket.Keyring, error) { return wsticket.ParseKeyring(keyringFile()) }

func keyringFile() []byte {
	return fmt.Appendf(nil, `{"keys":[{"kty":"oct","kid":%q,"alg":"HS256","k":%q}]}`, keyID, base64.RawURLEncoding.EncodeToString(secret))
}

// A checker looks at a ticket: parse, MAC, exp and aud at least.
type checker struct {
	name, source string
	ours, floor  bool
	check        func(ticket, signed []byte) error // signed is what the MAC covers
}

// checks compares what it costs to look at a ticket. The contenders take turns of 256
// tickets, so that whatever else the machine does falls on all of them, and none is shown
// the tickets that the one before has just brought into the cache. Each begins its turn with
// some that do not count, since the one before has also put its own code into the cache, and
// with its garbage collected.
func checks(r *run) (*Section, error) {
	const pool, turn = 1 << 14, 256
	keys, err := keyring()
	if err != nil {
		return nil, err
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys, TTL: wsticket.DefaultMaxTTL})
	if err != nil {
		return nil, err
	}
	now := time.Now()
	tickets := make([][]byte, pool)
	for i := range tickets {
		if tickets[i], err = signer.AppendTicketAt(nil, now, &claims); err != nil {
			return nil, err
		}
	}
	mathrand.Shuffle(pool, func(i, j int) { tickets[i], tickets[j] = tickets[j], tickets[i] })
	signed := make([][]byte, pool)
	for i, ticket := range tickets {
		signed[i] = ticket[:bytes.LastIndexByte(ticket, '.')]
	}
	all, err := checkers(keys, now)
	if err != nil {
		return nil, err
	}
	s := &Section{
		Title: "Looking at a ticket",
		Asks:  "What does it cost to check signature, expiry and audience of one ticket of " + fmt.Sprint(len(tickets[0])) + " bytes? The floor is the HMAC alone, by the standard library.",
		Columns: []Column{
			{Name: "ns", Better: -1}, {Name: "× floor", Digits: 2, Better: -1}, {Name: "allocations", Better: -1},
		},
		Notes: []string{"wsticket checks the rest of its format too: types, duplicate members, lifetimes, key times. The pool has 16,384 tickets in random order."},
	}
	for _, c := range all {
		s.Rows = append(s.Rows, Row{Name: c.name, Source: c.source, Ours: c.ours, Floor: c.floor})
	}
	at := 0
	measure := func(c *checker, n int) (time.Duration, error) {
		start := time.Now()
		for i := range n {
			n := (at + i) & (pool - 1)
			if err := c.check(tickets[n], signed[n]); err != nil {
				return 0, fmt.Errorf("%s: %w", c.name, err)
			}
		}
		at += n
		return time.Since(start), nil
	}
	allocations := make([]float64, len(all))
	for i := range all {
		var before, after runtime.MemStats
		if _, err := measure(&all[i], turn); err != nil {
			return nil, err
		}
		runtime.ReadMemStats(&before)
		if _, err := measure(&all[i], turn); err != nil {
			return nil, err
		}
		runtime.ReadMemStats(&after)
		allocations[i] = float64((after.Mallocs - before.Mallocs) / turn)
	}
	turns := pick(r, 40, 400)
	for range pick(r, 5, 15) {
		times := make([][]float64, len(all))
		for range turns {
			if r.Err() != nil {
				return nil, r.Err()
			}
			for i := range all {
				runtime.GC()                                        // of the one before
				if _, err := measure(&all[i], turn/4); err != nil { // its code is in the cache again
					return nil, err
				}
				d, err := measure(&all[i], turn)
				if err != nil {
					return nil, err
				}
				times[i] = append(times[i], float64(d.Nanoseconds())/turn)
			}
		}
		floor := median(times[0])
		for i := range all {
			ns := median(times[i])
			s.Rows[i].add(ns, ns/floor, allocations[i])
		}
	}
	return s, nil
}

func checkers(keys *wsticket.Keyring, now time.Time) ([]checker, error) {
	const source = "../../bench/checks.go"
	v, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: wsticket.DangerouslyAllowReplay, Audiences: []string{audience}})
	if err != nil {
		return nil, err
	}
	var ticket wsticket.Ticket
	clock := func() time.Time { return now }
	secrets := map[string][]byte{keyID: secret}
	lookUp := func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		if secret, ok := secrets[kid]; ok {
			return secret, nil
		}
		return nil, errors.New("no such key")
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithAudience(audience), jwt.WithExpirationRequired(), jwt.WithTimeFunc(clock))
	return []checker{
		{"floor: crypto/hmac, pooled", source, false, true, hmacFloor()},
		{"wsticket.Verifier.Peek", source, true, false, func(text, _ []byte) error {
			return v.PeekAt(now, wsticket.Request{Ticket: text}, &ticket)
		}},
		{"golang-jwt v5", source, false, false, func(text, _ []byte) error {
			var c jwt.RegisteredClaims
			_, err := parser.ParseWithClaims(string(text), &c, lookUp)
			return err
		}},
		{"go-jose v4", source, false, false, func(text, _ []byte) error {
			token, err := josejwt.ParseSigned(string(text), []jose.SignatureAlgorithm{jose.HS256})
			if err != nil {
				return err
			}
			var c josejwt.Claims
			if err := token.Claims(secret, &c); err != nil {
				return err
			}
			return c.ValidateWithLeeway(josejwt.Expected{AnyAudience: josejwt.Audience{audience}, Time: now}, 0)
		}},
		{"jwx v3", source, false, false, func(text, _ []byte) error {
			_, err := jwtv3.Parse(text, jwtv3.WithKey(jwa.HS256(), secret), jwtv3.WithAudience(audience), jwtv3.WithRequiredClaim("exp"), jwtv3.WithClock(jwtv3.ClockFunc(clock)))
			return err
		}},
	}, nil
}

// hmacFloor computes the MAC and compares nothing: what no HMAC ticket can go below.
func hmacFloor() func(_, signed []byte) error {
	type state struct {
		hash.Hash
		sum [sha256.Size]byte
	}
	states := sync.Pool{New: func() any { return &state{Hash: hmac.New(sha256.New, secret)} }}
	return func(_, signed []byte) error {
		s := states.Get().(*state)
		s.Reset()
		s.Write(signed)
		s.Sum(s.sum[:0])
		states.Put(s)
		return nil
	}
}
