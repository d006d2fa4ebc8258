package claims

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// A model is what the format says of a payload, read with encoding/json: slow,
// and written without a look at the scanner.
type model struct {
	text map[string]string
	time map[string]int64
	aud  []string
	ip   netip.Prefix
}

var timeText = regexp.MustCompile(`^(0|[1-9][0-9]{0,14})$`)

func modelOf(payload string) (m model, ok bool) {
	if !utf8.ValidString(payload) || !json.Valid([]byte(payload)) || loneSurrogate(payload) || depth(payload) > 8 {
		return m, false
	}
	if strings.TrimLeft(payload, " \t\r\n")[0] != '{' {
		return m, false
	}
	m = model{text: map[string]string{}, time: map[string]int64{}}
	dec := json.NewDecoder(strings.NewReader(payload))
	dec.Token()
	seen := map[string]bool{}
	for dec.More() {
		before := dec.InputOffset()
		token, err := dec.Token()
		name, isName := token.(string)
		if err != nil || !isName || seen[name] || strings.Contains(payload[before:dec.InputOffset()], `\`) {
			return m, false
		}
		seen[name] = true
		var raw json.RawMessage
		if dec.Decode(&raw) != nil {
			return m, false
		}
		switch name {
		case "iat", "exp", "nbf", "session_exp":
			if !timeText.Match(raw) {
				return m, false
			}
			m.time[name], _ = strconv.ParseInt(string(raw), 10, 64)
			if time.Unix(m.time[name], 0).UTC().Year() > 9999 {
				return m, false
			}
		case "jti", "sub", "iss", "scope", "sid", "origin", "path", "ip":
			s, isText := modelText(raw)
			if !isText {
				return m, false
			}
			m.text[name] = s
		case "aud":
			if s, isText := modelText(raw); isText {
				m.aud = []string{s}
				break
			}
			var list []json.RawMessage
			if raw[0] != '[' || json.Unmarshal(raw, &list) != nil || len(list) == 0 {
				return m, false
			}
			for _, item := range list {
				s, isText := modelText(item)
				if !isText {
					return m, false
				}
				m.aud = append(m.aud, s)
			}
		}
	}
	if ip, has := m.text["ip"]; has {
		if m.ip, ok = referenceIP(ip); !ok {
			return m, false
		}
	}
	sub, hasSub := m.text["sub"]
	path, hasPath := m.text["path"]
	return m, seen["jti"] && seen["iat"] && seen["exp"] &&
		len(m.text["jti"]) >= 1 && len(m.text["jti"]) <= 128 &&
		(!hasSub || sub != "") && (!hasPath || strings.HasPrefix(path, "/"))
}

func modelText(raw []byte) (s string, ok bool) {
	if raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}

var (
	escapePattern    = regexp.MustCompile(`\\(u[0-9a-fA-F]{4}|.)`)
	surrogatePattern = regexp.MustCompile(`^(\\u[dD][89abAB]..\\u[dD][c-fC-F]..)*$`)
)

// loneSurrogate looks at each run of escaped surrogates.
func loneSurrogate(s string) bool {
	run, end := "", -1
	for _, at := range escapePattern.FindAllStringIndex(s, -1) {
		e := s[at[0]:at[1]]
		surrogate := len(e) == 6 && (e[2] == 'd' || e[2] == 'D') && strings.Contains("89abcdefABCDEF", e[3:4])
		if !surrogate || at[0] != end {
			if !surrogatePattern.MatchString(run) {
				return true
			}
			run = ""
		}
		if surrogate {
			run, end = run+e, at[1]
		}
	}
	return !surrogatePattern.MatchString(run)
}

func depth(s string) (deepest int) {
	dec := json.NewDecoder(strings.NewReader(s))
	for level := 0; ; {
		token, err := dec.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			level++
			deepest = max(deepest, level)
		case json.Delim('}'), json.Delim(']'):
			level--
		}
	}
}

func compare(t *testing.T, payload string) {
	t.Helper()
	if len(payload) > MaxPayload {
		return
	}
	want, wantOK := modelOf(payload)
	var s Set
	// Dirty working memory must make no difference.
	var buf [BufferLen]byte
	for i := range buf {
		buf[i] = '"'
	}
	n := copy(buf[:], payload)
	scratch := Scratch{}
	for i := range scratch.names {
		scratch.names[i] = Span{uint16(i), 3}
	}
	ok := s.Scan(buf[:], n, &scratch)
	if ok != wantOK {
		t.Fatalf("Scan(%q) = %v, encoding/json says %v", payload, ok, wantOK)
	}
	if string(buf[:n]) != payload {
		t.Fatalf("Scan(%q) changed the payload to %q", payload, buf[:n])
	}
	f := Diagnose(buf[:n], &scratch)
	if (f.Kind == Sound) != ok {
		t.Fatalf("Diagnose(%q) = %v, while Scan says %v", payload, f, ok)
	}
	if !ok {
		checkWords(t, payload, f)
		return
	}
	check := func(name string, bit Present, got string) {
		text, has := want.text[name]
		if has != (s.Has&bit != 0) || has && got != text {
			t.Fatalf("Scan(%q): %s = %q, want %q", payload, name, got, text)
		}
	}
	check("jti", JTI, string(s.JTI.In(buf[:])))
	check("sub", Subject, string(s.Subject.In(buf[:])))
	check("iss", Issuer, string(s.Issuer.In(buf[:])))
	check("scope", Scope, string(s.Scope.In(buf[:])))
	check("sid", SessionID, string(s.SessionID.In(buf[:])))
	check("origin", Origin, string(s.Origin.In(buf[:])))
	check("path", Path, string(s.Path.In(buf[:])))
	times := map[string]int64{}
	for _, c := range []struct {
		name string
		bit  Present
		got  int64
	}{{"iat", IssuedAt, s.IssuedAt}, {"exp", Expires, s.Expires}, {"nbf", NotBefore, s.NotBefore}, {"session_exp", SessionExpires, s.SessionExpires}} {
		if s.Has&c.bit != 0 {
			times[c.name] = c.got
		}
	}
	if fmt.Sprint(times) != fmt.Sprint(want.time) {
		t.Fatalf("Scan(%q): times %v, want %v", payload, times, want.time)
	}
	var audiences []string
	for at := 0; ; {
		audience, next, more := s.NextAudience(buf[:], at)
		if !more {
			break
		}
		audiences = append(audiences, string(audience))
		at = next
	}
	if !slices.Equal(audiences, want.aud) || (s.Has&Audience != 0) != (want.aud != nil) {
		t.Fatalf("Scan(%q): aud %q, want %q", payload, audiences, want.aud)
	}
	if s.IP != want.ip {
		t.Fatalf("Scan(%q): ip %v, want %v", payload, s.IP, want.ip)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(payload), &members); err != nil {
		t.Fatal(err)
	}
	for name, value := range members {
		got, found := Member(buf[:n], name)
		if !found || string(got) != strings.TrimSpace(string(value)) {
			t.Fatalf("Member(%q, %q) = %q, %v; want %q", payload, name, got, found, value)
		}
	}
	if _, found := Member(buf[:n], "no such member"); found && members["no such member"] == nil {
		t.Fatalf("Member(%q) finds what is not there", payload)
	}
}

const base = `"jti":"n","iat":1795219200,"exp":1795219210`

func payloads() []string {
	list := []string{
		typical, `{` + base + `}`, `{}`, ``, ` `, `[]`, `null`, `{` + base, `{` + base + `,}`, `{` + base + `}x`, "\ufeff{" + base + `}`, ` {` + base + "} \n", `{` + base + "}\x00",
		`{"iat":1795219200,"exp":1795219210}`, `{"jti":"n","exp":1795219210}`, `{"jti":"n","iat":1795219200}`,
		`{"jti":"","iat":1,"exp":2}`, `{"jti":"` + strings.Repeat("x", 128) + `","iat":1,"exp":2}`, `{"jti":"` + strings.Repeat("x", 129) + `","iat":1,"exp":2}`,
		`{"jti":"` + strings.Repeat(`\u0041`, 128) + `","iat":1,"exp":2}`, `{"jti":7,"iat":1,"exp":2}`,
		"{\"jti\" : \"n\" , \"iat\"\t:\r\n1,\"exp\":2}", `{"jti":"n","iat":1,"exp":2,"EXP":"x","Aud":[]}`,
		`{` + base + `,"\u0065xp":1}`, `{` + base + `,"\u0078":1}`, `{"jti" "n"}`, `{jti:"n"}`,
	}
	for _, v := range []string{"0", "00", "01", "-1", "-0", "+1", "1.0", "1e3", "1E3", "1e400", "NaN", "0x10", "9223372036854775808", "253402300799", "253402300800", "999999999999", "1000000000000", "1795219210000", "999999999999999", "1000000000000000", `"1"`, "true", "null", "[1]", "{}", "", " 7 "} {
		for _, name := range []string{"exp", "iat", "nbf", "session_exp"} {
			list = append(list, `{"jti":"n","iat":1,"exp":2,"`+name+`":`+v+`}`, `{"jti":"n","`+name+`":`+v+`}`, `{"jti":"n","iat":1,"`+name+`":`+v+`}`)
		}
	}
	for _, v := range []string{`""`, `"a"`, `"\u0026\n\"\\\/"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00\ud83d"`, `"é"`, "\"\xff\"", "\"\x01\"", `"\q"`, "1", "null", "[]", `["a"]`, `["a","\u0062",""]`, `[1,"a"]`, `["a",]`, `["a" "b"]`, `[["a"]]`, `["a"`, `{"a":1}`, `"/a"`, `"/"`, `"\/a"`, `"1.2.3.4"`, `"10.0.0.0/8"`, `"::1"`, `"\u0031.2.3.4"`} {
		for _, name := range []string{"sub", "aud", "iss", "scope", "sid", "origin", "path", "ip", "other", ""} {
			list = append(list, `{`+base+`,"`+name+`":`+v+`}`, `{"`+name+`":`+v+`,`+base+`,"`+name+`":`+v+`}`)
		}
	}
	for d := range 11 {
		list = append(list, `{`+base+`,"a":`+strings.Repeat("[", d)+strings.Repeat("]", d)+`}`, `{`+base+`,"a":`+strings.Repeat(`{"exp":`, d)+"1"+strings.Repeat("}", d)+`}`)
	}
	many := `{` + base
	for i := range 200 {
		many += fmt.Sprintf(`,"%s":1`, strconv.FormatInt(int64(i), 36))
	}
	return append(list, many+`}`, many+`,"a":2}`, many+`,"5j":2}`)
}

func TestScanAgainstModel(t *testing.T) {
	for _, p := range payloads() {
		compare(t, p)
	}
}

// Every change of one byte, and every cut, of payloads that are right.
func TestScanNeighbours(t *testing.T) {
	for _, p := range []string{typical, `{` + base + `,"aud":["a","\u0062"],"x":[{"y":null}],"ip":"::1/64"}`} {
		for i := range len(p) {
			compare(t, p[:i])
			for c := range 256 {
				compare(t, p[:i]+string([]byte{byte(c)})+p[i+1:])
			}
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, p := range payloads() {
		f.Add(p)
	}
	f.Fuzz(compare)
}

func TestScanDoesNotAllocate(t *testing.T) {
	var buf [BufferLen]byte
	var scratch Scratch
	for _, p := range []string{typical, `{` + base + `,"aud":["a","\u0062"],"x":[{"y":null}],"ip":"::1/64","path":"\/a","z":1}`, `{"jti"`} {
		n := copy(buf[:], p)
		if got := testing.AllocsPerRun(100, func() {
			var s Set
			s.Scan(buf[:], n, &scratch)
		}); got != 0 {
			t.Errorf("%q: %v allocations, want 0", p, got)
		}
	}
}
