package wsticket

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/wsticket/wsticket/internal/carrier"
	"github.com/wsticket/wsticket/internal/claims"
	"github.com/wsticket/wsticket/internal/head"
)

// Carriers is a set of the ways in which a ticket may come. Those that are not in
// the set are neither counted nor removed. More than one ticket over all of them
// is ErrAmbiguous.
type Carriers uint8

// The carriers. They are joined with |.
const (
	// CarrierQuery is the query parameter "ticket". Its value is taken as it
	// stands: a ticket has no character that needs escaping.
	CarrierQuery = Carriers(carrier.Query)

	// CarrierSubprotocol is an offered subprotocol "ticket.<ticket>". A client
	// that uses it must offer a subprotocol of the application too, and that gets
	// selected; else the handshake fails before anything is spent, as a browser
	// would fail it after. Where the configuration names no Protocols, none gets
	// in this way.
	CarrierSubprotocol = Carriers(carrier.Subprotocol)

	// CarrierBearer is "Authorization: Bearer <ticket>" (RFC 6750 section 2.1),
	// for clients that are no browsers.
	CarrierBearer = Carriers(carrier.Bearer)

	// CarrierCookie is the cookie "__Host-ws-ticket". Browsers send cookies
	// whatever page asks, so a ticket that came by it needs an Origin that the
	// configuration lists, else ErrOrigin.
	CarrierCookie = Carriers(carrier.Cookie)

	// DefaultCarriers are those that are on where none are named.
	DefaultCarriers = CarrierQuery | CarrierSubprotocol
)

// policy is what a gateway holds the handshake of RFC 6455 against before it
// looks at the ticket: the same for raw connections and for net/http.
type policy struct {
	carriers  carrier.Set
	protocols []string
	origins   head.Origins
}

func (f *faults) policy(carriers Carriers, protocols, origins []string) policy {
	p := policy{carriers: carrier.Set(carriers), protocols: slices.Clone(protocols)}
	if carriers == 0 {
		p.carriers = carrier.Set(DefaultCarriers)
	}
	if p.carriers&^carrier.All != 0 {
		f.addf("Carriers holds %#x, which is no carrier; join the Carrier constants with |", uint8(carriers))
	}
	for i, protocol := range protocols {
		switch {
		case !head.ValidToken(protocol):
			f.addf("Protocols holds %q; a subprotocol is letters, digits and !#$%%&'*+-.^_`|~", protocol)
		case strings.HasPrefix(protocol, carrier.Prefix):
			f.addf("Protocols holds %q; names that begin with %q carry tickets", protocol, carrier.Prefix)
		case slices.Contains(protocols[:i], protocol):
			f.addf("Protocols holds %q twice; list each once", protocol)
		}
	}
	var err error
	if p.origins, err = head.NewOrigins(origins); err != nil {
		f.addf("Origins: %w", err)
	}
	return p
}

func (p *policy) finder() carrier.Finder {
	return carrier.Finder{On: p.carriers, Protocols: p.protocols}
}

// admit judges what f found, in the order of the format: the list of subprotocols
// as part of the handshake, origin policy, carriers, the cookie's origin, the
// selected subprotocol. origin is nil where there was none.
func (p *policy) admit(f *carrier.Finder, origin, host []byte) error {
	switch {
	case f.BadList:
		return errBadProtocols
	case origin != nil && !p.origins.Allow(origin, host):
		return ErrOrigin
	case f.Ambiguous || f.Count > 1:
		return ErrAmbiguous
	case f.Count == 0:
		return ErrMissing
	case f.By == carrier.Cookie && (origin == nil || !p.origins.Listed(origin)):
		return ErrOrigin
	case f.By == carrier.Subprotocol && f.Selected == "":
		return errNoProtocol
	}
	return nil
}

// A Refusal tells the application what was refused and why. The client is told
// the class of the code and nothing else. Its slices are valid during the call
// that it is handed to.
type Refusal struct {
	Code Error
	// Err is the code, or an error that wraps it and says more.
	Err error
	// Remote is the peer's address, where there is a connection to ask.
	Remote net.Addr

	// KeyID, ID and Subject are kid, jti and sub of a ticket whose MAC held, nil
	// before. They are what its signer wrote, no promise that the holder is who
	// was meant.
	KeyID, ID, Subject []byte
	// Age is now - iat, or zero where ID is nil. A negative one, or one above the
	// lifetime of tickets, speaks of clocks that disagree.
	Age time.Duration
}

// refusal makes one of what the verifier left in t.
func refusal(code Error, err error, remote net.Addr, now int64, t *Ticket) Refusal {
	r := Refusal{Code: code, Err: err, Remote: remote}
	if t.keyLen > 0 {
		r.KeyID = t.KeyID()
		r.ID = t.ID()
		r.Subject = t.Subject()
	}
	if t.set.Has&claims.IssuedAt != 0 {
		r.Age = time.Duration(now-t.set.IssuedAt) * time.Second
	}
	return r
}

// codeOf is CodeOf for the errors of this package, without its allocation.
func codeOf(err error) Error {
	switch e := err.(type) {
	case Error:
		return e
	case *handshakeError:
		return e.code
	}
	if code, ok := CodeOf(err); ok {
		return code
	}
	return ErrReplayUnavailable
}

// addrOf is the IP address of a peer, or the zero Addr where it has none.
func addrOf(remote net.Addr) netip.Addr {
	switch a := remote.(type) {
	case *net.TCPAddr:
		if a != nil {
			return a.AddrPort().Addr()
		}
	case interface{ AddrPort() netip.AddrPort }:
		return a.AddrPort().Addr()
	}
	return netip.Addr{}
}

// A handshakeError is a refusal with more to say than its code.
type handshakeError struct {
	code   Error
	status int // 0 means that of the code
	text   string
	chain  []error // the code, and the cause if there is one
}

func newHandshakeError(code Error, text string, cause ...error) *handshakeError {
	return &handshakeError{code: code, text: text, chain: append([]error{code}, cause...)}
}

// Error names the package, the code and the fault.
func (e *handshakeError) Error() string { return "wsticket: " + e.code.Code() + ": " + e.text }

// Unwrap returns the code and the cause.
func (e *handshakeError) Unwrap() []error { return e.chain }

func statusOf(err error, code Error) int {
	if e, ok := err.(*handshakeError); ok && e.status != 0 {
		return e.status
	}
	return code.Status()
}

var (
	errBadProtocols = newHandshakeError(ErrBadHandshake, "the Sec-WebSocket-Protocol header is not a list of tokens")
	errNoProtocol   = newHandshakeError(ErrBadHandshake, "the ticket came as a subprotocol, and none of the application was offered beside it; offer one of Protocols too")
	errLeft         = newHandshakeError(ErrTimeout, "the client went away before its ticket was spent")
	errEarly        = newHandshakeError(ErrBadHandshake, "bytes followed the head before the answer (RFC 6455 section 4.1)")

	// headErrors holds one error for each fault of a head.
	headErrors = func() (all [head.NumFaults]*handshakeError) {
		for f := head.NoFault + 1; f < head.NumFaults; f++ {
			code := ErrBadHandshake
			if f.Status() == ErrHeadTooLarge.Status() {
				code = ErrHeadTooLarge
			}
			all[f] = newHandshakeError(code, f.String())
			all[f].status = f.Status()
		}
		return all
	}()
)
