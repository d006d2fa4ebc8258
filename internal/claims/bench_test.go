package claims

import (
	"encoding/base64"
	"testing"

	"github.com/wsticket/wsticket/internal/b64"
)

const typical = `{"jti":"n0nceAAAAAAAAAAAAAAAAA","iat":1795219200,"exp":1795219210,"sub":"user-4711","aud":"wss://gw.example","sid":"s-1795219100"}`

func BenchmarkScan(b *testing.B) {
	var buf [BufferLen]byte
	n := copy(buf[:], typical)
	var scratch Scratch
	b.Run("op=scan/members=6", func(b *testing.B) {
		for b.Loop() {
			var s Set
			if !s.Scan(buf[:], n, &scratch) {
				b.Fatal("refused")
			}
		}
	})
	text := []byte(base64.RawURLEncoding.EncodeToString([]byte(typical)))
	b.Run("op=decode", func(b *testing.B) {
		for b.Loop() {
			b64.Decode(buf[:], text)
		}
	})
}
