package inspect

import (
	"encoding/base64"
	"strings"
	"testing"
)

var encode = base64.RawURLEncoding.EncodeToString

const (
	header  = `{"alg":"HS256","kid":"k1","typ":"ws-ticket+jwt"}`
	payload = `{"jti":"n","iat":1795219200,"exp":1795219210}`
)

func ticket(header, payload string, macLen int) string {
	return encode([]byte(header)) + "." + encode([]byte(payload)) + "." + encode(make([]byte, macLen))
}

func TestRead(t *testing.T) {
	good := ticket(header, payload, 32)
	for text, want := range map[string]string{
		good: "",
		ticket(`{"typ":"JWT","alg":"HS256","kid":"k1"}`, `{"jti":"n","iat":1.5,"exp":3}`, 5): `typ is "JWT", want ws-ticket+jwt` +
			"\niat is not an integer of seconds (1.5)\nthe MAC has 5 bytes, and those of HS256, HS384 and HS512 have 32, 48 and 64",
		ticket(header, payload, 48):                       "the MAC has 48 bytes, and that of HS256 has 32",
		ticket(header, `{"jti":"n","iat":2,"exp":2}`, 32): "exp is not after iat: iat 2, exp 2",
		"": "a ticket has two dots, this has 0\nthe header is not a JSON object\nthe payload is not a JSON object\n" +
			"the MAC has 0 bytes, and those of HS256, HS384 and HS512 have 32, 48 and 64",
		good + ".x.y": "a ticket has two dots, this has 4\nthe MAC is not base64url: it holds something else than A-Z a-z 0-9 - _, such as the + / = of other base64",
		good + "\r":   "the MAC is not base64url: it holds something else than A-Z a-z 0-9 - _, such as the + / = of other base64",
		ticket(`{"alg":"none","typ":"JWT"}`, "[]", 0): "alg is \"none\", want HS256, HS384 or HS512\nthe payload is not a JSON object\n" +
			"the MAC has 0 bytes, and those of HS256, HS384 and HS512 have 32, 48 and 64",
		ticket(header, strings.Repeat(" ", 1536)+payload, 32): "a ticket has at most 2048 bytes, this has 2217\nthe payload has 1581 bytes, and that of no ticket has more than 1536",
	} {
		r := Read([]byte(text), 2048)
		if got := strings.Join(r.Faults(), "\n"); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}

// What is wrong with one part does not hide the others.
func TestTheRestIsRead(t *testing.T) {
	r := Read([]byte("!."+encode([]byte(`{"iat":1795219200.5,"exp":1795219210,"session_exp":17952192000000}`))), 2048)
	if r.Header.Decoded != nil || !strings.HasPrefix(string(r.Payload.Decoded), `{"iat"`) {
		t.Errorf("%+v", r)
	}
	if exp, ok := r.Time("exp"); exp != 1795219210 || !ok {
		t.Error(exp, ok)
	}
	for _, name := range []string{"iat", "nbf"} {
		if n, ok := r.Time(name); ok {
			t.Errorf("%s is read as %d", name, n)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(ticket(header, payload, 32))
	f.Add(ticket(header, `{"jti":"n","jti":"\ud800","iat":1e9,"exp":"x"}`, 31))
	f.Add("a.b.c.d")
	f.Fuzz(func(t *testing.T, text string) {
		r := Read([]byte(text), 2048)
		for _, fault := range r.Faults() {
			if strings.ContainsAny(fault, "\n\r\x1b\x00\u2028\u202e") {
				t.Fatalf("%q: %q", text, fault)
			}
		}
		r.Time("iat")
	})
}
