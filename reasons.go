package wsticket

import (
	"errors"

	"github.com/wsticket/wsticket/internal/b64"
	"github.com/wsticket/wsticket/internal/claims"
	"github.com/wsticket/wsticket/internal/head"
	"github.com/wsticket/wsticket/internal/jose"
)

// A refusalError is a refusal that says more than its code.
type refusalError struct {
	code   Error
	number uint16 // of a reason, its place in reasons; 0 for one made on the spot
	status int    // 0 means that of the code
	text   string
	chain  []error // the code, and the cause if there is one
}

// Error names the package, the code and the fault.
func (e *refusalError) Error() string { return "wsticket: " + e.code.Code() + ": " + e.text }

// Unwrap returns the code and the cause.
func (e *refusalError) Unwrap() []error { return e.chain }

// newHandshakeError makes a refusal on the spot, which [Stats] knows by its code
// alone.
func newHandshakeError(code Error, text string, cause ...error) *refusalError {
	return &refusalError{code: code, text: text, chain: append([]error{code}, cause...)}
}

// reasons are the refusals that are known beforehand. They are made once, so that
// to refuse allocates nothing; they say nothing of the request at hand, so that
// they may be kept. The codes come first, each at its own place.
var reasons = make([]*refusalError, errEnd, 512)

// reason adds one while the package is initialized.
func reason(code Error, text string, cause ...error) *refusalError {
	e := newHandshakeError(code, text, cause...)
	e.number = uint16(len(reasons))
	reasons = append(reasons, e)
	return e
}

// Before the ticket is looked at: check 0 of docs/ticket-format.md.
var (
	errBadProtocols = reason(ErrBadHandshake, "the Sec-WebSocket-Protocol header is not a list of tokens")
	errEarly        = reason(ErrBadHandshake, "bytes followed the head before the answer (RFC 6455 section 4.1)")
	errOtherHost    = reason(ErrOrigin, "the Origin is not that of Host (rule: same host, as no Origins are listed)")
	errUnlisted     = reason(ErrOrigin, "the Origin is not listed in Origins")
	errCookieOrigin = reason(ErrOrigin, "the ticket came by cookie, and that takes an Origin that is listed")
	errNoProtocol   = reason(ErrBadHandshake, "the ticket came as a subprotocol, and none of the application was offered beside it; offer one of Protocols too")

	// headErrors has one error for each fault of a head.
	headErrors = func() (all [head.NumFaults]*refusalError) {
		for f := head.NoFault + 1; f < head.NumFaults; f++ {
			code := ErrBadHandshake
			if f.Status() == ErrHeadTooLarge.Status() {
				code = ErrHeadTooLarge
			}
			all[f] = reason(code, f.String())
			all[f].status = f.Status()
		}
		return all
	}()
)

// The text of a ticket: check 1.
var (
	errTooLong   = reason(ErrMalformed, "the ticket is longer than the verifier's MaxLen")
	errDots      = reason(ErrMalformed, "the ticket does not have two dots")
	errMACLength = reason(ErrMalformed, "the MAC does not have the length of its alg")

	headerText  = textReasons("the header ")
	macText     = textReasons("the MAC ")
	payloadText = textReasons("the payload ") // check 4

	headerFaults = func() (all [jose.NumIndexes]*refusalError) {
		for f := range jose.Faults {
			all[f.Index()] = reason(ErrMalformed, f.String())
		}
		return all
	}()
)

func textReasons(part string) (all [b64.NumFaults]*refusalError) {
	for f := b64.Fine + 1; f < b64.NumFaults; f++ {
		all[f] = reason(ErrMalformed, part+f.String())
	}
	return all
}

// The key: check 2. The MAC, check 3, has one reason, ErrBadSignature.
var (
	errNoKey      = reason(ErrUnknownKey, "the keyring has no key of that kid")
	errKeyExpired = reason(ErrUnknownKey, "the key that kid names has expired")
	errKeyAlg     = reason(ErrMalformed, "alg is not that of the key that kid names")
)

// claimFaults are the reasons of check 4 by kind, and by claim or 0 for none.
var claimFaults = func() (all [claims.NumKinds][claims.NumClaims + 1]*refusalError) {
	for f := range claims.Faults {
		all[f.Kind][f.Claim.Index()] = reason(ErrMalformed, f.String())
	}
	return all
}()

// Times, addressees and bindings: checks 5 to 7.
var (
	errBackwards   = reason(ErrMalformed, "exp is not after iat")
	errTTL         = reason(ErrTTLTooLong, "exp - iat is above the verifier's MaxTTL")
	errIssuedAhead = reason(ErrNotYetValid, "iat lies ahead of this clock by more than the leeway")
	errNotBefore   = reason(ErrNotYetValid, "nbf lies ahead of this clock by more than the leeway")
	errExpired     = reason(ErrExpired, "exp has passed")
	errSessionOver = reason(ErrExpired, "session_exp has passed")

	errNoAudience      = reason(ErrAudience, "aud is missing, and the verifier wants one")
	errOtherAudience   = reason(ErrAudience, "aud names none of the verifier's Audiences")
	errNotSoleAudience = reason(ErrAudience, "aud is not the verifier's SoleAudience alone")
	errAnyAudience     = reason(ErrAudience, "aud is given, and the verifier has no Audiences")
	errNoIssuer        = reason(ErrIssuer, "iss is missing, and the verifier has Issuers")
	errOtherIssuer     = reason(ErrIssuer, "iss is none of the verifier's Issuers")
	errNoScope         = reason(ErrScope, "scope is missing, and the verifier has RequireScopes")
	errOtherScope      = reason(ErrScope, "scope does not list all of the verifier's RequireScopes")

	errNoOrigin    = reason(ErrOrigin, "the ticket is bound to an origin, and the handshake has no Origin")
	errOtherOrigin = reason(ErrOrigin, "the Origin is not the one that the ticket is bound to")
	errNoPath      = reason(ErrPath, "the ticket is bound to a path, and the handshake shows none")
	errOtherPath   = reason(ErrPath, "the request path is not one that the ticket is bound to")
	errUnclearPath = reason(ErrPath, "the ticket is bound to a path, and that of the request may be read in two ways (a segment that is empty, . or .., a backslash, a NUL, an encoded slash, a broken escape)")
	errHiddenPath  = reason(ErrPath, "the ticket is bound to a path, and a segment of the request path is empty, . or .. once its parameters (from ; on) are taken off, so that some routers read another path")
	errNoAddr      = reason(ErrIP, "the ticket is bound to an address, and none is known of the peer")
	errOtherAddr   = reason(ErrIP, "the peer's address is not one that the ticket is bound to")
)

// What is found out later: checks 8 and 9.
var errLeft = reason(ErrTimeout, "the client went away before its ticket was spent")

// codeOf is CodeOf for the errors of this package, without its allocation.
func codeOf(err error) Error {
	switch e := err.(type) {
	case Error:
		return e
	case *refusalError:
		return e.code
	}
	if code, ok := CodeOf(err); ok {
		return code
	}
	return ErrReplayUnavailable
}

func statusOf(err error, code Error) int {
	if e, ok := err.(*refusalError); ok && e.status != 0 {
		return e.status
	}
	return code.Status()
}

// ReasonOf returns what was wrong, such as "iat is not an integer of seconds": the text
// of Error without the package and the code that it begins with, for a log that has the
// code in a field of its own. If an error has a code and no reason, ReasonOf returns
// the meaning of the code. If it has no code, ReasonOf returns "".
//
// An error of yours with a code, such as Authorize may return, says its reason by a method
// Reason() string.
func ReasonOf(err error) string {
	var own interface{ Reason() string }
	if errors.As(err, &own) {
		return own.Reason()
	}
	var known interface{ reason() string }
	if errors.As(err, &known) {
		return known.reason()
	}
	if code, ok := CodeOf(err); ok {
		return code.meaning()
	}
	return ""
}

func (e *refusalError) reason() string { return e.text }
