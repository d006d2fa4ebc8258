package wsticket

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Origins and paths that no handshake can match are refused where the slip is made,
// with the right spelling.
func TestSignerShowsTheRightSpelling(t *testing.T) {
	s := testSigner(t, nil)
	for _, tt := range []struct {
		claims Claims
		want   string
	}{
		{Claims{Origin: "https://app.example/"}, `write "https://app.example"`},
		{Claims{Origin: "https://app.example:443"}, `write "https://app.example"`},
		{Claims{Origin: "https://App.Example"}, `write "https://app.example"`},
		{Claims{Origin: "app.example"}, `write "https://app.example"`},
		{Claims{Origin: "wss://app.example"}, `write "https://app.example"`},
		{Claims{Origin: "null"}, "leave it out"},
		{Claims{Origin: "https://\xc0"}, "no browser sends"},
		{Claims{Path: "rooms"}, `write "/rooms"`},
		{Claims{Path: "/rooms?id=1"}, `write "/rooms"`},
		{Claims{Path: "/rooms#top"}, `write "/rooms"`},
		{Claims{Path: "/rooms%20a"}, `write "/rooms a"`},
		{Claims{Path: "/%72ooms/*"}, `write "/rooms/*"`},
		{Claims{Path: "/a//b/"}, `write "/a/b/"`},
		{Claims{Path: "/a//"}, `write "/a/"`},
		{Claims{Path: "//"}, `write "/"`},
		{Claims{Path: "/a/../b"}, `write "/b"`},
		{Claims{Path: "/a/./*"}, `write "/a/*"`},
		{Claims{Path: "/a/.."}, `write "/"`},
		{Claims{Path: "/."}, `write "/"`},
		{Claims{Path: `/a\b`}, `write "/a/b"`},
		{Claims{Path: "wss://gw.example/ws/*?x"}, `write "/ws/*"`},
		{Claims{Path: "wss://gw.example"}, "beginning with /"},
		{Claims{Path: "/a\x00"}, "no path of a request equals"},
		{Claims{Path: "/a%252e"}, "no path of a request equals"},
		{Claims{Path: "/a*"}, "a * stands only in /* at the end"},
		{Claims{Path: "/*/b"}, "a * stands only in /* at the end"},
		{Claims{Path: "/a/**"}, "a * stands only in /* at the end"},
		{Claims{Path: "/a/*/*"}, "a * stands only in /* at the end"},
		{Claims{Path: "/a/..;/b"}, "no path of a request equals"}, // no gateway lets it in, see agreed
		{Claims{Path: "/a/..;x"}, "no path of a request equals"},
		{Claims{Path: "/a/;/*"}, "no path of a request equals"},
		{Claims{Path: "/.;"}, "no path of a request equals"},
		{Claims{Path: "*"}, `write "/*"`},
		{Claims{SessionExpires: time.Unix(253402300800, 0)}, "SessionExpires is beyond the year 9999"},
		{Claims{SessionExpires: time.Unix(1795222800000, 0)}, "not milliseconds"},
	} {
		tt.claims.Subject = "ada"
		if ticket, err := s.SignAt(testNow, &tt.claims); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Origin %q, Path %q, SessionExpires %v: got %q, %v; want %s", tt.claims.Origin, tt.claims.Path, tt.claims.SessionExpires, ticket, err, tt.want)
		}
	}
	for _, c := range []Claims{
		{Origin: "https://app.example:8443"}, {Origin: "http://[::1]:3000"}, {Origin: "capacitor://localhost"}, {Origin: "tauri://localhost"},
		{Origin: "chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb"}, {Origin: "file://"},
		{Path: "/"}, {Path: "/*"}, {Path: "/a/"}, {Path: "/.well-known/x..y/..."}, {Path: "/100%"}, {Path: "/50%o"}, {Path: "/räume/ä b"}, {Path: "/a;b=c,d:e@f&g"}, {Path: "/...;x/a..;"},
		{SessionExpires: time.Unix(253402300799, 0)},
	} {
		c.Subject = "ada"
		if _, err := s.SignAt(testNow, &c); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// FuzzRequestable: to a path that the signer takes there is a request that matches;
// what is shown in place of a slip is taken.
func FuzzRequestable(f *testing.F) {
	for _, p := range []string{"/", "/*", "/a/*", "/a/../b", "/a//b", "/a//*", "/%41", "/a?b", "/%", "/%4", "/a%zz", "x", "/\\", "/..", "/...", "wss://h/p", "/ä", "/*a", "/a/..;/b", "/;", "/a;/*"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if p == "" {
			return
		}
		if usualPath(p) && !requestable(p) {
			t.Fatalf("%q is called usual", p)
		}
		if requestable(p) {
			escaped := func(p string) []byte { return []byte((&url.URL{Path: p}).EscapedPath()) }
			request := p
			if below, tree := strings.CutSuffix(p, "*"); tree {
				if !pathMatches([]byte(p), escaped(below)) {
					t.Fatalf("%q does not match what it names", p)
				}
				request = below + "x"
			}
			if !pathMatches([]byte(p), escaped(request)) {
				t.Fatalf("%q matches no request", p)
			}
			if hidesDots(escaped(request)) {
				t.Fatalf("%q matches a request that no gateway takes", p)
			}
			return
		}
		if err := pathFault(p); err == nil {
			t.Fatalf("no fault in %q", p)
		}
		// The converse, for the rules that are not about a slip that could be escaped.
		if !strings.ContainsAny(p, "?#%*") && p[0] == '/' && !hidesDots([]byte(p)) && pathMatches([]byte(p), []byte((&url.URL{Path: p}).EscapedPath())) {
			t.Fatalf("%q is refused and matches", p)
		}
	})
}

func TestSignerAtTheLongestTicket(t *testing.T) {
	seen := map[int]bool{}
	for kid := 1; kid <= 8; kid++ {
		s := testSigner(t, func(c *SignerConfig) {
			c.Keys = testKeyring(t, testJWK(strings.Repeat("k", kid), testSecret, ""))
		})
		for n := 1300; n < 1500; n++ {
			claims := Claims{Subject: strings.Repeat("x", n), ID: "n"}
			ticket, err := s.SignAt(testNow, &claims)
			size := len(ticket)
			if err != nil { // then its text says how long it would have been
				if _, bad := fmt.Sscanf(err.Error(), "wsticket: Signer: the ticket would be %d bytes", &size); bad != nil {
					t.Fatal(err)
				}
			}
			seen[size] = true
			if (err == nil) != (size <= 2048) {
				t.Fatalf("%d bytes: %v", size, err)
			}
		}
	}
	if !seen[2048] || !seen[2049] {
		t.Error("the lengths at the limit were not tried")
	}
}

func TestSignerKeepsItsOwnAudiences(t *testing.T) {
	list := []string{"a", "b"}
	s := testSigner(t, func(c *SignerConfig) { c.Audiences = list })
	list[0] = "z"
	ticket, err := s.SignAt(testNow, &Claims{Subject: "ada"})
	if err != nil || !strings.Contains(payloadOf(t, ticket), `"aud":["a","b"]`) {
		t.Errorf("%s, %v", payloadOf(t, ticket), err)
	}
}

// What a Signer says of claims that came from a request may be logged: it is escaped and
// short, however long they are.
func TestSignerErrorsAreShort(t *testing.T) {
	s := testSigner(t, nil)
	long := strings.Repeat("X", 4000)
	for name, c := range map[string]Claims{
		"origin":         {Origin: "HTTPS://" + long},
		"origin, hidden": {Origin: "https://\u202e" + long},
		"path":           {Path: "//" + long},
		"path, star":     {Path: "/*" + long},
		"path, hidden":   {Path: "/\u202e\x1b//" + long},
		"extra":          {Extra: []Member{{Name: "\"\u202e" + long, JSON: []byte("1")}}},
		"extra, value":   {Extra: []Member{{Name: "a\u202e" + long, JSON: []byte("x")}}},
		"extra, twice":   {Extra: []Member{{Name: "a" + long, JSON: []byte("1")}, {Name: "a" + long, JSON: []byte("1")}}},
	} {
		c.Subject = "ada"
		_, err := s.SignAt(testNow, &c)
		if err == nil || len(err.Error()) > 500 || strings.ContainsAny(err.Error(), "\u202e\x1b") {
			t.Errorf("%s: %d bytes: %.300v", name, len(fmt.Sprint(err)), err)
		}
	}
}
