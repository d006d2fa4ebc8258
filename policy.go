package wsticket

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/wsticket/wsticket/internal/carrier"
	"github.com/wsticket/wsticket/internal/claims"
	"github.com/wsticket/wsticket/internal/head"
)

// policy is what a gateway wants of a handshake besides a good ticket: steps 4 to 8 of
// the order of checks in docs/upgrading.md, which do not look at the ticket, and one
// rule about paths, which does. It is the same for raw connections and for net/http.
type policy struct {
	carriers    carrier.Set
	protocols   []string
	origins     head.Origins
	listed      []string // what origins was made of
	allowOrigin func(origin, host []byte) bool
}

func (f *faults) policy(carriers Carriers, protocols, origins []string, allow func(origin, host []byte) bool) policy {
	p := policy{carriers: carrier.Set(carriers), protocols: slices.Clone(protocols), listed: slices.Clone(origins), allowOrigin: allow}
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

// timeout reads how long a handshake may take.
func (f *faults) timeout(d *time.Duration) {
	if *d == 0 {
		*d = defaultTimeout
	} else if *d < 0 {
		f.addf("Timeout is %v; give a positive duration, or 0 for %v", *d, defaultTimeout)
	}
}

func (p *policy) finder() carrier.Finder {
	return carrier.Finder{On: p.carriers, Protocols: p.protocols}
}

// admit judges what f found, in the order of docs/upgrading.md. origin is nil where
// there was none. page says whether the browser of a page asks that may connect, so
// that it may be told of a refusal in a close frame.
func (p *policy) admit(f *carrier.Finder, origin, host []byte) (page bool, err error) {
	// No page can set the Authorization header of a handshake.
	byProgram := f.By == carrier.Bearer && f.One()
	switch {
	case f.BadList: // step 4: handshake, its last part
		return false, errBadProtocols
	case origin != nil && !byProgram && !p.allows(origin, host): // step 5: Origin
		if len(p.listed) == 0 {
			return false, errOtherHost
		}
		return false, errUnlisted
	}
	page = origin != nil && f.By != carrier.Bearer
	switch {
	case f.Ambiguous || f.Count > 1: // step 6: one ticket
		return page, ErrAmbiguous
	case f.Count == 0:
		return page, ErrMissing
	case f.By == carrier.Cookie && (origin == nil || !p.origins.Listed(origin)): // step 7: cookie
		return false, errCookieOrigin
	case f.By == carrier.Subprotocol && f.Selected == "": // step 8: subprotocol
		return page, errNoProtocol
	}
	return page, nil
}

func (p *policy) allows(origin, host []byte) bool {
	return p.origins.Allow(origin, host) || p.allowOrigin != nil && p.allowOrigin(origin, host)
}

// agreed refuses a path that some routers would read as another one, if the ticket is
// bound to a path. Those routers drop the parameters of a segment, from ';' on, before
// they look for dots, so they read /a/..;/b as /b. It is a rule of gateways. The format
// has no such rule: there "..;" is a name like others.
func agreed(t *Ticket, path []byte) error {
	if t.set.Has&claims.Path != 0 && bytes.ContainsAny(path, ";%") && hidesDots(path) {
		return errHiddenPath
	}
	return nil
}

// hidesDots reports whether a segment of path is empty, "." or "..", without its
// parameters. A ';' may be escaped: a router that decodes first sees it too.
func hidesDots(path []byte) bool {
	for len(path) > 0 {
		segment := path[1:] // what comes before it is a slash
		if end := bytes.IndexByte(segment, '/'); end >= 0 {
			segment = segment[:end]
		}
		path = path[1+len(segment):]
		dots := 0
		for len(segment) > 0 {
			c, n := segment[0], 1
			if escaped, ok := percentByte(segment); ok && c == '%' {
				c, n = escaped, 3
			}
			if c == ';' {
				if dots <= 2 {
					return true
				}
				break
			}
			if c != '.' {
				break
			}
			dots++
			segment = segment[n:]
		}
	}
	return false
}

// waits says whether a guard may wait for a store. Guards of this package do not.
func waits(guard ReplayGuard) bool {
	switch guard.(type) {
	case *ReplayCache, allowReplay:
		return false
	}
	return true
}

// guardEnd is when the context of a guard that may wait ends, so that there is time
// left for the answer.
func guardEnd(now, deadline time.Time) time.Time {
	return deadline.Add(-min(grace, deadline.Sub(now)/4))
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
	case *net.IPAddr:
		if a != nil {
			addr, _ := netip.AddrFromSlice(a.IP)
			return addr.WithZone(a.Zone)
		}
	case *net.UnixAddr, nil: // the name of a socket is what its owner likes
	default:
		return parseAddr(a.String())
	}
	return netip.Addr{}
}

// parseAddr reads an address with a port or without, as some middlewares leave it,
// or is the zero Addr.
func parseAddr(text string) netip.Addr {
	if addr, err := netip.ParseAddrPort(text); err == nil {
		return addr.Addr()
	}
	if n := len(text); n > 2 && text[0] == '[' && text[n-1] == ']' {
		text = text[1 : n-1]
	}
	addr, _ := netip.ParseAddr(text)
	return addr
}
