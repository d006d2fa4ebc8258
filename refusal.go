package wsticket

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/wsticket/wsticket/internal/claims"
	"github.com/wsticket/wsticket/internal/quote"
)

// A Refusal tells the application what was refused and why. The client is told
// the class of the code and nothing else.
//
// It is logged whole, in one line and without secrets, by
//
//	slog.Warn("refused", "refusal", r)
//
// Its slices and its Err are views of the handshake's memory and valid during the call
// only. Clone what is to be kept, or handed to another goroutine.
type Refusal struct {
	Code Error
	// Err says why: "wsticket: malformed: iat is not an integer of seconds
	// (1795219210.53)". It shows the values that were compared; those of the ticket
	// only if its MAC is right. The words are made when Error is called. Values are
	// escaped and cut at 64 bytes, and none has a piece of the ticket in it. An error
	// of Authorize, or of a guard of your own, keeps its text. See also [ReasonOf].
	Err error
	// Remote is the peer's address, where there is a connection to ask.
	Remote net.Addr
	// Addr is the address that a ticket's ip is compared with: what PeerAddr returned,
	// or else that of Remote. An IPv4 address in IPv6 form is plain IPv4 here, and
	// there is no zone. Addr is invalid if there is no address, or if the request was
	// refused before it was looked up.
	Addr netip.Addr

	// KeyID, ID and Subject are kid, jti and sub of a ticket whose MAC is right, else
	// nil. They are what the signer wrote. They do not prove that the client is the
	// user who got the ticket.
	KeyID, ID, Subject []byte
	// Age is now - iat, or zero where ID is nil. If it is negative, or longer than
	// tickets live, the clocks disagree.
	Age time.Duration
}

// Clone returns a copy that shares nothing with r.
func (r Refusal) Clone() Refusal {
	if d, ok := r.Err.(*details); ok {
		r.Err = d.own()
	}
	r.KeyID, r.ID, r.Subject = bytes.Clone(r.KeyID), bytes.Clone(r.ID), bytes.Clone(r.Subject)
	return r
}

// LogValue is one group: code, why, remote, addr, kid, jti, sub and age ("-30s"), as far
// as they are known.
func (r Refusal) LogValue() slog.Value {
	attrs := append(make([]slog.Attr, 0, 8), slog.String("code", r.Code.Code()), slog.String("why", ReasonOf(r.Err)))
	if r.Remote != nil {
		attrs = append(attrs, slog.String("remote", shown(r.Remote.String())))
	}
	if r.Addr.IsValid() {
		attrs = append(attrs, slog.String("addr", r.Addr.String()))
	}
	for _, claim := range []struct {
		name string
		text []byte
	}{{"kid", r.KeyID}, {"jti", r.ID}, {"sub", r.Subject}} {
		if claim.text != nil {
			attrs = append(attrs, slog.String(claim.name, shown(string(claim.text))))
		}
	}
	if r.ID != nil {
		attrs = append(attrs, slog.String("age", r.Age.String()))
	}
	return slog.GroupValue(attrs...)
}

// shown is text as it may be logged: escaped and cut. An address is among it, since the
// zone of one that a middleware took from a header, and the name of a Unix socket, are
// the peer's choice.
func shown(text string) string { return string(quote.AppendBare(nil, []byte(text), nil)) }

// refusal makes one of what was learnt until d.err.
func (d *details) refusal(code Error, remote net.Addr) Refusal {
	r := Refusal{Code: code, Err: d.err, Remote: remote, Addr: judged(d.request.Addr)}
	switch d.err.(type) {
	case Error, *refusalError:
		r.Err = d
	}
	t := d.ticket
	if t.keyLen > 0 {
		r.KeyID = t.KeyID()
		r.ID = t.ID()
		r.Subject = t.Subject()
	}
	if t.set.Has&claims.IssuedAt != 0 {
		r.Age = time.Duration(d.now-t.set.IssuedAt) * time.Second
	}
	return r
}

// method is the first word of the head.
func (h *Handshake) method() []byte {
	word, _, _ := bytes.Cut(h.buf[:h.n], []byte{' '})
	return word
}

func (h *Handshake) lines() int { return len(h.head.Fields) }

// parsedHead is a head that net/http has read.
type parsedHead struct{ *http.Request }

func (r parsedHead) Header(name string) []byte {
	if name == "Host" {
		return []byte(r.Host)
	}
	values := r.Request.Header.Values(name)
	if len(values) == 0 {
		return nil
	}
	return []byte(values[0])
}

func (r parsedHead) method() []byte { return []byte(r.Method) }
func (r parsedHead) lines() int     { return len(r.Request.Header) }
