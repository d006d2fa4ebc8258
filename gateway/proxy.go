package gateway

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

// proxy hands on a handshake whose ticket was spent. The order is: check, spend, dial.
// So a used ticket never causes as much as a connection to the upstream. A ticket that
// is lost to an upstream which is down costs the client nothing: it mints for every
// attempt anyway.
func (g *Gateway) proxy(w http.ResponseWriter, r *http.Request) {
	ticket, _ := wsticket.TicketFrom(r.Context())
	h := r.Context().Value(handshakeKey{}).(*handshaken)
	h.accepted = true
	g.metrics.handshakes.accepted(h.began, ticket)
	g.traces.of(r.Context()).note(keyVerdict, "accepted")
	s, seat := h.state, h.seat
	ctx, cancel := context.WithTimeout(r.Context(), s.config.Timeout)
	defer cancel()
	t := &tunnel{cancel: cancel, endings: &g.endings, heard: g.endings.Load()}
	// Its session may have ended since the ticket was spent, or ends from here on.
	conn, err := g.registry.Add(ticket, t.endWith)
	if err != nil {
		g.log.sampled(slog.LevelWarn, "refused after its ticket was spent", slog.String("why", err.Error()))
		s.gate.Refuse(w, r, err)
		return
	}
	t.conn = conn
	g.tunnels.add(t)
	kept := false
	defer func() { // also where an answer is broken off, which panics
		if !kept {
			g.tunnels.remove(t)
			conn.Remove()
			t.span.end()
		}
	}()
	t.done = func() {
		g.tunnels.remove(t)
		conn.Remove()
		seat.leave()
		t.span.end()
	}
	if kept = g.connect(ctx, w, r, s, t, ticket); kept {
		seat.keep()
	}
}

// handshakeHeader is what of a client's header goes to the upstream: all but what is for
// the connection to the gateway only. A Connection that lists more than upgrade would have
// whatever stands in front of the backend take out what is listed there, our own headers
// too.
func handshakeHeader(r *http.Request) http.Header {
	header := r.Header.Clone()
	withoutHops(header)
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", "websocket")
	return header
}

// connect has the upstream answer, and joins both sides if it upgrades.
func (g *Gateway) connect(ctx context.Context, w http.ResponseWriter, r *http.Request, s *state, t *tunnel, ticket *wsticket.Ticket) bool {
	header := handshakeHeader(r)
	setIdentity(header, ticket)
	s.proxies.forward(r, header)
	asking, asked := g.traces.ask(ctx, "upstream", header)
	began := time.Now()
	a, err := s.upstream.ask(asking, r, header)
	if err != nil {
		asked.failed()
	} else {
		asked.status(a.response.StatusCode)
	}
	asked.end()
	// The backend is not to blame for those who left, or had to.
	over := t.ended()
	left := over != 0 || r.Context().Err() == context.Canceled
	g.metrics.upstream(time.Since(began), a, err, left)
	if over != 0 && (err != nil || !a.upgraded) { // else it is told by a close frame
		if err == nil {
			a.conn.Close()
		}
		ended := live.ErrEnded
		if !silences(over) {
			ended = live.ErrShutdown
		}
		g.log.sampled(slog.LevelWarn, "refused after its ticket was spent", slog.String("why", over.String()))
		s.gate.Refuse(w, r, ended)
		return false
	}
	if err != nil && left {
		g.log.sampled(slog.LevelDebug, "the client left before the upstream answered", slog.String("path", cut(r.URL.Path)))
		return false
	}
	if err != nil {
		g.log.upstream(r, err)
		if ctx.Err() != nil || isTimeout(err) {
			refuse(w, http.StatusGatewayTimeout)
		} else {
			refuse(w, http.StatusBadGateway)
		}
		return false
	}
	if !a.upgraded {
		g.relay(w, a)
		return false
	}
	g.traces.of(r.Context()).status(http.StatusSwitchingProtocols)
	t.span = g.traces.connection(r.Context())
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil { // the gate has looked for a hijacker, so the client is gone
		a.conn.Close()
		return false
	}
	var head strings.Builder
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
	withoutHops(a.response.Header)
	a.response.Header.Del("Content-Length")
	a.response.Header.Write(&head)
	head.WriteString("\r\n")
	client.SetDeadline(time.Now().Add(s.config.Timeout))
	_, err = io.WriteString(client, head.String())
	if err == nil {
		err = client.SetDeadline(time.Time{})
	}
	if err == nil {
		err = a.conn.SetDeadline(time.Time{})
	}
	if err != nil {
		client.Close()
		a.conn.Close()
		return false
	}
	early := buffer(a.reader)
	a.reader.Reset(nil) // it would keep the connection
	readers.Put(a.reader)
	if !t.join(client, a.conn, buffer(buffered.Reader), early) {
		client.Close()
		a.conn.Close()
		return false
	}
	return true
}

// buffer returns what is read already, as a copy, so that the reader is free to go.
func buffer(r interface {
	Buffered() int
	Peek(int) ([]byte, error)
}) []byte {
	early, _ := r.Peek(r.Buffered())
	return append([]byte(nil), early...)
}

// relay gives the client an answer of the upstream that is no 101, as an answer.
func (g *Gateway) relay(w http.ResponseWriter, a *answered) {
	defer a.conn.Close()
	a.limited.N = maxUpstreamBody
	withoutHops(a.response.Header)
	header := w.Header()
	for name, lines := range a.response.Header {
		header[name] = lines
	}
	// What is cut short must not look whole, and the next request of this client
	// must not be read out of a body.
	header.Set("Connection", "close")
	w.WriteHeader(a.response.StatusCode)
	if _, err := io.Copy(w, a.response.Body); err != nil || a.limited.N <= 0 {
		panic(http.ErrAbortHandler)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return asError(err, &timeout) && timeout.Timeout()
}
