package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// request is a handshake as Chrome sends it, with header lines of our own behind.
func request(target, host, origin string, lines ...string) []byte {
	own := ""
	for _, line := range lines {
		own += line + "\r\n"
	}
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\n"+
		"Host: %s\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n"+
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36\r\n"+
		"Upgrade: websocket\r\nOrigin: %s\r\nSec-WebSocket-Version: 13\r\n"+
		"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\r\nCookie: theme=dark; consent=necessary\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n%s\r\n",
		target, host, origin, own)
}

// A dialer opens WebSockets at one address.
type dialer struct {
	addr    string
	tls     *tls.Config // nil for none
	request func(ticket string) []byte
}

func newDialer(addr string, secure bool) *dialer {
	d := &dialer{addr: addr, request: func(ticket string) []byte {
		return request("/rooms/7?ticket="+ticket, addr, "http://"+addr)
	}}
	if secure {
		d.tls = &tls.Config{InsecureSkipVerify: true} // the server's certificate is of this run
	}
	return d
}

const connectTimeout = 10 * time.Second

// open shows a ticket and returns the connection and the status of the answer.
func (d *dialer) open(ticket string) (net.Conn, int, error) {
	conn, err := net.DialTimeout("tcp", d.addr, connectTimeout)
	if err != nil {
		return nil, 0, err
	}
	_ = conn.(*net.TCPConn).SetLinger(0) // a reset at the end, so that no port stays taken
	_ = conn.SetDeadline(time.Now().Add(connectTimeout))
	if d.tls != nil {
		conn = tls.Client(conn, d.tls)
	}
	if _, err := conn.Write(d.request(ticket)); err != nil {
		conn.Close()
		return nil, 0, err
	}
	answer := make([]byte, 0, 4096)
	for !bytes.Contains(answer, []byte("\r\n\r\n")) {
		n, err := conn.Read(answer[len(answer):cap(answer)])
		answer = answer[:len(answer)+n]
		if err != nil || len(answer) == cap(answer) {
			conn.Close()
			return nil, 0, fmt.Errorf("the answer ends after %d bytes: %w", len(answer), errors.Join(err))
		}
	}
	var status int
	if _, err := fmt.Sscanf(string(answer[:min(len(answer), 16)]), "HTTP/1.1 %d", &status); err != nil {
		conn.Close()
		return nil, 0, fmt.Errorf("the answer is no HTTP: %q", answer[:min(len(answer), 40)])
	}
	return conn, status, nil
}

// shake opens and leaves.
func (d *dialer) shake(ticket string) (int, error) {
	conn, status, err := d.open(ticket)
	if err != nil {
		return 0, err
	}
	conn.Close()
	return status, nil
}

// all shows every ticket once, so many at a time, as fast as the answers come.
func (d *dialer) all(ctx context.Context, tickets []string, workers int) (time.Duration, error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, workers)
	start := time.Now()
	for i := range workers {
		wg.Go(func() {
			for n := int(next.Add(1)) - 1; n < len(tickets) && ctx.Err() == nil; n = int(next.Add(1)) - 1 {
				status, err := d.shake(tickets[n])
				if err == nil && status != 101 {
					err = fmt.Errorf("a fresh ticket is answered %d", status)
				}
				if err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start), errors.Join(append(errs, ctx.Err())...)
}

// paced shows each ticket at its time and measures from then: a server that stands still
// makes all those late that should have come meanwhile (no coordinated omission).
func (d *dialer) paced(ctx context.Context, next func() (string, error), n int, rate float64, workers int, seen func(status int, err error)) *hdrhistogram.Histogram {
	h := hdrhistogram.New(1, int64(60*time.Second/time.Microsecond), 3)
	var mu sync.Mutex
	var index atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range workers {
		wg.Go(func() {
			timer := time.NewTimer(0)
			defer timer.Stop()
			for i := index.Add(1) - 1; i < int64(n); i = index.Add(1) - 1 {
				due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
				timer.Reset(time.Until(due))
				select {
				case <-ctx.Done():
					return
				case <-timer.C:
				}
				ticket, err := next()
				status := 0
				if err == nil {
					status, err = d.shake(ticket)
				}
				late := time.Since(due).Microseconds()
				mu.Lock()
				_ = h.RecordValue(min(max(late, 1), h.HighestTrackableValue()))
				seen(status, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return h
}

// doubles shows each ticket on so many connections at the same time, and counts how many
// were accepted more than once, and how many never.
func (d *dialer) doubles(tickets []string, times int) (double, never int, err error) {
	errs := make([]error, times)
	for _, ticket := range tickets {
		var accepted atomic.Int64
		var wg sync.WaitGroup
		ready := make(chan struct{})
		for i := range times {
			wg.Go(func() {
				<-ready
				status, err := d.shake(ticket)
				if err != nil {
					errs[i] = err
				} else if status == 101 {
					accepted.Add(1)
				}
			})
		}
		close(ready)
		wg.Wait()
		switch n := accepted.Load(); {
		case n > 1:
			double++
		case n == 0:
			never++
		}
	}
	return double, never, errors.Join(errs...)
}

// loopback says whether a host is this machine.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
