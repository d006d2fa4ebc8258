package quote

import (
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestAppend(t *testing.T) {
	long := strings.Repeat("a", Limit)
	for _, c := range []struct{ text, quoted, json string }{
		{"", `""`, ``},
		{"chat", `"chat"`, `chat`},
		{`1795219210.53`, `"1795219210.53"`, `1795219210.53`},
		{`"a\n"`, `"\"a\\n\""`, `"a\n"`},
		{"a\x1b[2J\r\n\x00\x7f", `"a\x1b[2J\r\n\x00\x7f"`, `a\x1b[2J\r\n\x00\x7f`},
		{"\u0085\u2028\u2029", `"\u0085\u2028\u2029"`, `\u0085\u2028\u2029`},
		{"\u202e\u2066\u200f\u061c\ufeff\u00ad", `"\u202e\u2066\u200f\u061c\ufeff\u00ad"`, `\u202e\u2066\u200f\u061c\ufeff\u00ad`},
		{"\xff\xc0\x80", `"\xff\xc0\x80"`, `\xff\xc0\x80`},
		{"\ufffd", "\"\ufffd\"", "\ufffd"},
		{"日本語é", `"日本語é"`, `日本語é`},
		{long, `"` + long + `"`, long},
		{long + "b", `"` + long + `"…`, long + "…"},
		{long[1:] + "é", `"` + long[1:] + `"…`, long[1:] + "…"},
		{long[1:] + "\n", `"` + long[1:] + `"…`, long[1:] + "…"},
	} {
		if got := string(Append(nil, []byte(c.text), nil)); got != c.quoted {
			t.Errorf("Append(%q) = %s, want %s", c.text, got, c.quoted)
		}
		if got := string(AppendBare([]byte("x"), []byte(c.text), nil)); got != "x"+c.json {
			t.Errorf("AppendBare(%q) = %s, want x%s", c.text, got, c.json)
		}
	}
}

func TestTicketsAreNotShown(t *testing.T) {
	const ticket = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIiwidHlwIjoid3MtdGlja2V0K2p3dCJ9.eyJqdGkiOiJuIn0.bpCLCFF_g33wRktepJq0fH7WzsQGhDpG-MAj7mTQcxY"
	mac := ticket[len(ticket)-43:]
	for text, leaks := range map[string]bool{
		"":                                     false,
		"/ws/room-7":                           false,
		ticket:                                 true,
		"/" + ticket:                           true,
		mac:                                    true,
		"x" + mac[:12]:                         true,
		mac[:11]:                               false,
		strings.Repeat("x", Limit) + mac:       true, // it begins within what is looked at
		strings.Repeat("x", Limit+piece) + mac: false,
		"https://a.example/eyJhbGciOiJub25lIn0.e30.": true, // another ticket
		"eyJ":                      false,
		"heyJude.example":          false,
		"eyJ.eyJhbGciOiJIUzI1NiJ9": true,
		"eyJ.eyJhbGciOiJub25lIn0":  true, // of another ticket
		"eyJ0000000000":            true, // all that base64url is made of
		"eyJ---------":             true,
		"eyJ_________":             true,
		"eyJ________":              false, // too short
	} {
		if got := Leaks([]byte(text), []byte(ticket)); got != leaks {
			t.Errorf("Leaks(%q) = %v", text, got)
		}
		shown := string(Append(nil, []byte(text), []byte(ticket)))
		if leaks != (shown == hidden) {
			t.Errorf("%q is shown as %s", text, shown)
		}
	}
}

func FuzzAppend(f *testing.F) {
	f.Add("a\u202eb\xff\"\\", "")
	f.Add("eyJhbGciOiJub25lIn0", "eyJhbGciOiJub25lIn0")
	f.Fuzz(func(t *testing.T, text, ticket string) {
		quoted := string(Append(nil, []byte(text), []byte(ticket)))
		for _, shown := range []string{quoted, string(AppendBare(nil, []byte(text), []byte(ticket)))} {
			if len(shown) > Limit+2+len(cut) || !utf8.ValidString(shown) {
				t.Fatalf("%q is shown as %q", text, shown)
			}
			for _, r := range shown {
				if !unicode.IsGraphic(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
					t.Fatalf("%q is shown with %U", text, r)
				}
			}
			for i := 0; i+piece <= len(ticket) && shown != hidden; i++ {
				if strings.Contains(shown, ticket[i:i+piece]) && strings.Contains(text, ticket[i:i+piece]) {
					t.Fatalf("%q shows a piece of %q: %s", text, ticket, shown)
				}
			}
		}
		if quoted == hidden {
			return
		}
		if back, err := strconv.Unquote(strings.TrimSuffix(quoted, cut)); err != nil || !strings.HasPrefix(text, back) {
			t.Fatalf("%q is shown as %s, which reads %q, %v", text, quoted, back, err)
		}
	})
}

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "",
		`read tcp "a"\b`:                 `read tcp "a"\b`,
		"\x1b\u202e\n\xff":               `\x1b\u202e\n\xff`,
		strings.Repeat("é", 10):          strings.Repeat("é", 10),
		strings.Repeat("é", 11):          strings.Repeat("é", 10) + "…",
		strings.Repeat("x", 17) + "\x1b": strings.Repeat("x", 17) + "…",
	} {
		if got := Words(text, 20); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
