package gateway

import (
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsticket/wsticket/live"
)

// A tunnel is an accepted WebSocket: two connections, and what is copied between
// them. No frame is changed. Only the boundaries of the frames are watched: so that a
// close frame of ours can stand between two of those that go to the client, and so that
// a client whose session has ended gets no frame through but its own close frame.
type tunnel struct {
	client, upstream net.Conn
	conn             *live.Conn // in the registry
	endings          *atomic.Uint64
	done             func() // called once, when both connections are closed
	span             *span  // of the connection

	directions atomic.Int32 // that have ended

	joining sync.Mutex // never held while anything is waited for
	joined  bool
	over    live.Cause // it was ended before it was joined
	cancel  func()     // ends the handshake with the upstream

	mu     sync.Mutex // held while bytes are written to the client, which may hang
	frames boundary
	ending bool // a close frame of ours was written: nothing may follow it
	failed bool // a write to the client did not get through

	leaving atomic.Bool // a close frame is to be written behind the frame under way

	// What the client sends. All but the first is its goroutine's alone.
	silenced atomic.Int64 // from when on it has nothing to say, in nanoseconds since 1970; 0 before it ends
	heard    uint64       // the count of endings when it was last looked whether its session is among them
	sent     boundary
	dropping bool // the frame under way does not go on
	goodbye  bool // the close frame of the client went on: nothing may follow it
}

const (
	// lingering bounds how long the one direction may go on when the other has
	// ended, and how long a client may take to answer a close frame.
	lingering = 10 * time.Second

	// closing bounds the wait for the end of a frame that is under way, the writing of
	// the close frame behind it, and what a client may still say that is sent elsewhere.
	closing = time.Second
)

// join makes a tunnel of two connections that have shaken hands. It says no where the
// connection was ended meanwhile; then both belong to the caller.
func (t *tunnel) join(client, upstream net.Conn, earlyClient, earlyUpstream []byte) bool {
	t.joining.Lock()
	t.client, t.upstream, t.joined = client, upstream, true
	t.cancel = nil // with which the request would stay
	over := t.over
	t.joining.Unlock()
	if over != 0 {
		client.SetWriteDeadline(time.Now().Add(closing))
		client.Write(closeFrame(over.CloseCode(), over.Reason()))
		return false
	}
	t.start(earlyClient, earlyUpstream)
	return true
}

// tunnels are those that there are.
type tunnels struct {
	mu  sync.Mutex
	all map[*tunnel]struct{}
}

func (s *tunnels) add(t *tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*tunnel]struct{}{}
	}
	s.all[t] = struct{}{}
}

func (s *tunnels) remove(t *tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, t)
}

// cut closes what is left, without a word.
func (s *tunnels) cut() {
	s.mu.Lock()
	left := slices.Collect(maps.Keys(s.all))
	s.mu.Unlock()
	for _, t := range left {
		t.joining.Lock()
		joined := t.joined
		t.joining.Unlock()
		if joined {
			t.client.Close()
			t.upstream.Close()
		}
	}
}

// endWith is what the registry calls when the connection is to end.
func (t *tunnel) endWith(cause live.Cause) {
	t.joining.Lock()
	joined := t.joined
	if !joined {
		t.over = cause
		t.cancel()
	}
	t.joining.Unlock()
	if joined {
		// Who may no longer be here has nothing to say any more. The others may finish:
		// what they have sent already was meant. Not for long: the registry has let go of
		// them, so that it could not tell if their session ended too.
		from := time.Now()
		if !silences(cause) {
			from = from.Add(closing)
		}
		t.silence(from)
		t.span.note(keyCause, cause.String())
		t.end(cause.CloseCode(), cause.Reason())
	}
}

// silences says whether nothing of a client may go on once it ends with this cause.
func silences(cause live.Cause) bool { return cause != live.GoingAway && cause != live.Busy }

// silence lets nothing go on from then.
func (t *tunnel) silence(from time.Time) {
	for {
		old := t.silenced.Load()
		if old != 0 && old <= from.UnixNano() || t.silenced.CompareAndSwap(old, from.UnixNano()) {
			return
		}
	}
}

// ended is why the session ended before the tunnel was joined, or 0.
func (t *tunnel) ended() live.Cause {
	t.joining.Lock()
	defer t.joining.Unlock()
	return t.over
}

// start copies until both sides have ended, and returns at once. early is what came
// from each side behind its handshake.
func (t *tunnel) start(earlyClient, earlyUpstream []byte) {
	sent := make(chan struct{})
	go func() {
		t.finish(copyTo(t.upstream, t.client, earlyClient, t.toUpstream), t.upstream)
		close(sent)
	}()
	go func() {
		t.finish(copyTo(t.client, t.upstream, earlyUpstream, t.toClient), t.client)
		<-sent
		t.client.Close()
		t.upstream.Close()
		t.done()
	}()
}

// finish hands the end of one direction on: an orderly end as one, so that the other
// direction may still say goodbye; anything else ends both.
func (t *tunnel) finish(err error, to net.Conn) {
	if t.directions.Add(1) == 2 && err == nil {
		return // the other has ended too: both are closed next, which says goodbye
	}
	if to == t.client && t.isEnding() {
		return // the client has its close frame, and answers it or not
	}
	if err != nil || closeWrite(to) != nil {
		t.client.Close()
		t.upstream.Close()
		return
	}
	// The other direction reads from here, and writes to somebody who may not read.
	until, from := time.Now().Add(lingering), t.client
	if to == t.client {
		from = t.upstream
	}
	to.SetReadDeadline(until)
	from.SetWriteDeadline(until)
}

func (t *tunnel) isEnding() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ending
}

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.New("cannot be closed for writing alone")
}

// toClient writes bytes of the upstream to the client.
func (t *tunnel) toClient(b []byte) (int, error) {
	all := len(b)
	for len(b) > 0 {
		n, err := t.somethingToClient(b)
		if err != nil {
			return 0, err
		}
		if b = b[n:]; n == 0 {
			time.Sleep(time.Millisecond) // end takes the lock now
		}
	}
	return all, nil
}

// somethingToClient writes all of b, or where the connection is to end no more than up to
// the end of the frame under way: a stream whose frames end in the middle of what is read
// would leave no place for a close frame.
func (t *tunnel) somethingToClient(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ending {
		return 0, net.ErrClosed
	}
	if t.leaving.Load() {
		if t.frames.between() {
			return 0, nil
		}
		ahead := t.frames
		b = b[:ahead.next(b)]
	}
	n, err := t.client.Write(b)
	t.frames.pass(b[:n])
	t.failed = t.failed || err != nil
	return n, err
}

// toUpstream writes bytes of the client to the upstream.
func (t *tunnel) toUpstream(b []byte) (int, error) {
	// A call that has ended sessions is answered when the registry has let go of them.
	// Their tunnels hear of it a moment later, and look for themselves until then.
	if n := t.endings.Load(); n != t.heard {
		t.heard = n
		if t.conn.Ended() {
			t.silence(time.Now())
		}
	}
	since := t.silenced.Load()
	if since == 0 || since > time.Now().UnixNano() {
		n, err := t.upstream.Write(b)
		t.sent.pass(b[:n])
		return n, err
	}
	all := len(b)
	for len(b) > 0 {
		if t.sent.between() {
			t.dropping = t.goodbye || b[0] != 0x88
			t.goodbye = t.goodbye || !t.dropping
		}
		n := t.sent.next(b)
		switch {
		case t.dropping:
		case t.goodbye && t.sent.skip > maxControl:
			return 0, net.ErrClosed // it only calls itself a close frame
		case !t.goodbye && time.Since(time.Unix(0, since)) > closing:
			return 0, net.ErrClosed // a frame that was under way must end soon
		default:
			if _, err := t.upstream.Write(b[:n]); err != nil {
				return 0, err
			}
		}
		b = b[n:]
	}
	return all, nil
}

// maxControl is the longest payload of a control frame (RFC 6455 section 5.5).
const maxControl = 125

// end sends the client a close frame and lets go of the upstream. It waits for no
// more than a few seconds, on its caller's goroutine.
func (t *tunnel) end(code uint16, reason string) {
	t.leaving.Store(true)
	if t.lockAtBoundary() {
		t.ending = true
		t.client.SetWriteDeadline(time.Now().Add(closing))
		_, err := t.client.Write(closeFrame(code, reason))
		t.mu.Unlock()
		if err == nil && closeWrite(t.client) == nil {
			// The client answers with a close frame, which goes to the upstream and
			// tells it, and then closes.
			t.client.SetReadDeadline(time.Now().Add(lingering))
			t.upstream.SetReadDeadline(time.Unix(1, 0))
			// Nor is an upstream waited for that does not read.
			t.upstream.SetWriteDeadline(time.Now().Add(lingering))
			return
		}
	}
	t.abandon()
}

// abandon closes both, without a word, and lets go whoever waits at the end of a frame for
// the close frame.
func (t *tunnel) abandon() {
	t.client.Close()
	t.upstream.Close()
	t.mu.Lock()
	t.ending = true
	t.mu.Unlock()
}

// lockAtBoundary takes the lock at a moment when the client has got only whole
// frames. It gives up, without the lock, when there is none in time, or when the client
// takes nothing: then nobody waits for its answer to a close frame that just fits in.
func (t *tunnel) lockAtBoundary() bool {
	deadline := time.Now().Add(closing)
	// A write that hangs because the client does not read holds the lock.
	stop := time.AfterFunc(closing, func() { t.client.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop.Stop()
	for {
		t.mu.Lock()
		failed := t.failed
		if !failed && t.frames.between() {
			return true
		}
		t.mu.Unlock()
		if failed || time.Now().After(deadline) {
			return false
		}
		time.Sleep(5 * time.Millisecond) // the rest of the frame is on its way
	}
}

// closeFrame is an unmasked close frame (RFC 6455 section 5.5.1).
func closeFrame(code uint16, reason string) []byte {
	reason = reason[:min(len(reason), 123)]
	frame := []byte{0x88, byte(2 + len(reason)), byte(code >> 8), byte(code)}
	return append(frame, reason...)
}

// copyTo copies until src ends: nil for an orderly end.
func copyTo(dst, src net.Conn, early []byte, write func([]byte) (int, error)) error {
	if len(early) > 0 {
		if _, err := write(early); err != nil {
			return err
		}
	}
	if raw := rawReader(src); raw != nil {
		return raw.copyTo(write)
	}
	return copyBuffered(src, write)
}

// copyBuffered serves connections that only read into a buffer, such as those of
// TLS.
func copyBuffered(src io.Reader, write func([]byte) (int, error)) error {
	buffer := make([]byte, 8<<10)
	for {
		n, err := src.Read(buffer)
		if n > 0 {
			if _, werr := write(buffer[:n]); werr != nil {
				return werr
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}
