package interop

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	jwkv2 "github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v3/jwk"

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
		if err := v.RedeemAt(context.Background(), now, r, &got); err != wsticket.ErrReplayed {
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
			if err := k.verifier(t).PeekAt(now, wsticket.Request{Ticket: []byte(token)}, &got); err != c.want {
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
			if err := k.verifier(t).PeekAt(now, wsticket.Request{Ticket: []byte(token)}, &got); err != wsticket.ErrMalformed {
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
		if err := k.verifier(t).PeekAt(now, wsticket.Request{Ticket: []byte(signed)}, &got); err != wsticket.ErrMalformed {
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
	if err := k.verifier(t).PeekAt(now, wsticket.Request{Ticket: []byte(unsecured)}, &got); err != wsticket.ErrMalformed {
		t.Errorf("%v, want %v", err, wsticket.ErrMalformed)
	}
}

// TestTheirKeySets loads key sets that other libraries wrote.
func TestTheirKeySets(t *testing.T) {
	keys := []secretKey{newSecretKey(t, "HS256"), newSecretKey(t, "HS384"), newSecretKey(t, "HS512")}
	type member struct {
		name  string
		value any
	}
	members := func(i int) []member {
		list := []member{{"kid", keys[i].id}, {"alg", keys[i].alg}, {"use", "sig"}, {"iat", now.Unix() - 7200}}
		switch i {
		case 0: // retired
			list = append(list, member{"exp", now.Unix() + 90})
		case 2: // next
			list = append(list, member{"nbf", now.Unix() + 60}, member{"comment", "rotated & <signed> by ops"})
		}
		return list
	}
	for name, write := range map[string]func() ([]byte, error){
		"jwx v2": func() ([]byte, error) {
			set := jwkv2.NewSet()
			for i := range keys {
				key, err := jwkv2.FromRaw(keys[i].secret)
				for _, m := range members(i) {
					err = errors.Join(err, key.Set(m.name, m.value))
				}
				if err = errors.Join(err, set.AddKey(key)); err != nil {
					return nil, err
				}
			}
			return json.Marshal(set)
		},
		"jwx v3": func() ([]byte, error) {
			set := jwk.NewSet()
			for i := range keys {
				key, err := jwk.Import(keys[i].secret)
				for _, m := range members(i) {
					err = errors.Join(err, key.Set(m.name, m.value))
				}
				if err = errors.Join(err, set.AddKey(key)); err != nil {
					return nil, err
				}
			}
			return json.MarshalIndent(set, "", "\t")
		},
		"jwx v3, key_ops": func() ([]byte, error) {
			set := jwk.NewSet()
			for i := range keys {
				key, err := jwk.Import(keys[i].secret)
				for _, m := range members(i) {
					if m.name != "use" {
						err = errors.Join(err, key.Set(m.name, m.value))
					}
				}
				err = errors.Join(err, key.Set(jwk.KeyOpsKey, jwk.KeyOperationList{jwk.KeyOpSign, jwk.KeyOpVerify}))
				if err = errors.Join(err, set.AddKey(key)); err != nil {
					return nil, err
				}
			}
			return json.Marshal(set)
		},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := write()
			if err != nil {
				t.Fatal(err)
			}
			keyring, err := wsticket.ParseKeyring(text)
			if err != nil {
				t.Fatal(err)
			}
			want := []wsticket.Key{
				{ID: keys[2].id, Algorithm: "HS512", NotBefore: now.Add(time.Minute), Signs: true},
				{ID: keys[1].id, Algorithm: "HS384", Signs: true},
				{ID: keys[0].id, Algorithm: "HS256", Expires: now.Add(90 * time.Second), Signs: true},
			}
			got := keyring.Keys()
			slices.SortFunc(got, func(a, b wsticket.Key) int { return strings.Compare(b.Algorithm, a.Algorithm) })
			if !reflect.DeepEqual(got, want) {
				t.Errorf("the keyring holds %v, want %v", got, want)
			}
			for _, k := range keys {
				takes(t, keyring, k)
			}
		})
	}
	t.Run("go-jose", func(t *testing.T) { // which has no place for nbf and exp
		var set jose.JSONWebKeySet
		for _, k := range keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.secret, KeyID: k.id, Algorithm: k.alg, Use: "sig"})
		}
		keyring, err := wsticket.ParseKeyring(toJSON(t, set))
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			takes(t, keyring, k)
		}
	})
}

// takes wants the keyring to take what each library signs with k.
func takes(t *testing.T, keyring *wsticket.Keyring, k secretKey) {
	t.Helper()
	for _, p := range peers {
		minted, err := p.mint(k, ticketHeader(k), full)
		if err != nil {
			t.Fatal(err)
		}
		var got wsticket.Ticket
		if err := verifierOf(t, keyring).PeekUnbound(now, []byte(minted), &got); err != nil {
			t.Errorf("%s, signed by %s: %v", k.alg, p.name, err)
		}
	}
}

// TestOurKeySets has other libraries load what the command line writes, and sign
// with it.
func TestOurKeySets(t *testing.T) {
	run := func(args ...string) []byte {
		t.Helper()
		text, err := exec.Command(command(t), args...).Output()
		if err != nil {
			t.Fatalf("wsticket %q: %v", args, err)
		}
		return text
	}
	for _, alg := range algorithms {
		t.Run(alg, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "keyring")
			if err := os.WriteFile(file, run("keys", "generate", "-alg", alg, "-kid", "first-"+alg), 0o600); err != nil {
				t.Fatal(err)
			}
			run("keys", "rotate", "-keys", file)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			keyring, err := wsticket.ParseKeyring(text)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(keyring.Keys()); n != 2 {
				t.Fatalf("%d keys, want 2", n)
			}

			setV2, err := jwkv2.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			setV3, err := jwk.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			var setJose jose.JSONWebKeySet
			if err := json.Unmarshal(text, &setJose); err != nil {
				t.Fatal(err)
			}
			for _, key := range keyring.Keys() {
				k := secretKey{id: key.ID, alg: key.Algorithm}
				v2, ok := setV2.LookupKeyID(key.ID)
				if !ok {
					t.Fatalf("jwx v2 has no key %q", key.ID)
				}
				v3, ok := setV3.LookupKeyID(key.ID)
				if !ok {
					t.Fatalf("jwx v3 has no key %q", key.ID)
				}
				goJose := setJose.Key(key.ID)
				if len(goJose) != 1 {
					t.Fatalf("go-jose has %d keys %q", len(goJose), key.ID)
				}
				algV3, _ := v3.Algorithm()
				if v2.Algorithm().String() != alg || algV3.String() != alg || goJose[0].Algorithm != alg {
					t.Errorf("alg is %v, %v, %v, want %s", v2.Algorithm(), algV3, goJose[0].Algorithm, alg)
				}
				for name, export := range map[string]func() error{
					"jwx v2":  func() error { return v2.Raw(&k.secret) },
					"jwx v3":  func() error { return jwk.Export(v3, &k.secret) },
					"go-jose": func() error { k.secret = goJose[0].Key.([]byte); return nil },
				} {
					k.secret = nil
					if err := export(); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					takes(t, keyring, k)
				}
			}

			// And the sets as they are verify what is signed with the keyring.
			signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keyring})
			if err != nil {
				t.Fatal(err)
			}
			ticket, err := signer.Sign(&wsticket.Claims{Subject: "u&1"})
			if err != nil {
				t.Fatal(err)
			}
			for name, verify := range setVerifiers {
				subject, err := verify(text, ticket)
				if err != nil || subject != "u&1" {
					t.Errorf("%s: %q, %v", name, subject, err)
				}
			}
		})
	}
}
