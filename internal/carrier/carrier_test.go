package carrier

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/wsticket/wsticket/internal/head"
)

func find(on Set, part, value string) *Finder {
	f := &Finder{On: on, Protocols: []string{"app.v1", "app.v2"}}
	feed(f, part, 0, []byte(value))
	return f
}

func feed(f *Finder, part string, line int, value []byte) {
	switch part {
	case "query":
		f.InQuery(value)
	case "protocols":
		f.InProtocols(line, value)
	case "authorization":
		f.InAuthorization(line, value)
	case "cookies":
		f.InCookies(line, value)
	}
}

func TestFind(t *testing.T) {
	const ambiguous, none = "ambiguous", "none"
	for _, c := range []struct {
		part, value string
		want        string // the ticket, or what is the matter
		left        string // once it was cut
	}{
		{"query", "ticket=a.b.c", "a.b.c", ""},
		{"query", "x=1&ticket=a.b.c", "a.b.c", "x=1"},
		{"query", "ticket=a.b.c&x=1", "a.b.c", "x=1"},
		{"query", "x=1&ticket=a.b.c&y=%20+&&z", "a.b.c", "x=1&y=%20+&&z"},
		{"query", "&ticket=t&", "t", "&"},
		{"query", "&ticket=t", "t", ""},
		{"query", "ticket=t&", "t", ""},
		{"query", "ticket", "", ""},
		{"query", "ticket=", "", ""},
		{"query", "ticket&a", "", "a"},
		{"query", "ticket==", "=", ""},
		{"query", "ticket=a.b.c=", "a.b.c=", ""},
		{"query", "ticket=a%2Eb%2Ec", "a%2Eb%2Ec", ""},
		{"query", "ticket=a+b", "a+b", ""},
		{"query", "ticket=a;b=c", "a;b=c", ""},
		{"query", "ticket=a?b", "a?b", ""},
		{"query", "", none, ""},
		{"query", "x=ticket", none, ""},
		{"query", "xticket=a", none, ""},
		{"query", "ticketx=a", none, ""},
		{"query", "tickets", none, ""},
		{"query", "ticket%00=a", none, ""},
		{"query", "ticket%20=a", none, ""},
		{"query", "ticket+=a", none, ""},
		{"query", "+ticket=a", none, ""},
		{"query", "tick%6=a", none, ""},
		{"query", "tick%6gt=a", none, ""},
		{"query", "tick%", none, ""},
		{"query", "=ticket", none, ""},
		{"query", "ticket=a&ticket=b", ambiguous, ""},
		{"query", "ticket=a&ticket=a", ambiguous, ""},
		{"query", "ticket&ticket", ambiguous, ""},
		{"query", "ticket=a&Ticket=b", ambiguous, ""},
		{"query", "ticket=a&TICKET", ambiguous, ""},
		{"query", "Ticket=a", ambiguous, ""},
		{"query", "tickeT=a", ambiguous, ""},
		{"query", "%74icket=a", ambiguous, ""},
		{"query", "%54icket=a", ambiguous, ""},
		{"query", "%74%69%63%6b%65%74=a", ambiguous, ""},
		{"query", "%74%69%63%6B%65%54", ambiguous, ""},
		{"query", "x&ticke%74=a&y", ambiguous, ""},
		// Others begin a parameter at ';' and at '?'.
		{"query", "a=1;ticket=b", ambiguous, ""},
		{"query", "x=1;ticket=a&ticket=b", ambiguous, ""},
		{"query", "ticket=b&x=1;ticket=a", ambiguous, ""},
		{"query", "x?ticket=a&ticket=b", ambiguous, ""},
		{"query", "?ticket=a", ambiguous, ""},
		{"query", "?ticket=a&ticket=b", ambiguous, ""},
		{"query", ";ticket=a", ambiguous, ""},
		{"query", "x&amp;ticket=a", ambiguous, ""},
		{"query", "x=?ticket=a", ambiguous, ""},
		{"query", "x;ticket&y", ambiguous, ""},
		{"query", "x?ticket", ambiguous, ""},
		{"query", "x;Ticket=a&ticket=b", ambiguous, ""},
		{"query", "x;%74icket=a&ticket=b", ambiguous, ""},
		{"query", "ticket=a;ticket=b", ambiguous, ""},
		{"query", "ticket=a?ticket=b", ambiguous, ""},
		{"query", "ticket=a;x=1;ticket=b", ambiguous, ""},
		{"query", "ticket;x=1", ambiguous, ""},
		{"query", "ticket?x=1&ticket=b", ambiguous, ""},
		{"query", "ticket;", ambiguous, ""},
		{"query", "a;b=1?c&ticket=t", "t", "a;b=1?c"},
		{"query", "a;xticket=1&ticket=t&b?tickets", "t", "a;xticket=1&b?tickets"},
		{"query", "a;=ticket&ticket=t", "t", "a;=ticket"},

		{"protocols", "app.v1, ticket.a.b.c", "a.b.c", "app.v1"},
		{"protocols", "ticket.a.b.c,app.v1", "a.b.c", "app.v1"},
		{"protocols", "ticket.a.b.c , app.v1", "a.b.c", "app.v1"},
		{"protocols", "x, ticket.a.b.c, y", "a.b.c", "x, y"},
		{"protocols", "x,ticket.a.b.c,y", "a.b.c", "x,y"},
		{"protocols", "ticket.a", "a", ""},
		{"protocols", "ticket.", "", ""},
		{"protocols", "ticket.a=", "a=", ""},
		{"protocols", "ticket.a b", "a b", ""},
		{"protocols", "ticket.a%2Eb", "a%2Eb", ""},
		{"protocols", "app.v1", none, ""},
		{"protocols", "ticket", none, ""},
		{"protocols", "Ticket.a", none, ""},
		{"protocols", "xticket.a", none, ""},
		{"protocols", "ticket.a, ticket.b", ambiguous, ""},
		{"protocols", "ticket.a, ticket.a", ambiguous, ""},
		{"protocols", "ticket.,ticket.", ambiguous, ""},

		{"authorization", "Bearer a.b.c", "a.b.c", ""},
		{"authorization", "bEARER a.b.c", "a.b.c", ""},
		{"authorization", "Bearer   a.b.c", "a.b.c", ""},
		{"authorization", "Bearer", "", ""},
		{"authorization", "Bearer\ta", "\ta", ""},
		{"authorization", "Bearer a b", "a b", ""},
		{"authorization", "Bearer a=", "a=", ""},
		{"authorization", "Basic dXNlcjpwdw==", none, ""},
		{"authorization", "Bearerx a", none, ""},
		{"authorization", "Beare", none, ""},
		{"authorization", "", none, ""},

		{"cookies", "__Host-ws-ticket=a.b.c", "a.b.c", ""},
		{"cookies", "x=1; __Host-ws-ticket=a.b.c", "a.b.c", "x=1"},
		{"cookies", "__Host-ws-ticket=a.b.c; x=1", "a.b.c", "x=1"},
		{"cookies", "x=1; __Host-ws-ticket=a.b.c; y=2", "a.b.c", "x=1; y=2"},
		{"cookies", "x=1;__Host-ws-ticket=a.b.c;y=2", "a.b.c", "x=1;y=2"},
		{"cookies", " __Host-ws-ticket = a ;", "a", ""},
		{"cookies", "__Host-ws-ticket", "", ""},
		{"cookies", "__Host-ws-ticket=", "", ""},
		{"cookies", `__Host-ws-ticket="a"`, `"a"`, ""},
		{"cookies", "__Host-ws-ticket=a=", "a=", ""},
		{"cookies", "__host-ws-ticket=a", none, ""},
		{"cookies", "ws-ticket=a; x__Host-ws-ticket=b", none, ""},
		{"cookies", "ticket=a", none, ""},
		{"cookies", "", none, ""},
		{"cookies", "__Host-ws-ticket=a; __Host-ws-ticket=b", ambiguous, ""},
	} {
		f := find(All, c.part, c.value)
		got := none
		switch {
		case f.Ambiguous || f.Count > 1:
			got = ambiguous
		case f.Count == 1:
			got = string(f.Ticket)
			if f.Ticket == nil {
				t.Errorf("%s %q: the ticket is nil", c.part, c.value)
			}
		}
		if got != c.want || f.One() != (got != none && got != ambiguous) {
			t.Errorf("%s %q: %q, want %q", c.part, c.value, got, c.want)
			continue
		}
		if f.One() {
			if left := string(f.Cut([]byte(c.value))); left != c.left {
				t.Errorf("%s %q: cut leaves %q, want %q", c.part, c.value, left, c.left)
			}
		}
		// Switched off, it is as if nothing were there.
		if off := find(All&^partOf(c.part), c.part, c.value); off.Count != 0 || off.Ambiguous {
			t.Errorf("%s %q: found though the carrier is off", c.part, c.value)
		}
	}
}

func partOf(part string) Set {
	return map[string]Set{"query": Query, "protocols": Subprotocol, "authorization": Bearer, "cookies": Cookie}[part]
}

func TestSeveralLines(t *testing.T) {
	for _, part := range []string{"protocols", "authorization", "cookies"} {
		value := map[string]string{"protocols": "ticket.a", "authorization": "Bearer a", "cookies": "__Host-ws-ticket=a"}[part]
		f := find(All, part, map[string]string{"protocols": "app.v1", "authorization": "Basic x", "cookies": "x=1"}[part])
		feed(f, part, 1, []byte(value))
		if !f.One() || f.Line != 1 || f.By != partOf(part) {
			t.Errorf("%s: %+v", part, f)
		}
		feed(f, part, 2, []byte(value))
		if f.One() || f.Count != 2 {
			t.Errorf("%s on two lines: %+v", part, f)
		}
	}
}

func TestAnyTwo(t *testing.T) {
	parts := map[string]string{"query": "ticket=a", "protocols": "ticket.a", "authorization": "Bearer a", "cookies": "__Host-ws-ticket=a"}
	for one, v1 := range parts {
		for two, v2 := range parts {
			if one == two {
				continue
			}
			f := find(All, one, v1)
			feed(f, two, 0, []byte(v2))
			if f.One() || f.Count != 2 {
				t.Errorf("%s and %s: %+v", one, two, f)
			}
			f = find(All&^partOf(two), one, v1)
			feed(f, two, 0, []byte(v2))
			if !f.One() || f.By != partOf(one) {
				t.Errorf("%s, and %s that is off: %+v", one, two, f)
			}
		}
	}
}

func TestSelection(t *testing.T) {
	for _, c := range []struct {
		value    string
		selected string
		offered  int
		bad      bool
	}{
		{"app.v1", "app.v1", 1, false},
		{"app.v2, app.v1", "app.v2", 2, false}, // the client's order
		{"x, app.v1", "app.v1", 2, false},
		{"x,,  , app.v1 ,", "app.v1", 2, false},
		{"x,\tapp.v1", "", 1, true},
		{"ticket.a, app.v1", "app.v1", 1, false},
		{"ticket.a", "", 0, false},
		{"ticket.a, x", "", 1, false},
		{"APP.v1", "", 1, false},
		{"app.v1x", "", 1, false},
		{"", "", 0, true},
		{" , ", "", 0, true},
		{"a b", "", 0, true},
		{`"a"`, "", 0, true},
		{"app.v1, a/b", "app.v1", 1, true},
		{"app.v1; x", "", 0, true},
		{"app.v1, \x80", "app.v1", 1, true},
	} {
		f := find(All, "protocols", c.value)
		if f.Selected != c.selected || f.Offered != c.offered || f.BadList != c.bad {
			t.Errorf("%q: selected %q of %d offered, bad %v", c.value, f.Selected, f.Offered, f.BadList)
		}
	}
	if f := find(0, "protocols", "ticket.a, app.v1"); f.Offered != 2 || f.Selected != "app.v1" {
		t.Errorf("with the carrier off a ticket is a protocol like others: %+v", f)
	}
}

func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	query, list, bearer, cookies := []byte("a=b&ticket=a.b.c&d=e"), []byte("ticket.a, app.v1"), []byte("Bearer a"), []byte("x=1; __Host-ws-ticket=a.b.c")
	protocols := []string{"app.v1"}
	n := 0
	if allocs := testing.AllocsPerRun(100, func() {
		f := Finder{On: All, Protocols: protocols}
		f.InQuery(query)
		f.InProtocols(0, list)
		f.InAuthorization(0, bearer)
		f.InCookies(0, cookies)
		n = f.Count
	}); allocs != 0 || n != 4 {
		t.Errorf("%v allocations, %d tickets", allocs, n)
	}
}

// FuzzQuery compares the raw reading of a query with net/url's: whenever a server that
// decodes sees a parameter that folds to ours, it was counted or called ambiguous; and
// what Cut leaves says the same about every other parameter, and nothing about ours.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{"ticket=a", "a=1&ticket=b&c", "%74icket=x", "Ticket=&ticket", "a;b&ticket=c+d%20", "&&ticket&&", "ticket=%zz"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		got := find(Query, "query", q)
		// Whoever separates at any of these, and decodes names or not, sees so many.
		seen := 0
		for _, separators := range []string{"&", "&;", "&?", "&;?"} {
			n := 0
			for _, piece := range strings.FieldsFunc(q, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
				name, _, _ := strings.Cut(piece, "=")
				if u, err := url.PathUnescape(name); err == nil && asciiFold(u) == Parameter {
					n++
				}
			}
			seen = max(seen, n)
		}
		exact := 0
		for piece := range strings.SplitSeq(q, "&") {
			if name, _, _ := strings.Cut(piece, "="); name == Parameter {
				exact++
			}
		}
		if got.Count != exact || got.Ambiguous != (seen > exact) {
			t.Fatalf("%q: %d tickets, ambiguous %v; want %d of %d", q, got.Count, got.Ambiguous, exact, seen)
		}
		if !got.One() {
			return
		}
		before, err1 := url.ParseQuery(q)
		if v := before.Get(Parameter); err1 == nil && v != string(got.Ticket) && !bytes.ContainsAny(got.Ticket, "%+") {
			t.Fatalf("%q: ticket %q, net/url %q", q, got.Ticket, v)
		}
		left := string(got.Cut([]byte(q)))
		after, err2 := url.ParseQuery(left)
		if err1 == nil && err2 != nil {
			t.Fatalf("%q: left %q: %v", q, left, err2)
		}
		delete(before, Parameter)
		if after.Has(Parameter) || before.Encode() != after.Encode() {
			t.Fatalf("%q: left %q", q, left)
		}
	})
}

func asciiFold(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r |= 0x20
		}
		return r
	}, s)
}

// FuzzCookies compares the reading of cookies with net/http's: every ticket that a
// handler behind us would find was counted, and none is left by Cut.
func FuzzCookies(f *testing.F) {
	for _, c := range []string{"__Host-ws-ticket=a", "a=b; __Host-ws-ticket=c.d.e;f", " __Host-ws-ticket = x", `__Host-ws-ticket="q"`} {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, c string) {
		if !head.ValidValue(c) {
			return
		}
		got := find(Cookie, "cookies", c)
		r := http.Request{Header: http.Header{"Cookie": {c}}}
		theirs := r.CookiesNamed(CookieName)
		if len(theirs) > got.Count {
			t.Fatalf("%q: net/http finds %d, found %d", c, len(theirs), got.Count)
		}
		if !got.One() {
			return
		}
		if len(theirs) == 1 && !theirs[0].Quoted && strings.TrimSpace(theirs[0].Value) != string(got.Ticket) {
			t.Fatalf("%q: ticket %q, net/http %q", c, got.Ticket, theirs[0].Value)
		}
		others := len(r.Cookies()) - len(theirs)
		left := string(got.Cut([]byte(c)))
		r.Header.Set("Cookie", left)
		if len(r.CookiesNamed(CookieName)) != 0 || len(r.Cookies()) != others {
			t.Fatalf("%q: left %q", c, left)
		}
	})
}
