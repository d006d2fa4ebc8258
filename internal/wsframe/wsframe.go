// Package wsframe follows the frames of a WebSocket connection ([RFC 6455 section 5.2])
// without a look at what is in them, and writes close frames.
//
// [RFC 6455 section 5.2]: https://www.rfc-editor.org/rfc/rfc6455#section-5.2
package wsframe

import "encoding/binary"

// AppendClose appends the close frame of a server ([RFC 6455 section 5.5.1]). The reason
// has at most 123 bytes of UTF-8.
//
// [RFC 6455 section 5.5.1]: https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
func AppendClose(dst []byte, code uint16, reason string) []byte {
	const fin = 0x80
	dst = append(dst, fin|opClose, byte(2+len(reason)), byte(code>>8), byte(code))
	return append(dst, reason...)
}

const opClose = 8

// A Follower follows the bytes of one direction and knows where frames begin and end. The
// zero Follower is before the first frame.
type Follower struct {
	header [14]byte
	got    int    // bytes of the header; 0 between two frames
	whole  bool   // the header is
	left   uint64 // bytes of the payload that are to come
	closed bool   // a close frame was among them
}

// Between reports whether the next byte begins a frame.
func (f *Follower) Between() bool { return f.got == 0 }

// Closed reports whether a close frame was among them, which has ended.
func (f *Follower) Closed() bool { return f.closed }

// Pass follows p.
func (f *Follower) Pass(p []byte) {
	for len(p) > 0 {
		p = p[f.take(p):]
	}
}

// Rest is what of p belongs to the frame that was begun. It does not follow it.
func (f *Follower) Rest(p []byte) []byte {
	if f.Between() {
		return nil
	}
	ahead := *f
	return p[:ahead.take(p)]
}

// take follows p to the end of one frame and returns how many bytes that took.
func (f *Follower) take(p []byte) (n int) {
	for n < len(p) && !f.whole {
		f.header[f.got] = p[n]
		f.got++
		n++
		f.whole, f.left = f.parse()
	}
	if !f.whole {
		return n
	}
	some := min(f.left, uint64(len(p)-n))
	f.left -= some
	if f.left == 0 {
		const opcode = 0x0f
		*f = Follower{closed: f.closed || f.header[0]&opcode == opClose}
	}
	return n + int(some)
}

// parse says whether the header is whole, and how long the payload is.
func (f *Follower) parse() (whole bool, payload uint64) {
	if f.got < 2 {
		return false, 0
	}
	size, payload := 2, uint64(f.header[1]&0x7f)
	switch payload {
	case 126:
		size, payload = 4, uint64(binary.BigEndian.Uint16(f.header[2:]))
	case 127:
		size, payload = 10, binary.BigEndian.Uint64(f.header[2:])
	}
	if f.header[1]&0x80 != 0 { // a client's
		size += 4
	}
	return f.got == size, payload
}
