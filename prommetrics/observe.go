package prommetrics

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wsticket/wsticket"
)

var infinity = math.Inf(1)

// unixOf is a time in seconds since 1970, 0 for the zero time.
func unixOf(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// Handshakes observes the handshakes of one gate: how long they take, and how old
// tickets are. It is safe for concurrent use and does not allocate.
type Handshakes struct{ accepted, refused, age prometheus.Observer }

// Handshakes returns what observes a gate of the configuration.
func (c *Collector) Handshakes(gate string) (*Handshakes, error) {
	if c.config.Gates[gate] == nil {
		return nil, fmt.Errorf("prommetrics: there is no gate %q; name it in Config.Gates", gate)
	}
	return &Handshakes{c.took.WithLabelValues(gate, accepted), c.took.WithLabelValues(gate, refusedVerdict), c.age.WithLabelValues(gate)}, nil
}

// Observe notes a handshake that began some time ago: accepted with a ticket, or
// refused, with nil.
func (h *Handshakes) Observe(began time.Time, ticket *wsticket.Ticket) {
	now := time.Now()
	if ticket == nil {
		h.refused.Observe(now.Sub(began).Seconds())
		return
	}
	h.accepted.Observe(now.Sub(began).Seconds())
	h.age.Observe(float64(now.Unix() - ticket.IssuedAt().Unix()))
}

// Upgrade is up.Upgrade, observed. Connections that ended before anything was refused
// are not.
func (h *Handshakes) Upgrade(ctx context.Context, up *wsticket.Upgrader, conn net.Conn, hs *wsticket.Handshake) error {
	began := time.Now()
	err := up.Upgrade(ctx, conn, hs)
	if err == nil {
		h.Observe(began, &hs.Ticket)
	} else if _, ok := wsticket.CodeOf(err); ok {
		h.Observe(began, nil)
	}
	return err
}

// Wrap is gate.Wrap(next), observed up to the call of next.
func (h *Handshakes) Wrap(gate *wsticket.Gate, next http.Handler) http.Handler {
	inner := gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if began, ok := r.Context().Value(beganKey{}).(*time.Time); ok {
			ticket, _ := wsticket.TicketFrom(r.Context())
			h.Observe(*began, ticket)
			*began = time.Time{}
		}
		next.ServeHTTP(w, r)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		inner.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), beganKey{}, &began)))
		if !began.IsZero() { // next was not called
			h.Observe(began, nil)
		}
	})
}

type beganKey struct{}
