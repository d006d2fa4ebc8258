package wsticket

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket/internal/inspect"
)

// An explained is a ticket that is refused and the words for it.
type explained struct {
	name   string
	config func(*VerifierConfig)
	ticket string
	alter  func(*Request)
	at     time.Duration
	code   Error
	brief  string // what Peek says
	full   string // what Explain says, where it says more
}

func signed(claims string) string {
	return string(forge(testHeader, `{"jti":"n","iat":1795219200,"exp":1795219210`+claims+`}`))
}

func withHeader(header string) string {
	return string(forge(header, `{"jti":"n","iat":1795219200,"exp":1795219210}`))
}

func explainedCases() []explained {
	good := signed("")
	return []explained{
		{name: "no ticket", alter: func(r *Request) { r.Ticket = nil }, code: ErrMissing, brief: "no ticket in the request"},

		// Check 1.
		{name: "too long", config: func(c *VerifierConfig) { c.MaxLen = 20 }, ticket: good, code: ErrMalformed,
			brief: "the ticket is longer than the verifier's MaxLen", full: fmt.Sprintf(": %d bytes, MaxLen 20", len(good))},
		{name: "no dots", ticket: "x", code: ErrMalformed, brief: "the ticket does not have two dots", full: ": it has 0"},
		{name: "one dot", ticket: "x.y", code: ErrMalformed, brief: "the ticket does not have two dots", full: ": it has 1"},
		{name: "JWE", ticket: good + ".x.y", code: ErrMalformed, brief: "the ticket does not have two dots", full: ": it has 4"},
		{name: "dot in the payload", ticket: strings.Replace(good, ".", ".x.", 1), code: ErrMalformed, brief: "the ticket does not have two dots", full: ": it has 3"},
		{name: "dot in the payload, unknown key", ticket: strings.Replace(withHeader(`{"alg":"HS256","kid":"k7","typ":"ws-ticket+jwt"}`), ".", ".x.", 1), code: ErrMalformed,
			brief: "the ticket does not have two dots", full: ": it has 3"},
		{name: "dot in the payload, wrong header", ticket: strings.Replace(withHeader(`{"alg":"HS256"}`), ".", ".x.", 1), code: ErrMalformed,
			brief: "the ticket does not have two dots", full: ": it has 3"},
		{name: "dot in the payload, expired key", config: expiredKey, ticket: strings.Replace(good, ".", ".x.", 1), code: ErrMalformed,
			brief: "the ticket does not have two dots", full: ": it has 3"},
		{name: "dot in the payload, wrong MAC", ticket: strings.Replace(good[:len(good)-1]+"=", ".", ".x.", 1), code: ErrMalformed,
			brief: "the ticket does not have two dots", full: ": it has 3"},
		{name: "short MAC", ticket: good[:len(good)-20], code: ErrMalformed, brief: "the MAC does not have the length of its alg", full: ": 23 characters; HS256 has 43, HS384 64, HS512 86"},
		{name: "padded MAC", ticket: good + "=", code: ErrMalformed,
			brief: "the MAC is not base64url: it holds something else than A-Z a-z 0-9 - _, such as the + / = of other base64"},
		{name: "foreign letter in the MAC", ticket: good[:len(good)-2] + "+A", code: ErrMalformed,
			brief: "the MAC is not base64url: it holds something else than A-Z a-z 0-9 - _, such as the + / = of other base64"},
		{name: "header in other base64", ticket: "e/" + good[2:], code: ErrMalformed,
			brief: "the header is not base64url: it holds something else than A-Z a-z 0-9 - _, such as the + / = of other base64"},
		{name: "typ JWT", ticket: withHeader(`{"alg":"HS256","typ":"JWT","kid":"k1"}`), code: ErrMalformed,
			brief: "typ is not ws-ticket+jwt", full: `=typ is "JWT", want ws-ticket+jwt`},
		{name: "typ JWT of another key", ticket: withHeader(`{"alg":"HS256","typ":"JWT","kid":"k2"}`), code: ErrMalformed, brief: "typ is not ws-ticket+jwt"},
		{name: "typ JWT with a bad MAC", ticket: tampered(withHeader(`{"alg":"HS256","typ":"JWT","kid":"k1"}`)), code: ErrMalformed, brief: "typ is not ws-ticket+jwt"},
		{name: "alg none", ticket: withHeader(`{"alg":"none","typ":"JWT","kid":"k1"}`), code: ErrMalformed,
			brief: "alg is not HS256, HS384 or HS512", full: `=alg is "none", want HS256, HS384 or HS512`},
		{name: "no kid", ticket: withHeader(`{"alg":"HS256","typ":"ws-ticket+jwt"}`), code: ErrMalformed, brief: "kid is missing"},
		{name: "foreign member", ticket: withHeader(`{"alg":"HS256","typ":"ws-ticket+jwt","kid":"k1","cty":"x"}`), code: ErrMalformed,
			brief: "the header has a member beside alg, kid and typ", full: `: "cty"`},
		{name: "typ is a number", ticket: withHeader(`{"alg":"HS256","kid":"k1","typ":7}`), code: ErrMalformed, brief: "typ is not a string", full: " (7)"},
		{name: "header is no JSON", ticket: withHeader(`{"alg":"HS256",}`), code: ErrMalformed, brief: "the header is not valid JSON"},

		// Checks 2 and 3.
		{name: "unknown key", ticket: withHeader(`{"alg":"HS256","kid":"k7","typ":"ws-ticket+jwt"}`), code: ErrUnknownKey,
			brief: "the keyring has no key of that kid", full: `: it has "k1"`},
		{name: "expired key", config: expiredKey, ticket: good, code: ErrUnknownKey, brief: "the key that kid names has expired", full: `: key "k1", exp 1795219200, now 1795219200`},
		{name: "alg of another key", ticket: withMAC(`{"alg":"HS512","kid":"k1","typ":"ws-ticket+jwt"}`, 86), code: ErrMalformed,
			brief: "alg is not that of the key that kid names", full: `: key "k1", alg HS256`},
		{name: "another secret", ticket: tampered(good), code: ErrBadSignature, brief: "the MAC is wrong", full: `: key "k1"`},

		// Check 4. The kinds are in internal/claims.
		{name: "time.time()", ticket: string(forge(testHeader, `{"jti":"n","iat":1795219200.53,"exp":1795219210.53}`)), code: ErrMalformed,
			brief: "iat is not an integer of seconds", full: " (1795219200.53)"},
		{name: "no jti", ticket: string(forge(testHeader, `{"iat":1795219200,"exp":1795219210}`)), code: ErrMalformed, brief: "jti is missing"},
		{name: "exp twice", ticket: signed(`,"exp":1795219211`), code: ErrMalformed, brief: `duplicate member "exp"`},
		{name: "another member twice", ticket: signed(`,"a":1,"a":2`), code: ErrMalformed, brief: `duplicate member`, full: ` "a"`},
		{name: "hostile value", ticket: signed(`,"path":"\u001b[2J` + "\u202e\u2028" + strings.Repeat("x", 99) + `"`), code: ErrMalformed,
			brief: "path does not begin with /", full: ` ("\u001b[2J\u202e\u2028` + strings.Repeat("x", 42) + `…)`},

		// Check 5.
		{name: "exp before iat", ticket: string(forge(testHeader, `{"jti":"n","iat":1795219200,"exp":1795219200}`)), code: ErrMalformed,
			brief: "exp is not after iat", full: ": iat 1795219200, exp 1795219200"},
		{name: "an hour", ticket: string(forge(testHeader, `{"jti":"n","iat":1795219200,"exp":1795222800}`)), code: ErrTTLTooLong,
			brief: "exp - iat is above the verifier's MaxTTL", full: ": 3600 s, MaxTTL 60 s"},
		{name: "iat ahead", ticket: good, at: -3 * time.Second, code: ErrNotYetValid,
			brief: "iat lies ahead of this clock by more than the leeway", full: ": iat 1795219200, now 1795219197, leeway 2 s"},
		{name: "nbf ahead", ticket: signed(`,"nbf":1795219205`), code: ErrNotYetValid,
			brief: "nbf lies ahead of this clock by more than the leeway", full: ": nbf 1795219205, now 1795219200, leeway 2 s"},
		{name: "expired", ticket: good, at: 12 * time.Second, code: ErrExpired, brief: "exp has passed", full: ": exp 1795219210, now 1795219212, leeway 2 s"},
		{name: "session over", ticket: signed(`,"session_exp":1795219200`), code: ErrExpired, brief: "session_exp has passed", full: ": session_exp 1795219200, now 1795219200"},

		// Check 6.
		{name: "aud for nobody", ticket: signed(`,"aud":"chat"`), code: ErrAudience, brief: "aud is given, and the verifier has no Audiences", full: `: aud "chat"`},
		{name: "no aud", config: func(c *VerifierConfig) { c.Audiences = []string{"game"} }, ticket: good, code: ErrAudience,
			brief: "aud is missing, and the verifier wants one", full: `: want "game"`},
		{name: "other aud", config: func(c *VerifierConfig) { c.Audiences = []string{"game"} }, ticket: signed(`,"aud":["a","b","c","d","e\u202e","f"]`), code: ErrAudience,
			brief: "aud names none of the verifier's Audiences", full: `: aud "a" "b" "c" "d" and 2 more, want "game"`},
		{name: "no iss", config: func(c *VerifierConfig) { c.Issuers = []string{"mint", "old"} }, ticket: good, code: ErrIssuer,
			brief: "iss is missing, and the verifier has Issuers", full: `: want "mint" "old"`},
		{name: "other iss", config: func(c *VerifierConfig) { c.Issuers = []string{"mint"} }, ticket: signed(`,"iss":"Mint"`), code: ErrIssuer,
			brief: "iss is none of the verifier's Issuers", full: `: iss "Mint", want "mint"`},
		{name: "no scope", config: func(c *VerifierConfig) { c.RequireScopes = []string{"chat"} }, ticket: good, code: ErrScope,
			brief: "scope is missing, and the verifier has RequireScopes", full: `: want "chat"`},
		{name: "other scope", config: func(c *VerifierConfig) { c.RequireScopes = []string{"read", "chat"} }, ticket: signed(`,"scope":"read write"`), code: ErrScope,
			brief: "scope does not list all of the verifier's RequireScopes", full: `: scope "read write", want "read" "chat"`},

		// Check 7.
		{name: "other origin", ticket: signed(`,"origin":"https://app.example"`), code: ErrOrigin,
			alter: func(r *Request) { r.Origin = []byte("https://app.example:8443") },
			brief: "the Origin is not the one that the ticket is bound to", full: `: Origin "https://app.example:8443", claim "https://app.example"`},
		{name: "no origin", ticket: signed(`,"origin":"https://app.example"`), code: ErrOrigin,
			brief: "the ticket is bound to an origin, and the handshake has no Origin", full: `: claim "https://app.example"`},
		{name: "other path", ticket: signed(`,"path":"/ws/*"`), code: ErrPath, alter: func(r *Request) { r.Path = []byte("/chat/%20") },
			brief: "the request path is not one that the ticket is bound to", full: `: path "/chat/%20", claim "/ws/*"`},
		{name: "unclear path", ticket: signed(`,"path":"/ws/*"`), code: ErrPath, alter: func(r *Request) { r.Path = []byte("/ws/../x") },
			brief: "the ticket is bound to a path, and that of the request may be read in two ways (a segment that is empty, . or .., a backslash, a NUL, an encoded slash, a broken escape)",
			full:  `: path "/ws/../x", claim "/ws/*"`},
		{name: "no path", ticket: signed(`,"path":"/ws/*"`), code: ErrPath, brief: "the ticket is bound to a path, and the handshake shows none", full: `: claim "/ws/*"`},
		{name: "other address", ticket: signed(`,"ip":"192.0.2.0/24"`), code: ErrIP, alter: func(r *Request) { r.Addr = netip.MustParseAddr("10.0.0.7") },
			brief: "the peer's address is not one that the ticket is bound to", full: ": address 10.0.0.7, claim 192.0.2.0/24"},
		{name: "no address", ticket: signed(`,"ip":"192.0.2.0/24"`), code: ErrIP, brief: "the ticket is bound to an address, and none is known of the peer", full: ": claim 192.0.2.0/24"},
	}
}

func expiredKey(c *VerifierConfig) {
	keys, err := ParseKeyring([]byte(`{"keys":[` + testJWK("k1", testSecret, `,"exp":1795219200`) + `]}`))
	if err != nil {
		panic(err)
	}
	c.Keys = keys
}

// tampered changes the MAC and nothing else.
func tampered(ticket string) string {
	return ticket[:len(ticket)-43] + strings.Repeat("A", 43)
}

// withMAC has a MAC of n characters that nobody computed.
func withMAC(header string, n int) string {
	ticket := withHeader(header)
	return ticket[:len(ticket)-43] + strings.Repeat("A", n)
}

func TestExplain(t *testing.T) {
	for _, c := range explainedCases() {
		t.Run(c.name, func(t *testing.T) {
			v := testVerifier(t, c.config)
			r := Request{Ticket: []byte(c.ticket)}
			if c.alter != nil {
				c.alter(&r)
			}
			var ticket Ticket
			now := testNow.Add(c.at)
			err := v.PeekAt(now, r, &ticket)
			if code, _ := CodeOf(err); code != c.code || !errors.Is(err, c.code) {
				t.Fatalf("Peek says %v, want %v", err, c.code)
			}
			if want := "wsticket: " + c.code.Code() + ": " + c.brief; err.Error() != want || ReasonOf(err) != c.brief {
				t.Errorf("Peek\nsays %s\nwant %s", err, want)
			}
			full := c.brief + c.full
			if after, whole := strings.CutPrefix(c.full, "="); whole {
				full = after
			}
			explained := v.ExplainAt(now, r, &ticket)
			if code, _ := CodeOf(explained); code != c.code || !errors.Is(explained, err) {
				t.Errorf("Explain says %v, Peek %v", explained, err)
			}
			if want := "wsticket: " + c.code.Code() + ": " + full; explained.Error() != want || ReasonOf(explained) != full {
				t.Errorf("Explain\nsays %s\nwant %s", explained, want)
			}
			if ticket.payload != 0 || ticket.keyLen != 0 || ticket.fault.Kind != 0 {
				t.Error("the ticket is not empty")
			}
		})
	}
}

func TestExplainAccepts(t *testing.T) {
	v := testVerifier(t, fullConfig)
	var ticket Ticket
	good := forge(testHeader, fullPayload)
	if err := v.ExplainAt(testNow, fullRequest(good), &ticket); err != nil || string(ticket.Subject()) != "ada" {
		t.Errorf("%v, %q", err, ticket.Subject())
	}
	if err := v.ExplainUnboundAt(testNow, good, &ticket); err != nil || string(ticket.Subject()) != "ada" {
		t.Errorf("%v, %q", err, ticket.Subject())
	}
	err := v.ExplainUnboundAt(testNow.Add(time.Hour), good, &ticket)
	if want := "wsticket: expired: exp has passed: exp 1795219210, now 1795222800, leeway 2 s"; err == nil || err.Error() != want || ticket.payload != 0 {
		t.Errorf("%v, want %s", err, want)
	}
	if err := v.Explain(fullRequest(good), &ticket); !errors.Is(err, ErrExpired) && !errors.Is(err, ErrNotYetValid) {
		t.Errorf("now: %v", err)
	}
}

func TestReasonOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{Error(0), ""},
		{errors.New("no refusal"), ""},
		{ErrReplayed, "used before"},
		{fmt.Errorf("gateway: %w", ErrReplayed), "used before"},
		{fmt.Errorf("gateway: %w", errExpired), "exp has passed"},
		{&guardError{errors.New("no route")}, "the single-use guard cannot answer: no route"},
	} {
		if got := ReasonOf(c.err); got != c.want {
			t.Errorf("ReasonOf(%v) = %q, want %q", c.err, got, c.want)
		}
	}
}

var update = flag.Bool("update", false, "write testdata/reasons.txt anew")

// TestVectorsSayWhy holds the words for every ticket of testdata/vectors that is
// refused against testdata/reasons.txt, a line each.
func TestVectorsSayWhy(t *testing.T) {
	vectors := readVectors(t)
	var got strings.Builder
	for _, name := range slices.Sorted(maps.Keys(vectors)) {
		f := vectors[name]
		if f.one(t, "kind") != "ticket" || f.one(t, "expect") == "ok" {
			continue
		}
		v, _, r, now := ticketVector(t, f)
		var ticket Ticket
		err := v.ExplainAt(now, r, &ticket)
		code, _ := CodeOf(err)
		if code.Code() != f.one(t, "expect") || code == ErrMalformed && (ReasonOf(err) == code.meaning() || ReasonOf(v.PeekAt(now, r, &ticket)) == code.meaning()) {
			t.Errorf("%s: %v, want a reason for %s", name, err, f.one(t, "expect"))
		}
		fmt.Fprintf(&got, "%s: %s: %s\n", strings.TrimSuffix(name, ".txt"), code.Code(), ReasonOf(err))
	}
	const path = "testdata/reasons.txt"
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() == string(want) {
		return
	}
	have := strings.Split(string(want), "\n")
	for line := range strings.Lines(got.String()) {
		if !slices.Contains(have, strings.TrimSuffix(line, "\n")) {
			t.Errorf("not in %s: %s", path, line)
		}
	}
	t.Errorf("%s is out of date; look at what changed, then go test -run TestVectorsSayWhy -update .", path)
}

// The reader without a key finds a fault exactly where a Verifier says malformed, but
// for what takes a key or a configuration to know.
func TestInspectAgrees(t *testing.T) {
	for name, f := range readVectors(t) {
		if f.one(t, "kind") != "ticket" {
			continue
		}
		v, _, r, now := ticketVector(t, f)
		var ticket Ticket
		err := v.PeekAt(now, r, &ticket)
		malformed := errors.Is(err, ErrMalformed) && err != errKeyAlg && err != errTooLong
		faults := inspect.Read(r.Ticket, v.maxLen).Faults()
		if err == errTooLong && len(r.Ticket) > v.maxLen {
			malformed = true
		}
		// What comes before the payload in the order of checks hides its faults here.
		hidden := errors.Is(err, ErrUnknownKey) || errors.Is(err, ErrBadSignature) || err == errKeyAlg
		if malformed && len(faults) == 0 || len(faults) > 0 && !malformed && !hidden {
			t.Errorf("%s: %v; inspect says %q", name, err, faults)
		}
		if explained := v.ExplainAt(now, r, &ticket); malformed && ticketFault(err) && !slices.Contains(faults, ReasonOf(explained)) {
			t.Errorf("%s: Explain says %q, inspect %q", name, ReasonOf(explained), faults)
		}
	}
}

// ticketFault says whether a reason is worded by the packages that both ask.
func ticketFault(err error) bool {
	for _, column := range claimFaults {
		for _, e := range column {
			if e != nil && err == e {
				return true
			}
		}
	}
	return false
}
