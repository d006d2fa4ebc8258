package wsticket

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/wsticket/wsticket/internal/claims"
	"github.com/wsticket/wsticket/internal/mac"
)

// A SignerConfig says what a [Signer] puts into its tickets.
type SignerConfig struct {
	// Keys sign. Required; a key must sign now or later.
	Keys *Keyring

	// TTL is how long a ticket lives, in whole seconds. 0 means 10 s: a browser
	// uses it at once.
	TTL time.Duration

	// MaxTTL is the verifiers': a ticket that lives longer is not signed. 0 means
	// 60 s.
	MaxTTL time.Duration

	// Leeway is the verifiers', in whole seconds: a key signs only what it can
	// still verify when the leeway ends. 0 means 2 s, NoLeeway none.
	Leeway time.Duration

	// Issuer and Audiences go into tickets whose Claims have none.
	Issuer    string
	Audiences []string
}

// Claims are what a ticket is to say. Empty fields are left out.
type Claims struct {
	Subject        string        // sub: the user that the application authenticated; required
	Audiences      []string      // aud: which gateways; nil means the Signer's
	Issuer         string        // iss; empty means the Signer's
	Scope          string        // scope: what the connection may do, separated by spaces
	SessionID      string        // sid: the session, to close its connections by
	SessionExpires time.Time     // session_exp: the connection must not outlive it
	NotBefore      time.Time     // nbf
	TTL            time.Duration // whole seconds; 0 means the Signer's
	ID             string        // jti, 1 to 128 bytes; empty means 16 random bytes

	Origin string // origin: the page's location.origin, "https://app.example"; not "null"
	Path   string // path: decoded and without query, or a tree ("/rooms/*")
	IP     string // ip: the client's address, or a prefix ("192.0.2.0/24")

	Extra []Member // for the application
}

// A Member is a member of the payload that the format gives no meaning.
type Member struct {
	Name string // no escapes: no quote, backslash or control character
	JSON []byte // any JSON value, nested at most 7 deep
}

// ErrNoSigningKey means that no key of the keyring may sign the ticket at hand
// at this time.
var ErrNoSigningKey = errors.New("wsticket: no key of the keyring signs this ticket now: every key waits for its nbf, ends before the ticket, or only verifies")

// A Signer makes tickets. It is safe for concurrent use.
type Signer struct {
	keys                *keyringState
	ttl, maxTTL, leeway int64
	issuer              string
	audiences           []string
}

// NewSigner checks the configuration and reports all its faults at once. From
// then on the keyring refuses a replacement with which nothing can be signed.
func NewSigner(config SignerConfig) (*Signer, error) {
	var f faults
	s := &Signer{
		ttl:       f.seconds("TTL", config.TTL, DefaultTTL, time.Second, longestTTL),
		maxTTL:    f.maxTTL(config.MaxTTL),
		leeway:    f.leeway(config.Leeway),
		issuer:    config.Issuer,
		audiences: slices.Clone(config.Audiences),
	}
	if len(f) == 0 && s.ttl > s.maxTTL {
		f.addf("TTL is %v, above the MaxTTL of %v; verifiers would refuse every ticket", seconds(s.ttl), seconds(s.maxTTL))
	}
	if !utf8.ValidString(config.Issuer) {
		f.addf("Issuer is not valid UTF-8")
	}
	for i, audience := range config.Audiences {
		if audience == "" || !utf8.ValidString(audience) {
			f.addf("Audiences[%d] is empty or not valid UTF-8", i)
		}
	}
	if config.Keys == nil || config.Keys.state == nil {
		f.addf("Keys is nil; give a Keyring from ParseKeyring or LoadKeyring")
	} else if s.keys = config.Keys.state; !s.keys.mint(time.Now().Unix(), len(f) == 0) {
		f.addf("Keys has no key that signs now or later; add one")
	}
	if err := f.err("signer"); err != nil {
		return nil, err
	}
	return s, nil
}

// mint says whether the keyring has a key that signs at now or later, and if
// asked to keeps it from losing the last one from then on.
func (s *keyringState) mint(now int64, keep bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.inForce.Load().signsFrom(now) {
		return false
	}
	if keep {
		s.mints.Store(true)
	}
	return true
}

// Sign returns a new ticket. It is a credential: send it to the one it is for,
// and write it nowhere.
func (s *Signer) Sign(c *Claims) (string, error) { return s.SignAt(time.Now(), c) }

// SignAt is Sign at a given time.
func (s *Signer) SignAt(now time.Time, c *Claims) (string, error) {
	ticket, err := s.AppendTicketAt(nil, now, c)
	return string(ticket), err
}

// AppendTicket appends a new ticket to dst. With an error dst comes back as it
// was. It does not allocate where dst has room for the ticket, MaxTicketLen at
// most.
func (s *Signer) AppendTicket(dst []byte, c *Claims) ([]byte, error) {
	return s.AppendTicketAt(dst, time.Now(), c)
}

// AppendTicketAt is AppendTicket at a given time.
func (s *Signer) AppendTicketAt(dst []byte, now time.Time, c *Claims) ([]byte, error) {
	if c == nil {
		return dst, errors.New("wsticket: Signer: the claims are nil")
	}
	iat := now.Unix()
	exp := s.expiry(iat, c)
	if err := s.check(iat, exp, c); err != nil {
		return dst, err
	}
	k := s.keys.inForce.Load().signer(iat, exp+s.leeway)
	if k == nil {
		return dst, ErrNoSigningKey
	}
	w := signatures.Get().(*signature)
	w.payload = s.appendPayload(w.payload[:0], w, iat, exp, c)
	dst, err := w.appendSigned(dst, k)
	if cap(w.payload) > claims.BufferLen {
		w.payload = nil // claims too long to sign are no measure for the pool
	}
	signatures.Put(w)
	return dst, err
}

// expiry is the exp of a ticket for c that is issued at iat.
func (s *Signer) expiry(iat int64, c *Claims) int64 {
	if c.TTL != 0 {
		return iat + int64(c.TTL/time.Second)
	}
	return iat + s.ttl
}

// signature is the working memory of one signing.
type signature struct {
	mac     *mac.State
	nonce   [16]byte
	payload []byte
}

var signatures = sync.Pool{New: func() any {
	return &signature{mac: mac.NewState(), payload: make([]byte, 0, claims.MaxPayload)}
}}

func (w *signature) appendSigned(dst []byte, k *key) ([]byte, error) {
	encoding := base64.RawURLEncoding
	size := k.mac.Alg().Size()
	n := len(k.header) + encoding.EncodedLen(len(w.payload)) + 1 + encoding.EncodedLen(size)
	if n > MaxTicketLen {
		return dst, fmt.Errorf("wsticket: Signer: the ticket would be %d bytes long, the limit is %d; shorten the claims", n, MaxTicketLen)
	}
	start := len(dst)
	dst = slices.Grow(dst, n)
	dst = append(dst, k.header...)
	dst = encoding.AppendEncode(dst, w.payload)
	sum := w.mac.Sum(k.mac, k.prefix, dst[start:])
	dst = append(dst, '.')
	return encoding.AppendEncode(dst, sum), nil
}

func (s *Signer) appendPayload(p []byte, w *signature, iat, exp int64, c *Claims) []byte {
	p = append(p, '{')
	if c.ID != "" {
		p = appendText(p, "jti", c.ID)
	} else {
		rand.Read(w.nonce[:]) // never fails
		p = append(p, `"jti":"`...)
		p = base64.RawURLEncoding.AppendEncode(p, w.nonce[:])
		p = append(p, `",`...)
	}
	p = appendSeconds(p, "iat", iat)
	p = appendSeconds(p, "exp", exp)
	if !c.NotBefore.IsZero() {
		p = appendSeconds(p, "nbf", c.NotBefore.Unix())
	}
	p = appendText(p, "sub", c.Subject)
	audiences := c.Audiences
	if audiences == nil {
		audiences = s.audiences
	}
	switch len(audiences) {
	case 0:
	case 1:
		p = appendText(p, "aud", audiences[0])
	default:
		p = append(p, `"aud":[`...)
		for _, audience := range audiences {
			p = append(appendString(p, audience), ',')
		}
		p[len(p)-1] = ']'
		p = append(p, ',')
	}
	issuer := c.Issuer
	if issuer == "" {
		issuer = s.issuer
	}
	p = appendText(p, "iss", issuer)
	p = appendText(p, "scope", c.Scope)
	p = appendText(p, "sid", c.SessionID)
	if !c.SessionExpires.IsZero() {
		p = appendSeconds(p, "session_exp", c.SessionExpires.Unix())
	}
	p = appendText(p, "origin", c.Origin)
	p = appendText(p, "path", c.Path)
	p = appendText(p, "ip", c.IP)
	for i := range c.Extra {
		p = append(append(append(p, '"'), c.Extra[i].Name...), `":`...)
		p = append(append(p, c.Extra[i].JSON...), ',')
	}
	p[len(p)-1] = '}'
	return p
}
