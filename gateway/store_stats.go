package gateway

import (
	"github.com/wsticket/wsticket/etcdguard"
	"github.com/wsticket/wsticket/prommetrics"
	"github.com/wsticket/wsticket/redisguard"
)

// storeStats are what a *redisguard.Guard knows of its store.
func storeStats(guard *redisguard.Guard) func() prommetrics.StoreStats {
	return func() prommetrics.StoreStats {
		s := guard.Stats()
		return prommetrics.StoreStats{
			Refused: map[string]uint64{"timeout": s.Timeout, "gone": s.Gone, "unavailable": s.Unavailable,
				"skew": s.Skew, "evicting": s.Evicting, "out_of_reach": s.OutOfReach},
			Moved: s.Moved, Evicted: s.Evicted, Retries: s.Retries, Batches: s.Batches, Pending: s.Pending,
			Since: s.Since, Answered: s.Answered,
		}
	}
}

// etcdStats are what an *etcdguard.Guard knows of its store.
func etcdStats(guard *etcdguard.Guard) func() prommetrics.StoreStats {
	return func() prommetrics.StoreStats {
		s := guard.Stats()
		return prommetrics.StoreStats{
			Refused: map[string]uint64{"timeout": s.Timeout, "gone": s.Gone, "unavailable": s.Unavailable, "late": s.Late},
			Moved:   s.Moved, Retries: s.Retries, Batches: s.Batches, Pending: s.Pending,
			Since: s.Since, Answered: s.LastBeat,
		}
	}
}
