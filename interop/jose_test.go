package interop

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/wsticket/wsticket"
)

// The time of the tests, by every library's clock.
var now = time.Unix(1795219200, 0)

// full is a claims set with every claim of the format, and with all that JSON
// lets an encoder spell in more than one way.
var full = map[string]any{
	"jti":         "nonce/+&<>\u2028",
	"iat":         now.Unix(),
	"exp":         now.Unix() + 10,
	"nbf":         now.Unix() - 5,
	"sub":         "Zoë & <Ärger> \"quoted\" \\ \b\f\n\r\t\x01\x7f 🎟 \U0010ffff",
	"aud":         []string{"wss://other.example/?a=1&b=2", "wss://gw.example", "räume <3"},
	"iss":         "https://app.example/?x=1&y=<z>",
	"scope":       "chat:read chat:write",
	"sid":         "s&1",
	"session_exp": now.Unix() + 3600,
	"origin":      "https://app.example",
	"path":        "/räume/a&b/*",
	"ip":          "192.0.2.0/24",
	"room":        map[string]any{"id": 42, "näme": "<b>&amp;</b>", "tags": []any{"a", nil, true, -1.5e-3}},
	"nothing":     nil,
}

// TestTheirTickets has every library mint, with every algorithm, and looks at the
// tickets here.
func TestTheirTickets(t *testing.T) {
	eachPeer(t, func(t *testing.T, p peer, k secretKey) {
		minted, err := p.mint(k, ticketHeader(k), full)
		if err != nil {
			t.Fatal(err)
		}
		v := k.verifier(t)
		r := wsticket.Request{
			Ticket: []byte(minted),
			Origin: []byte("https://app.example"),
			Path:   []byte("/r%C3%A4ume/a&b/7"),
			Addr:   addr("192.0.2.7"),
		}
		var got wsticket.Ticket
		if err := v.RedeemAt(context.Background(), now, r, &got); err != nil {
			t.Fatalf("%v: %s", err, payloadOf(minted))
		}
		for claim, is := range map[string]any{
			"jti": string(got.ID()), "sub": string(got.Subject()), "iss": string(got.Issuer()),
			"scope": string(got.Scope()), "sid": string(got.SessionID()),
			"origin": string(got.Origin()), "path": string(got.Path()),
			"iat": got.IssuedAt().Unix(), "exp": got.Expires().Unix(),
			"nbf": got.NotBefore().Unix(), "session_exp": got.SessionExpires().Unix(),
		} {
			if is != full[claim] {
				t.Errorf("%s is %q, was minted as %q", claim, is, full[claim])
			}
		}
		if string(got.KeyID()) != k.id {
			t.Errorf("kid is %q, want %q", got.KeyID(), k.id)
		}
		var audiences []string
		for a := range got.Audiences() {
			audiences = append(audiences, string(a))
		}
		if !slices.Equal(audiences, full["aud"].([]string)) {
			t.Errorf("aud is %q, was minted as %q", audiences, full["aud"])
		}
		for _, claim := range []string{"room", "nothing"} {
			value, ok := got.Claim(claim)
			if !ok || !sameJSON(t, value, toJSON(t, full[claim])) {
				t.Errorf("%s is %s, was minted as %s", claim, value, toJSON(t, full[claim]))
			}
		}
		if err := v.RedeemAt(context.Background(), now, r, &got); !errors.Is(err, wsticket.ErrReplayed) {
			t.Errorf("the second time: %v, want %v", err, wsticket.ErrReplayed)
		}
	})
}

// TestOurTickets has every library look at tickets that were signed here.
func TestOurTickets(t *testing.T) {
	claims := wsticket.Claims{
		ID: full["jti"].(string), Subject: full["sub"].(string), Audiences: full["aud"].([]string),
		Issuer: full["iss"].(string), Scope: full["scope"].(string), SessionID: full["sid"].(string),
		SessionExpires: now.Add(time.Hour), NotBefore: now.Add(-5 * time.Second),
		Origin: full["origin"].(string), Path: full["path"].(string), IP: full["ip"].(string),
		Extra: []wsticket.Member{
			{Name: "room", JSON: []byte(`{"id":42,"näme":"<b>\u0026amp;</b>","tags":["a",null,true,-1.5E-3]}`)},
			{Name: "nothing", JSON: []byte("null")},
		},
	}
	one := claims
	one.Audiences = []string{"wss://gw.example"}
	oneFull := maps.Clone(full)
	oneFull["aud"] = "wss://gw.example"
	eachPeer(t, func(t *testing.T, p peer, k secretKey) {
		for _, c := range []struct {
			claims wsticket.Claims
			want   map[string]any
		}{{claims, full}, {one, oneFull}} {
			signed, err := k.signer(t).SignAt(now, &c.claims)
			if err != nil {
				t.Fatal(err)
			}
			header, got, err := p.verify(k, signed, "wss://gw.example")
			if err != nil {
				t.Fatalf("%v: %s", err, payloadOf(signed))
			}
			if want := ticketHeader(k); !sameJSON(t, toJSON(t, header), toJSON(t, want)) {
				t.Errorf("the header is %s, want %s", toJSON(t, header), toJSON(t, want))
			}
			if is, want := oneAudience(t, got), oneAudience(t, c.want); !sameJSON(t, is, want) {
				t.Errorf("the claims are\n%s, were signed as\n%s", is, want)
			}
			// Unless a library says no to these, its yes means nothing.
			if _, _, err := p.verify(k, signed, "wss://elsewhere.example"); err == nil {
				t.Error("it takes a ticket for another audience")
			}
			at := len(signed) - 12
			other := signed[:at] + map[bool]string{true: "B", false: "A"}[signed[at] == 'A'] + signed[at+1:]
			if _, _, err := p.verify(k, other, "wss://gw.example"); err == nil {
				t.Error("it takes a ticket with another MAC")
			}
		}
	})
}

// TestNoTickets has every library sign what is no ticket, with a key of the
// keyring: to hold a token is not enough.
func TestNoTickets(t *testing.T) {
	with := func(from map[string]any, changes ...any) map[string]any {
		m := maps.Clone(from)
		for i := 0; i < len(changes); i += 2 {
			if name := changes[i].(string); changes[i+1] == nil {
				delete(m, name)
			} else {
				m[name] = changes[i+1]
			}
		}
		return m
	}
	plain := with(full, "origin", nil, "path", nil, "ip", nil)
	eachPeer(t, func(t *testing.T, p peer, k secretKey) {
		header := ticketHeader(k)
		for _, c := range []struct {
			name           string
			header, claims map[string]any
			want           error
		}{
			{"a ticket, so that the rest is refused for its own fault", header, plain, nil},
			{"a session token", with(header, "typ", "JWT"), plain, wsticket.ErrMalformed},
			{"an access token", with(header, "typ", "at+jwt"), plain, wsticket.ErrMalformed},
			{"the media type in full", with(header, "typ", "application/ws-ticket+jwt"), plain, wsticket.ErrMalformed},
			{"no kid", with(header, "kid", nil), plain, wsticket.ErrMalformed},
			{"a kid that nobody has", with(header, "kid", "somebody-else"), plain, wsticket.ErrUnknownKey},
			{"a header too many", with(header, "cty", "JWT"), plain, wsticket.ErrMalformed},
			{"a key by URL", with(header, "jku", "https://evil.example/keys"), plain, wsticket.ErrMalformed},
			{"no jti", header, with(plain, "jti", nil), wsticket.ErrMalformed},
			{"no exp", header, with(plain, "exp", nil), wsticket.ErrMalformed},
			{"no iat", header, with(plain, "iat", nil), wsticket.ErrMalformed},
			{"a session's lifetime", header, with(plain, "exp", now.Unix()+3600), wsticket.ErrTTLTooLong},
			{"expired", header, with(plain, "iat", now.Unix()-60, "exp", now.Unix()-30), wsticket.ErrExpired},
			{"for another gateway", header, with(plain, "aud", "wss://elsewhere.example"), wsticket.ErrAudience},
			{"bound to an origin that the request lacks", header, with(plain, "origin", "https://app.example"), wsticket.ErrOrigin},
		} {
			token, err := p.mint(k, c.header, c.claims)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			var got wsticket.Ticket
			if err := k.verifier(t).PeekAt(now, wsticket.Request{Ticket: []byte(token)}, &got); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}

		// The secret of one key under the name of another, whose alg it does not have.
		for _, other := range algorithms {
			if other == k.alg {
				continue
			}
			confused := k
			confused.alg = other
			token, err := p.mint(confused, with(header, "alg", other), plain)
			if err != nil {
				t.Fatal(err)
			}
			var got wsticket.Ticket
			if err := k.verifier(t).PeekAt(now, wsticket.Request{Ticket: []byte(token)}, &got); !errors.Is(err, wsticket.ErrMalformed) {
				t.Errorf("signed with %s: %v, want %v", other, err, wsticket.ErrMalformed)
			}
		}
	})
}

// TestFractionalTimes: golang-jwt writes what it is given, and this profile of
// RFC 7519 has whole seconds.
func TestFractionalTimes(t *testing.T) {
	k := newSecretKey(t, "HS256")
	for _, claim := range []string{"iat", "exp", "nbf", "session_exp"} {
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"jti": "n", "iat": now.Unix(), "exp": now.Unix() + 10, "aud": "wss://gw.example"})
		token.Header["typ"], token.Header["kid"] = "ws-ticket+jwt", k.id
		token.Claims.(jwt.MapClaims)[claim] = float64(now.Unix()) + 9.5
		signed, err := token.SignedString(k.secret)
		if err != nil {
			t.Fatal(err)
		}
		var got wsticket.Ticket
		if err := k.verifier(t).PeekAt(now, wsticket.Request{Ticket: []byte(signed)}, &got); !errors.Is(err, wsticket.ErrMalformed) {
			t.Errorf("%s: %v, want %v", claim, err, wsticket.ErrMalformed)
		}
	}
}

// TestUnsecured: golang-jwt signs with nothing where it is asked to.
func TestUnsecured(t *testing.T) {
	k := newSecretKey(t, "HS256")
	token := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims(full))
	token.Header["typ"], token.Header["kid"] = "ws-ticket+jwt", k.id
	unsecured, err := token.SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	var got wsticket.Ticket
	if err := k.verifier(t).PeekAt(now, wsticket.Request{Ticket: []byte(unsecured)}, &got); !errors.Is(err, wsticket.ErrMalformed) {
		t.Errorf("%v, want %v", err, wsticket.ErrMalformed)
	}
}
