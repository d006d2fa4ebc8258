package mac

import (
	"bytes"
	"crypto/hmac"
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestAgainstStandardLibrary(t *testing.T) {
	if chained != [NumAlgs]bool{true, true, true} {
		t.Errorf("the short way is open for %v only: has the layout of marshaled hash states changed?", chained)
	}
	testAgainstStandardLibrary(t)
	defer func(was [NumAlgs]bool) { chained = was }(chained)
	chained = [NumAlgs]bool{}
	testAgainstStandardLibrary(t)
}

func testAgainstStandardLibrary(t *testing.T) {
	t.Helper()
	s := NewState()
	r := rand.New(rand.NewPCG(1, 2))
	for alg := range Alg(NumAlgs) {
		for _, keyLen := range []int{1, 32, 64, 65, 128, 129, 300} {
			secret := make([]byte, keyLen)
			for i := range secret {
				secret[i] = byte(r.Uint32())
			}
			k := NewKey(alg, secret)
			for n := range 600 {
				msg := make([]byte, n)
				for i := range msg {
					msg[i] = byte(r.Uint32())
				}
				h := hmac.New(algs[alg].new, secret)
				h.Write(msg)
				want := h.Sum(nil)
				for _, p := range []*Prefix{k.Plain(), k.Absorb(string(msg[:n/2])), k.Absorb(string(msg))} {
					if got := s.Sum(k, p, msg); !bytes.Equal(got, want) {
						t.Fatalf("%v key %d msg %d taken %d: %x, want %x", alg, keyLen, n, p.taken, got, want)
					}
				}
			}
		}
	}
}

func BenchmarkSum(b *testing.B) {
	secret := make([]byte, 64)
	for alg := range Alg(NumAlgs) {
		msg := make([]byte, 64+1+132)
		k := NewKey(alg, secret)
		h := hmac.New(algs[alg].new, secret)
		var out [64]byte
		b.Run(fmt.Sprintf("op=hmac/alg=%v", alg), func(b *testing.B) {
			for b.Loop() {
				h.Reset()
				h.Write(msg)
				h.Sum(out[:0])
			}
		})
		s := NewState()
		p := k.Absorb(string(msg[:65]))
		b.Run(fmt.Sprintf("op=plain/alg=%v", alg), func(b *testing.B) {
			for b.Loop() {
				s.Sum(k, k.Plain(), msg)
			}
		})
		b.Run(fmt.Sprintf("op=prefix/alg=%v", alg), func(b *testing.B) {
			for b.Loop() {
				s.Sum(k, p, msg)
			}
		})
	}
}
