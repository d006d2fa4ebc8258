// Package b64 decodes base64url without padding, canonical ([RFC 4648 section 5]
// and [RFC 4648 section 3.5]): a letter outside the alphabet, white space, padding or
// non-zero spare bits is a fault. encoding/base64 skips CR and LF even when strict.
//
// [RFC 4648 section 5]: https://www.rfc-editor.org/rfc/rfc4648#section-5
// [RFC 4648 section 3.5]: https://www.rfc-editor.org/rfc/rfc4648#section-3.5
package b64

import "encoding/binary"

const (
	alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	foreign  = 1 << 31 // outside the 24 bits that four letters hold
)

// shifted[k][c] is the value of letter c at place k of a group of four.
var shifted = func() (t [4][256]uint32) {
	for k := range t {
		for c := range t[k] {
			t[k][c] = foreign
		}
		for v := range alphabet {
			t[k][alphabet[v]] = uint32(v) << (18 - 6*k)
		}
	}
	return t
}()

// DecodedLen is the number of bytes in n letters.
func DecodedLen(n int) int { return n * 6 / 8 }

// Decode writes the bytes of src to dst, which must hold DecodedLen(len(src)) of
// them, and returns their number. When it returns false, dst holds nothing of
// use.
func Decode(dst, src []byte) (n int, ok bool) {
	var all uint32
	// Eight letters at a time, stored as eight bytes; the next group overwrites
	// the last two.
	for len(src) >= 8 && len(dst) >= 8 {
		v := shifted[0][src[0]] | shifted[1][src[1]] | shifted[2][src[2]] | shifted[3][src[3]]
		w := shifted[0][src[4]] | shifted[1][src[5]] | shifted[2][src[6]] | shifted[3][src[7]]
		all |= v | w
		binary.BigEndian.PutUint64(dst, uint64(v)<<40|uint64(w&0xffffff)<<16)
		src, dst, n = src[8:], dst[6:], n+6
	}
	for len(src) >= 4 {
		v := shifted[0][src[0]] | shifted[1][src[1]] | shifted[2][src[2]] | shifted[3][src[3]]
		all |= v
		dst[0], dst[1], dst[2] = byte(v>>16), byte(v>>8), byte(v)
		src, dst, n = src[4:], dst[3:], n+3
	}
	switch len(src) {
	case 1:
		return 0, false
	case 2:
		v := shifted[0][src[0]] | shifted[1][src[1]]
		all |= v | spare(v&0xffff)
		dst[0] = byte(v >> 16)
		n++
	case 3:
		v := shifted[0][src[0]] | shifted[1][src[1]] | shifted[2][src[2]]
		all |= v | spare(v&0xff)
		dst[0], dst[1] = byte(v>>16), byte(v>>8)
		n += 2
	}
	return n, all&foreign == 0
}

// spare turns non-zero spare bits into the mark of a foreign letter.
func spare(bits uint32) uint32 {
	if bits != 0 {
		return foreign
	}
	return 0
}
