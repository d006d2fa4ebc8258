package wsticket

import (
	"github.com/wsticket/wsticket/internal/jsonscan"
	"github.com/wsticket/wsticket/internal/jwkset"
	"github.com/wsticket/wsticket/internal/mac"
)

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
