package wsticket

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/wsticket/wsticket/internal/answer"
	"github.com/wsticket/wsticket/internal/carrier"
	"github.com/wsticket/wsticket/internal/head"
)

// A GateConfig says which requests a [Gate] lets through.
type GateConfig struct {
	// Verifier checks and spends the tickets. Required.
	Verifier *Verifier

	// Origins are the pages that may connect, as browsers name them:
	// "https://app.example". With none here, those of the host that the request
	// names may. A request without Origin passes, for no browser sent it.
	Origins []string

	// Carriers are where a ticket may stand. 0 means DefaultCarriers.
	Carriers Carriers

	// Protocols are the subprotocols that the handler behind selects from. A
	// ticket that comes as a subprotocol is taken only where one of them is
	// offered beside it, so with none here it never is.
	Protocols []string

	// AnyRequest lets requests through that are no WebSocket handshakes, such as
	// those of an event stream. They need a ticket like the others.
	AnyRequest bool

	// PeerAddr supplies the address that a ticket's ip is held against, where it
	// is not that of the connection, as behind a proxy that is trusted. nil means
	// Request.RemoteAddr.
	PeerAddr func(*http.Request) netip.Addr

	// Authorize may say no to a ticket that holds, before it is spent: a refusal
	// code is passed on, any other error becomes ErrUnauthorized. It sees the
	// request without the ticket, which it gets beside it.
	Authorize func(*http.Request, *Ticket) error

	// OnRefuse is told of every refusal, with the request as it came: the ticket
	// still stands in its URL, see [RedactURL].
	OnRefuse func(*http.Request, Refusal)
}

// A Gate lets requests of net/http through that bring a ticket. It has the same
// verdict as an [Upgrader] for every handshake that both can read, and it is safe
// for concurrent use. It makes one Ticket for each accepted request and never
// uses it again, since a hijacked connection outlives its handler.
type Gate struct {
	config   GateConfig
	policy   policy
	counters Counters
}

// NewGate checks the configuration and reports all its faults at once.
func NewGate(config GateConfig) (*Gate, error) {
	var f faults
	g := &Gate{config: config, policy: f.policy(config.Carriers, config.Protocols, config.Origins)}
	if config.Verifier == nil {
		f.addf("Verifier is nil; give one from NewVerifier")
	}
	if err := f.err("gate"); err != nil {
		return nil, err
	}
	return g, nil
}

// Stats returns how many requests were accepted, and how many refused with which
// code.
func (g *Gate) Stats() Stats { return g.counters.Stats() }

// Wrap returns a handler that checks and spends the ticket of a request and then
// calls next with a copy of the request in which the ticket is gone from URL,
// RequestURI, subprotocols, Authorization and cookies, and is found by
// [TicketFrom] instead. A refusal is answered with its class as a problem (RFC
// 9457), and next is not called.
func (g *Gate) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t, clean, err := g.check(r)
		if err != nil {
			g.Refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, clean.WithContext(context.WithValue(revealed(r.Context()), ticketKey{}, t)))
	})
}

// Redeem checks and spends the ticket of a request and returns it. It neither
// answers nor changes r, in which the ticket still stands; see Refuse for the
// answer.
func (g *Gate) Redeem(r *http.Request) (*Ticket, error) {
	t, _, err := g.check(r)
	return t, err
}

// Refuse answers a request with what the client may know of an error of Redeem:
// the status, and the class as a problem (RFC 9457).
func (g *Gate) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	answer.Of(statusOf(err, codeOf(err))).Write(w, r)
}

type ticketKey struct{}

// TicketFrom returns the ticket of a request that a [Gate] let through, from its
// context.
func TicketFrom(ctx context.Context) (*Ticket, bool) {
	t, ok := ctx.Value(ticketKey{}).(*Ticket)
	return t, ok
}

func (g *Gate) check(r *http.Request) (*Ticket, *http.Request, error) {
	d := details{verifier: g.config.Verifier, policy: &g.policy, ticket: new(Ticket)}
	clean, err := g.judge(r, &d)
	if err != nil {
		code := codeOf(err)
		g.counters.Count(err)
		if g.config.OnRefuse != nil {
			why := d // so that d needs no memory of its own where all is well
			why.err, why.host, why.shown = err, []byte(r.Host), parsedHead{r}
			g.config.OnRefuse(r, why.refusal(code, remoteOf(r)))
		}
		return nil, nil, err
	}
	g.counters.Count(nil)
	return d.ticket, clean, nil
}

// judge checks and spends the ticket and returns the request without it. On an
// error it leaves in d what was learnt.
func (g *Gate) judge(r *http.Request, d *details) (*http.Request, error) {
	if err := g.handshake(r); err != nil {
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
	if err := g.policy.admit(&f, request.Origin, []byte(r.Host)); err != nil {
		return nil, err
	}
	if g.config.PeerAddr != nil {
		request.Addr = g.config.PeerAddr(r)
	} else if addr, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		request.Addr = addr.Addr()
	}
	v, now := g.config.Verifier, time.Now().Unix()
	d.now = now
	if err := v.judge(now, request, t); err != nil {
		return nil, err
	}
	clean := p.without(r, &f)
	if g.config.Authorize != nil {
		if err := g.config.Authorize(clean, t); err != nil {
			return nil, unauthorized(err)
		}
		now = time.Now().Unix() // it may have taken its time
		d.now = now
		if err := v.admit(now, t); err != nil {
			return nil, err
		}
	}
	if r.Context().Err() != nil {
		return nil, errLeft
	}
	if err := v.spend(r.Context(), now, t); err != nil {
		return nil, err
	}
	return clean, nil
}

// handshake finds fault with a request as package head does with bytes. What
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
	if g.config.AnyRequest && r.Header["Upgrade"] == nil {
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
		if _, _, ok := head.SplitTarget([]byte(target)); !ok {
			return head.BadTarget
		}
	}
	switch {
	case r.ContentLength != 0, len(r.TransferEncoding) > 0, h["Content-Length"] != nil, h["Transfer-Encoding"] != nil:
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
	if path, query, ok := head.SplitTarget([]byte(r.RequestURI)); ok {
		p.path, p.query = path, query
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
	if p.concealed {
		return &clean
	}
	switch f.By {
	case carrier.Query:
		clean.URL = new(url.URL)
		*clean.URL = *r.URL
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

// remoteOf is the peer of a request, nil where it is no TCP address.
func remoteOf(r *http.Request) net.Addr {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return nil
	}
	return net.TCPAddrFromAddrPort(addr)
}
