package gateway

import (
	"bytes"
	"testing"

	"github.com/gobwas/ws"
)

// FuzzBoundary compares the follower with the frame reader of gobwas/ws: after each
// whole frame, and nowhere else, it stands between two.
func FuzzBoundary(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint8(1))
	f.Add(bytes.Repeat([]byte{125, 126, 127, 200}, 40), uint8(7))
	f.Fuzz(func(t *testing.T, sizes []byte, step uint8) {
		var stream []byte
		ends := map[int]bool{0: true}
		for i, size := range sizes[:min(len(sizes), 64)] {
			n := int(size)
			if i%7 == 3 {
				n *= 300 // beyond 16 bits of length
			}
			frame := ws.NewFrame(ws.OpBinary, i%2 == 0, make([]byte, n))
			if i%3 == 1 {
				frame = ws.MaskFrame(frame)
			}
			var b bytes.Buffer
			if err := ws.WriteFrame(&b, frame); err != nil {
				t.Fatal(err)
			}
			stream = append(stream, b.Bytes()...)
			ends[len(stream)] = true
		}
		var follower boundary
		for at := 0; ; {
			if follower.between() != ends[at] {
				t.Fatalf("at %d of %d it says %v", at, len(stream), follower.between())
			}
			if at == len(stream) {
				return
			}
			n := min(at+int(step)%200+1, len(stream))
			follower.pass(stream[at:n])
			at = n
		}
	})
}
