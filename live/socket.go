package live

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/internal/wsframe"
)

// Socket is Add for a net.Conn on which the handshake is done. The connection that it
// returns is used in place of conn, from then on for all reading and writing.
//
// After an error there is none: the client was told by a close frame with the error's
// cause, was given a second to read it, and the caller closes conn.
func (r *Registry) Socket(t *wsticket.Ticket, conn net.Conn) (*Socket, error) {
	s := &Socket{Conn: conn}
	c, err := r.Add(t, s.end)
	if err != nil {
		Refuse(conn, err)
		return nil, err
	}
	s.live = c
	return s, nil
}

// A Socket is a live WebSocket connection of a server over a net.Conn. When it is
// to end, the client gets a close frame (RFC 6455 section 5.5.1) between two frames
// of the application, whatever goroutine writes those and in however many pieces;
// then Write fails with the [Cause], and a second later the connection is closed,
// which ends Read. Reading goes on until then, so that a client that answers the
// close frame is read to its end.
//
// Deadlines that are set after that have no effect. Its methods are safe for
// concurrent use as those of a net.Conn are.
type Socket struct {
	net.Conn
	live  *Conn
	cause atomic.Uint32 // why it ends

	mu      sync.Mutex // one Write at a time
	written wsframe.Follower
	told    bool // the close frame was sent
}

// grace is how long a client may take to read a close frame and to answer it.
const grace = time.Second

// Live is the connection in the registry, for Renewed.
func (s *Socket) Live() *Conn { return s.live }

// Cause is why the connection was told to end, or 0.
func (s *Socket) Cause() Cause { return Cause(s.cause.Load()) }

// Write writes frames, or a part of one. When the connection is to end it finishes
// the frame that was begun and returns the Cause for all else.
func (s *Socket) Write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Cause() == 0 {
		n, err = s.Conn.Write(p)
		s.written.Pass(p[:n])
		if s.Cause() == 0 || err != nil {
			return n, err
		}
		s.goodbye()
		return n, nil
	}
	rest := s.written.Rest(p)
	if s.told || len(rest) == 0 {
		return 0, s.Cause()
	}
	n, err = s.Conn.Write(rest)
	s.written.Pass(rest[:n])
	if err != nil {
		return n, err
	}
	s.goodbye()
	if n < len(p) {
		return n, s.Cause()
	}
	return n, nil
}

// end is called by the registry.
func (s *Socket) end(cause Cause) {
	s.cause.Store(uint32(cause))
	last := time.Now().Add(grace)
	s.Conn.SetWriteDeadline(last) // also for the Write that holds the lock
	time.AfterFunc(grace, func() { shut(s.Conn) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.goodbye()
}

// goodbye sends the close frame where no frame of the application is in the way.
func (s *Socket) goodbye() {
	if s.told || !s.written.Between() {
		return
	}
	s.told = true
	if !s.written.Closed() { // by the application
		s.Conn.Write(s.Cause().frame())
	}
}

// Close takes the connection out of the registry and closes it.
func (s *Socket) Close() error {
	s.live.Remove()
	return s.Conn.Close()
}

// SetDeadline is that of the net.Conn until the connection is to end.
func (s *Socket) SetDeadline(t time.Time) error { return s.unlessEnding(s.Conn.SetDeadline, t) }

// SetReadDeadline is that of the net.Conn until the connection is to end.
func (s *Socket) SetReadDeadline(t time.Time) error {
	return s.unlessEnding(s.Conn.SetReadDeadline, t)
}

// SetWriteDeadline is that of the net.Conn until the connection is to end.
func (s *Socket) SetWriteDeadline(t time.Time) error {
	return s.unlessEnding(s.Conn.SetWriteDeadline, t)
}

func (s *Socket) unlessEnding(set func(time.Time) error, t time.Time) error {
	if s.Cause() != 0 {
		return nil
	}
	return set(t)
}

// Refuse tells a client whose handshake is done that it is not let in, by a close
// frame with err's cause (Busy where it has none), and waits until it has answered or
// closed, for a second at most. The caller closes conn.
func Refuse(conn net.Conn, err error) {
	cause, ok := CauseOf(err)
	if !ok {
		cause = Busy
	}
	conn.SetDeadline(time.Now().Add(grace))
	if _, err := conn.Write(cause.frame()); err != nil {
		return
	}
	// To close with unread bytes would reset the connection, and the client might
	// never see the frame.
	var buf [512]byte
	var said wsframe.Follower
	for left := 64 << 10; left > 0 && !said.Closed(); {
		n, err := conn.Read(buf[:])
		if err != nil || n == 0 {
			return
		}
		said.Pass(buf[:n])
		left -= n
	}
}

// shut closes a connection at once. A TLS connection would wait to write its farewell.
func shut(conn net.Conn) {
	if secured, ok := conn.(interface{ NetConn() net.Conn }); ok {
		secured.NetConn().Close()
	}
	conn.Close()
}

// frame is the close frame of a cause.
func (c Cause) frame() []byte { return wsframe.AppendClose(nil, c.CloseCode(), c.Reason()) }
