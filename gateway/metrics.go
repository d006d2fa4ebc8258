package gateway

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/prommetrics"
)

// metrics are those of the library, by package prommetrics, and those that only a
// gateway has. All are there from the start, and count on over reloads.
type metrics struct {
	registry                *prometheus.Registry
	handshakes, subrequests *judged
	minted                  *prometheus.CounterVec
	answered                *prometheus.HistogramVec
	reloads                 *prometheus.CounterVec
	badSubrequests          prometheus.Counter
}

// judged is what is counted of one kind of requests. The gates of the library count
// too, but a reload replaces them.
type judged struct {
	wsticket.Counters
	observed *prommetrics.Handshakes
}

// accepted notes a ticket that was let in; its request came when began says.
func (j *judged) accepted(began time.Time, t *wsticket.Ticket) {
	j.Count(nil)
	j.observed.Observe(began, t)
}

// The names of the gates, which are the label gate.
const (
	gateHandshakes  = "handshakes"
	gateSubrequests = "subrequests"
)

// newMetrics shows what there is in g: its single use, its keyring and its registry.
func newMetrics(g *Gateway, keys *wsticket.Keyring) (*metrics, error) {
	m := &metrics{
		registry:    prometheus.NewRegistry(),
		handshakes:  &judged{},
		subrequests: &judged{},
		// As the MintHandler counts, which a reload replaces.
		minted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wsticket_mint_total",
			Help: "Answers of the mint handler: minted, or the HTTP status of a refusal.",
		}, []string{"outcome"}),
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
		badSubrequests: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wsticket_gateway_bad_subrequests_total",
			Help: "Subrequests of a proxy that could not be read: its configuration is wrong, or somebody else asks.",
		}),
	}
	config := prommetrics.Config{
		Gates:       map[string]prommetrics.Gate{gateHandshakes: m.handshakes, gateSubrequests: m.subrequests},
		Keys:        keys,
		Connections: g.registry,
	}
	switch guard := g.guard.(type) {
	case *localGuard:
		config.Replay = guard.ReplayCache
	case *storeGuard:
		config.Store, config.StoreStats = guard.counted, guard.stats
	}
	library, err := prommetrics.New(config)
	if err != nil {
		return nil, err
	}
	for name, j := range map[string]*judged{gateHandshakes: m.handshakes, gateSubrequests: m.subrequests} {
		if j.observed, err = library.Handshakes(name); err != nil {
			return nil, err
		}
	}
	m.minted.WithLabelValues(outcomeMinted)
	for _, status := range []int{401, 403, 405, 429, 500, 503} {
		m.mintRefused(status, 0)
	}
	for _, outcome := range []string{outcomeUpgraded, outcomeAnswered, outcomeFailed, outcomeLeft} {
		m.answered.WithLabelValues(outcome)
	}
	for _, outcome := range []string{outcomeDone, outcomeFailed} {
		m.reloads.WithLabelValues(outcome)
	}
	gauge := func(name, help string, value func() int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	for _, c := range []prometheus.Collector{library, m.minted, m.answered, m.reloads, m.badSubrequests,
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "wsticket_gateway_log_lines_skipped_total", Help: "Lines that a flood kept out of the log."},
			func() float64 { return float64(g.log.skipped.Load()) }),
		gauge("wsticket_gateway_connections", "Connections, handshakes in progress among them.", g.seats.taken.Load),
		gauge("wsticket_gateway_waiting_connections", "Connections that have not shaken hands: slow, idle, or under way.", g.waiting.now.Load),
		gauge("wsticket_gateway_max_connections", "The most connections that are let in.", g.seats.max.Load),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := m.registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

const (
	outcomeUpgraded = "upgraded" // the connection was handed on
	outcomeAnswered = "answered" // by a page, a redirect or a refusal
	outcomeFailed   = "failed"
	outcomeLeft     = "left" // by the client, or its session ended, before there was an answer
	outcomeDone     = "done"
	outcomeMinted   = "minted"
)

// upstream notes one handshake with the upstream.
func (m *metrics) upstream(took time.Duration, a *answered, err error, left bool) {
	outcome := outcomeAnswered
	switch {
	case err != nil && left:
		outcome = outcomeLeft
	case err != nil:
		outcome = outcomeFailed
	case a.upgraded:
		outcome = outcomeUpgraded
	}
	m.answered.WithLabelValues(outcome).Observe(took.Seconds())
}

func (m *metrics) mintRefused(status int, n float64) {
	m.minted.WithLabelValues(strconv.Itoa(status)).Add(n)
}

// countMinted counts the tickets that next gives out.
func (m *metrics) countMinted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &statusNoted{ResponseWriter: w}
		next.ServeHTTP(answer, r)
		if answer.status == http.StatusOK {
			m.minted.WithLabelValues(outcomeMinted).Inc()
		}
	})
}

type statusNoted struct {
	http.ResponseWriter
	status int
}

// Unwrap is for http.ResponseController, which finds the Hijacker by it.
func (s *statusNoted) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *statusNoted) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusNoted) Write(b []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
