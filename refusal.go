package wsticket

import (
	"net"
	"time"

	"github.com/wsticket/wsticket/internal/claims"
	"github.com/wsticket/wsticket/internal/head"
)

// A Refusal tells the application what was refused and why. The client is told
// the class of the code and nothing else. Its slices are valid during the call
// that it is handed to.
type Refusal struct {
	Code Error
	// Err is the code, or an error that wraps it and says more.
	Err error
	// Remote is the peer's address, where there is a connection to ask.
	Remote net.Addr

	// KeyID, ID and Subject are kid, jti and sub of a ticket whose MAC held, nil
	// before. They are what its signer wrote, no promise that the holder is who
	// was meant.
	KeyID, ID, Subject []byte
	// Age is now - iat, or zero where ID is nil. A negative one, or one above the
	// lifetime of tickets, speaks of clocks that disagree.
	Age time.Duration
}

// refusal makes one of what the verifier left in t.
func refusal(code Error, err error, remote net.Addr, now int64, t *Ticket) Refusal {
	r := Refusal{Code: code, Err: err, Remote: remote}
	if t.keyLen > 0 {
		r.KeyID = t.KeyID()
		r.ID = t.ID()
		r.Subject = t.Subject()
	}
	if t.set.Has&claims.IssuedAt != 0 {
		r.Age = time.Duration(now-t.set.IssuedAt) * time.Second
	}
	return r
}

// codeOf is CodeOf for the errors of this package, without its allocation.
func codeOf(err error) Error {
	switch e := err.(type) {
	case Error:
		return e
	case *handshakeError:
		return e.code
	}
	if code, ok := CodeOf(err); ok {
		return code
	}
	return ErrReplayUnavailable
}

// A handshakeError is a refusal with more to say than its code.
type handshakeError struct {
	code   Error
	status int // 0 means that of the code
	text   string
	chain  []error // the code, and the cause if there is one
}

func newHandshakeError(code Error, text string, cause ...error) *handshakeError {
	return &handshakeError{code: code, text: text, chain: append([]error{code}, cause...)}
}

// Error names the package, the code and the fault.
func (e *handshakeError) Error() string { return "wsticket: " + e.code.Code() + ": " + e.text }

// Unwrap returns the code and the cause.
func (e *handshakeError) Unwrap() []error { return e.chain }

func statusOf(err error, code Error) int {
	if e, ok := err.(*handshakeError); ok && e.status != 0 {
		return e.status
	}
	return code.Status()
}

var (
	errBadProtocols = newHandshakeError(ErrBadHandshake, "the Sec-WebSocket-Protocol header is not a list of tokens")
	errNoProtocol   = newHandshakeError(ErrBadHandshake, "the ticket came as a subprotocol, and none of the application was offered beside it; offer one of Protocols too")
	errLeft         = newHandshakeError(ErrTimeout, "the client went away before its ticket was spent")
	errEarly        = newHandshakeError(ErrBadHandshake, "bytes followed the head before the answer (RFC 6455 section 4.1)")

	// headErrors holds one error for each fault of a head.
	headErrors = func() (all [head.NumFaults]*handshakeError) {
		for f := head.NoFault + 1; f < head.NumFaults; f++ {
			code := ErrBadHandshake
			if f.Status() == ErrHeadTooLarge.Status() {
				code = ErrHeadTooLarge
			}
			all[f] = newHandshakeError(code, f.String())
			all[f].status = f.Status()
		}
		return all
	}()
)
