package wsticket

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/wsticket/wsticket/internal/claims"
)

// A Ticket is a ticket that was verified. It owns its bytes, about 3 KB, and may
// be used again for the next one; it must not be used by two goroutines at once
// while it is being filled. The zero Ticket is ready to be filled, and it is
// zero again after any refusal.
//
// The []byte that its methods return are views of it: valid until it is filled
// again, not to be changed. A claim that the ticket does not have is nil.
//
// A Ticket redacts itself in fmt, slog and JSON. Go calls no methods of unexported
// fields, so a struct that gets printed should have a *Ticket there, which shows as an
// address, and not a Ticket.
type Ticket struct {
	set     claims.Set
	id      [16]byte // of the MAC: the ticket's identity
	payload int      // length

	key        [64]byte
	keyLen     int
	keyExpires int64

	fault claims.Fault // of a payload that was refused; its spans are of buf

	buf [claims.BufferLen]byte
}

// reset clears what is in use.
func (t *Ticket) reset() {
	clear(t.buf[:max(t.set.Used, t.payload)])
	t.set = claims.Set{}
	t.id = [16]byte{}
	t.payload = 0
	clear(t.key[:t.keyLen])
	t.keyLen = 0
	t.keyExpires = 0
	t.fault = claims.Fault{}
}

// KeyID is the kid of the key that signed.
func (t *Ticket) KeyID() []byte { return t.key[:t.keyLen:t.keyLen] }

// ID is jti, the nonce.
func (t *Ticket) ID() []byte { return t.text(claims.JTI, t.set.JTI) }

// Subject is sub: the user that the application authenticated.
func (t *Ticket) Subject() []byte { return t.text(claims.Subject, t.set.Subject) }

// Issuer is iss.
func (t *Ticket) Issuer() []byte { return t.text(claims.Issuer, t.set.Issuer) }

// Scope is scope, a list separated by spaces ([RFC 8693 section 4.2]).
//
// [RFC 8693 section 4.2]: https://www.rfc-editor.org/rfc/rfc8693#section-4.2
func (t *Ticket) Scope() []byte { return t.text(claims.Scope, t.set.Scope) }

// SessionID is sid, the session that the ticket was minted in.
func (t *Ticket) SessionID() []byte { return t.text(claims.SessionID, t.set.SessionID) }

// Origin is the Origin that the ticket is bound to.
func (t *Ticket) Origin() []byte { return t.text(claims.Origin, t.set.Origin) }

// Path is the path, or with /* at its end the tree, that the ticket is bound to.
func (t *Ticket) Path() []byte { return t.text(claims.Path, t.set.Path) }

// Audiences yields aud, in order.
func (t *Ticket) Audiences() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for at := 0; ; {
			audience, next, ok := t.set.NextAudience(t.buf[:], at)
			if !ok || !yield(audience) {
				return
			}
			at = next
		}
	}
}

// IssuedAt is iat.
func (t *Ticket) IssuedAt() time.Time { return t.time(claims.IssuedAt, t.set.IssuedAt) }

// Expires is exp.
func (t *Ticket) Expires() time.Time { return t.time(claims.Expires, t.set.Expires) }

// NotBefore is nbf, or the zero time.
func (t *Ticket) NotBefore() time.Time { return t.time(claims.NotBefore, t.set.NotBefore) }

// SessionExpires is session_exp, which the connection must not outlive, or the
// zero time.
func (t *Ticket) SessionExpires() time.Time {
	return t.time(claims.SessionExpires, t.set.SessionExpires)
}

// Claim returns the JSON of a top-level member of the payload as it was signed,
// and whether there is one. It serves the members that the format leaves to the
// application.
func (t *Ticket) Claim(name string) ([]byte, bool) {
	if t.payload == 0 {
		return nil, false
	}
	return claims.Member(t.Payload(), name)
}

// Payload is the claims set as it was signed.
func (t *Ticket) Payload() []byte { return t.buf[:t.payload:t.payload] }

// Clone returns a copy that shares nothing with t.
func (t *Ticket) Clone() *Ticket {
	c := &Ticket{set: t.set, id: t.id, payload: t.payload, key: t.key, keyLen: t.keyLen, keyExpires: t.keyExpires}
	copy(c.buf[:t.set.Used], t.buf[:])
	return c
}

// Context returns a context that ends with session_exp, or with ctx where the
// ticket has none.
func (t *Ticket) Context(ctx context.Context) (context.Context, context.CancelFunc) {
	if end := t.SessionExpires(); !end.IsZero() {
		return context.WithDeadline(ctx, end)
	}
	return context.WithCancel(ctx)
}

func (t *Ticket) text(claim claims.Present, at claims.Span) []byte {
	if t.set.Has&claim == 0 {
		return nil
	}
	end := int(at.Off) + int(at.Len)
	return t.buf[at.Off:end:end]
}

func (t *Ticket) time(claim claims.Present, seconds int64) time.Time {
	if t.set.Has&claim == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

const redactedTicket = "wsticket.Ticket(redacted)"

// String says that the ticket is not shown.
func (t Ticket) String() string { return redactedTicket }

// Format redacts the ticket under every verb.
func (t Ticket) Format(f fmt.State, _ rune) { f.Write([]byte(redactedTicket)) }

// LogValue redacts the ticket in slog.
func (t Ticket) LogValue() slog.Value { return slog.StringValue(redactedTicket) }

// MarshalText redacts the ticket in JSON and in every other encoding of text.
func (t Ticket) MarshalText() ([]byte, error) { return []byte(redactedTicket), nil }
