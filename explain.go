package wsticket

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"strconv"
	"time"

	"github.com/wsticket/wsticket/internal/b64"
	"github.com/wsticket/wsticket/internal/claims"
	"github.com/wsticket/wsticket/internal/head"
	"github.com/wsticket/wsticket/internal/jose"
	"github.com/wsticket/wsticket/internal/jsonscan"
	"github.com/wsticket/wsticket/internal/quote"
)

// Explain does what [Verifier.Peek] does, and its error says more: it shows the values
// that were compared; those of the ticket only if its MAC is right. It allocates, and
// the error owns what it says. It is for tools, for support and for a log of one's own;
// a [Refusal] says the same.
//
// Values are escaped and cut at 64 bytes, and none has a piece of the ticket in it.
func (v *Verifier) Explain(r Request, t *Ticket) error { return v.ExplainAt(time.Now(), r, t) }

// ExplainAt is Explain at a given time.
func (v *Verifier) ExplainAt(now time.Time, r Request, t *Ticket) error {
	return v.explain(v.judge(now.Unix(), &r, t), now, r, t)
}

// ExplainUnboundAt is to PeekUnboundAt what ExplainAt is to PeekAt.
func (v *Verifier) ExplainUnboundAt(now time.Time, ticket []byte, t *Ticket) error {
	return v.explain(v.judgeUnbound(now.Unix(), ticket, t), now, Request{Ticket: ticket}, t)
}

func (v *Verifier) explain(err error, now time.Time, r Request, t *Ticket) error {
	if err == nil {
		return nil
	}
	d := details{err: err, verifier: v, now: now.Unix(), request: r, ticket: t}
	err = d.own()
	t.reset()
	return err
}

// details are what a refusal compared. They are views of the working memory of one
// handshake, and become words when somebody reads them. With err alone they are
// what is left of a refusal when its handshake is over.
type details struct {
	err      error // as it is returned: an Error or a reason
	verifier *Verifier
	policy   *policy // nil where there is no gateway
	now      int64
	request  Request
	host     []byte
	shown    requestHead // nil where there is none to look into
	ticket   *Ticket

	headBytes, maxHeaders int
}

// requestHead is what a refusal of a handshake may show of its head.
type requestHead interface {
	// Header is the first value of a header, nil where there is none.
	Header(name string) []byte
	method() []byte
	lines() int // that were read before a fault
}

// Error names the package, the code, the reason and the values.
func (d *details) Error() string { return "wsticket: " + codeOf(d.err).Code() + ": " + d.reason() }

// Format writes the words under every verb: %#v and %d would print the request, with
// its ticket.
func (d *details) Format(f fmt.State, verb rune) {
	format := "%s"
	if verb == 'q' {
		format = "%q"
	}
	fmt.Fprintf(f, format, d.Error())
}

// Unwrap returns the error without the values.
func (d *details) Unwrap() error { return d.err }

func (d *details) reason() string { return string(d.append(nil)) }

// own returns an error that says the same and shares nothing with d.
func (d *details) own() error {
	e := &refusalError{code: codeOf(d.err), text: d.reason(), chain: []error{d.err}}
	if static, ok := d.err.(*refusalError); ok {
		e.number, e.status = static.number, static.status
	}
	return e
}

// append appends the reason, then the values that were compared.
func (d *details) append(dst []byte) []byte {
	reason := ReasonOf(d.err)
	if d.verifier == nil {
		return append(dst, reason...)
	}
	ticket := d.request.Ticket
	if d.ticket.fault.Kind != claims.Sound {
		return d.ticket.fault.Append(dst, d.ticket.buf[:], ticket)
	}
	if header, fault := d.headerFault(); header != nil {
		return fault.Append(dst, ticket)
	}
	w := words{dst: append(dst, reason...), ticket: ticket}
	set := &d.ticket.set
	switch d.err {
	// Check 0.
	case errOtherHost:
		w.quoted("Origin", d.request.Origin)
		w.quoted("Host", d.host)
	case errUnlisted, errCookieOrigin:
		if d.request.Origin == nil {
			w.printf("no Origin")
		} else {
			w.quoted("Origin", d.request.Origin)
		}
		w.quoted("Host", d.host)
		w.list("listed", d.policy.listed)
	case ErrMissing:
		if d.policy != nil {
			w.printf("looked for in %v", Carriers(d.policy.carriers))
		}
	case errNoProtocol:
		w.list("Protocols", d.policy.protocols)
	case headErrors[head.NotGET]:
		w.head(d, "")
	case headErrors[head.BadHost]:
		w.head(d, "Host")
	case headErrors[head.HasBody]:
		w.head(d, "Content-Length", "Transfer-Encoding")
	case headErrors[head.NotWebSocket]:
		w.head(d, "Upgrade")
	case headErrors[head.NoConnectionUpgrade], headErrors[head.BadConnection]:
		w.head(d, "Connection")
	case headErrors[head.NotVersion13]:
		w.head(d, "Sec-WebSocket-Version")
	case headErrors[head.BadHeaderLine]:
		if d.shown != nil {
			w.printf("line %d of the headers", d.shown.lines()+1)
		}
	case headErrors[head.TooLong]:
		w.printf("limit %d bytes", d.headBytes)
	case headErrors[head.TooManyFields]:
		w.printf("limit %d lines", d.maxHeaders)

	// Checks 1 to 3: nothing of the text itself.
	case errTooLong:
		w.printf("%d bytes, MaxLen %d", len(ticket), d.verifier.maxLen)
	case errDots:
		w.printf("it has %d", bytes.Count(ticket, []byte{'.'}))
	case errMACLength:
		w.printf("%d characters; HS256 has 43, HS384 64, HS512 86", len(ticket)-bytes.LastIndexByte(ticket, '.')-1)
	case errNoKey:
		w.list("it has", d.verifier.keyIDs())
	case errKeyAlg, errKeyExpired, ErrBadSignature:
		if k := d.key(); k != nil {
			w.quoted("key", []byte(k.id))
			switch d.err {
			case errKeyAlg:
				w.printf("alg %s", k.mac.Alg())
			case errKeyExpired:
				w.printf("exp %d, now %d", k.exp, d.now)
			}
		}

	// Check 5.
	case errBackwards:
		w.printf("iat %d, exp %d", set.IssuedAt, set.Expires)
	case errTTL:
		w.printf("%d s, MaxTTL %d s", set.Expires-set.IssuedAt, d.verifier.maxTTL)
	case errIssuedAhead:
		w.printf("iat %d, now %d, leeway %d s", set.IssuedAt, d.now, d.verifier.leeway)
	case errNotBefore:
		w.printf("nbf %d, now %d, leeway %d s", set.NotBefore, d.now, d.verifier.leeway)
	case errExpired:
		w.printf("exp %d, now %d, leeway %d s", set.Expires, d.now, d.verifier.leeway)
	case errSessionOver:
		w.printf("session_exp %d, now %d", set.SessionExpires, d.now)

	// Check 6.
	case errOtherAudience, errNotSoleAudience, errAnyAudience, errNoAudience:
		var audiences []string
		for a := range d.ticket.Audiences() {
			audiences = append(audiences, string(a))
		}
		if d.err != errNoAudience {
			w.list("aud", audiences)
		}
		if d.err != errAnyAudience {
			w.list("want", d.verifier.audiences)
		}
	case errOtherIssuer, errNoIssuer:
		w.claim("iss", d.ticket.Issuer())
		w.list("want", d.verifier.issuers)
	case errOtherScope, errNoScope:
		w.claim("scope", d.ticket.Scope())
		w.list("want", d.verifier.scopes)

	// Check 7.
	case errOtherOrigin, errNoOrigin:
		w.claim("Origin", d.request.Origin)
		w.quoted("claim", d.ticket.Origin())
	case errOtherPath, errUnclearPath, errHiddenPath, errNoPath:
		w.claim("path", d.request.Path)
		w.quoted("claim", d.ticket.Path())
	case errOtherAddr:
		w.printf("address %v, claim %v", judged(d.request.Addr), set.IP)
	case errNoAddr:
		w.printf("claim %v", set.IP)

	// Check 9.
	case ErrIssuedBeforeStart:
		if cache, ok := d.verifier.replay.(*ReplayCache); ok {
			w.printf("iat %d, taken from %d on", set.IssuedAt, cache.notAfter+1)
		}
	}
	return w.dst
}

// words are a reason and the values behind it.
type words struct {
	dst, ticket []byte
	begun       bool
}

func (w *words) next() {
	if w.begun {
		w.dst = append(w.dst, ", "...)
	} else {
		w.dst = append(w.dst, ": "...)
	}
	w.begun = true
}

func (w *words) printf(format string, args ...any) {
	w.next()
	w.dst = fmt.Appendf(w.dst, format, args...)
}

func (w *words) quoted(name string, text []byte) {
	w.next()
	w.dst = quote.Append(append(append(w.dst, name...), ' '), text, w.ticket)
}

// claim is quoted for what may be absent.
func (w *words) claim(name string, text []byte) {
	if text != nil {
		w.quoted(name, text)
	}
}

// head shows headers, or the method for "", as far as there are any.
func (w *words) head(d *details, names ...string) {
	if d.shown == nil {
		return
	}
	for _, name := range names {
		if name == "" {
			w.claim("method", d.shown.method())
		} else if value := d.shown.Header(name); value != nil {
			w.quoted(name, value)
		} else if len(names) == 1 {
			w.printf("no %s", name)
		}
	}
}

// list shows some of what may be many.
func (w *words) list(name string, texts []string) {
	const most = 4
	w.next()
	w.dst = append(w.dst, name...)
	for i, text := range texts {
		if i == most {
			w.dst = append(w.dst, " and "...)
			w.dst = append(strconv.AppendInt(w.dst, int64(len(texts)-most), 10), " more"...)
			break
		}
		w.dst = quote.Append(append(w.dst, ' '), []byte(text), w.ticket)
	}
	if len(texts) == 0 {
		w.dst = append(w.dst, " none"...)
	}
}

func (v *Verifier) keyIDs() []string {
	var ids []string
	for _, k := range v.keys.inForce.Load().keys {
		ids = append(ids, k.id)
	}
	return ids
}

// key is the key of the keyring that the header names, nil where there is none.
func (d *details) key() *key {
	_, k := d.header()
	return k
}

// header reads the header of the ticket as far as it takes to find the key.
func (d *details) header() (header []byte, k *key) {
	encoded, _, _ := bytes.Cut(d.request.Ticket, []byte{'.'})
	header = make([]byte, b64.DecodedLen(len(encoded)))
	if _, ok := b64.Decode(header, encoded); !ok {
		return nil, nil
	}
	var kid string
	if jsonscan.Object(header, 8, func(name string, value []byte) error {
		if name == "kid" {
			kid, _ = jsonscan.Text(value)
		}
		return nil
	}) != nil {
		return nil, nil
	}
	return header, d.verifier.keys.inForce.Load().byID[kid]
}

// headerFault is the fault of a header that may be quoted: one that was signed with
// the key that it names.
func (d *details) headerFault() (header []byte, _ jose.Fault) {
	e, ok := d.err.(*refusalError)
	if !ok || !isHeaderFault(e) {
		return nil, jose.Fault{}
	}
	header, k := d.header()
	text := d.request.Ticket
	dot := bytes.LastIndexByte(text, '.')
	if k == nil || dot < 0 || len(text)-dot-1 != encodedLen(k.mac.Alg().Size()) {
		return nil, jose.Fault{}
	}
	w := verifications.Get().(*verification)
	defer verifications.Put(w)
	n, ok := b64.Decode(w.tag[:], text[dot+1:])
	if !ok || subtle.ConstantTimeCompare(w.mac.Sum(k.mac, k.mac.Plain(), text[:dot]), w.tag[:n]) != 1 {
		return nil, jose.Fault{}
	}
	_, fault := jose.Parse(header, nil)
	return header, fault
}

func isHeaderFault(e *refusalError) bool {
	for _, f := range headerFaults {
		if f == e {
			return true
		}
	}
	return false
}
