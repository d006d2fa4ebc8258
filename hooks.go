package wsticket

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"github.com/wsticket/wsticket/internal/answer"
	"github.com/wsticket/wsticket/internal/head"
)

// A HooksConfig says how tickets are looked for in the handshakes of a
// ws.Upgrader.
type HooksConfig struct {
	// Verifier checks and spends the tickets. Required.
	Verifier *Verifier

	// Upgrader is the one that you have already. Its callbacks are called as before,
	// and see the ticket in what they are given. OnBeforeUpgrade runs when the ticket
	// is known to be valid and before it is spent; it may refuse. Protocol and
	// ProtocolCustom must be nil: use Protocols.
	Upgrader ws.Upgrader

	// Origins, AllowOrigin, Carriers, Protocols and OnRefuse are as in UpgraderConfig.
	Origins     []string
	AllowOrigin func(origin, host []byte) bool
	Carriers    Carriers
	Protocols   []string
	OnRefuse    func(Refusal)

	// PeerAddr supplies the address that a ticket's ip is compared with. nil means
	// the address of the connection.
	PeerAddr func(net.Conn) netip.Addr

	// Timeout is how long after the call of Upgrade a ticket may still be spent. A
	// guard that waits for somebody gets a context that ends a little earlier, so that
	// the answer is in time. 0 means 5 s. It does not interrupt reading and writing:
	// the connection has the deadline that the caller gave it.
	Timeout time.Duration
}

// Hooks attach a Verifier to a ws.Upgrader of gobwas/ws, for a gateway that uses one
// already. They are safe for concurrent use.
//
// The parser is then gobwas's. It takes much that an [Upgrader] refuses, has no limits
// on size and time, and allocates once for each handshake. The caller sets the deadline
// of the connection. Refusals have the status, the headers and the body of an
// Upgrader's, but say text/plain. gobwas answers a fault in the head before it has read
// the rest of the head, and reads nothing after, so a reset may overtake the answer. A
// refusal of the ticket is answered after the whole head was read.
type Hooks struct {
	config   HooksConfig
	policy   policy
	waits    bool              // the guard may
	selected map[string]string // header lines by protocol
	sessions sync.Pool
	counters Counters
}

// NewHooks checks the configuration and reports all its faults at once.
func NewHooks(config HooksConfig) (*Hooks, error) {
	var f faults
	h := &Hooks{config: config, selected: map[string]string{}}
	h.policy = f.policy(config.Carriers, config.Protocols, config.Origins, config.AllowOrigin)
	if config.Verifier == nil {
		f.addf("Verifier is nil; give one from NewVerifier")
	}
	if config.Upgrader.Protocol != nil || config.Upgrader.ProtocolCustom != nil {
		f.addf("Upgrader has a Protocol or ProtocolCustom, which would select without knowing tickets; give Protocols instead")
	}
	f.timeout(&h.config.Timeout)
	if err := f.err("hooks"); err != nil {
		return nil, err
	}
	h.waits = waits(config.Verifier.replay)
	for _, p := range h.policy.protocols {
		h.selected[p] = "Sec-WebSocket-Protocol: " + p + "\r\n"
	}
	h.sessions.New = func() any { return newHooksSession(h) }
	return h, nil
}

// Stats returns how many handshakes were accepted, and how many refused with
// which code.
func (h *Hooks) Stats() Stats { return h.counters.Stats() }

// Upgrade has the ws.Upgrader upgrade conn, if the handshake brings a ticket. The
// ticket is then in t; after any error t is empty. A refusal has a code, see [CodeOf];
// errors of gobwas and of the connection are passed on unchanged. Upgrade never closes
// conn. A guard that may wait gets ctx with the time that is left.
func (h *Hooks) Upgrade(ctx context.Context, conn net.Conn, t *Ticket) (hs ws.Handshake, err error) {
	s := h.sessions.Get().(*hooksSession)
	t.reset()
	s.ctx, s.conn, s.ticket = ctx, conn, t
	s.deadline = time.Now().Add(h.config.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(s.deadline) {
		s.deadline = d
	}
	in := false
	defer func() { // also where a callback panics
		s.reset()
		h.sessions.Put(s)
		if !in {
			t.reset()
		}
	}()
	hs, err = s.upgrader.Upgrade(conn)
	if s.err != nil {
		h.counters.Count(s.err)
		if h.config.OnRefuse != nil {
			d := &s.why
			*d = details{err: s.err, verifier: h.config.Verifier, policy: &h.policy, now: s.judgedAt, request: s.asked, host: s.of(s.host), ticket: t}
			h.config.OnRefuse(d.refusal(codeOf(s.err), conn.RemoteAddr()))
			*d = details{err: s.err}
		}
		return ws.Handshake{}, s.err
	}
	if err != nil {
		return ws.Handshake{}, err
	}
	in = true
	h.counters.Count(nil)
	hs.Protocol = s.protocol
	return hs, nil
}

// hooksSession is one handshake. Its callbacks are bound once, when it is made,
// because binding them allocates.
type hooksSession struct {
	*Hooks
	upgrader ws.Upgrader

	ctx      context.Context
	conn     net.Conn
	ticket   *Ticket
	deadline time.Time

	buf          []byte // copies of what gobwas shows and takes back
	authority    span   // of a target in absolute-form
	path, query  span
	host, origin span
	hosts        int
	origins      int
	lengths      int
	values       []hooksValue
	protocol     string
	extra        ws.HandshakeHeader // of the user's OnBeforeUpgrade
	asked        Request            // what the ticket was compared with; views of buf
	judgedAt     int64
	err          error   // the refusal
	why          details // of err
}

type span struct{ start, end int }

type hooksValue struct {
	kind head.Kind
	at   span
}

func (s *hooksSession) keep(b []byte) span {
	start := len(s.buf)
	s.buf = append(s.buf, b...)
	return span{start, len(s.buf)}
}

func (s *hooksSession) of(at span) []byte { return s.buf[at.start:at.end:at.end] }

// reset clears the session. A buffer that one client made large is not kept for the
// others.
func (s *hooksSession) reset() {
	clear(s.buf)
	if cap(s.buf) > defaultHeadBytes {
		s.buf = nil
	}
	if cap(s.values) > defaultMaxHeaders {
		s.values = nil
	}
	*s = hooksSession{Hooks: s.Hooks, upgrader: s.upgrader, buf: s.buf[:0], values: s.values[:0], why: s.why}
}

func newHooksSession(h *Hooks) *hooksSession {
	s := &hooksSession{Hooks: h, upgrader: h.config.Upgrader}
	s.upgrader.OnRequest = s.onRequest
	s.upgrader.OnHost = s.onHost
	s.upgrader.OnHeader = s.onHeader
	s.upgrader.ProtocolCustom = s.onProtocol
	s.upgrader.OnBeforeUpgrade = s.onBeforeUpgrade
	return s
}

func (s *hooksSession) onRequest(uri []byte) error {
	t, ok := head.SplitTarget(uri)
	if !ok {
		return s.refuse(headErrors[head.BadTarget])
	}
	s.authority, s.path, s.query = s.keep(t.Authority), s.keep(t.Path), s.keep(t.Query)
	if f := s.config.Upgrader.OnRequest; f != nil {
		return f(uri)
	}
	return nil
}

func (s *hooksSession) onHost(host []byte) error {
	if s.hosts++; s.hosts > 1 {
		return s.refuse(headErrors[head.TwiceHost])
	}
	if !head.ValidHost(host) {
		return s.refuse(headErrors[head.BadHost])
	}
	s.host = s.keep(host)
	if f := s.config.Upgrader.OnHost; f != nil {
		return f(host)
	}
	return nil
}

func (s *hooksSession) onHeader(name, value []byte) error {
	switch string(name) { // gobwas has made it canonical
	case "Origin":
		if s.origins++; s.origins > 1 {
			return s.refuse(headErrors[head.TwiceOrigin])
		}
		s.origin = s.keep(value)
	case "Content-Length":
		if s.lengths++; s.lengths > 1 || string(value) != "0" {
			return s.refuse(headErrors[head.HasBody])
		}
	case "Transfer-Encoding":
		return s.refuse(headErrors[head.HasBody])
	case "Authorization":
		s.values = append(s.values, hooksValue{head.Authorization, s.keep(value)})
	case "Cookie":
		s.values = append(s.values, hooksValue{head.Cookie, s.keep(value)})
	}
	if f := s.config.Upgrader.OnHeader; f != nil {
		return f(name, value)
	}
	return nil
}

// onProtocol keeps every offer and selects nothing yet: once something is selected,
// gobwas shows no further line.
func (s *hooksSession) onProtocol(value []byte) (string, bool) {
	s.values = append(s.values, hooksValue{head.Protocol, s.keep(value)})
	return "", true
}

func (s *hooksSession) onBeforeUpgrade() (ws.HandshakeHeader, error) {
	if authority := s.of(s.authority); len(authority) > 0 && !bytes.Equal(authority, s.of(s.host)) {
		return nil, s.refuse(headErrors[head.OtherHost]) // step 4: handshake. gobwas has judged the rest
	}
	f := s.policy.finder()
	f.InQuery(s.of(s.query))
	for i, v := range s.values {
		switch v.kind {
		case head.Protocol:
			f.InProtocols(i, s.of(v.at))
		case head.Authorization:
			f.InAuthorization(i, s.of(v.at))
		case head.Cookie:
			f.InCookies(i, s.of(v.at))
		}
	}
	s.asked.Ticket, s.asked.Path = f.Ticket, s.of(s.path)
	if s.origins > 0 {
		s.asked.Origin = s.of(s.origin)
	}
	if _, err := s.policy.admit(&f, s.asked.Origin, s.of(s.host)); err != nil { // the end of step 4, to step 8
		return nil, s.refuse(err)
	}
	if err := s.spend(); err != nil {
		return nil, err
	}
	s.protocol = f.Selected
	return s, nil
}

// spend has the ticket verified, the user's callback agree, and the ticket spent.
func (s *hooksSession) spend() error {
	r := &s.asked
	if s.config.PeerAddr != nil {
		r.Addr = s.config.PeerAddr(s.conn)
	} else {
		r.Addr = addrOf(s.conn.RemoteAddr())
	}
	now := time.Now()
	s.judgedAt = now.Unix()
	if err := s.config.Verifier.judge(s.judgedAt, r, s.ticket); err != nil { // step 9: ticket; step 10: bindings
		return s.refuse(err)
	}
	if err := agreed(s.ticket, r.Path); err != nil { // step 10: bindings
		return s.refuse(err)
	}
	user := s.config.Upgrader.OnBeforeUpgrade
	if user != nil { // step 11: authorization
		extra, err := user()
		if err != nil {
			return err // theirs to word
		}
		s.extra = extra
		now = time.Now()
		s.judgedAt = now.Unix()
	}
	if now.After(s.deadline) { // step 12: still in time
		return s.refuse(ErrTimeout)
	}
	if user != nil { // step 12: still in time. It may have taken long
		if err := s.config.Verifier.admit(now.Unix(), s.ticket); err != nil {
			return s.refuse(err)
		}
	}
	ctx := s.ctx
	if s.waits {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, guardEnd(now, s.deadline))
		defer cancel()
	}
	if err := s.config.Verifier.spend(ctx, now.Unix(), s.ticket); err != nil { // step 13: single use
		return s.refuse(err)
	}
	return nil
}

// WriteTo writes the header lines that go into the 101.
func (s *hooksSession) WriteTo(w io.Writer) (n int64, err error) {
	if line := s.selected[s.protocol]; line != "" {
		k, err := io.WriteString(w, line)
		n = int64(k)
		if err != nil {
			return n, err
		}
	}
	if s.extra != nil {
		k, err := s.extra.WriteTo(w)
		return n + k, err
	}
	return n, nil
}

// refuse notes the refusal and words it for gobwas.
func (s *hooksSession) refuse(err error) error {
	s.err = err
	return rejections[statusOf(err, codeOf(err))]
}

// rejections are the refusals in gobwas's terms. It writes a Content-Type and a
// Content-Length of its own.
var rejections = func() map[int]error {
	all := map[int]error{}
	for _, code := range Codes() {
		for _, status := range []int{code.Status(), 405, 426, 505} {
			a := answer.Of(status)
			var lines bytes.Buffer
			for _, f := range a.Header {
				if f[0] != "Content-Type" && f[0] != "Content-Length" {
					lines.WriteString(f[0] + ": " + f[1] + "\r\n")
				}
			}
			all[status] = ws.RejectConnectionError(ws.RejectionStatus(status), ws.RejectionReason(a.Body),
				ws.RejectionHeader(ws.HandshakeHeaderBytes(lines.Bytes())))
		}
	}
	return all
}()
