package claims

import (
	"strings"
	"testing"
)

func words(payload string) string {
	var scratch Scratch
	f := Diagnose([]byte(payload), &scratch)
	if f.Kind == Sound {
		return "sound"
	}
	return string(f.Append(nil, []byte(payload), nil))
}

// checkWords holds what every fault has in common.
func checkWords(t *testing.T, payload string, f Fault) {
	t.Helper()
	bare, full := f.String(), string(f.Append(nil, []byte(payload), nil))
	if !strings.HasPrefix(full, bare) || bare == "" || strings.ContainsAny(full, "\n\r\x00\x1b") {
		t.Fatalf("%q: the words are %q and %q", payload, bare, full)
	}
	known := false
	for k := range Faults {
		known = known || k.Kind == f.Kind && k.Claim == f.Claim && k.String() == bare
	}
	if !known {
		t.Fatalf("%q: Faults does not have %+v", payload, f)
	}
	if f.Kind < NotUTF8 || f.Kind >= NumKinds || f.Kind > Duplicate && f.Claim == 0 {
		t.Fatalf("%q: %+v", payload, f)
	}
}

// Every kind of fault has its words here.
func TestWords(t *testing.T) {
	with := func(members string) string { return `{` + base + `,` + members + `}` }
	cases := map[string]string{
		"{\"a\":\"\xff\"}":           "the payload is not UTF-8",
		`["jti"]`:                    "the payload is not a JSON object",
		``:                           "the payload is not a JSON object",
		`{` + base + `,}`:            "the payload is not valid JSON (at byte 46)",
		with(`"exp":01`):             "the payload is not valid JSON (at byte 53)",
		with(`"a":"\ud800"`):         "the payload is not valid JSON",
		`{` + base + `}}`:            "the payload goes on behind its JSON object",
		with(`"a":[[[[[[[[]]]]]]]]`): "the payload is nested too deep",
		with(`"\u0061":1`):           `the name of a member is written with an escape "\u0061"`,
		with(`"exp":1`):              `duplicate member "exp"`,
		with(`"a":1,"a":2`):          `duplicate member "a"`,
		with(`"a":1,"b":2,"a":2`):    `duplicate member "a"`,
		with(`"a":1,"b":2,"b":2`):    `duplicate member "b"`,
		`{}`:                         "jti is missing",
		`{"jti":"n","exp":2}`:        "iat is missing",
		`{"jti":"n","iat":2}`:        "exp is missing",
		`{"jti":"n","iat":1795219210.53,"exp":2}`:                    "iat is not an integer of seconds (1795219210.53)",
		`{"jti":"n","iat":1,"exp":"1795219210"}`:                     `exp is not an integer of seconds ("1795219210")`,
		with(`"nbf":-1`):                                             "nbf is not an integer of seconds (-1)",
		with(`"session_exp":1e3`):                                    "session_exp is not an integer of seconds (1e3)",
		with(`"session_exp":99999999999999999`):                      "session_exp lies beyond the year 9999; give seconds, not milliseconds (99999999999999999)",
		with(`"sub":42`):                                             "sub is not a string (42)",
		with(`"iss":null`):                                           "iss is not a string (null)",
		with(`"scope":["a", "b"]`):                                   `scope is not a string (["a", "b"])`,
		with(`"sid":{"a":"\u202e` + strings.Repeat("x", 80) + `"}`):  `sid is not a string ({"a":"\u202e` + strings.Repeat("x", 52) + `…)`,
		with("\"origin\":[\"\u202e\"]"):                              `origin is not a string (["\u202e"])`,
		`{"jti":"","iat":1,"exp":2}`:                                 "jti is empty",
		with(`"sub":""`):                                             "sub is empty",
		`{"jti":"` + strings.Repeat("n", 129) + `","iat":1,"exp":2}`: "jti is longer than 128 bytes",
		with(`"path":"ws"`):                                          `path does not begin with / ("ws")`,
		with(`"path":""`):                                            `path does not begin with / ("")`,
		with(`"ip":"localhost"`):                                     `ip is neither an address nor a prefix ("localhost")`,
		with(`"ip":4`):                                               "ip is not a string (4)",
		with(`"aud":[]`):                                             "aud is neither a string nor an array of strings with at least one in it ([])",
		with(`"aud":["a",1]`):                                        `aud is neither a string nor an array of strings with at least one in it (["a",1])`,
		with(`"aud":7`):                                              "aud is neither a string nor an array of strings with at least one in it (7)",
		`{` + base + `}`:                                             "sound",
	}
	said := map[Kind]bool{}
	for payload, want := range cases {
		if got := words(payload); got != want {
			t.Errorf("%s\n got %s\nwant %s", payload, got, want)
		}
		var scratch Scratch
		said[Diagnose([]byte(payload), &scratch).Kind] = true
	}
	for k := range NumKinds {
		if !said[k] {
			t.Errorf("no case for kind %d", k)
		}
	}
}

func TestFaultShowsNoTicket(t *testing.T) {
	const ticket = "eyJhbGciOiJIUzI1NiJ9.AAAAAAAAAAAAAAAA.bpCLCFF_g33wRktepJq0fH7WzsQGhDpG-MAj7mTQcxY"
	for member, want := range map[string]string{
		`"path":"bpCLCFF_g33wRktepJq0"`:                           "path does not begin with / (",
		`"bpCLCFF_g33wRktepJq0":1,"bpCLCFF_g33wRktepJq0":2`:       "duplicate member ",
		`"bpCLCFF_g33wRktepJq\u0030":1`:                           "the name of a member is written with an escape ",
		`"sub":["bpCLCFF_g33wRktepJq0"]`:                          "sub is not a string (",
		`"aud":{"bpCLCFF_g33wRktepJq0":"bpCLCFF_g33wRktepJq0wR"}`: "aud is neither a string nor ",
	} {
		payload := []byte(`{` + base + `,` + member + `}`)
		var scratch Scratch
		f := Diagnose(payload, &scratch)
		if got := string(f.Append(nil, payload, []byte(ticket))); strings.Contains(got, "bpCLCFF") || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", payload, got)
		}
	}
}

// Each claim has a place of its own, from 1 on; 0 is for no claim.
func TestIndexes(t *testing.T) {
	if n := Present(0).Index(); n != 0 {
		t.Errorf("no claim has the place %d", n)
	}
	for i := range NumClaims {
		if claim := Present(1 << i); claim.Index() != i+1 || claim.Name() != claimNames[i] {
			t.Errorf("claim %d, %s, has the place %d and the name %s", i+1, claimNames[i], claim.Index(), claim.Name())
		}
	}
}

func TestDiagnoseDoesNotAllocate(t *testing.T) {
	var scratch Scratch
	for _, p := range payloads() {
		b := []byte(p)
		if got := testing.AllocsPerRun(10, func() { Diagnose(b, &scratch) }); got != 0 {
			t.Errorf("%q: %v allocations, want 0", p, got)
		}
	}
}
