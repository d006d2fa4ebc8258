// Package wstickettest helps to test programs that embed wsticket: it mints and
// judges tickets at any time, in one line each, with keys of its own.
//
//	kit := wstickettest.New(t, wsticket.VerifierConfig{})
//	ticket := kit.Mint(now, wsticket.Claims{Subject: "ada"})
//	kit.Verdict(now, ticket)                    // "ok"
//	kit.Verdict(now, ticket)                    // "replayed"
//	kit.Verdict(now.Add(time.Minute), ticket)   // "expired"
package wstickettest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/internal/jwkset"
)

// A Kit is a keyring with the Signer and the Verifier that use it. It is safe
// for concurrent use.
type Kit struct {
	Keys     *wsticket.Keyring
	Signer   *wsticket.Signer
	Verifier *wsticket.Verifier

	tb testing.TB
}

// New makes a kit around config. Where config has none, Keys is a new key that
// nothing else knows and Replay is [NeverForget]. The Signer signs for the
// audiences and the first issuer of config.
func New(tb testing.TB, config wsticket.VerifierConfig) *Kit {
	tb.Helper()
	if config.Keys == nil {
		config.Keys = NewKeyring(tb)
	}
	if config.Replay == nil {
		config.Replay = NeverForget()
	}
	signing := wsticket.SignerConfig{Keys: config.Keys, MaxTTL: config.MaxTTL, Leeway: config.Leeway, Audiences: config.Audiences}
	if config.MaxTTL != 0 && config.MaxTTL < wsticket.DefaultTTL {
		signing.TTL = config.MaxTTL
	}
	if len(config.Issuers) > 0 {
		signing.Issuer = config.Issuers[0]
	}
	kit := &Kit{Keys: config.Keys, tb: tb}
	var err error
	if kit.Signer, err = wsticket.NewSigner(signing); err != nil {
		tb.Fatal(err)
	}
	if kit.Verifier, err = wsticket.NewVerifier(config); err != nil {
		tb.Fatal(err)
	}
	return kit
}

// Mint returns a ticket issued at now. Claims that cannot be signed fail the test.
func (k *Kit) Mint(now time.Time, claims wsticket.Claims) string {
	k.tb.Helper()
	ticket, err := k.Signer.SignAt(now, &claims)
	if err != nil {
		k.tb.Fatal(err)
	}
	return ticket
}

// Verdict redeems the ticket at now as a handshake without Origin, path and
// address would: "ok", or the refusal code. A ticket that is "ok" is spent.
func (k *Kit) Verdict(now time.Time, ticket string) string {
	return k.VerdictOn(now, wsticket.Request{Ticket: []byte(ticket)})
}

// VerdictOn is Verdict for a handshake that shows more.
func (k *Kit) VerdictOn(now time.Time, r wsticket.Request) string {
	var ticket wsticket.Ticket
	err := k.Verifier.RedeemAt(context.Background(), now, r, &ticket)
	if err == nil {
		return "ok"
	}
	if code, ok := wsticket.CodeOf(err); ok {
		return code.Code()
	}
	return err.Error()
}

// NewKeyring returns a keyring of one HS256 key that nothing else knows.
func NewKeyring(tb testing.TB) *wsticket.Keyring {
	tb.Helper()
	set, err := jwkset.Generate("HS256", "test", 0)
	if err != nil {
		tb.Fatal(err)
	}
	jwks, err := set.Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	keys, err := wsticket.ParseKeyring(jwks)
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

// Tamper returns the ticket with another letter in the middle of its MAC: of the
// right shape, and refused as bad_signature.
func Tamper(ticket string) string {
	at := strings.LastIndexByte(ticket, '.') + 10
	if at >= len(ticket) {
		return ticket + "A"
	}
	other := "A"
	if ticket[at] == 'A' {
		other = "B"
	}
	return ticket[:at] + other + ticket[at+1:]
}

// NeverForget returns a guard that remembers every ticket for ever, whatever
// clock it is asked by. Tests may move back and forth in time with it; its memory
// grows without bound, so it is for tests only.
func NeverForget() wsticket.ReplayGuard { return &neverForget{spent: make(map[[16]byte]bool)} }

type neverForget struct {
	mu    sync.Mutex
	spent map[[16]byte]bool
}

func (g *neverForget) Spend(_ context.Context, s wsticket.Use) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.spent[s.Identity] {
		return wsticket.ErrReplayed
	}
	g.spent[s.Identity] = true
	return nil
}

func (*neverForget) Covers() (maxTTL, leeway time.Duration) {
	const always = 1 << 62
	return always, always
}
