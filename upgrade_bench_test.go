package wsticket

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// benchConn plays a head and swallows the answer.
type benchConn struct {
	memConn
	reader bytes.Reader
}

func (c *benchConn) play(head []byte) {
	c.reader.Reset(head)
	c.in = &c.reader
	c.out = c.out[:0]
}

// upgradeHead is a head of about 300 bytes, of the 830 that Chrome sends, or of
// the 6 KB that a site with many cookies has it send.
func upgradeHead(size, carrier, ticket string) []byte {
	lines := []string{"Origin: https://app.example"}
	if size != "300B" {
		lines = append(lines, "Pragma: no-cache", "Cache-Control: no-cache",
			"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
			"Accept-Encoding: gzip, deflate, br, zstd", "Accept-Language: en-GB,en;q=0.9",
			"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
	}
	if size == "6KB" {
		for range 10 {
			lines = append(lines, "X-Filler: "+strings.Repeat("c", 500))
		}
	}
	target, cookie := "/ws", "theme=dark; lang=en"
	switch carrier {
	case "query":
		target += "?ticket=" + ticket
	case "subprotocol":
		lines = append(lines, "Sec-WebSocket-Protocol: app.v1, ticket."+ticket)
	case "bearer":
		lines = append(lines, "Authorization: Bearer "+ticket)
	case "cookie":
		cookie += "; __Host-ws-ticket=" + ticket
	}
	if size != "300B" || carrier == "cookie" {
		lines = append(lines, "Cookie: "+cookie)
	}
	return []byte(request(target, lines...))
}

type upgradeBench struct {
	u     *Upgrader
	guard *shifted
	floor func(i int)
	heads [][]byte
}

func newUpgradeBench(b *testing.B, keys int, size, carrier string, spoil func(ticket string) string) *upgradeBench {
	b.Helper()
	keyring := benchKeyring(b, "HS256", keys)
	now := time.Now()
	signer, err := NewSigner(SignerConfig{Keys: keyring, TTL: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	claims := benchClaims
	tickets := make([][]byte, poolSize)
	for i := range tickets {
		if tickets[i], err = signer.AppendTicketAt(nil, now, &claims); err != nil {
			b.Fatal(err)
		}
	}
	cache, err := NewReplayCache(ReplayConfig{PeakPerSecond: 100_000, Since: now.Add(-time.Hour)})
	if err != nil {
		b.Fatal(err)
	}
	bench := &upgradeBench{guard: &shifted{cache: cache}, floor: newFloor(keyring, tickets)}
	bench.u, err = NewUpgrader(UpgraderConfig{
		Verifier:  benchVerifier(b, keyring, bench.guard),
		Origins:   []string{"https://app.example"},
		Carriers:  CarrierQuery | CarrierSubprotocol | CarrierBearer | CarrierCookie,
		Protocols: []string{"app.v1"},
	})
	if err != nil {
		b.Fatal(err)
	}
	bench.u.waits, bench.u.asks = false, false // the guard is a ReplayCache with another clock
	for _, ticket := range tickets {
		if spoil == nil {
			bench.heads = append(bench.heads, upgradeHead(size, carrier, string(ticket)))
		} else {
			bench.heads = append(bench.heads, upgradeHead(size, carrier, spoil(string(ticket))))
		}
	}
	return bench
}

// BenchmarkUpgrade is a handshake in memory with its ticket and its single use:
// for each carrier, head and number of keys, and for each refusal, beside gobwas's
// own upgrade of the same heads, which looks at no ticket.
func BenchmarkUpgrade(b *testing.B) {
	for _, c := range []struct {
		carrier, size string
		keys          int
	}{
		{"query", "300B", 1}, {"query", "830B", 1}, {"query", "6KB", 1}, {"query", "830B", 8},
		{"subprotocol", "830B", 1}, {"bearer", "830B", 1}, {"cookie", "830B", 1},
	} {
		name := "carrier=" + c.carrier + "/head=" + c.size + "/keys=" + map[int]string{1: "1", 8: "8"}[c.keys]
		b.Run("op=upgrade/"+name, func(b *testing.B) {
			bench := newUpgradeBench(b, c.keys, c.size, c.carrier, nil)
			bench.run(b, bench.upgrade(b, nil))
		})
		if c.keys == 1 {
			b.Run("op=gobwas/"+name, func(b *testing.B) {
				bench := newUpgradeBench(b, c.keys, c.size, c.carrier, nil)
				bench.run(b, bench.gobwas(b))
			})
		}
	}
	for name, c := range upgradeRefusals {
		b.Run("op=refuse/code="+name, func(b *testing.B) {
			bench := newUpgradeBench(b, 1, "830B", "query", c.ticket)
			if c.head != nil {
				for i, head := range bench.heads {
					bench.heads[i] = []byte(c.head(string(head)))
				}
			}
			if c.want == ErrReplayed {
				spend := bench.upgrade(b, nil)
				for i := range poolSize {
					spend(i)
				}
			}
			bench.run(b, bench.upgrade(b, c.want))
		})
	}
	// The other codes, over one head each: refused further on in the same code.
	for _, c := range allocCases(b) {
		code, refused := c.want.(Error)
		if _, pooled := upgradeRefusals[code.Code()]; !refused || pooled {
			continue
		}
		b.Run("op=refuse/pool=1/code="+code.Code(), func(b *testing.B) {
			conn := newReplayConn(c.head, false)
			if c.late {
				conn.in = io.MultiReader(conn.in, late{})
			}
			start := conn.in
			var h Handshake
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				conn.rewind()
				conn.in = start
				if err := c.u.Upgrade(ctx, conn, &h); !errors.Is(err, c.want) {
					b.Fatal(err)
				}
			}
		})
	}
}

// upgradeRefusals spoil the ticket of a head, or the head.
var upgradeRefusals = map[string]struct {
	ticket func(string) string
	head   func(string) string
	want   error
}{
	"missing":        {head: func(h string) string { return strings.Replace(h, "?ticket=", "?xticket=", 1) }, want: ErrMissing},
	"ambiguous":      {ticket: func(t string) string { return t + "&ticket=" + t }, want: ErrAmbiguous},
	"malformed":      {ticket: func(t string) string { return t + "=" }, want: ErrMalformed},
	"bad_signature":  {ticket: func(t string) string { return t[:len(t)-43] + strings.Repeat("A", 43) }, want: ErrBadSignature},
	"replayed":       {want: ErrReplayed},
	"origin":         {head: func(h string) string { return strings.Replace(h, "https://app", "https://evil", 1) }, want: ErrOrigin},
	"bad_handshake":  {ticket: func(t string) string { return t + "\x00" }, want: ErrBadHandshake},
	"head_too_large": {head: func(h string) string { return strings.Replace(h, "\r\n\r\n", "\r\nX: "+strings.Repeat("x", 16384), 1) }, want: ErrHeadTooLarge},
}

// BenchmarkUpgradeRatio is Upgrade over what no handshake with an HMAC ticket by these
// libraries can undercut: gobwas's own upgrade of the same heads, and the floor of the
// MAC.
func BenchmarkUpgradeRatio(b *testing.B) {
	for _, size := range []string{"300B", "830B", "6KB"} {
		bench := newUpgradeBench(b, 1, size, "query", nil)
		gobwas := bench.gobwas(b)
		benchRatio(b, "op=upgrade/carrier=query/head="+size, func(i int) { gobwas(i); bench.floor(i) }, bench.upgrade(b, nil))
	}
}

func (bench *upgradeBench) run(b *testing.B, op func(i int)) {
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		op(i)
		i++
	}
}

func (bench *upgradeBench) upgrade(b *testing.B, want error) func(i int) {
	conn := &benchConn{memConn: *newMemConn(nil)}
	var h Handshake
	ctx := context.Background()
	used := 0
	return func(int) {
		if want == nil {
			bench.guard.by = 60 * int64(used>>14) // each round has fresh tickets
		}
		// Beside the floor: not what it has just had in the cache.
		conn.play(bench.heads[(used+poolSize/2)&(poolSize-1)])
		used++
		if err := bench.u.Upgrade(ctx, conn, &h); err != want && codeOf(err) != want {
			b.Fatalf("%v, want %v", err, want)
		}
	}
}

func (bench *upgradeBench) gobwas(b *testing.B) func(i int) {
	conn := &benchConn{memConn: *newMemConn(nil)}
	u := ws.Upgrader{ReadBufferSize: 8192}
	return func(i int) {
		conn.play(bench.heads[i&(poolSize-1)])
		if _, err := u.Upgrade(conn); err != nil {
			b.Fatal(err)
		}
	}
}
