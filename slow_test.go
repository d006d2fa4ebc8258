package wsticket

import (
	"os"
	"testing"
)

// slow says whether tests may take their time.
func slow() bool { return os.Getenv("WSTICKET_SLOW") != "" }

// skipUnlessSlow is for tests that take long and have a small sibling that always runs.
func skipUnlessSlow(t testing.TB) {
	t.Helper()
	if !slow() {
		t.Skip("takes long; set WSTICKET_SLOW=1 to run it")
	}
}
