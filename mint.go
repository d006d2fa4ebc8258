package wsticket

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wsticket/wsticket/internal/answer"
	"github.com/wsticket/wsticket/internal/head"
)

// A MintConfig says who gets a ticket from a [MintHandler].
type MintConfig struct {
	// Signer signs the tickets. Required.
	Signer *Signer

	// Authenticate says for whom the request is, by the session cookie or
	// whatever the application uses, and returns what the ticket is to say.
	// Required. It answers
	//   - claims: this is who it is, and this is the ticket they get;
	//   - nil claims, claims without a Subject, or ErrUnauthenticated: nobody the
	//     application knows (401);
	//   - ErrForbidden: somebody who may not connect (403);
	//   - ErrUnavailable: it cannot tell for now (503), which the client waits out;
	//   - ErrTooManyRequests, or what TooManyRequests returns: where the request is
	//     from asks too often to be looked at (429);
	//   - another error: something is wrong (500). The client never sees the text.
	Authenticate func(*http.Request) (*Claims, error)

	// Allow may say no to somebody who asks too often: ErrTooManyRequests, or what
	// TooManyRequests returns (429). Another error means that it cannot tell (500).
	// nil allows all.
	Allow func(*http.Request, *Claims) error

	// URL says where the page is to show the ticket, if that depends on the ticket: for
	// instance the address of the node that Authenticate wrote into its audience. It is
	// the member "url" of the answer, and may be relative to what the page connects to.
	// "" leaves the member out, as does a nil URL.
	URL func(*http.Request, *Claims) string

	// Origins of pages of other hosts that may ask for tickets, with the user's
	// cookies, such as "https://app.example": what browsers send, byte for byte, or a
	// pattern, as in UpgraderConfig. None means that only pages of the handler's own
	// host may.
	Origins []string

	// AllowOrigin is asked about an Origin that Origins does not let in, as in
	// UpgraderConfig. nil lets in nobody.
	AllowOrigin func(origin, host []byte) bool

	// OnRefuse is told of every request that got no ticket, before it is answered.
	// It runs on the goroutine of the request. nil means nobody.
	OnRefuse func(*http.Request, MintRefusal)

	// OnError is told what a 500 or a 503 hides from the client: the error of
	// Authenticate, of Allow or of the Signer. If it is nil, slog's default logger is
	// told once a minute at most. It is told the type of the error and not its text,
	// since that may hold a secret.
	OnError func(*http.Request, error)
}

// A MintHandler is the http.Handler that gives tickets to authenticated users:
//
//	POST /ticket  →  200 {"ticket":"…","expires_in":10,"expires_at":1795219210}
//
// with "url" behind it where MintConfig.URL says so.
//
// Any other method is answered 405. A browser's request from a page of another host is
// answered 403 unless its origin is listed (net/http's CrossOriginProtection), and so
// is a request that names no host. Pages of listed origins get the CORS headers, and an
// answer to their OPTIONS. Refusals are problem bodies ([RFC 9457]) with a class and
// nothing else. No answer may be cached.
//
// A ticket is as old as the request: iat is read before Authenticate is called, so that a
// session which ends meanwhile ends the ticket too. expires_in says how long the ticket
// still lives; where nothing of it is left, the answer is 503.
//
// It is safe for concurrent use.
//
// [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457
type MintHandler struct {
	signer       *Signer
	authenticate func(*http.Request) (*Claims, error)
	allow        func(*http.Request, *Claims) error
	onRefuse     func(*http.Request, MintRefusal)
	url          func(*http.Request, *Claims) string
	onError      func(*http.Request, error)
	origins      head.Origins
	allowOrigin  func(origin, host []byte) bool
	crossOrigin  bool // some pages of other hosts may ask
	protection   *http.CrossOriginProtection

	mintCounters
}

// NewMintHandler checks the configuration and reports all its faults at once.
func NewMintHandler(config MintConfig) (*MintHandler, error) {
	var f faults
	h := &MintHandler{
		signer:       config.Signer,
		authenticate: config.Authenticate,
		allow:        config.Allow,
		onRefuse:     config.OnRefuse,
		url:          config.URL,
		onError:      config.OnError,
		allowOrigin:  config.AllowOrigin,
		crossOrigin:  len(config.Origins) > 0 || config.AllowOrigin != nil,
		protection:   http.NewCrossOriginProtection(),
	}
	if config.Signer == nil {
		f.addf("Signer is nil; give one from NewSigner")
	}
	if config.Authenticate == nil {
		f.addf("Authenticate is nil; without it anybody would get tickets")
	}
	var err error
	if h.origins, err = head.NewOrigins(config.Origins); err != nil {
		f.addf("Origins: %w", err)
	}
	if err := f.err("mint handler"); err != nil {
		return nil, err
	}
	return h, nil
}

// ServeHTTP answers one request.
func (h *MintHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	listed := false
	if h.crossOrigin {
		header.Add("Vary", "Origin")
		origin := r.Header["Origin"]
		if listed = len(origin) == 1 && h.lets([]byte(origin[0]), []byte(r.Host)); listed {
			header.Set("Access-Control-Allow-Origin", origin[0])
			header.Set("Access-Control-Allow-Credentials", "true")
			header.Set("Access-Control-Expose-Headers", "Retry-After")
		}
		if r.Method == http.MethodOptions && len(origin) > 0 && r.Header.Get("Access-Control-Request-Method") != "" {
			h.preflight(w, r, listed)
			return
		}
	}
	if r.Method != http.MethodPost {
		header.Set("Allow", "POST")
		if h.crossOrigin {
			header.Set("Allow", "OPTIONS, POST")
		}
		h.refuse(w, r, errMintMethod.with([]string{"method"}, r.Method), nil)
		return
	}
	// The protection takes an Origin without a host, such as "null", for that of an
	// empty Host.
	if r.Host == "" {
		h.refuse(w, r, crossOrigin(errMintNoHost, r), nil)
		return
	}
	if !listed && h.protection.Check(r) != nil {
		h.refuse(w, r, crossOrigin(errMintCrossOrigin, r), nil)
		return
	}
	// A ticket is as old as the question: if the session ends while Authenticate takes its
	// time, the ticket was minted before.
	now := time.Now()
	claims, err := h.authenticate(r)
	switch {
	case errors.Is(err, ErrForbidden):
		h.refuse(w, r, errMintForbidden.because(err), claims)
		return
	case err == nil && claims == nil, errors.Is(err, ErrUnauthenticated):
		h.refuse(w, r, errMintNobody.because(err), nil)
		return
	case errors.Is(err, ErrUnavailable):
		header.Set("Retry-After", "1")
		h.refuse(w, r, errMintUnavailable.because(err), nil)
		return
	case errors.Is(err, ErrTooManyRequests):
		setRetryAfter(header, err)
		h.refuse(w, r, errMintTooSoon.because(err), nil)
		return
	case err != nil:
		h.refuse(w, r, errMintCannotTell.because(err), nil)
		return
	case claims.Subject == "":
		h.refuse(w, r, errMintNameless, nil)
		return
	}
	if h.allow != nil {
		if err := h.allow(r, claims); errors.Is(err, ErrTooManyRequests) {
			setRetryAfter(header, err)
			h.refuse(w, r, errMintTooMany.because(err), claims)
			return
		} else if err != nil {
			h.refuse(w, r, errMintNotAllowed.because(err), claims)
			return
		}
	}
	body := append(make([]byte, 0, MaxTicketLen+64), `{"ticket":"`...)
	if body, err = h.signer.AppendTicketAt(body, now, claims); err != nil {
		h.refuse(w, r, errMintUnsigned.because(err), claims)
		return
	}
	expires := h.signer.expiry(now.Unix(), claims)
	left := expires - max(now.Unix(), time.Now().Unix()) // the clock may have been set back
	if left <= 0 {
		header.Set("Retry-After", "1")
		h.refuse(w, r, errMintLate.because(fmt.Errorf("it took %v", time.Since(now).Round(time.Millisecond))), claims)
		return
	}
	h.minted.Add(1)
	body = append(body, `","expires_in":`...)
	body = strconv.AppendInt(body, left, 10)
	body = append(body, `,"expires_at":`...)
	body = strconv.AppendInt(body, expires, 10)
	if h.url != nil {
		if url := h.url(r, claims); url != "" {
			text, _ := json.Marshal(url) // a string always has JSON
			body = append(append(body, `,"url":`...), text...)
		}
	}
	body = append(body, "}\n"...)
	header.Set("Content-Type", "application/json")
	header.Set("X-Content-Type-Options", "nosniff")
	w.Write(body)
}

// lets says whether a page of another host may ask.
func (h *MintHandler) lets(origin, host []byte) bool {
	return h.origins.Listed(origin) || h.allowOrigin != nil && h.allowOrigin(origin, host)
}

// preflight answers the question of a browser whether a page of another origin
// may ask (Fetch standard, section CORS protocol). The page of a listed origin
// may send what headers it likes; Authenticate judges them.
func (h *MintHandler) preflight(w http.ResponseWriter, r *http.Request, listed bool) {
	if !listed {
		h.refuse(w, r, crossOrigin(errMintPreflight, r), nil)
		return
	}
	header := w.Header()
	header.Set("Access-Control-Allow-Methods", "POST")
	if wanted := strings.Join(r.Header.Values("Access-Control-Request-Headers"), ","); headerNames(wanted) {
		header.Set("Access-Control-Allow-Headers", wanted)
	}
	header.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// headerNames says whether text is a list of header names of a sane length.
func headerNames(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == ',', c == ' ':
		default:
			return false
		}
	}
	return text != "" && len(text) <= 1024
}

// crossOrigin says what a browser says of where a request comes from.
func crossOrigin(why *mintError, r *http.Request) *mintError {
	return why.with([]string{"Origin", "Host", "Sec-Fetch-Site"}, r.Header.Get("Origin"), r.Host, r.Header.Get("Sec-Fetch-Site"))
}

// retryAfter is the time that an error of Allow gives, in seconds.
func retryAfter(err error) int64 {
	var when tooManyRequests
	if !errors.As(err, &when) || when.after <= 0 {
		return 0
	}
	return int64((when.after-1)/time.Second) + 1
}

// setRetryAfter says when to ask again, where err does.
func setRetryAfter(header http.Header, err error) {
	if after := retryAfter(err); after > 0 {
		header.Set("Retry-After", strconv.FormatInt(after, 10))
	}
}

// refuse writes a problem body: the class and the status, the same bytes for all
// refusals of both.
func refuse(w http.ResponseWriter, status int, class Class) {
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set("X-Content-Type-Options", "nosniff")
	if status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(status)
	w.Write([]byte(answer.Problem(string(class), status)))
}
