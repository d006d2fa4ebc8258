package wsticket

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
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
	} {
		f.Add([]byte(head))
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
	gate := newGate(f, d, nil)
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
		if code == ErrHeadTooLarge || err != nil && code == 0 || code == ErrBadHandshake && err != errBadProtocols && err != errNoProtocol {
			return // no handshake to the Upgrader
		}
		r := parsed(head)
		if r == nil {
			t.Fatalf("the Upgrader says %v, net/http cannot read\n%q", err, head)
		}
		var ticket Ticket
		clean, gerr := gate.judge(r, &details{ticket: &ticket})
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
