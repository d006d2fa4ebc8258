package gateway

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/wsticket/wsticket"
)

// The headers that tell the backend who is connected. Each is set on every request,
// empty where the ticket has no such claim: software in between keeps what a client
// sent under a name that is not set.
const (
	headerSubject  = "Ticket-Subject"
	headerSession  = "Ticket-Session"
	headerScope    = "Ticket-Scope"
	headerAudience = "Ticket-Audience"
	headerID       = "Ticket-Id"
	headerClaims   = "Ticket-Claims"
)

var identityHeaders = []string{headerSubject, headerSession, headerScope, headerAudience, headerID, headerClaims}

// setIdentity replaces the identity in a header by that of the ticket.
func setIdentity(h http.Header, t *wsticket.Ticket) {
	dropIdentity(h)
	var audiences [][]byte
	for audience := range t.Audiences() {
		audiences = append(audiences, audience)
	}
	h.Set(headerSubject, headerText(t.Subject()))
	h.Set(headerSession, headerText(t.SessionID()))
	h.Set(headerScope, headerText(t.Scope()))
	h.Set(headerAudience, headerText(bytes.Join(audiences, []byte(" "))))
	h.Set(headerID, headerText(t.ID()))
	h.Set(headerClaims, base64.RawURLEncoding.EncodeToString(t.Payload()))
}

// dropIdentity takes out what a client may have sent as its identity, under every
// name that CGI, WSGI, PHP or Node would take for one of ours: they fold case, and
// map - . _ and others to one another.
func dropIdentity(h http.Header) {
	for name := range h {
		if isIdentity(name) {
			delete(h, name)
		}
	}
}

func isIdentity(name string) bool {
	name = folded(name)
	for _, ours := range identityHeaders {
		if strings.EqualFold(name, ours) {
			return true
		}
	}
	return false
}

// folded is the one name for all the spellings that somebody takes for the same.
func folded(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r | 0x20
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		}
		return '-'
	}, name)
}

// headerText makes a claim fit to be a header value: what is not printable ASCII is
// percent-encoded, and so is the percent sign and a space at either end. Most claims
// are unchanged. A backend percent-decodes the value (RFC 3986 section 2.1; a plus
// sign stands for itself).
func headerText(claim []byte) string {
	const hex = "0123456789ABCDEF"
	text := make([]byte, 0, len(claim))
	for i, c := range claim {
		edge := c == ' ' && (i == 0 || i == len(claim)-1)
		if c < 0x20 || c > 0x7e || c == '%' || edge {
			text = append(text, '%', hex[c>>4], hex[c&15])
		} else {
			text = append(text, c)
		}
	}
	return string(text)
}
