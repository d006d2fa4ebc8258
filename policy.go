package wsticket

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/wsticket/wsticket/internal/carrier"
	"github.com/wsticket/wsticket/internal/head"
)

// policy is what a gateway holds the handshake of RFC 6455 against before it
// looks at the ticket: the same for raw connections and for net/http.
type policy struct {
	carriers  carrier.Set
	protocols []string
	origins   head.Origins
	listed    []string // what origins was made of
}

func (f *faults) policy(carriers Carriers, protocols, origins []string) policy {
	p := policy{carriers: carrier.Set(carriers), protocols: slices.Clone(protocols), listed: slices.Clone(origins)}
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
		if len(p.listed) == 0 {
			return errOtherHost
		}
		return errUnlisted
	case f.Ambiguous || f.Count > 1:
		return ErrAmbiguous
	case f.Count == 0:
		return ErrMissing
	case f.By == carrier.Cookie && (origin == nil || !p.origins.Listed(origin)):
		return errCookieOrigin
	case f.By == carrier.Subprotocol && f.Selected == "":
		return errNoProtocol
	}
	return nil
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
