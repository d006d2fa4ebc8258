//go:build unix

package interop

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"hash"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwa"
	jwtv3 "github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/wsticket/wsticket"
)

// BenchmarkPeers looks at a ticket with each library: parse, verify, exp and aud,
// beside PeekAt, which checks all the rest too. In turns with the floor, pooled
// crypto/hmac over the same signing inputs, like BenchmarkRatio of the module.
func BenchmarkPeers(b *testing.B) {
	const poolSize = 1 << 14
	k := newSecretKey(b, "HS256")
	k.secret = k.secret[:32]
	signer := k.signer(b)
	pool := make([][]byte, poolSize)
	for i := range pool {
		var err error
		if pool[i], err = signer.AppendTicketAt(nil, now, &loadClaims); err != nil {
			b.Fatal(err)
		}
	}
	rand.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })

	type state struct {
		hash.Hash
		sum [sha256.Size]byte
	}
	states := sync.Pool{New: func() any { return &state{Hash: hmac.New(sha256.New, k.secret)} }}
	floor := func(ticket []byte) error {
		s := states.Get().(*state)
		s.Reset()
		s.Write(ticket[:bytes.LastIndexByte(ticket, '.')])
		s.Sum(s.sum[:0])
		states.Put(s)
		return nil
	}

	v, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: k.keyring(b), Replay: wsticket.DangerouslyAllowReplay, Audiences: []string{"wss://gw.example"}})
	if err != nil {
		b.Fatal(err)
	}
	var ticket wsticket.Ticket
	clock := func() time.Time { return now }
	keys := map[string][]byte{k.id: k.secret}
	lookUp := func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		if secret, ok := keys[kid]; ok {
			return secret, nil
		}
		return nil, errors.New("no such key")
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithAudience("wss://gw.example"), jwt.WithExpirationRequired(), jwt.WithTimeFunc(clock))
	for _, c := range []struct {
		name string
		op   func(ticket []byte) error
	}{
		{"wsticket", func(text []byte) error {
			return v.PeekAt(now, wsticket.Request{Ticket: text}, &ticket)
		}},
		{"golang-jwt", func(text []byte) error {
			var claims jwt.RegisteredClaims
			_, err := parser.ParseWithClaims(string(text), &claims, lookUp)
			return err
		}},
		{"go-jose", func(text []byte) error {
			token, err := josejwt.ParseSigned(string(text), []jose.SignatureAlgorithm{jose.HS256})
			if err != nil {
				return err
			}
			var claims josejwt.Claims
			if err := token.Claims(keys[token.Headers[0].KeyID], &claims); err != nil {
				return err
			}
			return claims.ValidateWithLeeway(josejwt.Expected{AnyAudience: josejwt.Audience{"wss://gw.example"}, Time: now}, 0)
		}},
		{"jwx-v3", func(text []byte) error {
			_, err := jwtv3.Parse(text, jwtv3.WithKey(jwa.HS256(), k.secret), jwtv3.WithAudience("wss://gw.example"), jwtv3.WithClock(jwtv3.ClockFunc(clock)))
			return err
		}},
	} {
		b.Run("op=verify/pool=16k/alg=HS256/by="+c.name, func(b *testing.B) {
			const turn = 256
			var floors, ops time.Duration
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			i := 0
			for b.Loop() {
				start := time.Now()
				for n := range turn {
					floor(pool[(i+n)%poolSize])
				}
				middle := time.Now()
				for n := range turn {
					if err := c.op(pool[(i+n)%poolSize]); err != nil {
						b.Fatal(err)
					}
				}
				floors += middle.Sub(start)
				ops += time.Since(middle)
				i += turn
			}
			runtime.ReadMemStats(&after)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(floors.Nanoseconds())/float64(i), "ns/floor")
			b.ReportMetric(float64(ops.Nanoseconds())/float64(i), "ns/one")
			b.ReportMetric(float64(ops)/float64(floors), "x-floor")
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(i), "allocs/one")
		})
	}
}
