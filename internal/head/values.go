package head

import (
	"crypto/sha1"
	"encoding/base64"
)

// The values of the handshake's headers, each judged by itself, so that the same rules
// go for a request that net/http has parsed.

// IsWebSocket reports whether an Upgrade header asks for WebSocket and nothing
// else ([RFC 6455 section 4.2.1], item 3).
//
// [RFC 6455 section 4.2.1]: https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1
func IsWebSocket[T string | []byte](v T) bool {
	const want = "websocket"
	if len(v) != len(want) {
		return false
	}
	for i := range len(v) {
		if v[i]|0x20 != want[i] { // only the two cases of a letter meet it
			return false
		}
	}
	return true
}

// NamesWebSocket reports whether an Upgrade header, or a part of one, has anything
// to do with WebSocket, so that some library might take the request for a handshake.
func NamesWebSocket[T string | []byte](v T) bool {
	const n = len("websocket")
	for i := 0; i+n <= len(v); i++ {
		if IsWebSocket(v[i : i+n]) {
			return true
		}
	}
	return false
}

// ConnectionList reads a Connection header ([RFC 9110 section 7.6.1]): whether it is
// a list of tokens, empty places allowed, and whether upgrade is among them. White
// space in the list is spaces: tabs, which the grammar allows, others refuse, gobwas
// among them, and no client sends them.
//
// [RFC 9110 section 7.6.1]: https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
func ConnectionList[T string | []byte](v T) (upgrade, ok bool) {
	const want = "upgrade"
	for i := 0; i < len(v); i++ {
		for i < len(v) && v[i] == ' ' {
			i++
		}
		start := i
		for i < len(v) && tokenByte[v[i]] {
			i++
		}
		if i-start == len(want) {
			k := 0
			for k < len(want) && v[start+k]|0x20 == want[k] {
				k++
			}
			upgrade = upgrade || k == len(want)
		}
		for i < len(v) && v[i] == ' ' {
			i++
		}
		if i < len(v) && v[i] != ',' {
			return false, false
		}
	}
	return upgrade, true
}

// ValidHost reports whether v may be a Host header: not empty, and of the
// characters of a host with a port ([RFC 9112 section 3.2]).
//
// [RFC 9112 section 3.2]: https://www.rfc-editor.org/rfc/rfc9112#section-3.2
func ValidHost[T string | []byte](v T) bool {
	for i := range len(v) {
		if !hostByte[v[i]] {
			return false
		}
	}
	return len(v) > 0
}

// ValidToken reports whether v is a token of [RFC 9110 section 5.6.2], as the name
// of a subprotocol or of a header is.
//
// [RFC 9110 section 5.6.2]: https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2
func ValidToken[T string | []byte](v T) bool {
	for i := range len(v) {
		if !tokenByte[v[i]] {
			return false
		}
	}
	return len(v) > 0
}

// ValidValue reports whether v may stand in a header line.
func ValidValue[T string | []byte](v T) bool {
	for i := range len(v) {
		if v[i] < 0x20 && v[i] != '\t' || v[i] == 0x7f {
			return false
		}
	}
	return true
}

// keyLen is the length of the base64 of 16 bytes.
const keyLen = 24

// ValidKey reports whether v is 16 bytes in base64 ([RFC 4648 section 4]), spelled
// the one way they can be: padded, and with zeros in the bits left over.
//
// [RFC 4648 section 4]: https://www.rfc-editor.org/rfc/rfc4648#section-4
func ValidKey[T string | []byte](v T) bool {
	if len(v) != keyLen || v[22] != '=' || v[23] != '=' {
		return false
	}
	for i := range 21 {
		if base64Value[v[i]] > 63 {
			return false
		}
	}
	last := base64Value[v[21]]
	return last <= 63 && last&15 == 0
}

var base64Value = func() (t [256]byte) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range t {
		t[i] = 0xff
	}
	for i := range len(letters) {
		t[letters[i]] = byte(i)
	}
	return t
}()

// guid is what [RFC 6455 section 1.3] appends to the key.
//
// [RFC 6455 section 1.3]: https://www.rfc-editor.org/rfc/rfc6455#section-1.3
const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// AcceptLen is the length of a Sec-WebSocket-Accept value.
const AcceptLen = 28

// AppendAccept appends the Sec-WebSocket-Accept value for a valid key ([RFC 6455
// section 4.2.2], item 5.4).
//
// [RFC 6455 section 4.2.2]: https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
func AppendAccept(dst, key []byte) []byte {
	var in [keyLen + len(guid)]byte
	copy(in[:], key)
	copy(in[keyLen:], guid)
	sum := sha1.Sum(in[:])
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}
