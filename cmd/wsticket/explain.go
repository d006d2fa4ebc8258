package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/internal/inspect"
	"github.com/wsticket/wsticket/internal/quote"
)

func explain(e *env, f *flags) error {
	var c checks
	c.define(f)
	asJSON := f.Bool("json", false, "answer in JSON")
	if ok, err := f.parse(e, 1); !ok {
		return err
	}
	if err := c.read(e, f); err != nil {
		return err
	}
	if _, err := wsticket.NewVerifier(c.config); err != nil {
		return f.wrong("%v", err)
	}
	switch batch := f.Arg(0) == "-"; {
	case batch:
		return e.eachLine(func(text []byte) (string, bool) {
			x := c.everyRule(text)
			if *asJSON {
				return x.json(), x.OK
			}
			return x.line(), x.OK
		})
	default:
		x := c.everyRule([]byte(f.Arg(0)))
		var err error
		if *asJSON {
			_, err = fmt.Fprintln(e.stdout, x.json())
		} else {
			_, err = e.stdout.Write(x.text())
		}
		if err != nil || x.OK {
			return err
		}
		return errRefused
	}
}

// An explanation is all that can be said of one ticket.
type explanation struct {
	OK      bool         `json:"ok"`
	Refused []brokenRule `json:"refused,omitempty"` // in the order of the checks; the first is what a gateway says
	Notes   []string     `json:"notes"`             // what was not looked at
}

// A brokenRule is one reason to refuse a ticket.
type brokenRule struct {
	Code   string `json:"code"`
	Reason string `json:"reason"`
	Change string `json:"change"`
}

func (x *explanation) json() string {
	line, err := jsonLine(x)
	if err != nil { // it is all strings
		return `{"ok":false}`
	}
	return line
}

// text is for a person.
func (x *explanation) text() []byte {
	var b strings.Builder
	if x.OK {
		b.WriteString("accepted\n")
	}
	for i, rule := range x.Refused {
		if i > 0 {
			b.WriteString("\nalso ")
		}
		fmt.Fprintf(&b, "refused as %s: %s\n  change: %s\n", rule.Code, rule.Reason, rule.Change)
	}
	b.WriteByte('\n')
	for _, note := range x.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	return []byte(visible(b.String()))
}

// line is for a person who gave many tickets.
func (x *explanation) line() string {
	if x.OK {
		return "accepted, single use aside"
	}
	var rules []string
	for _, rule := range x.Refused {
		rules = append(rules, fmt.Sprintf("refused as %s: %s; change: %s", rule.Code, rule.Reason, rule.Change))
	}
	return visible(strings.Join(rules, "; also "))
}

// everyRule finds every rule that the ticket breaks. When one is broken, it goes on
// with a verifier and a handshake for which that rule is kept. It ends when no more can
// be known: a fault before the claims could be read hides the rest.
func (c *checks) everyRule(text []byte) *explanation {
	config, request, bound, now := c.config, c.request, c.bound, c.now()
	request.Ticket = text
	x := &explanation{OK: true}
	claims := readClaims(text)
	seen := make(map[string]bool)
	var ticket wsticket.Ticket
	for {
		verifier, err := wsticket.NewVerifier(config)
		if err != nil {
			break // what the ticket would need is more than a verifier can be set to
		}
		if bound {
			err = verifier.ExplainAt(now, request, &ticket)
		} else {
			err = verifier.ExplainUnboundAt(now, text, &ticket)
		}
		if err == nil {
			break
		}
		rule := brokenRule{Code: code(err), Reason: wsticket.ReasonOf(err)}
		if seen[rule.Code] {
			break // it cannot be passed over
		}
		seen[rule.Code] = true
		x.OK = false
		var next bool
		rule.Change, next = c.change(err, claims, &config, &request, &now)
		x.Refused = append(x.Refused, rule)
		if !next {
			break
		}
	}
	x.Notes = append(x.Notes, "single use is not known here: a gateway also refuses a ticket that was used before (replayed), and those from before its start (issued_before_start)")
	if x.OK || ticketRead(x) {
		x.Notes = append(x.Notes, c.unchecked(claims)...)
	}
	return x
}

// ticketRead says whether the claims were read, so that what they say counts.
func ticketRead(x *explanation) bool {
	switch x.Refused[0].Code {
	case wsticket.ErrMalformed.Code(), wsticket.ErrUnknownKey.Code(), wsticket.ErrBadSignature.Code():
		return false
	}
	return true
}

// unchecked says which bindings of the ticket were not compared with anything.
func (c *checks) unchecked(claims ticketClaims) (notes []string) {
	if !c.bound {
		for _, b := range []struct{ flag, value string }{{"origin", claims.Origin}, {"path", claims.Path}, {"ip", claims.IP}} {
			if b.value != "" {
				notes = append(notes, fmt.Sprintf("the ticket is bound to the %s %s, and the handshake is not known: give -%s to check it", b.flag, quoted([]string{b.value}), b.flag))
			}
		}
	}
	return append(notes, "a gateway also compares the Origin of the handshake with its own list, which this command does not have")
}

// ticketClaims are the claims that a change of the verifier may concern.
type ticketClaims struct {
	Issued, Expires, NotBefore, SessionEnds int64
	Audience                                []string
	Issuer, Scope, Origin, Path, IP         string
}

// readClaims reads what it can. It is used when the MAC is known to be right.
func readClaims(text []byte) (c ticketClaims) {
	r := inspect.Read(text, wsticket.MaxTicketLen)
	// By their names to the letter, which encoding/json does not hold to. Of what is no
	// claims set nothing is used: the verifier says so.
	var members map[string]json.RawMessage
	json.Unmarshal(r.Payload.Decoded, &members)
	for name, into := range map[string]*string{"iss": &c.Issuer, "scope": &c.Scope, "origin": &c.Origin, "path": &c.Path, "ip": &c.IP} {
		json.Unmarshal(members[name], into)
	}
	if one := ""; json.Unmarshal(members["aud"], &one) == nil {
		c.Audience = []string{one}
	} else {
		json.Unmarshal(members["aud"], &c.Audience)
	}
	c.Issued, _ = r.Time("iat")
	c.Expires, _ = r.Time("exp")
	c.NotBefore, _ = r.Time("nbf")
	c.SessionEnds, _ = r.Time("session_exp")
	return c
}

// change says what to do about a refusal, and alters the verifier and the handshake
// so that the next fault shows. False means that there is none to find.
func (c *checks) change(err error, t ticketClaims, config *wsticket.VerifierConfig, r *wsticket.Request, now *time.Time) (advice string, next bool) {
	switch {
	case errors.Is(err, wsticket.ErrUnknownKey):
		return "give the keyring that the minter signs with: compare \"wsticket keys list\" on both sides. A key that expired or was revoked stays away; mint a new ticket", false
	case errors.Is(err, wsticket.ErrBadSignature):
		return "give the minter and this keyring the same bytes as secret of that kid: compare \"wsticket keys fingerprint\", and look at \"keys import -encoding\" if one side has the secret as text, base64 or hex. If the secret is the same, the ticket was changed on its way", false
	case errors.Is(err, wsticket.ErrTTLTooLong):
		config.MaxTTL = time.Duration(t.Expires-t.Issued) * time.Second
		return fmt.Sprintf("mint it for %s or less (exp - iat), or let the verifier take more (VerifierConfig.MaxTTL, here -max-ttl)", brief(c.maxTTL)), true
	case errors.Is(err, wsticket.ErrNotYetValid), errors.Is(err, wsticket.ErrExpired):
		was := now.Unix()
		*now = time.Unix(max(t.Issued, t.NotBefore), 0)
		return timeAdvice(err, t, was), true
	case errors.Is(err, wsticket.ErrAudience):
		config.Audiences = t.Audience
		switch {
		case len(t.Audience) == 0:
			return fmt.Sprintf("mint it with aud %s (SignerConfig.Audiences), or take all audiences from the verifier (VerifierConfig.Audiences, here -aud)", quoted(c.audiences)), true
		case len(c.audiences) == 0:
			return fmt.Sprintf("say which audience this verifier is (VerifierConfig.Audiences, here -aud): a ticket that names one is refused by a verifier that is none; this one names %s", quoted(t.Audience)), true
		}
		return fmt.Sprintf("mint it with aud %s (SignerConfig.Audiences), or make the verifier %s (VerifierConfig.Audiences, here -aud), letter for letter", quoted(c.audiences), quoted(t.Audience)), true
	case errors.Is(err, wsticket.ErrIssuer):
		config.Issuers = nil
		if t.Issuer == "" {
			return fmt.Sprintf("mint it with iss %s (SignerConfig.Issuer)", quoted(c.issuers)), true
		}
		return fmt.Sprintf("mint it with iss %s (SignerConfig.Issuer), or trust %s too (VerifierConfig.Issuers, here -iss)", quoted(c.issuers), quoted([]string{t.Issuer})), true
	case errors.Is(err, wsticket.ErrScope):
		config.RequireScopes = nil
		return fmt.Sprintf("mint it with scope %q if the user may have all of that, or require less of it (VerifierConfig.RequireScopes, here -scope)", strings.Join(c.config.RequireScopes, " ")), true
	case errors.Is(err, wsticket.ErrOrigin):
		r.Origin = []byte(t.Origin)
		return fmt.Sprintf("open the socket from a page of %s, or mint it with the origin of the page that does: scheme, host and port as location.origin shows them", quoted([]string{t.Origin})), true
	case errors.Is(err, wsticket.ErrPath):
		r.Path = []byte((&url.URL{Path: strings.TrimSuffix(t.Path, "*")}).EscapedPath())
		return fmt.Sprintf("connect to the path %s, or mint it with the path that the gateway sees (a proxy in front may cut a prefix off): /a/* is all below /a/, any other path is itself alone", quoted([]string{t.Path})), true
	case errors.Is(err, wsticket.ErrIP):
		if prefix, err := netip.ParsePrefix(t.IP); err == nil {
			r.Addr = prefix.Addr()
		} else {
			r.Addr, _ = netip.ParseAddr(t.IP)
		}
		return "mint it with the address that the gateway sees: behind a proxy that is the proxy's unless PeerAddr gives the client's, and a client may have one address at the minter and another at the gateway (IPv4 and IPv6, mobile networks)", true
	}
	return malformedAdvice(wsticket.ReasonOf(err)), false
}

// timeAdvice is for a ticket that is not good now.
func timeAdvice(err error, t ticketClaims, now int64) string {
	switch {
	case errors.Is(err, wsticket.ErrNotYetValid):
		from := max(t.Issued, t.NotBefore)
		return fmt.Sprintf("set the clocks of minter and gateway (NTP): the ticket is good from %s, %s, less the leeway. A difference that must be lived with is what Leeway is for (here -leeway)", stamp(from), distance(from-now))
	case strings.HasPrefix(wsticket.ReasonOf(err), "session_exp "):
		return fmt.Sprintf("let the user log in again: the session of this ticket ended at %s, %s", stamp(t.SessionEnds), distance(t.SessionEnds-now))
	}
	return fmt.Sprintf("mint a new one and connect with it at once: it was good for %s, until %s, %s. If it was fresh, the clock of the gateway is ahead of that of the minter (NTP)",
		span(t.Expires-t.Issued), stamp(t.Expires), distance(t.Expires-now))
}

// malformedAdvice goes by what the reason speaks of.
func malformedAdvice(reason string) string {
	rule, _, _ := strings.Cut(reason, ": ") // without the values
	rule, _, _ = strings.Cut(rule, " (")
	for _, a := range []struct{ opens, holds, advice string }{
		{"", "is not an integer of seconds", "mint whole seconds: int(time.time()) in Python, Math.floor(Date.now() / 1000) in JavaScript"},
		{"", "give seconds, not milliseconds", "divide by 1000 where it is minted: Math.floor(Date.now() / 1000) in JavaScript"},
		{"jti is ", "", "give each ticket a jti that no other has: 16 random bytes, as text"},
		{"iat is missing", "", "let the minter set iat, the time of now in seconds: few libraries do so by themselves"},
		{"exp is missing", "", "let the minter set exp, some seconds after iat"},
		{"exp is not after iat", "", "let the minter set exp to iat and some seconds more"},
		{"typ ", "", "let the minter set the header \"typ\":\"ws-ticket+jwt\": headers={...} of PyJWT, header: {...} of jsonwebtoken; most libraries write \"JWT\" unless told"},
		{"kid ", "", "let the minter name its key in the header: \"kid\", as the keyring has it"},
		{"alg is not that of the key", "", "sign with the alg that the keyring has for this kid: see \"wsticket keys list\""},
		{"alg ", "", "sign with HS256, HS384 or HS512, as the keyring has it for the key"},
		{"the header has a member beside", "", "take it out of the header: a ticket has alg, kid and typ there and nothing else"},
		{"", "two dots", "give the ticket alone and whole: three parts with a dot between them, no URL, no \"Bearer\" and no quotes around it"},
		{"the ticket is longer than", "", "put less into the ticket: it goes into a URL, and none is longer than 2048 bytes"},
		{"", "base64url", "give the ticket as it was minted: base64url without padding, no white space, nothing cut off"},
		{"the MAC", "", "give the ticket whole: its last part was cut off or is of another alg"},
		{"duplicate member", "", "write the member once: two readers could take two different ones"},
		{"path ", "", "mint a path that begins with / and is neither a URL nor a pattern but /a/*"},
		{"ip ", "", "mint an address or a prefix: 192.0.2.7 or 192.0.2.0/24"},
	} {
		if strings.HasPrefix(rule, a.opens) && strings.Contains(rule, a.holds) {
			return a.advice
		}
	}
	return "correct it where the ticket is minted: docs/ticket-format.md has the rules, and \"wsticket inspect\" shows each part"
}

// quoted joins values as a sentence does.
func quoted(values []string) string {
	var all []string
	for _, value := range values {
		all = append(all, string(quote.Append(nil, []byte(value), nil)))
	}
	return strings.Join(all, " or ")
}
