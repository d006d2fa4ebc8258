package live

import (
	"fmt"
	"os"
	"strings"
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

// TestDocs: docs/troubleshooting.md has what the log says of each, in a row of its code.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Of sessions that end\n")
	section, _, _ = strings.Cut(section, "\n## ")
	code := ""
	for _, err := range refusals {
		text, _, _ := strings.Cut(err.(*refusal).text, ";")
		found := false
		for row := range strings.Lines(section) {
			if cells := strings.Split(row, "|"); len(cells) > 2 {
				if c := strings.Trim(cells[1], " `"); c != "" {
					code = c
				}
				found = found || code == err.(*refusal).code.Code() && strings.Contains(cells[2], "`"+text+"`")
			}
		}
		if !found {
			t.Errorf("no row of %v says %q", err.(*refusal).code.Code(), text)
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
