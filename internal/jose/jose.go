// Package jose reads the protected header of a ticket: the one place that knows
// its members.
package jose

import (
	"github.com/wsticket/wsticket/internal/jsonscan"
	"github.com/wsticket/wsticket/internal/jwkset"
	"github.com/wsticket/wsticket/internal/mac"
)

// Type is the typ of every ticket: explicit typing ([RFC 8725 section 3.11]).
//
// [RFC 8725 section 3.11]: https://www.rfc-editor.org/rfc/rfc8725#section-3.11
const Type = "ws-ticket+jwt"

// maxDepth is that of the payload too; a header with any depth is refused.
const maxDepth = 8

// A Header is what the header of a ticket says.
type Header struct {
	Alg   mac.Alg
	KeyID []byte
}

// Parse reads a JOSE header ([RFC 7515 section 4]): exactly alg, kid and typ, each
// once, names without escapes. Unescaped values are appended to arena. KeyID is a
// view of h or of arena. The Fault is the first in the order of the bytes, and
// zero where there is none; what is missing comes last.
//
// [RFC 7515 section 4]: https://www.rfc-editor.org/rfc/rfc7515#section-4
func Parse(h, arena []byte) (header Header, _ Fault) {
	var seen [numMembers]bool
	i := jsonscan.Space(h, 0)
	if i >= len(h) || h[i] != '{' {
		return Header{}, broken(h)
	}
	if end := jsonscan.Space(h, i+1); end < len(h) && h[end] == '}' && jsonscan.Space(h, end+1) == len(h) {
		return Header{}, Fault{Kind: Missing, Member: Alg}
	}
	for {
		i = jsonscan.Space(h, i+1)
		end, escaped := jsonscan.String(h, i)
		if end == jsonscan.Fault {
			return Header{}, broken(h)
		}
		f := Fault{Name: h[i:end]}
		if escaped {
			f.Kind = Escaped
			return Header{}, f
		}
		f.Member = memberOf(h[i+1 : end-1])
		if i = jsonscan.Space(h, end); i >= len(h) || h[i] != ':' {
			return Header{}, broken(h)
		}
		i = jsonscan.Space(h, i+1)
		if end = jsonscan.Value(h, i, maxDepth); end == jsonscan.Fault {
			return Header{}, broken(h)
		}
		f.Value = h[i:end]
		switch {
		case f.Member == Other:
			f.Kind = Foreign
		case seen[f.Member]:
			f.Kind = Duplicate
		case h[i] != '"':
			f.Kind = NotText
		default:
			var value []byte
			value, arena = text(f.Value, arena)
			f.Kind = header.take(f.Member, value)
		}
		if f.Kind != Sound {
			return Header{}, f
		}
		seen[f.Member] = true
		if i = jsonscan.Space(h, end); i < len(h) && h[i] == ',' {
			continue
		}
		if i >= len(h) || h[i] != '}' || jsonscan.Space(h, i+1) != len(h) {
			return Header{}, broken(h)
		}
		for m := Alg; m < numMembers; m++ {
			if !seen[m] {
				return Header{}, Fault{Kind: Missing, Member: m}
			}
		}
		return header, Fault{}
	}
}

// text is the text of a JSON string, appended to arena if it has escapes.
func text(value, arena []byte) (_, rest []byte) {
	raw := value[1 : len(value)-1]
	start := len(arena)
	for _, c := range raw {
		if c == '\\' {
			arena = jsonscan.AppendUnescaped(arena, raw)
			return arena[start:], arena
		}
	}
	return raw, arena
}

// take judges one value and notes it.
func (h *Header) take(m Member, value []byte) Kind {
	var ok bool
	switch m {
	case Alg:
		h.Alg, ok = mac.ParseAlg(value)
	case KeyID:
		h.KeyID, ok = value, jwkset.LegalKeyID(value)
	case Typ:
		ok = string(value) == Type
	}
	if !ok {
		return Wrong
	}
	return Sound
}

// broken says why h is no JSON object. A header that Parse has stumbled over is
// never taken, whatever Why finds.
func broken(h []byte) Fault {
	why := jsonscan.Why(h, maxDepth)
	if why == jsonscan.Fine {
		why = jsonscan.NotJSON
	}
	return Fault{Kind: Kind(why)}
}
