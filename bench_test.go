package wsticket

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsticket/wsticket/internal/jwkset"
)

// The pool: 16k distinct tickets in random order. A loop over one ticket
// flatters everything, because the branch predictors learn it by heart.
const poolSize = 1 << 14

var benchNow = time.Unix(1795219200, 0)

// benchKeyring has n keys; the last signs.
func benchKeyring(tb testing.TB, alg string, n int) *Keyring {
	tb.Helper()
	var keys []string
	for i := range n {
		one, err := jwkset.Generate(alg, fmt.Sprintf("2026-11-21-%03d", i), benchNow.Unix()-int64(n-i))
		if err != nil {
			tb.Fatal(err)
		}
		text, err := one.Marshal()
		if err != nil {
			tb.Fatal(err)
		}
		inner := strings.TrimSpace(string(text))
		inner = inner[strings.Index(inner, "[")+1 : strings.LastIndex(inner, "]")]
		keys = append(keys, inner)
	}
	keyring, err := ParseKeyring([]byte(`{"keys":[` + strings.Join(keys, ",") + `]}`))
	if err != nil {
		tb.Fatal(err)
	}
	return keyring
}

var benchClaims = Claims{Subject: "user-4711", Audiences: []string{"wss://gw.example"}, SessionID: "s-1795219100"}

// benchTickets signs a pool of ordinary tickets.
func benchTickets(tb testing.TB, keyring *Keyring) [][]byte {
	tb.Helper()
	return signedBy(tb, keyring, &benchClaims)
}

func benchVerifier(tb testing.TB, keyring *Keyring, guard ReplayGuard) *Verifier {
	tb.Helper()
	v, err := NewVerifier(VerifierConfig{Keys: keyring, Replay: guard, Audiences: []string{"wss://gw.example"}})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// respell returns the ticket with the same claims under another header.
func respell(tb testing.TB, keyring *Keyring, ticket []byte, header string) []byte {
	tb.Helper()
	k := keyring.state.inForce.Load().keys[0]
	header = strings.NewReplacer("ALG", k.mac.Alg().String(), "KID", k.id, "TYP", "ws-ticket+jwt").Replace(header)
	parts := strings.Split(string(ticket), ".")
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + parts[1]
	h := hmac.New(benchHashes[k.mac.Alg().String()], k.secret)
	h.Write([]byte(signed))
	return []byte(signed + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil)))
}

var flip = map[bool]string{true: "B", false: "A"}

var benchHashes = map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}

// BenchmarkFloor is the least that checking an HMAC ticket costs with the standard
// library: pooled crypto/hmac over the signing inputs of the same tickets.
func BenchmarkFloor(b *testing.B) {
	for _, alg := range []string{"HS256", "HS384", "HS512"} {
		b.Run("op=floor/pool=16k/alg="+alg, func(b *testing.B) { benchFloor(b, alg) })
	}
}

func benchFloor(b *testing.B, alg string) {
	keyring := benchKeyring(b, alg, 1)
	floor := newFloor(keyring, benchTickets(b, keyring))
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		floor(i)
		i++
	}
}

// newFloor returns the floor over the signing inputs of pool.
func newFloor(keyring *Keyring, pool [][]byte) func(i int) {
	inputs := make([][]byte, len(pool))
	for i, ticket := range pool {
		inputs[i] = ticket[:bytes.LastIndexByte(ticket, '.')]
	}
	type state struct {
		hash.Hash
		sum [64]byte
	}
	k := keyring.state.inForce.Load().keys[0]
	states := sync.Pool{New: func() any { return &state{Hash: hmac.New(benchHashes[k.mac.Alg().String()], k.secret)} }}
	return func(i int) {
		s := states.Get().(*state)
		s.Reset()
		s.Write(inputs[i&(poolSize-1)])
		s.Sum(s.sum[:0])
		states.Put(s)
	}
}

// BenchmarkRatio measures the budgets: each operation beside the floor, in turns
// of 256 so that whatever else the machine does falls on both, and each over
// tickets that the other has not just brought into the cache. It reports the ratio
// as x-floor.
func BenchmarkRatio(b *testing.B) {
	for _, alg := range []string{"HS256", "HS384", "HS512"} {
		keyring := benchKeyring(b, alg, 1)
		pool := benchTickets(b, keyring)
		floor := newFloor(keyring, pool)
		v := benchVerifier(b, keyring, DangerouslyAllowReplay)
		signer, err := NewSigner(SignerConfig{Keys: keyring})
		if err != nil {
			b.Fatal(err)
		}
		var t Ticket
		benchRatio(b, "op=peek/pool=16k/alg="+alg, floor, func(i int) {
			if err := v.PeekAt(benchNow, Request{Ticket: pool[i&(poolSize-1)]}, &t); err != nil {
				b.Fatal(err)
			}
		})
		dst := make([]byte, 0, MaxTicketLen)
		benchRatio(b, "op=append/pool=16k/alg="+alg, floor, func(int) {
			if _, err := signer.AppendTicketAt(dst, benchNow, &benchClaims); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func benchRatio(b *testing.B, name string, floor, op func(i int)) {
	b.Run(name, func(b *testing.B) {
		const turn = 256
		var floors, ops time.Duration
		i := 0
		for b.Loop() {
			start := time.Now()
			for k := range turn {
				floor(i + k)
			}
			middle := time.Now()
			for k := range turn {
				op(i + k + poolSize/2)
			}
			floors += middle.Sub(start)
			ops += time.Since(middle)
			i += turn
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(floors)/float64(i), "ns/floor")
		b.ReportMetric(float64(ops)/float64(i), "ns/one")
		b.ReportMetric(float64(ops)/float64(floors), "x-floor")
	})
}

// BenchmarkPeek is PeekAt: by algorithm, header spelling, number of keys and
// refusal.
func BenchmarkPeek(b *testing.B) {
	run := func(name string, keyring *Keyring, pool [][]byte, now time.Time, want error) {
		b.Run("op=peek/pool=16k/"+name, func(b *testing.B) {
			benchPeek(b, benchVerifier(b, keyring, DangerouslyAllowReplay), pool, now, want)
		})
	}
	for _, alg := range []string{"HS256", "HS384", "HS512"} {
		keyring := benchKeyring(b, alg, 1)
		run("alg="+alg, keyring, benchTickets(b, keyring), benchNow, nil)
	}
	for _, n := range []int{8, 64} {
		keyring := benchKeyring(b, "HS256", n)
		run(fmt.Sprintf("keys=%d", n), keyring, benchTickets(b, keyring), benchNow, nil)
	}
	keyring := benchKeyring(b, "HS256", 1)
	pool := benchTickets(b, keyring)
	spelled := func(header string) [][]byte {
		other := make([][]byte, len(pool))
		for i := range pool {
			other[i] = respell(b, keyring, pool[i], header)
		}
		return other
	}
	run("header=typ-kid-alg", keyring, spelled(headerOrders[5]), benchNow, nil)
	run("header=spaced", keyring, spelled(`{"alg": "ALG", "kid": "KID", "typ": "TYP"}`), benchNow, nil)

	run("refused=expired", keyring, pool, benchNow.Add(time.Minute), ErrExpired)
	run("refused=not_yet_valid", keyring, pool, benchNow.Add(-time.Minute), ErrNotYetValid)
	changed := func(change func([]byte)) [][]byte {
		other := make([][]byte, len(pool))
		for i := range pool {
			other[i] = append([]byte(nil), pool[i]...)
			change(other[i])
		}
		return other
	}
	run("refused=bad_signature", keyring, changed(func(t []byte) { copy(t[len(t)-10:], flip[t[len(t)-10] == 'A']) }), benchNow, ErrBadSignature)
	run("refused=malformed", keyring, changed(func(t []byte) { t[len(t)-10] = '=' }), benchNow, ErrMalformed)
	run("refused=unknown_key", benchKeyring(b, "HS256", 2), spelled(`{"alg":"ALG","kid":"somebody-else","typ":"TYP"}`), benchNow, ErrUnknownKey)
	run("refused=ttl_too_long", keyring, signedBy(b, keyring, &Claims{Subject: "user-4711", Audiences: benchClaims.Audiences, TTL: time.Hour}), benchNow, ErrTTLTooLong)
	run("refused=audience", keyring, signedBy(b, keyring, &Claims{Subject: "user-4711", Audiences: []string{"another"}}), benchNow, ErrAudience)
	bound := Claims{Subject: "user-4711", Audiences: benchClaims.Audiences}
	for code, bind := range map[Error]func(*Claims){
		ErrOrigin: func(c *Claims) { c.Origin = "https://app.example" },
		ErrPath:   func(c *Claims) { c.Path = "/rooms/*" },
		ErrIP:     func(c *Claims) { c.IP = "192.0.2.0/24" },
	} {
		c := bound
		bind(&c)
		run("refused="+code.Code(), keyring, signedBy(b, keyring, &c), benchNow, code)
	}
	for code, require := range map[Error]func(*VerifierConfig){
		ErrIssuer: func(c *VerifierConfig) { c.Issuers = []string{"mint"} },
		ErrScope:  func(c *VerifierConfig) { c.RequireScopes = []string{"chat"} },
	} {
		b.Run("op=peek/pool=16k/refused="+code.Code(), func(b *testing.B) {
			config := VerifierConfig{Keys: keyring, Replay: DangerouslyAllowReplay, Audiences: benchClaims.Audiences}
			require(&config)
			v, err := NewVerifier(config)
			if err != nil {
				b.Fatal(err)
			}
			benchPeek(b, v, pool, benchNow, code)
		})
	}
}

// signedBy signs a pool of tickets with claims of its own.
func signedBy(tb testing.TB, keyring *Keyring, claims *Claims) [][]byte {
	tb.Helper()
	signer, err := NewSigner(SignerConfig{Keys: keyring, MaxTTL: time.Hour})
	if err != nil {
		tb.Fatal(err)
	}
	pool := make([][]byte, poolSize)
	for i := range pool {
		if pool[i], err = signer.AppendTicketAt(nil, benchNow, claims); err != nil {
			tb.Fatal(err)
		}
	}
	rand.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
	return pool
}

func benchPeek(b *testing.B, v *Verifier, pool [][]byte, now time.Time, want error) {
	var t Ticket
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if err := v.PeekAt(now, Request{Ticket: pool[i&(poolSize-1)]}, &t); err != want && codeOf(err) != want {
			b.Fatalf("got %v, want %v", err, want)
		}
		i++
	}
}

// BenchmarkRedeem verifies and spends. Each round of the pool lies one TTL later
// on the cache's clock, so that every ticket is fresh: the guard in between
// moves the clock and changes nothing else.
func BenchmarkRedeem(b *testing.B) {
	keyring := benchKeyring(b, "HS256", 1)
	pool := benchTickets(b, keyring)
	run := func(name string, want error) {
		b.Run("op=redeem/pool=16k/"+name, func(b *testing.B) {
			cache, err := NewReplayCache(ReplayConfig{PeakPerSecond: 100_000, Since: benchNow.Add(-time.Minute)})
			if err != nil {
				b.Fatal(err)
			}
			guard := &shifted{cache: cache}
			v := benchVerifier(b, keyring, guard)
			var t Ticket
			ctx := context.Background()
			i := 0
			b.ReportAllocs()
			if want != nil {
				for _, ticket := range pool {
					if err := v.RedeemAt(ctx, benchNow, Request{Ticket: ticket}, &t); err != nil {
						b.Fatal(err)
					}
				}
			}
			for b.Loop() {
				if want == nil {
					guard.by = int64(i >> 14)
				}
				if err := v.RedeemAt(ctx, benchNow, Request{Ticket: pool[i&(poolSize-1)]}, &t); err != want {
					b.Fatalf("got %v, want %v", err, want)
				}
				i++
			}
		})
	}
	run("accepted", nil)
	run("refused=replayed", ErrReplayed)
}

type shifted struct {
	cache *ReplayCache
	by    int64
}

func (g *shifted) Spend(ctx context.Context, s Use) error {
	s.Issued, s.Expires, s.Now = s.Issued+g.by, s.Expires+g.by, s.Now+g.by
	return g.cache.Spend(ctx, s)
}

func (g *shifted) Covers() (maxTTL, leeway time.Duration) { return g.cache.Covers() }

// BenchmarkAppendTicket signs, the random nonce included.
func BenchmarkAppendTicket(b *testing.B) {
	for _, alg := range []string{"HS256", "HS384", "HS512"} {
		b.Run("op=append/alg="+alg, func(b *testing.B) {
			signer, err := NewSigner(SignerConfig{Keys: benchKeyring(b, alg, 1)})
			if err != nil {
				b.Fatal(err)
			}
			dst := make([]byte, 0, MaxTicketLen)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := signer.AppendTicketAt(dst, benchNow, &benchClaims); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
