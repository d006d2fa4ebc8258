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
	defaultHeadBytes  = 16 << 10 // single sign-on makes cookies of this size
	defaultMaxHeaders = 64
	defaultTimeout    = 5 * time.Second
	defaultMaxPending = 16384
)

// An UpgraderConfig says which handshakes an [Upgrader] takes.
type UpgraderConfig struct {
	// Verifier checks and spends the tickets. Required.
	Verifier *Verifier

	// Origins are the pages that may connect, as browsers name them:
	// "https://app.example", or "capacitor://localhost" in the shell of an app. The
	// pattern "https://*.app.example" stands for all hosts below app.example. If there
	// are none, only pages of the host that the request names may connect. A request
	// without Origin passes, because no browser sent it. So does one whose ticket comes
	// by CarrierBearer, which no page can use.
	Origins []string

	// AllowOrigin is asked about an Origin that Origins does not let in: true lets it
	// in. It sees the Host header too. The slices are valid during the call only. Only
	// this function can let in the Origin "null". A ticket that comes by CarrierCookie
	// needs an Origin of the list, whatever AllowOrigin says. nil lets in nobody.
	AllowOrigin func(origin, host []byte) bool

	// Carriers are where a ticket may stand. 0 means DefaultCarriers. Behind a
	// load balancer that routes by the ticket only CarrierQuery may be on.
	Carriers Carriers

	// Protocols are the subprotocols that the application speaks. The first that
	// the client offers and that stands here is selected.
	Protocols []string

	// ResponseHeader is sent with every 101.
	ResponseHeader http.Header

	// PeerAddr supplies the address that a ticket's ip is compared with. nil means the
	// address of the connection, which behind a proxy is the proxy's. The Upgrader by
	// itself never believes a header that claims an address. PeerAddr runs before the
	// ticket is looked at; the head that it sees still has the ticket in it.
	PeerAddr func(net.Conn, *Handshake) netip.Addr

	// Authorize may refuse a valid ticket, before it is spent and before the client is
	// answered. An error with a refusal code is passed on. Any other error becomes
	// ErrUnauthorized. Timeout does not interrupt Authorize. If it returns after the
	// Timeout, the handshake is refused and the ticket stays unspent.
	Authorize func(context.Context, *Handshake) error

	// OnRefuse is told of every refusal, after the client was answered. It runs on the
	// goroutine of the handshake, so several may run at once.
	OnRefuse func(Refusal)

	// CloseRefusals lets pages read why they are refused. A browser hides the status
	// of a refused handshake from the page; with this, the page of an allowed Origin
	// that asks with a whole handshake is answered 101 and, in the same write, a close
	// frame with [Error.CloseCode] and the [Class] as its reason. The page sees open,
	// then close. Everybody else is answered by a status: programs that send no Origin
	// or use CarrierBearer, pages that may not connect, what is no handshake, and who
	// comes when there is no room. See docs/embedding.md.
	CloseRefusals bool

	// HealthPath is a path such as "/healthz" for the checks of load balancers. A GET
	// of it that is not a handshake is answered 200, or 503 while the guard is not
	// ready (before its ReadyAt, if it has one). Upgrade then returns ErrHealthCheck.
	// Empty means that every request that is not a handshake is refused.
	HealthPath string

	// AllowEarly takes a handshake whose head is followed by bytes before the answer,
	// and hands these over in Handshake.Early. [RFC 6455 section 4.1] forbids clients
	// to send them, so without AllowEarly such a handshake is refused.
	//
	// [RFC 6455 section 4.1]: https://www.rfc-editor.org/rfc/rfc6455#section-4.1
	AllowEarly bool

	// HeadBytes is the longest head that is read, 64 to 65,535. 0 means 16,384. A
	// pending handshake takes memory for the bytes of its head that have come, not for
	// HeadBytes.
	HeadBytes int

	// MaxHeaders is the most header lines, 8 to 1,024. 0 means 64.
	MaxHeaders int

	// Timeout limits the handshake from the call of Upgrade to the end of the answer.
	// If the connection is a *tls.Conn whose TLS handshake was not done yet, that is
	// part of it. A refusal that is decided when this time is over is still written,
	// within a tenth of a second. Timeout does not interrupt your functions. A guard
	// that waits for a store gets a context that ends a little earlier, so that the
	// answer is in time. 0 means 5 s.
	Timeout time.Duration

	// MaxPending is the most handshakes that may be in progress; one more is refused as
	// ErrOverloaded. 0 means 16,384.
	MaxPending int
}

// ErrHealthCheck is what [Upgrader.Upgrade] returns after it has answered a health
// check, see UpgraderConfig.HealthPath. Close the connection, as after any error.
var ErrHealthCheck = errors.New("wsticket: this was a health check; it has its answer")

// An Upgrader takes WebSocket handshakes ([RFC 6455 section 4.2]) from raw connections
// and lets in clients that bring a ticket. It reads a strict subset of HTTP/1.1, see
// docs/upgrading.md. It is safe for concurrent use. It does not allocate if the
// Handshake is used again.
//
// [RFC 6455 section 4.2]: https://www.rfc-editor.org/rfc/rfc6455#section-4.2
type Upgrader struct {
	config   UpgraderConfig
	policy   policy
	plain    head.Switching
	selected []head.Switching // in the order of the protocols
	reserve  int              // of the buffer, for the answer
	waits    bool             // the guard may
	asks     bool             // a function or a guard may take its time
	pending  atomic.Int64
	checks   atomic.Uint64 // of health
	counters Counters
}

// NewUpgrader checks the configuration and reports all its faults at once.
func NewUpgrader(config UpgraderConfig) (*Upgrader, error) {
	var f faults
	u := &Upgrader{config: config, policy: f.policy(config.Carriers, config.Protocols, config.Origins, config.AllowOrigin)}
	if config.Verifier == nil {
		f.addf("Verifier is nil; give one from NewVerifier")
	}
	c := &u.config
	f.within("HeadBytes", &c.HeadBytes, defaultHeadBytes, 64, head.MaxBytes)
	f.within("MaxHeaders", &c.MaxHeaders, defaultMaxHeaders, 8, 1024)
	f.within("MaxPending", &c.MaxPending, defaultMaxPending, 1, 1<<30)
	f.timeout(&c.Timeout)
	if t, ok := head.SplitTarget([]byte(c.HealthPath)); c.HealthPath != "" && (!ok || string(t.Path) != c.HealthPath) {
		f.addf("HealthPath is %q; give a path as it stands in a request, such as /healthz", c.HealthPath)
	}
	extra := f.responseHeader(config.ResponseHeader)
	if err := f.err("upgrader"); err != nil {
		return nil, err
	}
	u.waits = waits(config.Verifier.replay)
	u.asks = u.waits || c.Authorize != nil || c.PeerAddr != nil || c.AllowOrigin != nil
	u.plain = head.NewSwitching("", extra)
	u.reserve = u.plain.Len()
	for _, p := range u.policy.protocols {
		s := head.NewSwitching(p, extra)
		u.selected = append(u.selected, s)
		u.reserve = max(u.reserve, s.Len())
	}
	if config.CloseRefusals {
		u.reserve += maxCloseFrame
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

// HealthChecks returns how many health checks were answered, by 200 or 503. Stats
// does not count them.
func (u *Upgrader) HealthChecks() uint64 { return u.checks.Load() }

// Upgrade reads the handshake from conn, checks it and the ticket in it, spends the
// ticket and answers 101. nil means that the client is in. Then h has what the client
// asked for, its ticket and its subprotocol, and conn is at the first frame and has no
// deadline.
//
// Any error means that the client is not in. Upgrade never closes conn: the caller
// does, after any error. Most errors are refusals; [CodeOf] tells the code. By then
// Upgrade has answered the refusal, closed the connection for writing if that is
// possible, and read what the client still sent, so that no reset overtakes the answer.
// Two codes are different. If it is ErrOverloaded, Upgrade has read nothing, and over
// TLS it has answered nothing. If it is ErrTimeout, Upgrade has read nothing after its
// answer; or the client did not take the 101 in time, and then its ticket is spent.
//
// An error without a code means that there was nobody to refuse. ctx had ended at
// the start, or it was a health check (ErrHealthCheck), or the connection was closed
// or broken before its first byte, or it broke when the 101 was to be written. In
// that last case the ticket is spent.
//
// Upgrade looks at two things of ctx: whether it has ended at the start, and its
// deadline, which counts if it is earlier than the Timeout. If ctx ends later, the
// handshake goes on. Authorize gets ctx as it is. A guard that may wait gets it with
// the time that is left.
func (u *Upgrader) Upgrade(ctx context.Context, conn net.Conn, h *Handshake) error {
	h.Reset()
	if err := ctx.Err(); err != nil {
		return err
	}
	if u.pending.Add(1) > int64(u.config.MaxPending) { // step 1: room
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
	err := u.read(conn, h) // step 2: deadline; step 3: size; step 4: handshake
	if err == nil {
		err = u.judge(ctx, conn, h, deadline) // the end of step 4, and all that follow
	} else if u.config.HealthPath != "" && h.head.IsPlainGET(h.buf, u.config.HealthPath) {
		return u.healthy(conn, h, deadline)
	}
	if err != nil {
		return u.refuse(conn, h, err, deadline)
	}
	if err := u.accept(conn, h, deadline); err != nil {
		return err
	}
	in = true
	u.counters.Count(nil)
	return nil
}

// read receives the head and says what is wrong with it.
func (u *Upgrader) read(conn net.Conn, h *Handshake) error {
	h.head.Reset(u.config.MaxHeaders)
	if h.head.Fields == nil {
		h.head.Fields = make([]head.Field, 0, firstFields)
	}
	limit := u.config.HeadBytes // step 3: size
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
		if err != nil { // step 2: deadline
			return readError(err, h.n)
		}
	}
	// Step 4: handshake. Too many header lines, of step 3: size, are a fault too.
	if fault := h.head.Fault(); fault != head.NoFault {
		return headErrors[fault]
	}
	if h.n > h.head.End && !u.config.AllowEarly {
		return errEarly
	}
	h.room(h.n + u.reserve) // for the answer, before there are views of the head
	return nil
}

// judge compares the head with the policy, then checks the ticket and spends it.
func (u *Upgrader) judge(ctx context.Context, conn net.Conn, h *Handshake, deadline time.Time) error {
	v := u.config.Verifier
	f := u.policy.finder()
	h.find(&f)
	r := &h.asked
	r.Ticket, r.Origin, r.Path = f.Ticket, h.origin(), h.Path()
	h.Protocol = f.Selected
	page, err := u.policy.admit(&f, r.Origin, h.Host()) // the end of step 4, to step 8
	h.page = page && u.config.CloseRefusals && h.n == h.head.End
	if err != nil {
		return err
	}
	if u.config.PeerAddr != nil {
		r.Addr = u.config.PeerAddr(conn, h)
	} else {
		r.Addr = addrOf(conn.RemoteAddr())
	}
	now := time.Now()
	h.judgedAt = now.Unix()
	if err := v.judge(h.judgedAt, r, &h.Ticket); err != nil { // step 9: ticket; step 10: bindings
		return err
	}
	if err := agreed(&h.Ticket, r.Path); err != nil { // step 10: bindings
		return err
	}
	h.cut(&f)
	if u.config.Authorize != nil { // step 11: authorization
		if err := u.config.Authorize(ctx, h); err != nil {
			return unauthorized(err)
		}
		now = time.Now()
		h.judgedAt = now.Unix()
	}
	if now.After(deadline) { // step 12: still in time. Nothing is spent on a client that gets no 101
		return ErrTimeout
	}
	if u.config.Authorize != nil { // step 12: still in time. It may have taken long
		if err := v.admit(now.Unix(), &h.Ticket); err != nil {
			return err
		}
	}
	if u.waits {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, guardEnd(now, deadline))
		defer cancel()
	}
	return v.spend(ctx, now.Unix(), &h.Ticket) // step 13: single use
}

// accept answers 101.
func (u *Upgrader) accept(conn net.Conn, h *Handshake, deadline time.Time) error {
	out := u.switching(h)
	h.answered = len(out)
	if u.waits { // the guard may not have heeded its context, and the ticket is spent
		moreTime(conn, deadline)
	}
	if _, err := conn.Write(out); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = ErrTimeout
			u.report(conn, h, err, ErrTimeout)
			closeTLS(conn)
			return err
		}
		return fmt.Errorf("wsticket: answering the handshake: %w", err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("wsticket: clearing the deadline of the handshake: %w", err)
	}
	return nil
}

// switching is the 101, behind the head.
func (u *Upgrader) switching(h *Handshake) []byte {
	answer := &u.plain
	for i, p := range u.policy.protocols {
		if h.Protocol == p {
			answer = &u.selected[i]
		}
	}
	return answer.Append(h.buf[h.n:h.n], h.head.Key.Of(h.buf))
}

// unauthorized gives an error of Authorize a code, if it has none.
func unauthorized(err error) error {
	if _, ok := CodeOf(err); ok {
		return err
	}
	return newHandshakeError(ErrUnauthorized, err.Error(), err)
}
