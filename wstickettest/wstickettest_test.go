package wstickettest_test

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/wstickettest"
)

var now = time.Unix(1795219200, 0)

func TestVerdicts(t *testing.T) {
	kit := wstickettest.New(t, wsticket.VerifierConfig{Audiences: []string{"gw"}, Issuers: []string{"mint"}, RequireScopes: []string{"chat"}})
	claims := wsticket.Claims{Subject: "ada", Scope: "chat"}
	ticket := kit.Mint(now, claims)
	for _, step := range []struct {
		ticket string
		after  time.Duration
		want   string
	}{
		{ticket, time.Minute, "expired"},
		{ticket, -time.Minute, "not_yet_valid"},
		{wstickettest.Tamper(ticket), 0, "bad_signature"},
		{wstickettest.Tamper(""), 0, "malformed"},
		{ticket, 0, "ok"},
		{ticket, 0, "replayed"},
		{ticket, time.Second, "replayed"},
		{kit.Mint(now.Add(-time.Hour), claims), -time.Hour, "ok"},
		{kit.Mint(now, wsticket.Claims{Subject: "ada"}), 0, "scope"},
		{kit.Mint(now, wsticket.Claims{Subject: "ada", Scope: "chat", Audiences: []string{"other"}}), 0, "audience"},
		{wstickettest.New(t, wsticket.VerifierConfig{Audiences: []string{"gw"}}).Mint(now, claims), 0, "bad_signature"},
	} {
		if got := kit.Verdict(now.Add(step.after), step.ticket); got != step.want {
			t.Errorf("after %v: %s, want %s", step.after, got, step.want)
		}
	}
	bound := kit.Mint(now, wsticket.Claims{Subject: "ada", Scope: "chat", IP: "192.0.2.1"})
	if got := kit.Verdict(now, bound); got != "ip" {
		t.Errorf("without an address: %s", got)
	}
	if got := kit.VerdictOn(now, wsticket.Request{Ticket: []byte(bound), Addr: netip.MustParseAddr("192.0.2.1")}); got != "ok" {
		t.Errorf("from its address: %s", got)
	}
}

func TestShortMaxTTL(t *testing.T) {
	kit := wstickettest.New(t, wsticket.VerifierConfig{MaxTTL: 5 * time.Second, Leeway: wsticket.NoLeeway})
	ticket := kit.Mint(now, wsticket.Claims{Subject: "ada"})
	if got := kit.Verdict(now.Add(5*time.Second), ticket); got != "expired" {
		t.Errorf("at its end: %s", got)
	}
}

func TestNeverForgetUnderConcurrency(t *testing.T) {
	kit := wstickettest.New(t, wsticket.VerifierConfig{})
	ticket := kit.Mint(now, wsticket.Claims{Subject: "ada"})
	var accepted atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if kit.Verdict(now, ticket) == "ok" {
				accepted.Add(1)
			}
		})
	}
	all.Wait()
	if accepted.Load() != 1 {
		t.Errorf("accepted %d times", accepted.Load())
	}
}
