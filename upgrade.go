package wsticket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wsticket/wsticket/internal/head"
)

// The defaults of an [Upgrader].
const (
	defaultHeadBytes  = 8 << 10
	defaultMaxHeaders = 64
	defaultTimeout    = 5 * time.Second
	defaultMaxPending = 16384
)

// An UpgraderConfig says which handshakes an [Upgrader] takes.
type UpgraderConfig struct {
	// Verifier checks and spends the tickets. Required.
	Verifier *Verifier

	// Origins are the pages that may connect, as browsers name them:
	// "https://app.example". With none here, those of the host that the request
	// names may. A request without Origin passes, for no browser sent it.
	Origins []string

	// Carriers are where a ticket may stand. 0 means DefaultCarriers. Behind a
	// load balancer that routes by the ticket only CarrierQuery may be on.
	Carriers Carriers

	// Protocols are the subprotocols that the application speaks. The first that
	// the client offers and that stands here is selected.
	Protocols []string

	// ResponseHeader is sent with every 101.
	ResponseHeader http.Header

	// PeerAddr supplies the address that a ticket's ip is held against, where it
	// is not the one of the connection, as behind a proxy that is trusted. It runs
	// before the ticket is looked at, and sees it in the head. Headers that claim
	// an address are never believed by themselves. nil means the address of the
	// connection.
	PeerAddr func(net.Conn, *Handshake) netip.Addr

	// Authorize may say no to a ticket that holds, before it is spent and before
	// the client is answered: a refusal code is passed on, any other error becomes
	// ErrUnauthorized. What it does is not bound by Timeout, but if it takes
	// longer the handshake fails, with the ticket unspent.
	Authorize func(context.Context, *Handshake) error

	// OnRefuse is told of every refusal, once the client was answered. It runs on
	// the goroutine of the handshake, so several may run at once.
	OnRefuse func(Refusal)

	// AllowEarly lets bytes follow the head before the answer, and hands them over
	// in Handshake.Early. RFC 6455 section 4.1 lets no client do so; without this
	// such a handshake is refused.
	AllowEarly bool

	// HeadBytes bounds the head, 64 to 65,535. 0 means defaultHeadBytes.
	HeadBytes int

	// MaxHeaders bounds the header lines, 8 to 1,024. 0 means defaultMaxHeaders.
	MaxHeaders int

	// Timeout bounds the whole handshake, reading and writing, a refusal with its
	// draining included; a tenth of a second more is for the 408 of who let it pass.
	// It does not interrupt Authorize, nor a guard that does not heed its context. 0
	// means defaultTimeout.
	Timeout time.Duration

	// MaxPending bounds the handshakes in progress; one more is ErrOverloaded. 0
	// means defaultMaxPending.
	MaxPending int
}

// An Upgrader takes WebSocket handshakes (RFC 6455 section 4.2) from raw
// connections and lets in who brings a ticket. It reads a strict subset of
// HTTP/1.1, see docs/upgrading.md. It is safe for concurrent use and does not
// allocate where the Handshake is used again.
type Upgrader struct {
	config   UpgraderConfig
	policy   policy
	plain    head.Switching
	selected []head.Switching // in the order of the protocols
	reserve  int              // of the buffer, for the answer
	waits    bool             // the guard may: it is none of ours
	pending  atomic.Int64
	counters Counters
}

// NewUpgrader checks the configuration and reports all its faults at once.
func NewUpgrader(config UpgraderConfig) (*Upgrader, error) {
	var f faults
	u := &Upgrader{config: config, policy: f.policy(config.Carriers, config.Protocols, config.Origins)}
	if config.Verifier == nil {
		f.addf("Verifier is nil; give one from NewVerifier")
	}
	c := &u.config
	f.within("HeadBytes", &c.HeadBytes, defaultHeadBytes, 64, head.MaxBytes)
	f.within("MaxHeaders", &c.MaxHeaders, defaultMaxHeaders, 8, 1024)
	f.within("MaxPending", &c.MaxPending, defaultMaxPending, 1, 1<<30)
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	} else if c.Timeout < 0 {
		f.addf("Timeout is %v; give a positive duration, or 0 for %v", c.Timeout, defaultTimeout)
	}
	extra := f.responseHeader(config.ResponseHeader)
	if err := f.err("upgrader"); err != nil {
		return nil, err
	}
	switch config.Verifier.replay.(type) {
	case *ReplayCache, allowReplay:
	default:
		u.waits = true
	}
	u.plain = head.NewSwitching("", extra)
	u.reserve = u.plain.Len()
	for _, p := range u.policy.protocols {
		s := head.NewSwitching(p, extra)
		u.selected = append(u.selected, s)
		u.reserve = max(u.reserve, s.Len())
	}
	return u, nil
}

func (f *faults) within(field string, n *int, fallback, low, high int) {
	if *n == 0 {
		*n = fallback
	} else if *n < low || *n > high {
		f.addf("%s is %d; give %d to %d, or 0 for %d", field, *n, low, high, fallback)
	}
}

// ownHeaders are those of the 101 that the handshake itself sets.
var ownHeaders = []string{"Upgrade", "Connection", "Sec-Websocket-Accept", "Sec-Websocket-Protocol",
	"Sec-Websocket-Extensions", "Sec-Websocket-Key", "Sec-Websocket-Version", "Content-Length", "Transfer-Encoding"}

// responseHeader renders the header lines that are sent with every 101.
func (f *faults) responseHeader(h http.Header) string {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	var lines strings.Builder
	for _, name := range names {
		switch {
		case !head.ValidToken(name):
			f.addf("ResponseHeader holds the name %q; a header name is letters, digits and !#$%%&'*+-.^_`|~", name)
		case slices.Contains(ownHeaders, http.CanonicalHeaderKey(name)):
			f.addf("ResponseHeader holds %s, which is the handshake's own; take it out", name)
		}
		for _, value := range h[name] {
			if !head.ValidValue(value) {
				f.addf("ResponseHeader %s holds a control character; take it out", name)
			}
			lines.WriteString(name + ": " + value + "\r\n")
		}
	}
	return lines.String()
}

// Stats returns how many handshakes were accepted, and how many refused with
// which code.
func (u *Upgrader) Stats() Stats { return u.counters.Stats() }

// Pending returns how many handshakes are in progress.
func (u *Upgrader) Pending() int { return int(u.pending.Load()) }

// Upgrade reads the handshake from conn, checks it and the ticket in it, spends
// the ticket and answers 101. nil means that the client is in: h holds what it
// asked for, its ticket and its subprotocol, and conn is at the first frame and
// has no deadline.
//
// Any error means that it is not. A refusal was answered, the connection closed
// for writing where it can be, and drained within the deadline, so that the answer
// is not lost to a reset. [CodeOf] tells the code. An error without one means that
// there was nobody to refuse: ctx had ended, or the connection was closed or broken
// before its first byte, or when the 101 was to be written; in that last case the
// ticket is spent. Upgrade never closes conn: the caller does, after any error.
//
// Of ctx its deadline counts, where it is earlier than the Timeout, and whether it
// has ended at the start; what happens to it later does not interrupt a handshake.
// It is handed to Authorize, and with the deadline of the handshake to a guard that
// is no ReplayCache.
func (u *Upgrader) Upgrade(ctx context.Context, conn net.Conn, h *Handshake) error {
	h.Reset()
	if err := ctx.Err(); err != nil {
		return err
	}
	if u.pending.Add(1) > int64(u.config.MaxPending) {
		u.pending.Add(-1)
		return u.overloaded(conn, h)
	}
	in := false
	defer func() { // also where Authorize or OnRefuse panics
		u.pending.Add(-1)
		if !in {
			h.Reset()
		}
	}()

	start := time.Now()
	h.judgedAt = start.Unix()
	deadline := start.Add(u.config.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return fmt.Errorf("wsticket: setting the deadline of the handshake: %w", err)
	}
	err := u.read(conn, h)
	if err == nil {
		err = u.judge(ctx, conn, h, deadline)
	}
	if err != nil {
		return u.refuse(conn, h, err)
	}
	if err := u.accept(conn, h); err != nil {
		return err
	}
	in = true
	u.counters.Count(nil)
	return nil
}

// read receives the head and finds fault with it.
func (u *Upgrader) read(conn net.Conn, h *Handshake) error {
	h.head.Reset(u.config.MaxHeaders)
	if h.head.Fields == nil {
		h.head.Fields = make([]head.Field, 0, firstFields)
	}
	limit := u.config.HeadBytes
	h.room(min(firstBuffer, limit+u.reserve))
	for empty := 0; ; {
		if h.n == len(h.buf) {
			h.room(min(2*len(h.buf), limit+u.reserve))
		}
		n, err := conn.Read(h.buf[h.n:min(len(h.buf), limit)])
		h.n += n
		if n > 0 {
			empty = 0
			if h.head.Scan(h.buf[:h.n]) {
				break
			}
			if h.n == limit {
				return headErrors[head.TooLong]
			}
		} else if empty++; empty == 100 && err == nil {
			err = io.ErrNoProgress
		}
		if err != nil {
			return readError(err, h.n)
		}
	}
	if fault := h.head.Fault(); fault != head.NoFault {
		return headErrors[fault]
	}
	if h.n > h.head.End && !u.config.AllowEarly {
		return errEarly
	}
	h.room(h.n + u.reserve) // for the answer, before anybody holds a view of the head
	return nil
}

// judge holds the head against the policy and the ticket against all it must
// hold against, and spends it.
func (u *Upgrader) judge(ctx context.Context, conn net.Conn, h *Handshake, deadline time.Time) error {
	v := u.config.Verifier
	f := u.policy.finder()
	h.find(&f)
	r := &h.asked
	r.Ticket, r.Origin, r.Path = f.Ticket, h.origin(), h.Path()
	if err := u.policy.admit(&f, r.Origin, h.Host()); err != nil {
		return err
	}
	if u.config.PeerAddr != nil {
		r.Addr = u.config.PeerAddr(conn, h)
	} else {
		r.Addr = addrOf(conn.RemoteAddr())
	}
	now := time.Now()
	h.judgedAt = now.Unix()
	if err := v.judge(h.judgedAt, r, &h.Ticket); err != nil {
		return err
	}
	h.cut(&f)
	h.Protocol = f.Selected
	if u.config.Authorize != nil {
		if err := u.config.Authorize(ctx, h); err != nil {
			return unauthorized(err)
		}
		// It may have taken its time: the ticket must still hold when it is spent,
		// and nothing is spent on a client that will not be answered.
		now = time.Now()
		h.judgedAt = now.Unix()
		if now.After(deadline) {
			return ErrTimeout
		}
		if err := v.admit(now.Unix(), &h.Ticket); err != nil {
			return err
		}
	}
	if u.waits {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	return v.spend(ctx, now.Unix(), &h.Ticket)
}

// accept answers 101.
func (u *Upgrader) accept(conn net.Conn, h *Handshake) error {
	answer := &u.plain
	for i, p := range u.policy.protocols {
		if h.Protocol == p {
			answer = &u.selected[i]
		}
	}
	out := answer.Append(h.buf[h.n:h.n], h.head.Key.Of(h.buf))
	if _, err := conn.Write(out); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = ErrTimeout
			u.report(conn, h, err, ErrTimeout)
			return err
		}
		return fmt.Errorf("wsticket: answering the handshake: %w", err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("wsticket: clearing the deadline of the handshake: %w", err)
	}
	return nil
}

// unauthorized gives the application's no a code where it has none.
func unauthorized(err error) error {
	if _, ok := CodeOf(err); ok {
		return err
	}
	return newHandshakeError(ErrUnauthorized, err.Error(), err)
}
