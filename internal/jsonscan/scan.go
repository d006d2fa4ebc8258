// Package jsonscan reads JSON strictly and without building anything: [RFC 8259]
// in valid UTF-8, nothing repaired, no lone surrogates, bounded nesting.
//
// The functions that take an index are the primitives of the ticket's hot path.
// [Object], [Array], [Text] and [Integer] serve where allocation does not matter.
//
// [RFC 8259]: https://www.rfc-editor.org/rfc/rfc8259
package jsonscan

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// Fault is what the primitives return in place of an index.
const Fault = -1

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// Space returns the index of the first byte at or behind i that is not white space.
func Space(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// String returns the index behind the string that opens at b[i], and whether it
// holds an escape, or Fault.
func String(b []byte, i int) (end int, escaped bool) {
	if i >= len(b) || b[i] != '"' {
		return Fault, false
	}
	i++
	for {
		i = Plain(b, i)
		if i >= len(b) {
			return Fault, false
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, escaped
		case c == '\\':
			n := escape(b[i:])
			if n == 0 {
				return Fault, false
			}
			escaped = true
			i += n
		case c < 0x20:
			return Fault, false
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				return Fault, false
			}
			i += n
		}
	}
}

// Plain returns the index of the first byte at or behind i that may need a look: all
// but 0x20 to 0x7f, the quote and the backslash. It looks at eight bytes at a time, and
// stops where fewer are left.
func Plain(b []byte, i int) int {
	for len(b)-i >= 8 {
		// By x^2 the quote changes places with the space, so one subtraction finds it
		// with the control characters. The other one finds the backslash, and every
		// byte from 0x80 on but 0xdc, which the first one finds. A borrow can only
		// raise a flag above a true one, so the lowest is exact.
		x := binary.LittleEndian.Uint64(b[i:])
		if flags := ((x ^ 2*ones - 0x21*ones) | (x ^ '\\'*ones - ones)) & highs; flags != 0 {
			return i + bits.TrailingZeros64(flags)>>3
		}
		i += 8
	}
	return i
}

// escape returns the length of the escape that opens b, a surrogate pair as one, or 0.
func escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		r, ok := hex4(b)
		switch {
		case !ok:
			return 0
		case !utf16.IsSurrogate(r):
			return 6
		case len(b) < 12 || b[6] != '\\' || b[7] != 'u':
			return 0
		}
		low, ok := hex4(b[6:])
		if !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
			return 0
		}
		return 12
	}
	return 0
}

// hex4 reads the four hex digits behind \u at the start of b.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// AppendUnescaped appends the text of raw, the inside of a string that [String]
// has accepted. It never appends more than len(raw) bytes.
func AppendUnescaped(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		c := raw[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		switch c = raw[i+1]; c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r, _ := hex4(raw[i:])
			i += 6
			if utf16.IsSurrogate(r) {
				low, _ := hex4(raw[i:])
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
		i += 2
	}
	return dst
}

// Value returns the index behind the value that opens at b[i], or Fault. At most
// depth arrays and objects may be open at once.
func Value(b []byte, i, depth int) int {
	if i >= len(b) {
		return Fault
	}
	switch b[i] {
	case '"':
		end, _ := String(b, i)
		return end
	case '{':
		return container(b, i, depth, '}')
	case '[':
		return container(b, i, depth, ']')
	case 't':
		return literal(b, i, "true")
	case 'f':
		return literal(b, i, "false")
	case 'n':
		return literal(b, i, "null")
	}
	return number(b, i)
}

func container(b []byte, i, depth int, closing byte) int {
	if depth <= 0 {
		return Fault
	}
	i = Space(b, i+1)
	if i < len(b) && b[i] == closing {
		return i + 1
	}
	for {
		if closing == '}' {
			if i, _ = String(b, i); i == Fault {
				return Fault
			}
			if i = Space(b, i); i >= len(b) || b[i] != ':' {
				return Fault
			}
			i = Space(b, i+1)
		}
		if i = Value(b, i, depth-1); i == Fault {
			return Fault
		}
		i = Space(b, i)
		switch {
		case i >= len(b):
			return Fault
		case b[i] == closing:
			return i + 1
		case b[i] != ',':
			return Fault
		}
		i = Space(b, i+1)
	}
}

func literal(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return Fault
	}
	return i + len(word)
}

// number follows the grammar of [RFC 8259 section 6].
//
// [RFC 8259 section 6]: https://www.rfc-editor.org/rfc/rfc8259#section-6
func number(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	start := i
	if i = digits(b, i); i == start || b[start] == '0' && i > start+1 {
		return Fault
	}
	if i < len(b) && b[i] == '.' {
		start = i + 1
		if i = digits(b, start); i == start {
			return Fault
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		start = i
		if i = digits(b, i); i == start {
			return Fault
		}
	}
	return i
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}

// LatestTime is the end of the year 9999 in seconds since 1970, and the latest time
// that tickets and keyrings may hold. Now in milliseconds is beyond it.
const LatestTime = 253_402_300_799

// Integer reads a value of 1 to 15 digits: no sign, no leading zero, no fraction
// and no exponent.
func Integer(value []byte) (n int64, ok bool) {
	if len(value) == 0 || len(value) > 15 || value[0] == '0' && len(value) > 1 {
		return 0, false
	}
	for _, c := range value {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
