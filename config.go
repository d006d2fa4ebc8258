package wsticket

import (
	"errors"
	"fmt"
	"time"
)

// The defaults of the ticket format. A zero duration in a configuration means
// the default.
const (
	DefaultTTL    = 10 * time.Second
	DefaultMaxTTL = 60 * time.Second
	DefaultLeeway = 2 * time.Second

	// NoLeeway configures a leeway of nothing: clocks must agree to the second.
	NoLeeway time.Duration = -1

	// MaxTicketLen is the longest ticket in bytes. A verifier may lower it.
	MaxTicketLen = 2048
)

const (
	longestTTL    = time.Hour
	longestLeeway = 5 * time.Minute
)

// faults collects what is wrong with a configuration, so that all of it is
// reported at once.
type faults []error

func (f *faults) addf(format string, args ...any) {
	*f = append(*f, fmt.Errorf(format, args...))
}

// err returns all faults under the name of what was to be configured, or nil.
func (f faults) err(what string) error {
	if len(f) == 0 {
		return nil
	}
	return fmt.Errorf("wsticket: %s: %w", what, errors.Join(f...))
}

// seconds reads a configured duration: whole seconds between low and high, zero
// standing for fallback.
func (f *faults) seconds(field string, d, fallback, low, high time.Duration) int64 {
	switch {
	case d == 0:
		d = fallback
	case d < low || d > high:
		f.addf("%s is %v; give %v to %v", field, d, low, high)
	case d%time.Second != 0:
		f.addf("%s is %v; give whole seconds", field, d)
	}
	return int64(d / time.Second)
}

// leeway reads a configured leeway, NoLeeway standing for none.
func (f *faults) leeway(d time.Duration) int64 {
	if d == NoLeeway {
		return 0
	}
	return f.seconds("Leeway", d, DefaultLeeway, time.Second, longestLeeway)
}

func (f *faults) maxTTL(d time.Duration) int64 {
	return f.seconds("MaxTTL", d, DefaultMaxTTL, time.Second, longestTTL)
}
