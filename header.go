package wsticket

import (
	"bytes"

	"github.com/wsticket/wsticket/internal/b64"
	"github.com/wsticket/wsticket/internal/jsonscan"
	"github.com/wsticket/wsticket/internal/jwkset"
	"github.com/wsticket/wsticket/internal/mac"
)

// spelled finds the key that the header of a ticket names in one of the compact
// spellings, and the dot behind the header, or -1. The signer's own spelling of the
// newest keys comes first: that is nearly every ticket, and spares the search for
// the dot and the lookup.
func (s *keyset) spelled(text []byte) (found spelling, dot int, known bool) {
	const newest = 2 // the key that signs, and the one that will
	for _, k := range s.keys[:min(len(s.keys), newest)] {
		if n := len(k.header); len(text) > n && string(text[:n]) == k.header {
			return spelling{k, k.prefix}, n - 1, true
		}
	}
	if dot = bytes.IndexByte(text, '.'); dot >= 0 {
		found, known = s.spellings[string(text[:dot])]
	}
	return found, dot, known
}

// readHeader reads a header that is spelled otherwise than the compact ones:
// exactly alg, kid and typ, in any order, white space and escapes in the values
// allowed.
func (s *keyset) readHeader(now int64, w *verification, encoded []byte, tagLen int) (spelling, error) {
	n, ok := b64.Decode(w.header[:], encoded)
	if !ok {
		return spelling{}, ErrMalformed
	}
	alg, kid, ok := parseHeader(w.header[:n], w.header[n:n])
	if !ok || tagLen != alg.Size() {
		return spelling{}, ErrMalformed
	}
	k := s.byID[string(kid)]
	switch {
	case k == nil || k.exp <= now:
		return spelling{}, ErrUnknownKey
	case k.mac.Alg() != alg:
		return spelling{}, ErrMalformed
	}
	return spelling{k, k.mac.Plain()}, nil
}

// parseHeader reads the JOSE header of a ticket (RFC 7515 section 4): exactly
// alg, kid and typ, each once, names without escapes. Unescaped values are
// appended to arena.
func parseHeader(h, arena []byte) (alg mac.Alg, kid []byte, ok bool) {
	const algSeen, kidSeen, typSeen, all = 1, 2, 4, 7
	seen := 0
	i := jsonscan.Space(h, 0)
	if i >= len(h) || h[i] != '{' {
		return 0, nil, false
	}
	for {
		i = jsonscan.Space(h, i+1)
		end, escaped := jsonscan.String(h, i)
		if end == jsonscan.Fault || escaped {
			return 0, nil, false
		}
		name := h[i+1 : end-1]
		if i = jsonscan.Space(h, end); i >= len(h) || h[i] != ':' {
			return 0, nil, false
		}
		i = jsonscan.Space(h, i+1)
		if end, escaped = jsonscan.String(h, i); end == jsonscan.Fault {
			return 0, nil, false
		}
		value := h[i+1 : end-1]
		if escaped {
			start := len(arena)
			arena = jsonscan.AppendUnescaped(arena, value)
			value = arena[start:]
		}
		member := 0
		switch string(name) {
		case "alg":
			member = algSeen
			alg, ok = mac.ParseAlg(value)
		case "kid":
			member = kidSeen
			kid, ok = value, jwkset.LegalKeyID(value)
		case "typ":
			member = typSeen
			ok = string(value) == ticketType
		}
		if !ok || member == 0 || seen&member != 0 {
			return 0, nil, false
		}
		seen |= member
		if i = jsonscan.Space(h, end); i >= len(h) {
			return 0, nil, false
		}
		if h[i] == ',' {
			continue
		}
		return alg, kid, h[i] == '}' && jsonscan.Space(h, i+1) == len(h) && seen == all
	}
}
