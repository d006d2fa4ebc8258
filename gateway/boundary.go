package gateway

import "encoding/binary"

// A boundary follows a stream of WebSocket frames (RFC 6455 section 5.2) and knows
// where one ends and the next begins. The zero boundary stands before the first.
type boundary struct {
	skip uint64 // bytes of the payload that are still to come
	head [14]byte
	n    int // bytes of head so far
}

// between says whether the bytes so far end with a frame.
func (f *boundary) between() bool { return f.skip == 0 && f.n == 0 }

// pass takes the next bytes of the stream.
func (f *boundary) pass(b []byte) {
	for len(b) > 0 {
		b = b[f.next(b):]
	}
}

// next takes the bytes that b begins with up to the end of one frame, or all of them,
// and says how many they are. b is not empty.
func (f *boundary) next(b []byte) (n int) {
	for f.skip == 0 {
		more := copy(f.head[f.n:f.headLen()], b[n:])
		f.n += more
		n += more
		if f.n >= 2 && f.n == f.headLen() {
			f.skip, f.n = f.payloadLen(), 0
			break
		}
		if n == len(b) {
			return n
		}
	}
	part := min(f.skip, uint64(len(b)-n))
	f.skip -= part
	return n + int(part)
}

// headLen is how long the head is, as far as its first bytes tell: 2 until those are
// there.
func (f *boundary) headLen() int {
	n := 2
	if f.n < 2 {
		return n
	}
	switch f.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if f.head[1]&0x80 != 0 {
		n += 4
	}
	return n
}

func (f *boundary) payloadLen() uint64 {
	switch n := f.head[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(f.head[2:])
	default:
		return uint64(n)
	}
}
