package wsticket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

var (
	// ErrUnauthenticated is for Authenticate: it does not know the user.
	ErrUnauthenticated = errors.New("wsticket: unauthenticated")
	// ErrForbidden is for Authenticate: the user is known and gets no ticket.
	ErrForbidden = errors.New("wsticket: forbidden")
	// ErrUnavailable is for Authenticate: the store or service that it asks is down, or
	// late.
	ErrUnavailable = errors.New("wsticket: unavailable")
	// ErrTooManyRequests is for Allow: the user asks too often; and for Authenticate, where
	// it does not even look who asks. See [TooManyRequests] to say when they may ask again.
	ErrTooManyRequests = errors.New("wsticket: too many requests")
)

// TooManyRequests returns an error that is [ErrTooManyRequests]. The client is told
// when to ask again, in a Retry-After header of whole seconds, rounded up ([RFC 9110
// section 10.2.3]).
//
// [RFC 9110 section 10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
func TooManyRequests(retryAfter time.Duration) error { return tooManyRequests{retryAfter} }

type tooManyRequests struct{ after time.Duration }

func (e tooManyRequests) Error() string {
	return fmt.Sprintf("%v: ask again in %v", ErrTooManyRequests, e.after)
}

func (e tooManyRequests) Unwrap() error { return ErrTooManyRequests }

// A MintRefusal tells the application who got no ticket from a [MintHandler], and why.
// It shares no memory with the request. Like a [Refusal] it is logged whole in one
// line, without secrets, by
//
//	slog.Warn("no ticket", "refusal", r)
type MintRefusal struct {
	// Status is the HTTP status: 401, 403, 405, 429, 500 or 503.
	Status int
	// Err says why, with the values that were compared, escaped and cut at 64 bytes:
	// "wsticket: mint: cross-origin request: Origin …". The text of an error of
	// Authenticate, Allow or the Signer is not shown, since it may hold a secret;
	// errors.Is and errors.As find the error.
	Err error
	// Remote is the peer's address, nil if RemoteAddr is none.
	Remote net.Addr
	// Subject is the user that Authenticate recognised, "" before it was asked.
	Subject string
}

// LogValue is one group: status, why, remote and sub, as far as they are known.
func (r MintRefusal) LogValue() slog.Value {
	attrs := append(make([]slog.Attr, 0, 4), slog.Int("status", r.Status), slog.String("why", ReasonOf(r.Err)))
	if r.Remote != nil {
		attrs = append(attrs, slog.String("remote", shown(r.Remote.String())))
	}
	if r.Subject != "" {
		attrs = append(attrs, slog.String("sub", shown(r.Subject)))
	}
	return slog.GroupValue(attrs...)
}

// A mintError is a refusal of a MintHandler: one of mintReasons, or such a reason
// with values or a cause.
type mintError struct {
	number int
	status int
	class  Class
	text   string
	chain  []error
}

// Error names the package and says why.
func (e *mintError) Error() string { return "wsticket: mint: " + e.text }

// Unwrap returns the reason without values, and the cause.
func (e *mintError) Unwrap() []error { return e.chain }

func (e *mintError) reason() string { return e.text }

// mintReasons are the refusals without values and causes, in the order in which they
// are looked for. The first is none.
var mintReasons = []*mintError{nil}

func mintReason(status int, class Class, text string) *mintError {
	e := &mintError{number: len(mintReasons), status: status, class: class, text: text}
	mintReasons = append(mintReasons, e)
	return e
}

var (
	errMintPreflight   = mintReason(403, ClassForbidden, "preflight of a page whose Origin is not listed")
	errMintMethod      = mintReason(405, ClassBadRequest, "the method is not POST")
	errMintNoHost      = mintReason(403, ClassForbidden, "the request names no Host, so nothing can be said of its Origin")
	errMintCrossOrigin = mintReason(403, ClassForbidden, "cross-origin request, and its Origin is not listed")
	errMintNobody      = mintReason(401, ClassInvalidTicket, "Authenticate knows nobody by this request")
	errMintNameless    = mintReason(401, ClassInvalidTicket, "Authenticate returned claims without a Subject, which is nobody")
	errMintForbidden   = mintReason(403, ClassForbidden, "Authenticate forbids a ticket")
	errMintCannotTell  = mintReason(500, ClassUnavailable, "Authenticate failed")
	errMintUnavailable = mintReason(503, ClassUnavailable, "Authenticate cannot tell for now")
	errMintLate        = mintReason(503, ClassUnavailable, "Authenticate took longer than the ticket would live")
	errMintTooSoon     = mintReason(429, ClassUnavailable, "Authenticate says that it is too often")
	errMintTooMany     = mintReason(429, ClassUnavailable, "Allow says that it is too often")
	errMintNotAllowed  = mintReason(500, ClassUnavailable, "Allow failed")
	errMintUnsigned    = mintReason(500, ClassUnavailable, "the Signer failed")
)

// with returns e with values behind its words.
func (e *mintError) with(names []string, values ...string) *mintError {
	w := words{dst: []byte(e.text)}
	for i, name := range names {
		if values[i] != "" {
			w.quoted(name, []byte(values[i]))
		}
	}
	more := *e
	more.text, more.chain = string(w.dst), []error{e}
	return &more
}

// because returns e with its cause, where there is one.
func (e *mintError) because(cause error) *mintError {
	more := *e
	more.chain = []error{e}
	if cause != nil {
		more.chain = append(more.chain, cause)
	}
	return &more
}

// refuse answers, counts and tells.
func (h *MintHandler) refuse(w http.ResponseWriter, r *http.Request, err *mintError, claims *Claims) {
	h.refused[err.number].Add(1)
	h.trail.refuse(makeMark(err.number, time.Now().Unix()), h.minted.Load())
	if err.status >= http.StatusInternalServerError {
		h.fault(r, err)
	}
	if h.onRefuse != nil {
		told := MintRefusal{Status: err.status, Err: err, Remote: remoteOf(r)}
		if claims != nil {
			told.Subject = claims.Subject
		}
		h.onRefuse(r, told)
	}
	refuse(w, err.status, err.class)
}

// fault tells OnError, or else the default logger.
func (h *MintHandler) fault(r *http.Request, err *mintError) {
	cause := fmt.Errorf("wsticket: MintHandler: %s: %w", err.text, err.chain[len(err.chain)-1])
	if h.onError != nil {
		h.onError(r, cause)
		return
	}
	const every = int64(time.Minute)
	h.faults.Add(1)
	now := time.Now().UnixNano()
	if last := h.logged.Load(); last != 0 && now-last < every && now >= last || !h.logged.CompareAndSwap(last, now) {
		return
	}
	slog.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelError, "wsticket: the mint handler fails; give MintConfig.OnError to see the error",
		slog.String("why", err.text), slog.String("type", typesOf(err.chain[len(err.chain)-1])), slog.Uint64("count", h.faults.Swap(0)))
}

// typesOf names the types of an error and of what it wraps: what can be said of an
// error that may hold a secret.
func typesOf(err error) string {
	text := fmt.Sprintf("%T", err)
	for n := 0; n < 8; n++ {
		if err = errors.Unwrap(err); err == nil {
			break
		}
		text += fmt.Sprintf(": %T", err)
	}
	return text
}

// MintStats are counts of answers at one time.
type MintStats struct {
	minted  uint64
	refused map[int]uint64
	last    LastRefusal
}

// Stats returns how many tickets were minted, and how many requests were refused
// with which status. Preflights that were answered are not counted.
func (h *MintHandler) Stats() MintStats {
	s := MintStats{minted: h.minted.Load(), refused: map[int]uint64{401: 0, 403: 0, 405: 0, 429: 0, 500: 0, 503: 0}}
	for _, e := range mintReasons[1:] {
		s.refused[e.status] += h.refused[e.number].Load()
	}
	s.last = h.trail.read(s.minted, func(number int) error { return mintReasons[number] })
	return s
}

// Minted is the number of tickets.
func (s MintStats) Minted() uint64 { return s.minted }

// Refused is the number of refusals with that status.
func (s MintStats) Refused(status int) uint64 { return s.refused[status] }

// Map returns the counts under "minted" and under every status, zeros too: the shape
// of a metrics endpoint.
func (s MintStats) Map() map[string]uint64 {
	m := map[string]uint64{"minted": s.minted}
	for status, n := range s.refused {
		m[strconv.Itoa(status)] = n
	}
	return m
}

// LastRefusal is the last refusal before these counts were taken; its Err is nil
// where there was none.
func (s MintStats) LastRefusal() LastRefusal { return s.last }

type mintCounters struct {
	minted  atomic.Uint64
	refused [16]atomic.Uint64 // by number; there are fewer mintReasons
	trail   trail
	faults  atomic.Uint64 // since the last one was logged
	logged  atomic.Int64  // when
}
