package jsonscan

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

var texts = []string{
	`{}`, `[]`, `""`, `0`, `-0`, `-`, `01`, `1.`, `1.5e+10`, `1e`, `.5`, `+1`, `NaN`, `0x10`, `1e400`,
	`true`, `tru`, `nul`, `null `, ` null`, `"\u0026"`, `"\u00"`, `"\ud800"`, `"\udc00"`, `"\ud83d\ude00"`, `"\ud83d\ud83d"`,
	`"\x"`, `"` + "\x1f" + `"`, `"` + "\x7f" + `"`, "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", `"é"`, `"\"`, `"`,
	`{"a":1,}`, `{"a" 1}`, `{a:1}`, `{"a":1}x`, `{"a":1}{}`, `[1,]`, `[,1]`, `[}`, `{]`, `[1}`, `{"a":1]`, `[1 2]`, `[[[[[[[[]]]]]]]]`, `[[[[[[[[[]]]]]]]]]`,
	"\ufeff{}", "{}\x00", "\v{}", `{"a":{"b":[1,{"c":null}]}}`, `{"abcdefgh":"ijklmnop\nqrst"}`, `{"a":1,"a":2}`,
}

// surrogates says whether s holds an escaped lone surrogate, which
// encoding/json repairs and this package refuses.
func loneSurrogate(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		if strings.HasPrefix(s[i:], `\u`) && escape([]byte(s[i:])) == 0 {
			return true
		}
		if n := escape([]byte(s[i:])); n > 0 {
			i += n - 1
		}
	}
	return false
}

func compare(t *testing.T, s string) {
	t.Helper()
	got := Valid([]byte(s), 1000)
	want := json.Valid([]byte(s)) && utf8.ValidString(s) && !loneSurrogate(s)
	if got != want {
		t.Fatalf("Valid(%q) = %v, want %v", s, got, want)
	}
	if !got {
		return
	}
	var text string
	if mine, ok := Text([]byte(strings.TrimSpace(s))); ok {
		if err := json.Unmarshal([]byte(s), &text); err != nil || text != mine {
			t.Fatalf("Text(%q) = %q, encoding/json reads %q, %v", s, mine, text, err)
		}
	}
	var members map[string]json.RawMessage
	isObject := json.Unmarshal([]byte(s), &members) == nil && members != nil
	seen := 0
	err := Object([]byte(s), 1000, func(name string, value []byte) error {
		seen++
		if _, ok := members[name]; !ok || !json.Valid(value) {
			t.Fatalf("Object(%q): member %q = %q, encoding/json has %q", s, name, value, members)
		}
		return nil
	})
	var dup *DuplicateError
	switch {
	case errors.As(err, &dup):
		if strings.Count(s, `"`) < 4 {
			t.Fatalf("Object(%q): %v", s, err)
		}
	case (err == nil) != isObject || err == nil && seen != len(members):
		t.Fatalf("Object(%q): %v after %d members, encoding/json has %d (an object: %v)", s, err, seen, len(members), isObject)
	}
}

func TestAgainstStandardLibrary(t *testing.T) {
	for _, s := range texts {
		compare(t, s)
		compare(t, `{"a":`+s+`}`)
		compare(t, `[`+s+`,"x"]`)
	}
}

func FuzzAgainstStandardLibrary(f *testing.F) {
	for _, s := range texts {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) < 900 { // both sides then stay within their depth
			compare(t, s)
		}
	})
}

func TestEveryByteInAString(t *testing.T) {
	for c := range 256 {
		for pad := range 18 {
			compare(t, `"`+strings.Repeat("a", pad)+string([]byte{byte(c)})+strings.Repeat("b", 17-pad)+`"`)
			compare(t, `"`+strings.Repeat("a", pad)+`\`+string([]byte{byte(c)})+`b"`)
		}
	}
}

// Plain must stop at the first byte that is of note, wherever it lies and whatever
// follows it.
func TestPlain(t *testing.T) {
	for c := range 256 {
		note := c < 0x20 || c >= 0x80 || c == '"' || c == '\\'
		for at := range 16 {
			for _, behind := range []byte{' ', '"', 0, 0x1f, '\\', 0x80, 0xdc, 0xff} {
				text := bytes.Repeat([]byte{' '}, at)
				text = append(append(text, byte(c)), bytes.Repeat([]byte{behind}, 24-len(text))...)
				if got := Plain(text, 0); note && got != at || !note && behind == ' ' && got < 24 {
					t.Errorf("%q: stops at %d", text, got)
				}
			}
		}
	}
}

func TestDepth(t *testing.T) {
	for depth := range 10 {
		for _, s := range []string{
			strings.Repeat("[", depth) + strings.Repeat("]", depth),
			strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth),
		} {
			if want := depth <= 8 && s != ""; Valid([]byte(s), 8) != want {
				t.Errorf("Valid(%q, 8) = %v, want %v", s, !want, want)
			}
		}
	}
}

func TestDuplicateIsNamed(t *testing.T) {
	err := Object([]byte(`{"a":1,"\u0061":2}`), 8, func(string, []byte) error { return nil })
	var dup *DuplicateError
	if !errors.As(err, &dup) || dup.Name != "a" {
		t.Errorf("got %v, want the duplicate a", err)
	}
}

func TestInteger(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "7": 7, "10": 10, "999999999999999": 999999999999999,
		"": -1, "00": -1, "01": -1, "-1": -1, "+1": -1, "1.0": -1, "1e3": -1, "1000000000000000": -1, " 1": -1, "1 ": -1, "\"1\"": -1,
	} {
		got, ok := Integer([]byte(s))
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("Integer(%q) = %d, %v; want %d", s, got, ok, want)
		}
	}
}

func TestWhy(t *testing.T) {
	for s, want := range map[string]Reason{
		`{}`: Fine, ` {"a":[{}]} `: Fine, `{"a":{"b":[]}}`: Fine,
		`{"a":{"b":[[]]}}`: TooDeep, `{"a":[[[[1]]]]}`: TooDeep,
		`{}x`: Trailing, `{}{}`: Trailing, "{}\x00": Trailing,
		``: NotObject, `  `: NotObject, `[]`: NotObject, `"{}"`: NotObject, "\ufeff{}": NotObject, `1`: NotObject,
		`{`: NotJSON, `{"a":}`: NotJSON, `{"a":01}`: NotJSON, `{"\ud800":1}`: NotJSON, "{\"a\":\"\x1f\"}": NotJSON, `{"a":[}`: NotJSON,
		"{\"a\":\"\xff\"}": NotUTF8, "\xff": NotUTF8, "{}\xc0\x80": NotUTF8,
	} {
		if got := Why([]byte(s), 3); got != want {
			t.Errorf("Why(%q) = %v, want %v", s, got, want)
		}
	}
}

func FuzzWhy(f *testing.F) {
	for _, s := range texts {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		start := Space([]byte(s), 0)
		object := start < len(s) && s[start] == '{' && Valid([]byte(s), 8)
		if got := Why([]byte(s), 8); (got == Fine) != object {
			t.Fatalf("Why(%q) = %v, while it is valid: %v", s, got, object)
		}
	})
}
