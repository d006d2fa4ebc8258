package wsticket

import (
	"bytes"
	"context"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wsticket/wsticket/internal/b64"
	"github.com/wsticket/wsticket/internal/claims"
	"github.com/wsticket/wsticket/internal/mac"
)

// A VerifierConfig says which tickets a [Verifier] takes.
type VerifierConfig struct {
	// Keys verify. Required.
	Keys *Keyring

	// Replay sees to it that a ticket is accepted once: a *[ReplayCache] for the
	// tickets of this process, or another guard. Required; to do without on
	// purpose, give [DangerouslyAllowReplay].
	Replay ReplayGuard

	// Audiences are the names of this verifier. A ticket must name one of them in aud.
	// If there are none here, a ticket that names any audience is refused.
	Audiences []string

	// SoleAudience is a name that this verifier has and no other one. A ticket must
	// name it in aud, and nothing beside it, so that no other node takes the ticket
	// too. That is single use over many nodes without a store, where the minter picks
	// the node. Give it in place of Audiences.
	SoleAudience string

	// Issuers that are trusted. With some here, a ticket must name one of them.
	Issuers []string

	// RequireScopes must all be listed in the ticket's scope.
	RequireScopes []string

	// MaxTTL bounds exp - iat, in whole seconds. 0 means 60 s.
	MaxTTL time.Duration

	// Leeway is what clocks may differ by, in whole seconds. 0 means 2 s; give
	// NoLeeway for none.
	Leeway time.Duration

	// MaxLen lowers the longest ticket in bytes. 0 means MaxTicketLen.
	MaxLen int
}

// A Request is what the handshake showed. An empty field means that it showed
// none, and a ticket that is bound to it is refused. The Verifier reads the
// slices during the call only.
type Request struct {
	Ticket []byte     // nil means that there was none
	Origin []byte     // the Origin header
	Path   []byte     // of the request target, still percent-encoded, without the query
	Addr   netip.Addr // the peer's

	atGateway bool // a Finder made it: the rule of gateways about paths counts
}

const redactedRequest = "wsticket.Request(redacted)"

// String says that the request is not shown: it holds a ticket.
func (r Request) String() string { return redactedRequest }

// Format redacts the request under every verb.
func (r Request) Format(f fmt.State, _ rune) { f.Write([]byte(redactedRequest)) }

// LogValue redacts the request in slog.
func (r Request) LogValue() slog.Value { return slog.StringValue(redactedRequest) }

// MarshalText redacts the request in JSON and in every other encoding of text.
func (r Request) MarshalText() ([]byte, error) { return []byte(redactedRequest), nil }

// A Verifier checks tickets. It is safe for concurrent use. It does not allocate,
// except for its working memory: that comes from a pool, which the garbage collector
// empties now and then.
type Verifier struct {
	keys           *keyringState
	replay         ReplayGuard
	audiences      []string
	sole           bool // audiences is one, and a ticket may name no other beside it
	issuers        []string
	scopes         []string
	maxTTL, leeway int64
	maxLen         int
}

// NewVerifier checks the configuration and reports all its faults at once.
func NewVerifier(config VerifierConfig) (*Verifier, error) {
	var f faults
	v := &Verifier{
		replay:    config.Replay,
		audiences: slices.Clone(config.Audiences),
		issuers:   slices.Clone(config.Issuers),
		scopes:    slices.Clone(config.RequireScopes),
		maxTTL:    f.maxTTL(config.MaxTTL),
		leeway:    f.leeway(config.Leeway),
		maxLen:    config.MaxLen,
	}
	if config.Keys == nil || config.Keys.state == nil {
		f.addf("Keys is nil; give a Keyring from ParseKeyring or LoadKeyring")
	} else {
		v.keys = config.Keys.state
	}
	if cache, isCache := config.Replay.(*ReplayCache); config.Replay == nil || isCache && cache == nil {
		f.addf("Replay is nil; give a ReplayCache, or DangerouslyAllowReplay in development")
	} else if maxTTL, leeway := config.Replay.Covers(); maxTTL < seconds(v.maxTTL) || leeway < seconds(v.leeway) {
		f.addf("Replay covers a MaxTTL of %v and a Leeway of %v, less than the verifier's %v and %v; give the guard at least these", maxTTL, leeway, seconds(v.maxTTL), seconds(v.leeway))
	}
	if slices.Contains(config.Audiences, "") {
		f.addf("Audiences holds an empty string; take it out")
	}
	if config.SoleAudience != "" {
		if len(config.Audiences) > 0 {
			f.addf("both Audiences and SoleAudience are given; give one of them")
		}
		v.audiences, v.sole = []string{config.SoleAudience}, true
	}
	if slices.Contains(config.Issuers, "") {
		f.addf("Issuers holds an empty string; take it out")
	}
	for _, scope := range config.RequireScopes {
		if scope == "" || strings.Contains(scope, " ") {
			f.addf("RequireScopes holds %q; give one scope an element, without spaces", scope)
		}
	}
	switch {
	case v.maxLen == 0:
		v.maxLen = MaxTicketLen
	case v.maxLen < 0 || v.maxLen > MaxTicketLen:
		f.addf("MaxLen is %d; give 1 to %d, or 0 for %d", v.maxLen, MaxTicketLen, MaxTicketLen)
	}
	if err := f.err("verifier"); err != nil {
		return nil, err
	}
	return v, nil
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

// Redeem checks everything and spends the ticket. It returns nil once for each ticket;
// the ticket is then in t. The error is a refusal: [CodeOf] tells its code, [ReasonOf]
// the rule that was broken, and [Verifier.Explain] the values too. It shows nothing of
// the ticket and may be kept. The guard gets ctx.
func (v *Verifier) Redeem(ctx context.Context, r Request, t *Ticket) error {
	return v.RedeemAt(ctx, time.Now(), r, t)
}

// RedeemAt is Redeem at a given time.
func (v *Verifier) RedeemAt(ctx context.Context, now time.Time, r Request, t *Ticket) error {
	err := v.judge(now.Unix(), &r, t)
	if err == nil {
		err = v.spend(ctx, now.Unix(), t)
	}
	if err != nil {
		t.reset()
	}
	return err
}

// Peek checks everything but single use. A ticket that passes may have been used
// before. Use it to learn whom a ticket is for, never to let somebody in.
func (v *Verifier) Peek(r Request, t *Ticket) error { return v.PeekAt(time.Now(), r, t) }

// PeekAt is Peek at a given time.
func (v *Verifier) PeekAt(now time.Time, r Request, t *Ticket) error {
	err := v.judge(now.Unix(), &r, t)
	if err != nil {
		t.reset()
	}
	return err
}

// PeekUnboundAt checks everything but single use and the bindings to origin, path
// and address. It is for tools that look at a ticket outside of any handshake.
func (v *Verifier) PeekUnboundAt(now time.Time, ticket []byte, t *Ticket) error {
	err := v.judgeUnbound(now.Unix(), ticket, t)
	if err != nil {
		t.reset()
	}
	return err
}

// judge checks everything but single use. Unlike the exported methods it leaves in t
// what it learnt: the key and the identity when the MAC was found right, all claims
// when they were read. Its caller resets t.
func (v *Verifier) judge(now int64, r *Request, t *Ticket) error {
	t.reset()
	if r.Ticket == nil {
		return ErrMissing
	}
	if err := v.authenticate(now, r.Ticket, t); err != nil {
		return err
	}
	if err := v.admit(now, t); err != nil {
		return err
	}
	return bound(r, t)
}

// judgeUnbound is judge without the bindings.
func (v *Verifier) judgeUnbound(now int64, ticket []byte, t *Ticket) error {
	t.reset()
	if err := v.authenticate(now, ticket, t); err != nil {
		return err
	}
	return v.admit(now, t)
}

// spend has the guard remember the ticket. Check 9: single use.
func (v *Verifier) spend(ctx context.Context, now int64, t *Ticket) error {
	err := v.replay.Spend(ctx, Use{Identity: t.id, Issued: t.set.IssuedAt, Expires: t.set.Expires, Now: now})
	if err == nil {
		return nil
	}
	if _, ok := CodeOf(err); ok {
		return err
	}
	return &guardError{err}
}

// A guardError is a guard's own error. It is ErrReplayUnavailable and its cause.
type guardError struct{ cause error }

func (e *guardError) Error() string   { return fmt.Sprintf("%v: %v", ErrReplayUnavailable, e.cause) }
func (e *guardError) reason() string  { return ErrReplayUnavailable.meaning() + ": " + e.cause.Error() }
func (e *guardError) Unwrap() []error { return []error{ErrReplayUnavailable, e.cause} }

// verification is the working memory of one verification or signature.
type verification struct {
	mac     *mac.State
	tag     [mac.MaxSize]byte // what the ticket says the MAC is
	header  [claims.BufferLen]byte
	scratch claims.Scratch
}

var verifications = sync.Pool{New: func() any { return &verification{mac: mac.NewState()} }}

// authenticate reads the text of a ticket into t: checks 1 to 4 of the table in
// docs/ticket-format.md. It reads nothing of the payload before it knows that the MAC
// is right.
func (v *Verifier) authenticate(now int64, text []byte, t *Ticket) error {
	// Check 1: length; two dots; alphabet of header and MAC; length of the MAC; the
	// header.
	if len(text) > v.maxLen {
		return errTooLong
	}
	w := verifications.Get().(*verification)
	err := v.open(now, w, text, t)
	verifications.Put(w)
	return err
}

func (v *Verifier) open(now int64, w *verification, text []byte, t *Ticket) error {
	set := v.keys.inForce.Load()
	found, dot, known := set.spelled(text)
	if dot < 0 {
		return errDots
	}
	var tagAt int // the MAC of a known header has a known length
	if known {
		tagAt = len(text) - encodedLen(found.key.mac.Alg().Size())
	} else {
		tagAt = bytes.LastIndexByte(text, '.') + 1
	}
	if tagAt-1 <= dot || text[tagAt-1] != '.' || len(text)-tagAt > encodedLen(mac.MaxSize) {
		return misshapen(text)
	}
	payload := text[dot+1 : tagAt-1]
	tagLen, ok := b64.Decode(w.tag[:], text[tagAt:])
	if !ok {
		return unlessDotted(payload, macText[b64.Diagnose(text[tagAt:])])
	}
	// Check 2: the key. The key of a known header has the header's alg.
	if !known {
		var err error
		if found, err = set.readHeader(now, w, text[:dot], tagLen); err != nil {
			return unlessDotted(payload, err)
		}
	} else if found.key.exp <= now {
		return unlessDotted(payload, errKeyExpired)
	}
	// Check 3: the MAC.
	sum := w.mac.Sum(found.key.mac, found.prefix, text[:tagAt-1])
	if subtle.ConstantTimeCompare(sum, w.tag[:tagLen]) != 1 {
		return unlessDotted(payload, ErrBadSignature)
	}
	copy(t.id[:], sum)
	t.keyLen = copy(t.key[:], found.key.id)
	t.keyExpires = found.key.exp

	// Check 4: alphabet of the payload, its JSON, its claims.
	if b64.DecodedLen(len(payload)) > claims.MaxPayload {
		return errTooLong
	}
	t.payload, ok = b64.Decode(t.buf[:claims.MaxPayload], payload)
	if !ok {
		return t.unread(payload, payloadText[b64.Diagnose(payload)])
	}
	if !t.set.Scan(t.buf[:], t.payload, &w.scratch) {
		t.fault = claims.Diagnose(t.buf[:t.payload], &w.scratch)
		return t.unread(payload, claimFaults[t.fault.Kind][t.fault.Claim.Index()])
	}
	return nil
}

// unread makes sure that nobody takes what was read for a claims set. The bytes of
// it stay, for the words of t.fault, until t is reset.
func (t *Ticket) unread(payload []byte, err error) error {
	used := max(b64.DecodedLen(len(payload)), t.set.Used)
	t.set, t.payload = claims.Set{Used: used}, 0
	return err
}

// misshapen says why a text cannot be cut into three parts.
func misshapen(text []byte) error {
	if bytes.Count(text, []byte{'.'}) != 2 {
		return errDots
	}
	if b64.Diagnose(text[bytes.LastIndexByte(text, '.')+1:]) == b64.Letter {
		return macText[b64.Letter]
	}
	return errMACLength
}

// unlessDotted returns err, or errDots for a payload with a dot: a text with more
// than two is malformed, whatever else is wrong with it. Only a refusal needs to
// look, because no payload with a dot decodes.
func unlessDotted(payload []byte, err error) error {
	if bytes.IndexByte(payload, '.') >= 0 {
		return errDots
	}
	return err
}

func encodedLen(n int) int { return (n*8 + 5) / 6 }

// admit checks the times, then audience, issuer and scope: checks 5 and 6. It may be
// asked again later about the same ticket, so it looks at the key's time too.
func (v *Verifier) admit(now int64, t *Ticket) error {
	set := &t.set
	if now >= t.keyExpires {
		return errKeyExpired
	}
	// Check 5: exp - iat, then iat, nbf, exp, session_exp.
	switch ttl := set.Expires - set.IssuedAt; {
	case ttl < 1:
		return errBackwards
	case ttl > v.maxTTL:
		return errTTL
	case set.IssuedAt > now+v.leeway:
		return errIssuedAhead
	case set.Has&claims.NotBefore != 0 && now < set.NotBefore-v.leeway:
		return errNotBefore
	case now >= set.Expires+v.leeway:
		return errExpired
	case set.Has&claims.SessionExpires != 0 && set.SessionExpires <= now:
		return errSessionOver
	}
	// Check 6: aud, then iss, scope.
	if !v.addressed(t) {
		return v.misaddressed(t)
	}
	if len(v.issuers) > 0 && !(set.Has&claims.Issuer != 0 && contains(v.issuers, t.Issuer())) {
		if set.Has&claims.Issuer == 0 {
			return errNoIssuer
		}
		return errOtherIssuer
	}
	for _, scope := range v.scopes {
		if !listed(t.Scope(), scope) {
			if set.Has&claims.Scope == 0 {
				return errNoScope
			}
			return errOtherScope
		}
	}
	return nil
}

// addressed says whether the ticket is for this verifier.
func (v *Verifier) addressed(t *Ticket) bool {
	if t.set.Has&claims.Audience == 0 {
		return len(v.audiences) == 0
	}
	for at := 0; ; {
		audience, next, ok := t.set.NextAudience(t.buf[:], at)
		if !ok {
			return false
		}
		if contains(v.audiences, audience) {
			if v.sole {
				_, _, more := t.set.NextAudience(t.buf[:], next)
				return at == 0 && !more
			}
			return true
		}
		at = next
	}
}

// misaddressed says why a ticket is not for this verifier.
func (v *Verifier) misaddressed(t *Ticket) error {
	switch {
	case len(v.audiences) == 0:
		return errAnyAudience
	case t.set.Has&claims.Audience == 0:
		return errNoAudience
	case v.sole:
		return errNotSoleAudience
	}
	return errOtherAudience
}

func contains(list []string, text []byte) bool {
	for _, s := range list {
		if s == string(text) {
			return true
		}
	}
	return false
}

// bound compares the bindings with the handshake. Check 7: origin, then path, ip.
func bound(r *Request, t *Ticket) error {
	set := &t.set
	if set.Has&claims.Origin != 0 && (len(r.Origin) == 0 || !bytes.Equal(t.Origin(), r.Origin)) {
		if len(r.Origin) == 0 {
			return errNoOrigin
		}
		return errOtherOrigin
	}
	if set.Has&claims.Path != 0 && !pathMatches(t.Path(), r.Path) {
		switch {
		case len(r.Path) == 0:
			return errNoPath
		case !pathMatches(anyPath, r.Path):
			return errUnclearPath
		}
		return errOtherPath
	}
	if set.Has&claims.IP != 0 && !addrMatches(set.IP, r.Addr) {
		if !r.Addr.IsValid() {
			return errNoAddr
		}
		return errOtherAddr
	}
	if r.atGateway {
		return agreed(t, r.Path)
	}
	return nil
}

// anyPath is a path claim that matches every path that some claim matches.
var anyPath = []byte("/*")
