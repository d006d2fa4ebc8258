package head

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// Kind is what a header means to the handshake.
type Kind uint8

// The kinds. A header that is none of the others is Other.
const (
	Other Kind = iota
	Host
	Upgrade
	Connection
	Version
	Key
	Protocol
	Origin
	Authorization
	Cookie
	Body // Content-Length, Transfer-Encoding
)

// parse takes lines from b, all of them complete, until the empty one. On a
// fault it leaves next at the start of the line at fault.
func (h *Head) parse(b []byte) (done bool) {
	if !h.line {
		n, fault := h.requestLine(b)
		if fault != NoFault {
			h.fault = fault
			return false
		}
		h.line, h.next = true, n
	}
	i := h.next
	for i < len(b) {
		if b[i] == '\r' && i+1 < len(b) && b[i+1] == '\n' {
			h.next, h.End = i+2, i+2
			h.finish(b)
			return true
		}
		n, fault := h.headerLine(b, i)
		if fault != NoFault {
			h.fault = fault
			break
		}
		i = n
	}
	h.next = i
	return false
}

// requestLine reads METHOD SP target SP HTTP/1.1 CRLF (RFC 9112 section 3).
func (h *Head) requestLine(b []byte) (next int, _ Fault) {
	i := 0
	isGET := len(b) > 4 && string(b[:4]) == "GET "
	if isGET {
		i = 3
	} else {
		for i < len(b) && tokenByte[b[i]] {
			i++
		}
		if i == 0 || i == len(b) || b[i] != ' ' {
			return 0, BadRequestLine
		}
	}
	start := i + 1
	end := targetEnd(b, start)
	// The shortest rest is SP HTTP/1.1 CRLF; b ends in LF wherever that is.
	const rest = " HTTP/1.1\r\n"
	if end == start || len(b)-end < len(rest) {
		return 0, BadRequestLine
	}
	if string(b[end:end+len(rest)]) != rest {
		v := b[end : end+len(rest)]
		if string(v[:6]) == " HTTP/" && digit(v[6]) && v[7] == '.' && digit(v[8]) && v[9] == '\r' && v[10] == '\n' {
			return 0, NotHTTP11
		}
		return 0, BadRequestLine
	}
	if !isGET {
		return 0, NotGET
	}
	path, query, ok := splitTarget(b[start:end])
	if !ok {
		return 0, BadTarget
	}
	h.Path = Span{uint16(start), uint16(start + len(path))}
	h.Query = Span{uint16(end - len(query)), uint16(end)}
	return end + len(rest), NoFault
}

// headerLine reads name ":" OWS value OWS CRLF at b[i] (RFC 9112 section 5),
// without the folding that the RFC has retired.
func (h *Head) headerLine(b []byte, i int) (next int, _ Fault) {
	name := i
	for i < len(b) && tokenByte[b[i]] {
		i++
	}
	if i == name || i == len(b) || b[i] != ':' {
		return 0, BadHeaderLine
	}
	colon := i
	i++
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	value := i
	i = valueEnd(b, i)
	if i+1 >= len(b) || b[i] != '\r' || b[i+1] != '\n' {
		return 0, BadHeaderLine
	}
	next = i + 2
	for i > value && (b[i-1] == ' ' || b[i-1] == '\t') {
		i--
	}

	if len(h.Fields) >= h.maxFields {
		return 0, TooManyFields
	}
	kind := kindOf(b[name:colon])
	h.Fields = append(h.Fields, Field{
		Name:  Span{uint16(name), uint16(colon)},
		Value: Span{uint16(value), uint16(i)},
		Kind:  kind,
	})
	if kind == Other {
		return next, NoFault
	}
	return next, h.take(kind, b, Span{uint16(value), uint16(i)})
}

// take notes what a header of some meaning says.
func (h *Head) take(kind Kind, b []byte, at Span) Fault {
	again := h.Has(kind)
	h.kinds |= 1 << kind
	v := at.Of(b)
	switch kind {
	case Host:
		if again {
			return TwiceHost
		}
		if !ValidHost(v) {
			return BadHost
		}
		h.Host = at
	case Upgrade:
		if again {
			return TwiceUpgrade
		}
		h.websocket = IsWebSocket(v)
	case Connection:
		upgrade, ok := ConnectionList(v)
		if !ok {
			return BadConnection
		}
		h.upgrade = h.upgrade || upgrade
	case Version:
		if again {
			return TwiceVersion
		}
		h.version13 = string(v) == "13"
	case Key:
		if again {
			return TwiceKey
		}
		h.Key = at
	case Origin:
		if again {
			return TwiceOrigin
		}
		h.Origin = at
	case Body:
		return HasBody
	}
	return NoFault
}

// kindOf knows the names that mean something, in any case.
func kindOf(name []byte) Kind {
	switch len(name) {
	case len("host"):
		if fold(name, "host") {
			return Host
		}
	case len("origin"):
		if fold(name, "origin") {
			return Origin
		}
		if fold(name, "cookie") {
			return Cookie
		}
	case len("upgrade"):
		if fold(name, "upgrade") {
			return Upgrade
		}
	case len("connection"):
		if fold(name, "connection") {
			return Connection
		}
	case len("authorization"):
		if fold(name, "authorization") {
			return Authorization
		}
	case len("content-length"):
		if fold(name, "content-length") {
			return Body
		}
	case len("transfer-encoding"): // and sec-websocket-key
		if fold(name, "sec-websocket-key") {
			return Key
		}
		if fold(name, "transfer-encoding") {
			return Body
		}
	case len("sec-websocket-version"):
		if fold(name, "sec-websocket-version") {
			return Version
		}
	case len("sec-websocket-protocol"):
		if fold(name, "sec-websocket-protocol") {
			return Protocol
		}
	}
	return Other
}

// fold compares b, of the length of lower, with letters and hyphens in lower
// case. No token character but those meets them under the bit that tells the
// cases apart.
func fold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		if b[i]|0x20 != lower[i] {
			return false
		}
	}
	return true
}

// EqualFold reports whether a and b are the same name, their ASCII letters in
// any case.
func EqualFold[T string | []byte](a []byte, b T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// below sets the high bit of the bytes of w that are below n (n <= 0x80), equal
// of those that are c. Behind the first hit, counted from the lowest byte, a
// borrow may set others: only the first is to be believed.
func below(w, n uint64) uint64 { return (w - n*ones) &^ w & highs }
func equal(w, c uint64) uint64 { w ^= c * ones; return (w - ones) &^ w & highs }

// controls is below(w, 0x20) | equal(w, 0x7f), in fewer steps: the high bits of w
// and of w^0x7f are the same.
func controls(w uint64) uint64 { return ((w - 0x20*ones) | ((w ^ 0x7f*ones) - ones)) &^ w & highs }

// valueEnd finds the first byte from i on that no field value may hold, the tab
// taken out: a control character, CR and LF among them.
func valueEnd(b []byte, i int) int {
	for {
		for len(b)-i >= 32 {
			w := b[i : i+32 : i+32]
			if controls(binary.LittleEndian.Uint64(w))|controls(binary.LittleEndian.Uint64(w[8:]))|
				controls(binary.LittleEndian.Uint64(w[16:]))|controls(binary.LittleEndian.Uint64(w[24:])) != 0 {
				break
			}
			i += 32
		}
		for len(b)-i >= 8 {
			m := controls(binary.LittleEndian.Uint64(b[i:]))
			if m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		for i < len(b) && b[i] >= 0x20 && b[i] != 0x7f {
			i++
		}
		if i == len(b) || b[i] != '\t' {
			return i
		}
		i++
	}
}

// targetEnd finds the first byte from i on that no request target may hold: one
// that is not printable ASCII, the space, or the '#' of a fragment.
func targetEnd(b []byte, i int) int {
	for i+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[i:])
		m := below(w, 0x21) | equal(w, 0x7f) | equal(w, '#') | w&highs
		if m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	for i < len(b) && b[i] > 0x20 && b[i] < 0x7f && b[i] != '#' {
		i++
	}
	return i
}

// SplitTarget splits a request target in origin-form (RFC 9112 section 3.2.1) at
// its first '?'. It says false for any other form, for characters that have no
// place there, and for a path with a broken percent-escape.
func SplitTarget(target []byte) (path, query []byte, ok bool) {
	if targetEnd(target, 0) != len(target) {
		return nil, nil, false
	}
	return splitTarget(target)
}

func splitTarget(target []byte) (path, query []byte, ok bool) {
	if len(target) == 0 || target[0] != '/' {
		return nil, nil, false
	}
	path, query = target, target[len(target):]
	if q := bytes.IndexByte(target, '?'); q >= 0 {
		path, query = target[:q], target[q+1:]
	}
	for rest := path; ; {
		p := bytes.IndexByte(rest, '%')
		if p < 0 {
			return path, query, true
		}
		if len(rest) < p+3 || !hex[rest[p+1]] || !hex[rest[p+2]] {
			return nil, nil, false
		}
		rest = rest[p+3:]
	}
}

// set is a set of bytes.
type set [256]bool

func setOf(chars string) set {
	var s set
	for i := range len(chars) {
		s[chars[i]] = true
	}
	return s
}

const (
	alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

var (
	tokenByte = setOf(alphanumeric + "!#$%&'*+-.^_`|~")               // RFC 9110 section 5.6.2
	hostByte  = setOf(alphanumeric + "-._~" + "!$&'()*+,;=" + "%:[]") // RFC 3986 section 3.2.2, with the port
	hex       = setOf("0123456789ABCDEFabcdef")
)
