package bench

import (
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
)

const inFlight = 16

func handshakes(r *run) (*Section, error) {
	s := &Section{
		Title: "Handshakes over TCP",
		Asks:  "How many WebSockets does one gateway let in, what does each cost its process, and does a ticket pass twice?",
		Chart: 1,
	}
	return s, r.handshakes(s, false, func(*scheme) bool { return true })
}

func handshakesTLS(r *run) (*Section, error) {
	s := &Section{
		Title: "Handshakes over TLS 1.3",
		Asks:  "The same with a full TLS handshake each time, ECDSA P-256: what of it is the ticket?",
		Chart: 1,
	}
	return s, r.handshakes(s, true, func(k *scheme) bool {
		return k.floor || k.name == "wsticket.Upgrader" || k.name == "gorilla/websocket, golang-jwt" || k.name == "wsticket.Gate, gorilla/websocket"
	})
}

func (r *run) handshakes(s *Section, secure bool, wanted func(*scheme) bool) error {
	rate := pick(r, 500.0, 1000.0)
	if secure {
		rate /= 2
	}
	s.Columns = []Column{
		{Name: "handshakes a second", Better: 1},
		{Name: "CPU µs each, of the server", Digits: 1, Better: -1},
		{Name: fmt.Sprintf("p50 µs at %.0f a second", rate), Better: -1},
		{Name: "p99 µs", Better: -1},
		{Name: "tickets let in twice, of 100", Better: -1},
	}
	s.Notes = append(s.Notes, fmt.Sprintf("The first figure with %d in flight and the client on the same cores, so it says which is faster, not how fast a server of its own would be; the second is of the server's process alone. "+
		"The latencies count from when a handshake was due. The last: 100 tickets, each shown on 8 connections at once.", inFlight))
	dir, err := os.MkdirTemp("", "wsticket-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	config := schemeConfig{Dir: dir}
	stop, err := startRedis(&config)
	if err != nil {
		s.Notes = append(s.Notes, "Without the rows that need it: "+err.Error()+".")
	}
	defer stop()
	var children []*child
	defer func() {
		for _, c := range children {
			c.stop()
		}
	}()
	for i := range schemes {
		k := &schemes[i]
		if !wanted(k) || k.redis && config.Redis == "" {
			continue
		}
		c, err := startChild(r, k, config, secure)
		if err != nil {
			return err
		}
		children = append(children, c)
		s.Rows = append(s.Rows, Row{Name: k.name, Ours: k.ours, Floor: k.floor, Source: k.source})
	}
	n := pick(r, 1000, 4000)
	if secure {
		n /= 4
	}
	for turn := range pick(r, 3, 11) {
		for i, c := range children {
			if r.Err() != nil {
				return r.Err()
			}
			if err := r.turn(&s.Rows[i], c, secure, n, rate, turn == 0); err != nil {
				return fmt.Errorf("%s: %w", s.Rows[i].Name, err)
			}
		}
		r.say("turn %d", turn+1)
	}
	return nil
}

// turn is one turn of one server.
func (r *run) turn(row *Row, c *child, secure bool, n int, rate float64, first bool) error {
	d := newDialer(c.addr, secure)
	minted, err := c.ask(childAsk{Mint: n + n/4})
	if err != nil {
		return err
	}
	if _, err := d.all(r, minted.Tickets[:n/8], inFlight); err != nil { // warm
		return err
	}
	before, err := c.ask(childAsk{})
	if err != nil {
		return err
	}
	took, err := d.all(r, minted.Tickets[n/8:n/8+n], inFlight)
	if err != nil {
		return err
	}
	after, err := c.ask(childAsk{})
	if err != nil {
		return err
	}
	rest := minted.Tickets[n/8+n:]
	next := make(chan string, len(rest))
	for _, ticket := range rest {
		next <- ticket
	}
	var failed error
	h := d.paced(r, func() (string, error) { return <-next, nil }, len(rest), rate, 4*inFlight, func(status int, err error) {
		if err == nil && status != 101 {
			err = fmt.Errorf("a fresh ticket is answered %d", status)
		}
		if err != nil {
			failed = err
		}
	})
	if failed != nil {
		return failed
	}
	twice := math.NaN()
	if first && !row.Floor {
		const tickets, times = 100, 8
		minted, err := c.ask(childAsk{Mint: tickets})
		if err != nil {
			return err
		}
		double, never, err := d.doubles(minted.Tickets, times)
		if err != nil {
			return err
		}
		if never > 0 {
			return fmt.Errorf("%d fresh tickets were not accepted on any connection", never)
		}
		twice = float64(double)
	}
	row.add(float64(n)/took.Seconds(), float64((after.CPU-before.CPU).Nanoseconds())/1e3/float64(n),
		float64(h.ValueAtQuantile(50)), float64(h.ValueAtQuantile(99)), twice)
	return nil
}

// startRedis starts a redis-server of this run. Its error says how to get one.
func startRedis(c *schemeConfig) (stop func(), err error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return func() {}, fmt.Errorf("there is no redis-server here (apt-get install redis-server)")
	}
	addr, err := freeAddr()
	if err != nil {
		return func() {}, err
	}
	_, port, _ := net.SplitHostPort(addr)
	redis, err := startServer(addr, path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", c.Dir)
	if err != nil {
		return func() {}, err
	}
	c.Redis = addr
	return func() { _ = redis.stop() }, nil
}
