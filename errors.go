package wsticket

import "errors"

// Error is a refusal: one value for each code of the ticket format. The values are the
// sentinel errors of this package, the labels of its metrics and the words of its
// command line, all at once. They are comparable. To turn one into an error does not
// allocate.
//
// Compare with errors.Is, or ask [CodeOf]: most refusals come wrapped, with the rule
// that was broken ("wsticket: malformed: jti is missing", see [ReasonOf]) or with
// their cause (see [ReplayGuard]). The zero Error is no code.
//
// Some errors of this package are no Error, for they are not of a handshake:
// [ErrNoSigningKey] is a Signer's, and [ErrUnauthenticated], [ErrForbidden],
// [ErrUnavailable] and [ErrTooManyRequests] are what an application tells a
// MintHandler.
type Error uint8

// The refusal codes. A client learns only the [Class] of a refusal; the code is
// for the application, the log and the metrics.
const (
	_                    Error = iota
	ErrMissing                 // no ticket in the request
	ErrAmbiguous               // more than one ticket, or one under a name that only decodes to ours
	ErrMalformed               // not a ticket: shape, base64, header or claims syntax
	ErrUnknownKey              // no such kid, or its key has expired
	ErrBadSignature            // the MAC is wrong
	ErrExpired                 // exp or session_exp has passed
	ErrNotYetValid             // iat or nbf lies ahead
	ErrTTLTooLong              // exp - iat is above the verifier's maximum
	ErrIssuedBeforeStart       // may have been used before this single-use cache began
	ErrReplayed                // used before
	ErrAudience                // aud names none of the verifier's audiences
	ErrIssuer                  // iss is none of the verifier's issuers
	ErrScope                   // a required scope is not listed
	ErrOrigin                  // the Origin is not allowed, or not the one the ticket is bound to
	ErrPath                    // the request path is not one the ticket is bound to
	ErrIP                      // the peer's address is not one the ticket is bound to
	ErrUnauthorized            // the application's own authorization said no
	ErrReplayUnavailable       // the single-use guard cannot answer
	ErrOverloaded              // too many handshakes in progress
	ErrBadHandshake            // not a WebSocket handshake
	ErrHeadTooLarge            // the request head is over a limit
	ErrTimeout                 // the head, or what follows it, was not complete by the deadline
	errEnd
)

// Class is what a client may learn of a refusal, and what it acts on.
type Class string

const (
	ClassInvalidTicket Class = "invalid_ticket" // mint once more, with backoff, then give up
	ClassForbidden     Class = "forbidden"      // give up
	ClassBadRequest    Class = "bad_request"    // give up
	ClassUnavailable   Class = "unavailable"    // back off, then mint
)

var refusals = [errEnd]struct {
	code    string
	meaning string
	status  int
	class   Class
}{
	0:                    {"invalid_code", "not a refusal code", 500, ClassUnavailable},
	ErrMissing:           {"missing", "no ticket in the request", 401, ClassInvalidTicket},
	ErrAmbiguous:         {"ambiguous", "more than one ticket in the request, or one under a name that only decodes to ours", 400, ClassBadRequest},
	ErrMalformed:         {"malformed", "not a ticket: shape, base64, header or claims syntax", 401, ClassInvalidTicket},
	ErrUnknownKey:        {"unknown_key", "no such kid in the keyring, or its key has expired", 401, ClassInvalidTicket},
	ErrBadSignature:      {"bad_signature", "the MAC is wrong", 401, ClassInvalidTicket},
	ErrExpired:           {"expired", "the ticket or its session has expired", 401, ClassInvalidTicket},
	ErrNotYetValid:       {"not_yet_valid", "iat or nbf lies ahead of this clock by more than the leeway", 401, ClassInvalidTicket},
	ErrTTLTooLong:        {"ttl_too_long", "exp - iat is above the maximum TTL", 401, ClassInvalidTicket},
	ErrIssuedBeforeStart: {"issued_before_start", "may have been used before this single-use cache began", 401, ClassInvalidTicket},
	ErrReplayed:          {"replayed", "used before", 401, ClassInvalidTicket},
	ErrAudience:          {"audience", "aud names none of the verifier's audiences", 403, ClassForbidden},
	ErrIssuer:            {"issuer", "iss is none of the verifier's issuers", 403, ClassForbidden},
	ErrScope:             {"scope", "a required scope is not listed", 403, ClassForbidden},
	ErrOrigin:            {"origin", "the Origin is not allowed, or not the one the ticket is bound to", 403, ClassForbidden},
	ErrPath:              {"path", "the request path is not the one the ticket is bound to", 403, ClassForbidden},
	ErrIP:                {"ip", "the peer's address is not the one the ticket is bound to", 403, ClassForbidden},
	ErrUnauthorized:      {"unauthorized", "the application's own authorization said no", 403, ClassForbidden},
	ErrReplayUnavailable: {"replay_unavailable", "the single-use guard cannot answer", 503, ClassUnavailable},
	ErrOverloaded:        {"overloaded", "too many handshakes in progress", 503, ClassUnavailable},
	ErrBadHandshake:      {"bad_handshake", "not a WebSocket handshake", 400, ClassBadRequest},
	ErrHeadTooLarge:      {"head_too_large", "the request head is over a limit", 431, ClassBadRequest},
	ErrTimeout:           {"timeout", "the handshake was not complete by the deadline", 408, ClassUnavailable},
}

// Codes returns every refusal code, in the order of the format's list.
func Codes() []Error {
	all := make([]Error, 0, errEnd-1)
	for e := Error(1); e < errEnd; e++ {
		all = append(all, e)
	}
	return all
}

// CodeOf returns the refusal code in err's tree, and false when there is none.
func CodeOf(err error) (Error, bool) {
	if e, ok := err.(Error); ok {
		return e, e.valid()
	}
	var e Error
	if errors.As(err, &e) {
		return e, e.valid()
	}
	return 0, false
}

func (e Error) valid() bool { return e > 0 && e < errEnd }

func (e Error) row() int {
	if e.valid() {
		return int(e)
	}
	return 0
}

// Code is the code itself, such as "replayed": a metrics label, a log field.
func (e Error) Code() string { return refusals[e.row()].code }

// Error names the package, the code and its meaning. It is not for clients.
func (e Error) Error() string { return "wsticket: " + e.Code() + ": " + e.meaning() }

func (e Error) meaning() string { return refusals[e.row()].meaning }

// Status is the HTTP status of a refusal. ErrBadHandshake is 400 here; an answer
// may say 405, 426 or 505 where the handshake calls for it.
func (e Error) Status() int { return refusals[e.row()].status }

// Class is what the client is told.
func (e Error) Class() Class { return refusals[e.row()].class }

// CloseCode is the status code that says the class in a close frame, see
// UpgraderConfig.CloseRefusals: of the registry that IANA keeps ([RFC 6455 section
// 7.4]), 3000 to mint once more, 3003 to give up, and 1013, or 3008 of ErrTimeout, to
// back off.
//
// [RFC 6455 section 7.4]: https://www.rfc-editor.org/rfc/rfc6455#section-7.4
func (e Error) CloseCode() uint16 {
	switch e.Class() {
	case ClassInvalidTicket:
		return 3000 // Unauthorized
	case ClassForbidden, ClassBadRequest:
		return 3003 // Forbidden
	}
	if e == ErrTimeout {
		return 3008 // Timeout
	}
	return 1013 // Try Again Later
}

// MarshalText writes the code.
func (e Error) MarshalText() ([]byte, error) { return []byte(e.Code()), nil }
