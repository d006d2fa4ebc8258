package wsticket

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/wsticket/wsticket/internal/head"
)

// FuzzVerdicts: for every head that both take as a handshake, the Upgrader and
// the Gate behind net/http come to the same verdict, with the same ticket, path
// and query; and what the Upgrader accepts gobwas accepts with the same answer.
// $T in a head stands for a good ticket, $P, $O and $I for tickets bound to the
// path /a, to an origin and to the peer's address, $X for a spent one.
func FuzzVerdicts(f *testing.F) {
	for _, head := range []string{
		request("/?ticket=$T"), request("/a?x&ticket=$P&y", fromApp), request("/%61?ticket=$P"), request("/a/../a?ticket=$P"), request("//a?ticket=$P"),
		request("/?ticket=$O", fromApp), request("/?ticket=$O", "Origin: https://gw.example"), request("/?ticket=$I"), request("/?ticket=$X"),
		request("/", "Sec-WebSocket-Protocol: ticket.$T, app.v1"), request("/", "Sec-WebSocket-Protocol: app.v2", "Sec-WebSocket-Protocol: ticket.$T"),
		request("/", "Authorization: Bearer $T"), request("/", "Authorization: bEaReR  $T", "Connection: x"), request("/", fromApp, "Cookie: a=b; __Host-ws-ticket=$T ; c"),
		request("/", fromApp, "Cookie: __Host-ws-ticket=\"$T\""), request("/?Ticket=$T"), request("/?%74icket=$T"), request("/?ticket=$T&ticket"), request("/?ticket=$T;b"),
		request("/?ticket=$T", "Sec-WebSocket-Protocol: a,,b, app.v1"), request("/?ticket=$T", "Sec-WebSocket-Protocol: \"a\""), request("/?ticket=$T", "Pragma: no-cache"),
		request("/?ticket=$T", "Origin:"), request("/", "Authorization: Basic $T", "Authorization: Bearer $T"), request("/?ticket=%24T"),
		request("/", "Authorization: Bearer $T", "Origin: null"), request("/", "Authorization: Bearer $O", "Origin: null"), request("/?ticket=$T", "Origin: https://a.pages.example"),
		request("http://gw.example/a?ticket=$P"), request("https://gw.example?ticket=$T"), request("/a;x?ticket=$P"), request("/a/..;/a?ticket=$P"), request("/?ticket=$T", "Content-Length: 0"),
		request("/?x;ticket=$T"), request("/?x?ticket=$T&ticket=$T"), request("/?ticket=$T", "Origin: file://"), request("/?ticket=$T", "Origin: null"),
	} {
		f.Add([]byte(head))
	}
	for _, difference := range differences {
		f.Add([]byte(difference.head))
	}
	d := newDoor(f, nil)
	var err error
	if d.signer, err = NewSigner(SignerConfig{Keys: d.keys, TTL: time.Hour, MaxTTL: time.Hour}); err != nil {
		f.Fatal(err)
	}
	spentID := ""
	guard := guardFunc(func(s Use) error {
		if string(s.Identity[:]) == spentID {
			return ErrReplayed
		}
		return nil
	})
	if d.config.Verifier, err = NewVerifier(VerifierConfig{Keys: d.keys, Replay: guard, MaxTTL: time.Hour}); err != nil {
		f.Fatal(err)
	}
	if d.Upgrader, err = NewUpgrader(d.config); err != nil {
		f.Fatal(err)
	}
	used := d.ticket(f, Claims{ID: "used"})
	var t0 Ticket
	if err := d.config.Verifier.Peek(Request{Ticket: []byte(used)}, &t0); err != nil {
		f.Fatal(err)
	}
	spentID = string(t0.id[:])
	d.config.Origins = append(d.config.Origins, "https://*.pages.example", "file://")
	d.config.AllowOrigin = func(origin, host []byte) bool { return string(origin) == "null" && len(host) == len("gw.example") }
	if d.Upgrader, err = NewUpgrader(d.config); err != nil {
		f.Fatal(err)
	}
	gate := newGate(f, d, func(c *GateConfig) { c.AllowOrigin = d.config.AllowOrigin })
	tickets := strings.NewReplacer("$T", d.ticket(f, Claims{}), "$P", d.ticket(f, Claims{Path: "/a"}), "$X", used,
		"$O", d.ticket(f, Claims{Origin: "https://app.example"}), "$I", d.ticket(f, Claims{IP: "192.0.2.0/24"}))
	f.Fuzz(func(t *testing.T, in []byte) {
		head := tickets.Replace(string(in))
		conn := newMemConn([]byte(head))
		var h Handshake
		err := d.Upgrade(context.Background(), conn, &h)
		code, _ := CodeOf(err)
		if err == nil {
			sameAsGobwas(t, head, &h, conn.out)
		}
		r := parsed(head)
		if code == ErrHeadTooLarge || err != nil && code == 0 || code == ErrBadHandshake && err != errBadProtocols && err != errNoProtocol {
			// No handshake to the Upgrader.
			if r == nil {
				return
			}
			if _, gerr := gate.judge(nil, r, &details{ticket: new(Ticket)}); gerr == nil && differenceIn(head) == nil {
				t.Fatalf("the Upgrader says %v, the Gate accepts\n%q", err, head)
			}
			return
		}
		if r == nil && hasBracket(head) {
			return // net/http knows which hosts in brackets are addresses, in a target that is a URL
		}
		if r == nil {
			t.Fatalf("the Upgrader says %v, net/http cannot read\n%q", err, head)
		}
		var ticket Ticket
		clean, gerr := gate.judge(nil, r, &details{ticket: &ticket})
		gcode, _ := CodeOf(gerr)
		if gcode != code {
			t.Fatalf("the Upgrader says %v, the Gate %v of\n%q", err, gerr, head)
		}
		if err != nil {
			return
		}
		if string(h.Ticket.Payload()) != string(ticket.Payload()) {
			t.Fatalf("two tickets in\n%q", head)
		}
		target := string(h.Path())
		if clean.URL.Host != "" { // of a target in absolute-form, which stays one
			if u, err := url.Parse(clean.RequestURI); err != nil || !strings.EqualFold(u.Scheme, clean.URL.Scheme) || u.Host != string(h.Host()) {
				t.Fatalf("RequestURI %q of\n%q", clean.RequestURI, head)
			}
			clean.RequestURI = clean.URL.RequestURI()
			if p, _, _ := strings.Cut(clean.RequestURI, "?"); p == clean.URL.EscapedPath() {
				clean.RequestURI = target + strings.TrimPrefix(clean.RequestURI, p) // which spells the path in its own way
			}
		}
		if q := string(h.Query()); q != "" {
			target += "?" + q
		}
		if clean.RequestURI != target && clean.RequestURI != target+"?" {
			t.Fatalf("target %q here, %q behind the Gate, of\n%q", target, clean.RequestURI, head)
		}
		if got, want := string(h.Header("Cookie")), clean.Header.Get("Cookie"); got != want {
			t.Fatalf("Cookie %q here, %q behind the Gate, of\n%q", got, want, head)
		}
		if got, want := string(h.Header("Sec-WebSocket-Protocol")), clean.Header.Get("Sec-WebSocket-Protocol"); got != want {
			t.Fatalf("Sec-WebSocket-Protocol %q here, %q behind the Gate, of\n%q", got, want, head)
		}
		for _, left := range []string{clean.RequestURI, clean.URL.RawQuery, clean.Header.Get("Cookie"), clean.Header.Get("Authorization"), strings.Join(clean.Header["Sec-Websocket-Protocol"], " ")} {
			if strings.Contains(left, string(h.Ticket.ID())) && len(h.Ticket.ID()) > 20 {
				t.Fatalf("the ticket is left in %q", left)
			}
		}
	})
}

// differences are all that the Gate takes and the Upgrader refuses: what net/http
// takes and hides before a handler can see it. docs/upgrading.md has the same list.
var differences = []struct {
	name  string
	fault head.Fault // what the Upgrader says; NoFault for what is no fault of the head
	head  string     // an example
	holds func(head string) bool
}{
	{"lines that end in LF alone", head.BadRequestLine, strings.Replace(request("/?ticket=$T"), "\r\n", "\n", 1), endsInLF},
	{"lines that end in LF alone", head.BadHeaderLine, strings.Replace(request("/?ticket=$T", "A: b"), "b\r\n", "b\n", 1), endsInLF},
	{"folded lines", head.BadHeaderLine, request("/?ticket=$T", "A: b", " c: d"), foldedLine.MatchString},
	{"Content-Length: 0 twice", head.HasBody, request("/?ticket=$T", "Content-Length: 0", "Content-Length: 0"), saysNothingTwice},
	{"a URL as the target, whatever the Host header is", head.OtherHost, request("http://other.example/?ticket=$T"), isURL},
	{"a URL as the target, whatever the Host header is", head.BadHost, strings.Replace(request("http://other.example/?ticket=$T"), "Host: gw.example", "Host: a/b", 1), isURL},
	{"a URL as the target, whatever the Host header is", head.NoHost, strings.Replace(request("http://gw.example/?ticket=$T"), "Host: gw.example\r\n", "", 1), isURL}, // http.Server refuses it
	{"more header lines than MaxHeaders", head.TooManyFields, request("/?ticket=$T", strings.Repeat("a: b\r\n", 59)+"a: b"), func(string) bool { return true }},
	{"heads longer than HeadBytes", head.TooLong, request("/?ticket=$T", "A: "+strings.Repeat("a", defaultHeadBytes)), func(head string) bool { return len(head) > defaultHeadBytes }},
	{"bytes behind the head", head.NoFault, request("/?ticket=$T") + "\x81", func(head string) bool { return !strings.HasSuffix(head, "\r\n\r\n") }},
}

var (
	loneLF     = regexp.MustCompile(`(^|[^\r])\n`)
	noLength   = regexp.MustCompile(`(?i)\ncontent-length:[ \t]*0[ \t]*\r`)
	urlTarget  = regexp.MustCompile(`^GET (?i:https?)://`)
	oddHost    = regexp.MustCompile(`^GET (?i:https?)://[^/? ]*[\[\]:]`)
	foldedLine = regexp.MustCompile(`\n[ \t]`)
)

func endsInLF(head string) bool         { return loneLF.MatchString(head) }
func isURL(head string) bool            { return urlTarget.MatchString(head) }
func hasBracket(head string) bool       { return oddHost.MatchString(head) }
func saysNothingTwice(head string) bool { return len(noLength.FindAllString(head, -1)) > 1 }

// differenceIn finds the one that explains a head, or nil.
func differenceIn(text string) *string {
	var h head.Head
	h.Reset(defaultMaxHeaders)
	fault := head.TooLong
	if cut := text[:min(len(text), defaultHeadBytes)]; h.Scan([]byte(cut)) {
		fault = h.Fault()
	}
	for i := range differences {
		if d := &differences[i]; d.fault == fault && d.holds(text) {
			return &d.name
		}
	}
	return nil
}

// Each difference is one: the Upgrader refuses the example and the Gate takes it.
func TestDifferences(t *testing.T) {
	ways := threeWays(t, nil)
	page := readDoc(t, "docs/upgrading.md")
	for _, c := range differences {
		for _, w := range ways[:2] {
			want := Error(0)
			if w.name == "Upgrader" {
				want = ErrBadHandshake
				if c.fault == head.TooLong || c.fault == head.TooManyFields {
					want = ErrHeadTooLarge
				}
			}
			w.wants(t, c.name, c.head, want, Claims{})
		}
		if name := differenceIn(strings.Replace(c.head, "$T", "x", 1)); name == nil || *name != c.name {
			t.Errorf("%s: the example is explained by %v", c.name, name)
		}
		if !strings.Contains(page, "- "+c.name) {
			t.Errorf("docs/upgrading.md does not list %q", c.name)
		}
	}
}

type guardFunc func(Use) error

func (g guardFunc) Spend(_ context.Context, s Use) error   { return g(s) }
func (g guardFunc) Covers() (maxTTL, leeway time.Duration) { return time.Hour, time.Hour }

// sameAsGobwas has gobwas upgrade a head that was accepted with this answer.
func sameAsGobwas(t *testing.T, head string, h *Handshake, answer []byte) {
	t.Helper()
	conn := newMemConn([]byte(head))
	hs, err := ws.Upgrader{
		ReadBufferSize: len(head) + 16,
		Protocol:       func(p []byte) bool { return string(p) == "app.v1" || string(p) == "app.v2" },
	}.Upgrade(conn)
	if errors.Is(err, ws.ErrHandshakeBadConnection) && connections(h) > 1 {
		return // it wants upgrade in each of them
	}
	if err != nil || hs.Protocol != h.Protocol || !bytes.Equal(conn.out, answer) {
		t.Fatalf("gobwas: %v, protocol %q, %q; here protocol %q, %q, of\n%q", err, hs.Protocol, conn.out, h.Protocol, answer, head)
	}
}

func connections(h *Handshake) (n int) {
	for name := range h.Headers() {
		if strings.EqualFold(string(name), "Connection") {
			n++
		}
	}
	return n
}
