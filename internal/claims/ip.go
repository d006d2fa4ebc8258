package claims

import "net/netip"

// ParseIP reads an address or a CIDR prefix as the ip claim holds them: the
// texts of netip.ParseAddr and netip.ParsePrefix ([RFC 4291 section 2.2] and 2.3),
// without the allocation their errors cost every caller that has bytes. The
// result is a prefix without host bits; an address stands for itself alone, its
// zone dropped; what is 4-in-6 comes out as IPv4.
//
// [RFC 4291 section 2.2]: https://www.rfc-editor.org/rfc/rfc4291#section-2.2
func ParseIP[T string | []byte](text T) (netip.Prefix, bool) {
	slash, zone := index(text, '/'), index(text, '%')
	var addr netip.Addr
	var ok bool
	switch {
	case slash >= 0 && zone >= 0, zone >= 0 && zone == len(text)-1:
		return netip.Prefix{}, false
	case slash >= 0:
		addr, ok = parseAddr(text[:slash])
	case zone >= 0:
		addr, ok = parseAddr(text[:zone])
		ok = ok && !addr.Is4()
	default:
		addr, ok = parseAddr(text)
	}
	if !ok {
		return netip.Prefix{}, false
	}
	bits := addr.BitLen()
	if slash >= 0 {
		if bits, ok = decimal(text[slash+1:], bits); !ok {
			return netip.Prefix{}, false
		}
	}
	// A 4-in-6 prefix shorter than the 96 mapping bits covers more than IPv4.
	if addr.Is4In6() && bits >= 96 {
		addr, bits = addr.Unmap(), bits-96
	}
	return netip.PrefixFrom(addr, bits).Masked(), true
}

func index[T string | []byte](text T, c byte) int {
	for i := range len(text) {
		if text[i] == c {
			return i
		}
	}
	return -1
}

// decimal reads 1 to 3 digits without a leading zero, at most limit.
func decimal[T string | []byte](text T, limit int) (n int, ok bool) {
	if len(text) == 0 || len(text) > 3 || text[0] == '0' && len(text) > 1 {
		return 0, false
	}
	for i := range len(text) {
		c := text[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int(c)
	}
	return n, n <= limit
}

func parseAddr[T string | []byte](text T) (netip.Addr, bool) {
	if index(text, ':') < 0 {
		var a [4]byte
		ok := parse4(text, a[:])
		return netip.AddrFrom4(a), ok
	}
	var a [16]byte
	ok := parse6(text, &a)
	return netip.AddrFrom16(a), ok
}

// parse4 reads a dotted quad into the four bytes of a.
func parse4[T string | []byte](text T, a []byte) bool {
	for k := range 4 {
		field := text
		if k < 3 {
			dot := index(text, '.')
			if dot < 0 {
				return false
			}
			field, text = text[:dot], text[dot+1:]
		}
		n, ok := decimal(field, 255)
		if !ok {
			return false
		}
		a[k] = byte(n)
	}
	return true
}

// parse6 reads the forms of [RFC 4291 section 2.2] into a, which must be zero.
//
// [RFC 4291 section 2.2]: https://www.rfc-editor.org/rfc/rfc4291#section-2.2
func parse6[T string | []byte](text T, a *[16]byte) bool {
	gap, n := -1, 0 // where :: stood, and how many bytes are read
	if len(text) >= 2 && text[0] == ':' {
		if text[1] != ':' {
			return false
		}
		gap, text = 0, text[2:]
	}
	for len(text) > 0 {
		if n == 16 {
			return false
		}
		v, digits := 0, 0
		for digits < len(text) && digits <= 4 {
			d := nibble(text[digits])
			if d < 0 {
				break
			}
			v, digits = v<<4|d, digits+1
		}
		if digits == 0 || digits > 4 {
			return false
		}
		if digits < len(text) && text[digits] == '.' {
			if n > 12 || !parse4(text, a[n:n+4]) {
				return false
			}
			n += 4
			break
		}
		a[n], a[n+1] = byte(v>>8), byte(v)
		n, text = n+2, text[digits:]
		if len(text) == 0 {
			break
		}
		if text[0] != ':' || len(text) == 1 {
			return false
		}
		text = text[1:]
		if text[0] == ':' {
			if gap >= 0 {
				return false
			}
			gap, text = n, text[1:]
		}
	}
	if gap < 0 {
		return n == 16
	}
	if n == 16 {
		return false
	}
	tail := n - gap
	copy(a[16-tail:], a[gap:n])
	clear(a[gap : 16-tail])
	return true
}

func nibble(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
