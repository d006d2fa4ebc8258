package wsticket

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wsticket/wsticket/internal/weborigin"
)

func testSigner(tb testing.TB, change func(*SignerConfig)) *Signer {
	tb.Helper()
	config := SignerConfig{Keys: testKeyring(tb)}
	if change != nil {
		change(&config)
	}
	s, err := NewSigner(config)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func payloadOf(tb testing.TB, ticket string) string {
	tb.Helper()
	parts := strings.Split(ticket, ".")
	payload, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	if err != nil || len(parts) != 3 {
		tb.Fatalf("%q is no ticket: %v", ticket, err)
	}
	return string(payload)
}

func TestSignedTicketToTheByte(t *testing.T) {
	s := testSigner(t, func(c *SignerConfig) { c.Issuer = "mint"; c.Audiences = []string{"a"} })
	for name, c := range map[string]struct {
		claims Claims
		want   string
	}{
		"least": {Claims{Subject: "ada", ID: "n"}, `{"jti":"n","iat":1795219200,"exp":1795219210,"sub":"ada","aud":"a","iss":"mint"}`},
		"all": {Claims{
			Subject: "a\"\\\n\x00\x1fé\u2028<&>\x7f", ID: "n", Audiences: []string{"x", "y\t"}, Issuer: "other", Scope: "chat read", SessionID: "s", TTL: 60 * time.Second,
			SessionExpires: testNow.Add(time.Hour), NotBefore: testNow.Add(-time.Second), Origin: "https://app.example", Path: "/rooms/*", IP: "192.0.2.0/24",
			Extra: []Member{{"room", []byte(`{"id":[1]}`)}, {"é", []byte("null")}, {"", []byte(` "x" `)}},
		}, `{"jti":"n","iat":1795219200,"exp":1795219260,"nbf":1795219199,"sub":"a\"\\\u000a\u0000\u001fé` + "\u2028<&>\x7f" + `","aud":["x","y\u0009"],"iss":"other","scope":"chat read","sid":"s",` +
			`"session_exp":1795222800,"origin":"https://app.example","path":"/rooms/*","ip":"192.0.2.0/24","room":{"id":[1]},"é":null,"": "x" }`},
		"no audience": {Claims{Subject: "ada", ID: "n", Audiences: []string{}}, `{"jti":"n","iat":1795219200,"exp":1795219210,"sub":"ada","iss":"mint"}`},
	} {
		got, err := s.SignAt(testNow, &c.claims)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if want := string(forge(testHeader, c.want)); got != want {
			t.Errorf("%s: payload\n%s, want\n%s", name, payloadOf(t, got), c.want)
		}
	}
}

func TestNonceIsFresh(t *testing.T) {
	s := testSigner(t, nil)
	seen := map[string]bool{}
	nonce := regexp.MustCompile(`^\{"jti":"([A-Za-z0-9_-]{22})",`)
	for range 1000 {
		ticket, err := s.Sign(&Claims{Subject: "ada"})
		if err != nil {
			t.Fatal(err)
		}
		m := nonce.FindStringSubmatch(payloadOf(t, ticket))
		if m == nil || seen[m[1]] {
			t.Fatalf("payload %s", payloadOf(t, ticket))
		}
		seen[m[1]] = true
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	s := testSigner(t, nil)
	c := &Claims{Subject: "ada", ID: "n"}
	want, err := s.SignAt(testNow, c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.AppendTicketAt([]byte("before "), testNow, c)
	if err != nil || string(got) != "before "+want {
		t.Errorf("got %q, %v", got, err)
	}
	got, err = s.AppendTicketAt([]byte("before "), testNow, &Claims{})
	if err == nil || string(got) != "before " {
		t.Errorf("after an error: %q, %v", got, err)
	}
	if got, err := s.AppendTicket(nil, nil); err == nil || got != nil {
		t.Errorf("nil claims: %q, %v", got, err)
	}
}

func TestSignerRefusesWhatTheVerifierWould(t *testing.T) {
	s := testSigner(t, nil)
	deep := []byte(strings.Repeat("[", 8) + strings.Repeat("]", 8))
	for word, change := range map[string]func(*Claims){
		"Subject is empty":     func(c *Claims) { c.Subject = "" },
		"Subject is not valid": func(c *Claims) { c.Subject = "\xff" },
		"ID is 129":            func(c *Claims) { c.ID = strings.Repeat("x", 129) },
		"TTL is 1m1s":          func(c *Claims) { c.TTL = 61 * time.Second },
		"TTL is -1s":           func(c *Claims) { c.TTL = -time.Second },
		"TTL is 1.5s":          func(c *Claims) { c.TTL = 1500 * time.Millisecond },
		"NotBefore":            func(c *Claims) { c.NotBefore = testNow.Add(10 * time.Second) },
		"SessionExpires has":   func(c *Claims) { c.SessionExpires = testNow },
		"Audiences[1] is empty": func(c *Claims) {
			c.Audiences = []string{"a", ""}
		},
		"SessionID is not valid": func(c *Claims) { c.SessionID = "\xff" },
		"Scope is not valid":     func(c *Claims) { c.Scope = "\xff" },
		"Issuer is not valid":    func(c *Claims) { c.Issuer = "\xff" },
		"ID is not valid":        func(c *Claims) { c.ID = "\xff" },
		"Path is not valid":      func(c *Claims) { c.Path = "/\xff" },
		"IP is neither":          func(c *Claims) { c.IP = "192.0.2.1/33" },
		"has a field of its own": func(c *Claims) { c.Extra = []Member{{"aud", []byte(`"x"`)}} },
		"given twice":            func(c *Claims) { c.Extra = []Member{{"x", []byte("1")}, {"x", []byte("1")}} },
		"needs an escape":        func(c *Claims) { c.Extra = []Member{{`x"`, []byte("1")}} },
		"is not a JSON value":    func(c *Claims) { c.Extra = []Member{{"x", []byte("1,")}} },
		"nested at most 7":       func(c *Claims) { c.Extra = []Member{{"x", deep}} },
		"the limit is 2048":      func(c *Claims) { c.Scope = strings.Repeat("x", 1500) },
	} {
		c := Claims{Subject: "ada"}
		change(&c)
		if ticket, err := s.SignAt(testNow, &c); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: got %q, %v", word, ticket, err)
		}
	}
	for _, at := range []time.Time{time.Unix(-1, 0), time.Unix(253402300799-9, 0), time.Unix(253402300800, 0), time.Unix(1e15, 0), time.Unix(1<<62, 0), {}} {
		if _, err := s.SignAt(at, &Claims{Subject: "ada"}); err == nil {
			t.Errorf("a ticket is signed at %v", at)
		}
	}
	_, err := s.SignAt(testNow, &Claims{Path: "x", IP: "y"})
	for _, word := range []string{"Subject", "Path", "IP"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("not all faults at once: %v", err)
		}
	}
}

// FuzzSignVerify: whatever the signer takes, the verifier takes, and says back.
func FuzzSignVerify(f *testing.F) {
	s := testSigner(f, nil)
	v := testVerifier(f, func(c *VerifierConfig) { c.Audiences = []string{"gw"} })
	f.Add("ada", "", "chat", "s", "https://app.example", "/a/*", "::1", "x", `{"a":[1]}`)
	f.Add("\"\\\n\x00", "id", "", "", "", "", "", "", `null`)
	f.Fuzz(func(t *testing.T, sub, id, scope, sid, origin, path, ip, name, value string) {
		c := &Claims{Subject: sub, ID: id, Audiences: []string{"gw", "x" + sub}, Scope: scope, SessionID: sid, Origin: origin, Path: path, IP: ip, Extra: []Member{{name, []byte(value)}}}
		ticket, err := s.SignAt(testNow, c)
		if err != nil {
			if sub != "" && utf8.ValidString(sub+id+scope+sid+origin+path+name) && len(id) <= 128 && (origin == "" || weborigin.Sent(origin)) && path == "" && ip == "" && name == "x" && value == "1" && len(sub+scope+sid+origin) < 100 {
				t.Fatalf("%+v: %v", c, err)
			}
			return
		}
		var got Ticket
		if err := v.PeekUnboundAt(testNow, []byte(ticket), &got); err != nil {
			t.Fatalf("%s: %v", payloadOf(t, ticket), err)
		}
		raw, _ := got.Claim(name)
		if string(got.Subject()) != sub || string(got.Scope()) != scope || string(got.SessionID()) != sid || string(got.Origin()) != origin || string(got.Path()) != path ||
			id != "" && string(got.ID()) != id || string(raw) != strings.Trim(value, " \t\r\n") {
			t.Fatalf("%+v comes back as %s", c, got.Payload())
		}
		if !json.Valid(got.Payload()) {
			t.Fatalf("%q is not JSON", got.Payload())
		}
	})
}

func TestSigningKeyByTime(t *testing.T) {
	key := func(kid, rest string) string { return testJWK(kid, kid+testSecret, rest) }
	keyring := testKeyring(t,
		key("old", `,"exp":1795219272`),
		key("next", `,"nbf":1795219260`),
		key("tie-a", `,"nbf":1795219300`), key("tie-b", `,"nbf":1795219300`),
		key("mute", `,"nbf":1795219400,"key_ops":["verify"]`),
	)
	s := testSigner(t, func(c *SignerConfig) { c.Keys = keyring })
	for _, c := range []struct {
		after time.Duration
		want  string
	}{
		{0, "old"},
		{59 * time.Second, "old"}, // 59 + 10 + 2 is before 72
		{60 * time.Second, "next"},
		{99 * time.Second, "next"},
		{100 * time.Second, "tie-b"},
		{300 * time.Second, "tie-b"}, // the key without sign never signs
	} {
		ticket, err := s.SignAt(testNow.Add(c.after), &Claims{Subject: "ada"})
		if err != nil {
			t.Fatal(err)
		}
		header, _ := base64.RawURLEncoding.DecodeString(ticket[:strings.Index(ticket, ".")])
		if want := `{"alg":"HS256","kid":"` + c.want + `","typ":"ws-ticket+jwt"}`; string(header) != want {
			t.Errorf("at %v: header %s, want %s", c.after, header, want)
		}
	}
	// A key barred by its exp passes signing on, or there is none.
	s = testSigner(t, func(c *SignerConfig) {
		c.Keys = testKeyring(t, key("base", ""), key("ends", `,"nbf":1795219100,"exp":4795219211`))
	})
	for ends, want := range map[int64]string{4795219211 - 12: "ImVuZHMi", 4795219211 - 11: "ImJhc2Ui"} {
		ticket, err := s.SignAt(time.Unix(ends, 0), &Claims{Subject: "ada"})
		if header, _ := base64.RawURLEncoding.DecodeString(strings.Split(ticket+".", ".")[0]); err != nil || !bytes.Contains(header, must(base64.StdEncoding.DecodeString(want))) {
			t.Errorf("at %d: %s, %v", ends, header, err)
		}
	}
	s = testSigner(t, func(c *SignerConfig) { c.Keys = testKeyring(t, key("later", `,"nbf":4795219200`)) })
	if _, err := s.SignAt(testNow, &Claims{Subject: "ada"}); !errors.Is(err, ErrNoSigningKey) {
		t.Errorf("no key yet: %v", err)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestSignerConfigReportsEveryFault(t *testing.T) {
	_, err := NewSigner(SignerConfig{TTL: time.Millisecond, MaxTTL: -1, Leeway: -2, Issuer: "\xff", Audiences: []string{"", "\xff"}})
	for _, word := range []string{"Keys", "TTL", "MaxTTL", "Leeway", "Issuer", "Audiences[0]", "Audiences[1]"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("no word of %s in: %v", word, err)
		}
	}
	if _, err := NewSigner(SignerConfig{Keys: testKeyring(t), TTL: 61 * time.Second}); err == nil {
		t.Error("a TTL above MaxTTL is taken")
	}
	for _, rest := range []string{`,"key_ops":["verify"]`, `,"exp":1795219200`} {
		if _, err := NewSigner(SignerConfig{Keys: testKeyring(t, testJWK("k", testSecret, rest))}); rest[2] == 'k' && err == nil {
			t.Errorf("a keyring that cannot sign is taken: %s", rest)
		}
	}
}

func TestSignDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s := testSigner(t, func(c *SignerConfig) { c.Audiences = []string{"a", "b"} })
	c := &Claims{
		Subject: "a\"da", Scope: "chat", SessionID: "s", SessionExpires: testNow.Add(time.Hour), Origin: "https://app.example", Path: "/rooms/*", IP: "2001:db8::/32",
		Extra: []Member{{"room", []byte(`{"id":[1]}`)}, {"x", []byte("1")}},
	}
	dst := make([]byte, 0, MaxTicketLen)
	if n := testing.AllocsPerRun(500, func() {
		if _, err := s.AppendTicketAt(dst, testNow, c); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// TestManyAtOnce signs and redeems from many goroutines: none sees the memory of
// another.
func TestManyAtOnce(t *testing.T) {
	s := testSigner(t, nil)
	cache, err := NewReplayCache(ReplayConfig{PeakPerSecond: 10_000, Since: testNow.Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	v := testVerifier(t, func(c *VerifierConfig) { c.Replay = cache })
	done := make(chan error)
	const workers = 8
	for w := range workers {
		go func() {
			var ticket Ticket
			for i := range 500 {
				sub := fmt.Sprintf("user-%d-%d", w, i)
				text, err := s.SignAt(testNow, &Claims{Subject: sub, IP: "192.0.2.1"})
				r := Request{Ticket: []byte(text), Addr: netip.MustParseAddr("192.0.2.1")}
				if err == nil {
					err = v.RedeemAt(context.Background(), testNow, r, &ticket)
				}
				if err == nil && string(ticket.Subject()) != sub {
					err = fmt.Errorf("%s got the ticket of %s", sub, ticket.Subject())
				}
				if err == nil && v.RedeemAt(context.Background(), testNow, r, &ticket) != ErrReplayed {
					err = fmt.Errorf("%s: accepted twice", sub)
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range workers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
