package live

import "time"

// ReadyAt is from when on the registry refuses no fresh ticket for what it cannot
// know: which sessions ended before it began to remember, or while its Bus lost
// endings. That is the time of that, plus twice the leeway and a second, as with
// [wsticket.ReplayCache.ReadyAt]. With a Bus that was not heard yet it lies ahead.
// It moves when the Bus loses endings, so ask anew.
func (r *Registry) ReadyAt() time.Time {
	r.lock()
	defer r.mu.Unlock()
	var at time.Time
	if r.ended.floor > never {
		at = time.Unix(r.ended.floor+2*r.leeway+1, 0)
	}
	if r.config.Bus != nil && r.heard.IsZero() {
		if soon := time.Now().Add(time.Second); soon.After(at) {
			at = soon
		}
	}
	return at
}
