package weborigin

import (
	"net/url"
	"strings"
	"testing"
)

var good = []string{
	"https://app.example", "http://app.example", "https://app.example:8443", "http://localhost:3000", "http://127.0.0.1:8080", "http://[::1]", "http://[::1]:3000",
	"https://xn--bcher-kva.example", "https://a_b.example", "https://app.example.", "http://app.example:443", "https://app.example:80", "https://app.example:0",
	"capacitor://localhost", "ionic://localhost", "tauri://localhost", "file://", "app://obsidian.md", "app://.",
	"chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb", "moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc", "vscode-webview://1AbC", "custom+x.y-z://host:1234",
}

// What people write, and what they should have written; "" where nobody can say.
var slips = map[string]string{
	"https://app.example/":            "https://app.example",
	"https://app.example/ws?x#y":      "https://app.example",
	"https://app.example:443":         "https://app.example",
	"http://app.example:80":           "http://app.example",
	"https://app.example:":            "https://app.example",
	"https://app.example:0443":        "https://app.example",
	"https://app.example:08443":       "https://app.example:8443",
	"HTTPS://app.example":             "https://app.example",
	"https://App.Example":             "https://app.example",
	"app.example":                     "https://app.example",
	"app.example:8443":                "https://app.example:8443",
	"wss://app.example":               "https://app.example",
	"ws://localhost:3000":             "http://localhost:3000",
	"https://ada:secret@app.example":  "https://app.example",
	" https://app.example\n":          "https://app.example",
	"https://app.example\\x":          "https://app.example",
	"http://[::1]:80":                 "http://[::1]",
	"http://[FE80::1]":                "http://[fe80::1]",
	"file:///index.html":              "file://",
	"Capacitor://localhost/":          "capacitor://localhost",
	"null":                            "",
	"*":                               "",
	"https://*.app.example":           "",
	"https://":                        "",
	"https:":                          "",
	"https:app.example":               "",
	"://app.example":                  "",
	"https://bücher.example":          "",
	"https://app example":             "",
	"https://app.example:65536":       "",
	"https://app.example:x":           "",
	"https://a:1:2":                   "",
	"https://[::1":                    "",
	"https://::1]":                    "",
	"https://[::1]x":                  "",
	"https://[]":                      "",
	"1x://host":                       "",
	"https://app.example,https://b.c": "",
	"https://app.example https://b.c": "",
	"https://a%2eb":                   "",
	"https://a\x00b":                  "",
	"data:text/html,x":                "",
	"blob:https://app.example/1-2":    "",
}

func TestSent(t *testing.T) {
	for _, o := range good {
		if err := Fault(o); !Sent(o) || err != nil {
			t.Errorf("Sent(%q) = %v, %v", o, Sent(o), err)
		}
	}
	for o, right := range slips {
		err := Fault(o)
		if Sent(o) || err == nil {
			t.Errorf("Sent(%q)", o)
			continue
		}
		if shown := strings.HasSuffix(err.Error(), "; write \""+right+"\""); shown != (right != "") || right == "" && strings.Contains(err.Error(), "; write \"") {
			t.Errorf("Fault(%q) = %v, want %q shown", o, err, right)
		}
	}
	if n := testing.AllocsPerRun(100, func() { Sent("https://app.example:8443") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What is called sent reads as the URL of a host and nothing else, in its one
// spelling, and what is suggested in place of a slip is sent.
func FuzzSent(f *testing.F) {
	for _, o := range good {
		f.Add(o)
	}
	for o := range slips {
		f.Add(o)
	}
	f.Fuzz(func(t *testing.T, o string) {
		ok := Sent(o)
		if usual(o) && !sent(o) {
			t.Fatalf("usual(%q), but not sent", o)
		}
		if err := Fault(o); (err == nil) != ok {
			t.Fatalf("Sent(%q) = %v, but Fault says %v", o, ok, err)
		}
		if right := spell(o); ok && right != o || right != "" && !Sent(right) {
			t.Fatalf("spell(%q) = %q", o, right)
		}
		if !ok || o == "file://" {
			return
		}
		u, err := url.Parse(o)
		if err != nil {
			if strings.Contains(o, "[") {
				return // not every text in brackets is an address
			}
			t.Fatalf("Sent(%q), but it is no URL: %v", o, err)
		}
		if u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.String() != o || u.Scheme != strings.ToLower(u.Scheme) {
			t.Fatalf("Sent(%q), which is %#v", o, u)
		}
		if web := u.Scheme == "http" || u.Scheme == "https"; web && (u.Host != strings.ToLower(u.Host) || u.Port() != "" && u.Port() == defaultPort(u.Scheme)) {
			t.Fatalf("Sent(%q), but a browser spells it otherwise", o)
		}
	})
}
