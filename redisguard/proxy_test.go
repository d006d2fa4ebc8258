package redisguard

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A proxy is an address that leads to whatever server it is told to, and can lose what
// goes through it.
type proxy struct {
	listener net.Listener

	mu    sync.Mutex
	to    string
	conns map[net.Conn]bool

	refuse atomic.Bool  // new connections are closed at once
	deaf   atomic.Bool  // requests go nowhere
	mute   atomic.Bool  // answers go nowhere
	cut    atomic.Int32 // so many answers are swallowed, with their connection
	delay  atomic.Int64 // of answers, ns
}

func startProxy(tb testing.TB, to string) *proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{listener: l, to: to, conns: map[net.Conn]bool{}}
	tb.Cleanup(func() { l.Close(); p.closeAll() })
	go p.serve()
	return p
}

func (p *proxy) url() string { return "redis://" + p.listener.Addr().String() }

// lead sends new connections to another server and closes those that there are.
func (p *proxy) lead(to string) {
	p.mu.Lock()
	p.to = to
	p.mu.Unlock()
	p.closeAll()
}

func (p *proxy) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		if p.refuse.Load() {
			client.Close()
			continue
		}
		p.mu.Lock()
		to := p.to
		p.mu.Unlock()
		server, err := net.Dial("tcp", to)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		go p.pipe(server, client, func() bool { return !p.deaf.Load() })
		go p.pipe(client, server, func() bool {
			if p.cut.Load() > 0 && p.cut.Add(-1) >= 0 {
				client.Close()
				return false
			}
			if d := p.delay.Load(); d > 0 {
				time.Sleep(time.Duration(d))
			}
			return !p.mute.Load()
		})
	}
}

// pipe copies, leaving out what pass does not let through.
func (p *proxy) pipe(to, from net.Conn, pass func() bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && pass() {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
