package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

// A Gateway takes WebSocket handshakes, lets in who brings a ticket, and hands the
// connection on. Make one with [New]; [Gateway.Serve] runs it.
type Gateway struct {
	state                   atomic.Pointer[state]
	guard                   guard
	listener, adminListener net.Listener // the second is nil where there is none
	registry                *live.Registry
	seats                   seats
	metrics                 *metrics
	traces                  *traces // nil where none are made
	log                     *logger
	taking                  atomic.Bool // connections are taken, or were until it drains
	draining                atomic.Bool
	tunnels                 tunnels
	endings                 atomic.Uint64 // calls that ended sessions
	waiting                 waiting
}

// state is what a reload replaces, whole.
type state struct {
	config Config
	*compiled
	gate       *wsticket.Gate // of handshakes
	verifyGate *wsticket.Gate // of subrequests; nil where there are none
	mint       http.Handler   // nil where nothing is minted
	mintRates  *mintRates     // of that
	proxied    http.Handler   // the gate with the proxy behind it
}

// A handshaken request is on its way through the gate.
type handshaken struct {
	state    *state
	seat     seat
	began    time.Time
	accepted bool
}

type handshakeKey struct{}

// parts are what of the library a configuration makes.
type parts struct {
	gate, verifyGate *wsticket.Gate
	mint             *wsticket.MintHandler
	mintRates        *mintRates
}

// library makes the parts of the library. g is nil where they are made to see whether
// they can be.
func (c *Config) library(out *compiled, guard wsticket.ReplayGuard, g *Gateway) (*parts, error) {
	leeway := c.leeway()
	var faults []error
	fault := func(err error) { faults = append(faults, err) }
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: out.keys, Replay: guard, Audiences: c.Audiences,
		Issuers: c.Issuers, MaxTTL: c.MaxTTL, Leeway: leeway})
	if err != nil {
		return nil, err
	}
	p := &parts{}
	peer := func(r *http.Request) netip.Addr { return out.proxies.client(r) }
	// g is nil where a configuration is only checked, and nobody calls these.
	refused := func(j func() *judged) func(*http.Request, wsticket.Refusal) {
		return func(r *http.Request, refusal wsticket.Refusal) {
			j().Count(refusal.Err)
			g.traces.of(r.Context()).note(keyVerdict, refusal.Code.Code())
			g.log.refused(r, refusal)
		}
	}
	p.gate, err = wsticket.NewGate(wsticket.GateConfig{Verifier: verifier, Origins: c.Origins, Carriers: out.carriers,
		Protocols: c.Protocols, PeerAddr: peer, Authorize: g.authorize,
		OnRefuse: refused(func() *judged { return g.metrics.handshakes })})
	if err != nil {
		fault(err)
	}
	if c.VerifyPath != "" {
		// A subprotocol that carried a ticket would have to be echoed by the backend,
		// and cookies and bearer tokens of a subrequest may be the proxy's own.
		p.verifyGate, err = wsticket.NewGate(wsticket.GateConfig{Verifier: verifier, Origins: c.Origins,
			Carriers: wsticket.CarrierQuery, AnyRequest: true, PeerAddr: peer, Authorize: g.authorize,
			OnRefuse: refused(func() *judged { return g.metrics.subrequests })})
		if err != nil {
			fault(err)
		}
	}
	if out.ask != nil {
		issuer := ""
		if len(c.Issuers) > 0 {
			issuer = c.Issuers[0]
		}
		signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: out.keys, TTL: c.MintTTL, MaxTTL: c.MaxTTL, Leeway: leeway,
			Issuer: issuer, Audiences: c.Audiences})
		if err != nil {
			fault(err)
		} else {
			p.mintRates = g.ratesFor(c.MintRate)
			if p.mint, err = g.newMint(c, out, signer, p.mintRates); err != nil {
				fault(err)
			}
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return p, nil
}

// ratesFor goes on with those in force where the limit is the same: who has used it up
// must not get it anew by a reload.
func (g *Gateway) ratesFor(perMinute int) *mintRates {
	if g != nil {
		if old := g.state.Load(); old != nil && old.mintRates != nil && old.mintRates.perMinute == perMinute {
			return old.mintRates
		}
	}
	return &mintRates{perMinute, newRates(perMinute), newRates(10 * perMinute)}
}

func (g *Gateway) newMint(c *Config, out *compiled, signer *wsticket.Signer, rates *mintRates) (*wsticket.MintHandler, error) {
	ask := newAsker(out.ask, c.Timeout, out.proxies)
	if g != nil {
		ask.traces = g.traces
	}
	// Those who are told to wait must not all come back in the same second.
	tooMany := func(wait time.Duration) error { return wsticket.TooManyRequests(wait + rand.N(wait+time.Second)) }
	return wsticket.NewMintHandler(wsticket.MintConfig{
		Signer:  signer,
		Origins: c.Origins,
		Authenticate: func(r *http.Request) (*wsticket.Claims, error) {
			// Before the backend is asked, which strangers could keep busy otherwise.
			if wait, ok := rates.byAddress.allow(time.Now(), neighbourhood(out.proxies.client(r))); !ok {
				return nil, tooMany(wait)
			}
			claims, err := ask.authenticate(r)
			if err != nil {
				return nil, err
			}
			// What fits into no ticket is one more answer that is not as it must be: 503,
			// as for the others.
			if _, err := signer.Sign(claims); err != nil {
				return nil, fmt.Errorf("%w: %w: %w", wsticket.ErrUnavailable, errAnswer, err)
			}
			return claims, nil
		},
		Allow: func(_ *http.Request, claims *wsticket.Claims) error {
			if wait, ok := rates.bySubject.allow(time.Now(), claims.Subject); !ok {
				return tooMany(wait)
			}
			return nil
		},
		// g is nil where a configuration is only checked, and nobody calls these.
		OnRefuse: func(r *http.Request, refusal wsticket.MintRefusal) {
			g.metrics.mintRefused(refusal.Status, 1)
			g.log.mintRefused(r, refusal)
		},
		OnError: func(r *http.Request, err error) { g.log.mint(r, err) },
	})
}

// ServeHTTP answers one request: a handshake, a mint, a subrequest. All else is 404.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := g.state.Load()
	if !g.taking.Load() {
		// 503, so that a client asks again: a ticket of now would be refused even later.
		refuseFor(w, time.Until(g.ready()))
		return
	}
	trusted := s.proxies.trust(r.RemoteAddr)
	if trusted {
		if host := r.Header["X-Forwarded-Host"]; len(host) == 1 && host[0] != "" {
			r = r.WithContext(r.Context()) // a copy: the request is the server's
			r.Host = host[0]
		}
	}
	path := r.URL.Path
	switch {
	case s.verifyGate != nil && (path == s.config.VerifyPath || strings.HasPrefix(path, s.config.VerifyPath+"/")):
		g.traces.traced(w, r, "subrequest", trusted, func(w http.ResponseWriter, r *http.Request) { g.verify(w, r, s) })
	case s.mint != nil && path == s.config.MintPath && !isHandshake(r):
		g.traces.traced(w, r, "mint", trusted, s.mint.ServeHTTP)
	case s.upstream != nil && isHandshake(r):
		if g.draining.Load() {
			refuse(w, http.StatusServiceUnavailable)
			return
		}
		g.traces.traced(w, r, "handshake", trusted, func(w http.ResponseWriter, r *http.Request) { g.handshake(w, r, s) })
	default:
		if s.upstream != nil && meansHandshake(r) {
			s.gate.Redeem(r) // which counts and logs that it is none, and spends nothing
		}
		refuse(w, http.StatusNotFound)
	}
}

// handshake takes a seat for a connection before anything is looked at, so that no
// ticket is spent where there is no room.
func (g *Gateway) handshake(w http.ResponseWriter, r *http.Request, s *state) {
	began := time.Now()
	seat, err := g.seats.take()
	if err != nil {
		g.traces.of(r.Context()).note(keyVerdict, wsticket.ErrOverloaded.Code())
		g.metrics.handshakes.Count(wsticket.ErrOverloaded)
		g.metrics.handshakes.observed.Observe(began, nil)
		g.log.sampled(slog.LevelWarn, "refused", slog.String("code", wsticket.ErrOverloaded.Code()), slog.String("why", err.Error()))
		s.gate.Refuse(w, r, wsticket.ErrOverloaded)
		return
	}
	defer func() {
		if !*seat.kept {
			seat.leave()
		}
	}()
	h := &handshaken{state: s, seat: seat, began: began}
	s.proxied.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), handshakeKey{}, h)))
	if !h.accepted {
		g.metrics.handshakes.observed.Observe(began, nil)
	}
}

func isHandshake(r *http.Request) bool {
	for _, offer := range tokens(r.Header["Upgrade"]) {
		if strings.EqualFold(offer, "websocket") {
			return true
		}
	}
	return false
}

// meansHandshake says whether a request without Upgrade may have had one: a proxy that
// is not told to hand WebSockets on takes it away, and leaves these.
func meansHandshake(r *http.Request) bool {
	return r.Header["Sec-Websocket-Key"] != nil || r.Header["Sec-Websocket-Version"] != nil
}

// authorize is asked before a ticket is spent.
func (g *Gateway) authorize(_ *http.Request, t *wsticket.Ticket) error {
	return g.registry.Admit(t)
}

// ready is from when on no fresh ticket is refused.
func (g *Gateway) ready() time.Time {
	used, ended := g.guard.ReadyAt(), g.registry.ReadyAt()
	if used.After(ended) {
		return used
	}
	return ended
}

// Log is where the gateway writes.
func (g *Gateway) Log() *slog.Logger { return g.log.Logger }

// refuseFor answers 503, to be asked again after a while: not by all in one second.
func refuseFor(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(max(wait, 0)/time.Second)+1+rand.IntN(3)))
	refuse(w, http.StatusServiceUnavailable)
}

// refuse answers with a problem (RFC 9457) of the same form as the library's.
func refuse(w http.ResponseWriter, status int) {
	class := wsticket.ClassUnavailable
	switch status {
	case http.StatusNotFound, http.StatusBadRequest:
		class = wsticket.ClassBadRequest
	case http.StatusForbidden:
		class = wsticket.ClassForbidden
	}
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	if status >= 500 && header.Get("Retry-After") == "" {
		header.Set("Retry-After", strconv.Itoa(1+rand.IntN(4))) // not all in one second
	}
	w.WriteHeader(status)
	fmt.Fprintf(w, "{\"type\":%q,\"status\":%d}\n", class, status)
}
