package gateway

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/prommetrics"
)

// metrics are those that only a gateway has, beside those of the library.
type metrics struct {
	registry   *prometheus.Registry
	answered   *prometheus.HistogramVec
	reloads    *prometheus.CounterVec
	subrequest prometheus.Counter
}

func newMetrics(g *Gateway) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		answered: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                            "wsticket_gateway_upstream_duration_seconds",
			Help:                            "How long the upstream took to answer a handshake, by what came of it.",
			Buckets:                         []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"outcome"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wsticket_gateway_reloads_total",
			Help: "Reloads of the configuration, by what came of them.",
		}, []string{"outcome"}),
		subrequest: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wsticket_gateway_bad_subrequests_total",
			Help: "Subrequests of a proxy that could not be read: its configuration is wrong, or somebody else asks.",
		}),
	}
	for _, outcome := range []string{outcomeAnswered, outcomeFailed} {
		m.answered.WithLabelValues(outcome)
	}
	for _, outcome := range []string{outcomeDone, outcomeFailed} {
		m.reloads.WithLabelValues(outcome)
	}
	m.registry.MustRegister(m.answered, m.reloads, m.subrequest,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wsticket_gateway_connections", Help: "Connections, handshakes in progress among them."},
			func() float64 { return float64(g.seats.taken.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wsticket_gateway_max_connections", Help: "The most connections that are let in."},
			func() float64 { return float64(g.seats.max.Load()) }))
	return m
}

// library adds what the library counts, of what lives as long as the gateway does.
func (m *metrics) library(g *Gateway) error {
	config := prommetrics.Config{
		Gates:       map[string]prommetrics.Gate{"connect": gateStats(func() *wsticket.Gate { return g.state.Load().gate })},
		Connections: g.registry,
	}
	if s, ok := g.guard.(*storeGuard); ok {
		config.StoreStats = s.stats
	}
	collector, err := prommetrics.New(config)
	if err != nil {
		return err
	}
	return m.registry.Register(collector)
}

// gateStats are those of the gate in force. A reload makes a new one, whose counters
// begin at 0.
type gateStats func() *wsticket.Gate

func (gate gateStats) Stats() wsticket.Stats { return gate().Stats() }

const (
	outcomeAnswered = "answered"
	outcomeFailed   = "failed"
	outcomeDone     = "done"
)

// upstream notes one handshake with the upstream.
func (m *metrics) upstream(took time.Duration, err error) {
	outcome := outcomeAnswered
	if err != nil {
		outcome = outcomeFailed
	}
	m.answered.WithLabelValues(outcome).Observe(took.Seconds())
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
