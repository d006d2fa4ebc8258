package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

// New makes a gateway of a configuration, and reports all faults of it at once. Log
// lines go to logs. It listens, connects to the store of single-use, if there is one, and
// takes no connections yet; ctx bounds the making alone. Call Serve after it.
func New(ctx context.Context, config Config, logs io.Writer) (_ *Gateway, err error) {
	out, err := config.compile()
	if err != nil {
		return nil, err
	}
	g := &Gateway{}
	if g.log, err = newLogger(logs, config.LogFormat, config.LogLevel); err != nil {
		return nil, err
	}
	g.log.store = withoutPassword(config.SingleUse)
	g.waiting.most.Store(int64(descriptors() / 2))
	g.waiting.told = func() {
		g.log.sampled(slog.LevelWarn, "closed a new connection: those that have not shaken hands use half of the descriptors")
	}
	// Before the state file is read, which takes it away: a start that fails must not
	// cost it.
	if g.traces, err = newTraces(ctx, out.otlp, g.log.traces); err != nil {
		return nil, fmt.Errorf("otlp: %w", err)
	}
	defer func() {
		if err != nil {
			g.traces.close()
		}
	}()
	if err := g.listen(&config); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			g.closeListeners()
		}
	}()
	if g.guard, err = newGuard(ctx, &config, func(err error) { g.log.Warn("state", "why", err.Error()) }); errors.Is(err, errStateInUse) {
		return nil, fmt.Errorf("state: %w", err)
	} else if err != nil {
		return nil, fmt.Errorf("single-use: %w", err)
	}
	leeway := config.leeway()
	g.registry, err = live.New(live.Config{MaxTTL: config.MaxTTL, Leeway: leeway, MaxPerSubject: config.MaxPerSubject,
		Since: g.guard.since(), Bus: g.guard.bus(), Report: g.sessionsFault})
	if err != nil {
		g.guard.Close()
		return nil, err
	}
	for _, ending := range g.guard.ended() {
		if err := g.registry.End(ctx, ending); err != nil {
			g.guard.Close()
			return nil, err
		}
	}
	if g.metrics, err = newMetrics(g, out.keys); err != nil {
		g.guard.Close()
		return nil, err
	}
	s, err := g.newState(config, out)
	if err != nil {
		g.guard.Close()
		return nil, err
	}
	g.install(s)
	return g, nil
}

// newState makes what a reload replaces.
func (g *Gateway) newState(config Config, out *compiled) (*state, error) {
	p, err := config.library(out, g.guard.replay(), g)
	if err != nil {
		return nil, err
	}
	s := &state{config: config, compiled: out, gate: p.gate, verifyGate: p.verifyGate, mintRates: p.mintRates}
	if p.mint != nil {
		// Of a ticket that came by cookie the backend hears nothing, which is asked with
		// all the others.
		s.mint = wsticket.Conceal(g.metrics.countMinted(p.mint))
	}
	s.proxied = s.gate.Wrap(http.HandlerFunc(g.proxy))
	return s, nil
}

func (g *Gateway) install(s *state) {
	g.seats.max.Store(int64(s.config.MaxConnections))
	g.state.Store(s)
}

// Serve takes connections until ctx ends, and then drains: readiness off, no new
// connections, 1001 to those that there are, spread over half of the drain time, and
// the memory of used tickets saved. ready is told the address once connections are
// taken and tickets let in.
func (g *Gateway) Serve(ctx context.Context, ready func(addr string)) error {
	defer g.log.tellAll()
	defer g.traces.close()
	defer g.guard.Close()
	defer g.closeListeners()
	config := g.state.Load().config
	background, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	if g.adminListener != nil {
		server := g.server(g.admin(), config)
		running.Go(func() { server.Serve(g.adminListener) })
		defer server.Close()
	}
	running.Go(func() { g.watch(background) })
	if g.guard.bus() != nil {
		running.Go(func() {
			// It returns where the store refuses the user, which somebody may mend.
			for background.Err() == nil {
				if err := g.registry.Follow(background); err != nil && background.Err() == nil {
					g.log.Error("sessions that end on other nodes are not heard of", "why", err.Error())
				}
				select {
				case <-background.Done():
				case <-time.After(lookEvery):
				}
			}
		})
	}
	listener := g.listener
	if cert := g.state.Load().cert; cert != nil {
		listener = tls.NewListener(listener, g.tlsConfig())
	}
	server := g.server(g, config)
	server.ConnState = g.waiting.watch
	failed := make(chan error, 1)
	running.Go(func() { failed <- server.Serve(listener) })
	// A ticket that came before could be one that was used, or whose session ended,
	// before a restart. Until then everybody is told when to come again.
	if wait := time.Until(g.ready()); wait > 0 {
		g.log.Info("waiting before tickets are taken, since an earlier process may have taken them", "until", g.ready())
	}
	for time.Until(g.ready()) > 0 {
		select {
		case <-time.After(min(time.Until(g.ready()), 50*time.Millisecond)):
		case <-ctx.Done():
			server.Close()
			return nil
		}
	}
	g.taking.Store(true)
	ready(listener.Addr().String())
	g.sayAtStart(config)
	select {
	case err := <-failed:
		return fmt.Errorf("listen: %w", err)
	case <-ctx.Done():
	}
	return g.drain(server)
}

// sayAtStart tells what may not be as somebody expects.
func (g *Gateway) sayAtStart(config Config) {
	if config.MintAuth == "" {
		g.log.Info("nothing is minted here: mint-auth is not set")
	}
	if has, wants := descriptors(), 2*uint64(config.MaxConnections)+100; has > 0 && has < wants {
		level := slog.LevelWarn
		if config.MaxConnections == Default().MaxConnections {
			level = slog.LevelInfo // nobody has asked for so many
		}
		g.log.Log(context.Background(), level, "max-connections wants more descriptors than the process may have; handshakes will fail before it is reached", "has", has, "wants", wants)
	}
	for _, warning := range config.Warnings() {
		g.log.Warn(warning)
	}
}

// tlsConfig serves the certificate that is in force at each handshake.
func (g *Gateway) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"}, // a WebSocket over HTTP/2 is another handshake
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return g.state.Load().cert.inForce.Load(), nil
		},
	}
}

func (g *Gateway) server(handler http.Handler, config Config) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: config.Timeout,
		ReadTimeout:       2 * config.Timeout,
		WriteTimeout:      4 * config.Timeout, // a question to mint-auth, an upstream, and the answer
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		// OPTIONS * is no handshake either.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(serverLog{g.log}, "", 0),
	}
}

// drain ends what there is within the drain time.
func (g *Gateway) drain(server *http.Server) error {
	g.draining.Store(true)
	config := g.state.Load().config
	ctx, cancel := context.WithTimeout(context.Background(), config.Drain)
	defer cancel()
	g.log.Info("draining", "connections", g.seats.taken.Load(), "for", config.Drain.String())
	var ended sync.WaitGroup
	ended.Go(func() { g.registry.Shutdown(ctx, config.Drain/2) })
	server.Shutdown(ctx)
	ended.Wait()
	for g.seats.taken.Load() > 0 && ctx.Err() == nil {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	if left := g.seats.taken.Load(); left > 0 {
		g.log.Warn("connections were cut at the end of the drain time", "connections", left)
	}
	server.Close()
	g.tunnels.cut()
	for deadline := time.Now().Add(closing); g.seats.taken.Load() > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond) // their goroutines end
	}
	if err := g.guard.save(); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// watch looks at the files of keyring and certificate every few seconds, until ctx
// ends.
func (g *Gateway) watch(ctx context.Context) {
	for ctx.Err() == nil {
		g.watchOne(ctx, g.state.Load())
	}
}

// watchOne does so until a reload has named another file for the keyring.
func (g *Gateway) watchOne(ctx context.Context, began *state) {
	var running sync.WaitGroup
	defer running.Wait()
	child, end := context.WithCancel(ctx)
	defer end()
	path := began.config.Keys
	running.Go(func() { began.keys.Watch(child, path, lookEvery, g.keyringFault) })
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s := g.state.Load()
		if s.config.Keys != path {
			return
		}
		if s.cert != nil && s.cert.changed() {
			if err := s.cert.load(); err != nil {
				g.log.Error("certificate not loaded; the one in force stays", "why", err.Error())
			} else {
				g.log.Info("certificate loaded")
			}
		}
	}
}

const lookEvery = 2 * time.Second

func (g *Gateway) keyringFault(err error) {
	var returned *wsticket.ReturnedKeysError
	if errors.As(err, &returned) {
		g.log.Warn("keyring", "why", err.Error())
		return
	}
	g.log.Error("keyring not loaded; the one in force stays", "why", err.Error())
}

// sessionsFault logs what the registry of connections reports.
func (g *Gateway) sessionsFault(err error) {
	var missed *live.MissedError
	if errors.As(err, &missed) && !g.taking.Load() {
		// There is no connection yet that could be of an ended session.
		g.log.Info("the store knows of no sessions that ended before: it is new, or was emptied", "why", err.Error())
		return
	}
	g.log.Error("sessions", "why", err.Error())
}

func (g *Gateway) listen(config *Config) (err error) {
	if g.listener, err = listen(config.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if config.Admin == "" {
		return nil
	}
	if g.adminListener, err = listen(config.Admin); err != nil {
		g.listener.Close()
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

func (g *Gateway) closeListeners() {
	g.listener.Close()
	if g.adminListener != nil {
		g.adminListener.Close()
	}
}

func listen(address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
			// Left behind by a process that is gone, unless somebody answers on it.
			if conn, err := net.Dial("unix", path); err == nil {
				conn.Close()
				return nil, fmt.Errorf("somebody listens on %s already", path)
			}
			os.Remove(path)
		}
		return net.Listen("unix", path)
	}
	return net.Listen("tcp", address)
}

// Reload puts another configuration in force, all of it or nothing. What cannot change
// while the gateway runs must be as it was.
func (g *Gateway) Reload(config Config) error {
	err := g.reload(config)
	outcome := outcomeDone
	if err != nil {
		outcome = outcomeFailed
	}
	g.metrics.reloads.WithLabelValues(outcome).Inc()
	return err
}

func (g *Gateway) reload(config Config) error {
	out, err := config.compile()
	if err != nil {
		return err
	}
	old := g.state.Load()
	var faults []error
	for _, o := range options {
		if !o.fixed {
			continue
		}
		was, is := old.config, config
		if o.value(&was).show() != o.value(&is).show() {
			faults = append(faults, fmt.Errorf("%s: cannot change while the gateway runs; restart it, or set it back", o.name))
		}
	}
	if (out.cert == nil) != (old.cert == nil) {
		faults = append(faults, errors.New("tls-cert: TLS cannot be turned on or off while the gateway runs; restart it, or set it back"))
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	// The keyring stays the same one, so that it goes on to know which keys it had. It
	// takes the new keys first, since a signer needs one that signs; compile has shown
	// that the rest fits to them.
	out.keys = old.keys
	var returned *wsticket.ReturnedKeysError
	if err := out.keys.Reload(config.Keys); errors.As(err, &returned) {
		g.keyringFault(err) // they are in force
	} else if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	s, err := g.newState(config, out)
	if err != nil { // the file has changed since compile read it
		return errors.Join(err, out.keys.Reload(old.config.Keys))
	}
	g.install(s)
	return nil
}
