package jwkset

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v3/jwk"
)

// b64 is the base64url of n bytes c.
func b64(c byte, n int) string {
	return base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{c}, n))
}

// key is a legal HS256 key with more members behind it.
func key(kid string, c byte, more string) string {
	return fmt.Sprintf(`{"kty":"oct","kid":%q,"alg":"HS256","k":%q%s}`, kid, b64(c, 32), more)
}

func set(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

// inUTF16 is ASCII text in UTF-16.
func inUTF16(order binary.AppendByteOrder, text string) string {
	var out []byte
	for _, c := range []byte(text) {
		out = order.AppendUint16(out, uint16(c))
	}
	return string(out)
}

func TestParse(t *testing.T) {
	input := `{"note":"kept","keys":[
		{"kty":"oct","kid":"2026-11-21-a","alg":"HS256","use":"sig","k":"` + b64('a', 32) + `","iat":1795219200,"nbf":1795219260,"exp":1795306000},
		{"kty":"oct","k\u0069d":"b~._-B9","alg":"HS\u003384","k":"` + b64('b', 48) + `","key_ops":["verify","wrapKey"]},
		{"kty":"oct","kid":"c","alg":"HS512","k":"` + b64('c', 200) + `","key_ops":["sign","verify"],"x5c":7}
	]}`
	s, err := Parse([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	type view struct {
		KeyID, Alg    string
		Secret        string
		Iat, Nbf, Exp int64
		Signs         bool
	}
	var got []view
	for _, k := range s.Keys() {
		got = append(got, view{k.KeyID, k.Alg, string(k.Secret), k.IssuedAt, k.NotBefore, k.Expires, k.Signs})
	}
	want := []view{
		{"2026-11-21-a", "HS256", strings.Repeat("a", 32), 1795219200, 1795219260, 1795306000, true},
		{"b~._-B9", "HS384", strings.Repeat("b", 48), 0, 0, Never, false},
		{"c", "HS512", strings.Repeat("c", 200), 0, 0, Never, true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestParseRefuses holds each rule of the format; the text must name the key and
// the member at fault.
func TestParseRefuses(t *testing.T) {
	good := key("good", 'g', "")
	many := make([]string, MaxKeys+1)
	for i := range many {
		many[i] = fmt.Sprintf(`{"kty":"oct","kid":"k%d","alg":"HS256","k":%q}`, i,
			base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf("%032d", i))))
	}
	if _, err := Parse([]byte(set(many[:MaxKeys]...))); err != nil {
		t.Errorf("%d keys: %v", MaxKeys, err)
	}
	full := set(good) + strings.Repeat(" ", MaxBytes-len(set(good)))
	if _, err := Parse([]byte(full)); err != nil {
		t.Errorf("%d bytes: %v", MaxBytes, err)
	}
	longKey := bytes.Repeat([]byte("g"), 65)
	hashed := sha256.Sum256(longKey)
	withSecret := func(kid string, secret []byte) string {
		return strings.Replace(key(kid, 'g', ""), b64('g', 32), base64.RawURLEncoding.EncodeToString(secret), 1)
	}
	alter := func(old, new string) string { return set(good, strings.Replace(key("bad", 'b', ""), old, new, 1)) }
	const bad = `keys[1] (kid "bad"): `
	secret := `"k":"` + b64('b', 32) + `"`

	for name, c := range map[string]struct{ input, want string }{
		"empty":                {"", "empty"},
		"white space":          {" \n\t", "empty"},
		"not json":             {"hello", "line 1, column 1"},
		"cut off":              {set(good)[:40], "not valid JSON: line 1"},
		"trailing comma":       {"{\"keys\":[\n" + good + ",\n]}", "line 3, column 1"},
		"trailing data":        {set(good) + "x", "not valid JSON"},
		"two sets":             {set(good) + set(good), "not valid JSON"},
		"byte order mark":      {"\ufeff" + set(good), "byte order mark"},
		"utf-16 le, mark":      {"\xff\xfe" + inUTF16(binary.LittleEndian, set(good)), "is UTF-16"},
		"utf-16 be, mark":      {"\xfe\xff" + inUTF16(binary.BigEndian, set(good)), "is UTF-16"},
		"utf-16 le":            {inUTF16(binary.LittleEndian, set(good)), "is UTF-16"},
		"utf-16 be":            {inUTF16(binary.BigEndian, set(good)), "is UTF-16"},
		"zeros":                {"\x00\x00\x00", "not valid JSON"},
		"not utf-8":            {`{"x":"` + "\xff" + `","keys":[` + good + `]}`, "UTF-8"},
		"lone surrogate":       {`{"x":"\ud800","keys":[` + good + `]}`, "surrogate"},
		"too deep":             {`{"x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `,"keys":[` + good + `]}`, "levels"},
		"array":                {"[" + good + "]", "not valid JSON object"},
		"string":               {`"keys"`, "not valid JSON object"},
		"single key":           {good, "single key"},
		"no keys member":       {`{}`, `no member "keys"`},
		"keys elsewhere":       {`{"Keys":[` + good + `]}`, `no member "keys"`},
		"keys null":            {`{"keys":null}`, "not an array"},
		"keys object":          {`{"keys":{}}`, "not an array"},
		"no key":               {set(), "no key"},
		"keys twice":           {`{"keys":[` + good + `],"keys":[]}`, `member "keys" is given twice`},
		"keys twice, \\u":      {`{"keys":[` + good + `],"k\u0065ys":[]}`, `member "keys" is given twice`},
		"unknown twice":        {`{"x":1,"keys":[` + good + `],"x":1}`, "given twice"},
		"too many":             {set(many...), "more than 1024"},
		"too long":             {full + " ", "limit is 1048576"},
		"key null":             {set(good, "null"), "keys[1]: not a JSON object"},
		"key array":            {set(good, "[]"), "keys[1]: not a JSON object"},
		"duplicate kid":        {set(good, key("good", 'b', "")), `keys[1] (kid "good"): keys[0] has the same kid`},
		"one secret":           {set(good, key("bad", 'g', "")), bad + `keys[0] (kid "good") has the same secret`},
		"one HMAC key":         {set(good, withSecret("bad", append(bytes.Repeat([]byte("g"), 32), 0))), "same secret"},
		"one HMAC key, hashed": {set(withSecret("a", longKey), withSecret("bad", hashed[:])), "same secret"},
		"one secret, alg":      {set(strings.Replace(key("a", 'g', ""), b64('g', 32), b64('g', 64), 1), strings.Replace(strings.Replace(key("bad", 'g', ""), b64('g', 32), b64('g', 64), 1), "HS256", "HS512", 1)), "same secret"},
		"no kid":               {alter(`"kid":"bad",`, ``), "keys[1]: kid must be"},
		"kid empty":            {alter(`"bad"`, `""`), "keys[1]: kid must be"},
		"kid number":           {alter(`"bad"`, `7`), "keys[1]: kid must be"},
		"kid null":             {alter(`"bad"`, `null`), "keys[1]: kid must be"},
		"kid slash":            {alter(`"bad"`, `"../bad"`), "keys[1]: kid must be"},
		"kid space":            {alter(`"bad"`, `"b d"`), "keys[1]: kid must be"},
		"kid NUL":              {alter(`"bad"`, `"b\u0000"`), "keys[1]: kid must be"},
		"kid not ascii":        {alter(`"bad"`, `"bäd"`), "keys[1]: kid must be"},
		"kid long":             {alter(`"bad"`, `"`+strings.Repeat("b", 65)+`"`), "keys[1]: kid must be"},
		"no kty":               {alter(`"kty":"oct",`, ``), bad + "kty"},
		"kty RSA":              {alter(`"oct"`, `"RSA"`), bad + "kty"},
		"kty case":             {alter(`"oct"`, `"OCT"`), bad + "kty"},
		"no alg":               {alter(`"alg":"HS256",`, ``), bad + "alg"},
		"alg none":             {alter(`HS256`, `none`), bad + "alg"},
		"alg case":             {alter(`HS256`, `hs256`), bad + "alg"},
		"alg RS256":            {alter(`HS256`, `RS256`), bad + "alg"},
		"alg array":            {alter(`"HS256"`, `["HS256"]`), bad + "alg"},
		"no k":                 {alter(`,`+secret, ``), bad + "k is missing"},
		"k empty":              {alter(secret, `"k":""`), bad + "k is missing"},
		"k null":               {alter(secret, `"k":null`), bad + "k is missing"},
		"k array":              {alter(secret, `"k":[1]`), bad + "k is missing"},
		"k one letter":         {alter(secret, `"k":"A"`), bad + "k is not canonical"},
		"k padded":             {alter(secret, `"k":"`+b64('b', 32)+`="`), bad + "k is not canonical"},
		"k with LF":            {alter(secret, `"k":"\n`+b64('b', 32)+`"`), bad + "k is not canonical"},
		"k with CR":            {alter(secret, `"k":"`+b64('b', 32)+`\r"`), bad + "k is not canonical"},
		"k with space":         {alter(secret, `"k":" `+b64('b', 32)+`"`), bad + "k is not canonical"},
		"k plus":               {alter(secret, `"k":"+`+b64('b', 48)[1:]+`"`), bad + "k is not canonical"},
		"k spare bits":         {alter(secret, `"k":"`+b64(0, 32)[:42]+`B"`), bad + "k is not canonical"},
		"k 31 bytes":           {alter(secret, `"k":"`+b64('b', 31)+`"`), bad + "k is too short: 31 bytes"},
		"k 47 bytes":           {set(good, strings.NewReplacer(secret, `"k":"`+b64('b', 47)+`"`, "HS256", "HS384").Replace(key("bad", 'b', ""))), bad + "k is too short: 47 bytes"},
		"k 63 bytes":           {set(good, strings.NewReplacer(secret, `"k":"`+b64('b', 63)+`"`, "HS256", "HS512").Replace(key("bad", 'b', ""))), bad + "k is too short: 63 bytes"},
		"use enc":              {set(good, key("bad", 'b', `,"use":"enc"`)), bad + "use"},
		"use null":             {set(good, key("bad", 'b', `,"use":null`)), bad + "use"},
		"key_ops empty":        {set(good, key("bad", 'b', `,"key_ops":[]`)), bad + `key_ops must list "verify"`},
		"key_ops sign":         {set(good, key("bad", 'b', `,"key_ops":["sign"]`)), bad + `key_ops must list "verify"`},
		"key_ops string":       {set(good, key("bad", 'b', `,"key_ops":"verify"`)), bad + "key_ops must be an array"},
		"key_ops number":       {set(good, key("bad", 'b', `,"key_ops":["verify",1]`)), bad + "key_ops must be an array"},
		"key_ops null":         {set(good, key("bad", 'b', `,"key_ops":null`)), bad + "key_ops must be an array"},
		"iat string":           {set(good, key("bad", 'b', `,"iat":"1795219200"`)), bad + "iat must be an integer"},
		"nbf fraction":         {set(good, key("bad", 'b', `,"nbf":1.5`)), bad + "nbf must be an integer"},
		"nbf negative":         {set(good, key("bad", 'b', `,"nbf":-1`)), bad + "nbf must be an integer"},
		"exp exponent":         {set(good, key("bad", 'b', `,"exp":1e9`)), bad + "exp must be an integer"},
		"exp 16 digits":        {set(good, key("bad", 'b', `,"exp":1000000000000000`)), bad + "exp must be an integer"},
		"exp in 9999":          {set(good, key("bad", 'b', `,"nbf":253402300799,"exp":253402300799`)), bad + "exp is not after nbf"},
		"exp in 10000":         {set(good, key("bad", 'b', `,"exp":253402300800`)), bad + "exp lies beyond the year 9999"},
		"iat milliseconds":     {set(good, key("bad", 'b', `,"iat":1795219200123`)), bad + "iat lies beyond the year 9999: it looks like milliseconds"},
		"nbf milliseconds":     {set(good, key("bad", 'b', `,"nbf":1795219200123`)), bad + "nbf lies beyond the year 9999: it looks like milliseconds"},
		"exp null":             {set(good, key("bad", 'b', `,"exp":null`)), bad + "exp must be an integer"},
		"exp at nbf":           {set(good, key("bad", 'b', `,"nbf":7,"exp":7`)), bad + "exp is not after nbf"},
		"exp before nbf":       {set(good, key("bad", 'b', `,"nbf":7,"exp":6`)), bad + "exp is not after nbf"},
		"alg twice":            {set(good, key("bad", 'b', `,"alg":"HS256"`)), `member "alg" is given twice`},
		"k twice, escaped":     {set(good, key("bad", 'b', `,"\u006b":"`+b64('b', 32)+`"`)), `member "k" is given twice`},
		"x twice":              {set(good, key("bad", 'b', `,"x":1,"x":1`)), "keys[1] (kid \"bad\"): a member is given twice"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Parse([]byte(c.input))
			if err == nil || s != nil {
				t.Fatalf("accepted: %v", s)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, want %q in it", err, c.want)
			}
			for _, secret := range []string{b64('b', 12), b64('g', 12), "bbbb", "gggg"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error holds secret material: %q", err)
				}
			}
		})
	}
}

func TestParseReportsAllFaults(t *testing.T) {
	_, err := Parse([]byte(set(
		`{"kty":"RSA","kid":"one","alg":"RS256","use":"enc","k":"A","nbf":"x"}`,
		`{"kid":"two"}`, `7`, key("ok", 'a', ""), key("ok", 'a', ""))))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`keys[0] (kid "one"): kty`, `keys[0] (kid "one"): alg`, `keys[0] (kid "one"): use`, `keys[0] (kid "one"): k `, `keys[0] (kid "one"): nbf`,
		`keys[1] (kid "two"): kty`, `keys[1] (kid "two"): alg`, `keys[1] (kid "two"): k `,
		`keys[2]: not a JSON object`, `same kid`, `same secret`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not reported in\n%v", want, err)
		}
	}
}

func TestUnknownMembersSurvive(t *testing.T) {
	input := `{"big":12345678901234567890.50,"<&>":{"a":[1, 2,"\u00e9"],"a":null},"keys":[` +
		key("a", 'a', `,"use":"sig","iat":1,"nbf":2,"exp":200000000003,"x5c":{"not":"a chain"},"x5t":12345678901234567890,"d e":" x ","key_ops":["verify","sign","verify"]`) + `]}`
	s, err := Parse([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"big":12345678901234567890.50`, `:{"a":[1,2,"\u00e9"],"a":null}`, `"x5c":{"not":"a chain"}`, `"x5t":12345678901234567890`, `"d e":" x "`,
		`"key_ops":["verify","sign","verify"]`, `"exp":200000000003`, `"iat":1,`, `"nbf":2,`, `"use":"sig"`,
	} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("%s is not in\n%s", want, out)
		}
	}
	again, err := Parse(out)
	if err != nil {
		t.Fatal(err)
	}
	second, err := again.Marshal()
	if err != nil || !bytes.Equal(out, second) {
		t.Errorf("not stable: %v\n%s\n%s", err, out, second)
	}
}

// TestPeerReads has jwx read what Marshal writes.
func TestPeerReads(t *testing.T) {
	s, err := Generate("HS384", "peer", 1795219200)
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	peer, err := jwk.Parse(out)
	if err != nil {
		t.Fatal(err)
	}
	key, ok := peer.LookupKeyID("peer")
	if !ok {
		t.Fatalf("jwx finds no key in %s", out)
	}
	var secret []byte
	if err := jwk.Export(key, &secret); err != nil || !bytes.Equal(secret, s.keys[0].Secret) || len(secret) != 48 {
		t.Errorf("jwx reads another secret: %v", err)
	}
	if alg, _ := key.Algorithm(); alg.String() != "HS384" {
		t.Errorf("alg %v", alg)
	}
}

func TestRedaction(t *testing.T) {
	s, err := Parse([]byte(set(key("shown", 's', `,"nbf":5,"exp":9`))))
	if err != nil {
		t.Fatal(err)
	}
	k := s.Keys()[0]
	var text strings.Builder
	for _, v := range []any{k, &k, s, []Key{k}, map[string]Key{"x": k}, struct{ K Key }{k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d"} {
			fmt.Fprintf(&text, verb+"\n", v)
		}
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(out)
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&text, nil)).Info("m", "v", v)
	}
	for _, secret := range []string{"ssss", "7373", "115, 115", "115 115", "0x73, 0x73", b64('s', 12)} {
		if strings.Contains(text.String(), secret) {
			t.Errorf("%q is printed", secret)
		}
	}
	if n := strings.Count(text.String(), "shown"); n < 60 {
		t.Errorf("the kid is printed %d times only:\n%s", n, text.String())
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		set(key("a", 'a', "")), set(key("a", 'a', `,"nbf":1,"exp":2,"key_ops":["verify"]`), key("b", 'b', `,"x":[{}]`)),
		`{"keys":[]}`, `{"keys":[{}]}`, "", "{", `{"keys":[7,null]}`, `{"k\u0065ys":[],"x":1e400}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data)
		if (err == nil) != (s != nil) {
			t.Fatal("a set with an error, or neither")
		}
		if err != nil {
			return
		}
		out, err := s.Marshal()
		if err != nil {
			t.Fatalf("what parses does not marshal: %v", err)
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("what marshals does not parse: %v", err)
		}
		for i, a := range s.keys {
			b := again.keys[i]
			a.extra, b.extra = nil, nil
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("%v became %v", a, b)
			}
		}
	})
}
