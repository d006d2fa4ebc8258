package guardtest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/wsticket/wsticket"
)

// throughVerifier: the guard does its work behind a Verifier, with tickets of a Signer.
func throughVerifier(r *run) {
	guards := r.open(r.nodes())
	var secret [32]byte
	_, _ = rand.Read(secret[:])
	keys, err := wsticket.ParseKeyring(fmt.Appendf(nil, `{"keys":[{"kty":"oct","kid":"guardtest","alg":"HS256","k":"%s"}]}`,
		base64.RawURLEncoding.EncodeToString(secret[:])))
	if err != nil {
		r.Fatal(err)
	}
	leeway := r.Leeway
	if leeway == 0 {
		leeway = wsticket.NoLeeway
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys, TTL: r.MaxTTL, MaxTTL: r.MaxTTL, Leeway: leeway})
	if err != nil {
		r.Fatal(err)
	}
	verifiers := make([]*wsticket.Verifier, len(guards))
	for i, g := range guards {
		if verifiers[i], err = wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: g, MaxTTL: r.MaxTTL, Leeway: leeway}); err != nil {
			r.Fatal(err)
		}
	}
	for i := range 10 {
		now := time.Unix(r.now(), 0)
		text, err := signer.SignAt(now, &wsticket.Claims{Subject: "ada"})
		if err != nil {
			r.Fatal(err)
		}
		var ticket wsticket.Ticket
		if err := verifiers[i%len(verifiers)].RedeemAt(context.Background(), now, wsticket.Request{Ticket: []byte(text)}, &ticket); err != nil {
			r.Errorf("a verifier with this guard refuses a fresh ticket: %v", err)
		}
		for j, v := range verifiers {
			err := v.RedeemAt(context.Background(), now, wsticket.Request{Ticket: []byte(text)}, &ticket)
			if code, _ := wsticket.CodeOf(err); err == nil || code != wsticket.ErrReplayed {
				r.Errorf("a verifier with this guard, shown the ticket again on node %d: %v, want %v", j, err, wsticket.ErrReplayed)
			}
		}
	}
}
