package bench

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Options say what a run does.
type Options struct {
	Quick    bool     // within two minutes, instead of ten
	Only     []string // the sections by their ID; none for all
	Progress io.Writer
}

// A run is one under way.
type run struct {
	context.Context
	Options
	began time.Time
}

// sections in the order of the report.
var sections = []struct {
	id      string
	measure func(*run) (*Section, error)
}{
	{"checks", checks},
	{"inmemory", inMemory},
	{"handshakes", handshakes},
	{"tls", handshakesTLS},
	{"once", once},
	{"cores", cores},
	{"mint", mints},
	{"memory", memory},
	{"gateway", gatewayBesideNginx},
}

// IDs are the names of the sections.
func IDs() (all []string) {
	for _, s := range sections {
		all = append(all, s.id)
	}
	return all
}

// Run measures. It tells its progress a line at a time. Load stays on loopback and ends
// by itself.
func Run(ctx context.Context, o Options) (*Report, error) {
	for _, id := range o.Only {
		if !slices.Contains(IDs(), id) {
			return nil, fmt.Errorf("there is no section %q; give some of %s", id, strings.Join(IDs(), ", "))
		}
	}
	r := &run{Context: ctx, Options: o, began: time.Now()}
	report := &Report{Machine: thisMachine()}
	report.Machine.Quick = o.Quick
	for i, s := range sections {
		if len(o.Only) > 0 && !slices.Contains(o.Only, s.id) {
			continue
		}
		r.say("section %d of %d: %s", i+1, len(sections), s.id)
		section, err := s.measure(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.id, err)
		}
		section.ID = s.id
		report.Sections = append(report.Sections, *section)
	}
	r.say("done")
	return report, nil
}

func (r *run) say(format string, args ...any) {
	if r.Progress != nil {
		fmt.Fprintf(r.Progress, "%4ds  %s\n", int(time.Since(r.began).Seconds()), fmt.Sprintf(format, args...))
	}
}

// pick is a for a quick run and b for a whole one.
func pick[T any](r *run, a, b T) T {
	if r.Quick {
		return a
	}
	return b
}
