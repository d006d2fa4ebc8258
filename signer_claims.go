package wsticket

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/wsticket/wsticket/internal/claims"
	"github.com/wsticket/wsticket/internal/jsonscan"
	"github.com/wsticket/wsticket/internal/quote"
)

const (
	latest     = jsonscan.LatestTime
	maxIDLen   = 128
	maxNesting = 7 // below the payload itself
)

// check refuses the claims that a verifier would refuse, all faults at once.
func (s *Signer) check(iat, exp int64, c *Claims) error {
	var f faults
	switch ttl := c.TTL; {
	case ttl%time.Second != 0:
		f.addf("TTL is %v; give whole seconds", ttl)
	case exp-iat < 1 || exp-iat > s.maxTTL:
		f.addf("TTL is %v; give 1s to the signer's MaxTTL of %v", seconds(exp-iat), seconds(s.maxTTL))
	}
	if iat < 0 || iat > latest || exp > latest {
		f.addf("the ticket would be valid from %d to %d; give times from 1970 to the end of the year 9999", iat, exp)
	}
	if c.Subject == "" {
		f.addf("Subject is empty; name whom the application authenticated")
	}
	if len(c.ID) > maxIDLen {
		f.addf("ID is %d bytes long; give at most %d, or none for a random one", len(c.ID), maxIDLen)
	}
	if !c.NotBefore.IsZero() {
		if nbf := c.NotBefore.Unix(); nbf < 0 || nbf >= exp {
			f.addf("NotBefore is not before the expiry; the ticket would never be valid")
		}
	}
	if !c.SessionExpires.IsZero() {
		switch end := c.SessionExpires.Unix(); {
		case end <= iat:
			f.addf("SessionExpires has passed; the session is over")
		case end > latest:
			f.addf("SessionExpires is beyond the year 9999; give a time.Unix of seconds, not milliseconds, or leave it out")
		}
	}
	f.text("Subject", c.Subject)
	f.text("ID", c.ID)
	f.text("Issuer", c.Issuer)
	f.text("Scope", c.Scope)
	f.text("SessionID", c.SessionID)
	f.origin(c.Origin)
	f.path(c.Path)
	f.text("Path", c.Path)
	for i, audience := range c.Audiences {
		if audience == "" {
			f.addf("Audiences[%d] is empty; take it out", i)
		}
		f.text("Audiences", audience)
	}
	if c.IP != "" {
		if _, ok := claims.ParseIP(c.IP); !ok {
			f.addf("IP is neither an address nor a CIDR prefix")
		}
	}
	f.extra(c.Extra)
	return f.err("Signer")
}

func (f *faults) text(field, text string) {
	if !utf8.ValidString(text) {
		f.addf("%s is not valid UTF-8", field)
	}
}

func (f *faults) extra(members []Member) {
	for i := range members {
		m := &members[i]
		if !plain(m.Name) {
			f.addf("Extra[%d]: the name %s needs an escape or is not valid UTF-8; choose another", i, quote.Text(m.Name))
		}
		if claims.Known(m.Name) {
			f.addf("Extra[%d]: %s has a field of its own in Claims", i, m.Name)
		}
		for j := range i {
			if members[j].Name == m.Name {
				f.addf("Extra[%d]: the name %s is given twice", i, quote.Text(m.Name))
				break
			}
		}
		if !jsonscan.Valid(m.JSON, maxNesting) {
			f.addf("Extra[%d]: %s is not a JSON value nested at most %d deep", i, quote.Text(m.Name), maxNesting)
		}
	}
}

// plain says whether text stands in JSON as it is.
func plain(text string) bool {
	for i := range len(text) {
		if text[i] < 0x20 || text[i] == '"' || text[i] == '\\' {
			return false
		}
	}
	return utf8.ValidString(text)
}

// appendText appends a member and a comma, or nothing for an empty text.
func appendText(p []byte, name, text string) []byte {
	if text == "" {
		return p
	}
	p = append(append(append(p, '"'), name...), `":`...)
	return append(appendString(p, text), ',')
}

func appendSeconds(p []byte, name string, n int64) []byte {
	p = append(append(append(p, '"'), name...), `":`...)
	return append(strconv.AppendInt(p, n, 10), ',')
}

// appendString appends text as a JSON string ([RFC 8259 section 7]).
//
// [RFC 8259 section 7]: https://www.rfc-editor.org/rfc/rfc8259#section-7
func appendString(p []byte, text string) []byte {
	p = append(p, '"')
	if plain(text) {
		return append(append(p, text...), '"')
	}
	const hex = "0123456789abcdef"
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			p = append(p, '\\', c)
		case c < 0x20:
			p = append(p, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			p = append(p, c)
		}
	}
	return append(p, '"')
}
