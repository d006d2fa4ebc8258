package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"plain äöü 漢字 🙂 \"\\":             "plain äöü 漢字 🙂 \"\\",
		"a\n\tb":                          "a\n\tb",
		"a\r\nb\rc":                       "a \nb c",
		"\x00\x1b[31m\x7f":                `\u0000\u001b[31m\u007f`,
		"\u0080\u0085\u009b\u009f\u00a0":  `\u0080\u0085\u009b\u009f\u00a0`,
		"\u2028\u2029":                    `\u2028\u2029`,
		"\u061c\u200e\u200f":              `\u061c\u200e\u200f`,
		"\u202a\u202b\u202c\u202d\u202e":  `\u202a\u202b\u202c\u202d\u202e`,
		"\u2066\u2067\u2068\u2069":        `\u2066\u2067\u2068\u2069`,
		"\u200b\ufeff\u00ad\U000e0041":    `\u200b\ufeff\u00ad\udb40\udc41`,
		"\ufffe\U0010ffff":                `\ufffe\udbff\udfff`,
		"bad UTF-8 \xff becomes a mark":   "bad UTF-8 � becomes a mark",
		"{\"a\":\"\u0085\"}":              `{"a":"\u0085"}`,
		"wsticket: \u202egnp.exe\u2069 x": `wsticket: \u202egnp.exe\u2069 x`,
	} {
		if got := visible(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestDurations(t *testing.T) {
	for seconds, want := range map[int64]string{0: "0s", 10: "10s", 60: "1m", 90: "1m30s", 600: "10m", 3600: "1h", 3660: "1h1m", 3605: "1h0m5s", 86400: "24h", 2 * 86400: "2 days"} {
		if got := span(seconds); got != want {
			t.Errorf("%d: %s, want %s", seconds, got, want)
		}
	}
	if got := distance(0) + ", " + distance(-5) + ", " + distance(5); got != "now, 5s ago, in 5s" {
		t.Error(got)
	}
}

// TestErrorsAreVisible: what somebody else wrote cannot drive the terminal from an
// error either.
func TestErrorsAreVisible(t *testing.T) {
	for _, args := range [][]string{
		{"keys", "list", "-keys", "a\x1b[31m\u202e\u2028\u009b"}, {"fly\u202e"}, {"verify", "-\u2028"}, {"help", "\u009b"},
		{"keys", "revoke", "-keys", keyringFile(t), "-kid", "\u202e"},
	} {
		_, _, stderr := try(time.Now(), nil, args...)
		if stderr == "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: %q", args, stderr)
		}
		for _, r := range strings.TrimSuffix(stderr, "\n") {
			if !unicode.IsPrint(r) {
				t.Errorf("%q: %q on the terminal", args, r)
			}
		}
	}
}

// TestHelp: the help of each command names all of its flags with their defaults,
// shows an example that the command line takes apart, and fits a terminal.
func TestHelp(t *testing.T) {
	_, overview, _ := try(time.Now(), nil, "help")
	for _, c := range commands() {
		if c.name == "" {
			continue
		}
		if !strings.Contains(overview, "  wsticket "+c.name) || !strings.Contains(overview, c.about) {
			t.Errorf("%s is not in the overview", c.name)
		}
		code, text, stderr := try(time.Now(), nil, append([]string{"help"}, strings.Fields(c.name)...)...)
		if code != 0 || stderr != "" || !strings.HasPrefix(text, "wsticket "+c.name) {
			t.Errorf("help %s: exit %d, %q, %q", c.name, code, text, stderr)
		}
		code, short, _ := try(time.Now(), nil, append(strings.Fields(c.name), "-h")...)
		if code != 0 || short != text {
			t.Errorf("%s -h says something else", c.name)
		}
		body, example, found := strings.Cut(text, "\nExample:\n")
		if !found || !strings.Contains(example, "wsticket "+c.name) {
			t.Errorf("%s has no example", c.name)
		}
		for _, line := range strings.Split(body+overview, "\n") {
			if len([]rune(line)) > 79 {
				t.Errorf("%s: a line of %d characters: %s", c.name, len(line), line)
			}
		}
		f := flagsOf(c)
		f.VisitAll(func(g *flag.Flag) {
			if !strings.Contains(body, "\n  -"+g.Name+" ") || g.Usage == "" {
				t.Errorf("%s: nothing on -%s", c.name, g.Name)
			}
			if placeholder(g) == "" && g.Name != "json" {
				t.Errorf("%s: -%s has no placeholder", c.name, g.Name)
			}
		})
		for _, word := range strings.Fields(example) {
			if name, isFlag := strings.CutPrefix(word, "-"); isFlag && name != "" && f.Lookup(name) == nil && !strings.Contains(example, "|") {
				t.Errorf("%s: the example has -%s", c.name, name)
			}
		}
	}
}

// flagsOf returns the flags that a command defines.
func flagsOf(c command) *flags {
	f := newFlags(c, []string{"-h"})
	c.run(&env{stdout: io.Discard, stderr: io.Discard, now: time.Now}, f)
	return f
}

func TestVersionLine(t *testing.T) {
	info := &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.time", Value: "2026-11-21T00:00:00Z"}, {Key: "vcs.modified", Value: "true"},
	}}
	if got := versionLine(info); !strings.HasPrefix(got, "wsticket v1.2.3 (commit 0123456789ab, 2026-11-21T00:00:00Z, with changes), ticket format 1, go1.") {
		t.Error(got)
	}
	if got := versionLine(&debug.BuildInfo{}); !strings.HasPrefix(got, "wsticket (unknown version), ticket format 1, go1.") {
		t.Error(got)
	}
}

// FuzzTickets: whatever a ticket holds, signed or not, nothing that a terminal would
// obey comes out of the commands that show it, and the exit code is 0 or 1.
func FuzzTickets(f *testing.F) {
	const header = `{"alg":"HS256","kid":"test","typ":"ws-ticket+jwt"}`
	for which := range uint8(32) {
		f.Add(header, `{"jti":"n","iat":1795219200,"exp":1795219210,"sub":"ada","aud":["a"],"iss":"i","scope":"s","origin":"o","path":"/a/*","ip":"192.0.2.0/24"}`, "", which)
		f.Add(header, `{"jti":"n","iat":1795219200.5,"exp":"`+"\u202e\u009b"+`"}`, "", which)
		f.Add(header, "{\"jti\":\"\u2028\",\r\"iat\":1,\n\"exp\":2}", "a.b.c", which)
		f.Add(`{"typ":"JWT"}`, `{"path":"/%","aud":[]}`, "\x1b\r\n", which)
		f.Add(header, `{"jti":"n","iat":1795219200,"exp":1795219210,"path":"x","ip":"::1%eth0","session_exp":5}`, "..", which)
	}
	path := writeKeyring(f, `{"keys":[{"kty":"oct","kid":"test","alg":"HS256","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}`)
	now := time.Unix(1_795_219_200, 0)
	commands := [][]string{
		{"verify", "-keys", path}, {"explain", "-keys", path, "-aud", "b", "-iss", "j", "-scope", "x", "-path", "/b"}, {"explain", "-keys", path}, {"inspect"},
	}
	f.Fuzz(func(t *testing.T, header, payload, text string, which uint8) {
		args := slices.Clone(commands[which%4])
		if which&4 != 0 {
			args = append(args, "-json")
		}
		ticket := text
		if which&8 != 0 {
			encode := base64.RawURLEncoding.EncodeToString
			signed := encode([]byte(header)) + "." + encode([]byte(payload))
			h := hmac.New(sha256.New, []byte("0123456789abcdef0123456789abcdef"))
			h.Write([]byte(signed))
			ticket = signed + "." + encode(h.Sum(nil))
		}
		batch := which&16 != 0
		switch {
		case batch:
			args = append(args, "-")
		case strings.HasPrefix(ticket, "-"):
			return // a flag, or standard input
		default:
			args = append(args, ticket)
		}
		code, stdout, stderr := try(now, strings.NewReader(ticket), args...)
		if code != 0 && code != 1 {
			t.Fatalf("%q: exit %d, %q", args, code, stderr)
		}
		for _, r := range stdout + stderr {
			if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
				t.Fatalf("%q: %q comes out: %q", args, r, stdout+stderr)
			}
		}
		if batch && strings.Count(stdout, "\n") > strings.Count(ticket, "\n")+1 {
			t.Fatalf("%q: more answers than lines: %q", args, stdout)
		}
	})
}

// The commonest slips on the command line: the line says what to write.
func TestUsageSaysWhatToWrite(t *testing.T) {
	keys := keyringFile(t)
	for _, c := range []struct{ args, want string }{
		{"mint -keys K -sub ada -ttl 10", `-ttl is "10": give a time with its unit, such as 10s or 5m`},
		{"keys rotate -keys K -activate-in 5", "-activate-in is \"5\": give a time with its unit"},
		{"verify -keys K -leeway x a.b.c", "-leeway is \"x\": give a time with its unit"},
		{"keys list K", "give the keyring as -keys FILE"},
		{"keys rotate K", "give the keyring as -keys FILE"},
		{"keys import K", "give the secret as -secret-file FILE"},
		{"version x", "it takes flags only"},
		{"mint -keys K -sub ada -claim room=lobby", `-claim is "room=lobby": behind the = is not a JSON value; a text is name='"text"'`},
		{"mint -keys K -sub ada -claim room", `give name=JSON`},
	} {
		args := strings.Fields(strings.ReplaceAll(c.args, "K", keys))
		if code, _, stderr := try(time.Now(), nil, args...); code != exitUsage || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: %d, %s", c.args, code, stderr)
		}
	}
}
