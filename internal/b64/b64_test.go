package b64

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
)

func reference(s string) ([]byte, bool) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return b, err == nil
}

func check(t *testing.T, s string) {
	t.Helper()
	want, wantOK := reference(s)
	if fault := Diagnose([]byte(s)); (fault == Fine) != wantOK {
		t.Fatalf("Diagnose(%q) says that it %v; the standard library says %v", s, fault, wantOK)
	}
	for _, room := range []int{0, 8} {
		dst := make([]byte, DecodedLen(len(s))+room)
		n, ok := Decode(dst, []byte(s))
		if ok != wantOK || ok && !bytes.Equal(dst[:n], want) {
			t.Fatalf("Decode(%q) = %x, %v; the standard library says %x, %v", s, dst[:n], ok, want, wantOK)
		}
	}
}

func TestDecodeAgainstStandardLibrary(t *testing.T) {
	for n := range 20 {
		good := strings.Repeat("A-_z", 6)[:n]
		check(t, good)
		for i := range n {
			for c := range 256 {
				check(t, good[:i]+string([]byte{byte(c)})+good[i+1:])
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "A", "QQ", "QR", "QUI", "QUJD", "QUJDRA==", "QU\nJD", "a+b/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { check(t, s) })
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	src := bytes.Repeat([]byte("AbC_"), 100)
	dst := make([]byte, DecodedLen(len(src)))
	if n := testing.AllocsPerRun(100, func() { Decode(dst, src) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestDiagnose(t *testing.T) {
	for s, want := range map[string]Fault{
		"": Fine, "QQ": Fine, "QUI": Fine, "QUJD": Fine,
		"QQ==": Letter, "QU+D": Letter, "QU/D": Letter, "QU D": Letter, "QUJD\n": Letter, "Q\x00JDA": Letter, "QU.D": Letter,
		"Q": Length, "QUJDQ": Length,
		"QR": Spare, "QUJ": Spare, "QUJDQR": Spare, "QUJDQUK": Spare,
	} {
		if got := Diagnose([]byte(s)); got != want {
			t.Errorf("Diagnose(%q): it %v, want: it %v", s, got, want)
		}
	}
}
