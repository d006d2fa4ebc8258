package wsticket

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/wsticket/wsticket/internal/answer"
)

const (
	// drainLimit bounds what is read after a refusal.
	drainLimit = 256 << 10

	// grace is for an answer that is written when no time is left: to a client
	// that let the deadline pass, or to one too many. An answer fits the empty
	// buffer of any socket, so it takes no time at all or fails.
	grace = 100 * time.Millisecond
)

// nobody is the error of a connection that ended before there was anything to
// refuse. It has no code and is not answered.
type nobody struct{ error }

func (e nobody) Unwrap() error { return e.error }

var (
	errGone      error = nobody{fmt.Errorf("wsticket: the connection was closed before its first byte: %w", io.EOF)}
	errTruncated       = reason(ErrBadHandshake, "the connection was closed within the head", io.ErrUnexpectedEOF)
)

// readError turns what ended the reading of a head after n bytes into a refusal.
func readError(err error, n int) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrTimeout
	case err == io.EOF && n == 0:
		return errGone
	case err == io.EOF:
		return errTruncated
	case n == 0:
		return nobody{fmt.Errorf("wsticket: reading the handshake: %w", err)}
	}
	return newHandshakeError(ErrBadHandshake, "the connection broke within the head: "+err.Error(), err)
}

// refuse answers with the class of err, tells the application, and sees the
// client off: closed for writing and then drained, so that no reset overtakes the
// answer.
func (u *Upgrader) refuse(conn net.Conn, h *Handshake, err error) error {
	if gone, ok := err.(nobody); ok {
		return gone
	}
	code := codeOf(err)
	if code == ErrTimeout {
		conn.SetDeadline(time.Now().Add(grace))
	}
	_, failed := conn.Write(answer.Of(statusOf(err, code)).Bytes())
	u.report(conn, h, err, code)
	if failed != nil {
		return err
	}
	closeWrite(conn)
	if code != ErrTimeout {
		h.drain(conn)
	}
	return err
}

// closeWrite half-closes conn where it can. crypto/tls gives its alert five seconds
// whatever the deadline is; a moment must do.
func closeWrite(conn net.Conn) {
	switch c := conn.(type) {
	case *tls.Conn:
		stop := time.AfterFunc(grace, func() { c.NetConn().SetDeadline(time.Unix(1, 0)) })
		c.CloseWrite()
		stop.Stop()
	case interface{ CloseWrite() error }:
		c.CloseWrite()
	}
}

// report counts a refusal and tells the application.
func (u *Upgrader) report(conn net.Conn, h *Handshake, err error, code Error) {
	if code == ErrTimeout || h.judgedAt == 0 {
		h.judgedAt = time.Now().Unix()
	}
	u.counters.refuse(code, err, h.judgedAt)
	if u.config.OnRefuse != nil {
		h.why = details{err: err, verifier: u.config.Verifier, policy: &u.policy, now: h.judgedAt, request: h.asked, host: h.Host(),
			ticket: &h.Ticket, shown: h, headBytes: u.config.HeadBytes, maxHeaders: u.config.MaxHeaders}
		u.config.OnRefuse(h.why.refusal(code, conn.RemoteAddr()))
		h.why = details{err: err}
	}
}

// drain reads what the client still sends, until it closes, the deadline passes
// or it was enough.
func (h *Handshake) drain(conn net.Conn) {
	for total := 0; total < drainLimit; {
		n, err := conn.Read(h.buf)
		h.n = max(h.n, n) // what was read here is cleared too
		if err != nil || n == 0 {
			return
		}
		total += n
	}
}

// overloaded turns a client away unread. What it has sent may make the kernel
// reset the connection before the answer is read; to wait for it is what there is
// no room for.
func (u *Upgrader) overloaded(conn net.Conn, h *Handshake) error {
	// A TLS client would have to be shaken hands with before it could be told.
	if _, secured := conn.(*tls.Conn); !secured && conn.SetDeadline(time.Now().Add(grace)) == nil {
		conn.Write(answer.Of(ErrOverloaded.Status()).Bytes())
	}
	u.report(conn, h, ErrOverloaded, ErrOverloaded)
	return ErrOverloaded
}
