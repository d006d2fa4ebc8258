package head

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// Kind is what a header means to the handshake.
type Kind uint8

// The kinds. Other is any header that means nothing to the handshake.
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
	Length // Content-Length
	Coding // Transfer-Encoding
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

// requestLine reads METHOD SP target SP HTTP/1.1 CRLF ([RFC 9112 section 3]).
//
// [RFC 9112 section 3]: https://www.rfc-editor.org/rfc/rfc9112#section-3
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
	t, ok := splitTarget(b[start:end])
	if !ok {
		return 0, BadTarget
	}
	h.authority = spanIn(b, t.Authority)
	h.Path = spanIn(b, t.Path)
	h.Query = Span{uint16(end - len(t.Query)), uint16(end)}
	return end + len(rest), NoFault
}

// headerLine reads name ":" OWS value OWS CRLF at b[i] ([RFC 9112 section 5]),
// without the folding that the RFC has retired.
//
// [RFC 9112 section 5]: https://www.rfc-editor.org/rfc/rfc9112#section-5
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
	case Length: // of nothing: some clients and proxies say so (RFC 9112 section 6.3)
		if again || string(v) != "0" {
			return HasBody
		}
	case Coding:
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
			return Length
		}
	case len("transfer-encoding"): // and sec-websocket-key
		if fold(name, "sec-websocket-key") {
			return Key
		}
		if fold(name, "transfer-encoding") {
			return Coding
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

// fold compares b with lower, which is letters and hyphens in lower case. It sets the
// bit by which the cases of a letter differ. Of all characters of a token, only those
// letters and hyphens become equal by that.
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

// outside sets the high bit of the bytes of w that may not stand in a request target.
// controls does the same for a field value, and for the tab. A subtraction borrows from
// a byte that is too small. It also borrows from a byte that equals a forbidden one,
// because that is zero after the exclusive or. Behind the first hit, counted from the
// lowest byte, a borrow may set other bits: only the first hit is to be believed.
func outside(w uint64) uint64 {
	return ((w - 0x21*ones) | w | ((w ^ 0x7f*ones) - ones) | ((w ^ '#'*ones) - ones)) & highs
}
func controls(w uint64) uint64 { return ((w - 0x20*ones) | ((w ^ 0x7f*ones) - ones)) &^ w & highs }

// valueEnd finds the first byte from i on that may not stand in a field value: a
// control character other than the tab, CR and LF among them.
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

// targetEnd finds the first byte from i on that may not stand in a request target: one
// that is not printable ASCII, the space, or the '#' of a fragment.
func targetEnd(b []byte, i int) int {
	for len(b)-i >= 32 {
		w := b[i : i+32 : i+32]
		if outside(binary.LittleEndian.Uint64(w))|outside(binary.LittleEndian.Uint64(w[8:]))|
			outside(binary.LittleEndian.Uint64(w[16:]))|outside(binary.LittleEndian.Uint64(w[24:])) != 0 {
			break
		}
		i += 32
	}
	for len(b)-i >= 8 {
		if m := outside(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	for i < len(b) && b[i] > 0x20 && b[i] < 0x7f && b[i] != '#' {
		i++
	}
	return i
}

// Target is a request target in its parts, which share its memory.
type Target struct {
	Authority   []byte // host and port of a target in absolute-form, else nil
	Path, Query []byte
}

// SplitTarget splits a request target at its first '?'. It knows the origin-form
// ([RFC 9112 section 3.2.1]) and the absolute-form ([RFC 9112 section 3.2.2])
// of http and https.
// It says false for any other form, for characters that have no place there, and
// for a path with a broken percent-escape.
//
// An authority is not judged: it has to be the Host header, byte for byte.
//
// [RFC 9112 section 3.2.1]: https://www.rfc-editor.org/rfc/rfc9112#section-3.2.1
// [RFC 9112 section 3.2.2]: https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
func SplitTarget(target []byte) (t Target, ok bool) {
	if targetEnd(target, 0) != len(target) {
		return Target{}, false
	}
	return splitTarget(target)
}

func splitTarget(target []byte) (t Target, ok bool) {
	if len(target) == 0 {
		return Target{}, false
	}
	t.Path = target
	if target[0] != '/' {
		if t, ok = absolute(target); !ok {
			return Target{}, false
		}
	}
	if q := bytes.IndexByte(t.Path, '?'); q >= 0 {
		t.Path, t.Query = t.Path[:q], t.Path[q+1:]
	}
	if len(t.Path) == 0 { // of an absolute-form: the last slash before its host will do
		t.Path = target[bytes.IndexByte(target, '/')+1:][:1]
	}
	for rest := t.Path; ; {
		p := bytes.IndexByte(rest, '%')
		if p < 0 {
			return t, true
		}
		if len(rest) < p+3 || !hex[rest[p+1]] || !hex[rest[p+2]] {
			return Target{}, false
		}
		rest = rest[p+3:]
	}
}

// absolute splits a target in absolute-form behind its authority. One with an escape
// in it is refused: some readers decode it, and no host has one.
func absolute(target []byte) (t Target, ok bool) {
	for _, scheme := range [...]string{"http://", "https://"} {
		n := len(scheme)
		if len(target) <= n || !EqualFold(target[:n], scheme) {
			continue
		}
		end := n
		for end < len(target) && target[end] != '/' && target[end] != '?' {
			if target[end] == '%' {
				return Target{}, false
			}
			end++
		}
		return Target{Authority: target[n:end], Path: target[end:]}, end > n
	}
	return Target{}, false
}

// spanIn finds part in b, whose memory it shares to the end.
func spanIn(b, part []byte) Span {
	if len(part) == 0 {
		return Span{}
	}
	start := cap(b) - cap(part)
	return Span{uint16(start), uint16(start + len(part))}
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
