package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/internal/jwkset"
)

func demo(e *env, f *flags) error {
	addr := f.String("addr", "127.0.0.1:8080", "address to listen on")
	path := f.String("keys", "", "keyring file, reloaded when it changes (default: a new key that nobody else has)")
	if ok, err := f.parse(e, 0); !ok {
		return err
	}
	if _, _, err := net.SplitHostPort(*addr); err != nil {
		return f.wrong("-addr is %q: give host:port, such as 127.0.0.1:8080", *addr)
	}
	keys, since, err := e.demoKeys(*path)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	replay, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 1000, Since: since})
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	d, err := newDemoServer(keys, replay, since)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if host, ok := listener.Addr().(*net.TCPAddr); ok && !host.IP.IsLoopback() {
		e.warn("%v can be reached from other machines, and the demo gives a ticket to whoever asks", listener.Addr())
	}
	ctx, stop := signal.NotifyContext(e.ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *path != "" {
		go keys.Watch(ctx, *path, 2*time.Second, func(err error) { e.warn("%v", err) })
	}
	readyAt := replay.ReadyAt()
	if at := d.connections.ReadyAt(); at.After(readyAt) {
		readyAt = at
	}
	return e.serve(ctx, stop, d, listener, readyAt)
}

// demoKeys returns the keyring, and since when the single-use cache may say that
// it has remembered. With keys that are new it can say for ever.
func (e *env) demoKeys(path string) (*wsticket.Keyring, time.Time, error) {
	if path != "" {
		keys, err := wsticket.LoadKeyring(path)
		if err == nil {
			e.warnOfReaders(path)
		}
		return keys, time.Time{}, err
	}
	set, err := jwkset.Generate("HS256", "demo", e.now().Unix())
	if err != nil {
		return nil, time.Time{}, err
	}
	text, err := set.Marshal()
	if err != nil {
		return nil, time.Time{}, err
	}
	keys, err := wsticket.ParseKeyring(text)
	return keys, time.Unix(0, 0), err
}

// serve serves until ctx ends, and then lets what is under way end. It calls stop
// first, so that a second signal ends the process at once.
func (e *env) serve(ctx context.Context, stop func(), d *demoServer, listener net.Listener, readyAt time.Time) error {
	server := &http.Server{
		Handler:           d,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()

	if wait := time.Until(readyAt); wait > 0 {
		e.line("", fmt.Sprintf("waiting %v: until then, tickets could have been used before this start", wait.Round(100*time.Millisecond)))
	}
	ready := time.NewTimer(time.Until(readyAt))
	defer ready.Stop()
	for {
		select {
		case <-ready.C:
			if _, err := fmt.Fprintf(e.stdout, "listening on http://%s/\n", listener.Addr()); err != nil {
				server.Close()
				return err
			}
		case err := <-failed:
			return fmt.Errorf("demo: %w", err)
		case <-ctx.Done():
			stop()
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			err := errors.Join(d.connections.Shutdown(ctx, 0), server.Shutdown(ctx))
			if errors.Is(err, context.DeadlineExceeded) {
				err = server.Close()
			}
			return err
		}
	}
}
