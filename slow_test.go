package wsticket

import "os"

// slow says whether tests may take their time: WSTICKET_SLOW=1. Each that asks has a
// small form that always runs.
func slow() bool { return os.Getenv("WSTICKET_SLOW") != "" }
