package wsticket

import (
	"bytes"
	"net/netip"
)

// pathMatches compares the path claim with the path of a request target, which is still
// percent-encoded. The path is decoded once. It matches nothing if it has a . or ..
// segment, an empty segment other than the last, a bad escape, or a /, \ or NUL that is
// encoded: the program that routes the request may read such a path otherwise. The same
// goes for a bare \ or NUL, though no URL has them.
func pathMatches(claim, raw []byte) bool {
	below := bytes.HasSuffix(claim, []byte("/*"))
	if below {
		claim = claim[:len(claim)-1]
	}
	if len(raw) == 0 || raw[0] != '/' {
		return false
	}
	same := true
	decoded := 0          // bytes of the decoded path so far
	segment, dots := 0, 0 // bytes of the segment at hand, and the dots among them
	for i := 0; i < len(raw); decoded++ {
		c := raw[i]
		switch c {
		case '/':
			if i > 0 && (segment == 0 || dotSegment(segment, dots)) {
				return false
			}
			segment, dots = 0, 0
			i++
		case '%':
			var ok bool
			if c, ok = percentByte(raw[i:]); !ok || c == '/' {
				return false
			}
			segment++
			i += 3
		default:
			segment++
			i++
		}
		if c == '\\' || c == 0 {
			return false
		}
		if c == '.' {
			dots++
		}
		if decoded < len(claim) {
			same = same && claim[decoded] == c
		} else {
			same = same && below
		}
	}
	return same && decoded >= len(claim) && !dotSegment(segment, dots)
}

func dotSegment(segment, dots int) bool { return segment == dots && (dots == 1 || dots == 2) }

// percentByte decodes the escape that opens b ([RFC 3986 section 2.1]).
//
// [RFC 3986 section 2.1]: https://www.rfc-editor.org/rfc/rfc3986#section-2.1
func percentByte(b []byte) (c byte, ok bool) {
	if len(b) < 3 {
		return 0, false
	}
	for _, d := range b[1:3] {
		switch {
		case '0' <= d && d <= '9':
			d -= '0'
		case 'a' <= d && d <= 'f':
			d -= 'a' - 10
		case 'A' <= d && d <= 'F':
			d -= 'A' - 10
		default:
			return 0, false
		}
		c = c<<4 | d
	}
	return c, true
}

// addrMatches compares the ip claim with the peer's address. An unknown address matches
// nothing.
func addrMatches(claim netip.Prefix, addr netip.Addr) bool {
	return claim.Contains(judged(addr))
}

// judged is an address as it is compared.
func judged(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// listed says whether word stands in list, whose words are separated by spaces.
func listed(list []byte, word string) bool {
	for len(list) > 0 {
		item := list
		if space := bytes.IndexByte(list, ' '); space >= 0 {
			item, list = list[:space], list[space+1:]
		} else {
			list = nil
		}
		if string(item) == word {
			return true
		}
	}
	return false
}
