// Package bench measures wsticket beside what people use instead, on one machine in one
// run, and writes a report. The program is cmd/wsticket-bench.
package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Report is what one run found out. report.json holds it, with every single result.
type Report struct {
	Machine  Machine
	Sections []Section
}

// A Machine is where a report comes from.
type Machine struct {
	Processor string
	SHA       bool // it has SHA instructions
	Cores     int
	System    string
	Go        string
	Date      string
	Quick     bool
}

// A Section answers one question with a table and a chart.
type Section struct {
	ID      string // the name of its chart, and of wsticket-bench -only
	Title   string
	Asks    string // the question
	Columns []Column
	Rows    []Row
	Chart   int // the column that is drawn
	Notes   []string
}

// A Column is one thing that is measured.
type Column struct {
	Name   string
	Digits int // behind the point
	Better int // +1: more is better, -1: less is, 0: neither
}

// A Row is one thing that was measured.
type Row struct {
	Name   string
	Ours   bool
	Source string      // the file and function that sets it up
	Floor  bool        // no contender: what the rest stands on
	Runs   [][]float64 // of each column, what each run gave; none where it was not measured
}

// Value is the median of a column, NaN where there is none.
func (r *Row) Value(column int) float64 {
	if column >= len(r.Runs) || len(r.Runs[column]) == 0 {
		return math.NaN()
	}
	return median(r.Runs[column])
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// add notes one run.
func (r *Row) add(values ...float64) {
	for len(r.Runs) < len(values) {
		r.Runs = append(r.Runs, []float64{})
	}
	for i, v := range values {
		if !math.IsNaN(v) {
			r.Runs[i] = append(r.Runs[i], v)
		}
	}
}

// thisMachine says where it runs.
func thisMachine() Machine {
	m := Machine{Processor: runtime.GOARCH, Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), Date: time.Now().Format(time.DateOnly)}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(text), "model name\t: "); ok {
			m.Processor, _, _ = strings.Cut(rest, "\n")
		}
		m.SHA = strings.Contains(string(text), " sha_ni") || strings.Contains(string(text), " sha2")
	}
	return m
}

// Write puts report.md, report.json and a chart a section into a folder.
func (r *Report) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	errs := []error{
		os.WriteFile(filepath.Join(dir, "report.json"), append(raw, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "report.md"), []byte(r.Markdown()), 0o644),
	}
	for i := range r.Sections {
		s := &r.Sections[i]
		errs = append(errs, os.WriteFile(filepath.Join(dir, s.ID+".svg"), []byte(s.chart()), 0o644))
	}
	return errors.Join(errs...)
}

// Read reads a report.json.
func Read(path string) (*Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(Report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Markdown is report.md.
func (r *Report) Markdown() string {
	var b strings.Builder
	m := &r.Machine
	with := "with"
	if !m.SHA {
		with = "without"
	}
	fmt.Fprintf(&b, "# wsticket beside the others\n\n%s, %s SHA instructions, %d cores, %s, %s, %s. Server and client share the cores. Every figure is the median of its runs, all of which are in [report.json](report.json).\n",
		m.Processor, with, m.Cores, m.System, m.Go, m.Date)
	if m.Quick {
		b.WriteString("\n**A quick run:** good for a first look, too short for a claim.\n")
	}
	b.WriteString("\nRun it yourself, from the root of the repository:\n\n    go run ./bench/cmd/wsticket-bench\n")
	if lost := r.lost(); len(lost) > 0 {
		b.WriteString("\n## Where we lose\n\n| | best of ours | better | |\n|---|---:|---:|---|\n")
		for _, l := range lost {
			fmt.Fprintf(&b, "| %s: %s | %s | %s | %s |\n", l.section, l.column.Name, l.column.format(l.ours), l.column.format(l.theirs), l.name)
		}
	}
	for i := range r.Sections {
		b.WriteString("\n" + r.Sections[i].markdown())
	}
	return b.String()
}

func (s *Section) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n\n![%s](%s.svg)\n\n%s", s.Title, s.Asks, s.Title, s.ID, s.Table())
	for _, note := range s.Notes {
		fmt.Fprintf(&b, "\n%s\n", note)
	}
	fmt.Fprintf(&b, "\n    go run ./bench/cmd/wsticket-bench -only %s\n", s.ID)
	return b.String()
}

// Table is the section's table in Markdown. A name links to what sets it up.
func (s *Section) Table() string {
	var b strings.Builder
	b.WriteString("| |")
	for _, c := range s.Columns {
		b.WriteString(" " + c.Name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(s.Columns)) + "\n")
	for i := range s.Rows {
		row := &s.Rows[i]
		name := row.Name
		if row.Ours {
			name = "**" + name + "**"
		}
		if row.Source != "" {
			name += " [↗](" + row.Source + ")"
		}
		b.WriteString("| " + name + " |")
		for c := range s.Columns {
			b.WriteString(" " + s.Columns[c].format(row.Value(c)) + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (c *Column) format(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	text := strconv.FormatFloat(v, 'f', c.Digits, 64)
	whole, rest, _ := strings.Cut(text, ".")
	for at := len(whole) - 3; at > 0 && whole[at-1] != '-'; at -= 3 {
		whole = whole[:at] + "," + whole[at:]
	}
	if rest != "" {
		whole += "." + rest
	}
	return whole
}

// A loss is a column in which somebody else is better than the best of ours.
type loss struct {
	section      string
	column       Column
	ours, theirs float64
	name         string
}

func (r *Report) lost() (all []loss) {
	for i := range r.Sections {
		s := &r.Sections[i]
		for c, column := range s.Columns {
			if column.Better == 0 {
				continue
			}
			best := func(ours bool) (value float64, name string) {
				value = math.NaN()
				for j := range s.Rows {
					row := &s.Rows[j]
					v := row.Value(c)
					if row.Floor || row.Ours != ours || math.IsNaN(v) {
						continue
					}
					if math.IsNaN(value) || float64(column.Better)*(v-value) > 0 {
						value, name = v, row.Name
					}
				}
				return value, name
			}
			ours, _ := best(true)
			theirs, name := best(false)
			if !math.IsNaN(ours) && float64(column.Better)*(theirs-ours) > 0 {
				all = append(all, loss{s.Title, column, ours, theirs, name})
			}
		}
	}
	return all
}

// Summary is what README.md shows of a report: what a check, a handshake and single use
// cost, and who lets a ticket in twice.
func (r *Report) Summary() string {
	var b strings.Builder
	for _, pick := range []struct {
		id      string
		columns []int
	}{{"checks", []int{0, 1, 2}}, {"handshakes", []int{0, 1, 4}}} {
		for i := range r.Sections {
			if s := &r.Sections[i]; s.ID == pick.id {
				short := Section{}
				for _, c := range pick.columns {
					short.Columns = append(short.Columns, s.Columns[c])
				}
				for _, row := range s.Rows {
					runs := [][]float64{}
					for _, c := range pick.columns {
						runs = append(runs, row.Runs[c])
					}
					short.Rows = append(short.Rows, Row{Name: row.Name, Ours: row.Ours, Runs: runs})
				}
				fmt.Fprintf(&b, "%s:\n\n%s\n", s.Title, short.Table())
			}
		}
	}
	m := &r.Machine
	with := map[bool]string{true: "with", false: "without"}[m.SHA]
	fmt.Fprintf(&b, "%s, %s SHA instructions, %d cores that client and server share, %s, %s.\n", m.Processor, with, m.Cores, m.Go, m.Date)
	return b.String()
}
