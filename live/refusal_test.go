package live

import (
	"fmt"
	"testing"

	"github.com/wsticket/wsticket"
)

// TestReasons: a log of refusals says what the registry has said, and not what the code
// means where no registry is asked.
func TestReasons(t *testing.T) {
	for _, err := range append(refusals[:], errAnother) {
		for _, err := range []error{err, fmt.Errorf("room 7: %w", err)} {
			if got := wsticket.ReasonOf(err); got == "" || "live: "+got != refusalIn(err).Error() {
				t.Errorf("%v: %q", err, got)
			}
		}
	}
}

func refusalIn(err error) error {
	for {
		if r, ok := err.(*refusal); ok {
			return r
		}
		err = err.(interface{ Unwrap() error }).Unwrap()
	}
}
