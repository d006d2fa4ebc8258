package head

// Switching writes the answer that accepts a handshake. It is made once for each
// subprotocol that may be selected, and is then only read.
type Switching struct {
	tail string
	size int
}

const switching = "HTTP/1.1 101 Switching Protocols\r\n" +
	"Upgrade: websocket\r\n" +
	"Connection: Upgrade\r\n" +
	"Sec-WebSocket-Accept: "

// NewSwitching prepares the answer that selects protocol, or none if it is
// empty, and carries the header lines of extra, each with its CRLF.
func NewSwitching(protocol, extra string) Switching {
	tail := "\r\n"
	if protocol != "" {
		tail += "Sec-WebSocket-Protocol: " + protocol + "\r\n"
	}
	tail += extra + "\r\n"
	return Switching{tail: tail, size: len(switching) + AcceptLen + len(tail)}
}

// Len is the number of bytes that Append adds.
func (s *Switching) Len() int { return s.size }

// Append appends the answer to a handshake with this valid key.
func (s *Switching) Append(dst, key []byte) []byte {
	dst = append(dst, switching...)
	dst = AppendAccept(dst, key)
	return append(dst, s.tail...)
}
