package prommetrics

import (
	"fmt"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// StoreStats are what a guard knows of its store, beside the claims that [Guard]
// counts. Of redisguard and etcdguard they are their Stats: this module imports neither,
// so that who uses one does not get the client of the other, and the copying is a few
// lines of yours; docs/metrics.md has them.
type StoreStats struct {
	// Refused counts refusals by reason, such as "timeout". The reasons are always the
	// same ones: each is a series.
	Refused map[string]uint64

	Moved   uint64 // times that the store was found to have lost claims
	Evicted uint64 // keys that the store evicted
	Retries uint64 // attempts that were made again
	Batches uint64 // calls that carried claims
	Pending int    // claims that wait for the store now

	Since    time.Time // when the store began to remember
	Answered time.Time // when it last answered
}

var (
	storeRefused  = desc("store_refused_total", "Tickets that the guard of the store refused, by reason.", "reason")
	storeMoved    = desc("store_moved_total", "Times that the store was found to have lost claims.")
	storeEvicted  = desc("store_evicted_total", "Keys that the store evicted.")
	storeRetries  = desc("store_retries_total", "Attempts at the store that were made again.")
	storeBatches  = desc("store_batches_total", "Calls of the store that carried claims.")
	storePending  = desc("store_pending_claims", "Claims that wait for the store.")
	storeSince    = desc("store_since_timestamp_seconds", "As of when the store remembers claims; 0 for not known.")
	storeAnswered = desc("store_answered_timestamp_seconds", "When the store last answered; 0 for never.")
)

var reasonName = regexp.MustCompile(`^[a-z][a-z_]{0,31}$`)

const maxReasons = 32

// faults finds fault with what cannot be labels.
func (s StoreStats) faults() (faults []error) {
	if len(s.Refused) > maxReasons {
		faults = append(faults, fmt.Errorf("StoreStats has %d reasons; give at most %d", len(s.Refused), maxReasons))
	}
	for reason := range s.Refused {
		if !reasonName.MatchString(reason) {
			faults = append(faults, fmt.Errorf("StoreStats has the reason %q; give 1 to 32 letters a to z and _", reason))
		}
	}
	return faults
}

func (c *Collector) collectStore(send func(*prometheus.Desc, float64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	s := c.config.StoreStats()
	for _, reason := range c.reasons {
		send(storeRefused, float64(s.Refused[reason]), reason)
	}
	send(storeMoved, float64(s.Moved))
	send(storeEvicted, float64(s.Evicted))
	send(storeRetries, float64(s.Retries))
	send(storeBatches, float64(s.Batches))
	gauge(storePending, float64(s.Pending))
	gauge(storeSince, unixOf(s.Since))
	gauge(storeAnswered, unixOf(s.Answered))
}
