// Command generate writes the test vectors beside it, one file a vector.
//
//	go run ./testdata/vectors/generate.go          rewrite the files
//	go run ./testdata/vectors/generate.go -check   say whether they are up to date
//
// It shares no code with the library: headers and payloads are written by hand
// as strings, and the MAC is the standard library's. What a vector means is in
// README.md. The file is long because it is a table.
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

func main() {
	dir := flag.String("dir", filepath.Join("testdata", "vectors"), "where the vectors are")
	check := flag.Bool("check", false, "write nothing; exit 1 when a file is missing, stale or left over")
	flag.Parse()

	selfTest()
	files := vectorFiles{bytes: map[string][]byte{}, questions: map[string]string{}}
	for _, f := range [][]vector{
		acceptVectors(), headerVectors(), payloadVectors(), claimVectors(), timeVectors(), audienceVectors(), issuerVectors(), scopeVectors(),
		originVectors(), pathVectors(), ipVectors(), macVectors(), textVectors(), lengthVectors(), keyVectors(), orderVectors(),
	} {
		for _, v := range f {
			files.add(v.name, v.file())
		}
	}
	for _, v := range keyringVectors() {
		files.add(v.name, v.file())
	}
	for _, v := range signingVectors() {
		files.add(v.name, v.file())
	}
	if err := reconcile(*dir, files.bytes, *check); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// A vector is one ticket, all that its verdict depends on, and the verdict.
// Fields left at zero take the defaults that fill names.
type vector struct {
	name, why string

	keyring         string
	now             int64
	leeway          int // 0 means 2, none means 0
	maxTTL, maxLen  int
	aud, iss, scope []string
	sole            string

	origin, path, ip string // of the handshake; empty: it has none

	header, payload string
	text            func(h, p string) (string, string) // changes the encoded text before the MAC is taken over it
	secret          []byte
	hash            func() hash.Hash
	mac             func(signed string, mac []byte) []byte // another MAC than the right one
	after           func(ticket string) string             // changes the finished ticket

	expect string // a refusal code; empty means ok
}

const (
	// t0 is the iat of nearly every ticket: 2026-11-21T00:00:00Z.
	t0   = 1795219200
	none = -1

	// latest is the last time of the format: 9999-12-31T23:59:59Z.
	latest int64 = 253402300799

	stdHeader  = `{"alg":"HS256","kid":"k1","typ":"ws-ticket+jwt"}`
	stdPayload = `{"jti":"AAECAwQFBgcICQoLDA0ODw","iat":1795219200,"exp":1795219210,"sub":"user-1"}`
)

var (
	secret256  = sequence(0x01, 32)
	secret384  = sequence(0x40, 48)
	secret512  = sequence(0x80, 64)
	stdKey     = key("k1", "HS256", secret256)
	stdKeyring = ring(stdKey)
)

func (v vector) fill() vector {
	if v.keyring == "" {
		v.keyring = stdKeyring
	}
	if v.now == 0 {
		v.now = t0 + 5
	}
	switch v.leeway {
	case 0:
		v.leeway = 2
	case none:
		v.leeway = 0
	}
	if v.maxTTL == 0 {
		v.maxTTL = 60
	}
	if v.maxLen == 0 {
		v.maxLen = 2048
	}
	if v.header == "" {
		v.header = stdHeader
	}
	if v.payload == "" {
		v.payload = stdPayload
	}
	if v.secret == nil {
		v.secret = secret256
	}
	if v.hash == nil {
		v.hash = sha256.New
	}
	if v.expect == "" {
		v.expect = "ok"
	}
	return v
}

func (v vector) file() []byte {
	v = v.fill()
	h, p := b64(v.header), b64(v.payload)
	if v.text != nil {
		h, p = v.text(h, p)
	}
	signed := h + "." + p
	mac := sum(v.hash, v.secret, signed)
	identity := mac[:16]
	if v.mac != nil {
		mac = v.mac(signed, mac)
	}
	ticket := signed + "." + b64(string(mac))
	if v.after != nil {
		ticket = v.after(ticket)
	}

	var f file
	f.line("kind", "ticket")
	f.line("comment", v.why)
	f.line("keyring", v.keyring)
	f.line("now", fmt.Sprint(v.now))
	f.line("leeway", fmt.Sprint(v.leeway))
	f.line("max-ttl", fmt.Sprint(v.maxTTL))
	f.line("max-len", fmt.Sprint(v.maxLen))
	f.lines("audience", v.aud)
	f.optional("sole-audience", v.sole)
	f.lines("issuer", v.iss)
	f.lines("require-scope", v.scope)
	f.optional("origin", v.origin)
	f.optional("path", v.path)
	f.optional("ip", v.ip)
	f.line("header", v.header)
	f.line("payload", v.payload)
	f.line("ticket", ticket)
	f.line("expect", v.expect)
	if v.expect == "ok" {
		f.line("identity", hex.EncodeToString(identity))
	}
	return f.Bytes()
}

// ---- accepted spellings

func acceptVectors() []vector {
	vs := []vector{
		{name: "accept-plain", why: "The form that a signer writes: three header members in order, a 16-byte nonce, iat, exp and sub. No aud for a verifier without audiences, no binding."},
		{name: "accept-minimal", why: "Only jti, iat and exp are required by the format; a signer of this project requires sub too.", payload: `{"jti":"a","iat":1795219200,"exp":1795219210}`},
		{name: "accept-worked-example", why: "The example of docs/ticket-format.md, byte for byte.", aud: []string{"chat"}, origin: "https://app.example", path: "/ws/room-7", ip: "192.0.2.10",
			payload: `{"jti":"AAECAwQFBgcICQoLDA0ODw","iat":1795219200,"exp":1795219210,"sub":"user-42","aud":"chat","origin":"https://app.example","path":"/ws/*"}`},
		{name: "accept-every-claim", why: "Every claim of the format at once, all of them right.", aud: []string{"chat"}, iss: []string{"app"}, scope: []string{"read"},
			origin: "https://app.example", path: "/ws/room", ip: "192.0.2.10",
			payload: plus(`"nbf":1795219200,"aud":"chat","iss":"app","scope":"read write","sid":"s-1","session_exp":1795222800,"origin":"https://app.example","path":"/ws/*","ip":"192.0.2.0/24"`)},
		{name: "accept-claims-reversed", why: "The order of the claims means nothing.", payload: `{"sub":"user-1","exp":1795219210,"iat":1795219200,"jti":"AAECAwQFBgcICQoLDA0ODw"}`},
		{name: "accept-hs384", why: "HS384 with a key of 48 bytes.", keyring: ring(key("k3", "HS384", secret384)), header: head("HS384", "k3"), secret: secret384, hash: sha512.New384},
		{name: "accept-hs512", why: "HS512 with a key of 64 bytes.", keyring: ring(key("k5", "HS512", secret512)), header: head("HS512", "k5"), secret: secret512, hash: sha512.New},
		{name: "accept-mixed-algs", why: "A keyring may hold keys of all three algorithms; kid picks the key and the key decides the algorithm.",
			keyring: ring(stdKey, key("k3", "HS384", secret384), key("k5", "HS512", secret512)), header: head("HS384", "k3"), secret: secret384, hash: sha512.New384},
		{name: "accept-key-of-block-length", why: "A 64-byte HS256 key fills the hash block exactly.", keyring: ring(key("k1", "HS256", sequence(1, 64))), secret: sequence(1, 64)},
		{name: "accept-key-over-block-length", why: "HMAC hashes a key longer than the block first (RFC 2104 section 2): 65 bytes for HS256.", keyring: ring(key("k1", "HS256", sequence(1, 65))), secret: sequence(1, 65)},
		{name: "accept-hs512-key-over-block-length", why: "HMAC hashes a key longer than the block first: 129 bytes for HS512.", keyring: ring(key("k5", "HS512", sequence(1, 129))), header: head("HS512", "k5"), secret: sequence(1, 129), hash: sha512.New},
		{name: "accept-rfc7515-key", why: "The key of RFC 7515 appendix A.1, 64 bytes, on a ticket.", keyring: ring(`{"kty":"oct","kid":"k1","alg":"HS256","k":"` + rfc7515Key + `"}`), secret: unb64(rfc7515Key)},
		{name: "accept-kid-one-character", why: "A kid may have one character; the encoded header is then shorter than a hash block.", keyring: ring(key("k", "HS256", secret256)), header: head("HS256", "k")},
		{name: "accept-kid-64-characters", why: "A kid may have 64 characters.", keyring: ring(key(strings.Repeat("k", 64), "HS256", secret256)), header: head("HS256", strings.Repeat("k", 64))},
		{name: "accept-kid-all-punctuation", why: "- . _ ~ are legal in a kid.", keyring: ring(key("-._~", "HS256", secret256)), header: head("HS256", "-._~")},
		{name: "accept-kid-dots", why: "A kid of dots alone is a legal name like any other, not a path.", keyring: ring(key("..", "HS256", secret256)), header: head("HS256", "..")},
		{name: "accept-kid-2026", why: "A kid as keyrings are likely to write it.", keyring: ring(key("2026-11-21-a", "HS256", secret256)), header: head("HS256", "2026-11-21-a")},
	}
	for _, o := range [][3]string{{"alg", "typ", "kid"}, {"kid", "alg", "typ"}, {"kid", "typ", "alg"}, {"typ", "alg", "kid"}, {"typ", "kid", "alg"}} {
		for _, a := range []struct {
			alg    string
			kid    string
			secret []byte
			hash   func() hash.Hash
		}{{"HS256", "k1", secret256, sha256.New}, {"HS384", "k3", secret384, sha512.New384}, {"HS512", "k5", secret512, sha512.New}} {
			member := map[string]string{"alg": `"alg":"` + a.alg + `"`, "kid": `"kid":"` + a.kid + `"`, "typ": `"typ":"ws-ticket+jwt"`}
			vs = append(vs, vector{name: "accept-order-" + strings.Join(o[:], "-") + "-" + strings.ToLower(a.alg), why: "All six orders of the header members are legal; the plain one is in accept-plain.",
				keyring: ring(key(a.kid, a.alg, a.secret)), secret: a.secret, hash: a.hash, header: "{" + member[o[0]] + "," + member[o[1]] + "," + member[o[2]] + "}"})
		}
	}
	return vs
}

// ---- header

func headerVectors() []vector {
	var vs []vector
	ok := func(name, why, header string) {
		vs = append(vs, vector{name: "header-" + name, why: why, header: header})
	}
	bad := func(name, why, header string) {
		vs = append(vs, vector{name: "header-" + name, why: why, header: header, expect: "malformed"})
	}
	ok("space-after-colon-and-comma", "White space between tokens is legal JSON, and the MAC is over the text as it is.", `{"alg": "HS256", "kid": "k1", "typ": "ws-ticket+jwt"}`)
	ok("space-everywhere", "Space, tab, CR and LF between all tokens and around the object are legal JSON (RFC 8259 section 2).", " \t\r\n{ \"typ\"\t:\r\n\"ws-ticket+jwt\" , \"kid\" : \"k1\" , \"alg\" : \"HS256\" } \n")
	ok("escape-in-alg", "A value may be written with escapes: HS\\u0032\\u00356 is HS256.", `{"alg":"HS\u0032\u00356","kid":"k1","typ":"ws-ticket+jwt"}`)
	ok("escape-in-kid", "A value may be written with escapes: \\u006b1 is k1.", `{"alg":"HS256","kid":"\u006b1","typ":"ws-ticket+jwt"}`)
	ok("escape-in-typ", "Writers that escape + write \\u002b: the value is the same.", `{"alg":"HS256","kid":"k1","typ":"ws-ticket\u002bjwt"}`)
	ok("escape-upper-case-hex", "The four hex digits of an escape may be upper case.", `{"alg":"HS256","kid":"\u006B1","typ":"ws-ticket\u002Bjwt"}`)
	ok("escape-whole-value", "Every character of a value may be an escape.", `{"alg":"\u0048\u0053\u0032\u0035\u0036","kid":"\u006b\u0031","typ":"\u0077\u0073\u002d\u0074\u0069\u0063\u006b\u0065\u0074\u002b\u006a\u0077\u0074"}`)

	bad("alg-none", "alg none is no algorithm, even with a MAC that is right.", head("none", "k1"))
	bad("alg-none-mixed-case", "NoNe is no algorithm either.", head("NoNe", "k1"))
	bad("alg-lower-case", "Algorithm names are case-sensitive.", head("hs256", "k1"))
	bad("alg-trailing-space", "The value is compared whole.", head("HS256 ", "k1"))
	bad("alg-rs256", "A public-key algorithm with an HMAC under it: the key decides, never the ticket.", head("RS256", "k1"))
	bad("alg-es256", "Only HS256, HS384 and HS512 exist here.", head("ES256", "k1"))
	bad("alg-hs1", "Only HS256, HS384 and HS512 exist here.", head("HS1", "k1"))
	bad("alg-empty", "An empty alg is no algorithm.", head("", "k1"))
	bad("alg-missing", "alg is required.", `{"kid":"k1","typ":"ws-ticket+jwt"}`)
	bad("alg-null", "alg is a string.", `{"alg":null,"kid":"k1","typ":"ws-ticket+jwt"}`)
	bad("alg-number", "alg is a string.", `{"alg":256,"kid":"k1","typ":"ws-ticket+jwt"}`)
	bad("alg-array", "alg is a string.", `{"alg":["HS256"],"kid":"k1","typ":"ws-ticket+jwt"}`)

	bad("kid-missing", "kid is required, also when the keyring holds one key only.", `{"alg":"HS256","typ":"ws-ticket+jwt"}`)
	bad("kid-null", "kid is a string.", `{"alg":"HS256","kid":null,"typ":"ws-ticket+jwt"}`)
	bad("kid-number", "kid is a string.", `{"alg":"HS256","kid":1,"typ":"ws-ticket+jwt"}`)
	bad("kid-array", "kid is a string.", `{"alg":"HS256","kid":["k1"],"typ":"ws-ticket+jwt"}`)
	bad("kid-empty", "A kid has at least one character.", head("HS256", ""))
	bad("kid-65-characters", "A kid has at most 64 characters.", head("HS256", strings.Repeat("k", 65)))
	bad("kid-path", "A slash is not a kid character, so a kid can never be a file name.", head("HS256", "../../dev/null"))
	bad("kid-sql", "Quotes and spaces are not kid characters.", head("HS256", "k1' OR '1'='1"))
	bad("kid-nul", "NUL is not a kid character: k1 and a NUL is not k1.", head("HS256", `k1\u0000`))
	bad("kid-leading-space", "A space is not a kid character, and nothing is trimmed.", head("HS256", " k1"))
	bad("kid-newline", "A line feed is not a kid character, and nothing is trimmed.", head("HS256", `k1\n`))
	bad("kid-not-ascii", "Letters outside ASCII are not kid characters.", head("HS256", "k1é"))
	bad("kid-percent", "Percent is not a kid character, and nothing is percent-decoded.", head("HS256", "k%31"))
	bad("kid-url", "A kid is never a URL.", head("HS256", "https://attacker.example/key"))

	bad("typ-missing", "typ is required: explicit typing, RFC 8725 section 3.11.", `{"alg":"HS256","kid":"k1"}`)
	bad("typ-jwt", "A session JWT signed with the same key is no ticket.", `{"alg":"HS256","kid":"k1","typ":"JWT"}`)
	bad("typ-upper-case", "typ is compared byte for byte.", `{"alg":"HS256","kid":"k1","typ":"WS-Ticket+JWT"}`)
	bad("typ-media-type", "The application/ prefix that RFC 7515 section 4.1.9 leaves out is not accepted in this profile.", `{"alg":"HS256","kid":"k1","typ":"application/ws-ticket+jwt"}`)
	bad("typ-longer", "typ is compared whole.", `{"alg":"HS256","kid":"k1","typ":"ws-ticket+jwts"}`)
	bad("typ-space", "A + is not a space.", `{"alg":"HS256","kid":"k1","typ":"ws-ticket jwt"}`)
	bad("typ-empty", "An empty typ is not the type.", `{"alg":"HS256","kid":"k1","typ":""}`)
	bad("typ-null", "typ is a string.", `{"alg":"HS256","kid":"k1","typ":null}`)

	for _, m := range []struct{ name, member, why string }{
		{"crit-exp", `"crit":["exp"]`, "No extension is understood, so crit is never accepted."},
		{"crit-empty", `"crit":[]`, "Also an empty crit is an unknown member."},
		{"b64-false", `"b64":false`, "Unencoded payloads (RFC 7797) do not exist here."},
		{"b64-true", `"b64":true`, "b64 is an unknown member, whatever it says."},
		{"jwk", `"jwk":{"kty":"oct","k":"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA"}`, "A ticket does not bring its own key."},
		{"jku", `"jku":"https://attacker.example/keys"`, "A ticket does not say where keys are."},
		{"x5u", `"x5u":"https://attacker.example/cert"`, "A ticket does not say where certificates are."},
		{"x5c", `"x5c":["AA"]`, "A ticket does not bring certificates."},
		{"zip", `"zip":"DEF"`, "Nothing is compressed."},
		{"cty", `"cty":"JWT"`, "Exactly three members: also a harmless one more is refused."},
		{"unknown", `"x":1`, "Exactly three members."},
		{"upper-case-member", `"ALG":"HS256"`, "Names are case-sensitive: ALG is an unknown member."},
		{"empty-name", `"":0`, "Exactly three members."},
	} {
		bad(m.name, m.why, `{"alg":"HS256","kid":"k1","typ":"ws-ticket+jwt",`+m.member+`}`)
	}
	bad("unknown-first", "An unknown member is refused wherever it stands.", `{"x":1,"alg":"HS256","kid":"k1","typ":"ws-ticket+jwt"}`)

	bad("duplicate-alg", "Each member once, even with the same value.", `{"alg":"HS256","alg":"HS256","kid":"k1","typ":"ws-ticket+jwt"}`)
	bad("duplicate-alg-none-first", "Each member once: the last one is right.", `{"alg":"none","alg":"HS256","kid":"k1","typ":"ws-ticket+jwt"}`)
	bad("duplicate-alg-none-last", "Each member once: the first one is right.", `{"alg":"HS256","kid":"k1","typ":"ws-ticket+jwt","alg":"none"}`)
	bad("duplicate-kid", "Each member once, even with the same value.", `{"alg":"HS256","kid":"k1","kid":"k1","typ":"ws-ticket+jwt"}`)
	bad("duplicate-kid-other-first", "Each member once: the last one is right.", `{"alg":"HS256","kid":"k2","kid":"k1","typ":"ws-ticket+jwt"}`)
	bad("duplicate-kid-other-last", "Each member once: the first one is right.", `{"alg":"HS256","kid":"k1","kid":"k2","typ":"ws-ticket+jwt"}`)
	bad("duplicate-typ", "Each member once, even with the same value.", `{"alg":"HS256","kid":"k1","typ":"ws-ticket+jwt","typ":"ws-ticket+jwt"}`)
	bad("duplicate-typ-other-first", "Each member once: the last one is right.", `{"typ":"JWT","alg":"HS256","kid":"k1","typ":"ws-ticket+jwt"}`)
	bad("escaped-name-alg", "Header names are written unescaped.", `{"\u0061lg":"HS256","kid":"k1","typ":"ws-ticket+jwt"}`)
	bad("escaped-name-kid", "Header names are written unescaped.", `{"alg":"HS256","k\u0069d":"k1","typ":"ws-ticket+jwt"}`)
	bad("escaped-name-typ", "Header names are written unescaped.", `{"alg":"HS256","kid":"k1","ty\u0070":"ws-ticket+jwt"}`)
	bad("escaped-name-duplicate", "An escaped alg beside alg is both an escaped name and a duplicate.", `{"alg":"HS256","kid":"k1","typ":"ws-ticket+jwt","\u0061lg":"HS256"}`)

	bad("empty-object", "The three members are required.", `{}`)
	bad("array", "The header is an object.", `[{"alg":"HS256","kid":"k1","typ":"ws-ticket+jwt"}]`)
	bad("string", "The header is an object.", `"HS256"`)
	bad("null", "The header is an object.", `null`)
	bad("trailing-brace", "Nothing but white space may follow the object.", stdHeader+"}")
	bad("trailing-object", "Nothing but white space may follow the object.", stdHeader+stdHeader)
	bad("trailing-nul", "NUL is not white space.", stdHeader+"\x00")
	bad("trailing-comma", "JSON has no trailing comma.", `{"alg":"HS256","kid":"k1","typ":"ws-ticket+jwt",}`)
	bad("unclosed", "The object is not closed.", `{"alg":"HS256","kid":"k1","typ":"ws-ticket+jwt"`)
	bad("missing-colon", "A colon stands between name and value.", `{"alg""HS256","kid":"k1","typ":"ws-ticket+jwt"}`)
	bad("missing-comma", "A comma stands between members.", `{"alg":"HS256""kid":"k1","typ":"ws-ticket+jwt"}`)
	bad("single-quotes", "JSON strings stand in double quotes.", `{'alg':'HS256','kid':'k1','typ':'ws-ticket+jwt'}`)
	bad("form-feed", "Form feed is not JSON white space.", "{\f\"alg\":\"HS256\",\"kid\":\"k1\",\"typ\":\"ws-ticket+jwt\"}")
	bad("bom", "A byte order mark is not white space (RFC 8259 section 8.1).", "\uFEFF"+stdHeader)
	bad("utf16", "JSON is UTF-8.", utf16le(stdHeader))
	bad("comment", "JSON has no comments.", `{"alg":"HS256",/**/"kid":"k1","typ":"ws-ticket+jwt"}`)
	bad("bad-escape", "A backslash and x is no JSON escape.", `{"alg":"HS256","kid":"\x6b1","typ":"ws-ticket+jwt"}`)
	bad("short-escape", "A \\u escape has four hex digits.", `{"alg":"HS256","kid":"\u6b","typ":"ws-ticket+jwt"}`)
	bad("raw-control", "A raw control character may not stand in a string.", "{\"alg\":\"HS256\",\"kid\":\"k1\t\",\"typ\":\"ws-ticket+jwt\"}")
	return vs
}

// ---- payload: JSON syntax

func payloadVectors() []vector {
	var vs []vector
	ok := func(name, why, payload string) {
		vs = append(vs, vector{name: "payload-" + name, why: why, payload: payload})
	}
	bad := func(name, why, payload string) {
		vs = append(vs, vector{name: "payload-" + name, why: why, payload: payload, expect: "malformed"})
	}
	x := func(value string) string { return plus(`"x":` + value) }

	ok("white-space", "Space, tab, LF and CR between all tokens and around the object are legal.", " \t\r\n{ \"jti\" :\n\"a\" ,\r\n\"iat\"\t:\t1795219200 , \"exp\" : 1795219210 , \"x\" : [ 1 , { } ] }\r\n\t ")
	ok("unknown-members", "Members that the format does not know are ignored by the verifier and kept for the application.", plus(`"room":"7","admin":false,"n":null,"level":3,"tags":["a","b"],"o":{"a":{"b":[1,2]}}`))
	ok("unknown-first", "An unknown member may stand anywhere.", `{"x":{"exp":1},"jti":"a","iat":1795219200,"exp":1795219210}`)
	ok("unknown-numbers", "Numbers of other members are any JSON number.", x(`[0,-0,-1,1.5,-0.25,1e10,1E+2,2e-3,0.5e-3,1e400,123456789012345678901234567890]`))
	ok("empty-containers", "Empty objects and arrays are values.", x(`[{},[],{"a":[]},[{}]]`))
	ok("empty-name", "A name may be empty.", plus(`"":1`))
	ok("case-differs", "Names are case-sensitive: EXP is an unknown member and never overrides exp.", plus(`"EXP":1,"Exp":"no","JTI":7`))
	ok("nested-claim-names", "A claim name below the top level is the application's business.", x(`{"exp":1,"iat":"x","jti":[],"aud":5,"ip":"none"}`))
	ok("nested-duplicates", "Duplicate names below the top level are the application's business.", x(`{"a":1,"a":2}`))
	ok("nested-escaped-names", "Escaped names below the top level are the application's business.", x(`{"\u0061":1,"a\n":2}`))
	ok("similar-names", "Two names that Unicode would normalize to one are two names.", plus("\"\u00e9\":1,\"e\u0301\":2"))
	ok("escapes", "All eight short escapes and \\u in a value.", x(`"\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC"`))
	ok("escaped-nul", "\\u0000 in a value is a character like any other.", x(`"a\u0000b"`))
	ok("surrogate-pair", "A surrogate pair written with two escapes is one character.", x(`"\ud83d\ude00\uD83D\uDE00"`))
	ok("utf8", "Two-, three- and four-byte UTF-8 in names and values.", plus(`"clé":"€","名":"😀"`))
	ok("utf8-edges", "The first and last character of each UTF-8 length, and those around the surrogates.", x("\"\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff\""))
	ok("replacement-character-raw", "U+FFFD is a character like any other, not a sign of bad UTF-8.", x("\"\ufffd\""))
	ok("delete-raw", "U+007F may stand raw in a string (RFC 8259 section 7).", x("\"\x7f\""))
	ok("line-separators-raw", "U+2028 and U+2029 may stand raw in a string.", x("\"\u2028\u2029\""))
	ok("bom-in-string", "U+FEFF inside a string is a character, not a byte order mark.", x("\"\uFEFF\""))
	ok("html-escapes", "Writers that escape & and < write \\u0026 and \\u003c.", x(`"a\u0026b\u003cc"`))
	ok("slash-escaped", "Writers that escape / write \\/: the strings are the same.", plus(`"iss":"https:\/\/app.example"`))
	ok("jti-escaped", "The nonce may be written with escapes.", swap(`"AAECAwQFBgcICQoLDA0ODw"`, `"\u0041AECAwQFBgcICQoLDA0ODw"`))
	ok("depth-8-arrays", "Eight levels, the object itself is the first.", x(nest("[", "]", 7)))
	ok("depth-8-objects", "Eight levels of objects.", x(strings.Repeat(`{"a":`, 6)+`{}`+strings.Repeat("}", 6)))
	ok("depth-8-scalar", "A value within the eighth level is no level of its own.", x(strings.Repeat("[", 7)+`"a"`+strings.Repeat("]", 7)))
	ok("depth-siblings", "Depth is how deep, not how many: containers side by side do not add up.", x(`[`+strings.Repeat(`[],{},`, 20)+`[]]`))
	ok("brackets-in-string", "Brackets inside a string are no levels.", x(`"`+strings.Repeat("[{", 30)+`"`))

	bad("depth-9-arrays", "Nine levels.", x(nest("[", "]", 8)))
	bad("depth-9-objects", "Nine levels of objects.", x(strings.Repeat(`{"a":`, 7)+`{}`+strings.Repeat("}", 7)))
	bad("depth-9-mixed", "Nine levels of arrays and objects by turns.", x(strings.Repeat(`[{"a":`, 4)+`0`+strings.Repeat("}]", 4)))
	bad("depth-deep", "Five hundred levels must not exhaust a stack.", `{"jti":"a","iat":1795219200,"exp":1795219210,"x":`+nest("[", "]", 500)+`}`)

	vs = append(vs, vector{name: "payload-empty", why: "An empty payload is not an object.", text: func(h, _ string) (string, string) { return h, "" }, expect: "malformed"})
	bad("empty-object", "jti, iat and exp are required.", "{}")
	bad("array", "The payload is an object.", "["+stdPayload+"]")
	bad("string", "The payload is an object.", `"`+strings.ReplaceAll(stdPayload, `"`, `\"`)+`"`)
	bad("null", "The payload is an object.", "null")
	bad("white-space-only", "White space is no object.", " \n")
	bad("trailing-brace", "Nothing but white space may follow the object.", stdPayload+"}")
	bad("trailing-object", "Nothing but white space may follow the object.", stdPayload+stdPayload)
	bad("trailing-letters", "Nothing but white space may follow the object.", stdPayload+"x")
	bad("trailing-comma-after", "Nothing but white space may follow the object.", stdPayload+",")
	bad("trailing-nul", "NUL is not white space.", stdPayload+"\x00")
	bad("leading-letters", "Nothing but white space may precede the object.", "x"+stdPayload)
	bad("bom", "A byte order mark is not white space (RFC 8259 section 8.1).", "\uFEFF"+stdPayload)
	bad("utf16le", "JSON is UTF-8.", utf16le(stdPayload))
	bad("utf16be", "JSON is UTF-8.", utf16be(stdPayload))
	bad("form-feed", "Form feed is not JSON white space.", "\f"+stdPayload)
	bad("vertical-tab", "Vertical tab is not JSON white space.", stdPayload+"\v")
	bad("no-break-space", "U+00A0 is not JSON white space.", "\u00a0"+stdPayload)
	bad("unclosed", "The object is not closed.", strings.TrimSuffix(stdPayload, "}"))
	bad("unclosed-string", "The string is not closed.", strings.TrimSuffix(stdPayload, `"}`))
	bad("trailing-comma", "JSON has no trailing comma.", strings.TrimSuffix(stdPayload, "}")+",}")
	bad("leading-comma", "A comma stands between members only.", "{,"+stdPayload[1:])
	bad("double-comma", "A comma stands between members only.", swap(`,"iat"`, `,,"iat"`))
	bad("missing-comma", "A comma stands between members.", swap(`,"iat"`, `"iat"`))
	bad("missing-colon", "A colon stands between name and value.", swap(`"iat":`, `"iat" `))
	bad("missing-value", "A member has a value.", x(``))
	bad("name-not-string", "A name is a string.", plus(`x:1`))
	bad("name-number", "A name is a string.", plus(`1:1`))
	bad("single-quotes", "JSON strings stand in double quotes.", x(`'a'`))
	bad("comment-block", "JSON has no comments.", plus(`/* a */"x":1`))
	bad("comment-line", "JSON has no comments.", stdPayload+"//")
	bad("array-trailing-comma", "JSON has no trailing comma.", x(`[1,]`))
	bad("array-leading-comma", "A comma stands between elements only.", x(`[,1]`))
	bad("array-missing-comma", "A comma stands between elements.", x(`[1 2]`))
	bad("array-unclosed", "The array is not closed by a brace.", x(`[1`))
	bad("object-trailing-comma", "JSON has no trailing comma, at any level.", x(`{"a":1,}`))
	bad("brackets-crossed", "Brackets and braces close in the order they opened.", x(`[{]}`))

	bad("literal-upper-case", "The literals are lower case.", x(`True`))
	bad("literal-short", "tru is no literal.", x(`tru`))
	bad("literal-long", "nulll is no literal.", x(`nulll`))
	bad("literal-undefined", "undefined is no literal.", x(`undefined`))
	for _, n := range []struct{ name, number string }{
		{"leading-zero", "01"}, {"leading-plus", "+1"}, {"leading-point", ".5"}, {"trailing-point", "1."}, {"minus-alone", "-"}, {"minus-leading-zero", "-01"}, {"hex", "0x10"},
		{"nan", "NaN"}, {"infinity", "Infinity"}, {"minus-infinity", "-Infinity"}, {"exponent-empty", "1e"}, {"exponent-sign", "1e+"}, {"exponent-fraction", "1e1.5"}, {"two-points", "1.2.3"}, {"underscore", "1_000"}, {"letters", "1a"},
	} {
		bad("number-"+n.name, "Not a JSON number (RFC 8259 section 6), in a member that nobody reads.", x(n.number))
	}

	bad("duplicate-exp-same", "A name given twice is refused, even with the same value.", plus(`"exp":1795219210`))
	bad("duplicate-exp-good-first", "A name given twice is refused: the first is right.", plus(`"exp":1`))
	bad("duplicate-exp-good-last", "A name given twice is refused: the last is right.", `{"exp":1,"jti":"a","iat":1795219200,"exp":1795219210}`)
	bad("duplicate-jti", "A name given twice is refused.", plus(`"jti":"b"`))
	bad("duplicate-sub", "A name given twice is refused.", plus(`"sub":"admin"`))
	bad("duplicate-unknown", "A name given twice is refused, known to the format or not.", plus(`"x":1,"x":1`))
	bad("duplicate-unknown-apart", "A name given twice is refused, also with others between.", `{"x":1,"jti":"a","iat":1795219200,"exp":1795219210,"y":2,"x":[]}`)
	bad("duplicate-empty-name", "The empty name given twice is refused.", plus(`"":1,"":2`))
	bad("duplicate-many", "The last of many unknown names is given twice.", plus(`"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1,"m":1,"n":1,"o":1,"p":1,"q":1,"r":1,"s":1,"t":1,"t":1`))
	for _, c := range []struct{ name, members string }{
		{"nbf", `"nbf":1795219200,"nbf":1795219200`}, {"aud", `"aud":"chat","aud":"chat"`}, {"iss", `"iss":"a","iss":"a"`}, {"scope", `"scope":"a","scope":"a"`}, {"sid", `"sid":"a","sid":"a"`},
		{"session-exp", `"session_exp":1795222800,"session_exp":1795222800`}, {"origin", `"origin":"https://app.example","origin":"https://app.example"`}, {"path", `"path":"/ws","path":"/ws"`}, {"ip", `"ip":"192.0.2.10","ip":"192.0.2.10"`},
		{"iat", `"iat":1795219200`},
	} {
		v := vector{name: "payload-duplicate-" + c.name, why: "A name given twice is refused, even with the same value.", payload: plus(c.members), expect: "malformed", origin: "https://app.example", path: "/ws", ip: "192.0.2.10"}
		if c.name == "aud" {
			v.aud = []string{"chat"}
		}
		vs = append(vs, v)
	}
	bad("escaped-exp", "A top-level name written with an escape is refused, though it would unescape to exp.", swap(`"exp"`, `"\u0065xp"`))
	bad("escaped-exp-beside-exp", "A top-level name written with an escape is refused: here exp would come twice.", plus(`"\u0065xp":1795219210`))
	bad("escaped-unknown-name", "A top-level name written with an escape is refused, known or not.", plus(`"\u0078":1`))
	bad("escaped-unknown-name-short", "Also the short escapes, in a name that cannot be written without one.", plus(`"a\"b":1`))
	bad("escaped-slash-name", "Also the escape that no name needs.", plus(`"a\/b":1`))

	for _, s := range []struct{ name, value, why string }{
		{"lone-high-surrogate", `"\ud83d"`, "A high surrogate without its low one is no character."},
		{"lone-low-surrogate", `"\ude00"`, "A low surrogate alone is no character."},
		{"surrogates-swapped", `"\ude00\ud83d"`, "Low before high is no pair."},
		{"high-high-low", `"\ud83d\ud83d\ude00"`, "The first high surrogate has no low one."},
		{"high-then-letter", `"\ud83dx"`, "A letter follows the high surrogate."},
		{"high-then-low-without-backslash", `"\ud83d/ude00"`, "The second half is no escape."},
		{"high-then-low-without-u", `"\ud83d\nde00"`, "The second half is another escape, with the low surrogate's digits behind it."},
		{"high-then-other-escape", `"\ud83d\n"`, "Another escape follows the high surrogate."},
		{"high-then-bmp-escape", `"\ud83d\u0041"`, "An escape that is no low surrogate follows the high one."},
		{"lone-surrogate-nested", `{"a":["\ud800"]}`, "Strings are checked at every level."},
		{"lone-surrogate-nested-name", `{"\udfff":1}`, "Names below the top level are strings too."},
		{"escape-x", `"\x41"`, "No JSON escape."},
		{"escape-a", `"\a"`, "No JSON escape."},
		{"escape-0", `"\0"`, "No JSON escape."},
		{"escape-quote", `"\'"`, "No JSON escape."},
		{"escape-upper-u", `"\U0041"`, "No JSON escape: the u is lower case."},
		{"escape-short", `"\u123"`, "A \\u escape has four hex digits."},
		{"escape-not-hex", `"\u12G4"`, "A \\u escape has four hex digits."},
		{"escape-signed-hex", `"\u+123"`, "A \\u escape has four hex digits."},
		{"escape-newline", "\"\\\n\"", "A line cannot be continued with a backslash."},
		{"escape-nested-name", `{"\q":1}`, "Bad escapes are refused in names below the top level too."},
		{"control-nul", "\"\x00\"", "A raw control character may not stand in a string."},
		{"control-tab", "\"\t\"", "A raw tab may not stand in a string."},
		{"control-newline", "\"\n\"", "A raw line feed may not stand in a string."},
		{"control-1f", "\"\x1f\"", "U+001F is the last control character that must be escaped."},
		{"control-nested-name", "{\"a\x01\":1}", "Names below the top level are strings too."},
		{"utf8-ff", "\"\xff\"", "0xFF is never UTF-8."},
		{"utf8-lone-continuation", "\"\x80\"", "A continuation byte alone is not UTF-8."},
		{"utf8-overlong-2", "\"\xc0\xaf\"", "An overlong slash is not UTF-8."},
		{"utf8-overlong-3", "\"\xe0\x80\xaf\"", "An overlong slash in three bytes is not UTF-8."},
		{"utf8-overlong-4", "\"\xf0\x80\x80\xaf\"", "An overlong slash in four bytes is not UTF-8."},
		{"utf8-surrogate", "\"\xed\xa0\x80\"", "A surrogate in UTF-8 bytes is not UTF-8."},
		{"utf8-surrogate-pair", "\"\xed\xa0\xbd\xed\xb8\x80\"", "CESU-8 is not UTF-8."},
		{"utf8-above-10ffff", "\"\xf4\x90\x80\x80\"", "Nothing above U+10FFFF exists."},
		{"utf8-five-bytes", "\"\xf8\x88\x80\x80\x80\"", "Five-byte forms are not UTF-8."},
		{"utf8-truncated", "\"\xe2\x82\"", "A character cut short by the closing quote."},
		{"utf8-latin1", "\"caf\xe9\"", "Latin-1 is not UTF-8."},
		{"utf8-nested-name", "{\"\xff\":1}", "Names below the top level are strings too."},
	} {
		bad(s.name, s.why, x(s.value))
	}
	bad("utf8-name", "Invalid UTF-8 in a top-level name.", plus("\"\xff\":1"))
	bad("utf8-outside-string", "Bytes outside a string that are no token.", plus("\xc2\xa0\"x\":1"))
	bad("control-name", "A raw control character in a top-level name.", plus("\"a\tb\":1"))
	bad("exp-in-string", "exp inside a string is no claim.", `{"jti":"a","iat":1795219200,"x":"\"exp\":1795219210"}`)
	bad("exp-nested-only", "exp inside a nested object is no claim.", `{"jti":"a","iat":1795219200,"x":{"exp":1795219210}}`)
	bad("exp-upper-case-only", "EXP is not exp.", `{"jti":"a","iat":1795219200,"EXP":1795219210}`)
	return vs
}

// ---- claims: presence and type

func claimVectors() []vector {
	var vs []vector
	ok := func(name, why, payload string) {
		vs = append(vs, vector{name: "claim-" + name, why: why, payload: payload})
	}
	bad := func(name, why, payload string) {
		vs = append(vs, vector{name: "claim-" + name, why: why, payload: payload, expect: "malformed"})
	}
	jti := func(value string) string { return swap(`"AAECAwQFBgcICQoLDA0ODw"`, value) }

	bad("jti-missing", "jti is required.", `{"iat":1795219200,"exp":1795219210,"sub":"user-1"}`)
	bad("jti-empty", "jti has at least one byte.", jti(`""`))
	bad("jti-number", "jti is a string.", jti(`7`))
	bad("jti-null", "jti is a string.", jti(`null`))
	bad("jti-array", "jti is a string.", jti(`["a"]`))
	ok("jti-one-byte", "jti may have one byte.", jti(`"a"`))
	ok("jti-128-bytes", "jti may have 128 bytes.", jti(`"`+strings.Repeat("j", 128)+`"`))
	bad("jti-129-bytes", "jti has at most 128 bytes.", jti(`"`+strings.Repeat("j", 129)+`"`))
	ok("jti-128-escaped", "The bytes are counted once unescaped: 128 escapes are 128 bytes.", jti(`"`+strings.Repeat(`\u006a`, 128)+`"`))
	bad("jti-129-escaped", "The bytes are counted once unescaped: 129 escapes are 129 bytes.", jti(`"`+strings.Repeat(`\u006a`, 129)+`"`))
	ok("jti-128-in-utf8", "Bytes are counted, not characters: 64 of two bytes.", jti(`"`+strings.Repeat("é", 64)+`"`))
	bad("jti-130-in-utf8", "Bytes are counted, not characters: 65 of two bytes.", jti(`"`+strings.Repeat("é", 65)+`"`))
	bad("jti-132-in-pairs", "Bytes are counted once unescaped: 33 surrogate pairs are 132 bytes.", jti(`"`+strings.Repeat(`\ud83d\ude00`, 33)+`"`))
	ok("jti-any-text", "jti is any text: spaces, quotes and NUL too.", jti(`" \"\u0000é"`))

	for _, c := range []string{"iat", "exp"} {
		v := map[string]string{"iat": "1795219200", "exp": "1795219210"}[c]
		put := func(value string) string { return swap(`"`+c+`":`+v, `"`+c+`":`+value) }
		bad(c+"-missing", c+" is required.", swap(`,"`+c+`":`+v, ""))
		bad(c+"-null", c+" is an integer.", put("null"))
		bad(c+"-string", c+" is an integer, not a string of digits.", put(`"`+v+`"`))
		bad(c+"-true", c+" is an integer.", put("true"))
		bad(c+"-array", c+" is an integer.", put("["+v+"]"))
		bad(c+"-object", c+" is an integer.", put(`{"v":`+v+`}`))
		bad(c+"-fraction", "No fraction, also when it is zero.", put(v+".0"))
		bad(c+"-exponent", "No exponent, also when the value is an integer.", put(v[:1]+"."+v[1:]+"e9"))
		bad(c+"-exponent-zero", "No exponent, also when it is zero.", put(v+"e0"))
		bad(c+"-leading-zero", "No leading zero.", put("0"+v))
		bad(c+"-plus", "No sign.", put("+"+v))
		bad(c+"-hex", "Decimal digits only: the right time in hex.", put(map[string]string{"iat": "0x6b00df00", "exp": "0x6b00df0a"}[c]))
	}
	exp := func(value string) string { return swap(`"exp":1795219210`, `"exp":`+value) }
	bad("exp-negative", "No sign.", exp("-1795219210"))
	bad("exp-nan", "NaN is no JSON.", exp("NaN"))
	bad("exp-infinity", "Infinity is no JSON.", exp("Infinity"))
	bad("exp-1e400", "No exponent; as a float it would be infinite and never expire.", exp("1e400"))
	bad("exp-2-63", "Beyond the year 9999: 2^63 would overflow to a negative time.", exp("9223372036854775808"))
	bad("exp-2-64", "Beyond the year 9999: 2^64 + exp would wrap to a good time.", exp("18446744075504770826"))
	bad("exp-empty", "A value is needed.", exp(""))
	vs = append(vs,
		vector{name: "claim-time-latest", why: "The last time is the end of the year 9999.", now: latest - 5, payload: fmt.Sprintf(`{"jti":"a","iat":%d,"exp":%d}`, latest-9, latest)},
		vector{name: "claim-exp-year-10000", why: "A time is not later than the year 9999.", now: latest - 3, payload: fmt.Sprintf(`{"jti":"a","iat":%d,"exp":%d}`, latest-5, latest+1), expect: "malformed"},
		vector{name: "claim-iat-year-10000", why: "A time is not later than the year 9999.", now: latest + 2, payload: fmt.Sprintf(`{"jti":"a","iat":%d,"exp":%d}`, latest+1, latest+6), expect: "malformed"},
		vector{name: "claim-nbf-year-10000", why: "A time is not later than the year 9999; before it is asked whether the ticket is valid yet.", payload: plus(fmt.Sprintf(`"nbf":%d`, latest+1)), expect: "malformed"},
		vector{name: "claim-session-exp-year-10000", why: "A time is not later than the year 9999.", payload: plus(fmt.Sprintf(`"session_exp":%d`, latest+1)), expect: "malformed"},
		vector{name: "claim-session-exp-latest", why: "The last time is the end of the year 9999.", payload: plus(fmt.Sprintf(`"session_exp":%d`, latest))},
		vector{name: "claim-exp-12-digits", why: "Twelve digits can be beyond the year 9999.", now: 999999999997, payload: `{"jti":"a","iat":999999999990,"exp":999999999999}`, expect: "malformed"},
		vector{name: "claim-exp-16-digits", why: "A time is not later than the year 9999.", now: 999999999999997, payload: `{"jti":"a","iat":999999999999995,"exp":1000000000000000}`, expect: "malformed"},
		vector{name: "claim-times-milliseconds", why: "iat and exp in milliseconds, now too: the commonest slip.", now: t0*1000 + 5, maxTTL: 3600, payload: `{"jti":"a","iat":1795219200000,"exp":1795219203000}`, expect: "malformed"},
		vector{name: "claim-exp-milliseconds", why: "Milliseconds are beyond the year 9999: malformed, and not ttl_too_long.", payload: swap(`"exp":1795219210`, `"exp":1795219210000`), expect: "malformed"},
		vector{name: "claim-nbf-milliseconds", why: "Milliseconds are beyond the year 9999: malformed, and not not_yet_valid.", payload: plus(`"nbf":1795219200000`), expect: "malformed"},
		vector{name: "claim-session-exp-milliseconds", why: "A session_exp in milliseconds would be a connection that never ends.", payload: plus(`"session_exp":1795222800000`), expect: "malformed"},
		vector{name: "claim-iat-zero", why: "0 is a time: one digit.", now: 1, payload: `{"jti":"a","iat":0,"exp":1}`},
		vector{name: "claim-iat-minus-zero", why: "No sign, not even on zero.", now: 1, payload: `{"jti":"a","iat":-0,"exp":1}`, expect: "malformed"},
		vector{name: "claim-iat-negative", why: "No sign.", now: 1, payload: `{"jti":"a","iat":-1,"exp":2}`, expect: "malformed"},
		vector{name: "claim-iat-two-zeros", why: "No leading zero.", now: 1, payload: `{"jti":"a","iat":00,"exp":1}`, expect: "malformed"},
	)

	for _, c := range []struct{ name, claim, good string }{{"nbf", "nbf", "1795219200"}, {"session-exp", "session_exp", "1795222800"}} {
		put := func(value string) string { return plus(`"` + c.claim + `":` + value) }
		bad(c.name+"-null", "Where present, "+c.claim+" is an integer.", put("null"))
		bad(c.name+"-string", "Where present, "+c.claim+" is an integer.", put(`"`+c.good+`"`))
		bad(c.name+"-false", "Where present, "+c.claim+" is an integer.", put("false"))
		bad(c.name+"-fraction", "No fraction.", put(c.good+".5"))
		bad(c.name+"-exponent", "No exponent.", put("1e9"))
	}
	bad("nbf-negative", "No sign; taken as a number it would lie in the past and pass.", plus(`"nbf":-1`))
	bad("session-exp-1e400", "No exponent; as a float it would never end.", plus(`"session_exp":1e400`))

	for _, c := range []string{"sub", "iss", "scope", "sid", "origin", "path", "ip"} {
		put := func(value string) string {
			if c == "sub" {
				return swap(`"user-1"`, value)
			}
			return plus(`"` + c + `":` + value)
		}
		for _, t := range []struct{ name, value string }{{"null", "null"}, {"number", "1"}, {"true", "true"}, {"array", `["a"]`}, {"object", `{}`}} {
			vs = append(vs, vector{name: "claim-" + c + "-" + t.name, why: "Where present, " + c + " is a string.", payload: put(t.value), expect: "malformed", origin: "https://app.example", path: "/ws", ip: "192.0.2.10"})
		}
	}
	bad("sub-empty", "Where present, sub is not empty.", swap(`"user-1"`, `""`))
	ok("sub-any-text", "sub is any text, escapes and UTF-8 included.", swap(`"user-1"`, `"\u0075ser 1 \/ é \ud83d\ude00"`))
	ok("sid-empty", "Only jti, sub, path and ip may not be empty.", plus(`"sid":""`))
	ok("sid", "sid is for the application, to close live connections by.", plus(`"sid":"session-7"`))
	ok("iss-unasked", "A verifier that lists no issuers takes any.", plus(`"iss":"whoever"`))
	ok("scope-unasked", "A verifier that requires no scope takes any.", plus(`"scope":"read write"`))
	return vs
}

// ---- times

func timeVectors() []vector {
	var vs []vector
	t := func(name, why, expect string, now int64, leeway int, iat, exp int64, more string) {
		p := fmt.Sprintf(`{"jti":"a","iat":%d,"exp":%d%s}`, iat, exp, more)
		vs = append(vs, vector{name: "time-" + name, why: why, now: now, leeway: leeway, payload: p, expect: expect})
	}
	for _, l := range []struct {
		name   string
		leeway int
		d      int64
	}{{"leeway-0", none, 0}, {"leeway-2", 0, 2}, {"leeway-5", 5, 5}} {
		d := l.d
		t("exp-last-second-"+l.name, "The last second before exp + leeway.", "", t0+10+d-1, l.leeway, t0, t0+10, "")
		t("exp-reached-"+l.name, "At exp + leeway a ticket has expired.", "expired", t0+10+d, l.leeway, t0, t0+10, "")
		t("iat-at-leeway-"+l.name, "iat may be now + leeway.", "", t0-d, l.leeway, t0, t0+10, "")
		t("iat-beyond-leeway-"+l.name, "iat later than now + leeway.", "not_yet_valid", t0-d-1, l.leeway, t0, t0+10, "")
		t("nbf-at-leeway-"+l.name, "From nbf - leeway on a ticket is valid.", "", t0+6-d, l.leeway, t0, t0+10, fmt.Sprintf(`,"nbf":%d`, t0+6))
		t("nbf-beyond-leeway-"+l.name, "A second before nbf - leeway.", "not_yet_valid", t0+6-d-1, l.leeway, t0, t0+10, fmt.Sprintf(`,"nbf":%d`, t0+6))
		t("session-last-second-"+l.name, "The last second before session_exp, which has no leeway.", "", t0+5, l.leeway, t0, t0+10, fmt.Sprintf(`,"session_exp":%d`, t0+6))
		t("session-reached-"+l.name, "At session_exp the session is over, whatever the leeway.", "expired", t0+6, l.leeway, t0, t0+10, fmt.Sprintf(`,"session_exp":%d`, t0+6))
	}
	t("expired-long-ago", "A ticket of yesterday.", "expired", t0+86400, 0, t0, t0+10, "")
	t("iat-far-ahead", "A ticket of tomorrow.", "not_yet_valid", t0-86400, 0, t0, t0+10, "")
	t("nbf-zero", "nbf long past.", "", t0+5, 0, t0, t0+10, `,"nbf":0`)
	t("nbf-before-iat", "nbf and iat do not depend on each other.", "", t0+5, 0, t0, t0+10, fmt.Sprintf(`,"nbf":%d`, t0-100))
	t("session-zero", "A session that ended in 1970.", "expired", t0+5, 0, t0, t0+10, `,"session_exp":0`)
	t("session-before-exp", "session_exp may come before exp: it bounds the connection, not the ticket.", "", t0+1, 0, t0, t0+10, fmt.Sprintf(`,"session_exp":%d`, t0+2))
	t("ttl-1", "exp - iat may be 1.", "", t0, 0, t0, t0+1, "")
	t("ttl-0", "exp - iat below 1, though now is within the leeway of both.", "malformed", t0, 0, t0, t0, "")
	t("ttl-negative", "exp before iat, though now is within the leeway of both.", "malformed", t0, 0, t0+1, t0, "")
	t("ttl-at-max", "exp - iat may be the max TTL.", "", t0+5, 0, t0, t0+60, "")
	t("ttl-over-max", "exp - iat is one over the max TTL.", "ttl_too_long", t0+5, 0, t0, t0+61, "")
	t("ttl-over-max-near-end", "The max TTL is about the signed times, not about what is left of them.", "ttl_too_long", t0+3599, 0, t0, t0+3600, "")
	t("ttl-huge", "exp at the end of the year 9999.", "ttl_too_long", t0+5, 0, t0, latest, "")
	t("ttl-no-leeway", "Leeway does not lengthen the max TTL.", "ttl_too_long", t0+5, 5, t0, t0+62, "")
	vs = append(vs,
		vector{name: "time-ttl-at-lower-max", why: "A verifier may set its own max TTL.", maxTTL: 10},
		vector{name: "time-ttl-over-lower-max", why: "A verifier may set its own max TTL: 11 over 10.", maxTTL: 10, payload: swap("1795219210", "1795219211"), expect: "ttl_too_long"},
		vector{name: "time-ttl-at-higher-max", why: "A verifier may set its own max TTL.", maxTTL: 300, payload: swap("1795219210", "1795219500")},
	)
	return vs
}

// ---- aud, iss, scope

func audienceVectors() []vector {
	var vs []vector
	a := func(name, why, expect string, ours []string, member string) {
		v := vector{name: "aud-" + name, why: why, aud: ours, expect: expect}
		if member != "" {
			v.payload = plus(`"aud":` + member)
		}
		vs = append(vs, v)
	}
	chat, both := []string{"chat"}, []string{"chat", "feed"}
	a("string", "aud equals our audience.", "", chat, `"chat"`)
	a("array-one", "An array of one is the same as the string.", "", chat, `["chat"]`)
	a("array-ours-last", "One of the ticket's audiences must be ours.", "", chat, `["mail","feed","chat"]`)
	a("array-twice", "The same audience twice is no fault.", "", chat, `["chat","chat"]`)
	a("second-of-ours", "A verifier may have several audiences.", "", both, `"feed"`)
	a("array-second-of-ours", "A verifier may have several audiences.", "", both, `["mail","feed"]`)
	a("escaped", "Values are unescaped before they are compared.", "", chat, `"\u0063hat"`)
	a("ampersand", "jwx and others write & as \\u0026.", "", []string{"a&b"}, `"a\u0026b"`)
	a("array-escaped", "Values are unescaped before they are compared, in arrays too.", "", []string{"a&b"}, `["x","a\u0026b"]`)
	a("utf8", "Bytes are compared: an escape and the raw character are one value.", "", []string{"é"}, `"\u00e9"`)
	a("missing", "A verifier with audiences requires one.", "audience", chat, "")
	a("other", "Another audience.", "audience", chat, `"feed"`)
	a("array-without-ours", "None of them is ours.", "audience", chat, `["mail","feed"]`)
	a("upper-case", "Audiences are case-sensitive.", "audience", chat, `"CHAT"`)
	a("prefix", "A part of ours is not ours.", "audience", chat, `"cha"`)
	a("longer", "Ours with more behind it is not ours.", "audience", chat, `"chat2"`)
	a("trailing-slash", "Nothing is normalized.", "audience", []string{"https://gw.example"}, `"https://gw.example/"`)
	a("not-a-list", "aud is not split at spaces.", "audience", chat, `"chat feed"`)
	a("nul", "Values are compared whole, NUL included.", "audience", chat, `"chat\u0000"`)
	a("empty-string", "The empty audience is not ours.", "audience", chat, `""`)
	a("unnormalized", "Two spellings that Unicode would normalize to one are two values.", "audience", []string{"é"}, `"e\u0301"`)
	a("unasked-string", "A verifier without audiences refuses a ticket that carries aud (RFC 7519 section 4.1.3).", "audience", nil, `"chat"`)
	a("unasked-array", "A verifier without audiences refuses a ticket that carries aud.", "audience", nil, `["chat"]`)
	a("unasked-empty-string", "An empty aud is an aud.", "audience", nil, `""`)
	a("empty-array", "An array of audiences is not empty.", "malformed", chat, `[]`)
	a("unasked-empty-array", "An array of audiences is not empty, also where no audience is asked for.", "malformed", nil, `[]`)
	a("array-number-first", "An array of audiences holds strings only, though ours is among them.", "malformed", chat, `[1,"chat"]`)
	a("array-number-last", "An array of audiences holds strings only, also behind ours.", "malformed", chat, `["chat",1]`)
	a("array-null", "An array of audiences holds strings only.", "malformed", chat, `["chat",null]`)
	a("array-nested", "An array of audiences holds strings only.", "malformed", chat, `["chat",["chat"]]`)
	a("array-object", "An array of audiences holds strings only.", "malformed", chat, `["chat",{}]`)
	a("number", "aud is a string or an array of strings.", "malformed", chat, `1`)
	a("null", "aud is a string or an array of strings; null is not the same as absent.", "malformed", chat, `null`)
	a("unasked-null", "null is not the same as absent.", "malformed", nil, `null`)
	a("object", "aud is a string or an array of strings.", "malformed", chat, `{"chat":true}`)
	s := func(name, why, expect string, member string) {
		v := vector{name: "aud-sole-" + name, why: why, sole: "node-1", expect: expect}
		if member != "" {
			v.payload = plus(`"aud":` + member)
		}
		vs = append(vs, v)
	}
	s("string", "aud is ours and nothing else.", "", `"node-1"`)
	s("array-one", "An array of one is the same as the string.", "", `["node-1"]`)
	s("escaped", "Values are unescaped before they are compared.", "", `"node\u002d1"`)
	s("missing", "A verifier with a sole audience requires it.", "audience", "")
	s("other", "Another node's ticket.", "audience", `"node-2"`)
	s("array-first", "Ours is named, and another beside it, who would take the ticket too.", "audience", `["node-1","node-2"]`)
	s("array-last", "Ours is named, and another beside it, who would take the ticket too.", "audience", `["node-2","node-1"]`)
	s("array-twice", "Ours twice is not ours alone.", "audience", `["node-1","node-1"]`)
	s("array-empty-string", "The empty audience beside ours is another.", "audience", `["node-1",""]`)
	s("prefix", "A part of ours is not ours.", "audience", `"node-"`)
	return vs
}

func issuerVectors() []vector {
	var vs []vector
	i := func(name, why, expect string, ours []string, member string) {
		v := vector{name: "iss-" + name, why: why, iss: ours, expect: expect}
		if member != "" {
			v.payload = plus(`"iss":` + member)
		}
		vs = append(vs, v)
	}
	app, both := []string{"https://app.example"}, []string{"https://app.example", "admin"}
	i("match", "iss is the issuer we list.", "", app, `"https://app.example"`)
	i("second", "iss is one of the issuers we list.", "", both, `"admin"`)
	i("escaped", "Values are unescaped before they are compared.", "", app, `"https:\/\/app.example"`)
	i("missing", "A verifier that lists issuers requires one.", "issuer", app, "")
	i("other", "Another issuer.", "issuer", app, `"https://evil.example"`)
	i("upper-case", "Issuers are compared byte for byte.", "issuer", app, `"https://APP.example"`)
	i("trailing-slash", "Nothing is normalized.", "issuer", app, `"https://app.example/"`)
	i("prefix", "A part of ours is not ours.", "issuer", app, `"https://app"`)
	i("empty", "The empty issuer is not ours.", "issuer", app, `""`)
	i("unasked-empty", "A verifier that lists no issuers takes any, an empty one too.", "", nil, `""`)
	return vs
}

func scopeVectors() []vector {
	var vs []vector
	s := func(name, why, expect string, required []string, member string) {
		v := vector{name: "scope-" + name, why: why, scope: required, expect: expect}
		if member != "" {
			v.payload = plus(`"scope":` + member)
		}
		vs = append(vs, v)
	}
	read, both := []string{"read"}, []string{"read", "write"}
	s("only", "The required scope is the only one.", "", read, `"read"`)
	s("first", "The required scope is listed.", "", read, `"read write"`)
	s("middle", "The required scope is listed.", "", read, `"admin read write"`)
	s("last", "The required scope is listed.", "", read, `"admin read"`)
	s("both", "All that is required is listed, in any order.", "", both, `"write x read"`)
	s("escaped", "The value is unescaped before it is split.", "", both, `"re\u0061d\u0020write"`)
	s("missing", "A verifier that requires a scope requires the claim.", "scope", read, "")
	s("empty", "An empty list lists nothing.", "scope", read, `""`)
	s("other", "The required scope is not listed.", "scope", read, `"write admin"`)
	s("one-of-two", "Each required scope must be listed.", "scope", both, `"read"`)
	s("other-of-two", "Each required scope must be listed.", "scope", both, `"write"`)
	s("prefix", "Part of a listed scope is not that scope.", "scope", read, `"read:all readonly"`)
	s("suffix", "Part of a listed scope is not that scope.", "scope", read, `"unread"`)
	s("upper-case", "Scopes are case-sensitive (RFC 6749 section 3.3).", "scope", read, `"READ"`)
	s("comma", "The list is separated by spaces, not commas.", "scope", read, `"read,write"`)
	s("tab", "The list is separated by spaces, not tabs.", "scope", read, `"read\twrite"`)
	s("unasked-empty", "No scope is required.", "", nil, `""`)
	return vs
}

// ---- bindings

func originVectors() []vector {
	var vs []vector
	o := func(name, why, expect, claim, origin string) {
		v := vector{name: "origin-" + name, why: why, expect: expect, origin: origin}
		if claim != "" {
			v.payload = plus(`"origin":` + claim)
		}
		vs = append(vs, v)
	}
	const app = "https://app.example"
	o("match", "The claim equals the handshake's Origin.", "", `"https://app.example"`, app)
	o("escaped", "The claim is unescaped before it is compared.", "", `"https:\/\/app.example"`, app)
	o("port", "A port is part of an origin.", "", `"https://app.example:8443"`, app+":8443")
	o("null", "null is the Origin of a sandboxed page, and compared like any other.", "", `"null"`, "null")
	o("unbound", "A ticket without the claim is not bound.", "", "", app)
	o("absent", "An absent Origin never counts as a match.", "origin", `"https://app.example"`, "")
	o("absent-empty-claim", "An absent Origin never counts as a match, not even of an empty claim.", "origin", `""`, "")
	o("other", "Another origin.", "origin", `"https://app.example"`, "https://evil.example")
	o("upper-case", "Compared byte for byte: the case matters.", "origin", `"https://App.example"`, app)
	o("trailing-slash", "Compared byte for byte: an origin has no path.", "origin", `"https://app.example/"`, app)
	o("scheme", "Compared byte for byte: http is not https.", "origin", `"http://app.example"`, app)
	o("default-port", "Compared byte for byte: the default port is not removed from a claim.", "origin", `"https://app.example:443"`, app)
	o("subdomain", "A subdomain is another origin.", "origin", `"https://app.example"`, "https://x.app.example")
	o("suffix", "An origin that starts like ours is another.", "origin", `"https://app.example"`, "https://app.example.evil.example")
	o("wildcard", "A claim has no wildcards.", "origin", `"*"`, app)
	o("null-other", "A sandboxed page is no origin of ours.", "origin", `"https://app.example"`, "null")
	o("list", "A claim is one origin, not a list.", "origin", `"https://app.example https://b.example"`, app)
	return vs
}

func pathVectors() []vector {
	var vs []vector
	p := func(name, why, expect, claim, path string) {
		v := vector{name: "path-" + name, why: why, expect: expect, path: path}
		if claim != "" {
			v.payload = plus(`"path":` + claim)
		}
		vs = append(vs, v)
	}
	p("match", "The claim matches itself.", "", `"/ws"`, "/ws")
	p("root", "The root matches itself.", "", `"/"`, "/")
	p("escaped-claim", "The claim is unescaped as JSON before it is compared.", "", `"\/w\u0073"`, "/ws")
	p("percent-letter", "The request path is percent-decoded once.", "", `"/ws"`, "/w%73")
	p("percent-space", "The request path is percent-decoded once.", "", `"/a b"`, "/a%20b")
	p("percent-utf8", "The decoded bytes are compared.", "", `"/caf\u00e9"`, "/caf%C3%A9")
	p("percent-lower-hex", "Percent-escapes may be lower case.", "", `"/caf\u00e9"`, "/caf%c3%a9")
	p("percent-twice", "Decoded once, not twice: %2520 is %20.", "", `"/a%20b"`, "/a%2520b")
	p("claim-not-decoded", "The claim is not percent-decoded.", "path", `"/a%20b"`, "/a%20b")
	p("plus", "A + in a path is a +.", "", `"/a+b"`, "/a+b")
	p("plus-is-no-space", "A + in a path is no space.", "path", `"/a b"`, "/a+b")
	p("other", "Another path.", "path", `"/ws"`, "/admin")
	p("upper-case", "Paths are case-sensitive.", "path", `"/ws"`, "/WS")
	p("below", "A claim without /* matches itself only.", "path", `"/ws"`, "/ws/room")
	p("above", "The path above is another.", "path", `"/ws/room"`, "/ws")
	p("trailing-slash", "/ws/ is not /ws.", "path", `"/ws"`, "/ws/")
	p("trailing-slash-claim", "/ws is not /ws/.", "path", `"/ws/"`, "/ws")
	p("longer", "/ws2 is not /ws.", "path", `"/ws"`, "/ws2")
	p("absent", "An unknown path never counts as a match.", "path", `"/ws"`, "")
	p("unbound", "A ticket without the claim is not bound.", "", "", "/anything")

	p("wildcard-child", "/a/* matches what is below /a/.", "", `"/a/*"`, "/a/b")
	p("wildcard-deep", "/a/* matches all that is below /a/, not one level only.", "", `"/a/*"`, "/a/b/c/d")
	p("wildcard-itself", "/a/* matches /a/.", "", `"/a/*"`, "/a/")
	p("wildcard-trailing-slash", "An empty last segment is legal below a wildcard.", "", `"/a/*"`, "/a/b/")
	p("wildcard-percent", "The decoded path is compared with the wildcard.", "", `"/a/*"`, "/%61/b")
	p("wildcard-star", "A star in the request path is a star.", "", `"/a/*"`, "/a/*")
	p("wildcard-root", "/* matches every path.", "", `"/*"`, "/a/b")
	p("wildcard-root-itself", "/* matches /.", "", `"/*"`, "/")
	p("wildcard-parent", "/a/* does not match /a.", "path", `"/a/*"`, "/a")
	p("wildcard-sibling", "/a/* does not match /ab.", "path", `"/a/*"`, "/ab")
	p("wildcard-other", "/a/* does not match below another path.", "path", `"/a/*"`, "/b/a/c")
	p("wildcard-upper-case", "Paths are case-sensitive, below a wildcard too.", "path", `"/a/*"`, "/A/b")
	p("star-without-slash", "Only /* at the end is a wildcard: /a* is a plain value.", "path", `"/a*"`, "/ab")
	p("star-without-slash-itself", "/a* matches itself.", "", `"/a*"`, "/a*")
	p("star-in-the-middle", "Only /* at the end is a wildcard.", "path", `"/a/*/c"`, "/a/b/c")
	p("star-in-the-middle-itself", "A plain value matches itself.", "", `"/a/*/c"`, "/a/*/c")
	p("two-stars", "/a/** does not end in /*: a plain value.", "path", `"/a/**"`, "/a/b")
	p("wildcard-slash", "/a/*/ does not end in /*: a plain value.", "path", `"/a/*/"`, "/a/b/")

	p("dot-dot", "A .. segment is refused, though the path as written lies below the claim.", "path", `"/a/*"`, "/a/../b")
	p("dot-dot-last", "A .. segment is refused at the end too.", "path", `"/a/*"`, "/a/b/..")
	p("dot-dot-percent", "A .. segment is refused in percent-escapes too.", "path", `"/a/*"`, "/a/%2e%2E/b")
	p("dot-dot-half-percent", "A .. segment is refused half escaped too.", "path", `"/a/*"`, "/a/.%2e/b")
	p("dot", "A . segment is refused.", "path", `"/a/*"`, "/a/./b")
	p("dot-last", "A . segment is refused at the end too.", "path", `"/a/*"`, "/a/.")
	p("dot-percent", "A . segment is refused in percent-escapes too.", "path", `"/a/*"`, "/a/%2E")
	p("dot-dot-equal", "A .. segment is refused also where the claim has the same one.", "path", `"/a/../b"`, "/a/../b")
	p("dot-equal", "A . segment is refused also where the claim has the same one.", "path", `"/a/."`, "/a/.")
	p("empty-segment", "An empty segment other than the last is refused.", "path", `"/a/*"`, "/a//b")
	p("empty-segment-first", "An empty segment other than the last is refused, also the first.", "path", `"/*"`, "//a")
	p("empty-segment-end", "Two slashes at the end: the one before the last is empty.", "path", `"/a/*"`, "/a/b//")
	p("empty-segment-root", "// has an empty segment that is not the last.", "path", `"/*"`, "//")
	p("empty-segment-equal", "An empty segment is refused also where the claim has the same one.", "path", `"/a//b"`, "/a//b")
	p("encoded-slash", "An encoded slash is refused.", "path", `"/a/*"`, "/a/b%2Fc")
	p("encoded-slash-lower", "An encoded slash is refused in lower case too.", "path", `"/a/*"`, "/a/b%2fc")
	p("encoded-slash-equal", "An encoded slash is refused also where the decoded path equals the claim.", "path", `"/a/b"`, "/a%2Fb")
	p("encoded-backslash", "An encoded backslash is refused.", "path", `"/a/*"`, "/a/b%5Cc")
	p("encoded-backslash-equal", "An encoded backslash is refused also where the decoded path equals the claim.", "path", `"/a\\b"`, "/a%5cb")
	p("encoded-nul", "An encoded NUL is refused.", "path", `"/a/*"`, "/a/b%00")
	p("encoded-nul-equal", "An encoded NUL is refused also where the decoded path equals the claim.", "path", `"/a\u0000"`, "/a%00")
	p("bad-escape", "A path that cannot be decoded answers no claim. (A gateway refuses such a request earlier, as bad_handshake.)", "path", `"/*"`, "/a%zz")
	p("short-escape", "A path that cannot be decoded answers no claim.", "path", `"/*"`, "/a%2")
	p("unbound-dot-dot", "Without the claim the path is the application's business.", "", "", "/a/../b//c%2Fd")
	p("dots-in-name", "Dots within a segment are a name, not a step.", "", `"/a/*"`, "/a/..b/c../.../.d")
	p("encoded-percent", "An encoded percent sign is no encoded slash: %252F is %2F.", "", `"/a/%2F"`, "/a/%252F")

	p("relative", "A path claim starts with a slash.", "malformed", `"ws"`, "/ws")
	p("empty", "A path claim starts with a slash.", "malformed", `""`, "/")
	p("star-alone", "A path claim starts with a slash.", "malformed", `"*"`, "/ws")
	p("url", "A path claim is a path, not a URL.", "malformed", `"https://gw.example/ws"`, "/ws")
	return vs
}

func ipVectors() []vector {
	var vs []vector
	i := func(name, why, expect, claim, ip string) {
		v := vector{name: "ip-" + name, why: why, expect: expect, ip: ip}
		if claim != "" {
			v.payload = plus(`"ip":"` + claim + `"`)
		}
		vs = append(vs, v)
	}
	i("v4", "The peer's address.", "", "192.0.2.10", "192.0.2.10")
	i("v6", "The peer's address.", "", "2001:db8::1", "2001:db8::1")
	i("v6-long", "Addresses are compared, not their spelling.", "", "2001:0DB8:0:0:0:0:0:0001", "2001:db8::1")
	i("unbound", "A ticket without the claim is not bound.", "", "", "192.0.2.10")
	i("v4-other", "Another address.", "ip", "192.0.2.10", "192.0.2.11")
	i("v4-prefix-of-text", "Addresses are compared, not their spelling.", "ip", "192.0.2.1", "192.0.2.10")
	i("v6-other", "Another address.", "ip", "2001:db8::1", "2001:db8::2")
	i("absent", "An unknown address never counts as a match.", "ip", "192.0.2.10", "")
	i("absent-all", "An unknown address never counts as a match, not even of a prefix of all addresses.", "ip", "0.0.0.0/0", "")
	i("v4-cidr", "The address is in the prefix.", "", "192.0.2.0/24", "192.0.2.10")
	i("v4-cidr-first", "The first address of a prefix.", "", "192.0.2.64/26", "192.0.2.64")
	i("v4-cidr-last", "The last address of a prefix.", "", "192.0.2.64/26", "192.0.2.127")
	i("v4-cidr-before", "One before a prefix.", "ip", "192.0.2.64/26", "192.0.2.63")
	i("v4-cidr-after", "One behind a prefix.", "ip", "192.0.2.64/26", "192.0.2.128")
	i("v4-cidr-32", "A prefix of one address.", "", "192.0.2.10/32", "192.0.2.10")
	i("v4-cidr-32-other", "A prefix of one address.", "ip", "192.0.2.10/32", "192.0.2.11")
	i("v4-cidr-0", "A prefix of all IPv4 addresses.", "", "0.0.0.0/0", "203.0.113.9")
	i("v4-host-bits", "Host bits of a prefix are ignored.", "", "192.0.2.77/24", "192.0.2.10")
	i("v6-cidr", "The address is in the prefix.", "", "2001:db8::/32", "2001:db8:ffff::1")
	i("v6-cidr-other", "The address is not in the prefix.", "ip", "2001:db8::/32", "2001:db9::1")
	i("v6-cidr-odd", "A prefix need not end at a byte.", "", "2001:db8:0:8000::/49", "2001:db8:0:ffff::1")
	i("v6-cidr-odd-other", "A prefix need not end at a byte.", "ip", "2001:db8:0:8000::/49", "2001:db8:0:7fff::1")
	i("v6-cidr-128", "A prefix of one address.", "", "2001:db8::1/128", "2001:db8::1")
	i("v6-host-bits", "Host bits of a prefix are ignored.", "", "2001:db8::77/64", "2001:db8::1")
	i("v6-cidr-0", "A prefix of all IPv6 addresses.", "", "::/0", "2001:db8::1")
	i("v6-cidr-0-v4", "A prefix of all IPv6 addresses matches no IPv4 address.", "ip", "::/0", "192.0.2.10")
	i("v4-cidr-0-v6", "A prefix of all IPv4 addresses matches no IPv6 address.", "ip", "0.0.0.0/0", "2001:db8::1")
	i("4in6-peer", "A 4-in-6 address is unmapped: a dual-stack listener shows IPv4 peers so.", "", "192.0.2.10", "::ffff:192.0.2.10")
	i("4in6-peer-cidr", "A 4-in-6 address is unmapped before it is compared with a prefix.", "", "192.0.2.0/24", "::ffff:192.0.2.10")
	i("4in6-peer-v6-all", "An unmapped address is IPv4: a prefix of all IPv6 addresses does not match it.", "ip", "::/0", "::ffff:192.0.2.10")
	i("4in6-claim", "A 4-in-6 address is unmapped in the claim too.", "", "::ffff:192.0.2.10", "192.0.2.10")
	i("4in6-both", "Unmapped on both sides.", "", "::ffff:192.0.2.10", "::ffff:c000:20a")
	i("4in6-other", "Another address.", "ip", "::ffff:192.0.2.10", "192.0.2.11")
	i("4in6-cidr", "A 4-in-6 prefix of 96 bits and more is unmapped: /120 is /24.", "", "::ffff:192.0.2.0/120", "192.0.2.10")
	i("4in6-cidr-other", "A 4-in-6 prefix of 96 bits and more is unmapped: /120 is /24.", "ip", "::ffff:192.0.2.0/120", "192.0.3.10")
	i("4in6-cidr-host-bits", "Host bits are ignored in a 4-in-6 prefix too.", "", "::ffff:192.0.2.77/120", "192.0.2.10")
	i("4in6-cidr-96", "::ffff:0:0/96 matches every IPv4 address.", "", "::ffff:0:0/96", "203.0.113.9")
	i("4in6-cidr-95", "Shorter than 96 bits it is an IPv6 prefix, and matches no IPv4 address.", "ip", "::ffff:192.0.2.0/95", "192.0.2.10")
	i("4in6-cidr-95-v6", "Shorter than 96 bits it is an IPv6 prefix, and matches IPv6 addresses.", "", "::ffff:192.0.2.0/95", "::fffe:c000:20a")
	i("v4-compatible", "::192.0.2.10 is an IPv6 address of its own, not a 4-in-6 one.", "ip", "192.0.2.10", "::192.0.2.10")
	i("zone-peer", "The peer's zone is dropped.", "", "fe80::1", "fe80::1%eth0")
	i("zone-claim", "The claim's zone is dropped.", "", "fe80::1%eth0", "fe80::1")
	i("zone-differs", "Zones are dropped on both sides.", "", "fe80::1%eth0", "fe80::1%eth1")
	i("zone-peer-cidr", "The peer's zone is dropped before it is compared with a prefix.", "", "fe80::/10", "fe80::1%eth0")
	i("zone-other", "Another address; the zone does not matter.", "ip", "fe80::1%eth0", "fe80::2%eth0")

	bad := func(name, why, claim string) { i(name, why, "malformed", claim, "192.0.2.10") }
	bad("name", "A host name is no address.", "localhost")
	bad("space", "Nothing is trimmed.", " 192.0.2.10")
	bad("port", "An address has no port.", "192.0.2.10:443")
	bad("brackets", "An address has no brackets.", "[2001:db8::1]")
	bad("three-parts", "An IPv4 address has four parts.", "192.0.2")
	bad("number", "An IPv4 address is not one number.", "3221225994")
	bad("leading-zero", "No leading zeros: 010 is octal to some and decimal to others.", "192.0.2.010")
	bad("hex", "IPv4 in hex is no address.", "0xc000020a")
	bad("part-256", "A part is at most 255.", "192.0.2.256")
	bad("cidr-33", "An IPv4 prefix has at most 32 bits.", "192.0.2.10/33")
	bad("cidr-negative", "A prefix length has no sign.", "192.0.2.10/-1")
	bad("cidr-empty", "A prefix has a length.", "192.0.2.10/")
	bad("cidr-leading-zero", "A prefix length has no leading zero.", "192.0.2.10/024")
	bad("cidr-mask", "A prefix length is a number of bits, not a mask.", "192.0.2.10/255.255.255.0")
	bad("cidr-twice", "One prefix length.", "192.0.2.10/24/24")
	bad("list", "One address or prefix, not a list.", "192.0.2.10,192.0.2.11")
	bad("range", "One address or prefix, not a range.", "192.0.2.1-192.0.2.20")
	bad("wildcard", "No wildcards.", "192.0.2.*")
	bad("v4-zone", "An IPv4 address has no zone.", "192.0.2.10%eth0")
	vs = append(vs,
		vector{name: "ip-empty", why: "Neither an address nor a prefix.", payload: plus(`"ip":""`), ip: "192.0.2.10", expect: "malformed"},
		vector{name: "ip-zone-cidr", why: "A prefix with a zone.", payload: plus(`"ip":"fe80::%eth0/64"`), ip: "fe80::1%eth0", expect: "malformed"},
		vector{name: "ip-v6-cidr-129", why: "An IPv6 prefix has at most 128 bits.", payload: plus(`"ip":"2001:db8::1/129"`), ip: "2001:db8::1", expect: "malformed"},
		vector{name: "ip-two-double-colons", why: "An IPv6 address has one :: at most.", payload: plus(`"ip":"2001::db8::1"`), ip: "2001:db8::1", expect: "malformed"},
		vector{name: "ip-escaped", why: "The claim is unescaped before it is parsed.", payload: plus(`"ip":"192.0.2.0\/24"`), ip: "192.0.2.10"},
	)
	return vs
}

// ---- the MAC

func macVectors() []vector {
	var vs []vector
	bad := func(name, why string, mac func(signed string, mac []byte) []byte) {
		vs = append(vs, vector{name: "mac-" + name, why: why, mac: mac, expect: "bad_signature"})
	}
	bad("first-bit", "The first bit is flipped.", func(_ string, m []byte) []byte { m[0] ^= 0x80; return m })
	bad("middle-bit", "A bit behind the identity's 16 bytes is flipped: the whole MAC counts.", func(_ string, m []byte) []byte { m[16] ^= 1; return m })
	bad("last-bit", "The last bit is flipped.", func(_ string, m []byte) []byte { m[31] ^= 1; return m })
	bad("all-zero", "43 letters A.", func(string, []byte) []byte { return make([]byte, 32) })
	bad("other-secret", "Signed with another secret under our kid.", func(s string, _ []byte) []byte { return sum(sha256.New, sequence(2, 32), s) })
	bad("empty-secret", "Signed with an empty secret.", func(s string, _ []byte) []byte { return sum(sha256.New, nil, s) })
	bad("secret-as-text", "Signed with the letters of the JWK's k in place of the bytes they stand for.", func(s string, _ []byte) []byte { return sum(sha256.New, []byte(b64(string(secret256))), s) })
	bad("secret-with-newline", "Signed with the secret and the newline of its file.", func(s string, _ []byte) []byte { return sum(sha256.New, append(slices.Clone(secret256), '\n'), s) })
	bad("payload-only", "The MAC covers the payload alone.", func(s string, _ []byte) []byte { return sum(sha256.New, secret256, s[strings.IndexByte(s, '.')+1:]) })
	bad("header-only", "The MAC covers the header alone.", func(s string, _ []byte) []byte { return sum(sha256.New, secret256, s[:strings.IndexByte(s, '.')]) })
	bad("without-dot", "The MAC covers header and payload without the dot between them.", func(s string, _ []byte) []byte { return sum(sha256.New, secret256, strings.Replace(s, ".", "", 1)) })
	bad("trailing-dot", "The MAC covers a dot too many.", func(s string, _ []byte) []byte { return sum(sha256.New, secret256, s+".") })
	bad("decoded", "The MAC covers the decoded bytes.", func(string, []byte) []byte { return sum(sha256.New, secret256, stdHeader+"."+stdPayload) })
	bad("plain-hash", "A SHA-256 hash of the text, no key.", func(s string, _ []byte) []byte { h := sha256.Sum256([]byte(s)); return h[:] })
	bad("keyed-hash", "SHA-256 of secret and text, which is not HMAC.", func(s string, _ []byte) []byte {
		h := sha256.Sum256(append(slices.Clone(secret256), s...))
		return h[:]
	})
	bad("sha512-truncated", "HMAC-SHA-512 cut to 32 bytes is not HMAC-SHA-256.", func(s string, _ []byte) []byte { return sum(sha512.New, secret256, s)[:32] })
	vs = append(vs,
		vector{name: "mac-other-key-of-ring", why: "Signed with another key of the keyring than the one that kid names.", keyring: ring(stdKey, key("k2", "HS256", sequence(2, 32))), secret: sequence(2, 32), expect: "bad_signature"},
		vector{name: "mac-hs512-first-bit", why: "A flipped bit under HS512.", keyring: ring(key("k5", "HS512", secret512)), header: head("HS512", "k5"), secret: secret512, hash: sha512.New,
			mac: func(_ string, m []byte) []byte { m[0] ^= 0x80; return m }, expect: "bad_signature"},
		vector{name: "mac-hs512-last-byte", why: "A flipped bit in the last byte under HS512.", keyring: ring(key("k5", "HS512", secret512)), header: head("HS512", "k5"), secret: secret512, hash: sha512.New,
			mac: func(_ string, m []byte) []byte { m[63] ^= 1; return m }, expect: "bad_signature"},
		vector{name: "mac-hs384-last-byte", why: "A flipped bit in the last byte under HS384.", keyring: ring(key("k3", "HS384", secret384)), header: head("HS384", "k3"), secret: secret384, hash: sha512.New384,
			mac: func(_ string, m []byte) []byte { m[47] ^= 1; return m }, expect: "bad_signature"},
		vector{name: "mac-payload-changed", why: "Another subject was put in after signing.", expect: "bad_signature", payload: swap("user-1", "admin!"),
			mac: func(string, []byte) []byte { return sum(sha256.New, secret256, b64(stdHeader)+"."+b64(stdPayload)) }},
		vector{name: "mac-header-respelled", why: "White space was put into the header after signing: the MAC is over the text, not the meaning.", expect: "bad_signature", header: `{"alg": "HS256","kid":"k1","typ":"ws-ticket+jwt"}`,
			mac: func(string, []byte) []byte { return sum(sha256.New, secret256, b64(stdHeader)+"."+b64(stdPayload)) }},
		vector{name: "mac-header-reordered", why: "The header members were put in another order after signing.", expect: "bad_signature", header: `{"typ":"ws-ticket+jwt","kid":"k1","alg":"HS256"}`,
			mac: func(string, []byte) []byte { return sum(sha256.New, secret256, b64(stdHeader)+"."+b64(stdPayload)) }},
	)

	length := func(name, why string, after func(t string) string) {
		vs = append(vs, vector{name: "mac-" + name, why: why, after: after, expect: "malformed"})
	}
	length("empty", "The MAC is whole: here it is missing.", func(t string) string { return t[:len(t)-43] })
	length("one-character", "The MAC is whole: here one character is left.", func(t string) string { return t[:len(t)-42] })
	length("half", "The MAC is whole: here 16 of 32 bytes.", func(t string) string { return t[:len(t)-43] + b64(string(unb64(t[len(t)-43:])[:16])) })
	length("31-bytes", "The MAC is whole: here 31 of 32 bytes.", func(t string) string { return t[:len(t)-43] + b64(string(unb64(t[len(t)-43:])[:31])) })
	length("33-bytes", "The MAC is 32 bytes: here a zero byte follows it.", func(t string) string { return t[:len(t)-43] + b64(string(unb64(t[len(t)-43:]))+"\x00") })
	length("doubled", "The MAC is 32 bytes: here it comes twice.", func(t string) string { m := string(unb64(t[len(t)-43:])); return t[:len(t)-43] + b64(m+m) })
	length("hex", "The MAC is base64url, not hex.", func(t string) string { return t[:len(t)-43] + hex.EncodeToString(unb64(t[len(t)-43:])) })
	length("impossible-length", "No number of bytes makes 45 base64 characters.", func(t string) string { return t + "AA" })
	vs = append(vs,
		vector{name: "mac-hs384-of-32-bytes", why: "HS384 cut to the length of HS256.", keyring: ring(key("k3", "HS384", secret384)), header: head("HS384", "k3"), secret: secret384, hash: sha512.New384,
			mac: func(_ string, m []byte) []byte { return m[:32] }, expect: "malformed"},
		vector{name: "mac-hs512-of-48-bytes", why: "HS512 cut to the length of HS384.", keyring: ring(key("k5", "HS512", secret512)), header: head("HS512", "k5"), secret: secret512, hash: sha512.New,
			mac: func(_ string, m []byte) []byte { return m[:48] }, expect: "malformed"},
		vector{name: "mac-hs256-of-64-bytes", why: "An HS512 MAC under an HS256 header.", hash: sha512.New, expect: "malformed"},
	)
	return vs
}

// ---- the text of the ticket

func textVectors() []vector {
	var vs []vector
	// Before the MAC is taken, so that the MAC is that of the text as it is and
	// a verifier that decodes leniently would accept.
	inHeader := func(f func(string) string) func(h, p string) (string, string) {
		return func(h, p string) (string, string) { return f(h), p }
	}
	inPayload := func(f func(string) string) func(h, p string) (string, string) {
		return func(h, p string) (string, string) { return h, f(p) }
	}
	mid := func(c string) func(string) string {
		return func(s string) string { return s[:20] + c + s[20:] }
	}
	tail := func(c string) func(string) string { return func(s string) string { return s + c } }
	inMAC := func(f func(string) string) func(t string) string {
		return func(t string) string { i := strings.LastIndexByte(t, '.') + 1; return t[:i] + f(t[i:]) }
	}
	for _, c := range []struct{ name, char, why string }{
		{"lf", "\n", "A line feed, which many decoders skip."},
		{"cr", "\r", "A carriage return, which many decoders skip."},
		{"crlf", "\r\n", "A line break, as MIME base64 has it."},
		{"space", " ", "A space."},
		{"tab", "\t", "A tab."},
		{"nul", "\x00", "A NUL."},
		{"high-byte", "\x80", "A byte outside ASCII."},
		{"utf8-letter", "é", "A letter outside ASCII."},
		{"percent", "%", "A percent sign: nothing is percent-decoded."},
		{"comma", ",", "A comma."},
		{"equals", "=", "Padding in the middle."},
	} {
		vs = append(vs,
			vector{name: "text-header-" + c.name, why: c.why + " In the header, under the MAC.", text: inHeader(mid(c.char)), expect: "malformed"},
			vector{name: "text-payload-" + c.name, why: c.why + " In the payload, under the MAC.", text: inPayload(mid(c.char)), expect: "malformed"},
			vector{name: "text-mac-" + c.name, why: c.why + " In the MAC.", after: inMAC(mid(c.char)), expect: "malformed"},
		)
	}
	threeByteTail := `{"alg":"HS256","kid":"k10","typ":"ws-ticket+jwt"}` // 49 bytes: four spare bits
	twoByteTail := `{"alg":"HS256","kid":"k100","typ":"ws-ticket+jwt"}`  // 50 bytes: two spare bits
	ring10, ring100 := ring(key("k10", "HS256", secret256)), ring(key("k100", "HS256", secret256))
	vs = append(vs,
		vector{name: "text-header-padded", why: "Padding at the end of the header, under the MAC.", keyring: ring10, header: threeByteTail, text: inHeader(tail("==")), expect: "malformed"},
		vector{name: "text-payload-padded", why: "Padding at the end of the payload, under the MAC.", payload: padTo(stdPayload, 2), text: inPayload(tail("=")), expect: "malformed"},
		vector{name: "text-payload-padded-twice", why: "Padding at the end of the payload, under the MAC.", payload: padTo(stdPayload, 1), text: inPayload(tail("==")), expect: "malformed"},
		vector{name: "text-mac-padded", why: "Padding at the end of the MAC.", after: tail("="), expect: "malformed"},
		vector{name: "text-header-spare-bits-4", why: "A non-zero spare bit in the header's last character, under the MAC.", keyring: ring10, header: threeByteTail, text: inHeader(spare), expect: "malformed"},
		vector{name: "text-header-spare-bits-2", why: "A non-zero spare bit in the header's last character, under the MAC.", keyring: ring100, header: twoByteTail, text: inHeader(spare), expect: "malformed"},
		vector{name: "text-payload-spare-bits-4", why: "A non-zero spare bit in the payload's last character, under the MAC.", payload: padTo(stdPayload, 1), text: inPayload(spare), expect: "malformed"},
		vector{name: "text-payload-spare-bits-2", why: "A non-zero spare bit in the payload's last character, under the MAC.", payload: padTo(stdPayload, 2), text: inPayload(spare), expect: "malformed"},
		vector{name: "text-payload-four-spare-bits-3", why: "The highest of four spare bits.", payload: padTo(stdPayload, 1), text: inPayload(func(s string) string { return bump(s, 8) }), expect: "malformed"},
		vector{name: "text-mac-spare-bit-low", why: "The lower spare bit of the MAC's last character: the same bytes in another spelling.", after: spare, expect: "malformed"},
		vector{name: "text-mac-spare-bit-high", why: "The higher spare bit of the MAC's last character.", after: func(t string) string { return bump(t, 2) }, expect: "malformed"},
		vector{name: "text-mac-hs512-spare-bit", why: "HS512 leaves four spare bits: the lowest.", keyring: ring(key("k5", "HS512", secret512)), header: head("HS512", "k5"), secret: secret512, hash: sha512.New, after: spare, expect: "malformed"},
		vector{name: "text-mac-hs512-spare-bit-high", why: "HS512 leaves four spare bits: the highest.", keyring: ring(key("k5", "HS512", secret512)), header: head("HS512", "k5"), secret: secret512, hash: sha512.New, after: func(t string) string { return bump(t, 8) }, expect: "malformed"},
		vector{name: "text-payload-impossible-length", why: "One character more than a whole number of bytes, under the MAC.", payload: padTo(stdPayload, 0), text: inPayload(tail("A")), expect: "malformed"},
		vector{name: "text-header-impossible-length", why: "One character more than a whole number of bytes, under the MAC.", text: inHeader(tail("A")), expect: "malformed"},
		vector{name: "text-header-plus", why: "+ where base64url has -, in the header, under the MAC.", keyring: ring(key("k~", "HS256", secret256)), header: head("HS256", "k~"), text: inHeader(once("-", "+")), expect: "malformed"},
		vector{name: "text-header-minus", why: "The same header in base64url.", keyring: ring(key("k~", "HS256", secret256)), header: head("HS256", "k~")},
		vector{name: "text-payload-plus", why: "+ where base64url has -, in the payload, under the MAC.", payload: plus(`"x":"???>>>"`), text: inPayload(once("-", "+")), expect: "malformed"},
		vector{name: "text-payload-slash", why: "/ where base64url has _, in the payload, under the MAC.", payload: plus(`"x":"???>>>"`), text: inPayload(once("_", "/")), expect: "malformed"},
		vector{name: "text-payload-minus-underscore", why: "The same payload in base64url.", payload: plus(`"x":"???>>>"`)},
		vector{name: "text-mac-plus", why: "+ where base64url has -, in the MAC.", payload: withMAC("-"), after: inMAC(once("-", "+")), expect: "malformed"},
		vector{name: "text-mac-slash", why: "/ where base64url has _, in the MAC.", payload: withMAC("_"), after: inMAC(once("_", "/")), expect: "malformed"},
		vector{name: "text-mac-minus-underscore", why: "A MAC with - and _ in it.", payload: withMAC("-_")},

		vector{name: "text-empty", why: "An empty ticket.", after: func(string) string { return "" }, expect: "malformed"},
		vector{name: "text-dots-only", why: "Three empty parts.", after: func(string) string { return ".." }, expect: "malformed"},
		vector{name: "text-no-dot", why: "Exactly two dots: none.", after: func(t string) string { return strings.ReplaceAll(t, ".", "") }, expect: "malformed"},
		vector{name: "text-one-dot", why: "Exactly two dots: the MAC is missing altogether.", after: func(t string) string { return t[:strings.LastIndexByte(t, '.')] }, expect: "malformed"},
		vector{name: "text-trailing-dot", why: "Exactly two dots: a third at the end.", after: tail("."), expect: "malformed"},
		vector{name: "text-leading-dot", why: "Exactly two dots: a third at the start.", after: func(t string) string { return "." + t }, expect: "malformed"},
		vector{name: "text-fourth-part", why: "Exactly two dots: a fourth part.", after: tail(".AAAA"), expect: "malformed"},
		vector{name: "text-double-dot", why: "Exactly two dots: an empty part before the MAC.", after: func(t string) string { i := strings.LastIndexByte(t, '.'); return t[:i] + "." + t[i:] }, expect: "malformed"},
		vector{name: "text-jwe", why: "Five parts are a JWE, not a JWS.", after: func(t string) string {
			p := strings.Split(t, ".")
			return p[0] + "..AAAAAAAAAAAAAAAA." + p[1] + "." + p[2]
		}, expect: "malformed"},
		vector{name: "text-json-flattened", why: "The JSON serialization of a JWS is not accepted.", after: func(t string) string {
			p := strings.Split(t, ".")
			return `{"payload":"` + p[1] + `","protected":"` + p[0] + `","signature":"` + p[2] + `"}`
		}, expect: "malformed"},
		vector{name: "text-json-general", why: "The general JSON serialization is not accepted either.", after: func(t string) string {
			p := strings.Split(t, ".")
			return `{"payload":"` + p[1] + `","signatures":[{"protected":"` + p[0] + `","signature":"` + p[2] + `"}]}`
		}, expect: "malformed"},
		vector{name: "text-empty-header", why: "An empty header, under the MAC.", text: inHeader(func(string) string { return "" }), expect: "malformed"},
		vector{name: "text-header-not-encoded", why: "The header's JSON as it is, under the MAC.", text: inHeader(func(string) string { return stdHeader }), expect: "malformed"},
		vector{name: "text-payload-not-encoded", why: "The payload's JSON as it is (RFC 7797), under the MAC.", text: inPayload(func(string) string { return stdPayload }), expect: "malformed"},
		vector{name: "text-leading-space", why: "Nothing is trimmed.", after: func(t string) string { return " " + t }, expect: "malformed"},
		vector{name: "text-trailing-space", why: "Nothing is trimmed.", after: tail(" "), expect: "malformed"},
		vector{name: "text-trailing-lf", why: "Nothing is trimmed.", after: tail("\n"), expect: "malformed"},
		vector{name: "text-trailing-crlf", why: "Nothing is trimmed.", after: tail("\r\n"), expect: "malformed"},
		vector{name: "text-trailing-nul", why: "Nothing is trimmed.", after: tail("\x00"), expect: "malformed"},
		vector{name: "text-quoted", why: "Quotes are no part of a ticket.", after: func(t string) string { return `"` + t + `"` }, expect: "malformed"},
		vector{name: "text-bearer", why: "A scheme is no part of a ticket.", after: func(t string) string { return "Bearer " + t }, expect: "malformed"},
		vector{name: "text-colons", why: "The parts are separated by dots.", after: func(t string) string { return strings.ReplaceAll(t, ".", ":") }, expect: "malformed"},
		vector{name: "text-percent-dot", why: "Nothing is percent-decoded: %2E is no dot.", after: func(t string) string { return strings.ReplaceAll(t, ".", "%2E") }, expect: "malformed"},
	)
	return vs
}

// ---- length

func lengthVectors() []vector {
	// The text of header, two dots and MAC around the payload's.
	const around256 = 64 + 2 + 43
	return []vector{
		{name: "length-2048", why: "A ticket may have 2048 bytes.", payload: fillTo(2048 - around256)},
		{name: "length-2049", why: "A ticket of 2049 bytes is refused before any cryptography.", payload: fillTo(2049 - around256), expect: "malformed"},
		{name: "length-4096", why: "A ticket of 4096 bytes.", payload: fillTo(4096 - around256), expect: "malformed"},
		{name: "length-2048-hs512", why: "A ticket may have 2048 bytes, with the longest MAC too.", keyring: ring(key("k5", "HS512", secret512)), header: head("HS512", "k5"), secret: secret512, hash: sha512.New, payload: fillTo(2048 - 64 - 2 - 86)},
		{name: "length-lower-cap", why: "A verifier may lower the cap: 512 of 512.", maxLen: 512, payload: fillTo(512 - around256)},
		{name: "length-over-lower-cap", why: "A verifier may lower the cap: 513 of 512.", maxLen: 512, payload: fillTo(513 - around256), expect: "malformed"},
		{name: "length-long-header", why: "The cap is for the whole ticket: a header may be long where it fits.", header: stdHeader + strings.Repeat(" ", 900)},
	}
}

// ---- keys

func keyVectors() []vector {
	second := sequence(2, 32)
	return []vector{
		{name: "key-unknown", why: "No such kid in the keyring.", header: head("HS256", "k2"), expect: "unknown_key"},
		{name: "key-prefix", why: "A part of a known kid is not known.", header: head("HS256", "k"), expect: "unknown_key"},
		{name: "key-longer", why: "A known kid with more behind it is not known.", header: head("HS256", "k1."), expect: "unknown_key"},
		{name: "key-upper-case", why: "kid is case-sensitive.", header: head("HS256", "K1"), expect: "unknown_key"},
		{name: "key-dots", why: "Dots are kid characters; there is no such key.", header: head("HS256", ".."), expect: "unknown_key"},
		{name: "key-second", why: "kid picks one of several keys.", keyring: ring(stdKey, key("k2", "HS256", second)), header: head("HS256", "k2"), secret: second},
		{name: "key-first", why: "kid picks one of several keys.", keyring: ring(key("k2", "HS256", second), stdKey)},
		{name: "key-before-nbf", why: "A key verifies before its nbf: clocks need not agree.", keyring: ring(key("k1", "HS256", secret256, `"nbf":1795222800`))},
		{name: "key-at-nbf", why: "A key verifies at its nbf.", keyring: ring(key("k1", "HS256", secret256, `"nbf":1795219205`))},
		{name: "key-last-second", why: "A key verifies until the second before its exp.", keyring: ring(key("k1", "HS256", secret256, `"exp":1795219206`))},
		{name: "key-expired", why: "From its exp on a key does not verify, though the ticket is still good; without leeway.", keyring: ring(key("k1", "HS256", secret256, `"exp":1795219205`)), expect: "unknown_key"},
		{name: "key-expired-within-leeway", why: "A key's exp has no leeway.", keyring: ring(key("k1", "HS256", secret256, `"exp":1795219204`)), leeway: 5, expect: "unknown_key"},
		{name: "key-expired-long-ago", why: "A key of yesterday.", keyring: ring(key("k1", "HS256", secret256, `"nbf":1795046400,"exp":1795132800`), key("k2", "HS256", second)), expect: "unknown_key"},
		{name: "key-expires-before-ticket", why: "A key that expires before the ticket verifies until then: only signers look ahead.", keyring: ring(key("k1", "HS256", secret256, `"exp":1795219207`))},
		{name: "key-other-expired", why: "Another key of the keyring has expired; that is no fault of this one.", keyring: ring(key("k0", "HS256", second, `"exp":1795132800`), stdKey)},
		{name: "key-use-sig", why: "use may be sig.", keyring: ring(key("k1", "HS256", secret256, `"use":"sig"`))},
		{name: "key-ops-verify", why: "A key that only verifies verifies.", keyring: ring(key("k1", "HS256", secret256, `"key_ops":["verify"]`))},
		{name: "key-alg-hs512", why: "The key decides the algorithm: an HS512 key takes no HS256 ticket, though the MAC is right.", keyring: ring(key("k1", "HS512", secret512)), secret: secret512, expect: "malformed"},
		{name: "key-alg-hs256", why: "The key decides the algorithm: an HS256 key takes no HS512 ticket, though the MAC is right.", keyring: ring(key("k1", "HS256", secret512)), header: head("HS512", "k1"), secret: secret512, hash: sha512.New, expect: "malformed"},
		{name: "key-alg-hs384", why: "The key decides the algorithm: an HS384 key takes no HS256 ticket, though the MAC is right.", keyring: ring(key("k1", "HS384", secret384)), secret: secret384, expect: "malformed"},
	}
}

// ---- the order of checks: exactly two faults, the earlier one is the verdict

func orderVectors() []vector {
	var vs []vector
	flip := func(_ string, m []byte) []byte { m[0] ^= 0x80; return m }
	inPayload := func(h, p string) (string, string) { return h, p[:20] + "\n" + p[20:] }
	late := swap("1795219210", "1795219202") // exp: with a leeway of 2 over at now
	order := func(name, expect string, v vector) {
		faults := strings.NewReplacer("-before-", " and ", "-", " ", "mac", "MAC").Replace(name)
		v.name, v.why, v.expect = "order-"+name, strings.TrimSpace("Two faults, "+faults+": the first is the verdict. "+v.why), expect
		vs = append(vs, v)
	}
	unknown := head("HS256", "k2")
	expiredKey := ring(key("k1", "HS256", secret256, `"exp":1795219205`))

	order("length-before-unknown-key", "malformed", vector{header: unknown, payload: fillTo(2049 - 64 - 2 - 43)})
	order("length-before-mac", "malformed", vector{payload: fillTo(2049 - 64 - 2 - 43), mac: flip})
	order("dots-before-unknown-key", "malformed", vector{header: unknown, after: func(t string) string { return t + "." }})
	order("header-alphabet-before-unknown-key", "malformed", vector{header: unknown, text: func(h, p string) (string, string) { return h[:20] + "\n" + h[20:], p }})
	order("mac-alphabet-before-unknown-key", "malformed", vector{header: unknown, after: func(t string) string { return t + "\n" }})
	order("mac-spare-bits-before-unknown-key", "malformed", vector{header: unknown, after: spare})
	order("mac-length-before-unknown-key", "malformed", vector{header: unknown, mac: func(_ string, m []byte) []byte { return m[:16] }})
	order("mac-spare-bits-before-mac", "malformed", vector{mac: flip, after: spare})
	order("header-member-before-unknown-key", "malformed", vector{header: `{"alg":"HS256","kid":"k2","typ":"ws-ticket+jwt","x":1}`})
	order("typ-before-unknown-key", "malformed", vector{header: `{"alg":"HS256","kid":"k2","typ":"JWT"}`})
	order("typ-before-mac", "malformed", vector{header: `{"alg":"HS256","kid":"k1","typ":"JWT"}`, mac: flip})
	order("crit-before-mac", "malformed", vector{header: `{"alg":"HS256","kid":"k1","typ":"ws-ticket+jwt","crit":["exp"]}`, mac: flip})
	order("alg-none-before-empty-mac", "malformed", vector{why: "An unsecured JWS as RFC 7515 appendix A.5 writes it.", header: head("none", "k1"), mac: func(string, []byte) []byte { return nil }})
	order("alg-none-before-unknown-key", "malformed", vector{header: head("none", "k2")})
	order("mac-of-another-alg-before-unknown-key", "malformed", vector{why: "The header's alg says how long the MAC is.", header: unknown, hash: sha512.New384})
	order("unknown-key-before-mac", "unknown_key", vector{header: unknown, mac: flip})
	order("unknown-key-before-payload", "unknown_key", vector{header: unknown, payload: "{"})
	order("unknown-key-before-expired", "unknown_key", vector{header: unknown, payload: late})
	order("expired-key-before-mac", "unknown_key", vector{keyring: expiredKey, mac: flip})
	order("expired-key-before-expired", "unknown_key", vector{keyring: expiredKey, payload: late})
	order("expired-key-before-its-alg", "unknown_key", vector{keyring: ring(key("k1", "HS512", secret512, `"exp":1795219205`)), secret: secret512})
	order("key-alg-before-mac", "malformed", vector{keyring: ring(key("k1", "HS512", secret512)), mac: flip})
	order("mac-before-payload-alphabet", "bad_signature", vector{why: "Nothing of the payload is read before the MAC is known to be right.", text: inPayload, mac: flip})
	order("mac-before-payload-spare-bits", "bad_signature", vector{payload: padTo(stdPayload, 1), text: func(h, p string) (string, string) { return h, spare(p) }, mac: flip})
	order("mac-before-payload-syntax", "bad_signature", vector{payload: "{", mac: flip})
	order("mac-before-empty-payload", "bad_signature", vector{text: func(h, _ string) (string, string) { return h, "" }, mac: flip})
	order("mac-before-missing-claim", "bad_signature", vector{payload: `{"jti":"a","iat":1795219200}`, mac: flip})
	order("mac-before-expired", "bad_signature", vector{payload: late, mac: flip})
	order("mac-before-audience", "bad_signature", vector{payload: plus(`"aud":"feed"`), aud: []string{"chat"}, mac: flip})
	order("mac-before-path", "bad_signature", vector{payload: plus(`"path":"/ws"`), path: "/admin", mac: flip})
	order("syntax-before-expired", "malformed", vector{payload: late + "}"})
	order("duplicate-before-expired", "malformed", vector{payload: strings.TrimSuffix(late, "}") + `,"x":1,"x":1}`})
	order("claim-type-before-expired", "malformed", vector{payload: strings.TrimSuffix(late, "}") + `,"sid":1}`})
	order("aud-type-before-expired", "malformed", vector{payload: strings.TrimSuffix(late, "}") + `,"aud":[]}`, aud: []string{"chat"}})
	order("path-syntax-before-expired", "malformed", vector{payload: strings.TrimSuffix(late, "}") + `,"path":"ws"}`, path: "/ws"})
	order("ip-syntax-before-expired", "malformed", vector{payload: strings.TrimSuffix(late, "}") + `,"ip":"localhost"}`, ip: "192.0.2.10"})
	order("ip-syntax-before-absent-address", "malformed", vector{payload: plus(`"ip":"localhost"`)})
	order("ip-syntax-before-origin", "malformed", vector{payload: plus(`"origin":"https://app.example","ip":"localhost"`), origin: "https://evil.example", ip: "192.0.2.10"})
	order("missing-jti-before-expired", "malformed", vector{payload: `{"iat":1795219200,"exp":1795219202}`})
	order("empty-sub-before-audience", "malformed", vector{payload: swap(`"user-1"`, `""`), aud: []string{"chat"}})
	order("ttl-negative-before-iat", "malformed", vector{payload: `{"jti":"a","iat":1795219300,"exp":1795219210}`})
	order("ttl-zero-before-audience", "malformed", vector{payload: `{"jti":"a","iat":1795219205,"exp":1795219205}`, aud: []string{"chat"}})
	order("ttl-before-iat", "ttl_too_long", vector{payload: `{"jti":"a","iat":1795219300,"exp":1795219400}`})
	order("ttl-before-nbf", "ttl_too_long", vector{payload: `{"jti":"a","iat":1795219200,"exp":1795219300,"nbf":1795219290}`})
	order("ttl-before-exp", "ttl_too_long", vector{payload: `{"jti":"a","iat":1795219100,"exp":1795219200}`})
	order("ttl-before-session-exp", "ttl_too_long", vector{payload: `{"jti":"a","iat":1795219200,"exp":1795219300,"session_exp":1795219201}`})
	order("ttl-before-audience", "ttl_too_long", vector{payload: `{"jti":"a","iat":1795219200,"exp":1795219300}`, aud: []string{"chat"}})
	order("iat-before-session-exp", "not_yet_valid", vector{payload: `{"jti":"a","iat":1795219300,"exp":1795219310,"session_exp":1795219201}`})
	order("nbf-before-exp", "not_yet_valid", vector{payload: `{"jti":"a","iat":1795219200,"exp":1795219202,"nbf":1795219300}`})
	order("nbf-before-session-exp", "not_yet_valid", vector{payload: `{"jti":"a","iat":1795219200,"exp":1795219210,"nbf":1795219300,"session_exp":1795219201}`})
	order("iat-before-audience", "not_yet_valid", vector{payload: `{"jti":"a","iat":1795219300,"exp":1795219310}`, aud: []string{"chat"}})
	order("exp-before-audience", "expired", vector{payload: late, aud: []string{"chat"}})
	order("exp-before-issuer", "expired", vector{payload: late, iss: []string{"app"}})
	order("exp-before-path", "expired", vector{payload: strings.TrimSuffix(late, "}") + `,"path":"/ws"}`, path: "/admin"})
	order("session-exp-before-audience", "expired", vector{payload: plus(`"session_exp":1795219201`), aud: []string{"chat"}})
	order("session-exp-before-origin", "expired", vector{payload: plus(`"session_exp":1795219201,"origin":"https://app.example"`), origin: "https://evil.example"})
	order("audience-before-issuer", "audience", vector{aud: []string{"chat"}, iss: []string{"app"}})
	order("audience-before-scope", "audience", vector{aud: []string{"chat"}, scope: []string{"read"}})
	order("audience-before-origin", "audience", vector{aud: []string{"chat"}, payload: plus(`"origin":"https://app.example"`), origin: "https://evil.example"})
	order("unasked-audience-before-issuer", "audience", vector{payload: plus(`"aud":"chat"`), iss: []string{"app"}})
	order("issuer-before-scope", "issuer", vector{iss: []string{"app"}, scope: []string{"read"}})
	order("issuer-before-path", "issuer", vector{iss: []string{"app"}, payload: plus(`"path":"/ws"`), path: "/admin"})
	order("scope-before-origin", "scope", vector{scope: []string{"read"}, payload: plus(`"origin":"https://app.example"`), origin: "https://evil.example"})
	order("scope-before-ip", "scope", vector{scope: []string{"read"}, payload: plus(`"ip":"192.0.2.10"`), ip: "203.0.113.9"})
	order("origin-before-path", "origin", vector{payload: plus(`"path":"/ws","origin":"https://app.example"`), origin: "https://evil.example", path: "/admin"})
	order("origin-before-ip", "origin", vector{payload: plus(`"ip":"192.0.2.10","origin":"https://app.example"`), origin: "https://evil.example", ip: "203.0.113.9"})
	order("path-before-ip", "path", vector{payload: plus(`"ip":"192.0.2.10","path":"/ws"`), path: "/admin", ip: "203.0.113.9"})
	return vs
}

// ---- keyrings

// A keyringVector is a keyring, or two of which the second is to replace the
// first, and whether it is taken.
type keyringVector struct {
	name, why, keyring, replacement string
	pad                             int    // white space behind the keyring, up to this many bytes in all
	fault                           string // empty: it is taken
	key                             string // the kid of the key at fault, which the error names
}

func (v keyringVector) file() []byte {
	var f file
	if v.replacement == "" {
		f.line("kind", "keyring")
	} else {
		f.line("kind", "reload")
	}
	f.line("comment", v.why)
	f.line("keyring", v.keyring)
	if v.pad > 0 {
		f.line("keyring-pad", fmt.Sprint(v.pad))
	}
	f.optional("replacement", v.replacement)
	if v.fault == "" {
		f.line("expect", "ok")
		return f.Bytes()
	}
	f.line("expect", "refused")
	f.line("fault", v.fault)
	f.optional("key", v.key)
	return f.Bytes()
}

func keyringVectors() []keyringVector {
	var vs []keyringVector
	ok := func(name, why, keyring string) {
		vs = append(vs, keyringVector{name: "keyring-" + name, why: why, keyring: keyring})
	}
	bad := func(name, fault, kid, why, keyring string) {
		vs = append(vs, keyringVector{name: "keyring-" + name, why: why, keyring: keyring, fault: fault, key: kid})
	}
	second := sequence(2, 32)
	k2 := key("k2", "HS256", second)
	k1 := func(more ...string) string { return key("k1", "HS256", secret256, more...) }

	ok("one-key", "kty, kid, alg and k are all a key needs.", stdKeyring)
	ok("full", "Every member that the format knows.", ring(k1(`"use":"sig"`, `"key_ops":["sign","verify"]`, `"iat":1795219200`, `"nbf":1795219260`, `"exp":1795306000`)))
	ok("three-algs", "Keys of all three algorithms.", ring(stdKey, key("k3", "HS384", secret384), key("k5", "HS512", secret512)))
	ok("unknown-members", "Unknown members are ignored, in the set and in a key.", `{"version":3,"x":{"keys":[]},"keys":[`+k1(`"x5t":"AAAA"`, `"note":{"a":[1,2]}`)+`]}`)
	ok("white-space", "White space between tokens is legal JSON.", "\n{ \"keys\" : [\r\n\t"+stdKey+" ] }\n")
	ok("escaped-value", "A value may be written with escapes.", strings.Replace(stdKeyring, `"kid":"k1"`, `"kid":"\u006b1"`, 1))
	ok("long-key", "A key may be longer than the hash block.", ring(key("k1", "HS256", sequence(1, 200))))
	ok("exp-just-after-nbf", "exp one second after nbf.", ring(k1(`"nbf":1795219260`, `"exp":1795219261`)))
	ok("exp-latest", "The last time is the end of the year 9999.", ring(k1(fmt.Sprintf(`"exp":%d`, latest))))
	ok("all-expired", "Keys that have all expired verify nothing, but the keyring is one: a verifier takes it.", ring(k1(`"exp":1000000000`)))
	ok("verify-only", "A keyring of keys that only verify.", ring(k1(`"key_ops":["verify"]`)))
	ok("kid-case", "kids that differ in case are two kids.", ring(key("K1", "HS256", second), stdKey))
	ok("kid-64", "A kid of 64 characters.", ring(key(strings.Repeat("k", 64), "HS256", secret256)))
	ok("hs384-48", "48 bytes for HS384.", ring(key("k1", "HS384", secret384)))
	ok("hs512-64", "64 bytes for HS512.", ring(key("k1", "HS512", secret512)))
	ok("1024-keys", "1,024 keys.", many(1024))
	vs = append(vs, keyringVector{name: "keyring-1-mib", why: "1 MiB, most of it white space behind the set.", keyring: stdKeyring, pad: 1 << 20})

	bad("not-json", "syntax", "", "Not JSON.", "secret")
	bad("empty-file", "syntax", "", "Nothing at all.", "")
	bad("unclosed", "syntax", "", "A file cut short.", strings.TrimSuffix(stdKeyring, "]}"))
	bad("trailing-data", "syntax", "", "Nothing but white space may follow the set.", stdKeyring+stdKeyring)
	bad("array", "syntax", "", "A JWK Set is an object.", "["+stdKey+"]")
	bad("keys-not-array", "syntax", "", "keys is an array.", `{"keys":`+stdKey+`}`)
	bad("key-not-object", "syntax", "", "A key is an object.", `{"keys":[`+stdKey+`,"k2"]}`)
	bad("single-key", "no-key", "", "A JWK alone is no set.", stdKey)
	bad("no-keys-member", "no-key", "", "An object without keys.", "{}")
	bad("no-keys", "no-key", "", "A set of no key.", `{"keys":[]}`)
	bad("keys-null", "no-key", "", "keys is null.", `{"keys":null}`)
	bad("1025-keys", "too-many-keys", "", "More than 1,024 keys.", many(1025))
	vs = append(vs, keyringVector{name: "keyring-over-1-mib", why: "One byte over 1 MiB, though it is white space.", keyring: stdKeyring, pad: 1<<20 + 1, fault: "too-large"})

	bad("kid-missing", "kid", "", "kid is required.", ring(`{"kty":"oct","alg":"HS256","k":"`+b64(string(secret256))+`"}`))
	bad("kid-empty", "kid", "", "A kid has at least one character.", ring(key("", "HS256", secret256)))
	bad("kid-65", "kid", "", "A kid has at most 64 characters.", ring(key(strings.Repeat("k", 65), "HS256", secret256)))
	bad("kid-space", "kid", "", "A space is not a kid character.", ring(key("key one", "HS256", secret256)))
	bad("kid-slash", "kid", "", "A slash is not a kid character.", ring(key("keys/1", "HS256", secret256)))
	bad("kid-not-ascii", "kid", "", "Letters outside ASCII are not kid characters.", ring(key("clé", "HS256", secret256)))
	bad("kid-number", "kid", "", "kid is a string.", strings.Replace(stdKeyring, `"k1"`, `1`, 1))
	bad("kid-null", "kid", "", "kid is a string.", strings.Replace(stdKeyring, `"k1"`, `null`, 1))
	bad("duplicate-kid", "duplicate-kid", "k1", "Two keys of one kid.", ring(stdKey, key("k1", "HS256", second)))
	bad("duplicate-kid-other-alg", "duplicate-kid", "k1", "Two keys of one kid, with different algorithms.", ring(stdKey, key("k1", "HS512", secret512)))
	bad("same-secret", "same-secret", "k2", "Two keys with one secret.", ring(stdKey, key("k2", "HS256", secret256)))
	bad("same-secret-other-alg", "same-secret", "k2", "Two keys with one secret, with different algorithms.", ring(key("k1", "HS256", secret512), key("k2", "HS512", secret512)))

	bad("hs256-31", "short-key", "k1", "A key is as long as the hash (RFC 7518 section 3.2): 31 bytes for HS256.", ring(key("k1", "HS256", sequence(1, 31))))
	bad("hs384-47", "short-key", "k1", "47 bytes for HS384.", ring(key("k1", "HS384", sequence(1, 47))))
	bad("hs512-63", "short-key", "k1", "63 bytes for HS512.", ring(key("k1", "HS512", sequence(1, 63))))
	bad("one-byte", "short-key", "k1", "One byte.", ring(key("k1", "HS256", sequence(1, 1))))
	bad("second-short", "short-key", "k2", "One bad key refuses the whole keyring.", ring(stdKey, key("k2", "HS256", sequence(2, 16))))
	bad("k-empty", "k", "k1", "An empty k.", ring(key("k1", "HS256", nil)))
	bad("k-missing", "k", "k1", "k is required.", ring(`{"kty":"oct","kid":"k1","alg":"HS256"}`))
	bad("k-null", "k", "k1", "k is a string.", ring(`{"kty":"oct","kid":"k1","alg":"HS256","k":null}`))
	bad("k-not-base64", "k", "k1", "k is base64url.", ring(`{"kty":"oct","kid":"k1","alg":"HS256","k":"!!!!not base64 at all, but long enough to be!!!!"}`))

	bad("alg-missing", "alg", "k1", "alg is required: the key decides.", ring(`{"kty":"oct","kid":"k1","k":"`+b64(string(secret256))+`"}`))
	bad("alg-none", "alg", "k1", "Only HS256, HS384 and HS512.", ring(key("k1", "none", secret256)))
	bad("alg-lower-case", "alg", "k1", "Algorithm names are case-sensitive.", ring(key("k1", "hs256", secret256)))
	bad("alg-rs256", "alg", "k1", "Only HS256, HS384 and HS512.", ring(key("k1", "RS256", secret256)))
	bad("alg-a256kw", "alg", "k1", "An encryption key signs nothing.", ring(key("k1", "A256KW", secret256)))
	bad("kty-missing", "kty", "k1", "kty is required (RFC 7517 section 4.1).", ring(`{"kid":"k1","alg":"HS256","k":"`+b64(string(secret256))+`"}`))
	bad("kty-rsa", "kty", "k2", "A mixed set: one key is not oct.", ring(stdKey, `{"kty":"RSA","kid":"k2","alg":"RS256","n":"`+b64(string(sequence(0x81, 256)))+`","e":"AQAB"}`))
	bad("kty-ec", "kty", "k2", "A mixed set: one key is not oct.", ring(stdKey, `{"kty":"EC","kid":"k2","crv":"P-256","alg":"ES256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`))
	bad("kty-upper-case", "kty", "k1", "Key types are case-sensitive.", strings.Replace(stdKeyring, `"oct"`, `"OCT"`, 1))
	bad("use-enc", "use", "k1", "An encryption key signs nothing.", ring(k1(`"use":"enc"`)))
	bad("use-empty", "use", "k1", "Where present, use is sig.", ring(k1(`"use":""`)))
	bad("key-ops-sign-only", "key_ops", "k1", "Where present, key_ops lists verify.", ring(k1(`"key_ops":["sign"]`)))
	bad("key-ops-empty", "key_ops", "k1", "Where present, key_ops lists verify.", ring(k1(`"key_ops":[]`)))
	bad("key-ops-string", "key_ops", "k1", "key_ops is an array.", ring(k1(`"key_ops":"verify"`)))

	bad("exp-string", "times", "k1", "Times are integers.", ring(k1(`"exp":"1795306000"`)))
	bad("exp-fraction", "times", "k1", "Times are integers.", ring(k1(`"exp":1795306000.5`)))
	bad("exp-null", "times", "k1", "Times are integers; null is not the same as absent.", ring(k1(`"exp":null`)))
	bad("nbf-string", "times", "k1", "Times are integers.", ring(k1(`"nbf":"1795219260"`)))
	bad("nbf-date", "times", "k1", "Times are integers.", ring(k1(`"nbf":"2026-11-21T00:00:00Z"`)))
	bad("iat-true", "times", "k1", "Times are integers.", ring(k1(`"iat":true`)))
	bad("exp-milliseconds", "times", "k1", "Times are not later than the year 9999: milliseconds are.", ring(k1(`"exp":1795306000000`)))
	bad("nbf-milliseconds", "times", "k1", "Times are not later than the year 9999: milliseconds are.", ring(k1(`"nbf":1795219260000`)))
	bad("iat-milliseconds", "times", "k1", "Times are not later than the year 9999: milliseconds are.", ring(k1(`"iat":1795219200000`)))
	bad("exp-year-10000", "times", "k1", "Times are not later than the year 9999.", ring(k1(fmt.Sprintf(`"exp":%d`, latest+1))))
	bad("exp-at-nbf", "times", "k1", "exp is after nbf.", ring(k1(`"nbf":1795219260`, `"exp":1795219260`)))
	bad("exp-before-nbf", "times", "k1", "exp is after nbf.", ring(k1(`"nbf":1795219260`, `"exp":1795219259`)))

	bad("duplicate-k", "duplicate-member", "k1", "A member given twice.", ring(k1(`"k":"`+b64(string(second))+`"`)))
	bad("duplicate-alg", "duplicate-member", "k1", "A member given twice, even with the same value.", ring(k1(`"alg":"HS256"`)))
	bad("duplicate-exp", "duplicate-member", "k1", "A member given twice.", ring(k1(`"exp":1795306000`, `"exp":1895306000`)))
	bad("duplicate-unknown", "duplicate-member", "k1", "A member given twice, known or not.", ring(k1(`"note":1`, `"note":1`)))
	bad("duplicate-keys", "duplicate-member", "", "A member of the set given twice.", `{"keys":[`+stdKey+`],"keys":[`+k2+`]}`)

	reload := func(name, fault, kid, why, old, new string) {
		vs = append(vs, keyringVector{name: "reload-" + name, why: why, keyring: old, replacement: new, fault: fault, key: kid})
	}
	reload("same", "", "", "The same keyring again.", stdKeyring, stdKeyring)
	reload("add-key", "", "", "A key more.", stdKeyring, ring(stdKey, k2))
	reload("drop-key", "", "", "A key less.", ring(stdKey, k2), ring(k2))
	reload("other-times", "", "", "The same key with other times: a rotation.", stdKeyring, ring(k1(`"exp":1795306000`), key("k2", "HS256", second, `"nbf":1795305900`)))
	reload("other-secret", "other-secret", "k1", "A kid in force keeps its secret.", stdKeyring, ring(key("k1", "HS256", second)))
	reload("other-alg", "other-alg", "k1", "A kid in force keeps its algorithm.", ring(key("k1", "HS256", secret512)), ring(key("k1", "HS512", secret512)))
	reload("swapped", "other-secret", "k1", "Two keys whose secrets changed places.", ring(stdKey, k2), ring(key("k1", "HS256", second), key("k2", "HS256", secret256)))
	reload("short-key", "short-key", "k2", "A replacement is held to the same rules.", stdKeyring, ring(stdKey, key("k2", "HS256", sequence(2, 31))))
	reload("no-keys", "no-key", "", "A replacement of no key.", stdKeyring, `{"keys":[]}`)
	return vs
}

// ---- which key signs

// A signingVector says which key of a keyring signs a ticket of a given TTL.
type signingVector struct {
	name, why, keyring string
	ttl                int // 0 means 10
	kid                string
	refused            bool // no signer takes the keyring at all
}

// signNow lies far ahead, so that no key of these vectors has expired by the
// clock of the machine that runs them.
const signNow int64 = 4102444800 // 2100-01-01T00:00:00Z

func (v signingVector) file() []byte {
	if v.ttl == 0 {
		v.ttl = 10
	}
	var f file
	f.line("kind", "signing")
	f.line("comment", v.why)
	f.line("keyring", v.keyring)
	f.line("now", fmt.Sprint(signNow))
	f.line("ttl", fmt.Sprint(v.ttl))
	f.line("leeway", "2")
	switch {
	case v.refused:
		f.line("expect", "refused")
		return f.Bytes()
	case v.kid == "":
		f.line("expect", "none")
		return f.Bytes()
	}
	f.line("expect", "ok")
	f.line("kid", v.kid)
	return f.Bytes()
}

func signingVectors() []signingVector {
	var vs []signingVector
	s := func(name, why, kid string, keys ...string) {
		vs = append(vs, signingVector{name: "signing-" + name, why: why, kid: kid, keyring: ring(keys...)})
	}
	a := func(more ...string) string { return key("a", "HS256", sequence(1, 32), more...) }
	b := func(more ...string) string { return key("b", "HS256", sequence(2, 32), more...) }
	c := func(more ...string) string { return key("c", "HS256", sequence(3, 32), more...) }
	nbf := func(d int64) string { return fmt.Sprintf(`"nbf":%d`, signNow+d) }
	exp := func(d int64) string { return fmt.Sprintf(`"exp":%d`, signNow+d) }
	verifyOnly := `"key_ops":["verify"]`

	s("only", "The only key signs.", "a", a())
	s("greatest-nbf", "The greatest nbf that has come signs.", "b", a(nbf(-200)), b(nbf(-100)), c(nbf(-300)))
	s("nbf-over-none", "A key without nbf has always signed: any nbf that has come is greater.", "a", a(nbf(-100)), b())
	s("at-nbf", "A key signs from its nbf on.", "b", a(nbf(-100)), b(nbf(0)))
	s("before-nbf", "A key does not sign before its nbf, without leeway.", "a", a(nbf(-100)), b(nbf(1)))
	s("tie", "Of two with one nbf the greater kid signs.", "b", b(nbf(-100)), a(nbf(-100)))
	s("tie-none", "Of two without nbf the greater kid signs.", "b", b(), a())
	s("exp-just-enough", "A key signs a ticket whose exp + leeway is the key's exp.", "b", a(nbf(-200)), b(nbf(-100), exp(12)))
	s("exp-too-soon", "A key does not sign a ticket whose exp + leeway is after the key's exp: signing passes to the next.", "a", a(nbf(-200)), b(nbf(-100), exp(11)))
	s("expired", "A key does not sign from its exp on: signing passes to the next.", "a", a(nbf(-200)), b(nbf(-100), exp(0)))
	s("passes-twice", "Signing passes on until a key may sign.", "c", a(nbf(-100), exp(5)), b(nbf(-200), exp(11)), c(nbf(-300), exp(12)))
	s("verify-only", "A key without sign in key_ops never signs.", "a", a(nbf(-200)), b(nbf(-100), verifyOnly))
	s("sign-and-verify", "A key with sign in key_ops signs.", "b", a(nbf(-200)), b(nbf(-100), `"key_ops":["verify","sign"]`))
	s("none-yet", "No key signs yet.", "", a(nbf(1)))
	s("none-for-this-ttl", "The only key expires too soon for this ticket.", "", a(exp(11)))
	vs = append(vs,
		signingVector{name: "signing-short-ttl", why: "A key about to expire still signs a shorter ticket.", ttl: 5, kid: "b", keyring: ring(a(nbf(-200)), b(nbf(-100), exp(7)))},
		signingVector{name: "signing-verify-only-alone", why: "No key ever signs: a signer refuses the keyring.", refused: true, keyring: ring(a(verifyOnly))},
		signingVector{name: "signing-all-expired", why: "No key signs any more: a signer refuses the keyring.", refused: true, keyring: ring(a(`"exp":1000000000`), b(`"exp":1000000001`))},
		signingVector{name: "signing-other-alg", why: "The algorithm does not matter.", kid: "z", keyring: ring(a(nbf(-200)), key("z", "HS512", secret512, nbf(-100)))},
	)
	return vs
}

// ---- building blocks

const rfc7515Key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"

// selfTest compares the MAC with RFC 7515 appendix A.1 and RFC 4231 test case 2.
func selfTest() {
	const input = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	if b64(string(sum(sha256.New, unb64(rfc7515Key), input))) != "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" {
		panic("the MAC of RFC 7515 appendix A.1 does not come out")
	}
	if hex.EncodeToString(sum(sha256.New, []byte("Jefe"), "what do ya want for nothing?")) != "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" {
		panic("the MAC of RFC 4231 section 4.3 does not come out")
	}
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func unb64(s string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func sum(h func() hash.Hash, secret []byte, text string) []byte {
	m := hmac.New(h, secret)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// sequence is a secret that anyone can see is one for tests: n bytes that count
// up from first.
func sequence(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func key(kid, alg string, secret []byte, more ...string) string {
	s := `{"kty":"oct","kid":"` + kid + `","alg":"` + alg + `","k":"` + b64(string(secret)) + `"`
	for _, m := range more {
		s += "," + m
	}
	return s + "}"
}

func ring(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

func many(n int) string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = key(fmt.Sprintf("k%04d", i), "HS256", fmt.Appendf(nil, "%032d", i))
	}
	return ring(keys...)
}

func head(alg, kid string) string {
	return `{"alg":"` + alg + `","kid":"` + kid + `","typ":"ws-ticket+jwt"}`
}

// plus is the standard payload with more members, swap with one thing replaced.
func plus(members string) string { return strings.TrimSuffix(stdPayload, "}") + "," + members + "}" }

func swap(old, new string) string {
	if strings.Count(stdPayload, old) != 1 {
		panic("not once in the payload: " + old)
	}
	return strings.Replace(stdPayload, old, new, 1)
}

func nest(open, close string, n int) string {
	return strings.Repeat(open, n) + strings.Repeat(close, n)
}

// padTo appends spaces until the length of s leaves the remainder r when divided
// by three, which decides the spare bits of its base64.
func padTo(s string, r int) string {
	for len(s)%3 != r {
		s += " "
	}
	return s
}

// fillTo is a payload whose base64url has n characters.
func fillTo(n int) string {
	for i := 0; ; i++ {
		p := plus(`"pad":"` + strings.Repeat("x", i) + `"`)
		switch l := len(b64(p)); {
		case l == n:
			return p
		case l > n:
			panic(fmt.Sprintf("no payload has %d characters", n))
		}
	}
}

// bump adds d to the value of the last base64url character, whose low bits are
// spare and zero.
func bump(s string, d int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, s[len(s)-1])
	if last&d != 0 {
		panic("the bit is not spare")
	}
	return s[:len(s)-1] + alphabet[last+d:last+d+1]
}

func spare(s string) string { return bump(s, 1) }

// once replaces the first old, which must be there.
func once(old, new string) func(string) string {
	return func(s string) string {
		if !strings.Contains(s, old) {
			panic("no " + old + " in " + s)
		}
		return strings.Replace(s, old, new, 1)
	}
}

// withMAC is a payload whose MAC has each of the characters in it.
func withMAC(chars string) string {
search:
	for i := 0; ; i++ {
		p := swap(`"user-1"`, fmt.Sprintf(`"user-%d"`, i))
		mac := b64(string(sum(sha256.New, secret256, b64(stdHeader)+"."+b64(p))))
		for _, c := range chars {
			if !strings.ContainsRune(mac, c) {
				continue search
			}
		}
		return p
	}
}

func utf16le(s string) string {
	var b []byte
	for i := range len(s) {
		b = append(b, s[i], 0)
	}
	return string(b)
}

func utf16be(s string) string {
	var b []byte
	for i := range len(s) {
		b = append(b, 0, s[i])
	}
	return string(b)
}

// ---- files

// A file is lines of "name: value". A value that would not survive on a line of
// text is written in hex, under the name with -hex behind it.
type file struct{ bytes.Buffer }

func (f *file) line(name, value string) {
	switch {
	case value == "":
		fmt.Fprintf(f, "%s:\n", name)
	case plain(value):
		fmt.Fprintf(f, "%s: %s\n", name, value)
	default:
		fmt.Fprintf(f, "%s-hex: %x\n", name, value)
	}
}

func (f *file) lines(name string, values []string) {
	for _, v := range values {
		f.line(name, v)
	}
}

func (f *file) optional(name, value string) {
	if value != "" {
		f.line(name, value)
	}
}

func plain(s string) bool {
	if !utf8.ValidString(s) || s != strings.TrimSpace(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// vectorFiles keeps two vectors from having one name or asking the same thing.
type vectorFiles struct {
	bytes     map[string][]byte
	questions map[string]string
}

func (f vectorFiles) add(name string, content []byte) {
	name += ".txt"
	q := question(content)
	if other, ok := f.questions[q]; ok {
		panic(name + " asks the same as " + other)
	}
	if f.bytes[name] != nil {
		panic("two vectors named " + name)
	}
	f.bytes[name], f.questions[q] = content, name
}

// question is a vector without its name, its comment and its answer.
func question(content []byte) string {
	var q strings.Builder
	for line := range strings.Lines(string(content)) {
		switch name, _, _ := strings.Cut(line, ":"); name {
		case "comment", "expect", "identity", "fault", "key", "kid", "header", "payload", "header-hex", "payload-hex":
		default:
			q.WriteString(line)
		}
	}
	return q.String()
}

// reconcile makes the .txt files of dir equal to files, or says how they differ.
func reconcile(dir string, files map[string][]byte, check bool) error {
	there, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return err
	}
	var faults []string
	for _, path := range there {
		if _, ok := files[filepath.Base(path)]; ok {
			continue
		}
		if check {
			faults = append(faults, path+" is left over")
		} else if err := os.Remove(path); err != nil {
			return err
		}
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		old, err := os.ReadFile(path)
		switch {
		case err == nil && bytes.Equal(old, content):
		case check && os.IsNotExist(err):
			faults = append(faults, path+" is missing")
		case check && err == nil:
			faults = append(faults, path+" is stale")
		case check:
			return err
		default:
			if err := os.WriteFile(path, content, 0o644); err != nil {
				return err
			}
		}
	}
	if len(faults) > 0 {
		slices.Sort(faults)
		return fmt.Errorf("%s\nrun go run ./testdata/vectors/generate.go", strings.Join(faults, "\n"))
	}
	return nil
}
