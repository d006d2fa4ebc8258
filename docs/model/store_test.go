package model

import (
	"os"
	"testing"
)

// The model of the claims on a store has no double accept, and gets one with each rule
// that is taken out.
func TestStore(t *testing.T) {
	for define, fault := range map[string]bool{
		"FAULTS=2":                  false,
		"NO_EPOCH":                  true,
		"NO_HISTORY":                true,
		"NO_NEAR":                   true,
		"NO_CLOCK":                  true,
		"SINCE_SHORT":               true,
		"PX_SHORT":                  true,
		"SPLIT":                     true,
		"ONE_VALUE":                 true,
		"ON_REPLICA":                true,
		"PARTITION":                 true, // the limit
		"PARTITION_WAIT":            false,
		"PARTITION_WAIT_NO_REWRITE": true,
		// No faults, but what the model can do.
		"ACCEPTS":            true,
		"ACCEPTS_AFTER_LOSS": true,
	} {
		t.Run(define, func(t *testing.T) {
			if os.Getenv("WSTICKET_SLOW") == "" {
				t.Skip("takes long; set WSTICKET_SLOW=1 to run it")
			}
			t.Parallel()
			if errors, states := searched(t, "store.pml", "-D"+define); (errors > 0) != fault {
				t.Errorf("%d errors in %d states; a fault is expected: %v", errors, states, fault)
			} else if !fault && states < 100000 {
				t.Errorf("only %d states: the search was cut short", states)
			}
		})
	}
}
