package interop

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/golang-jwt/jwt/v5"
	jwav2 "github.com/lestrrat-go/jwx/v2/jwa"
	jwkv2 "github.com/lestrrat-go/jwx/v2/jwk"
	jwsv2 "github.com/lestrrat-go/jwx/v2/jws"
	jwtv2 "github.com/lestrrat-go/jwx/v2/jwt"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	jwtv3 "github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/wsticket/wsticket"
)

// A peer is a JOSE library, used the way its own documentation shows.
type peer struct {
	name string
	// mint signs claims under a header with alg, and whatever else it is to hold.
	mint func(k secretKey, header, claims map[string]any) (string, error)
	// verify checks MAC, times and audience.
	verify func(k secretKey, ticket, audience string) (header, claims map[string]any, err error)
}

var peers = []peer{
	{"jwx v2", mintJWX2, verifyJWX2},
	{"jwx v3", mintJWX3, verifyJWX3},
	{"golang-jwt", mintGolangJWT, verifyGolangJWT},
	{"go-jose", mintGoJose, verifyGoJose},
}

var algorithms = []string{"HS256", "HS384", "HS512"}

func eachPeer(t *testing.T, test func(*testing.T, peer, secretKey)) {
	for _, alg := range algorithms {
		k := newSecretKey(t, alg)
		for _, p := range peers {
			t.Run(strings.ReplaceAll(p.name, " ", "-")+"/"+alg, func(t *testing.T) { test(t, p, k) })
		}
	}
}

func mintJWX2(k secretKey, header, claims map[string]any) (string, error) {
	token := jwtv2.New()
	for name, value := range claims {
		if err := token.Set(name, value); err != nil {
			return "", err
		}
	}
	protected := jwsv2.NewHeaders()
	for name, value := range header {
		if name == "alg" {
			continue
		}
		if err := protected.Set(name, value); err != nil {
			return "", err
		}
	}
	signed, err := jwtv2.Sign(token, jwtv2.WithKey(jwav2.SignatureAlgorithm(k.alg), k.secret, jwsv2.WithProtectedHeaders(protected)))
	return string(signed), err
}

func verifyJWX2(k secretKey, ticket, audience string) (header, claims map[string]any, err error) {
	token, err := jwtv2.Parse([]byte(ticket), jwtv2.WithKey(jwav2.SignatureAlgorithm(k.alg), k.secret),
		jwtv2.WithValidate(true), jwtv2.WithAudience(audience), jwtv2.WithClock(jwtv2.ClockFunc(func() time.Time { return now })))
	if err != nil {
		return nil, nil, err
	}
	message, err := jwsv2.Parse([]byte(ticket))
	if err != nil {
		return nil, nil, err
	}
	if header, err = viaJSON(message.Signatures()[0].ProtectedHeaders()); err != nil {
		return nil, nil, err
	}
	claims, err = viaJSON(token)
	return header, claims, err
}

func mintJWX3(k secretKey, header, claims map[string]any) (string, error) {
	token := jwtv3.New()
	for name, value := range claims {
		if err := token.Set(name, value); err != nil {
			return "", err
		}
	}
	protected := jws.NewHeaders()
	for name, value := range header {
		if name == "alg" {
			continue
		}
		if err := protected.Set(name, value); err != nil {
			return "", err
		}
	}
	alg, _ := jwa.LookupSignatureAlgorithm(k.alg)
	signed, err := jwtv3.Sign(token, jwtv3.WithKey(alg, k.secret, jws.WithProtectedHeaders(protected)))
	return string(signed), err
}

func verifyJWX3(k secretKey, ticket, audience string) (header, claims map[string]any, err error) {
	alg, _ := jwa.LookupSignatureAlgorithm(k.alg)
	token, err := jwtv3.Parse([]byte(ticket), jwtv3.WithKey(alg, k.secret),
		jwtv3.WithAudience(audience), jwtv3.WithClock(jwtv3.ClockFunc(func() time.Time { return now })))
	if err != nil {
		return nil, nil, err
	}
	message, err := jws.Parse([]byte(ticket))
	if err != nil {
		return nil, nil, err
	}
	if header, err = viaJSON(message.Signatures()[0].ProtectedHeaders()); err != nil {
		return nil, nil, err
	}
	claims, err = viaJSON(token)
	return header, claims, err
}

func mintGolangJWT(k secretKey, header, claims map[string]any) (string, error) {
	token := jwt.NewWithClaims(jwt.GetSigningMethod(k.alg), jwt.MapClaims(claims))
	maps.Copy(token.Header, header)
	return token.SignedString(k.secret)
}

func verifyGolangJWT(k secretKey, ticket, audience string) (header, claims map[string]any, err error) {
	token, err := jwt.Parse(ticket, func(token *jwt.Token) (any, error) {
		if token.Header["kid"] != k.id {
			return nil, fmt.Errorf("no key %v", token.Header["kid"])
		}
		return k.secret, nil
	}, jwt.WithValidMethods([]string{k.alg}), jwt.WithAudience(audience), jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithStrictDecoding())
	if err != nil {
		return nil, nil, err
	}
	return token.Header, token.Claims.(jwt.MapClaims), nil
}

func mintGoJose(k secretKey, header, claims map[string]any) (string, error) {
	options := new(jose.SignerOptions)
	for name, value := range header {
		if name != "alg" {
			options.WithHeader(jose.HeaderKey(name), value)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.alg), Key: k.secret}, options)
	if err != nil {
		return "", err
	}
	return josejwt.Signed(signer).Claims(claims).Serialize()
}

func verifyGoJose(k secretKey, ticket, audience string) (header, claims map[string]any, err error) {
	token, err := josejwt.ParseSigned(ticket, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(k.alg)})
	if err != nil {
		return nil, nil, err
	}
	var registered josejwt.Claims
	if err := token.Claims(k.secret, &registered, &claims); err != nil {
		return nil, nil, err
	}
	if err := registered.ValidateWithLeeway(josejwt.Expected{AnyAudience: josejwt.Audience{audience}, Time: now}, 0); err != nil {
		return nil, nil, err
	}
	h := token.Headers[0]
	return map[string]any{"alg": h.Algorithm, "kid": h.KeyID, "typ": h.ExtraHeaders[jose.HeaderType]}, claims, nil
}

// setVerifiers verify a ticket with the key of a set that its kid names, and
// return its subject.
var setVerifiers = map[string]func(set []byte, ticket string) (string, error){
	"jwx v2": func(text []byte, ticket string) (string, error) {
		set, err := jwkv2.Parse(text)
		if err != nil {
			return "", err
		}
		token, err := jwtv2.Parse([]byte(ticket), jwtv2.WithKeySet(set), jwtv2.WithValidate(true))
		if err != nil {
			return "", err
		}
		return token.Subject(), nil
	},
	"jwx v3": func(text []byte, ticket string) (string, error) {
		set, err := jwk.Parse(text)
		if err != nil {
			return "", err
		}
		token, err := jwtv3.Parse([]byte(ticket), jwtv3.WithKeySet(set))
		if err != nil {
			return "", err
		}
		subject, _ := token.Subject()
		return subject, nil
	},
	"go-jose": func(text []byte, ticket string) (string, error) {
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(text, &set); err != nil {
			return "", err
		}
		token, err := josejwt.ParseSigned(ticket, []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512})
		if err != nil {
			return "", err
		}
		var claims josejwt.Claims
		if err := token.Claims(&set, &claims); err != nil {
			return "", err
		}
		return claims.Subject, claims.Validate(josejwt.Expected{})
	},
}

// A secretKey is one that every library can be given.
type secretKey struct {
	id, alg string
	secret  []byte
}

func newSecretKey(tb testing.TB, alg string) secretKey {
	tb.Helper()
	secret := make([]byte, 64) // long enough for every alg, so that nothing but alg tells whose it is
	rand.Read(secret)
	return secretKey{"2026-11-21-" + strings.ToLower(alg), alg, secret}
}

func (k secretKey) keyring(tb testing.TB) *wsticket.Keyring {
	tb.Helper()
	keyring, err := wsticket.ParseKeyring(k.jwks())
	if err != nil {
		tb.Fatal(err)
	}
	return keyring
}

func (k secretKey) jwks() []byte {
	return fmt.Appendf(nil, `{"keys":[{"kty":"oct","kid":%q,"alg":%q,"k":%q}]}`, k.id, k.alg, base64.RawURLEncoding.EncodeToString(k.secret))
}

func (k secretKey) signer(tb testing.TB) *wsticket.Signer {
	tb.Helper()
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: k.keyring(tb)})
	if err != nil {
		tb.Fatal(err)
	}
	return signer
}

// verifier takes tickets for wss://gw.example, each once.
func (k secretKey) verifier(tb testing.TB) *wsticket.Verifier {
	tb.Helper()
	return verifierOf(tb, k.keyring(tb))
}

func verifierOf(tb testing.TB, keyring *wsticket.Keyring) *wsticket.Verifier {
	tb.Helper()
	cache, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 100, Since: now.Add(-time.Hour)})
	if err != nil {
		tb.Fatal(err)
	}
	v, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keyring, Replay: cache, Audiences: []string{"wss://gw.example"}})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// ticketHeader is what the format asks for.
func ticketHeader(k secretKey) map[string]any {
	return map[string]any{"alg": k.alg, "kid": k.id, "typ": "ws-ticket+jwt"}
}

func payloadOf(ticket string) []byte {
	parts := strings.Split(ticket, ".")
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	return payload
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func toJSON(tb testing.TB, value any) []byte {
	tb.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func viaJSON(value any) (map[string]any, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var m map[string]any
	return m, d.Decode(&m)
}

// oneAudience writes claims with aud as an array: a single audience may stand
// alone (RFC 7519 section 4.1.3), and some libraries do not keep which it was.
func oneAudience(tb testing.TB, claims map[string]any) []byte {
	m := maps.Clone(claims)
	if one, ok := m["aud"].(string); ok {
		m["aud"] = []string{one}
	}
	return toJSON(tb, m)
}

// sameJSON compares values, numbers by their value.
func sameJSON(tb testing.TB, a, b []byte) bool {
	tb.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		tb.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}
