package jose

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const good = `{"alg":"HS256","kid":"k1","typ":"ws-ticket+jwt"}`

var headers = map[string]string{ // with the words for their fault
	good: "",
	" {\n\"typ\" : \"ws-ticket\\u002bjwt\" ,\t\"kid\":\"\\u006b1\",\r\"alg\":\"HS256\"} ": "",
	`{"kid":"\u006b1","typ":"ws-ticket\u002bjwt","alg":"HS256"}`:                          "",
	`{"alg":"HS512","kid":"-._~Aa0","typ":"ws-ticket+jwt"}`:                               "",

	"{\"alg\":\"\xff\"}": "the header is not UTF-8",
	``:                   "the header is not a JSON object",
	`[]`:                 "the header is not a JSON object",
	`{"alg":"HS256"`:     "the header is not valid JSON",
	`{"alg":"HS256",}`:   "the header is not valid JSON",
	`{"alg":}`:           "the header is not valid JSON",
	`{"alg" "HS256"}`:    "the header is not valid JSON",
	`{alg:"HS256"}`:      "the header is not valid JSON",
	`{"alg":"\ud800"}`:   "the header is not valid JSON",
	good + "x":           "the header goes on behind its JSON object",
	good + good:          "the header goes on behind its JSON object",
	`{"a":` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + `}`: "the header is nested too deep",
	`{"\u0061lg":"HS256"}`:           `the name of a member of the header is written with an escape: "\u0061lg"`,
	`{"alg":"HS256","crit":["b64"]}`: `the header has a member beside alg, kid and typ: "crit"`,
	`{"ALG":"HS256"}`:                `the header has a member beside alg, kid and typ: "ALG"`,
	`{"":1}`:                         `the header has a member beside alg, kid and typ: ""`,
	"{\"a\u202eb\":1}":               `the header has a member beside alg, kid and typ: "a\u202eb"`,
	`{"alg":"HS256","alg":"HS256","kid":"k1","typ":"ws-ticket+jwt"}`: `duplicate member "alg" of the header`,
	`{"kid":"k1","alg":"HS256","typ":"ws-ticket+jwt","kid":"k1"}`:    `duplicate member "kid" of the header`,
	`{"kid":"k1","alg":"HS256","typ":"ws-ticket+jwt","typ":7}`:       `duplicate member "typ" of the header`,
	`{}`: "alg is missing", ` { } `: "alg is missing",
	`{"kid":"k1","typ":"ws-ticket+jwt"}`:     "alg is missing",
	`{"alg":"HS256","typ":"ws-ticket+jwt"}`:  "kid is missing",
	`{"alg":"HS256","kid":"k1"}`:             "typ is missing",
	`{"alg":["HS256"]}`:                      `alg is not a string (["HS256"])`,
	`{"kid":null}`:                           `kid is not a string (null)`,
	`{"typ":7}`:                              `typ is not a string (7)`,
	`{"alg":"none"}`:                         `alg is "none", want HS256, HS384 or HS512`,
	`{"alg":"hs256"}`:                        `alg is "hs256", want HS256, HS384 or HS512`,
	`{"kid":""}`:                             `kid is "", want 1 to 64 characters of A-Z a-z 0-9 - . _ ~`,
	`{"kid":"../../etc/passwd\u0000"}`:       `kid is "../../etc/passwd\u0000", want 1 to 64 characters of A-Z a-z 0-9 - . _ ~`,
	`{"alg":"HS256","kid":"k1","typ":"JWT"}`: `typ is "JWT", want ws-ticket+jwt`,
	`{"typ":"JWT","alg":"none"}`:             `typ is "JWT", want ws-ticket+jwt`, // the first
}

func words(header string) string {
	_, f := Parse([]byte(header), nil)
	if f.Kind == Sound {
		return ""
	}
	return string(f.Append(nil, nil))
}

func TestParse(t *testing.T) {
	kinds := map[Kind]bool{}
	for header, want := range headers {
		if got := words(header); got != want {
			t.Errorf("%s\n got %s\nwant %s", header, got, want)
		}
		_, f := Parse([]byte(header), nil)
		kinds[f.Kind] = true
		check(t, header)
	}
	for k := range numKinds {
		if !kinds[k] {
			t.Errorf("no header for kind %d", k)
		}
	}
}

var legalKeyID = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`)

// oracle is what encoding/json and the rules say.
func oracle(header string) (alg, kid string, ok bool) {
	if !utf8.ValidString(header) || strings.Count(header, `"`) != 12 { // three names and three values, no quote escaped
		return "", "", false
	}
	var m map[string]any
	if json.Unmarshal([]byte(header), &m) != nil || len(m) != 3 || m["typ"] != Type {
		return "", "", false
	}
	for name := range m {
		if !strings.Contains(header, `"`+name+`"`) { // written with an escape
			return "", "", false
		}
	}
	alg, _ = m["alg"].(string)
	kid, _ = m["kid"].(string)
	return alg, kid, slices.Contains([]string{"HS256", "HS384", "HS512"}, alg) && legalKeyID.MatchString(kid)
}

func check(t *testing.T, header string) {
	t.Helper()
	arena := make([]byte, 0, len(header))
	h, f := Parse([]byte(header), arena)
	alg, kid, ok := oracle(header)
	if (f.Kind == Sound) != ok {
		t.Fatalf("Parse(%q) says %q, the oracle %v", header, f, ok)
	}
	if ok && (h.Alg.String() != alg || string(h.KeyID) != kid) {
		t.Fatalf("Parse(%q) = %v %q, want %s %q", header, h.Alg, h.KeyID, alg, kid)
	}
	if ok {
		return
	}
	if h.KeyID != nil {
		t.Fatalf("Parse(%q) has a kid", header)
	}
	known := false
	for k := range Faults {
		known = known || k.Kind == f.Kind && k.Member == f.Member && k.Index() == f.Index() && k.String() == f.String()
	}
	if !known || f.Index() >= NumIndexes {
		t.Fatalf("Faults does not have %+v of %q", f, header)
	}
	if full := string(f.Append(nil, nil)); strings.ContainsAny(full, "\n\r\x00\x1b\u202e\u2028") || full == "" {
		t.Fatalf("Parse(%q): %q", header, full)
	}
}

// Every change of one byte, and every cut.
func TestParseNeighbours(t *testing.T) {
	for _, header := range []string{good, ` { "typ":"ws-ticket\u002bjwt", "alg":"HS384", "kid":"a" } `} {
		for i := range len(header) {
			check(t, header[:i])
			for c := range 256 {
				check(t, header[:i]+string([]byte{byte(c)})+header[i+1:])
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for header := range headers {
		f.Add(header)
	}
	f.Fuzz(check)
}

func TestIndexesDiffer(t *testing.T) {
	seen := map[int]Fault{}
	for f := range Faults {
		if other, twice := seen[f.Index()]; twice {
			t.Errorf("%v and %v have one index", other, f)
		}
		seen[f.Index()] = f
	}
}

func TestShowsNoTicket(t *testing.T) {
	const ticket = "eyJhbGciOiJIUzI1NiJ9.e30.bpCLCFF_g33wRktepJq0fH7WzsQGhDpG-MAj7mTQcxY"
	for _, header := range []string{`{"typ":"bpCLCFF_g33wRktepJq0"}`, `{"bpCLCFF_g33wRktepJq0":1}`, `{"alg":["bpCLCFF_g33wRktepJq0"]}`, `{"kid":"` + ticket + `"}`} {
		_, f := Parse([]byte(header), nil)
		if got := string(f.Append(nil, []byte(ticket))); strings.Contains(got, "bpCLCFF") || strings.Contains(got, "eyJ") {
			t.Error(got)
		}
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	arena := make([]byte, 0, 4096)
	for header := range headers {
		b := []byte(header)
		if n := testing.AllocsPerRun(10, func() { Parse(b, arena) }); n != 0 {
			t.Errorf("%q: %v allocations", header, n)
		}
	}
}
