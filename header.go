package wsticket

import (
	"bytes"

	"github.com/wsticket/wsticket/internal/b64"
	"github.com/wsticket/wsticket/internal/jose"
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
		return spelling{}, headerText[b64.Diagnose(encoded)]
	}
	h, fault := jose.Parse(w.header[:n], w.header[n:n])
	switch {
	case fault.Kind != jose.Sound:
		return spelling{}, headerFaults[fault.Index()]
	case tagLen != h.Alg.Size():
		return spelling{}, errMACLength
	}
	// Check 2: the key; its alg is the header's.
	k := s.byID[string(h.KeyID)]
	switch {
	case k == nil:
		return spelling{}, errNoKey
	case k.exp <= now:
		return spelling{}, errKeyExpired
	case k.mac.Alg() != h.Alg:
		return spelling{}, errKeyAlg
	}
	return spelling{k, k.mac.Plain()}, nil
}
