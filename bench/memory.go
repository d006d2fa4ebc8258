package bench

import (
	"fmt"
	"net"
	"os"
	"time"
)

func memory(r *run) (*Section, error) {
	s := &Section{
		Title:   "Memory of a connection",
		Asks:    "How much of the server's memory is resident for each handshake whose head has come by half, and for each connection that was let in and is idle?",
		Chart:   1,
		Columns: []Column{{Name: "bytes, half a head", Better: -1}, {Name: "bytes, let in", Better: -1}},
		Notes:   []string{"Without the kernel's socket buffers. Every connection has a goroutine of its own, which waits to read."},
	}
	dir, err := os.MkdirTemp("", "wsticket-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	n := pick(r, 2000, 10000)
	files, err := openFiles()
	if err != nil {
		return nil, err
	}
	if most := files - 200; n > most {
		s.Notes = append(s.Notes, fmt.Sprintf("Over %d connections: the limit of open files allows no more.", most))
		n = most
	}
	for i := range schemes {
		k := &schemes[i]
		if k.redis || k.name == "gorilla/websocket, UUID in SQLite" {
			continue
		}
		row := Row{Name: k.name, Ours: k.ours, Floor: k.floor, Source: k.source}
		for range pick(r, 1, 3) {
			half, in, err := r.memory(k, schemeConfig{Dir: dir}, n)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k.name, err)
			}
			row.add(half, in)
		}
		s.Rows = append(s.Rows, row)
		r.say("%s", k.name)
	}
	return s, nil
}

func (r *run) memory(k *scheme, config schemeConfig, n int) (half, in float64, err error) {
	c, err := startChild(r, k, config, false)
	if err != nil {
		return 0, 0, err
	}
	defer c.stop()
	d := newDialer(c.addr, false)
	warm, err := c.ask(childAsk{Mint: 500})
	if err != nil {
		return 0, 0, err
	}
	if _, err := d.all(r, warm.Tickets, inFlight); err != nil {
		return 0, 0, err
	}
	conns := make([]net.Conn, 0, n)
	defer func() {
		for _, conn := range conns {
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	}()
	var before childAnswer
	halves, err := c.ask(childAsk{Mint: n}) // some look at the ticket before the rest has come
	if err != nil {
		return 0, 0, err
	}
	if before, err = c.ask(childAsk{Settle: true}); err != nil {
		return 0, 0, err
	}
	for _, ticket := range halves.Tickets {
		conn, err := net.DialTimeout("tcp", c.addr, connectTimeout)
		if err != nil {
			return 0, 0, err
		}
		conns = append(conns, conn)
		whole := d.request(ticket)
		if _, err := conn.Write(whole[:len(whole)*2/3]); err != nil {
			return 0, 0, err
		}
	}
	pending, err := c.settled()
	if err != nil {
		return 0, 0, err
	}
	for _, conn := range conns {
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
	conns = conns[:0]
	between, err := c.settled()
	if err != nil {
		return 0, 0, err
	}
	for len(conns) < n {
		minted, err := c.ask(childAsk{Mint: min(500, n-len(conns))})
		if err != nil {
			return 0, 0, err
		}
		for _, ticket := range minted.Tickets {
			conn, status, err := d.open(ticket)
			if err == nil && status != 101 {
				err = fmt.Errorf("a fresh ticket is answered %d", status)
			}
			if err != nil {
				return 0, 0, err
			}
			_ = conn.SetDeadline(time.Time{})
			conns = append(conns, conn)
		}
	}
	open, err := c.settled()
	if err != nil {
		return 0, 0, err
	}
	return float64(pending.RSS-before.RSS) / float64(n), float64(open.RSS-between.RSS) / float64(n), nil
}

// settled waits until the server has done what was asked of it.
func (p *child) settled() (childAnswer, error) {
	last := time.Duration(-1)
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		a, err := p.ask(childAsk{})
		if err != nil {
			return a, err
		}
		if a.CPU-last < time.Millisecond && last >= 0 || time.Now().After(end) {
			return p.ask(childAsk{Settle: true})
		}
		last = a.CPU
	}
}
