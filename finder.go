package wsticket

import (
	"bytes"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/wsticket/wsticket/internal/answer"
	"github.com/wsticket/wsticket/internal/carrier"
)

// A FinderConfig says which handshakes a [Finder] takes. Its fields are as in
// [GateConfig].
type FinderConfig struct {
	Origins     []string
	AllowOrigin func(origin, host []byte) bool
	Carriers    Carriers
	Protocols   []string
	AnyRequest  bool
}

// A Finder finds the one ticket in a handshake that another server has read, such as
// fasthttp, or a proxy: with the rules of a [Gate], for a [Verifier] to redeem. On
// net/http use a Gate. It is safe for concurrent use.
//
//	found, err := finder.Find(parts)
//	if err == nil {
//		found.Addr = peer
//		err = verifier.Redeem(ctx, found.Request, &ticket)
//	}
//	if err != nil {
//		answer := wsticket.AnswerTo(err)
//		…
//	}
type Finder struct{ gate Gate }

// NewFinder checks the configuration and reports all its faults at once.
func NewFinder(config FinderConfig) (*Finder, error) {
	var f faults
	finder := &Finder{Gate{config: GateConfig{AnyRequest: config.AnyRequest}, policy: f.policy(config.Carriers, config.Protocols, config.Origins, config.AllowOrigin)}}
	if err := f.err("finder"); err != nil {
		return nil, err
	}
	return finder, nil
}

// Parts are what a server has read of a request, as the client sent it. A Finder reads
// them and keeps no more than Found says.
type Parts struct {
	Method string
	Target string // such as "/ws?ticket=…", percent-encoded as it came
	Proto  string // "HTTP/1.1"
	Host   string // the Host header, or what a server of HTTP/2 has in its place
	// Headers yields the name, in any case, and the value of every header line, in
	// order. It may leave out Host.
	Headers iter.Seq2[string, string]
}

const redactedParts = "wsticket.Parts(redacted)"

// String says that the parts are not shown: they hold a ticket.
func (p Parts) String() string { return redactedParts }

// Format redacts the parts under every verb.
func (p Parts) Format(f fmt.State, _ rune) { f.Write([]byte(redactedParts)) }

// LogValue redacts the parts in slog.
func (p Parts) LogValue() slog.Value { return slog.StringValue(redactedParts) }

// MarshalText redacts the parts in JSON and in every other encoding of text.
func (p Parts) MarshalText() ([]byte, error) { return []byte(redactedParts), nil }

// Found is what a [Finder] found. It owns its bytes.
type Found struct {
	// Request is for the Verifier. Addr is the caller's to fill in, where tickets are
	// bound to addresses.
	Request
	// Protocol is the subprotocol to select, "" for none.
	Protocol string
	// Carrier is how the ticket came.
	Carrier Carriers

	// Query is the query without the ticket, and without the '?'.
	Query string
	// Header is the name of the header in which the ticket stood, "" where that was the
	// query: one of Sec-WebSocket-Protocol, Authorization and Cookie. Lines are those to
	// put in its place, without the ticket; there may be none.
	Header string
	Lines  []string
}

// Find judges a request as a Gate does before it looks into the ticket. The error is a
// refusal; see [CodeOf] and [AnswerTo].
func (f *Finder) Find(p Parts) (Found, error) {
	r := p.request()
	if err := f.gate.handshake(r); err != nil {
		return Found{}, err
	}
	c := f.gate.policy.finder()
	parts := readParts(r)
	parts.find(&c)
	var origin []byte
	if o := r.Header["Origin"]; len(o) > 0 {
		origin = append([]byte{}, o[0]...)
	}
	if _, err := f.gate.policy.admit(&c, origin, []byte(r.Host)); err != nil {
		return Found{}, err
	}
	found := Found{
		Request:  Request{Ticket: bytes.Clone(c.Ticket), Origin: origin, Path: parts.path, atGateway: true},
		Protocol: c.Selected,
		Carrier:  Carriers(c.By),
	}
	clean := parts.without(r, &c)
	found.Query = strings.Clone(clean.URL.RawQuery) // there are servers that write the next request over it
	if found.Header = carrierHeaders[c.By]; found.Header != "" {
		for _, line := range clean.Header[http.CanonicalHeaderKey(found.Header)] {
			found.Lines = append(found.Lines, strings.Clone(line))
		}
	}
	return found, nil
}

var carrierHeaders = map[carrier.Set]string{
	carrier.Subprotocol: "Sec-WebSocket-Protocol",
	carrier.Bearer:      "Authorization",
	carrier.Cookie:      "Cookie",
}

// request is p as net/http would have it.
func (p Parts) request() *http.Request {
	_, query, _ := strings.Cut(p.Target, "?")
	r := &http.Request{Method: p.Method, RequestURI: p.Target, URL: &url.URL{RawQuery: query}, Proto: p.Proto, Host: p.Host, Header: http.Header{}}
	r.ProtoMajor, r.ProtoMinor, _ = http.ParseHTTPVersion(p.Proto)
	if p.Target == "" { // which no client sends
		r.RequestURI = "*"
	}
	if p.Headers == nil {
		return r
	}
	for name, value := range p.Headers {
		name = http.CanonicalHeaderKey(name)
		r.Header[name] = append(r.Header[name], value)
	}
	return r
}

// An Answer is what a client may know of a refusal: the status, header lines, and the
// class as a problem ([RFC 9457]). All refusals of one status are the same.
//
// [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457
type Answer struct {
	Status int
	Header [][2]string // Content-Type and Content-Length among them; not to be changed
	Body   string
}

// AnswerTo is the answer to an error of a [Finder] or a [Verifier]. One without a code
// is answered as unavailable.
func AnswerTo(err error) Answer {
	a := answer.Of(statusOf(err, codeOf(err)))
	return Answer{Status: a.Status, Header: a.Header, Body: a.Body}
}
