package wsticket

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"
)

var testNow = time.Unix(1795219200, 0)

const testSecret = "0123456789abcdef0123456789abcdef"

func testJWK(kid, secret, rest string) string {
	return fmt.Sprintf(`{"kty":"oct","kid":%q,"alg":"HS256","k":%q%s}`, kid, base64.RawURLEncoding.EncodeToString([]byte(secret)), rest)
}

func testKeyring(tb testing.TB, keys ...string) *Keyring {
	tb.Helper()
	if len(keys) == 0 {
		keys = []string{testJWK("k1", testSecret, "")}
	}
	keyring, err := ParseKeyring([]byte(`{"keys":[` + strings.Join(keys, ",") + `]}`))
	if err != nil {
		tb.Fatal(err)
	}
	return keyring
}

// forge makes a ticket of any header and payload under testSecret, by the
// standard library alone.
func forge(header, payload string) []byte {
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	h := hmac.New(sha256.New, []byte(testSecret))
	h.Write([]byte(signed))
	return []byte(signed + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil)))
}

const testHeader = `{"alg":"HS256","kid":"k1","typ":"ws-ticket+jwt"}`

func testVerifier(tb testing.TB, change func(*VerifierConfig)) *Verifier {
	tb.Helper()
	config := VerifierConfig{Keys: testKeyring(tb), Replay: DangerouslyAllowReplay}
	if change != nil {
		change(&config)
	}
	v, err := NewVerifier(config)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

const fullPayload = `{"jti":"n-1","iat":1795219200,"exp":1795219210,"nbf":1795219199,"sub":"\u0061da","aud":["a","b\n"],"iss":"mint","scope":"chat read","sid":"s1",` +
	`"session_exp":1795222800,"origin":"https://app.example","path":"/rooms/*","ip":"192.0.2.0/24","room":{"id":[1,2,{"x":null}]},"n":1e400}`

func fullConfig(c *VerifierConfig) {
	c.Audiences = []string{"z", "b\n"}
	c.Issuers = []string{"mint"}
	c.RequireScopes = []string{"read"}
}

func fullRequest(ticket []byte) Request {
	return Request{Ticket: ticket, Origin: []byte("https://app.example"), Path: []byte("/rooms/%C3%A9"), Addr: netip.MustParseAddr("::ffff:192.0.2.7")}
}

func TestTicketSaysWhatWasSigned(t *testing.T) {
	v := testVerifier(t, fullConfig)
	var ticket Ticket
	if err := v.PeekAt(testNow, fullRequest(forge(testHeader, fullPayload)), &ticket); err != nil {
		t.Fatal(err)
	}
	for _, tk := range []*Ticket{&ticket, ticket.Clone()} {
		for name, c := range map[string]struct{ got, want string }{
			"KeyID":     {string(tk.KeyID()), "k1"},
			"ID":        {string(tk.ID()), "n-1"},
			"Subject":   {string(tk.Subject()), "ada"},
			"Issuer":    {string(tk.Issuer()), "mint"},
			"Scope":     {string(tk.Scope()), "chat read"},
			"SessionID": {string(tk.SessionID()), "s1"},
			"Origin":    {string(tk.Origin()), "https://app.example"},
			"Path":      {string(tk.Path()), "/rooms/*"},
			"Payload":   {string(tk.Payload()), fullPayload},
		} {
			if c.got != c.want {
				t.Errorf("%s = %q, want %q", name, c.got, c.want)
			}
		}
		if tk.IssuedAt().Unix() != 1795219200 || tk.Expires().Unix() != 1795219210 || tk.NotBefore().Unix() != 1795219199 || tk.SessionExpires().Unix() != 1795222800 {
			t.Errorf("times: %v %v %v %v", tk.IssuedAt(), tk.Expires(), tk.NotBefore(), tk.SessionExpires())
		}
		var audiences []string
		for a := range tk.Audiences() {
			audiences = append(audiences, string(a))
		}
		if fmt.Sprintf("%q", audiences) != `["a" "b\n"]` {
			t.Errorf("Audiences = %q", audiences)
		}
		if room, ok := tk.Claim("room"); !ok || string(room) != `{"id":[1,2,{"x":null}]}` {
			t.Errorf("Claim(room) = %s, %v", room, ok)
		}
		if _, ok := tk.Claim("id"); ok {
			t.Error("Claim finds a nested member")
		}
		ctx, cancel := tk.Context(context.Background())
		if end, ok := ctx.Deadline(); !ok || end.Unix() != 1795222800 {
			t.Errorf("Context ends %v, %v", end, ok)
		}
		cancel()
	}
}

func TestAbsentClaims(t *testing.T) {
	var ticket Ticket
	if err := testVerifier(t, nil).PeekAt(testNow, Request{Ticket: forge(testHeader, `{"jti":"n","iat":1795219200,"exp":1795219210,"sid":""}`)}, &ticket); err != nil {
		t.Fatal(err)
	}
	if ticket.Subject() != nil || ticket.Issuer() != nil || ticket.Origin() != nil || !ticket.NotBefore().IsZero() || !ticket.SessionExpires().IsZero() {
		t.Error("an absent claim is not nil")
	}
	if ticket.SessionID() == nil || len(ticket.SessionID()) != 0 {
		t.Error("an empty claim is not empty")
	}
	for a := range ticket.Audiences() {
		t.Errorf("audience %q", a)
	}
	if _, ok := ticket.Context(context.Background()); ok == nil {
		t.Error("no cancel function")
	}
}

// TestEveryChangeIsRefused changes every byte of a ticket to every other value,
// cuts it everywhere and adds to it: nothing but the ticket itself passes.
func TestEveryChangeIsRefused(t *testing.T) {
	v := testVerifier(t, fullConfig)
	good := forge(testHeader, fullPayload)
	var ticket Ticket
	judge := func(text []byte) error { return v.PeekAt(testNow, fullRequest(text), &ticket) }
	if err := judge(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		changed := bytes.Clone(good)
		for c := range 256 {
			if changed[i] = byte(c); byte(c) == good[i] {
				continue
			}
			if err := judge(changed); err == nil {
				t.Fatalf("byte %d as %q is accepted", i, rune(c))
			}
		}
		if judge(good[:i]) == nil || judge(good[i+1:]) == nil && i >= 0 {
			t.Fatalf("cut at %d is accepted", i)
		}
		for c := range 256 {
			added := append(append(bytes.Clone(good[:i]), byte(c)), good[i:]...)
			if judge(added) == nil {
				t.Fatalf("%q added at %d is accepted", rune(c), i)
			}
		}
	}
	for c := range 256 {
		if judge(append(bytes.Clone(good), byte(c))) == nil {
			t.Fatalf("%q added at the end is accepted", rune(c))
		}
	}
}

func TestTicketIsZeroAfterARefusal(t *testing.T) {
	refusing := spendFunc(func(Use) error { return ErrReplayed })
	v := testVerifier(t, func(c *VerifierConfig) { fullConfig(c); c.Replay = refusing })
	good := fullRequest(forge(testHeader, fullPayload))
	elsewhere := good
	elsewhere.Addr = netip.Addr{}
	bad := bytes.Clone(good.Ticket)
	bad[len(bad)-5] ^= 1
	for name, act := range map[string]func(*Ticket) error{
		"replayed":  func(t *Ticket) error { return v.RedeemAt(context.Background(), testNow, good, t) },
		"ip":        func(t *Ticket) error { return v.PeekAt(testNow, elsewhere, t) },
		"expired":   func(t *Ticket) error { return v.PeekAt(testNow.Add(time.Hour), good, t) },
		"unbound":   func(t *Ticket) error { return v.PeekUnboundAt(testNow.Add(time.Hour), good.Ticket, t) },
		"signature": func(t *Ticket) error { return v.PeekAt(testNow, fullRequest(bad), t) },
		"claims":    func(t *Ticket) error { return v.PeekAt(testNow, fullRequest(forge(testHeader, fullPayload+" x")), t) },
		"claims-late": func(t *Ticket) error {
			return v.PeekAt(testNow, fullRequest(forge(testHeader, `{"aud":["\u0061"],"sub":"\u0061"}`)), t)
		},
		"alphabet": func(t *Ticket) error {
			text := string(forge(testHeader, fullPayload))
			parts := strings.Split(text, ".")
			h := hmac.New(sha256.New, []byte(testSecret))
			h.Write([]byte(parts[0] + "." + parts[1] + "*"))
			return v.PeekAt(testNow, fullRequest([]byte(parts[0]+"."+parts[1]+"*."+base64.RawURLEncoding.EncodeToString(h.Sum(nil)))), t)
		},
		"missing": func(t *Ticket) error { return v.PeekAt(testNow, Request{}, t) },
	} {
		var ticket Ticket
		if err := v.PeekAt(testNow, good, &ticket); err != nil {
			t.Fatal(err)
		}
		if err := act(&ticket); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if ticket != (Ticket{}) {
			t.Errorf("%s: the ticket is not zero", name)
		}
	}
}

type spendFunc func(Use) error

func (g spendFunc) Spend(_ context.Context, s Use) error { return g(s) }
func (spendFunc) Covers() (maxTTL, leeway time.Duration) { return time.Hour, time.Hour }

func TestGuardGetsTheSignedNumbers(t *testing.T) {
	var got Use
	v := testVerifier(t, func(c *VerifierConfig) {
		fullConfig(c)
		c.Replay = spendFunc(func(s Use) error { got = s; return nil })
	})
	good := forge(testHeader, fullPayload)
	var ticket Ticket
	now := testNow.Add(11 * time.Second) // in the leeway
	if err := v.RedeemAt(context.Background(), now, fullRequest(good), &ticket); err != nil {
		t.Fatal(err)
	}
	sum, _ := base64.RawURLEncoding.DecodeString(string(good[bytes.LastIndexByte(good, '.')+1:]))
	want := Use{Identity: [16]byte(sum), Issued: 1795219200, Expires: 1795219210, Now: now.Unix()}
	if got != want {
		t.Errorf("the guard got %+v, want %+v", got, want)
	}
}

func TestGuardErrors(t *testing.T) {
	cause := errors.New("connection refused")
	for _, c := range []struct{ give, want error }{
		{ErrReplayed, ErrReplayed},
		{ErrReplayUnavailable, ErrReplayUnavailable},
		{fmt.Errorf("seen: %w", ErrReplayed), ErrReplayed},
		{cause, ErrReplayUnavailable},
		{Error(0), ErrReplayUnavailable},
		{Error(200), ErrReplayUnavailable},
	} {
		v := testVerifier(t, func(config *VerifierConfig) {
			fullConfig(config)
			config.Replay = spendFunc(func(Use) error { return c.give })
		})
		var ticket Ticket
		err := v.RedeemAt(context.Background(), testNow, fullRequest(forge(testHeader, fullPayload)), &ticket)
		if !errors.Is(err, c.want) || !errors.Is(err, c.give) {
			t.Errorf("guard says %v: got %v", c.give, err)
		}
		if code, ok := CodeOf(err); !ok || code != c.want {
			t.Errorf("guard says %v: CodeOf = %v, %v", c.give, code, ok)
		}
	}
}

// TestRefusalsBurnNothing: whatever fails before single use does not reach the
// guard.
func TestRefusalsBurnNothing(t *testing.T) {
	v := testVerifier(t, func(c *VerifierConfig) {
		fullConfig(c)
		c.Replay = spendFunc(func(s Use) error { t.Errorf("the guard was asked: %+v", s); return nil })
	})
	good := forge(testHeader, fullPayload)
	var ticket Ticket
	for name, c := range map[string]struct {
		change func(*Request)
		at     time.Duration
		want   error
	}{
		"origin":    {func(r *Request) { r.Origin = []byte("https://evil.example") }, 0, ErrOrigin},
		"no origin": {func(r *Request) { r.Origin = nil }, 0, ErrOrigin},
		"path":      {func(r *Request) { r.Path = []byte("/") }, 0, ErrPath},
		"no path":   {func(r *Request) { r.Path = nil }, 0, ErrPath},
		"ip":        {func(r *Request) { r.Addr = netip.MustParseAddr("192.0.3.1") }, 0, ErrIP},
		"no ip":     {func(r *Request) { r.Addr = netip.Addr{} }, 0, ErrIP},
		"expired":   {func(*Request) {}, 12 * time.Second, ErrExpired},
		"early":     {func(*Request) {}, -3 * time.Second, ErrNotYetValid},
		"no ticket": {func(r *Request) { r.Ticket = nil }, 0, ErrMissing},
		"empty":     {func(r *Request) { r.Ticket = []byte{} }, 0, ErrMalformed},
	} {
		r := fullRequest(good)
		c.change(&r)
		if err := v.RedeemAt(context.Background(), testNow.Add(c.at), r, &ticket); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// TestPathAgainstReference compares path binding with net/url and path.
func TestPathAgainstReference(t *testing.T) {
	claims := []string{"/", "/a", "/a/", "/a/*", "/*", "/a/b", "/a*", "/*/b", "/ä", "/a b", "/A", "/a/*/", "/.", "/a/..", "/%61"}
	var paths []string
	pieces := []string{"/", "a", "b", "A", "*", ".", "..", "%61", "%2F", "%2f", "%5C", "%00", "%2E", "%2e%2E", "%C3%A4", "%20", "%zz", "%", "%2", "+", "\\", "\x00", "//", "/a", "/ab"}
	var build func(prefix string, left int)
	build = func(prefix string, left int) {
		paths = append(paths, prefix)
		if left > 0 {
			for _, p := range pieces {
				build(prefix+p, left-1)
			}
		}
	}
	build("", 3)
	build("/a", 3)
	for _, claim := range claims {
		for _, raw := range paths {
			if got, want := pathMatches([]byte(claim), []byte(raw)), referencePath(claim, raw); got != want {
				t.Fatalf("pathMatches(%q, %q) = %v, want %v", claim, raw, got, want)
			}
		}
	}
}

func referencePath(claim, raw string) bool {
	lower := strings.ToLower(raw)
	decoded, err := url.PathUnescape(raw)
	if err != nil || !strings.HasPrefix(raw, "/") || strings.Contains(lower, "%2f") || strings.Contains(lower, "%5c") || strings.Contains(lower, "%00") || strings.ContainsAny(raw, "\\\x00") {
		return false
	}
	clean := path.Clean(decoded)
	if strings.Contains(decoded, "//") || clean != decoded && clean+"/" != decoded {
		return false
	}
	if tree, ok := strings.CutSuffix(claim, "*"); ok && strings.HasSuffix(tree, "/") {
		return strings.HasPrefix(decoded, tree)
	}
	return claim == decoded
}

func TestVerifierConfigReportsEveryFault(t *testing.T) {
	_, err := NewVerifier(VerifierConfig{
		Audiences: []string{""}, Issuers: []string{""}, RequireScopes: []string{"a b"}, MaxTTL: 1500 * time.Millisecond, Leeway: time.Hour, MaxLen: 4096,
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, word := range []string{"Keys", "Replay", "Audiences", "Issuers", "RequireScopes", "MaxTTL", "Leeway", "MaxLen"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("no word of %s in: %v", word, err)
		}
	}
	if _, err := NewVerifier(VerifierConfig{Keys: testKeyring(t), Replay: (*ReplayCache)(nil)}); err == nil || !strings.Contains(err.Error(), "Replay is nil") {
		t.Errorf("the ReplayCache of a failed NewReplayCache: %v", err)
	}
	if _, err := NewVerifier(VerifierConfig{Keys: testKeyring(t), Replay: DangerouslyAllowReplay, Audiences: []string{"a"}, SoleAudience: "b"}); err == nil || !strings.Contains(err.Error(), "both Audiences and SoleAudience") {
		t.Errorf("Audiences beside SoleAudience: %v", err)
	}
	for name, change := range map[string]func(*VerifierConfig){
		"MaxTTL": func(c *VerifierConfig) { c.MaxTTL = 61 * time.Second },
		"Leeway": func(c *VerifierConfig) { c.Leeway = 3 * time.Second },
	} {
		cache, err := NewReplayCache(ReplayConfig{PeakPerSecond: 10})
		if err != nil {
			t.Fatal(err)
		}
		config := VerifierConfig{Keys: testKeyring(t), Replay: cache}
		change(&config)
		if _, err := NewVerifier(config); err == nil || !strings.Contains(err.Error(), "covers") {
			t.Errorf("%s above the guard's: %v", name, err)
		}
	}
}

func TestMaxLen(t *testing.T) {
	good := forge(testHeader, `{"jti":"n","iat":1795219200,"exp":1795219210}`)
	var ticket Ticket
	exact := testVerifier(t, func(c *VerifierConfig) { c.MaxLen = len(good) })
	if err := exact.PeekAt(testNow, Request{Ticket: good}, &ticket); err != nil {
		t.Error(err)
	}
	short := testVerifier(t, func(c *VerifierConfig) { c.MaxLen = len(good) - 1 })
	if err := short.PeekAt(testNow, Request{Ticket: good}, &ticket); !errors.Is(err, ErrMalformed) {
		t.Errorf("one byte over: %v", err)
	}
}

func TestVerifyDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	v := testVerifier(t, fullConfig)
	good := forge(testHeader, fullPayload)
	changed := bytes.Clone(good)
	copy(changed[len(changed)-8:], "AAAAAAA")
	spaced := forge("{ \"alg\" : \"HS2\\u0035\\u0036\",\"kid\":\"\\u006b1\",\"typ\":\"ws-ticket+jwt\"}", fullPayload)
	unknown := forge(`{"alg":"HS256","kid":"`+strings.Repeat("k", 64)+`","typ":"ws-ticket+jwt"}`, fullPayload)
	var ticket Ticket
	ctx := context.Background()
	for name, c := range map[string]struct {
		r    Request
		at   time.Duration
		want error
	}{
		"accepted":      {fullRequest(good), 0, nil},
		"spaced":        {fullRequest(spaced), 0, nil},
		"expired":       {fullRequest(good), time.Minute, ErrExpired},
		"bad_signature": {fullRequest(changed), 0, ErrBadSignature},
		"unknown_key":   {fullRequest(unknown), 0, ErrUnknownKey},
		"malformed":     {fullRequest(good[1:]), 0, ErrMalformed},
		"origin":        {Request{Ticket: good}, 0, ErrOrigin},
	} {
		if n := testing.AllocsPerRun(200, func() {
			if err := v.RedeemAt(ctx, testNow.Add(c.at), c.r, &ticket); !errors.Is(err, c.want) {
				t.Fatalf("%s: %v", name, err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

// TestKeyEndsMeanwhile: a ticket that is looked at again is compared with its key's
// time again.
func TestKeyEndsMeanwhile(t *testing.T) {
	v := testVerifier(t, func(c *VerifierConfig) {
		c.Keys = testKeyring(t, testJWK("k1", testSecret, `,"exp":1795219205`))
	})
	var ticket Ticket
	r := Request{Ticket: forge(testHeader, `{"jti":"n","iat":1795219200,"exp":1795219210}`)}
	if err := v.judge(1795219204, &r, &ticket); err != nil {
		t.Fatal(err)
	}
	for now, want := range map[int64]error{1795219204: nil, 1795219205: ErrUnknownKey} {
		if err := v.admit(now, &ticket); !errors.Is(err, want) {
			t.Errorf("at %d: %v, want %v", now, err, want)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	keyring := testKeyring(t)
	signer, err := NewSigner(SignerConfig{Keys: keyring})
	if err != nil {
		t.Fatal(err)
	}
	v := testVerifier(t, fullConfig)
	var ticket Ticket
	if err := v.PeekAt(testNow, fullRequest(forge(testHeader, fullPayload)), &ticket); err != nil {
		t.Fatal(err)
	}
	type holder struct {
		Keys   *Keyring
		Value  Keyring
		Ticket Ticket
	}
	request := fullRequest(forge(testHeader, fullPayload))
	things := []any{request, &request, keyring, *keyring, keyring.Keys(), signer, *signer, v, *v, &ticket, ticket, holder{keyring, *keyring, ticket}, &holder{keyring, *keyring, ticket}}
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, nil))
	jsonLog := slog.New(slog.NewJSONHandler(&out, nil))
	for _, thing := range things {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d"} {
			fmt.Fprintf(&out, verb+"\n", thing)
		}
		log.Info("m", "x", thing)
		jsonLog.Info("m", "x", thing)
		if text, err := json.Marshal(thing); err == nil {
			out.Write(text)
		}
	}
	for _, secret := range []string{testSecret, base64.RawURLEncoding.EncodeToString([]byte(testSecret)), fmt.Sprintf("%x", testSecret), fmt.Sprintf("%X", testSecret),
		strings.Trim(fmt.Sprint([]byte(testSecret)), "[]"),
		// What a ticket says, as it was signed and as it was unescaped, and its text.
		fmt.Sprintf("%x", "ada"), "n-1", "chat", "room", "exp", strings.Trim(fmt.Sprint([]byte("n-1")), "[]"), fmt.Sprintf("%x", "n-1"), fmt.Sprintf("%X", "n-1"),
		string(request.Ticket[:20]), fmt.Sprintf("%x", request.Ticket[:20]), fmt.Sprintf("%X", request.Ticket[:20]), strings.Trim(fmt.Sprint(request.Ticket[:20]), "[]"),
	} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q is printed", secret)
		}
	}
	// Addresses may have these digits in them.
	if found := regexp.MustCompile(`(^|[^0-9a-fA-F])ada([^0-9a-fA-F]|$)`).FindString(out.String()); found != "" {
		t.Errorf("%q is printed", found)
	}
}

// FuzzTicket: no panic, and nothing accepted that a strict model would not take:
// the exact three parts of canonical base64url under a MAC of our key.
func FuzzTicket(f *testing.F) {
	v := testVerifier(f, nil)
	f.Add(testHeader, `{"jti":"n","iat":1795219200,"exp":1795219210}`, 0, "")
	f.Add(`{"typ":"ws-ticket+jwt", "kid":"k1","alg":"HS256"}`, fullPayload, 3, "=")
	f.Add(`{"alg":"none","kid":"k1","typ":"ws-ticket+jwt"}`, `{}`, 100, ".")
	f.Add(`{"alg":"HS256","kid":"k1","typ":"ws-ticket+jwt","crit":[]}`, `{}`, 100, "\n")
	f.Fuzz(func(t *testing.T, header, payload string, at int, insert string) {
		text := forge(header, payload)
		var ticket Ticket
		if v.PeekUnboundAt(testNow, text, &ticket) == nil {
			var h map[string]any
			if err := json.Unmarshal([]byte(header), &h); err != nil || len(h) != 3 || h["alg"] != "HS256" || h["kid"] != "k1" || h["typ"] != "ws-ticket+jwt" {
				t.Fatalf("header %q is accepted", header)
			}
			if strings.Count(header, `"alg"`) != 1 || strings.Count(header, `"kid"`) != 1 || strings.Count(header, `"typ"`) != 1 {
				t.Fatalf("header %q is accepted", header)
			}
			if !json.Valid([]byte(payload)) || string(ticket.Payload()) != payload {
				t.Fatalf("payload %q is accepted as %q", payload, ticket.Payload())
			}
		}
		if insert == "" {
			return
		}
		if at %= len(text) + 1; at < 0 {
			at = -at
		}
		mangled := append(append(bytes.Clone(text[:at]), insert...), text[at:]...)
		if v.PeekUnboundAt(testNow, mangled, &ticket) == nil {
			t.Fatalf("%q is accepted", mangled)
		}
		if ticket != (Ticket{}) {
			t.Fatal("a refused ticket is not zero")
		}
	})
}

// resign gives a text of header and payload, whatever it holds, its MAC.
func resign(text string) string {
	text = text[:strings.LastIndexByte(text, '.')]
	h := hmac.New(sha256.New, []byte(testSecret))
	h.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// What the caller does with its lists afterwards does not change the Verifier.
func TestVerifierOwnsItsLists(t *testing.T) {
	audiences, issuers, scopes := []string{"z", "b\n"}, []string{"mint"}, []string{"read"}
	v := testVerifier(t, func(c *VerifierConfig) { c.Audiences, c.Issuers, c.RequireScopes = audiences, issuers, scopes })
	for _, list := range [][]string{audiences, issuers, scopes} {
		for i := range list {
			list[i] = "changed"
		}
	}
	var ticket Ticket
	if err := v.PeekAt(testNow, fullRequest(forge(testHeader, fullPayload)), &ticket); err != nil {
		t.Error(err)
	}
}

// A view that is appended to must not write into what stands behind it.
func TestViewsHaveNoRoom(t *testing.T) {
	v := testVerifier(t, fullConfig)
	var ticket Ticket
	if err := v.PeekAt(testNow, fullRequest(forge(testHeader, fullPayload)), &ticket); err != nil {
		t.Fatal(err)
	}
	views := map[string][]byte{"KeyID": ticket.KeyID(), "ID": ticket.ID(), "Subject": ticket.Subject(), "Issuer": ticket.Issuer(), "Scope": ticket.Scope(),
		"SessionID": ticket.SessionID(), "Origin": ticket.Origin(), "Path": ticket.Path(), "Payload": ticket.Payload()}
	for a := range ticket.Audiences() {
		views["audience "+string(a)] = a
	}
	for _, name := range []string{"room", "n"} {
		views["claim "+name], _ = ticket.Claim(name)
	}
	for name, view := range views {
		if len(view) == 0 || cap(view) != len(view) {
			t.Errorf("%s has %d bytes and room for %d", name, len(view), cap(view))
		}
	}
}

// Every pair of bytes behind a % is what net/url says.
func TestPercentByteAgainstReference(t *testing.T) {
	for a := range 256 {
		for b := range 256 {
			escape := []byte{'%', byte(a), byte(b)}
			want, err := url.PathUnescape(string(escape))
			if got, ok := percentByte(escape); ok != (err == nil) || ok && string([]byte{got}) != want {
				t.Fatalf("percentByte(%q) = %q, %v; net/url says %q, %v", escape, got, ok, want, err)
			}
		}
	}
}
