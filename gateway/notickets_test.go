package gateway

import (
	"flag"
	"testing"

	"github.com/wsticket/wsticket/wstickettest/notickets"
)

// TestMain lets more tests run at once than there are processors: most of them wait for
// another process, or for a time limit.
func TestMain(m *testing.M) {
	flag.Set("test.parallel", "6")
	notickets.Main(m)
}
