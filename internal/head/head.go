// Package head reads the head of a WebSocket opening handshake ([RFC 6455 section
// 4.2.1], over the HTTP/1.1 grammar of [RFC 9112]) from bytes of the caller, and writes
// the answer that accepts it.
//
// It is deliberately stricter than HTTP libraries are: a gateway and the proxy
// before it must never disagree about what a request says. Nothing is copied and
// nothing allocated; all positions are spans of the caller's buffer.
//
// [RFC 6455 section 4.2.1]: https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1
// [RFC 9112]: https://www.rfc-editor.org/rfc/rfc9112
package head

import "bytes"

// Span is a half-open range of the buffer that was scanned.
type Span struct{ Start, End uint16 }

// MaxBytes is the longest head that a Span can point into.
const MaxBytes = 1<<16 - 1

// Of returns the bytes of buf that s spans. They share buf's memory.
func (s Span) Of(buf []byte) []byte { return buf[s.Start:s.End:s.End] }

// Len is the number of bytes.
func (s Span) Len() int { return int(s.End) - int(s.Start) }

// Field is one header line: its name, its value without white space around it,
// and what the handshake makes of it.
type Field struct {
	Name, Value Span
	Kind        Kind
}

// Head is a head being scanned. Reset it, then give Scan the buffer each time
// bytes were added to it. Once Scan has said that it is done and Fault is
// NoFault, the rest may be read.
type Head struct {
	// End is where the head ends: the first byte behind its empty line.
	End int
	// Fields are the header lines in the order in which they came.
	Fields []Field

	// Path is the path of the request target, still percent-encoded, and Query what
	// follows its first '?'. A target in absolute-form that has no path has "/".
	Path, Query Span
	// Host, Key and Origin are the values of those headers. Origin counts only if
	// HasOrigin.
	Host, Key, Origin Span

	authority Span // of a target in absolute-form, else empty
	next      int  // start of the first line that has not been taken
	seen      int  // up to here there is no line end behind next
	maxFields int
	kinds     uint32 // set of the kinds that came
	fault     Fault
	upgrade   bool // Connection listed "upgrade"
	websocket bool // Upgrade is "websocket"
	version13 bool // Sec-WebSocket-Version is "13"
	line      bool // the request line has been taken
}

// Reset prepares h for a new head with at most maxFields header lines. The
// memory of Fields is kept.
func (h *Head) Reset(maxFields int) {
	*h = Head{Fields: h.Fields[:0], maxFields: maxFields}
}

// Fault is what is wrong with the head, or NoFault. It says something only once
// Scan is done.
func (h *Head) Fault() Fault { return h.fault }

// HasOrigin reports whether there was an Origin header, be it empty.
func (h *Head) HasOrigin() bool { return h.Has(Origin) }

// Has reports whether a header of kind k came.
func (h *Head) Has(k Kind) bool { return h.kinds&(1<<k) != 0 }

// Scan looks at buf, which has everything received so far in it, and reports whether
// the head is complete. It goes on where the last call stopped, so that a head that
// comes byte by byte costs no more than one that comes whole; the bytes that it saw
// must not have changed, but may have moved.
//
// A fault does not end the scan: the end of the head is still looked for, with a
// lone LF ending a line too, so that the refusal can be written when the client
// is ready to read it. The first fault in the order of the bytes counts.
func (h *Head) Scan(buf []byte) (done bool) {
	// Only lines that are complete are parsed, so the parser below never runs out
	// of bytes: it stops at the LF before limit at the latest.
	limit := len(buf)
	for limit > h.seen && buf[limit-1] != '\n' {
		limit--
	}
	if limit == h.seen {
		h.seen = len(buf)
		return false
	}
	h.seen = len(buf)
	if len(buf) > MaxBytes {
		h.seen, h.End, h.fault = 0, len(buf), TooLong
		return true
	}
	b := buf[:limit]
	if h.fault == NoFault {
		done = h.parse(b)
	}
	if !done && h.fault != NoFault {
		done = h.skip(b)
	}
	if done {
		h.seen = h.End
	}
	return done
}

// skip takes whole lines without looking into them, up to an empty one.
func (h *Head) skip(b []byte) (done bool) {
	for h.next < len(b) {
		line := b[h.next:]
		line = line[:bytes.IndexByte(line, '\n')+1] // b ends in LF
		h.next += len(line)
		if len(line) == 1 || len(line) == 2 && line[0] == '\r' {
			h.End = h.next
			return true
		}
	}
	return false
}

// finish judges what only the whole head can tell.
func (h *Head) finish(b []byte) {
	switch {
	case !h.Has(Host):
		h.fault = NoHost
	case h.authority.Len() > 0 && !bytes.Equal(h.authority.Of(b), h.Host.Of(b)):
		h.fault = OtherHost
	case !h.websocket:
		h.fault = NotWebSocket
	case !h.upgrade:
		h.fault = NoConnectionUpgrade
	case !h.version13:
		h.fault = NotVersion13
	case !h.Has(Key):
		h.fault = NoKey
	case !ValidKey(h.Key.Of(b)):
		h.fault = BadKey
	}
}

// IsPlainGET reports whether a complete head, which is not a handshake, is a plain GET
// of path: what a load balancer sends to see whether the server is there. It does not
// look at a query, nor at an offer to upgrade to something else than WebSocket ([RFC
// 9110 section 7.8]). HTTP/1.0 will do, which knows no Host; its header lines are not
// looked at.
//
// [RFC 9110 section 7.8]: https://www.rfc-editor.org/rfc/rfc9110#section-7.8
func (h *Head) IsPlainGET(buf []byte, path string) bool {
	if h.End == 0 {
		return false
	}
	switch h.fault {
	case NotWebSocket:
		for _, f := range h.Fields {
			if f.Kind == Upgrade && NamesWebSocket(f.Value.Of(buf)) {
				return false
			}
		}
		return string(h.Path.Of(buf)) == path
	case NotHTTP11:
		line, ok := bytes.CutPrefix(buf[:h.End], []byte("GET "))
		end := targetEnd(line, 0)
		t, good := splitTarget(line[:end])
		return ok && good && bytes.HasPrefix(line[end:], []byte(" HTTP/1.0\r\n")) && string(t.Path) == path
	}
	return false
}
