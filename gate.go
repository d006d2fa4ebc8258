package wsticket

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wsticket/wsticket/internal/answer"
	"github.com/wsticket/wsticket/internal/carrier"
	"github.com/wsticket/wsticket/internal/head"
)

// A GateConfig says which requests a [Gate] lets through.
type GateConfig struct {
	// Verifier checks and spends the tickets. Required.
	Verifier *Verifier

	// Origins are the pages that may connect, as in UpgraderConfig.
	Origins []string

	// AllowOrigin is asked about an Origin that Origins does not let in, as in
	// UpgraderConfig.
	AllowOrigin func(origin, host []byte) bool

	// Carriers are where a ticket may stand. 0 means DefaultCarriers.
	Carriers Carriers

	// Protocols are the subprotocols that the handler behind selects from. A ticket
	// that comes as a subprotocol is taken only if one of them is offered beside it. If
	// there are none here, no such ticket is taken.
	Protocols []string

	// AnyRequest lets requests through that are no WebSocket handshakes, such as
	// those of an event stream. They need a ticket like the others. An offer to
	// upgrade to something else, such as "Upgrade: h2c", is ignored
	// ([RFC 9110 section 7.8]).
	//
	// [RFC 9110 section 7.8]: https://www.rfc-editor.org/rfc/rfc9110#section-7.8
	AnyRequest bool

	// PeerAddr supplies the address that a ticket's ip is compared with. nil means
	// Request.RemoteAddr, with a port or without. Behind a proxy that is the proxy's
	// address, unless a middleware has changed it.
	PeerAddr func(*http.Request) netip.Addr

	// Authorize may refuse a valid ticket, before it is spent. An error with a refusal
	// code is passed on. Any other error becomes ErrUnauthorized. The request that it
	// gets is without the ticket, which it gets beside it. Timeout does not interrupt
	// Authorize. If it returns after the Timeout, the request is refused and the ticket
	// stays unspent.
	Authorize func(*http.Request, *Ticket) error

	// OnRefuse is told of every refusal, with the request as it came: the ticket
	// still stands in its URL, see [RedactURL].
	OnRefuse func(*http.Request, Refusal)

	// CloseRefusals lets pages read why they are refused, by a 101 and a close frame,
	// as in UpgraderConfig. Where the connection cannot be taken over, they are answered
	// by a status as everybody else is. One that was taken over is closed when the page
	// has closed it, after another Timeout at the latest.
	CloseRefusals bool

	// Deny answers a refusal in place of Wrap, where CloseRefusals does not. It gets the
	// request without the ticket, as from [Conceal]. What Wrap would have answered is
	// Refusal.Code.Status, or more by Refuse, which Deny may call. The client should be
	// told no more than Refusal.Code.Class: Refusal.Err is for the application. Where it
	// writes no status, that of the refusal is sent and not 200; where it writes nothing,
	// Wrap answers.
	Deny func(http.ResponseWriter, *http.Request, Refusal)

	// OnError is told that the connection cannot be taken over, because of a middleware
	// before the Gate. The request is answered 500. The error names the type that is in
	// the way and the cure. The request that OnError gets is as it came. nil means
	// slog.Default, once a minute at most.
	OnError func(*http.Request, error)

	// Timeout limits the check of a request, from the call of the Gate on. A guard that
	// waits for a store gets a context that ends a little earlier, so that the answer
	// is in time. 0 means 5 s. How long the request may be read and the answer written,
	// the http.Server decides.
	Timeout time.Duration
}

// A Gate lets requests of net/http through that bring a ticket. It comes to the same
// verdict as an [Upgrader] about every handshake that both can read. It is safe for
// concurrent use. It makes one Ticket, of 3 KB, for each request that it judges, and
// does not use it again for another request, since a hijacked connection outlives its
// handler.
type Gate struct {
	config   GateConfig
	policy   policy
	waits    bool                      // the guard may
	plain    head.Switching            // of refusals
	selected map[string]head.Switching // by protocol
	counters Counters
	broken   atomic.Uint64 // requests answered 500
	logged   atomic.Int64  // when a fault was last logged, in seconds since 1970
}

// NewGate checks the configuration and reports all its faults at once.
func NewGate(config GateConfig) (*Gate, error) {
	var f faults
	g := &Gate{config: config, policy: f.policy(config.Carriers, config.Protocols, config.Origins, config.AllowOrigin)}
	if config.Verifier == nil {
		f.addf("Verifier is nil; give one from NewVerifier")
	}
	f.timeout(&g.config.Timeout)
	if err := f.err("gate"); err != nil {
		return nil, err
	}
	g.waits = waits(config.Verifier.replay)
	g.plain = head.NewSwitching("", "")
	g.selected = map[string]head.Switching{}
	for _, p := range g.policy.protocols {
		g.selected[p] = head.NewSwitching(p, "")
	}
	return g, nil
}

// Stats returns how many requests were accepted, and how many refused with which
// code.
func (g *Gate) Stats() Stats { return g.counters.Stats() }

// Broken returns how many requests were answered 500, see GateConfig.OnError. Stats
// does not count them.
func (g *Gate) Broken() uint64 { return g.broken.Load() }

// Wrap returns a handler that checks and spends the ticket of a request and then calls
// next. next gets a copy of the request. The ticket is gone from its URL, RequestURI,
// subprotocols, Authorization and cookies; [TicketFrom] returns it. A refusal is
// answered with its class as a problem ([RFC 9457]), and next is not called.
//
// A handshake needs a ResponseWriter that can be hijacked as http.ResponseController
// does it. A middleware before the Gate may prevent that, and an
// httptest.ResponseRecorder cannot be hijacked. Then a handshake with a good ticket is
// answered 500, and the ticket is not spent; see GateConfig.OnError.
//
// [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457
func (g *Gate) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d := g.details()
		clean, err := g.judge(w, r, &d)
		if fault, ok := err.(*noHijacker); ok {
			g.fail(w, r, fault)
			return
		}
		if err != nil {
			g.refuse(w, r, d, err)
			return
		}
		g.counters.Count(nil)
		next.ServeHTTP(w, clean.WithContext(context.WithValue(revealed(r.Context()), ticketKey{}, d.ticket)))
	})
}

// Redeem checks and spends the ticket of a request and returns it. It neither
// answers nor changes r, in which the ticket still stands; see Refuse for the
// answer. It cannot see whether the connection can be hijacked.
func (g *Gate) Redeem(r *http.Request) (*Ticket, error) {
	d := g.details()
	if _, err := g.judge(nil, r, &d); err != nil {
		g.report(r, d, err)
		return nil, err
	}
	g.counters.Count(nil)
	return d.ticket, nil
}

// Refuse answers a request with what the client may know of an error of Redeem:
// the status, and the class as a problem ([RFC 9457]), or a close frame where
// CloseRefusals is on and the page of an allowed Origin asks. It does not call Deny.
//
// [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457
func (g *Gate) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	code := codeOf(err)
	if g.config.CloseRefusals && g.closed(w, r, err, code) {
		return
	}
	answer.Of(statusOf(err, code)).Write(w, r)
}

type ticketKey struct{}

// TicketFrom returns the ticket of a request that a [Gate] let through, from its
// context.
func TicketFrom(ctx context.Context) (*Ticket, bool) {
	t, ok := ctx.Value(ticketKey{}).(*Ticket)
	return t, ok
}

func (g *Gate) details() details {
	return details{verifier: g.config.Verifier, policy: &g.policy, ticket: new(Ticket)}
}

// report counts a refusal and tells the application. d is a copy, so that the
// original needs no memory of its own where all is well.
func (g *Gate) report(r *http.Request, d details, err error) (refusal Refusal) {
	g.counters.Count(err)
	if g.config.OnRefuse != nil || g.config.Deny != nil {
		d.err, d.host, d.shown = err, []byte(r.Host), parsedHead{r}
		refusal = d.refusal(codeOf(err), remoteOf(r))
	}
	if g.config.OnRefuse != nil {
		g.config.OnRefuse(r, refusal)
	}
	return refusal
}

// refuse reports and answers.
func (g *Gate) refuse(w http.ResponseWriter, r *http.Request, d details, err error) {
	refusal := g.report(r, d, err)
	switch {
	case g.config.Deny == nil:
		g.Refuse(w, r, err)
	case !g.config.CloseRefusals || !g.closed(w, r, err, refusal.Code):
		status := statusOf(err, refusal.Code)
		own := &denial{ResponseWriter: w, status: status}
		if g.config.Deny(own, conceal(r), refusal); !own.said {
			answer.Of(status).Write(w, r)
		}
	}
}

// judge checks and spends the ticket and returns the request without it. w is nil
// where nobody wants to hijack it. On an error it leaves in d what was learnt.
func (g *Gate) judge(w http.ResponseWriter, r *http.Request, d *details) (*http.Request, error) {
	deadline := time.Now().Add(g.config.Timeout)
	if end, ok := r.Context().Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	if err := g.handshake(r); err != nil { // step 4: handshake
		return nil, err
	}
	f := g.policy.finder()
	p := readParts(r)
	p.find(&f)
	request, t := &d.request, d.ticket
	request.Ticket, request.Path = f.Ticket, p.path
	if o := r.Header["Origin"]; len(o) > 0 {
		request.Origin = append([]byte{}, o[0]...)
	}
	if _, err := g.policy.admit(&f, request.Origin, []byte(r.Host)); err != nil { // the end of step 4, to step 8
		return nil, err
	}
	if g.config.PeerAddr != nil {
		request.Addr = g.config.PeerAddr(r)
	} else {
		request.Addr = parseAddr(r.RemoteAddr)
	}
	v, now := g.config.Verifier, time.Now()
	d.now = now.Unix()
	if err := v.judge(d.now, request, t); err != nil { // step 9: ticket; step 10: bindings
		return nil, err
	}
	if err := agreed(t, p.path); err != nil { // step 10: bindings
		return nil, err
	}
	// The Hijacker comes after the ticket, so that no stranger learns that the gateway
	// is broken.
	if w != nil && (!g.config.AnyRequest || asksForWebSocket(r)) {
		if fault := hijackable(w); fault != nil {
			return nil, fault
		}
	}
	clean := p.without(r, &f)
	if g.config.Authorize != nil { // step 11: authorization
		if err := g.config.Authorize(clean, t); err != nil {
			return nil, unauthorized(err)
		}
		now = time.Now()
		d.now = now.Unix()
	}
	switch { // step 12: still in time. Nothing is spent on a client that gets no 101
	case r.Context().Err() != nil:
		return nil, errLeft
	case now.After(deadline):
		return nil, ErrTimeout
	}
	if g.config.Authorize != nil { // step 12: still in time. It may have taken long
		if err := v.admit(now.Unix(), t); err != nil {
			return nil, err
		}
	}
	ctx := r.Context()
	if g.waits {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, guardEnd(now, deadline))
		defer cancel()
	}
	if err := v.spend(ctx, now.Unix(), t); err != nil { // step 13: single use
		return nil, err
	}
	return clean, nil
}

// A noHijacker says that a handshake cannot succeed, whatever its ticket is.
type noHijacker struct{ writer http.ResponseWriter }

// Error names the type of the writer and the cure.
func (e *noHijacker) Error() string {
	return fmt.Sprintf("wsticket: Gate: no WebSocket handshake can succeed here, because the connection cannot be taken over: "+
		"a %T is in the way, which has neither a method Hijack nor Unwrap. Put the Gate outside of the middleware that it belongs to, "+
		"or give that type a method Unwrap() http.ResponseWriter, see http.ResponseController. No ticket was spent", e.writer)
}

// hijackable looks for a Hijacker as http.ResponseController does.
func hijackable(w http.ResponseWriter) error {
	for range 100 { // more than that is one that unwraps to itself
		switch inner := w.(type) {
		case http.Hijacker:
			return nil
		case interface{ Unwrap() http.ResponseWriter }:
			w = inner.Unwrap()
			continue
		}
		break
	}
	return &noHijacker{w}
}

// fail answers a fault of the program around the Gate.
func (g *Gate) fail(w http.ResponseWriter, r *http.Request, fault error) {
	g.broken.Add(1)
	if g.config.OnError != nil {
		g.config.OnError(r, fault)
	} else if now, last := time.Now().Unix(), g.logged.Load(); (now-last >= 60 || now < last) && g.logged.CompareAndSwap(last, now) {
		slog.Error(fault.Error())
	}
	answer.Of(http.StatusInternalServerError).Write(w, r)
}

// asksForWebSocket says whether some library might take r for a handshake. Any other
// offer to upgrade may be ignored.
func asksForWebSocket(r *http.Request) bool {
	return slices.ContainsFunc(r.Header["Upgrade"], head.NamesWebSocket[string])
}

// handshake says what is wrong with a request, as package head does with bytes. What
// net/http has refused or taken away by then cannot be judged here.
func (g *Gate) handshake(r *http.Request) error {
	if fault := g.fault(r); fault != head.NoFault {
		return headErrors[fault]
	}
	return nil
}

func (g *Gate) fault(r *http.Request) head.Fault {
	if len(r.Header["Origin"]) > 1 {
		return head.TwiceOrigin
	}
	if g.config.AnyRequest && !asksForWebSocket(r) {
		return head.NoFault
	}
	h := r.Header
	if r.ProtoMajor != 1 || r.ProtoMinor != 1 {
		return head.NotHTTP11
	}
	if r.Method != http.MethodGet {
		return head.NotGET
	}
	if target := targetOf(r); target != "" {
		t, ok := head.SplitTarget([]byte(target))
		switch {
		case !ok:
			return head.BadTarget
		case t.Authority != nil && string(t.Authority) != r.Host:
			return head.OtherHost
		}
	}
	switch {
	case r.ContentLength != 0, len(r.TransferEncoding) > 0, h["Transfer-Encoding"] != nil, !saysNothing(h["Content-Length"]):
		return head.HasBody
	case len(h["Upgrade"]) > 1:
		return head.TwiceUpgrade
	case len(h["Sec-Websocket-Version"]) > 1:
		return head.TwiceVersion
	case len(h["Sec-Websocket-Key"]) > 1:
		return head.TwiceKey
	}
	upgrade := false
	for _, line := range h["Connection"] {
		listed, ok := head.ConnectionList(line)
		if !ok {
			return head.BadConnection
		}
		upgrade = upgrade || listed
	}
	switch {
	case !head.ValidHost(r.Host):
		return head.BadHost
	case !head.IsWebSocket(h.Get("Upgrade")):
		return head.NotWebSocket
	case !upgrade:
		return head.NoConnectionUpgrade
	case h.Get("Sec-Websocket-Version") != "13":
		return head.NotVersion13
	case len(h["Sec-Websocket-Key"]) == 0:
		return head.NoKey
	case !head.ValidKey(h.Get("Sec-Websocket-Key")):
		return head.BadKey
	}
	return head.NoFault
}

// saysNothing wants no Content-Length, or one of 0.
func saysNothing(lengths []string) bool {
	return len(lengths) == 0 || len(lengths) == 1 && lengths[0] == "0"
}

// parts are copies of where a ticket may stand in a request.
type parts struct {
	path, query                       []byte
	protocols, authorization, cookies [][]byte
	concealed                         bool // the request does not show them any more
}

func readParts(r *http.Request) *parts {
	if c := concealedOf(r.Context()); c != nil {
		return c.parts(r)
	}
	p := &parts{
		protocols:     bytesOf(r.Header["Sec-Websocket-Protocol"]),
		authorization: bytesOf(r.Header["Authorization"]),
		cookies:       bytesOf(r.Header["Cookie"]),
	}
	// The target as the client sent it, whatever a handler in between made of
	// the URL: that is what the ticket was minted for.
	if t, ok := head.SplitTarget([]byte(r.RequestURI)); ok {
		p.path, p.query = t.Path, t.Query
	} else {
		p.path, p.query = []byte(r.URL.EscapedPath()), []byte(r.URL.RawQuery)
	}
	return p
}

func bytesOf(values []string) [][]byte {
	all := make([][]byte, len(values))
	for i, v := range values {
		all[i] = []byte(v)
	}
	return all
}

func (p *parts) find(f *carrier.Finder) {
	f.InQuery(p.query)
	for i, v := range p.protocols {
		f.InProtocols(i, v)
	}
	for i, v := range p.authorization {
		f.InAuthorization(i, v)
	}
	for i, v := range p.cookies {
		f.InCookies(i, v)
	}
}

// without returns a shallow copy of r without the ticket that f found, and with
// Connection on one line: there are libraries that read the first only, and would
// refuse the handshake after its ticket was spent.
func (p *parts) without(r *http.Request, f *carrier.Finder) *http.Request {
	clean := *r
	if lines := r.Header["Connection"]; len(lines) > 1 {
		clean.Header = maps.Clone(r.Header)
		clean.Header["Connection"] = []string{strings.Join(lines, ", ")}
	}
	if r.URL.Path == "" && string(p.path) == "/" { // of a target such as http://gw.example?a=b
		clean.URL = copyOf(r.URL)
		clean.URL.Path = "/"
	}
	if p.concealed {
		return &clean
	}
	switch f.By {
	case carrier.Query:
		clean.URL = copyOf(clean.URL)
		clean.URL.RawQuery = withoutParameter(r.URL.RawQuery, f.On)
		if r.Form != nil { // a handler before has parsed it
			clean.Form = maps.Clone(r.Form)
			delete(clean.Form, carrier.Parameter)
		}
		if path, query, ok := strings.Cut(r.RequestURI, "?"); ok {
			clean.RequestURI = path
			if query = withoutParameter(query, f.On); query != "" {
				clean.RequestURI += "?" + query
			}
		}
	case carrier.Subprotocol:
		clean.Header = withoutLine(clean.Header, "Sec-Websocket-Protocol", p.protocols, f)
	case carrier.Bearer:
		clean.Header = withoutLine(clean.Header, "Authorization", p.authorization, f)
	case carrier.Cookie:
		clean.Header = withoutLine(clean.Header, "Cookie", p.cookies, f)
	}
	return &clean
}

func copyOf(u *url.URL) *url.URL {
	other := *u
	return &other
}

func withoutParameter(query string, on carrier.Set) string {
	f := carrier.Finder{On: on}
	b := []byte(query)
	if f.InQuery(b); f.Count == 0 {
		return query
	}
	return string(f.Cut(b))
}

// withoutLine copies h and cuts the ticket from the line of that name in which f
// found it.
func withoutLine(h http.Header, name string, values [][]byte, f *carrier.Finder) http.Header {
	clean := maps.Clone(h)
	left := f.Cut(values[f.Line])
	var lines []string
	for i, v := range h[name] {
		if i != f.Line {
			lines = append(lines, v)
		} else if len(left) > 0 {
			lines = append(lines, string(left))
		}
	}
	delete(clean, name)
	if len(lines) > 0 {
		clean[name] = lines
	}
	return clean
}

// remoteOf is the peer of a request, nil where it has no address.
func remoteOf(r *http.Request) net.Addr {
	if addr, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(likelyZone(addr.Addr()), addr.Port()))
	}
	if addr := likelyZone(parseAddr(r.RemoteAddr)); addr.IsValid() {
		return &net.IPAddr{IP: addr.AsSlice(), Zone: addr.Zone()}
	}
	return nil
}

// likelyZone takes off a zone that is no name of an interface: it came from a header,
// through a middleware that did not look at it.
func likelyZone(addr netip.Addr) netip.Addr {
	const longest = 15 // of an interface of Linux
	if zone := addr.Zone(); len(zone) > longest || zone != "" && !head.ValidToken(zone) {
		return addr.WithZone("")
	}
	return addr
}
