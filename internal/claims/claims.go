// Package claims scans the payload of a ticket: the one place that knows the
// claims of the format and their types.
package claims

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/wsticket/wsticket/internal/jsonscan"
)

const (
	// MaxPayload is room for the payload of any ticket of 2,048 bytes.
	MaxPayload = 1536
	// BufferLen is room for such a payload and the text of all its strings.
	BufferLen = 2 * MaxPayload

	ones  = 0x0101010101010101
	highs = 0x8080808080808080

	maxDepth = 8
	maxJTI   = 128
)

// A Span is a place in the buffer that was scanned.
type Span struct{ Off, Len uint16 }

// In returns the bytes of the span in buf.
func (s Span) In(buf []byte) []byte { return buf[s.Off : int(s.Off)+int(s.Len)] }

// Present says which claims a payload had.
type Present uint16

const (
	JTI Present = 1 << iota
	IssuedAt
	Expires
	NotBefore
	Subject
	Audience
	Issuer
	Scope
	SessionID
	SessionExpires
	Origin
	Path
	IP

	required = JTI | IssuedAt | Expires
)

// A Set is what a payload says. Spans of strings point to their unescaped text.
type Set struct {
	Has                                          Present
	JTI, Subject, Issuer, Scope, SessionID       Span
	Origin, Path                                 Span
	IssuedAt, Expires, NotBefore, SessionExpires int64
	IP                                           netip.Prefix
	audience                                     Span
	manyAudiences                                bool // audience spans a list of length-prefixed texts
	Used                                         int  // bytes of the buffer that are in use
}

// Scratch is working memory of a scan; its contents do not matter.
type Scratch struct {
	names [MaxPayload / 6]Span // the shortest member, with its comma, is six bytes
}

// Scan reads the payload in buf[:n] into s, which must be zero. Unescaped texts
// and lists go behind the payload, so buf must hold 2*n bytes, and n + 8. False means that
// the payload is not the claims set of a ticket.
func (s *Set) Scan(buf []byte, n int, scratch *Scratch) bool {
	p := buf[:n]
	s.Used = n
	i := jsonscan.Space(p, 0)
	if i >= n || p[i] != '{' {
		return false
	}
	others := 0
	var name Span
	for {
		i = jsonscan.Space(p, i+1)
		nameAt := i + 1
		var claim Present
		if claim = short(p[i:]); claim != 0 {
			i += len(`"jti":`)
		} else {
			end, escaped := jsonscan.String(p, i)
			if end == jsonscan.Fault || escaped {
				return false
			}
			claim = known(p[nameAt : end-1])
			if i = jsonscan.Space(p, end); i >= n || p[i] != ':' {
				return false
			}
			name = Span{uint16(nameAt), uint16(end - 1 - nameAt)}
			i++
		}
		i = jsonscan.Space(p, i)
		if s.Has&claim != 0 {
			return false
		}
		s.Has |= claim
		switch claim {
		case IssuedAt:
			i = seconds(p, i, &s.IssuedAt)
		case Expires:
			i = seconds(p, i, &s.Expires)
		case NotBefore:
			i = seconds(p, i, &s.NotBefore)
		case SessionExpires:
			i = seconds(p, i, &s.SessionExpires)
		case JTI:
			i = s.text(buf, n, i, &s.JTI)
		case Subject:
			i = s.text(buf, n, i, &s.Subject)
		case Issuer:
			i = s.text(buf, n, i, &s.Issuer)
		case Scope:
			i = s.text(buf, n, i, &s.Scope)
		case SessionID:
			i = s.text(buf, n, i, &s.SessionID)
		case Origin:
			i = s.text(buf, n, i, &s.Origin)
		case Path:
			i = s.text(buf, n, i, &s.Path)
		case IP:
			i = s.ip(buf, n, i)
		case Audience:
			i = s.audiences(buf, n, i)
		default:
			for _, other := range scratch.names[:others] {
				if bytes.Equal(other.In(p), name.In(p)) {
					return false
				}
			}
			if others == len(scratch.names) {
				return false
			}
			scratch.names[others] = name
			others++
			i = jsonscan.Value(p, i, maxDepth-1)
		}
		if i == jsonscan.Fault {
			return false
		}
		i = jsonscan.Space(p, i)
		switch {
		case i >= n:
			return false
		case p[i] == ',':
			continue
		case p[i] != '}' || jsonscan.Space(p, i+1) != n:
			return false
		}
		return s.sound(buf)
	}
}

// sound checks what can be said of the claims once all are known.
func (s *Set) sound(buf []byte) bool {
	return s.Has&required == required &&
		s.JTI.Len >= 1 && s.JTI.Len <= maxJTI &&
		(s.Has&Subject == 0 || s.Subject.Len > 0) &&
		(s.Has&Path == 0 || s.Path.Len > 0 && buf[s.Path.Off] == '/')
}

// short returns the claim whose name of three letters, in its quotes and with its
// colon, opens b, or 0: most of what a ticket says, without a search for the
// closing quote.
func short(b []byte) Present {
	if len(b) < 8 {
		return 0
	}
	switch binary.LittleEndian.Uint64(b) & (1<<48 - 1) {
	case '"' | 'j'<<8 | 't'<<16 | 'i'<<24 | '"'<<32 | ':'<<40:
		return JTI
	case '"' | 'i'<<8 | 'a'<<16 | 't'<<24 | '"'<<32 | ':'<<40:
		return IssuedAt
	case '"' | 'e'<<8 | 'x'<<16 | 'p'<<24 | '"'<<32 | ':'<<40:
		return Expires
	case '"' | 'n'<<8 | 'b'<<16 | 'f'<<24 | '"'<<32 | ':'<<40:
		return NotBefore
	case '"' | 's'<<8 | 'u'<<16 | 'b'<<24 | '"'<<32 | ':'<<40:
		return Subject
	case '"' | 'a'<<8 | 'u'<<16 | 'd'<<24 | '"'<<32 | ':'<<40:
		return Audience
	case '"' | 'i'<<8 | 's'<<16 | 's'<<24 | '"'<<32 | ':'<<40:
		return Issuer
	case '"' | 's'<<8 | 'i'<<16 | 'd'<<24 | '"'<<32 | ':'<<40:
		return SessionID
	}
	return 0
}

// known returns the claim of that name, or 0.
func known(name []byte) Present {
	switch string(name) {
	case "jti":
		return JTI
	case "iat":
		return IssuedAt
	case "exp":
		return Expires
	case "nbf":
		return NotBefore
	case "sub":
		return Subject
	case "aud":
		return Audience
	case "iss":
		return Issuer
	case "scope":
		return Scope
	case "sid":
		return SessionID
	case "session_exp":
		return SessionExpires
	case "origin":
		return Origin
	case "path":
		return Path
	case "ip":
		return IP
	}
	return 0
}

// Known says whether the format gives name a meaning.
func Known(name string) bool { return known([]byte(name)) != 0 }

// seconds reads a time at p[i]: digits without a leading zero, up to the end of the
// year 9999, which has twelve.
func seconds(p []byte, i int, to *int64) int {
	start, n := i, int64(0)
	if len(p)-i >= 8 {
		if x := binary.LittleEndian.Uint64(p[i:]) - '0'*ones; (x|(x+0x76*ones))&highs == 0 {
			// Eight digits at once: pairs, pairs of pairs, and those two.
			x = x*10 + x>>8
			x = (x&0x000000ff000000ff*(100+1000000<<32) + x>>16&0x000000ff000000ff*(1+10000<<32)) >> 32
			n, i = int64(x), i+8
		}
	}
	for ; i < len(p) && p[i]-'0' <= 9; i++ {
		n = n*10 + int64(p[i]-'0')
	}
	if digits := i - start; digits == 0 || digits > 12 || n > jsonscan.LatestTime || digits > 1 && p[start] == '0' {
		return jsonscan.Fault
	}
	*to = n
	return i
}

// text reads a string at buf[i], unescaping it behind all that is in use.
func (s *Set) text(buf []byte, n, i int, to *Span) int {
	if i < n && buf[i] == '"' {
		// The buffer goes on behind the payload, so that eight bytes can be looked at
		// there too.
		if end := jsonscan.Plain(buf[:n+8], i+1); end < n && buf[end] == '"' {
			*to = Span{uint16(i + 1), uint16(end - i - 1)}
			return end + 1
		}
	}
	p := buf[:n]
	end, escaped := jsonscan.String(p, i)
	if end == jsonscan.Fault {
		return jsonscan.Fault
	}
	*to = Span{uint16(i + 1), uint16(end - i - 2)}
	if escaped {
		*to = s.unescape(buf, to.In(buf))
	}
	return end
}

func (s *Set) unescape(buf, raw []byte) Span {
	start := s.Used
	s.Used = len(jsonscan.AppendUnescaped(buf[:start], raw))
	return Span{uint16(start), uint16(s.Used - start)}
}

func (s *Set) ip(buf []byte, n, i int) int {
	var at Span
	if i = s.text(buf, n, i, &at); i == jsonscan.Fault {
		return jsonscan.Fault
	}
	prefix, ok := ParseIP(at.In(buf))
	if !ok {
		return jsonscan.Fault
	}
	s.IP = prefix
	return i
}

// audiences reads aud at buf[i]. The texts of an array go behind all that is in
// use, each with its length in two bytes in front: never more than the quotes
// and the comma or bracket they stood between.
func (s *Set) audiences(buf []byte, n, i int) int {
	p := buf[:n]
	if i >= n || p[i] != '[' {
		return s.text(buf, n, i, &s.audience)
	}
	s.manyAudiences = true
	start := s.Used
	for {
		i = jsonscan.Space(p, i+1)
		end, _ := jsonscan.String(p, i)
		if end == jsonscan.Fault {
			return jsonscan.Fault
		}
		s.Used += 2
		at := s.unescape(buf, p[i+1:end-1])
		buf[at.Off-2], buf[at.Off-1] = byte(at.Len>>8), byte(at.Len)
		i = jsonscan.Space(p, end)
		switch {
		case i < n && p[i] == ',':
		case i < n && p[i] == ']':
			s.audience = Span{uint16(start), uint16(s.Used - start)}
			return i + 1
		default:
			return jsonscan.Fault
		}
	}
}

// NextAudience returns the audience at position at of the set's list, and the
// position of the next; it begins at 0 and ends with false.
func (s *Set) NextAudience(buf []byte, at int) (audience []byte, next int, ok bool) {
	list := s.audience.In(buf)
	switch {
	case s.Has&Audience == 0, at > 0 && at >= len(list):
		return nil, 0, false
	case !s.manyAudiences:
		return list[:len(list):len(list)], len(list) + 1, at == 0
	}
	n := int(list[at])<<8 | int(list[at+1])
	return list[at+2 : at+2+n : at+2+n], at + 2 + n, true
}

// Member returns the raw JSON value of a top-level member of payload, a payload
// that Scan has accepted. Such a payload has no escape in a top-level name.
func Member(payload []byte, name string) ([]byte, bool) {
	i := jsonscan.Space(payload, 0)
	for payload[i] != '}' {
		i = jsonscan.Space(payload, i+1)
		end, _ := jsonscan.String(payload, i)
		found := string(payload[i+1:end-1]) == name
		i = jsonscan.Space(payload, jsonscan.Space(payload, end)+1)
		end = jsonscan.Value(payload, i, maxDepth)
		if found {
			return payload[i:end:end], true
		}
		i = jsonscan.Space(payload, end)
	}
	return nil, false
}
