package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wsticket/wsticket/live"
)

// admin serves the calls of those who run the gateway.
func (g *Gateway) admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", g.readyz)
	mux.Handle("GET /metrics", g.guarded(g.metrics.handler()))
	mux.Handle("GET /connections", g.guarded(http.HandlerFunc(g.connections)))
	mux.Handle("POST /close", g.guarded(http.HandlerFunc(g.close)))
	return mux
}

// readyz is 200 when a ticket that is minted now would be let in.
func (g *Gateway) readyz(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if g.draining.Load() {
		http.Error(w, "draining", http.StatusServiceUnavailable)
		return
	}
	if wait := time.Until(g.ready()); wait > 0 {
		http.Error(w, fmt.Sprintf("not ready for %v", wait.Round(time.Second)), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// guarded asks for the bearer token, where there is one. Comparing digests takes the
// same time for every wrong one.
func (g *Gateway) guarded(next http.Handler) http.Handler {
	sameSite := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A page in the browser of somebody who works on this machine must not come in,
		// neither as itself nor by a name of its own for this address.
		if err := sameSite.Check(r); err != nil {
			http.Error(w, "pages of other sites may not call this", http.StatusForbidden)
			return
		}
		if g.state.Load().token == "" && !namesThisMachine(r.Host) && r.RemoteAddr != "" && r.RemoteAddr != "@" {
			http.Error(w, "call it as localhost, by a loopback address, or set admin-token-file", http.StatusForbidden)
			return
		}
		if token := g.state.Load().token; token != "" {
			scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			want, have := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(strings.TrimSpace(given)))
			if !strings.EqualFold(scheme, "bearer") || subtle.ConstantTimeCompare(want[:], have[:]) != 1 {
				w.Header().Set("WWW-Authenticate", "Bearer")
				http.Error(w, "give the token of admin-token-file as a bearer token", http.StatusUnauthorized)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// namesThisMachine says whether a Host is localhost or a loopback address.
func namesThisMachine(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback() || strings.EqualFold(host, "localhost")
}

// connections says how many there are, and of what.
func (g *Gateway) connections(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"connections": g.registry.Stats(),
		"seats":       g.seats.taken.Load(),
		"draining":    g.draining.Load(),
	})
}

const maxCloseCall = 16 << 10

// close ends connections: on every node, where there is a bus.
func (g *Gateway) close(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCloseCall))
	if err != nil {
		http.Error(w, "the body is too long, or broke off", http.StatusBadRequest)
		return
	}
	ending, err := readClose(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), g.state.Load().config.Timeout)
	defer cancel()
	if err := g.registry.End(ctx, ending); err != nil {
		g.log.Error("close failed", "why", err.Error())
		http.Error(w, "the other nodes may not have heard of it; try again", http.StatusServiceUnavailable)
		return
	}
	if silences(ending.Cause) {
		g.endings.Add(1) // from here on no tunnel lets through what comes of these sessions
	}
	if !g.guard.noteEnding(ending) {
		http.Error(w, "this process ends, and the next one will not have heard of it; try again", http.StatusServiceUnavailable)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"closed": true})
}

// readClose reads the body of POST /close: exactly one of sid, sub and all, and spread and
// cause where they are wanted.
func readClose(body []byte) (live.Ending, error) {
	var call struct {
		sid, sub, spread, cause string
		all                     bool
	}
	texts := map[string]*string{"sid": &call.sid, "sub": &call.sub, "spread": &call.spread, "cause": &call.cause}
	err := members(body, func(name string, value json.RawMessage) error {
		switch text := texts[name]; {
		case text != nil && (value[0] != '"' || json.Unmarshal(value, text) != nil):
			return fmt.Errorf("has a %s that is no string", name)
		case text != nil && strings.ContainsRune(*text, utf8.RuneError):
			return fmt.Errorf("has half of a character in %s, or U+FFFD, which stands for one", name)
		case text != nil:
			return nil
		case name != "all":
			return fmt.Errorf("has %.32q, which this call does not know", name)
		case json.Unmarshal(value, &call.all) != nil:
			return fmt.Errorf("has an all that is neither true nor false")
		}
		return nil
	})
	if err != nil {
		return live.Ending{}, fmt.Errorf(`the body %w; give a JSON object: {"sid":"…"}, {"sub":"…"} or {"all":true,"spread":"30s"}`, err)
	}
	ending := live.Ending{SessionID: call.sid, Subject: call.sub, All: call.all, At: time.Now().Unix()}
	switch {
	case call.cause != "":
		if err := ending.Cause.UnmarshalText([]byte(call.cause)); err != nil {
			return live.Ending{}, err
		}
	case call.sid != "":
		ending.Cause = live.Ended
	case call.sub != "":
		ending.Cause = live.Forbidden
	default:
		ending.Cause = live.GoingAway
	}
	if call.spread != "" {
		spread, err := time.ParseDuration(call.spread)
		if err != nil {
			return live.Ending{}, fmt.Errorf("spread is no duration; write it as 30s")
		}
		ending.Spread = spread
	}
	return ending, ending.Check()
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(value)
}
