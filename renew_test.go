package wsticket_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/wstickettest"
)

func TestRenew(t *testing.T) {
	now := time.Unix(1_795_219_200, 0)
	kit := wstickettest.New(t, wsticket.VerifierConfig{})
	r := wsticket.Request{Origin: []byte("https://app.example"), Path: []byte("/ws"), Addr: netip.MustParseAddr("192.0.2.7")}
	renew := func(now time.Time, live *wsticket.Ticket, text string) (*wsticket.Ticket, string) {
		t.Helper()
		fresh := new(wsticket.Ticket)
		with := r
		with.Ticket = []byte(text)
		if text == "" {
			with.Ticket = nil
		}
		err := kit.Verifier.RenewAt(context.Background(), now, with, live, fresh)
		if err == nil {
			return fresh, "ok"
		}
		if fresh.Payload() == nil || len(fresh.Payload()) > 0 {
			t.Errorf("after a refusal the ticket holds %q", fresh.Payload())
		}
		code, _ := wsticket.CodeOf(err)
		return fresh, code.Code()
	}
	open := func(claims wsticket.Claims) *wsticket.Ticket {
		t.Helper()
		live := new(wsticket.Ticket)
		with := r
		with.Ticket = []byte(kit.Mint(now, claims))
		if err := kit.Verifier.RedeemAt(context.Background(), now, with, live); err != nil {
			t.Fatal(err)
		}
		return live
	}
	ada := wsticket.Claims{Subject: "ada", SessionID: "s", SessionExpires: now.Add(time.Minute), Scope: "read write"}
	live := open(ada)
	without := open(wsticket.Claims{Subject: "ada"})

	later := now.Add(50 * time.Second)
	more := ada
	more.SessionExpires, more.Scope = later.Add(time.Minute), "read"
	for _, c := range []struct {
		name   string
		live   *wsticket.Ticket
		change func(*wsticket.Claims)
		want   string
	}{
		{"the same", live, func(c *wsticket.Claims) {}, "ok"},
		{"no end any more", live, func(c *wsticket.Claims) { c.SessionExpires = time.Time{} }, "ok"},
		{"bound, and it holds", live, func(c *wsticket.Claims) { c.Origin, c.Path, c.IP = "https://app.example", "/*", "192.0.2.0/24" }, "ok"},
		{"neither has a session", without, func(c *wsticket.Claims) { c.SessionID = "" }, "ok"},
		{"another subject", live, func(c *wsticket.Claims) { c.Subject = "bob" }, "unauthorized"},
		{"a longer subject", live, func(c *wsticket.Claims) { c.Subject = "adas" }, "unauthorized"},
		{"another session", live, func(c *wsticket.Claims) { c.SessionID = "t" }, "unauthorized"},
		{"no session", live, func(c *wsticket.Claims) { c.SessionID = "" }, "unauthorized"},
		{"a session where there was none", without, func(c *wsticket.Claims) {}, "unauthorized"},
		{"subject and session swapped", open(wsticket.Claims{Subject: "s", SessionID: "ada"}), func(c *wsticket.Claims) {}, "unauthorized"},
		{"no live ticket", nil, func(c *wsticket.Claims) {}, "unauthorized"},
		{"an empty live ticket", new(wsticket.Ticket), func(c *wsticket.Claims) {}, "unauthorized"},
		{"bound to another page", live, func(c *wsticket.Claims) { c.Origin = "https://other.example" }, "origin"},
		{"bound to another room", live, func(c *wsticket.Claims) { c.Path = "/other" }, "path"},
		{"bound to another address", live, func(c *wsticket.Claims) { c.IP = "192.0.2.8" }, "ip"},
	} {
		claims := more
		c.change(&claims)
		text := kit.Mint(later, claims)
		fresh, got := renew(later, c.live, text)
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if got == "ok" {
			if !fresh.SessionExpires().Equal(claims.SessionExpires) || string(fresh.Scope()) != "read" {
				t.Errorf("%s: until %v, scope %q", c.name, fresh.SessionExpires(), fresh.Scope())
			}
			if _, again := renew(later, c.live, text); again != "replayed" {
				t.Errorf("%s: the second time %s", c.name, again)
			}
		} else if c.want == "unauthorized" {
			if verdict := kit.VerdictOn(later, wsticket.Request{Ticket: []byte(text), Origin: r.Origin, Path: r.Path, Addr: r.Addr}); verdict != "ok" {
				t.Errorf("%s: the ticket that was refused is %s", c.name, verdict)
			}
		}
	}
	for name, c := range map[string]struct{ text, want string }{
		"none":              {"", "missing"},
		"rubbish":           {"x", "malformed"},
		"of the connection": {kit.Mint(now, ada), "expired"},
		"tampered":          {wstickettest.Tamper(kit.Mint(later, more)), "bad_signature"},
	} {
		if _, got := renew(later, live, c.text); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	with := r
	with.Ticket = []byte(kit.Mint(later, more))
	if err := kit.Verifier.RenewAt(context.Background(), later, with, live, live); !errors.Is(err, wsticket.ErrUnauthorized) {
		t.Errorf("by itself: %v", err)
	} else if string(live.Subject()) != "ada" {
		t.Error("the live ticket is gone")
	}
}

// TestRenewPath: a Gate refuses a ticket with a path where the request's path means
// another one to some routers, and so does Renew on such a connection.
func TestRenewPath(t *testing.T) {
	now := time.Unix(1_795_219_200, 0)
	kit := wstickettest.New(t, wsticket.VerifierConfig{})
	live, fresh := new(wsticket.Ticket), new(wsticket.Ticket)
	claims := wsticket.Claims{Subject: "ada"}
	r := wsticket.Request{Ticket: []byte(kit.Mint(now, claims)), Path: []byte("/a/..;/b")}
	if err := kit.Verifier.RedeemAt(t.Context(), now, r, live); err != nil {
		t.Fatal(err)
	}
	claims.Path = "/a/*"
	r.Ticket = []byte(kit.Mint(now, claims))
	if err := kit.Verifier.RenewAt(t.Context(), now, r, live, fresh); !errors.Is(err, wsticket.ErrPath) {
		t.Errorf("%v", err)
	}
	r.Path = []byte("/a/b")
	if err := kit.Verifier.RenewAt(t.Context(), now, r, live, fresh); err != nil {
		t.Errorf("then on another connection: %v", err)
	}
}
