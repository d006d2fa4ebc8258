package live

import (
	"errors"
	"fmt"
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
