// Package carrier finds the one ticket in a WebSocket handshake, wherever it may
// travel, and takes it out again. It looks at raw bytes, so that a gateway on raw
// connections and one on net/http come to the same verdict.
package carrier

import (
	"bytes"

	"github.com/wsticket/wsticket/internal/head"
)

// Set is a set of carriers.
type Set uint8

// The carriers.
const (
	Query       Set = 1 << iota // the query parameter "ticket"
	Subprotocol                 // an offered subprotocol "ticket.<ticket>"
	Bearer                      // Authorization: Bearer <ticket>
	Cookie                      // the cookie "__Host-ws-ticket"

	All = Query | Subprotocol | Bearer | Cookie
)

// The names under which tickets travel.
const (
	Parameter  = "ticket"
	Prefix     = "ticket."
	Scheme     = "Bearer"
	CookieName = "__Host-ws-ticket"
)

// Finder looks through the parts of one handshake. Set On and Protocols, feed it
// every value of every part, each with the number of its line, and read the rest.
type Finder struct {
	On        Set      // the carriers to look at; others are neither counted nor removed
	Protocols []string // the subprotocols that the application speaks

	// Count is the number of tickets found. Ambiguous is set if another program might
	// read a parameter as ours that is not, or one of ours as another.
	Count     int
	Ambiguous bool
	// By is the carrier of the first ticket, Line the number of the line it was
	// found in, and Ticket its text: never nil when there is one, and within the
	// value it was found in.
	By     Set
	Line   int
	Ticket []byte

	// Offered is the number of subprotocols offered, tickets not counted.
	// Selected is the first of them that the application speaks, or empty.
	// BadList is set where a value is not a list of tokens.
	Offered  int
	Selected string
	BadList  bool

	start, end int // of what Cut takes from the value
}

func (f *Finder) found(by Set, line int, ticket []byte, start, end int) {
	f.Count++
	if f.Count == 1 {
		f.By, f.Line, f.Ticket, f.start, f.end = by, line, ticket, start, end
	}
}

// One reports whether there is exactly one ticket, and no doubt about it.
func (f *Finder) One() bool { return f.Count == 1 && !f.Ambiguous }

// InQuery looks through a raw query. Only '&' separates parameters, and names are
// compared as they are: a client that knows the format never escapes a ticket, and a
// load balancer that routes by the parameter does not decode it. A name that becomes
// ours when it is decoded or its case is folded makes the request ambiguous. So does a
// name that is ours for a program that separates parameters at ';' or '?' too, as
// HAProxy does: that would route by another ticket than the one that is checked here.
func (f *Finder) InQuery(query []byte) {
	if f.On&Query == 0 || len(query) == 0 {
		return
	}
	if bytes.IndexByte(query, ';') >= 0 || bytes.IndexByte(query, '?') >= 0 {
		f.Ambiguous = f.Ambiguous || straying(query)
	}
	for at := 0; ; {
		end := len(query)
		if i := bytes.IndexByte(query[at:], '&'); i >= 0 {
			end = at + i
		}
		name, value := end, end
		for i := at; i < end; i++ {
			if query[i] == '=' {
				name, value = i, i+1
				break
			}
		}
		if string(query[at:name]) == Parameter {
			f.found(Query, 0, query[value:end:end], at, end)
		} else if IsParameter(query[at:name]) {
			f.Ambiguous = true
		}
		if end == len(query) {
			return
		}
		at = end + 1
	}
}

// straying reports whether a program that separates parameters at ';' or '?' too would
// find one with our name where InQuery finds none, or another one.
func straying(query []byte) bool {
	const separators = "&;?"
	before := byte('&')
	for at := 0; ; {
		end := len(query)
		if i := bytes.IndexAny(query[at:], separators); i >= 0 {
			end = at + i
		}
		name, _, valued := bytes.Cut(query[at:end], []byte{'='})
		if IsParameter(name) && (before != '&' || !valued && end < len(query) && query[end] != '&') {
			return true
		}
		if end == len(query) {
			return false
		}
		before, at = query[end], end+1
	}
}

// IsParameter reports whether a query parameter of this raw name carries a ticket, or
// would carry one for a program that percent-decodes the name and folds its case.
func IsParameter(name []byte) bool {
	if len(name) < len(Parameter) || len(name) > 3*len(Parameter) {
		return false
	}
	n := 0
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '%' {
			if len(name) < i+3 {
				return false
			}
			hi, ok1 := unhex(name[i+1])
			lo, ok2 := unhex(name[i+2])
			if !ok1 || !ok2 {
				return false
			}
			c = hi<<4 | lo
			i += 2
		}
		if n == len(Parameter) || c|0x20 != Parameter[n] { // all letters
			return false
		}
		n++
	}
	return n == len(Parameter)
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// InProtocols looks through one Sec-WebSocket-Protocol value: a list of tokens
// ([RFC 6455 section 4.2.1], item 8) in the client's order of preference. It must
// be fed those also when the carrier is off, for the selection. Empty places in
// the list are passed over ([RFC 9110 section 5.6.1.2]); a list of nothing else is
// bad, and so is one with tabs, which gobwas refuses too.
//
// [RFC 6455 section 4.2.1]: https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1
// [RFC 9110 section 5.6.1.2]: https://www.rfc-editor.org/rfc/rfc9110#section-5.6.1.2
func (f *Finder) InProtocols(line int, value []byte) {
	some := false
	for at := 0; at < len(value); {
		end := len(value)
		if i := bytes.IndexByte(value[at:], ','); i >= 0 {
			end = at + i
		}
		item := bytes.Trim(value[at:end], " ")
		switch {
		case len(item) == 0:
		case f.On&Subprotocol != 0 && bytes.HasPrefix(item, []byte(Prefix)):
			some = true
			f.found(Subprotocol, line, item[len(Prefix):], at, end)
		case head.ValidToken(item):
			some = true
			f.offer(item)
		default:
			f.BadList = true
		}
		at = end + 1
	}
	if !some {
		f.BadList = true
	}
}

func (f *Finder) offer(protocol []byte) {
	f.Offered++
	if f.Selected != "" {
		return
	}
	for _, p := range f.Protocols {
		if p == string(protocol) {
			f.Selected = p
			return
		}
	}
}

// InAuthorization looks at one Authorization value ([RFC 6750 section 2.1]). It ignores
// schemes other than Bearer.
//
// [RFC 6750 section 2.1]: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
func (f *Finder) InAuthorization(line int, value []byte) {
	if f.On&Bearer == 0 || len(value) < len(Scheme) || !head.EqualFold(value[:len(Scheme)], Scheme) {
		return
	}
	token := value[len(Scheme):]
	if len(token) > 0 && token[0] != ' ' && token[0] != '\t' {
		return // another scheme, whose name begins like ours
	}
	for len(token) > 0 && token[0] == ' ' {
		token = token[1:]
	}
	f.found(Bearer, line, token, 0, len(value))
}

// InCookies looks through one Cookie value ([RFC 6265 section 4.2.1]).
//
// [RFC 6265 section 4.2.1]: https://www.rfc-editor.org/rfc/rfc6265#section-4.2.1
func (f *Finder) InCookies(line int, value []byte) {
	if f.On&Cookie == 0 {
		return
	}
	for at := 0; at < len(value); {
		end := len(value)
		if i := bytes.IndexByte(value[at:], ';'); i >= 0 {
			end = at + i
		}
		name, ticket := value[at:end], value[end:end]
		if i := bytes.IndexByte(name, '='); i >= 0 {
			name, ticket = name[:i], name[i+1:]
		}
		if string(trim(name)) == CookieName {
			f.found(Cookie, line, trim(ticket), at, end)
		}
		at = end + 1
	}
}

// Cut takes the ticket out of the value in which it was found, in place, and
// returns what is left: a query without the parameter, a list without the
// subprotocol, cookies without the cookie; of an Authorization nothing is left.
// The bytes behind what is left are cleared.
func (f *Finder) Cut(value []byte) []byte {
	start, end := f.start, f.end
	switch {
	case end < len(value): // the separator behind goes too, and the space behind that
		end++
		for f.By != Query && end < len(value) && (value[end] == ' ' || value[end] == '\t') {
			end++
		}
		if f.By != Query && start > 0 { // the space before stays
			for start < end && (value[start] == ' ' || value[start] == '\t') {
				start++
			}
		}
	case start > 0: // the last: the separator before goes
		start--
	}
	n := start + copy(value[start:], value[end:])
	clear(value[n:])
	switch {
	case f.By == Query:
		return value[:n]
	case len(bytes.Trim(value[:n], ",; \t")) == 0: // only empty places are left
		clear(value[:n])
		return value[:0]
	}
	return trim(value[:n])
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for n := len(b); n > 0 && (b[n-1] == ' ' || b[n-1] == '\t'); n-- {
		b = b[:n-1]
	}
	return b
}
