package prommetrics

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wsticket/wsticket"
)

// A Guard is a wsticket.ReplayGuard that counts and times the claims of another one: of
// redisguard, of etcdguard, or your own.
type Guard struct {
	guard  wsticket.ReplayGuard
	claims *prometheus.CounterVec
	took   prometheus.Histogram
}

var _ wsticket.ReplayGuard = (*Guard)(nil)

// The outcomes of a claim.
const (
	outcomeReplayed    = "replayed"
	outcomeEarly       = "issued_before_start"
	outcomeUnavailable = "unavailable"
)

// NewGuard returns a guard that does what guard does. It fails for none.
func NewGuard(guard wsticket.ReplayGuard) (*Guard, error) {
	if isNil(guard) {
		return nil, errors.New("prommetrics: the guard is nil; give the one that is to be counted")
	}
	g := &Guard{
		guard:  guard,
		claims: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wsticket_store_claims_total", Help: "Claims of single use put to the store, by outcome."}, []string{"outcome"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wsticket_store_duration_seconds", Help: "How long the store took for a claim.",
			Buckets:                     []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour}),
	}
	for _, outcome := range []string{accepted, outcomeReplayed, outcomeEarly, outcomeUnavailable} {
		g.claims.WithLabelValues(outcome)
	}
	return g, nil
}

// Spend is that of the guard.
func (g *Guard) Spend(ctx context.Context, use wsticket.Use) error {
	began := time.Now()
	err := g.guard.Spend(ctx, use)
	g.took.Observe(time.Since(began).Seconds())
	outcome := accepted
	if err != nil {
		outcome = outcomeUnavailable
		switch code, _ := wsticket.CodeOf(err); code {
		case wsticket.ErrReplayed:
			outcome = outcomeReplayed
		case wsticket.ErrIssuedBeforeStart:
			outcome = outcomeEarly
		}
	}
	g.claims.WithLabelValues(outcome).Inc()
	return err
}

// Covers is that of the guard.
func (g *Guard) Covers() (maxTTL, leeway time.Duration) { return g.guard.Covers() }

// ReadyAt is that of the guard, for UpgraderConfig.HealthPath; the zero Time where it has
// none.
func (g *Guard) ReadyAt() time.Time {
	if guard, ok := g.guard.(interface{ ReadyAt() time.Time }); ok {
		return guard.ReadyAt()
	}
	return time.Time{}
}
