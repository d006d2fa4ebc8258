package redisguard

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/wsticket/wsticket/wstickettest/notickets"
)

// TestMain also serves as the node of TestThreeProcesses, as the gateway of
// TestMeasureCapacity and, told by the environment, breaks a script in one place, see
// TestMutants.
func TestMain(m *testing.M) {
	flag.Parse()
	if url := os.Getenv("WSTICKET_TEST_NODE"); url != "" {
		os.Exit(nodeMain(url))
	}
	if config := os.Getenv("WSTICKET_TEST_GATEWAY"); config != "" {
		if err := capacityMain(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if mutant := os.Getenv("WSTICKET_TEST_MUTANT"); mutant != "" {
		old, replacement, _ := strings.Cut(mutant, "\x1f")
		found := 0
		for _, s := range []*script{&claimScript, &lookScript, &endingsScript} {
			found += strings.Count(s.text, old)
			*s = newScript(strings.Replace(s.text, old, replacement, 1))
		}
		if found == 0 {
			fmt.Println("the mutant's text is not there")
			os.Exit(3)
		}
	}
	// Most tests wait for servers most of the time.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("6")
	}
	notickets.Main(m)
}
