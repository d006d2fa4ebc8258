package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket"
)

var protocols = []string{"app.v1"}

const maxMessage = 64 << 10

// A server is one gateway with its faults.
type server struct {
	mint   *wsticket.MintHandler
	gate   *wsticket.Gate
	behind http.Handler

	mu                        sync.Mutex
	faults                    map[string]*fault
	same                      []byte
	session                   time.Duration
	mints, handshakes, opened int
	conns                     map[*conn]bool
}

// A fault is what a mint or a gate does instead of its work, for so many times.
type fault struct {
	Status, Close, Slow int
	RetryAfter          string
	Hang, Drop, Same    bool
	Times               int
}

func (s *server) fault(of string) (fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.faults[of]
	if f == nil || f.Times == 0 {
		return fault{}, false
	}
	if f.Times > 0 {
		f.Times--
	}
	return *f, true
}

// A conn is an open connection. Its frames are written by one goroutine at a time.
type conn struct {
	net.Conn
	mu    sync.Mutex
	ended bool   // a close frame was sent
	name  string // what the page calls it
}

func (c *conn) write(op ws.OpCode, message []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.SetWriteDeadline(time.Now().Add(5 * time.Second))
	return wsutil.WriteServerMessage(c, op, message)
}

// end closes with a close frame, or with a reset where code is 0.
func (c *conn) end(code int) {
	if code != 0 {
		c.close(ws.NewCloseFrameBody(ws.StatusCode(code), ""))
		c.SetReadDeadline(time.Now().Add(time.Second)) // for the answer, which ends the echo
		return
	}
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}

func (c *conn) answerClose(payload []byte) {
	code, _ := ws.ParseCloseFrameData(payload)
	var body []byte
	if code != 0 {
		body = ws.NewCloseFrameBody(code, "")
	}
	c.close(body)
}

// close sends a close frame, once: Chromium calls the end unclean when another follows.
func (c *conn) close(body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ended = true
	c.SetWriteDeadline(time.Now().Add(time.Second))
	ws.WriteFrame(c, ws.NewCloseFrame(body))
}

func (s *server) endAll(code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		go c.end(code)
	}
}

// clients are the names of those who are connected.
func (s *server) clients() []string {
	names := []string{}
	for c := range s.conns {
		names = append(names, c.name)
	}
	return names
}

// connect upgrades whom the Gate has let in. Of a fault of the gate it is told here to
// accept and close at once.
func (s *server) connect(w http.ResponseWriter, r *http.Request) {
	ticket, _ := wsticket.TicketFrom(r.Context())
	raw, buffered, _, err := ws.HTTPUpgrader{Protocol: ws.SelectFromSlice(protocols)}.Upgrade(r, w)
	if err != nil {
		if raw != nil {
			raw.Close()
		}
		return
	}
	defer raw.Close()
	c := &conn{Conn: raw, name: r.URL.Query().Get("name")}
	f, failing := s.fault("accepted")
	s.mu.Lock()
	s.opened++
	if !failing {
		s.conns[c] = true
	}
	s.mu.Unlock()
	if failing {
		c.end(f.Close)
		io.Copy(io.Discard, c)
		return
	}
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	session, cancel := ticket.Context(context.Background())
	defer cancel()
	defer context.AfterFunc(session, func() { c.end(3000) })()
	s.echo(c, buffered)
}

func (s *server) echo(c *conn, buffered io.Reader) {
	for {
		header, err := ws.ReadHeader(buffered)
		if err != nil || header.Length > maxMessage {
			return
		}
		payload := make([]byte, header.Length)
		if _, err := io.ReadFull(buffered, payload); err != nil {
			return
		}
		ws.Cipher(payload, header.Mask, 0)
		switch header.OpCode {
		case ws.OpClose:
			c.answerClose(payload)
			return
		case ws.OpPing:
			err = c.write(ws.OpPong, payload)
		case ws.OpText, ws.OpBinary: // whole ones: the tests send no fragments
			err = c.write(header.OpCode, payload)
		}
		if err != nil {
			return
		}
	}
}
