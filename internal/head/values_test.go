package head

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
)

func TestAccept(t *testing.T) { // the sample of RFC 6455 section 1.3
	if got := string(AppendAccept(nil, []byte("dGhlIHNhbXBsZSBub25jZQ=="))); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || len(got) != AcceptLen {
		t.Error(got)
	}
}

func TestSwitching(t *testing.T) {
	key := []byte("dGhlIHNhbXBsZSBub25jZQ==")
	for _, c := range []struct{ protocol, extra, want string }{
		{"", "", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
			"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"},
		{"app.v1", "Server: gw\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
			"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: app.v1\r\nServer: gw\r\n\r\n"},
	} {
		sw := NewSwitching(c.protocol, c.extra)
		if got := string(sw.Append(nil, key)); got != c.want || sw.Len() != len(got) {
			t.Errorf("%d bytes %q, want %d bytes %q", sw.Len(), got, len(c.want), c.want)
		}
	}
}

func TestValidKey(t *testing.T) {
	raw := make([]byte, 16)
	for i := range 256 {
		raw[15], raw[3], raw[9] = byte(i), byte(i*7), byte(255-i)
		key := base64.StdEncoding.EncodeToString(raw)
		if !ValidKey(key) {
			t.Fatalf("%s refused", key)
		}
		// Any other byte in any place is either another key or no key: the
		// standard library, being strict, is the judge.
		for at := range len(key) {
			b := []byte(key)
			b[at] = byte(i)
			d, err := base64.StdEncoding.Strict().DecodeString(string(b))
			want := err == nil && len(d) == 16 && !bytes.ContainsAny(b, "\r\n") // which it skips
			if ValidKey(b) != want {
				t.Fatalf("%q: %v, want %v", b, !want, want)
			}
		}
	}
}

// The scanners that look at eight bytes at a time must say what a plain loop
// says, wherever the byte stands.
func TestWordScans(t *testing.T) {
	for length := range 20 {
		for at := range length {
			for c := range 256 {
				b := bytes.Repeat([]byte("a"), length)
				b[at] = byte(c)
				value, target := length, length
				if c < 0x20 && c != '\t' || c == 0x7f {
					value = at
				}
				if c <= 0x20 || c >= 0x7f || c == '#' {
					target = at
				}
				if got := valueEnd(b, 0); got != value {
					t.Fatalf("valueEnd(%q) = %d, want %d", b, got, value)
				}
				if got := targetEnd(b, 0); got != target {
					t.Fatalf("targetEnd(%q) = %d, want %d", b, got, target)
				}
			}
		}
	}
	if got := valueEnd([]byte("\t\t\t\t\t\t\t\t\t\x01aaaaaaa\x00"), 0); got != 9 {
		t.Errorf("behind tabs: %d", got)
	}
}

func TestOrigins(t *testing.T) {
	for _, c := range []struct {
		origin, host string
		want         bool
	}{
		{"https://h", "h", true},
		{"http://h", "h", true},
		{"https://h", "h:443", true},
		{"https://h:443", "h", true},
		{"https://h:443", "h:443", true},
		{"http://h", "h:80", true},
		{"http://h:80", "h", true},
		{"http://h:8080", "h:8080", true},
		{"https://H", "h", true},
		{"HTTPS://h", "H:443", true},
		{"https://h", "h:", true},
		{"https://[::1]:8443", "[::1]:8443", true},
		{"https://[::1]", "[::1]:443", true},

		{"https://h", "h:80", false},
		{"http://h", "h:443", false},
		{"https://h:80", "h", false},
		{"https://h:8443", "h", false},
		{"https://h", "h:8443", false},
		{"https://h.evil", "h", false},
		{"https://evilh", "h", false},
		{"https://evil.h", "h", false},
		{"https://h.", "h", false},
		{"https://h/", "h", false},
		{"https://h/path", "h", false},
		{"https://h?", "h", false},
		{"https://h#", "h", false},
		{"https://u@h", "h", false},
		{"https://h@evil", "h", false},
		{"https://evil#@h", "h", false},
		{"https://evil\\@h", "h", false},
		{"https://h https://h", "h", false},
		{"https://h, https://h", "h", false},
		{"null", "null", false},
		{"", "h", false},
		{"h", "h", false},
		{"//h", "h", false},
		{"://h", "h", false},
		{"https:h", "h", false},
		{"https://", "h", false},
		{"1s://h", "h", false},
		{"h ttps://h", "h", false},
		{"https://", ":443", false},
		{"https://:443", ":443", false},
	} {
		same, err := NewOrigins(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := same.Allow([]byte(c.origin), []byte(c.host)); got != c.want {
			t.Errorf("same host: %q at %q: %v", c.origin, c.host, got)
		}
		if same.Listed([]byte(c.origin)) {
			t.Errorf("%q is on an empty list", c.origin)
		}
	}
	list, err := NewOrigins([]string{"https://app.example", "http://localhost:3000", "https://h.example:444"})
	if err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]bool{
		"https://app.example": true, "http://localhost:3000": true, "https://h.example:444": true,
		"https://app.example.evil": false, "https://evilapp.example": false, "http://app.example": false,
		"https://app.example:443": false, "https://APP.example": false, "https://app.example/": false, "null": false, "": false,
		"https://h": false, // the same host, and not on the list
	} {
		if got := list.Allow([]byte(origin), []byte("h")); got != want {
			t.Errorf("the list: %q: %v", origin, got)
		}
	}
}

func TestOriginPatterns(t *testing.T) {
	o, err := NewOrigins([]string{"https://*.app.example", "http://*.dev.example:8080", "https://*.xn--bcher-kva.example", "https://app.example"})
	if err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]bool{
		"https://app.example":                        true, // by itself: the pattern says nothing of it
		"https://a.app.example":                      true,
		"https://a.b-c.app.example":                  true,
		"https://a_b.app.example":                    true,
		"https://xn--bcher-kva.app.example":          true,
		"https://0.app.example":                      true,
		"http://a.dev.example:8080":                  true,
		"https://shop.xn--bcher-kva.example":         true,
		"http://a.app.example":                       false,
		"https://a.app.example:8443":                 false,
		"https://a.app.example:443":                  false,
		"http://a.dev.example":                       false,
		"http://a.dev.example:80":                    false,
		"http://a.dev.example:18080":                 false,
		"http://dev.example:8080":                    false,
		"https://.app.example":                       false,
		"https://a..app.example":                     false,
		"https://a..b.app.example":                   false,
		"https://.b.app.example":                     false,
		"https://..app.example":                      false,
		"https://evilapp.example":                    false,
		"https://a.evilapp.example":                  false,
		"https://a.app.example.":                     false,
		"https://a.app.example.evil":                 false,
		"https://A.app.example":                      false,
		"https://a.APP.example":                      false,
		"HTTPS://a.app.example":                      false,
		"https://*.app.example":                      false,
		"https://a.*.app.example":                    false,
		"https://evil.example/.app.example":          false,
		"https://evil.example?.app.example":          false,
		"https://evil.example#.app.example":          false,
		"https://evil.example\\.app.example":         false,
		"https://evil.example:1.app.example":         false,
		"https://evil@a.app.example":                 false,
		"https://evil.example, .app.example":         false,
		"https://evil.example https://a.app.example": false,
		"https://a%2eb.app.example":                  false,
		"https://bücher.app.example":                 false,
		"https://https://a.app.example":              false,
		"https:/.app.example":                        false,
		"null":                                       false,
		"":                                           false,
	} {
		if got := o.Listed([]byte(origin)); got != want {
			t.Errorf("%q: listed %v", origin, got)
		}
		if got := o.Allow([]byte(origin), []byte("a.app.example.evil")); got != want {
			t.Errorf("%q: allowed %v", origin, got)
		}
	}
}

// A list of nothing but patterns is a list: the host's own pages are not let in.
func TestOriginPatternsAlone(t *testing.T) {
	o, err := NewOrigins([]string{"https://*.app.example"})
	if err != nil {
		t.Fatal(err)
	}
	if o.Allow([]byte("https://gw.example"), []byte("gw.example")) {
		t.Error("the same host passes, though there is a list")
	}
}

// Pages in the shells of apps have origins of their own.
func TestOriginSchemes(t *testing.T) {
	list := []string{"capacitor://localhost", "ionic://localhost", "tauri://localhost", "https://tauri.localhost", "file://", "app://.",
		"chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb", "moz-extension://1ac5a1b4-7c0a-4a5e-9d5e-0d2f8f9f8f00", "vscode-webview://x", "http://[::1]:3000"}
	o, err := NewOrigins(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, origin := range list {
		if !o.Listed([]byte(origin)) || !o.Allow([]byte(origin), []byte("h")) {
			t.Errorf("%q is not let in", origin)
		}
	}
	for _, origin := range []string{"file:///", "file:///etc/passwd", "file://x", "file:", "capacitor://localhost/", "tauri://localhos", "null"} {
		if o.Allow([]byte(origin), []byte("h")) {
			t.Errorf("%q is let in", origin)
		}
	}
}

// The list that was given may be used again.
func TestOriginsOwnTheirList(t *testing.T) {
	list := []string{"https://app.example", "https://*.app.example"}
	o, err := NewOrigins(list)
	if err != nil {
		t.Fatal(err)
	}
	list[0], list[1] = "https://evil.example", "https://*.evil.example"
	for origin, want := range map[string]bool{"https://app.example": true, "https://a.app.example": true, "https://evil.example": false, "https://a.evil.example": false} {
		if got := o.Listed([]byte(origin)); got != want {
			t.Errorf("%q: %v", origin, got)
		}
	}
}

func TestNamesWebSocket(t *testing.T) {
	for v, want := range map[string]bool{
		"websocket": true, "WebSocket": true, "h2c, websocket": true, "websocket/13": true, "xwebsocket": true, "h2c;websocket ": true,
		"": false, "h2c": false, "websocke": false, "web-socket": false, "TLS/1.0, HTTP/2.0": false,
	} {
		if got := NamesWebSocket(v); got != want {
			t.Errorf("%q: %v", v, got)
		}
	}
}

func TestNewOriginsFaults(t *testing.T) {
	bad := []string{"null", "*", "https://*.example", "app.example", "https://app.example/", "https://app.example?a",
		"https://App.example", "https://app.example:443", "http://app.example:80", "https://app.example:", "https://",
		"", "https://u@app.example", "https://bücher.example", "ht tp://h",
		"https://*", "https://*.", "https://*.localhost", "https://*app.example", "https://a*.app.example", "https://app.*.example", "https://app.example.*",
		"https://*.*.app.example", "https://*.app.example*", "https://app.example:*", "https://*.app.example:*", "*.app.example", "*://app.example",
		"capacitor://*.app.example", "file://*", "https://*.app.example/", "https://*.App.example", "https://*.app.example:443", "http://*.app.example:80",
		"https://*.app.example:", "https://*..example", "https://*.app.example.", "https://*.192.0.2.7", "https://*.[::1]", "https://*.bücher.example",
		"https://*.u@app.example", "https://*.app.example:0", "https://*.app.example:65536", "https://app.example:08443", "https://app.example:x",
		"file:///", "file://x/",
		"wss://app.example", "ws://localhost:3000", "WSS://app.example", "https://::1", "https://[::1", "https://app.example:80:90", "https://app.example,b.example",
		"https://app.example;b.example", "https://app.%65xample", "https://(app.example)", "https://:8443", "capacitor://a,b"}
	_, err := NewOrigins(append([]string{"https://fine.example"}, bad...))
	if err == nil {
		t.Fatal("no error")
	}
	if n := len(strings.Split(err.Error(), "\n")); n != len(bad) {
		t.Errorf("%d faults of %d reported:\n%v", n, len(bad), err)
	}
	if strings.Contains(err.Error(), "fine") {
		t.Error("names an origin that has no fault")
	}
}

// A byte that has no place in a target, or in a value, is found wherever it stands
// and whatever stands around it.
func TestEnds(t *testing.T) {
	for _, n := range []int{1, 7, 8, 9, 31, 33, 47, 65} {
		for at := range n {
			for c := range 256 {
				for _, rest := range []byte{'a', 0x21, 0x7e, ' ', '~', 0xff, '\t', 0} {
					b := bytes.Repeat([]byte{'x'}, n)
					b[at] = byte(c)
					for i := at + 1; i < n; i++ {
						b[i] = rest
					}
					if got, want := targetEnd(b, 0), firstOf(b, func(c byte) bool { return c <= 0x20 || c >= 0x7f || c == '#' }); got != want {
						t.Fatalf("target %q ends at %d, want %d", b, got, want)
					}
					if got, want := valueEnd(b, 0), firstOf(b, func(c byte) bool { return c < 0x20 && c != '\t' || c == 0x7f }); got != want {
						t.Fatalf("value %q ends at %d, want %d", b, got, want)
					}
				}
			}
		}
	}
}

func firstOf(b []byte, bad func(byte) bool) int {
	for i, c := range b {
		if bad(c) {
			return i
		}
	}
	return len(b)
}
