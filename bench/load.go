package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/wsticket/wsticket"
)

// LoadConfig says what Load does.
type LoadConfig struct {
	URL         string // ws:// or wss://
	Keys        string // the keyring file: Load mints by itself
	Rate        float64
	Connections int // handshakes at the same time, at most
	For         time.Duration
	Carrier     string // query, subprotocol or bearer
	Protocol    string // offered beside a ticket in a subprotocol
	Audience    string
	Origin      string
	OwnTarget   bool // the target is no loopback address, and ours
	Insecure    bool // any certificate will do
	Progress    io.Writer
}

// A LoadResult is what came of it.
type LoadResult struct {
	Took     time.Duration
	Sent     int
	Statuses map[int]int // 0 for those that got no answer
	Latency  *hdrhistogram.Histogram
	Errors   []string // the first few that differ
}

// Load shows a fresh ticket with each handshake, at a rate, to a gateway that runs. What
// is late because the gateway was slow counts from when it was due. It ends by itself after
// For, and leaves no connection behind.
func Load(ctx context.Context, c LoadConfig) (*LoadResult, error) {
	d, mint, err := c.prepare()
	if err != nil {
		return nil, err
	}
	result := &LoadResult{Statuses: map[int]int{}}
	n := int(c.Rate * c.For.Seconds())
	began := time.Now()
	var mu sync.Mutex
	said := began
	result.Latency = d.paced(ctx, mint, n, c.Rate, c.Connections, func(status int, err error) {
		mu.Lock()
		defer mu.Unlock()
		result.Sent++
		result.Statuses[status]++
		if err != nil && len(result.Errors) < 5 && !slices.Contains(result.Errors, err.Error()) {
			result.Errors = append(result.Errors, err.Error())
		}
		if c.Progress != nil && time.Since(said) >= time.Second {
			said = time.Now()
			fmt.Fprintf(c.Progress, "%3.0fs  %d of %d, %d accepted\n", time.Since(began).Seconds(), result.Sent, n, result.Statuses[101])
		}
	})
	result.Took = time.Since(began)
	return result, ctx.Err()
}

func (c *LoadConfig) prepare() (*dialer, func() (string, error), error) {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Hostname() == "" {
		fail("-url is %q; give ws://HOST:PORT/PATH or wss://…", c.URL)
		u = &url.URL{}
	} else if !loopback(u.Hostname()) && !c.OwnTarget {
		fail("-url names %s, which is not this machine; load on what is not yours is an attack. If it is yours, say -i-own-the-target", u.Hostname())
	}
	if c.Rate <= 0 || c.Rate > 100_000 {
		fail("-rate is %v; give handshakes a second, up to 100,000", c.Rate)
	}
	if c.Connections < 1 || c.Connections > 10_000 {
		fail("-connections is %d; give 1 to 10,000", c.Connections)
	}
	if c.For < time.Second || c.For > time.Hour {
		fail("-for is %v; give 1s to 1h", c.For)
	}
	if !slices.Contains([]string{"query", "subprotocol", "bearer"}, c.Carrier) {
		fail("-carrier is %q; give query, subprotocol or bearer", c.Carrier)
	}
	keys, err := wsticket.LoadKeyring(c.Keys)
	if err != nil {
		fail("-keys: %w", err)
		return nil, nil, errors.Join(errs...)
	}
	signerConfig := wsticket.SignerConfig{Keys: keys}
	if c.Audience != "" {
		signerConfig.Audiences = []string{c.Audience}
	}
	signer, err := wsticket.NewSigner(signerConfig)
	if err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	port := u.Port()
	d := &dialer{}
	if u.Scheme == "wss" {
		d.tls = &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: c.Insecure}
		if port == "" {
			port = "443"
		}
	} else if port == "" {
		port = "80"
	}
	d.addr = net.JoinHostPort(u.Hostname(), port)
	origin := c.Origin
	if origin == "" { // that of a page of the same host
		origin = map[string]string{"ws": "http://", "wss": "https://"}[u.Scheme] + u.Host
	}
	target, protocols := u.RequestURI(), ""
	if c.Protocol != "" {
		protocols = c.Protocol + ", "
	}
	d.request = func(ticket string) []byte {
		switch c.Carrier {
		case "subprotocol":
			return request(target, u.Host, origin, "Sec-WebSocket-Protocol: "+protocols+"ticket."+ticket)
		case "bearer":
			return request(target, u.Host, origin, "Authorization: Bearer "+ticket)
		}
		separator := "?"
		if u.RawQuery != "" {
			separator = "&"
		}
		return request(target+separator+"ticket="+ticket, u.Host, origin)
	}
	return d, func() (string, error) {
		return signer.Sign(&wsticket.Claims{Subject: "wsticket-bench", SessionID: "load"})
	}, nil
}
