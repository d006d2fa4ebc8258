package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/wsticket/wsticket"
)

func mint(e *env, f *flags) error {
	var audiences, members list
	path := f.String("keys", "", "keyring file")
	subject := f.String("sub", "", "whom the ticket is for")
	ttl := f.Duration("ttl", wsticket.DefaultTTL, "how long it lives")
	f.Var(&audiences, "aud", "an audience it is for; may be given more than once")
	issuer := f.String("iss", "", "who issues it")
	scope := f.String("scope", "", "what it allows, separated by spaces")
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
	if *ttl < time.Second {
		return f.wrong("-ttl is %v: give 1s or more", *ttl)
	}
	var extra []wsticket.Member
	for _, member := range members {
		name, value, found := strings.Cut(member, "=")
		if !found {
			return f.wrong("-claim is %q: give name=JSON, a string as name='\"text\"'", member)
		}
		extra = append(extra, wsticket.Member{Name: name, JSON: []byte(value)})
	}
	keys, err := e.loadKeyring(*path)
	if err != nil {
		return fmt.Errorf("mint: %w", err)
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys, TTL: *ttl, Issuer: *issuer, Audiences: audiences})
	if err != nil {
		return fmt.Errorf("mint: %w", err)
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
	if err != nil {
		return fmt.Errorf("mint: %w", err)
	}
	_, err = fmt.Fprintln(e.stdout, ticket)
	return err
}
