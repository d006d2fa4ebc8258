package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/internal/jsonscan"
)

func verify(e *env, f *flags) error {
	var c checks
	c.define(f)
	asJSON := f.Bool("json", false, "answer in JSON, reason included")
	if ok, err := f.parse(e, 1); !ok {
		return err
	}
	if err := c.read(e, f); err != nil {
		return err
	}
	verifier, err := wsticket.NewVerifier(c.config)
	if err != nil {
		return f.wrong("%v", err)
	}
	var ticket wsticket.Ticket
	answer := func(text []byte) (verdict, bool) {
		err := c.explain(verifier, c.now(), text, &ticket)
		return newVerdict(err, ticket.Payload()), err == nil
	}
	switch batch := f.Arg(0) == "-"; {
	case batch && *asJSON:
		return e.eachLine(func(text []byte) (string, bool) {
			v, ok := answer(text)
			return v.json(), ok
		})
	case batch:
		return e.eachLine(func(text []byte) (string, bool) {
			if err := c.peek(verifier, c.now(), text, &ticket); err != nil {
				return code(err), false
			}
			return "ok " + compact(ticket.Payload()), true
		})
	case *asJSON:
		v, ok := answer([]byte(f.Arg(0)))
		if _, err := fmt.Fprintln(e.stdout, v.json()); err != nil || ok {
			return err
		}
		return errRefused
	}
	if err := c.explain(verifier, c.now(), []byte(f.Arg(0)), &ticket); err != nil {
		fmt.Fprintf(e.stderr, "%s: %s\n", code(err), visible(wsticket.ReasonOf(err)))
		return errRefused
	}
	_, err = fmt.Fprintln(e.stdout, visible(string(ticket.Payload())))
	return err
}

// A verdict is what there is to say of one ticket in JSON.
type verdict struct {
	OK     bool            `json:"ok"`
	Code   string          `json:"code,omitempty"`
	Reason string          `json:"reason,omitempty"`
	Claims json.RawMessage `json:"claims,omitempty"`
}

func newVerdict(err error, payload []byte) verdict {
	if err != nil {
		return verdict{Code: code(err), Reason: wsticket.ReasonOf(err)}
	}
	return verdict{OK: true, Claims: payload}
}

func (v verdict) json() string {
	line, err := jsonLine(v)
	if err != nil { // the payload of a ticket that was taken is JSON
		return `{"ok":false}`
	}
	return line
}

// checks are the flags of a verifier and of the handshake that it judges.
type checks struct {
	keys, at, origin, path, ip string
	audiences, issuers, scopes list
	maxTTL, leeway             time.Duration

	config  wsticket.VerifierConfig
	request wsticket.Request // without the ticket
	bound   bool             // one of the three bindings was given
	now     func() time.Time
}

func (c *checks) define(f *flags) {
	f.StringVar(&c.keys, "keys", "", "keyring file; - is standard input")
	f.Var(&c.audiences, "aud", "an audience to be; may be given more than once")
	f.Var(&c.issuers, "iss", "an issuer to trust; may be given more than once")
	f.Var(&c.scopes, "scope", "a scope that is required, or several with spaces between them")
	f.StringVar(&c.at, "at", "", "check as of this time, in seconds since 1970 (default: now)")
	f.DurationVar(&c.maxTTL, "max-ttl", wsticket.DefaultMaxTTL, "the longest time between iat and exp")
	f.DurationVar(&c.leeway, "leeway", wsticket.DefaultLeeway, "what clocks may differ by")
	f.StringVar(&c.origin, "origin", "", "Origin header of the handshake")
	f.StringVar(&c.path, "path", "", "path of the handshake's request target")
	f.StringVar(&c.ip, "ip", "", "address of the peer")
}

// read makes of the flags what a verifier wants.
func (c *checks) read(e *env, f *flags) error {
	if err := f.require("keys"); err != nil {
		return err
	}
	if c.keys == "-" && f.Arg(0) == "-" {
		return f.wrong("-keys and the ticket cannot both come from standard input")
	}
	c.now = e.now
	if f.given("at") {
		seconds, err := strconv.ParseUint(c.at, 10, 50)
		if err != nil || seconds > jsonscan.LatestTime {
			return f.wrong("-at is %q: give a whole number of seconds since 1970, not milliseconds", c.at)
		}
		c.now = func() time.Time { return time.Unix(int64(seconds), 0) }
	}
	if c.leeway < 0 {
		return f.wrong("-leeway is %v: give 0s or more", c.leeway)
	}
	if c.leeway == 0 {
		c.leeway = wsticket.NoLeeway
	}
	if c.maxTTL <= 0 {
		return f.wrong("-max-ttl is %v: give 1s or more", c.maxTTL)
	}
	var scopes []string
	for _, given := range c.scopes {
		words := strings.Fields(given)
		if len(words) == 0 {
			return f.wrong("-scope is empty: give a scope or leave it out")
		}
		scopes = append(scopes, words...)
	}
	c.bound = f.given("origin") || f.given("path") || f.given("ip")
	c.request = wsticket.Request{Origin: []byte(c.origin), Path: []byte(c.path)}
	if c.ip != "" {
		var err error
		if c.request.Addr, err = netip.ParseAddr(c.ip); err != nil {
			return f.wrong("-ip is %q: give the address of a peer", c.ip)
		}
	}
	keys, err := e.loadKeyring(c.keys)
	if err != nil {
		return fmt.Errorf("%s: %w", f.command.name, err)
	}
	e.warnOfReaders(c.keys)
	c.config = wsticket.VerifierConfig{
		Keys:          keys,
		Replay:        wsticket.DangerouslyAllowReplay, // nothing is spent here
		Audiences:     c.audiences,
		Issuers:       c.issuers,
		RequireScopes: scopes,
		MaxTTL:        c.maxTTL,
		Leeway:        c.leeway,
	}
	return nil
}

// explain judges a ticket. With one of the three bindings given, the others count as
// what the handshake did not show: a ticket bound to them is refused, as a gateway
// would refuse it.
func (c *checks) explain(v *wsticket.Verifier, now time.Time, text []byte, t *wsticket.Ticket) error {
	if !c.bound {
		return v.ExplainUnboundAt(now, text, t)
	}
	r := c.request
	r.Ticket = text
	return v.ExplainAt(now, r, t)
}

// peek does the same and says less.
func (c *checks) peek(v *wsticket.Verifier, now time.Time, text []byte, t *wsticket.Ticket) error {
	if !c.bound {
		return v.PeekUnboundAt(now, text, t)
	}
	r := c.request
	r.Ticket = text
	return v.PeekAt(now, r, t)
}
