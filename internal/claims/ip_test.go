package claims

import (
	"net/netip"
	"strings"
	"testing"
)

func referenceIP(s string) (netip.Prefix, bool) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return netip.Prefix{}, false
		}
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	a = a.WithZone("").Unmap()
	return netip.PrefixFrom(a, a.BitLen()), true
}

func checkIP(t *testing.T, s string) {
	t.Helper()
	want, wantOK := referenceIP(s)
	got, ok := ParseIP([]byte(s))
	again, okAgain := ParseIP(s)
	if ok != wantOK || got != want || ok != okAgain || got != again {
		t.Fatalf("ParseIP(%q) = %v, %v; net/netip says %v, %v", s, got, ok, want, wantOK)
	}
}

var ips = []string{
	"", "1.2.3.4", "01.2.3.4", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.4/0", "1.2.3.4/32", "1.2.3.4/33", "1.2.3.4/08", "1.2.3.4/", "1.2.3.4/+8",
	"::", "::1", "1::", "::/0", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7::", "::1:2:3:4:5:6:7", "1::2::3", ":1", "1:", "1:::2", "12345::", "g::",
	"::ffff:1.2.3.4", "::ffff:1.2.3.4/120", "::ffff:1.2.3.4/96", "::ffff:1.2.3.4/95", "::ffff:0:0/0", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3", "::1.2.3.4.5", "1.2.3.4::",
	"fe80::1%eth0", "fe80::1%", "fe80::1%eth0/64", "1.2.3.4%eth0", "::ffff:1.2.3.4%z", "%eth0", "2001:db8::/32", "2001:db8::1/32", "::12345", "1:2:3:4:5:6:7:8:9", "::00001", "AbCd::eF", "fe80::1%/", "fe80::1%a%b",
	"1.2.3.4/99999999999999999999", "::%:", "1:2%.", ".:", "1.1:", "1.:", "a.b:", "1:2:3:4:5:6:7::8", "::1/128", "::1/129",
}

func TestIPAgainstStandardLibrary(t *testing.T) {
	for _, s := range ips {
		checkIP(t, s)
	}
}

func FuzzIP(f *testing.F) {
	for _, s := range ips {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkIP(t, s) })
}
