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
	"github.com/wsticket/wsticket/internal/quote"
)

const (
	// drainLimit bounds what is read after a refusal.
	drainLimit = 256 << 10

	// grace is for an answer that is written when no time is left. An answer fits the
	// empty buffer of any socket, so it takes no time at all or fails.
	grace = 100 * time.Millisecond

	// linger is how long a refused client may be silent, on a connection that cannot
	// be closed for writing alone: by then it waits for the close.
	linger = 250 * time.Millisecond
)

// nobody is the error of a connection that ended before there was anything to refuse.
// It has no code, and nothing is answered.
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
		return nobody{&brokenError{err}}
	}
	return newHandshakeError(ErrBadHandshake, "the connection broke within the head: "+brief(err), err)
}

// A brokenError is that of a connection that broke before its first byte.
type brokenError struct{ cause error }

func (e *brokenError) Error() string { return "wsticket: reading the handshake: " + brief(e.cause) }
func (e *brokenError) Unwrap() error { return e.cause }

// brief is what err says, escaped and cut: crypto/tls puts all that a client asked for
// into some errors. Those of a network fit.
func brief(err error) string {
	return quote.Words(err.Error(), 200)
}

// refuse answers with the class of err, tells the application, and sees the
// client off.
func (u *Upgrader) refuse(conn net.Conn, h *Handshake, err error, deadline time.Time) error {
	if gone, ok := err.(nobody); ok {
		return gone
	}
	code := codeOf(err)
	text := answer.Of(statusOf(err, code)).Bytes()
	if h.page {
		text = appendClose(u.switching(h), code)
		h.answered = len(text)
	}
	failed := u.say(conn, text, code == ErrTimeout, deadline)
	u.report(conn, h, err, code)
	if h.page {
		h.n = max(h.n, seeOffPage(conn, h.buf, failed, code != ErrTimeout))
	} else {
		h.seeOff(conn, failed, code != ErrTimeout, deadline)
	}
	return err
}

// healthy answers a health check.
func (u *Upgrader) healthy(conn net.Conn, h *Handshake, deadline time.Time) error {
	verdict := answer.Healthy()
	if guard, ok := u.config.Verifier.replay.(interface{ ReadyAt() time.Time }); ok && time.Now().Before(guard.ReadyAt()) {
		verdict = answer.Of(ErrReplayUnavailable.Status())
	}
	u.checks.Add(1)
	failed := u.say(conn, verdict.Bytes(), false, deadline)
	h.seeOff(conn, failed, true, deadline)
	return ErrHealthCheck
}

// say writes an answer. If the time is over, there is a moment more for it.
func (u *Upgrader) say(conn net.Conn, text []byte, late bool, deadline time.Time) error {
	if late {
		conn.SetDeadline(time.Now().Add(grace))
	} else if _, secured := conn.(*tls.Conn); u.asks || secured { // a late write breaks a TLS connection
		late = moreTime(conn, deadline)
	}
	n, err := conn.Write(text)
	if err != nil && n == 0 && !late && errors.Is(err, os.ErrDeadlineExceeded) {
		// The time has ended between the last byte of the head and here.
		conn.SetDeadline(time.Now().Add(grace))
		_, err = conn.Write(text)
	}
	return err
}

// moreTime gives the connection a moment more to write in, if less than that was left,
// and says whether it did.
func moreTime(conn net.Conn, deadline time.Time) bool {
	now := time.Now()
	if deadline.Sub(now) >= grace {
		return false
	}
	conn.SetDeadline(now.Add(grace))
	return true
}

// seeOff closes the connection for writing and reads what the client still sends, so
// that no reset overtakes the answer. If the connection cannot be closed for writing
// alone, a client that waits for the close is not kept for long.
func (h *Handshake) seeOff(conn net.Conn, failed error, drain bool, deadline time.Time) {
	if failed != nil {
		closeTLS(conn)
		return
	}
	switch half := closeWrite(conn); {
	case !drain:
	case half:
		h.drain(conn, time.Time{})
	default:
		h.drain(conn, deadline)
	}
}

// closeWrite half-closes conn and says whether it can be.
func closeWrite(conn net.Conn) bool {
	switch c := conn.(type) {
	case *tls.Conn:
		return closeTLS(c)
	case interface{ CloseWrite() error }:
		return c.CloseWrite() == nil
	}
	return false
}

// closeTLS sends the alert that closes a TLS connection for writing, and says whether
// it did. It does nothing if conn is no TLS connection, or the TLS handshake was not
// done. crypto/tls gives the alert five seconds, whatever the deadline is, and
// Conn.Close would give it five more. Here it has a moment, once.
func closeTLS(conn net.Conn) bool {
	c, secured := conn.(*tls.Conn)
	if !secured {
		return false
	}
	sent := make(chan struct{})
	stuck := time.AfterFunc(grace, func() {
		// Once may be too early: CloseWrite sets its own deadline, now or later.
		for {
			c.NetConn().SetDeadline(time.Unix(1, 0))
			select {
			case <-sent:
				return
			case <-time.After(grace):
			}
		}
	})
	err := c.CloseWrite()
	close(sent)
	stuck.Stop()
	return err == nil
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

// drain reads what the client still sends, until the client closes, the deadline passes
// or drainLimit is reached. If a deadline is given, it waits only a moment for the next
// byte.
func (h *Handshake) drain(conn net.Conn, deadline time.Time) {
	for total := 0; total < drainLimit; {
		if !deadline.IsZero() {
			next := time.Now().Add(linger)
			if next.After(deadline) {
				next = deadline
			}
			conn.SetReadDeadline(next)
		}
		n, err := conn.Read(h.buf)
		h.n = max(h.n, n) // what was read here is cleared too
		if err != nil || n == 0 {
			return
		}
		total += n
	}
}

// overloaded refuses a client without reading what it sent. The unread bytes may make
// the kernel reset the connection before the client has read the answer. To read them
// would take the room that there is not.
func (u *Upgrader) overloaded(conn net.Conn, h *Handshake) error {
	// A TLS client can be told nothing before the TLS handshake.
	if _, secured := conn.(*tls.Conn); !secured && conn.SetDeadline(time.Now().Add(grace)) == nil {
		conn.Write(answer.Of(ErrOverloaded.Status()).Bytes())
	}
	u.report(conn, h, ErrOverloaded, ErrOverloaded)
	return ErrOverloaded
}
