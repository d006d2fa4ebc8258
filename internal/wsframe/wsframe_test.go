package wsframe

import (
	"bytes"
	"io"
	"testing"

	"github.com/gobwas/ws"
)

// TestFollower: frames of every kind of length, of clients and servers, in pieces of
// every size up to that of a header, against gobwas.
func TestFollower(t *testing.T) {
	var all []byte
	var ends []int
	add := func(f ws.Frame) {
		var b bytes.Buffer
		if err := ws.WriteFrame(&b, f); err != nil {
			t.Fatal(err)
		}
		all = append(all, b.Bytes()...)
		ends = append(ends, len(all))
	}
	for _, n := range []int{0, 1, 125, 126, 65_535, 65_536} {
		payload := bytes.Repeat([]byte{0x88}, n) // what looks like close frames
		add(ws.NewBinaryFrame(payload))
		add(ws.MaskFrame(ws.NewBinaryFrame(bytes.Clone(payload))))
	}
	for size := 1; size <= 15; size++ {
		var f Follower
		at := 0
		for _, end := range ends {
			for at < end {
				if n := min(size, end-at); true {
					if rest := f.Rest(all[at : at+n]); !f.Between() && len(rest) != min(n, end-at) {
						t.Fatalf("pieces of %d, at %d: the rest has %d bytes", size, at, len(rest))
					}
					f.Pass(all[at : at+n])
					at += n
				}
				if f.Between() != (at == end) {
					t.Fatalf("pieces of %d, at %d of %d: between is %v", size, at, end, f.Between())
				}
			}
		}
		if f.Closed() {
			t.Errorf("pieces of %d: closed", size)
		}
		bye := AppendClose(nil, 3000, "bye")
		f.Pass(bye[:len(bye)-1])
		if f.Closed() {
			t.Errorf("pieces of %d: closed by a part of a frame", size)
		}
		f.Pass(append(bye[len(bye)-1:], all[:3]...))
		if !f.Closed() || f.Between() {
			t.Errorf("pieces of %d: closed %v, between %v", size, f.Closed(), f.Between())
		}
	}
}

func TestAppendClose(t *testing.T) {
	want := ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(3003, "forbidden")))
	if got := AppendClose([]byte("x"), 3003, "forbidden"); string(got) != "x"+string(want) {
		t.Errorf("%x, want %x", got, want)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{0x82, 0x7e, 0, 3, 1, 2, 3, 0x88, 0x80, 1, 2, 3, 4, 0x81, 0}, uint8(3))
	f.Add([]byte{0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0, 1, 9}, uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		// By gobwas: the offsets at which frames end.
		ends := map[int]bool{0: true}
		closed := false
		for r := bytes.NewReader(stream); ; {
			h, err := ws.ReadHeader(r)
			if err != nil || h.Length > int64(r.Len()) {
				break
			}
			r.Seek(h.Length, io.SeekCurrent)
			ends[len(stream)-r.Len()] = true
			closed = closed || h.OpCode == ws.OpClose
		}
		var frames Follower
		step := int(piece)%16 + 1
		last := 0
		for at := 0; at < len(stream); at += step {
			n := min(step, len(stream)-at)
			if rest := frames.Rest(stream[at : at+n]); len(rest) < n && !ends[at+len(rest)] {
				t.Fatalf("a frame ends at %d", at+len(rest))
			}
			frames.Pass(stream[at : at+n])
			if last = at + n; frames.Between() != ends[last] {
				t.Fatalf("%x: between frames at %d: %v", stream, last, frames.Between())
			}
		}
		if frames.Closed() != closed {
			t.Fatal("a close frame was overlooked")
		}
	})
}
