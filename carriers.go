package wsticket

import (
	"strings"

	"github.com/wsticket/wsticket/internal/carrier"
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

	// CarrierSubprotocol is an offered subprotocol "ticket.<ticket>". A client that
	// uses it must offer a subprotocol of the application too, which is then selected.
	// Otherwise the handshake is refused before the ticket is spent, because a browser
	// would refuse the answer. If the configuration names no Protocols, no ticket is
	// accepted this way.
	CarrierSubprotocol = Carriers(carrier.Subprotocol)

	// CarrierBearer is "Authorization: Bearer <ticket>" ([RFC 6750 section 2.1]), for
	// clients that are not browsers.
	//
	// [RFC 6750 section 2.1]: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
	CarrierBearer = Carriers(carrier.Bearer)

	// CarrierCookie is the cookie "__Host-ws-ticket". Browsers send cookies whatever
	// page asks, so a ticket that came by it needs an Origin that the configuration
	// lists. Otherwise it is refused as ErrOrigin.
	CarrierCookie = Carriers(carrier.Cookie)

	// DefaultCarriers are those that are on if none are named.
	DefaultCarriers = CarrierQuery | CarrierSubprotocol
)

// String lists the carriers of the set.
func (c Carriers) String() string {
	var names []string
	for _, one := range []struct {
		carrier Carriers
		name    string
	}{{CarrierQuery, "query"}, {CarrierSubprotocol, "subprotocol"}, {CarrierBearer, "bearer"}, {CarrierCookie, "cookie"}} {
		if c&one.carrier != 0 {
			names = append(names, one.name)
		}
	}
	return strings.Join(names, ", ")
}
