package jwkset

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// TestPlainSecrets: without an encoding a secret is its bytes, where nothing else
// can be meant, and refused with the flag to give where something could.
func TestPlainSecrets(t *testing.T) {
	phrase := "correct horse battery staple, for ever and a day"
	binaryKey := make([]byte, 32)
	for i := range binaryKey {
		binaryKey[i] = byte(200 + 3*i)
	}
	upper := strings.ToUpper(hex.EncodeToString(binaryKey))
	std, url := base64.StdEncoding.EncodeToString(binaryKey), base64.URLEncoding.EncodeToString(binaryKey)
	if !strings.ContainsAny(std, "+/") || !strings.ContainsAny(url, "-_") {
		t.Fatal("the sample does not tell the alphabets apart")
	}
	jwk := key("a", 'a', "")
	for name, c := range map[string]struct{ file, secret, fault string }{
		"a phrase":                 {phrase, phrase, ""},
		"a line":                   {phrase + "\n", phrase, ""},
		"a line of Windows":        {phrase + "\r\n", phrase, ""},
		"umlauts":                  {"pässword, pässword, pässword, pässword\n", "pässword, pässword, pässword, pässword", ""},
		"bytes":                    {string(binaryKey), string(binaryKey), ""},
		"bytes that end in LF":     {string(binaryKey) + "\n", string(binaryKey) + "\n", ""},
		"bytes that end in blanks": {string(binaryKey) + "  ", string(binaryKey) + "  ", ""},
		"short":                    {"secret\n", "secret", ""},
		"25 letters of base64":     {strings.Repeat("x", 37), strings.Repeat("x", 37), ""}, // one letter too many
		"too much padding":         {std[:41] + "===", std[:41] + "===", ""},
		"padding that does not fit": {
			strings.Repeat("x", 41) + "=", strings.Repeat("x", 41) + "=", ""},
		"both alphabets": {strings.Repeat("x-y+", 10), strings.Repeat("x-y+", 10), ""},
		"JSON of another kind": {
			`{"secret":"that nobody would write into such a file"}`, `{"secret":"that nobody would write into such a file"}`, ""},

		"nothing":             {"", "", "it is empty"},
		"white space":         {"\r\n \n", "", "it is empty"},
		"hex":                 {hex.EncodeToString(binaryKey) + "\n", "", "hex (32 bytes), base64 (48 bytes) or the text itself (64 bytes), and each would be another secret: give -encoding hex, base64 or raw"},
		"hex, upper case":     {upper, "", "hex (32 bytes)"},
		"hex, 34 digits":      {upper[:34], "", "hex (17 bytes), base64 (25 bytes) or the text itself (34 bytes)"},
		"hex, lines":          {upper[:32] + "\n" + upper[32:] + "\n", "", "hex (32 bytes)"},
		"base64":              {std, "", "base64 (32 bytes) or the text itself (44 bytes), and each would be another secret: give -encoding base64 or raw"},
		"base64, no padding":  {strings.TrimRight(std, "="), "", "base64 (32 bytes) or the text itself (43 bytes)"},
		"base64, lines":       {std[:20] + "\r\n" + std[20:] + "\r\n", "", "base64 (32 bytes)"},
		"base64url":           {url + "\n", "", "base64url (32 bytes) or the text itself (44 bytes), and each would be another secret: give -encoding base64url or raw"},
		"letters":             {strings.Repeat("aB3d", 10), "", "base64 (30 bytes) or the text itself (40 bytes)"},
		"JWK":                 {jwk, "", "it is a JWK: give -encoding jwk"},
		"JWK, member twice":   {`{"kty":"oct","kty":"oct","k":"x"}`, "", "it is a JWK: give -encoding jwk"},
		"JWK Set":             {"\n" + set(jwk), "", "it is a JWK Set: give -encoding jwk"},
		"UTF-16 LE":           {inUTF16(binary.LittleEndian, phrase+"\r\n"), "", "UTF-16"},
		"UTF-16 BE":           {inUTF16(binary.BigEndian, phrase), "", "UTF-16"},
		"UTF-16 LE, mark":     {"\xff\xfe" + inUTF16(binary.LittleEndian, phrase), "", "UTF-16"},
		"UTF-16 BE, mark":     {"\xfe\xff" + inUTF16(binary.BigEndian, phrase), "", "UTF-16"},
		"byte order mark":     {"\ufeff" + phrase, "", "byte order mark"},
		"PEM":                 {"-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n", "", "it is PEM"},
		"hex, colons":         {strings.TrimRight(strings.Repeat("a0:", 32), ":") + "\n", "", "give -encoding hex"},
		"hex, colons, lines":  {strings.Repeat(strings.Repeat("B0:", 16)+"\n", 2), "", "give -encoding hex"},
		"hex, 0x":             {"0x" + upper + "\n", "", "give -encoding hex"},
		"base64: of Laravel":  {"base64:" + std + "\n", "", "give -encoding base64"},
		"a phrase in colons":  {"a:bee:sea:dee:e:eff:gee:aitch:i:jay:kay", "a:bee:sea:dee:e:eff:gee:aitch:i:jay:kay", ""},
		"base64: and words":   {"base64:" + phrase, "base64:" + phrase, ""},
		"quotation marks":     {`"` + phrase + `"` + "\n", "", "quotation marks"},
		"a line of .env":      {"JWT_SECRET=" + phrase + "\n", "", "NAME=value"},
		"an exported line":    {"export SECRET=" + phrase + "\n", "", "NAME=value"},
		"two line breaks":     {phrase + "\n\n", "", "white space"},
		"a blank at the end":  {phrase + " \n", "", "white space"},
		"a blank at the head": {" " + phrase, "", "white space"},
		"two lines":           {phrase + "\n" + phrase + "\n", "", "white space"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeSecret([]byte(c.file), "")
			if c.fault == "" && (err != nil || string(got) != c.secret) {
				t.Errorf("%q, %v", got, err)
			}
			if c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("%q, %v, want %q", got, err, c.fault)
			}
			if err != nil {
				for _, part := range []string{phrase[:7], upper[:8], std[:8], url[:8], "MIIB", b64('a', 12)} {
					if strings.Contains(err.Error(), part) {
						t.Errorf("the error quotes the file: %v", err)
					}
				}
			}
			// What is refused for what it looks like is taken as it is on demand.
			raw, err := DecodeSecret([]byte(c.file), "raw")
			if strings.TrimSpace(c.file) != "" && (err != nil || !bytes.HasPrefix([]byte(c.file), raw) || len(c.file)-len(raw) > 2) {
				t.Errorf("raw: %q, %v", raw, err)
			}
		})
	}
}

func TestEncodedSecrets(t *testing.T) {
	secret := bytes.Repeat([]byte{0xfb, 0xef, 0xbe, 0x00, 0x0a}, 8) // of which base64 is full of + and -
	std, url := base64.StdEncoding.EncodeToString(secret), base64.URLEncoding.EncodeToString(secret)
	plain := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, c := range []struct{ encoding, file, want, fault string }{
		{"hex", hex.EncodeToString(secret), string(secret), ""},
		{"hex", " FB ef\tbe\r\n00 0A \n", "\xfb\xef\xbe\x00\n", ""},
		{"hex", "abc", "", "not hex"},
		{"hex", "zz", "", "not hex"},
		{"hex", "\xff\xff", "", "not hex"},
		{"base64", std, string(secret), ""},
		{"base64", strings.TrimRight(std, "=") + "\n", string(secret), ""},
		{"base64", std[:10] + "\r\n " + std[10:], string(secret), ""},
		{"base64", plain, strings.Repeat("\x00", 32), ""},
		{"base64", "QUJD", "ABC", ""},
		{"base64", "QUJ=", "AB", ""}, // bits to spare
		{"base64", "QUI=", "AB", ""},
		{"base64", url, "", "not base64 but base64url"},
		{"base64", "QUJDR", "", "not base64"},
		{"base64", "QUI", "AB", ""},
		{"base64", "QUI==", "", "not base64"},
		{"base64", "Q===", "", "not base64"},
		{"base64", "Q=I=", "", "not base64"},
		{"base64", "====", "", "not base64"},
		{"base64", "ä", "", "not base64"},
		{"base64url", url, string(secret), ""},
		{"base64url", strings.TrimRight(url, "="), string(secret), ""},
		{"base64url", plain, strings.Repeat("\x00", 32), ""},
		{"base64url", std, "", "not base64url but base64"},
		{"base64url", "-+", "", "not base64url"},
		{"raw", "a\n", "a", ""},
		{"raw", "\ufeffa", "\ufeffa", ""},
		{"raw", "a\tb\n", "a\tb\n", ""},
		{"raw", " \n", "", "empty"},
		{"hex", "", "", "empty"},
		{"text", "abc", "", "raw, base64, base64url, hex, jwk"},
	} {
		got, err := DecodeSecret([]byte(c.file), c.encoding)
		if c.fault == "" && (err != nil || string(got) != c.want) {
			t.Errorf("%s %q: %q, %v", c.encoding, c.file, got, err)
		}
		if c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%s %q: %q, %v, want %q", c.encoding, c.file, got, err, c.fault)
		}
	}
}

func TestImportJWK(t *testing.T) {
	const now = 1_795_219_200
	bare := fmt.Sprintf(`{"kty":"oct","k":%q`, b64('a', 64))
	for name, c := range map[string]struct{ file, alg, kid, want, fault string }{
		"bare":               {bare + "}", "", "new", `"alg":"HS256","iat":1795219200,"k":"` + b64('a', 64) + `","kid":"new"`, ""},
		"bare, alg":          {bare + "}", "HS512", "new", `"alg":"HS512"`, ""},
		"its own alg":        {bare + `,"alg":"HS384"}`, "", "new", `"alg":"HS384"`, ""},
		"the same alg":       {bare + `,"alg":"HS384"}`, "HS384", "new", `"alg":"HS384"`, ""},
		"its own kid":        {bare + `,"kid":"mine"}`, "", "", `"kid":"mine"`, ""},
		"another kid":        {bare + `,"kid":"mine"}`, "", "new", `"kid":"new"`, ""},
		"times and more":     {bare + `,"iat":5,"nbf":6,"exp":7,"key_ops":["verify"],"x":{"y":[1]}}`, "", "new", `"exp":7,"iat":5,"k":"` + b64('a', 64) + `","kid":"new","kty":"oct","nbf":6,"key_ops":["verify"],"x":{"y":[1]}`, ""},
		"a set of one":       {set(bare + `,"kid":"mine"}`), "", "", `"kid":"mine"`, ""},
		"another alg":        {bare + `,"alg":"HS384"}`, "HS256", "new", "", "its alg is not HS256"},
		"alg of no kind":     {bare + `,"alg":7}`, "HS256", "new", "", "its alg is not HS256"},
		"alg none":           {bare + `,"alg":"none"}`, "", "new", "", "alg must be"},
		"no kid":             {bare + "}", "", "", "", "give -kid"},
		"a set of two":       {set(bare+"}", bare+"}"), "", "new", "", "JWK Set of 2 keys"},
		"a set of none":      {set(), "", "new", "", "JWK Set of 0 keys"},
		"a set of no kind":   {`{"keys":{}}`, "", "new", "", "not an array"},
		"a set of text":      {`{"keys":["x"]}`, "", "new", "", "not a JWK"},
		"keys twice":         {`{"keys":[],"keys":[]}`, "", "new", "", "given twice"},
		"another kty":        {`{"kty":"RSA","n":"x"}`, "", "new", "", "kty must be"},
		"text":               {"hello", "", "new", "", "not a JWK"},
		"k twice":            {bare + `,"k":"x"}`, "", "new", "", `member "k" is given twice`},
		"short":              {`{"kty":"oct","k":"AAAA"}`, "", "new", "", "too short"},
		"cut off":            {bare, "", "new", "", "not a JWK"},
		"times in ms":        {bare + `,"exp":1795219200123}`, "", "new", "", "milliseconds"},
		"a name to escape":   {bare + `,"<\"":1}`, "", "new", `1}`, ""},
		"kid that is not ok": {bare + `,"kid":"a/b"}`, "", "", "", "kid must be"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ImportJWK([]byte(c.file), c.alg, c.kid, now)
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) || strings.Contains(err.Error(), b64('a', 12)) {
					t.Errorf("%v, want %q", err, c.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if out, err := s.Marshal(); err != nil || !bytes.Contains(out, []byte(c.want)) || bytes.Count(out, []byte(`"kid"`)) != 1 {
				t.Errorf("%s, %v, want %s in it", out, err, c.want)
			}
		})
	}
}

// FuzzSecret: whatever a file holds, it is read in the way asked for or refused, and
// what is taken without asking is the file, but for its last line break.
func FuzzSecret(f *testing.F) {
	for _, seed := range []string{"", "a\n", "QUJD", "deadbeef", `{"kty":"oct","k":"QUJD"}`, `{"keys":[{"kty":"oct"}]}`, "\xff\xfea\x00", strings.Repeat("ab", 40)} {
		for i := range len(Encodings) + 1 {
			f.Add([]byte(seed), uint8(i))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, which uint8) {
		encoding := append([]string{""}, Encodings...)[int(which)%(len(Encodings)+1)]
		if encoding == "jwk" {
			if s, err := ImportJWK(data, "", "kid", 1); err == nil {
				if _, err := s.Marshal(); err != nil || len(s.keys) != 1 || s.keys[0].KeyID != "kid" {
					t.Fatalf("%v, %v", s, err)
				}
			}
			return
		}
		secret, err := DecodeSecret(data, encoding)
		if err == nil && len(secret) == 0 {
			t.Fatal("an empty secret")
		}
		if err == nil && encoding == "" && (!bytes.HasPrefix(data, secret) || len(data)-len(secret) > 2) {
			t.Fatalf("%q became %q", data, secret)
		}
		if err == nil && encoding == "hex" && !bytes.EqualFold([]byte(hex.EncodeToString(secret)), without(data, white)) {
			t.Fatalf("%q became %q", data, secret)
		}
	})
}
