// Package mac computes HMAC-SHA-2 ([RFC 2104], [RFC 7518 section 3.2]) over tickets
// without allocating: each key keeps the hash states that follow its inner and
// outer pads, and a known beginning of the message may be absorbed ahead of
// time. The hashing itself is the standard library's.
//
// [RFC 2104]: https://www.rfc-editor.org/rfc/rfc2104
// [RFC 7518 section 3.2]: https://www.rfc-editor.org/rfc/rfc7518#section-3.2
package mac

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"encoding/binary"
	"fmt"
	"hash"
)

// An Alg is one of the three MAC algorithms of the ticket format.
type Alg uint8

const (
	HS256 Alg = iota
	HS384
	HS512
	NumAlgs = 3
)

var algs = [NumAlgs]struct {
	name        string
	size, block int
	new         func() hash.Hash
}{
	HS256: {"HS256", sha256.Size, sha256.BlockSize, sha256.New},
	HS384: {"HS384", sha512.Size384, sha512.BlockSize, sha512.New384},
	HS512: {"HS512", sha512.Size, sha512.BlockSize, sha512.New},
}

// ParseAlg returns the algorithm of that JOSE name.
func ParseAlg(name []byte) (Alg, bool) {
	for a := range algs {
		if algs[a].name == string(name) {
			return Alg(a), true
		}
	}
	return 0, false
}

func (a Alg) String() string { return algs[a].name }

// Size is the length of a MAC in bytes.
func (a Alg) Size() int { return algs[a].size }

// MaxSize is the length of the longest MAC in bytes.
const MaxSize = sha512.Size

// A Key holds what HMAC derives from one secret. It does not change and may be
// shared. It is a secret.
type Key struct {
	alg   Alg
	outer []byte // marshaled hash state behind the outer pad
	plain Prefix // nothing absorbed but the inner pad
}

// A Prefix is a Key that has already read the beginning of a message.
type Prefix struct {
	inner []byte // marshaled hash state
	taken int    // how many bytes of the message it has read
}

// NewKey prepares secret for alg.
func NewKey(alg Alg, secret []byte) *Key {
	if block := algs[alg].block; len(secret) > block {
		h := algs[alg].new()
		h.Write(secret)
		secret = h.Sum(nil)
	}
	return &Key{
		alg:   alg,
		outer: padded(alg, secret, 0x5c),
		plain: Prefix{inner: padded(alg, secret, 0x36)},
	}
}

func padded(alg Alg, secret []byte, pad byte) []byte {
	p := make([]byte, algs[alg].block)
	copy(p, secret)
	for i := range p {
		p[i] ^= pad
	}
	h := algs[alg].new()
	h.Write(p)
	return marshal(h)
}

func marshal(h hash.Hash) []byte {
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		panic(fmt.Sprintf("mac: the standard library's hash does not give its state: %v", err))
	}
	return state
}

// Alg is the key's algorithm.
func (k *Key) Alg() Alg { return k.alg }

// Plain is the prefix of messages of which nothing is known.
func (k *Key) Plain() *Prefix { return &k.plain }

// Absorb returns the prefix of messages that begin with text. It takes in whole
// blocks only, so that what is left is hashed where it stands, without a copy.
func (k *Key) Absorb(text string) *Prefix {
	block := algs[k.alg].block
	taken := len(text) / block * block
	h := algs[k.alg].new()
	restore(h, k.plain.inner)
	h.Write([]byte(text[:taken]))
	return &Prefix{inner: marshal(h), taken: taken}
}

// A State computes MACs, one at a time, without allocating. The zero State is
// not ready: use NewState. It keeps nothing of a key between calls but hash
// states, which the next call overwrites.
type State struct {
	hashes [NumAlgs]hash.Hash
	tail   [2 * sha512.BlockSize]byte // the padded end of a message
	state  []byte                     // a marshaled hash state
	sum    [MaxSize]byte
}

// NewState allocates a State.
func NewState() *State {
	s := &State{state: make([]byte, 0, 256)}
	for a := range s.hashes {
		s.hashes[a] = algs[a].new()
	}
	return s
}

func restore(h hash.Hash, state []byte) {
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		panic(fmt.Sprintf("mac: the standard library's hash does not take its own state: %v", err))
	}
}

// Sum returns the MAC of msg, which must begin with what p has absorbed. The
// result is valid until the next call.
func (s *State) Sum(k *Key, p *Prefix, msg []byte) []byte {
	h := s.hashes[k.alg]
	if !chained[k.alg] {
		restore(h, p.inner)
		h.Write(msg[p.taken:])
		inner := h.Sum(s.sum[:0])
		restore(h, k.outer)
		h.Write(inner)
		return h.Sum(s.sum[:0])
	}
	block := algs[k.alg].block
	restore(h, p.inner)
	whole := p.taken + (len(msg)-p.taken)&^(block-1)
	h.Write(msg[p.taken:whole])
	s.finish(h, msg[whole:], block, block+len(msg))
	inner := s.sum[:algs[k.alg].size]
	copy(inner, s.state[magic:])
	restore(h, k.outer)
	s.finish(h, inner, block, block+len(inner))
	copy(inner, s.state[magic:])
	return inner
}

// magic is the length of what stands before the chaining value in a marshaled
// hash state.
const magic = 4

// finish writes the end of a message of total bytes with its padding (FIPS 180-4
// section 5.1), and reads the hash off the state. hash.Hash.Sum would copy the
// whole state first, which is a tenth of a short MAC.
func (s *State) finish(h hash.Hash, end []byte, block, total int) {
	n := copy(s.tail[:], end)
	s.tail[n] = 0x80
	padded := block
	if n+1+block/8 > block {
		padded = 2 * block
	}
	clear(s.tail[n+1 : padded-8])
	binary.BigEndian.PutUint64(s.tail[padded-8:], uint64(total)<<3)
	h.Write(s.tail[:padded])
	s.state, _ = h.(encoding.BinaryAppender).AppendBinary(s.state[:0])
}

// chained says for which algorithms the chaining value may be read off the marshaled
// state. The standard library does not promise the layout of that state. So it is
// compared with Sum once; if it has changed, Sum is used.
var chained = func() (ok [NumAlgs]bool) {
	s := NewState()
	for alg := range Alg(NumAlgs) {
		h := s.hashes[alg]
		if _, can := h.(encoding.BinaryAppender); !can {
			continue
		}
		h.Reset()
		s.finish(h, []byte("wsticket"), algs[alg].block, len("wsticket"))
		h.Reset()
		h.Write([]byte("wsticket"))
		want, size := h.Sum(nil), algs[alg].size
		ok[alg] = len(s.state) >= magic+size && bytes.Equal(s.state[magic:magic+size], want)
	}
	return ok
}()
