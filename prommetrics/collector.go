// Package prommetrics shows Prometheus what wsticket counts: a [Collector] over the
// gates, the mint handler, single use, the keyring and the live connections of one
// process.
//
//	store, err := prommetrics.NewGuard(guard) // where single use asks a store
//	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: store})
//	gate, err := wsticket.NewGate(wsticket.GateConfig{Verifier: verifier})
//	metrics, err := prommetrics.New(prommetrics.Config{
//		Gates: map[string]prommetrics.Gate{"web": gate}, Keys: keys, Store: store, Connections: connections})
//	prometheus.MustRegister(metrics)
//
// Every series of what is configured is there from the start, at 0. No label holds a
// subject, an address or a path; there are as many series as there are gates, codes and
// keys. docs/metrics.md lists them, with alert rules and a dashboard.
package prommetrics

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

// A Gate counts verdicts: a *wsticket.Upgrader, a *wsticket.Gate, *wsticket.Hooks, or
// the wsticket.Counters of who calls a Verifier by hand.
type Gate interface{ Stats() wsticket.Stats }

// A Config names what there is to show. What is nil is not shown.
type Config struct {
	// Gates by name, which is the label gate.
	Gates map[string]Gate

	Mint        *wsticket.MintHandler
	Replay      *wsticket.ReplayCache
	Store       *Guard
	Keys        *wsticket.Keyring
	Connections *live.Registry

	// StoreStats returns what the guard of a store knows of it.
	StoreStats func() StoreStats
}

// A Collector is a prometheus.Collector. It is safe for concurrent use. Collecting asks
// everything for its figures and holds no lock for longer than a handshake does.
type Collector struct {
	config  Config
	names   []string // of the gates
	reasons []string // of StoreStats
	took    *prometheus.HistogramVec
	age     *prometheus.HistogramVec

	mu          sync.Mutex
	fingerprint string
	printed     time.Time // the LoadedAt that fingerprint is of
	printing    bool
}

var _ prometheus.Collector = (*Collector)(nil)

var (
	verdicts = desc("verdicts_total", "Handshakes and requests judged, by gate and code; accepted is one.", "gate", "code")
	minted   = desc("mint_total", "Answers of the mint handler: minted, or the HTTP status of a refusal.", "outcome")

	replayLive     = desc("replay_live_tickets", "Tickets that the single-use cache holds in the slots that are open.")
	replayOverflow = desc("replay_overflow_ratio", "Of the live tickets those in a Bloom filter, 0 to 1. Above 0.14 raise PeakPerSecond.")
	replayBytes    = desc("replay_memory_bytes", "Memory of the single-use cache that has been used.")
	replayReady    = desc("replay_ready", "1 when the single-use cache refuses no fresh ticket for having just started, else 0.")

	keysLoaded      = desc("keyring_last_load_timestamp_seconds", "When the keys in force were put in force.")
	keysChecked     = desc("keyring_last_check_timestamp_seconds", "When the keys in force were last found up to date.")
	keysFailures    = desc("keyring_load_failures_total", "Attempts to load the keyring that failed.")
	keysFingerprint = desc("keyring_fingerprint_info", "1, for the fingerprint of the keyring in force. Nodes with the same keys show the same.", "fingerprint")
	keyNotAfter     = desc("key_not_after_timestamp_seconds", "When a key ends; +Inf for one without an end.", "kid")

	connections = desc("live_connections", "Live connections.")
	ended       = desc("sessions_ended_total", "Connections that were ended, by cause.", "cause")
	refused     = desc("live_refused_total", "Tickets that the registry of live connections refused, by reason.", "reason")
	missed      = desc("live_bus_missed_total", "Times that the bus lost endings of sessions.")
	heard       = desc("live_bus_heard_timestamp_seconds", "As of when the bus had told which sessions ended; 0 for never.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("wsticket_"+name, help, labels, nil)
}

// New checks the configuration and reports all its faults at once.
func New(config Config) (*Collector, error) {
	c := &Collector{config: config, took: histogram("handshake_duration_seconds", "How long handshakes took, from their first byte to the answer, by gate and verdict.", []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}, "gate", "verdict"),
		age: histogram("ticket_age_seconds", "How old tickets were when they were accepted, by gate; below 0 where clocks disagree.", []float64{-1, 0, 1, 2, 3, 5, 8, 10, 15, 30, 60}, "gate")}
	var faults []error
	c.config.Gates = maps.Clone(config.Gates)
	for name, gate := range config.Gates {
		c.names = append(c.names, name)
		if name == "" || len(name) > 64 || !utf8.ValidString(name) {
			faults = append(faults, fmt.Errorf("the gate's name %q is no label; give 1 to 64 bytes of UTF-8", name))
		}
		if isNil(gate) {
			faults = append(faults, fmt.Errorf("gate %q is nil; give an Upgrader, a Gate, Hooks or Counters", name))
		}
	}
	if config.StoreStats != nil {
		s := config.StoreStats()
		faults = append(faults, s.faults()...)
		c.reasons = slices.Sorted(maps.Keys(s.Refused))
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("prommetrics: %w", errors.Join(faults...))
	}
	slices.Sort(c.names)
	for _, name := range c.names {
		c.took.WithLabelValues(name, accepted)
		c.took.WithLabelValues(name, refusedVerdict)
		c.age.WithLabelValues(name)
	}
	if config.Keys != nil {
		c.printed = config.Keys.Health().LoadedAt
		c.fingerprint, _ = config.Keys.Fingerprint() // may take a while, the first time
	}
	return c, nil
}

// isNil says whether there is nothing in an interface, or a nil pointer.
func isNil(v any) bool {
	r := reflect.ValueOf(v)
	return !r.IsValid() || r.Kind() == reflect.Pointer && r.IsNil()
}

const (
	accepted       = "accepted"
	refusedVerdict = "refused"
)

func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "wsticket_" + name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
	}, labels)
}

// Describe says what Collect will bring.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect brings the figures of now.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType) func(*prometheus.Desc, float64, ...string) {
		return func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
		}
	}
	counter, gauge := send(prometheus.CounterValue), send(prometheus.GaugeValue)
	for _, name := range c.names {
		for code, n := range c.config.Gates[name].Stats().Map() {
			counter(verdicts, float64(n), name, code)
		}
	}
	if len(c.names) > 0 {
		c.took.Collect(ch)
		c.age.Collect(ch)
	}
	if c.config.Mint != nil {
		for outcome, n := range c.config.Mint.Stats().Map() {
			counter(minted, float64(n), outcome)
		}
	}
	if c.config.Replay != nil {
		s := c.config.Replay.Stats()
		gauge(replayLive, float64(s.Live))
		gauge(replayOverflow, s.OverflowShare())
		gauge(replayBytes, float64(s.BytesUsed))
		ready := 0.0
		if !time.Now().Before(c.config.Replay.ReadyAt()) {
			ready = 1
		}
		gauge(replayReady, ready)
	}
	if c.config.Store != nil {
		c.config.Store.claims.Collect(ch)
		c.config.Store.took.Collect(ch)
	}
	if c.config.StoreStats != nil {
		c.collectStore(counter, gauge)
	}
	if c.config.Keys != nil {
		c.collectKeys(counter, gauge)
	}
	if c.config.Connections != nil {
		s := c.config.Connections.Stats()
		gauge(connections, float64(s.Connections))
		for _, cause := range live.Causes() {
			counter(ended, float64(s.Ended(cause)), cause.String())
		}
		r := s.Refused
		for reason, n := range map[string]uint64{"ended": r.Ended, "expired": r.Expired, "forgotten": r.Forgotten, "limit": r.Limit, "unheard": r.Unheard, "shutdown": r.Shutdown} {
			counter(refused, float64(n), reason)
		}
		counter(missed, float64(s.Missed))
		gauge(heard, unixOf(s.Heard))
	}
}

func (c *Collector) collectKeys(counter, gauge func(*prometheus.Desc, float64, ...string)) {
	health := c.config.Keys.Health()
	gauge(keysLoaded, unixOf(health.LoadedAt))
	gauge(keysChecked, unixOf(health.CheckedAt))
	counter(keysFailures, float64(health.Failures))
	gauge(keysFingerprint, 1, c.print(health.LoadedAt))
	for _, key := range c.config.Keys.Keys() {
		end := infinity
		if !key.Expires.IsZero() {
			end = unixOf(key.Expires)
		}
		gauge(keyNotAfter, end, key.ID)
	}
}

// print returns the fingerprint of the keys in force. That of new keys takes longer
// than anybody wants to wait for a page, so until it is there the last one is shown.
func (c *Collector) print(loaded time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !loaded.Equal(c.printed) && !c.printing {
		c.printing = true
		go func() {
			fingerprint, _ := c.config.Keys.Fingerprint()
			c.mu.Lock()
			defer c.mu.Unlock()
			c.fingerprint, c.printed, c.printing = fingerprint, loaded, false
		}()
	}
	return c.fingerprint
}
