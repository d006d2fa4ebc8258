package bench

import (
	"context"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"runtime"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"github.com/wsticket/wsticket"
)

// headSizes are handshakes as short as can be, as browsers send them, and with cookies
// of 5 KB.
var headSizes = []struct {
	name  string
	lines string
}{
	{"short", "Origin: https://app.example\r\n"},
	{"browser", "Origin: https://app.example\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n" +
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nCookie: theme=dark; lang=en\r\n"},
	{"long", "Origin: https://app.example\r\n" + strings.Repeat("X-Filler: "+strings.Repeat("c", 500)+"\r\n", 10)},
}

func headWith(ticket, lines string) []byte {
	return fmt.Appendf(nil, "GET /ws?ticket=%s HTTP/1.1\r\nHost: gw.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", ticket, lines)
}

// A mockConn is a connection without a kernel: a head comes in, and what goes out is
// dropped.
type mockConn struct {
	head []byte
	addr net.TCPAddr
}

func (c *mockConn) Read(p []byte) (int, error) {
	if len(c.head) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.head)
	c.head = c.head[n:]
	return n, nil
}
func (c *mockConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c *mockConn) Close() error                     { return nil }
func (c *mockConn) LocalAddr() net.Addr              { return &c.addr }
func (c *mockConn) RemoteAddr() net.Addr             { return &c.addr }
func (c *mockConn) SetDeadline(time.Time) error      { return nil }
func (c *mockConn) SetReadDeadline(time.Time) error  { return nil }
func (c *mockConn) SetWriteDeadline(time.Time) error { return nil }

// A handshaker takes a handshake in memory. mint makes the tickets that it is shown.
type handshaker struct {
	name        string
	ours, floor bool
	mint        func() (string, error)
	shake       func(conn *mockConn, signed []byte) error // signed is what the MAC covers
}

// inMemory compares what a handshake costs without the kernel. Each ticket is shown once.
func inMemory(r *run) (*Section, error) {
	all, err := handshakers()
	if err != nil {
		return nil, err
	}
	s := &Section{
		Title: "Handshakes in memory",
		Asks:  "What does a whole handshake with its ticket cost the program, without the kernel? The floor is gobwas/ws, which looks at no ticket, and the HMAC alone.",
		Notes: []string{"16,384 heads with a ticket each in random order, none of them in the cache; the contenders take turns of 256. wsticket.Upgrader uses its ticket up; the JWT libraries do not know whether it was used before."},
	}
	for _, h := range all {
		s.Rows = append(s.Rows, Row{Name: h.name, Source: "../../bench/inmemory.go", Ours: h.ours, Floor: h.floor})
	}
	results := make([][][]float64, len(all)) // of a contender, a size and a run: ns, × floor
	allocations := make([]float64, len(all))
	for at, size := range headSizes {
		s.Columns = append(s.Columns, Column{Name: fmt.Sprintf("ns, head of %d bytes", len(headWith(strings.Repeat("x", 294), size.lines))), Better: -1}, Column{Name: "× floor", Digits: 2, Better: -1})
		for run := range pick(r, 3, 11) {
			if r.Err() != nil {
				return nil, r.Err()
			}
			medians, mallocs, err := shakeAll(all, size.lines)
			if err != nil {
				return nil, err
			}
			for i, ns := range medians {
				if at == 0 {
					results[i] = append(results[i], nil)
				}
				results[i][run] = append(results[i][run], ns, ns/medians[0])
				allocations[i] = mallocs[i]
			}
		}
		r.say("%s heads", size.name)
	}
	s.Columns = append(s.Columns, Column{Name: "allocations", Better: -1})
	for i := range all {
		for _, values := range results[i] {
			s.Rows[i].add(append(values, allocations[i])...)
		}
	}
	return s, nil
}

// shakeAll has all take a pool of handshakes, and returns what one costs each: the median
// of the turns, and the allocations.
func shakeAll(all []handshaker, lines string) (medians, mallocs []float64, err error) {
	const pool, turn = 1 << 14, 256
	heads, signed := make([][][]byte, len(all)), make([][][]byte, len(all))
	order := mathrand.Perm(pool)
	for i := range all {
		heads[i], signed[i] = make([][]byte, pool), make([][]byte, pool)
		for _, at := range order {
			ticket, err := all[i].mint()
			if err != nil {
				return nil, nil, err
			}
			heads[i][at] = headWith(ticket, lines)
			start := strings.Index(string(heads[i][at]), "=") + 1
			signed[i][at] = heads[i][at][start : start+strings.LastIndexByte(ticket, '.')]
		}
	}
	times := make([][]float64, len(all))
	mallocs = make([]float64, len(all))
	conn := &mockConn{}
	var before, after runtime.MemStats
	for from := 0; from < pool; from += turn {
		for i := range all {
			runtime.GC() // of the one before
			runtime.ReadMemStats(&before)
			var start time.Time
			for k := range turn {
				if k == turn/4 { // its code is in the cache again
					start = time.Now()
				}
				conn.head = heads[i][from+k]
				if err := all[i].shake(conn, signed[i][from+k]); err != nil {
					return nil, nil, fmt.Errorf("%s: %w", all[i].name, err)
				}
			}
			if from > 0 { // its pools are filled
				times[i] = append(times[i], float64(time.Since(start).Nanoseconds())/(turn-turn/4))
			}
			runtime.ReadMemStats(&after)
			mallocs[i] = float64((after.Mallocs - before.Mallocs) / turn)
		}
	}
	for i := range all {
		medians = append(medians, median(times[i]))
	}
	return medians, mallocs, nil
}

func handshakers() ([]handshaker, error) {
	keys, err := keyring()
	if err != nil {
		return nil, err
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys, TTL: wsticket.DefaultMaxTTL})
	if err != nil {
		return nil, err
	}
	cache, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 20_000, Since: time.Unix(0, 0)})
	if err != nil {
		return nil, err
	}
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: cache, Audiences: []string{audience}})
	if err != nil {
		return nil, err
	}
	ours, err := wsticket.NewUpgrader(wsticket.UpgraderConfig{Verifier: verifier, Origins: []string{"https://app.example"}})
	if err != nil {
		return nil, err
	}
	sign := func() (string, error) { return signer.Sign(&claims) }
	var handshake wsticket.Handshake
	alone := ws.Upgrader{ReadBufferSize: 8192}
	mac := hmacFloor()
	jwts := newJWT()
	jwtUpgrader := jwts.upgrader()
	jwtUpgrader.ReadBufferSize = 8192
	return []handshaker{
		{"floor: gobwas/ws, and crypto/hmac", false, true, sign, func(conn *mockConn, signed []byte) error {
			if _, err := alone.Upgrade(conn); err != nil {
				return err
			}
			return mac(nil, signed)
		}},
		{"wsticket.Upgrader", true, false, sign, func(conn *mockConn, _ []byte) error {
			return ours.Upgrade(context.Background(), conn, &handshake)
		}},
		{"gobwas/ws, golang-jwt", false, false, jwts.mint, func(conn *mockConn, _ []byte) error {
			_, err := jwtUpgrader.Upgrade(conn)
			return err
		}},
	}, nil
}
