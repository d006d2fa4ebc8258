package wsticket

import (
	"fmt"
	"iter"
	"log/slog"
	"slices"

	"github.com/gobwas/ws"

	"github.com/wsticket/wsticket/internal/carrier"
	"github.com/wsticket/wsticket/internal/head"
)

// A Handshake is what a client asked for and what it was granted. [Upgrader]
// fills it. The zero Handshake is ready to be filled, and one that was filled may
// be used for the next connection: only then is upgrading free of allocation. It
// keeps the buffer that its longest head needed, UpgraderConfig.HeadBytes at most.
//
// It owns its bytes. The []byte that its methods return are views of them: valid
// until it is filled again or reset, not to be changed. It must not be copied. While
// it is being filled only one goroutine may use it. After an error it is empty.
//
// The ticket has been taken out of the head: neither Query nor any header shows
// it any more. A Handshake redacts itself in fmt, slog and JSON.
type Handshake struct {
	// Handshake has the selected subprotocol in Protocol. An Upgrader never negotiates
	// extensions, so Extensions is nil.
	ws.Handshake

	// Ticket is the one that was verified.
	Ticket Ticket

	head     head.Head
	buf      []byte // the head, the bytes behind it, then the answer
	n        int    // bytes of buf that were received
	answered int    // bytes of the answer behind them

	asked    Request // what the ticket was compared with; views of buf
	page     bool    // a refusal goes into a close frame
	judgedAt int64
	why      details // of a refusal
}

const (
	firstBuffer = 2 << 10 // most heads are shorter
	firstFields = 24
)

// Path is the path of the request target as it came: still percent-encoded,
// without the query. Of a target that is a whole URL it is the path alone.
func (h *Handshake) Path() []byte { return h.head.Path.Of(h.buf) }

// Query is the query as it came, without the '?' and without the ticket.
func (h *Handshake) Query() []byte { return h.head.Query.Of(h.buf) }

// Host is the Host header.
func (h *Handshake) Host() []byte { return h.head.Host.Of(h.buf) }

// Header is the value of the first header of that name, in any case, or nil if
// there is none.
func (h *Handshake) Header(name string) []byte {
	for _, f := range h.head.Fields {
		if got := f.Name.Of(h.buf); len(got) == len(name) && head.EqualFold(got, name) {
			return f.Value.Of(h.buf)
		}
	}
	return nil
}

// Headers yields the name and the value of every header line, in order.
func (h *Handshake) Headers() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for _, f := range h.head.Fields {
			if !yield(f.Name.Of(h.buf), f.Value.Of(h.buf)) {
				return
			}
		}
	}
}

// Early is what came right behind the head, if UpgraderConfig.AllowEarly is set. Use it
// before what you read from the connection.
func (h *Handshake) Early() []byte {
	if h.n <= h.head.End {
		return nil
	}
	return h.buf[h.head.End:h.n:h.n]
}

// Reset empties h and clears what it held. Upgrade does it by itself; call it
// before putting h into a pool.
func (h *Handshake) Reset() {
	h.Handshake = ws.Handshake{}
	h.Ticket.reset()
	h.asked, h.page, h.judgedAt = Request{}, false, 0
	clear(h.buf[:h.n+h.answered])
	h.n, h.answered = 0, 0
	clear(h.head.Fields)
	h.head.Reset(0)
}

// room makes sure that buf has at least n bytes, and keeps those received.
func (h *Handshake) room(n int) {
	if n <= len(h.buf) {
		return
	}
	buf := make([]byte, n)
	copy(buf, h.buf[:h.n])
	clear(h.buf[:h.n])
	h.buf = buf
}

// origin is the Origin header, nil if there was none.
func (h *Handshake) origin() []byte {
	if !h.head.HasOrigin() {
		return nil
	}
	return h.head.Origin.Of(h.buf)
}

// find has f look through the head.
func (h *Handshake) find(f *carrier.Finder) {
	f.InQuery(h.Query())
	if !h.head.Has(head.Protocol) && !h.head.Has(head.Authorization) && !h.head.Has(head.Cookie) {
		return
	}
	for i := range h.head.Fields {
		at := &h.head.Fields[i]
		switch at.Kind {
		case head.Protocol:
			f.InProtocols(i, at.Value.Of(h.buf))
		case head.Authorization:
			f.InAuthorization(i, at.Value.Of(h.buf))
		case head.Cookie:
			f.InCookies(i, at.Value.Of(h.buf))
		}
	}
}

// cut takes the ticket that f found out of the head.
func (h *Handshake) cut(f *carrier.Finder) {
	if f.By == carrier.Query {
		h.head.Query = h.narrow(h.head.Query, f)
		return
	}
	at := &h.head.Fields[f.Line]
	at.Value = h.narrow(at.Value, f)
	if at.Value.Len() == 0 { // the line held nothing else: it is gone
		h.head.Fields = slices.Delete(h.head.Fields, f.Line, f.Line+1)
	}
}

// narrow cuts within s. What is left may have lost white space at its front.
func (h *Handshake) narrow(s head.Span, f *carrier.Finder) head.Span {
	value := s.Of(h.buf)
	left := f.Cut(value)
	// Both end with the capacity of value.
	start := int(s.Start) + cap(value) - cap(left)
	if len(left) == 0 {
		return head.Span{Start: s.Start, End: s.Start}
	}
	return head.Span{Start: uint16(start), End: uint16(start + len(left))}
}

const redactedHandshake = "wsticket.Handshake(redacted)"

// String says that the handshake is not shown.
func (h Handshake) String() string { return redactedHandshake }

// Format redacts the handshake under every verb.
func (h Handshake) Format(f fmt.State, _ rune) { f.Write([]byte(redactedHandshake)) }

// LogValue redacts the handshake in slog.
func (h Handshake) LogValue() slog.Value { return slog.StringValue(redactedHandshake) }

// MarshalText redacts the handshake in JSON and in every other encoding of text.
func (h Handshake) MarshalText() ([]byte, error) { return []byte(redactedHandshake), nil }
