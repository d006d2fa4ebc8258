package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/wsticket/wsticket"
)

func verify(e *env, f *flags) error {
	var audiences, issuers list
	path := f.String("keys", "", "keyring file")
	f.Var(&audiences, "aud", "an audience to be; may be given more than once")
	f.Var(&issuers, "iss", "an issuer to trust; may be given more than once")
	at := f.String("at", "", "the time to check at, in seconds since 1970 (default: now)")
	maxTTL := f.Duration("max-ttl", wsticket.DefaultMaxTTL, "the longest time between iat and exp")
	leeway := f.Duration("leeway", wsticket.DefaultLeeway, "what clocks may differ by")
	origin := f.String("origin", "", "Origin of the handshake")
	requestPath := f.String("path", "", "path of the handshake's request target")
	ip := f.String("ip", "", "address of the peer")
	if ok, err := f.parse(e, 1); !ok {
		return err
	}
	if err := f.require("keys"); err != nil {
		return err
	}
	now := e.now
	if f.given("at") {
		seconds, err := strconv.ParseUint(*at, 10, 50)
		if err != nil {
			return f.wrong("-at is %q: give a whole number of seconds since 1970", *at)
		}
		now = func() time.Time { return time.Unix(int64(seconds), 0) }
	}
	if *leeway < 0 {
		return f.wrong("-leeway is %v: give 0s or more", *leeway)
	}
	if *leeway == 0 {
		*leeway = wsticket.NoLeeway
	}
	if *maxTTL <= 0 {
		return f.wrong("-max-ttl is %v: give 1s or more", *maxTTL)
	}
	request := wsticket.Request{Origin: []byte(*origin), Path: []byte(*requestPath)}
	if *ip != "" {
		var err error
		if request.Addr, err = netip.ParseAddr(*ip); err != nil {
			return f.wrong("-ip is %q: give the address of a peer", *ip)
		}
	}
	keys, err := wsticket.LoadKeyring(*path)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{
		Keys:      keys,
		Replay:    wsticket.DangerouslyAllowReplay, // nothing is spent here
		Audiences: audiences,
		Issuers:   issuers,
		MaxTTL:    *maxTTL,
		Leeway:    *leeway,
	})
	if err != nil {
		return f.wrong("%v", err)
	}
	e.warnOfReaders(*path)

	// With one of the three given, the others count as what the handshake had
	// not: a ticket bound to them is refused, as a gateway would refuse it.
	bound := f.given("origin") || f.given("path") || f.given("ip")
	var ticket wsticket.Ticket
	check := func(text []byte) error {
		if !bound {
			return verifier.PeekUnboundAt(now(), text, &ticket)
		}
		request.Ticket = text
		return verifier.PeekAt(now(), request, &ticket)
	}
	if f.Arg(0) == "-" {
		return e.eachLine(func(text []byte) (string, bool) {
			if err := check(text); err != nil {
				return code(err), false
			}
			return "ok " + compact(ticket.Payload()), true
		})
	}
	if err := check([]byte(f.Arg(0))); err != nil {
		fmt.Fprintln(e.stderr, code(err))
		return errRefused
	}
	_, err = fmt.Fprintln(e.stdout, visible(string(ticket.Payload())))
	return err
}
