package live

import (
	"errors"
	"fmt"
	"time"
)

// faults collects what is wrong, so that all of it is reported at once.
type faults []error

func (f *faults) addf(format string, args ...any) {
	*f = append(*f, fmt.Errorf(format, args...))
}

// err returns all faults under the name of what they are of, or nil.
func (f faults) err(what string) error {
	if len(f) == 0 {
		return nil
	}
	return fmt.Errorf("live: %s: %w", what, errors.Join(f...))
}

// seconds reads a configured duration: whole seconds from one up to high, zero
// standing for fallback.
func (f *faults) seconds(field string, d, fallback, high time.Duration) int64 {
	switch {
	case d == 0:
		d = fallback
	case d < time.Second || d > high:
		f.addf("%s is %v; give 1s to %v", field, d, high)
	case d%time.Second != 0:
		f.addf("%s is %v; give whole seconds", field, d)
	}
	return int64(d / time.Second)
}

func (f *faults) bound(field string, n int) {
	if n < 0 {
		f.addf("%s is %d; give a positive number, or 0 for no bound", field, n)
	}
}
