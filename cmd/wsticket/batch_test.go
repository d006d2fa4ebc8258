package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
)

// FuzzJSONLines: with -json each line of input gets one line of output, an object with
// "ok", whatever the ticket says; also where its MAC is right, so that the values in it
// are shown.
func FuzzJSONLines(f *testing.F) {
	secret := bytes.Repeat([]byte{7}, 32)
	path := filepath.Join(f.TempDir(), "keys.json")
	encode := base64.RawURLEncoding.EncodeToString
	if err := os.WriteFile(path, []byte(`{"keys":[{"kty":"oct","alg":"HS256","kid":"k","k":"`+encode(secret)+`"}]}`), 0o600); err != nil {
		f.Fatal(err)
	}
	const header = `{"alg":"HS256","kid":"k","typ":"ws-ticket+jwt"}`
	for _, payload := range []string{
		`{"jti":"n","iat":1795219200,"exp":1795219210}`, `{"jti":"n\u2028\u202e\u001b","iat":1795219200,"exp":1795219210,"aud":["a","` + "\u2028\u0085\u202e" + `"]}`,
		"{\n\"jti\":\"n\",\r\n\"iat\":1795219200,\"exp\":1795219260,\t\"path\":\"/a\\n\"}", `{"jti":"n","iat":1.5}`, `{"jti":"\n"}`, "{\"jti\":\"\xff\"}", `[]`, `null`, ``, "{\"a\":\"\x00\n\"}",
		`{"jti":"n","iat":1795219200,"exp":1795219210,"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":1}}}}}}}}`, `{"jti":"n","jti":"n"}`, `{"\u006ati":1}`,
		`{"jti":"n","iat":1795219200,"exp":1795219210,"aud":"","iss":"x","scope":"y","origin":"z","path":"/","ip":"::1"}`,
		`{"jti":"n","iat":0,"exp":253402300799,"nbf":253402300799,"session_exp":0}`, `{"jti":"n","iat":5,"exp":5}`,
	} {
		f.Add([]byte(header), []byte(payload), []byte("x.y.z"))
	}
	f.Add([]byte(`{"alg":"none","kid":"k","typ":"JWT\n"}`), []byte(`{}`), []byte("a\tb\r\x00\xff"))
	f.Add([]byte("{\"alg\":\"HS256\",\"kid\":\"k\",\"typ\":\"\u2028\"}"), []byte(`{}`), bytes.Repeat([]byte("."), 70_000))
	f.Add([]byte("{\"alg\":\"HS256\",\"kid\":\"k\",\"typ\":\"ws-ticket+jwt\",\"\xff\":1}"), []byte(`{}`), []byte("\r"))
	f.Fuzz(func(t *testing.T, header, payload, other []byte) {
		signed := encode(header) + "." + encode(payload)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(signed))
		input := signed + "." + encode(mac.Sum(nil)) + "\r\n" + strings.ReplaceAll(string(other), "\n", "") + "\n"
		for _, args := range [][]string{
			{"verify", "-json", "-keys", path, "-"}, {"verify", "-json", "-keys", path, "-aud", "a", "-path", "/b", "-"}, {"inspect", "-json", "-"},
			{"explain", "-json", "-keys", path, "-"}, {"explain", "-json", "-keys", path, "-aud", "a", "-iss", "i", "-scope", "s", "-origin", "https://o", "-ip", "192.0.2.1", "-path", "/p", "-"},
		} {
			code, stdout, stderr := try(time.Unix(1_795_219_205, 0), strings.NewReader(input), args...)
			refused := false
			if n := strings.Count(stdout, "\n"); n != 2 || stderr != "" {
				t.Fatalf("%v: %d lines, %q, %q", args[:2], n, stdout, stderr)
			}
			for line := range strings.Lines(stdout) {
				var answer struct{ OK *bool }
				if err := json.Unmarshal([]byte(line), &answer); err != nil || answer.OK == nil {
					t.Fatalf("%v: %q: %v", args[:2], line, err)
				}
				if i := strings.IndexFunc(line[:len(line)-1], func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
					t.Fatalf("%v: %q holds what is no print", args[:2], line)
				}
				refused = refused || !*answer.OK
			}
			if refused != (code == exitRefused) || !refused && code != 0 {
				t.Fatalf("%v: exit code %d, refused %v", args[:2], code, refused)
			}
		}
	})
}
