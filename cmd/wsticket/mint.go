package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wsticket/wsticket"
)

func mint(e *env, f *flags) error {
	var audiences, members list
	path := f.String("keys", "", "keyring file; - is standard input")
	subject := f.String("sub", "", "whom the ticket is for")
	ttl := f.Duration("ttl", wsticket.DefaultTTL, "how long it lives")
	f.Var(&audiences, "aud", "an audience it is for; may be given more than once")
	issuer := f.String("iss", "", "who issues it")
	scope := f.String("scope", "", "what it allows: scopes, with spaces between them")
	session := f.String("sid", "", "the session it belongs to")
	origin := f.String("origin", "", "the Origin it is bound to")
	requestPath := f.String("path", "", "the path it is bound to; /a/* is all below /a/")
	ip := f.String("ip", "", "the address or prefix it is bound to")
	f.Var(&members, "claim", "another member, as name=JSON; may be given more than once")
	if ok, err := f.parse(e, 0); !ok {
		return err
	}
	if err := f.require("keys", "sub"); err != nil {
		return err
	}
	// A shell variable that is not set must not turn a bound ticket into one that
	// is good everywhere.
	for _, name := range []string{"iss", "scope", "sid", "origin", "path", "ip"} {
		if f.given(name) && f.Lookup(name).Value.String() == "" {
			return f.wrong("-%s is empty: give a value or leave it out", name)
		}
	}
	if *ttl < time.Second || *ttl%time.Second != 0 {
		return f.wrong("-ttl is %v: give whole seconds, 1s or more", *ttl)
	}
	var extra []wsticket.Member
	for _, member := range members {
		name, value, found := strings.Cut(member, "=")
		if !found {
			return f.wrong("-claim is %q: give name=JSON, a string as name='\"text\"'", member)
		}
		if !json.Valid([]byte(value)) {
			return f.wrong("-claim is %q: behind the = is not a JSON value; a text is name='\"text\"'", member)
		}
		extra = append(extra, wsticket.Member{Name: name, JSON: []byte(value)})
	}
	keys, err := e.loadKeyring(*path)
	if err != nil {
		return fmt.Errorf("mint: %w", err)
	}
	if !slices.ContainsFunc(keys.Keys(), func(k wsticket.Key) bool {
		return k.Signs && (k.Expires.IsZero() || k.Expires.After(e.now()))
	}) {
		return fmt.Errorf("mint: %s: no key signs now or later: rotate it with \"wsticket keys rotate\"", *path)
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{
		Keys:      keys,
		TTL:       *ttl,
		MaxTTL:    max(*ttl, wsticket.DefaultMaxTTL),
		Issuer:    *issuer,
		Audiences: audiences,
	})
	if err != nil {
		return f.wrong("%v", err)
	}
	ticket, err := signer.SignAt(e.now(), &wsticket.Claims{
		Subject:   *subject,
		Scope:     *scope,
		SessionID: *session,
		Origin:    *origin,
		Path:      *requestPath,
		IP:        *ip,
		Extra:     extra,
	})
	switch {
	case errors.Is(err, wsticket.ErrNoSigningKey):
		return fmt.Errorf("mint: %s: %w", *path, err)
	case err != nil:
		return f.wrong("%v", err)
	}
	e.warnOfReaders(*path)
	if *ttl > wsticket.DefaultMaxTTL {
		e.warn("-ttl is %v: verifiers refuse more than %v unless they are told otherwise", *ttl, wsticket.DefaultMaxTTL)
	}
	_, err = fmt.Fprintln(e.stdout, ticket)
	return err
}
