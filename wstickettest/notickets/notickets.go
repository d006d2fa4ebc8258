// Package notickets makes a test binary fail that prints a ticket: to standard output
// or standard error, by a log, an error text or a panic, itself or by a program that it
// started. Every package of wsticket is tested so; give your own the same:
//
//	func TestMain(m *testing.M) { notickets.Main(m) }
//
// What goes elsewhere, as the log of a server that a test reads from a file, is for
// [Check]. It needs nothing but the standard library.
package notickets

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A ticket is three parts of base64url, of which the first is a header that says so.
var shape = regexp.MustCompile(`[A-Za-z0-9_-]{32,}\.[A-Za-z0-9_-]{32,}\.[A-Za-z0-9_-]{43,}`)

const (
	ticketType = "ws-ticket+jwt"
	// longestTicket bounds where the header of a ticket is looked for.
	longestTicket = 4096
)

// Find returns the places of tickets in a text, as pairs of offsets: good ones, used
// ones, and those of which only the MAC is wrong.
func Find(text []byte) (places [][]int) {
	for _, at := range shape.FindAllIndex(text, -1) {
		encoded, _, _ := bytes.Cut(text[at[0]:at[1]], []byte{'.'})
		if more := len(encoded) - longestTicket; more > 0 {
			at[0] += more
			encoded = encoded[more:]
		}
		// What stands before a ticket may look like the beginning of its header.
		for start := range encoded {
			var header struct {
				Type string `json:"typ"`
			}
			decoded, err := base64.RawURLEncoding.DecodeString(string(encoded[start:]))
			if err == nil && json.Unmarshal(decoded, &header) == nil && header.Type == ticketType {
				places = append(places, []int{at[0] + start, at[1]})
				break
			}
		}
	}
	return places
}

// Check fails the test when there is a ticket in text, which it calls what. It shows
// the line without it.
func Check(t testing.TB, what string, text []byte) {
	t.Helper()
	for line := range bytes.Lines(text) {
		if places := Find(line); len(places) > 0 {
			t.Errorf("there is a ticket in %s: %s", what, cut(line, places))
		}
	}
}

// cut is a line without its tickets.
func cut(line []byte, places [][]int) string {
	var left strings.Builder
	at := 0
	for _, p := range places {
		left.Write(line[at:p[0]])
		left.WriteString("<a ticket>")
		at = p[1]
	}
	left.Write(line[at:])
	return strings.TrimSpace(left.String())
}

// inside is set in the environment of a test binary whose output is read.
const inside = "WSTICKET_NOTICKETS"

// Main is a TestMain. It runs the test binary once more, as a process of its own whose
// output it passes on and reads, and exits as that does, or with 1 when there was a
// ticket in it: only from outside is a panic seen too. exempt names tests, of the top
// level, that print tickets on purpose. Where the tests fuzz or there are no processes
// it reads nothing.
func Main(m *testing.M, exempt ...string) {
	os.Exit(Run(m.Run, exempt...))
}

// Run is Main for a TestMain that has more to do: it returns the exit code. run is
// called in the inner process.
func Run(run func() int, exempt ...string) int {
	if os.Getenv(inside) != "" || runtime.GOOS == "js" || fuzzes() {
		return run()
	}
	reader := newReader(exempt)
	code, err := rerun(reader)
	if err != nil {
		fmt.Fprintln(os.Stderr, "notickets:", err)
		return 1
	}
	if found := reader.end(); len(found) > 0 {
		for _, line := range found {
			fmt.Fprintln(os.Stderr, "notickets: a ticket was printed"+line)
		}
		fmt.Println("FAIL")
		return 1
	}
	return code
}

// fuzzes says whether go test fuzzes: its workers talk over more than three files.
func fuzzes() bool {
	if !flag.Parsed() {
		flag.Parse()
	}
	for _, name := range []string{"test.fuzz", "test.fuzzworker"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != f.DefValue {
			return true
		}
	}
	return false
}

// outlived is how long a program that a test has started and left may hold the output
// after the tests.
const outlived = 2 * time.Second

func rerun(reader *reader) (code int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin = os.Stdin
	cmd.WaitDelay = outlived
	cmd.Stdout, cmd.Stderr = reader.stream(os.Stdout), reader.stream(os.Stderr)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case s := <-signals:
				cmd.Process.Signal(s)
			case <-ended:
				return
			}
		}
	}()
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if code = exit.ExitCode(); code < 0 { // a signal
			fmt.Fprintln(os.Stderr, exit)
			code = 2
		}
		return code, nil
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = errors.New("a program that a test has started outlives the tests and holds their output; end it in the test")
	}
	return 0, err
}

// A reader looks for tickets in the lines of streams, and knows whose they are.
type reader struct {
	mu      sync.Mutex
	exempt  []string
	streams []*stream
	found   []string
}

func newReader(exempt []string) *reader { return &reader{exempt: exempt} }

// A stream passes on what is written to it.
type stream struct {
	*reader
	to   io.Writer
	line []byte // begun
	test string // that was named last
}

func (r *reader) stream(to io.Writer) io.Writer {
	s := &stream{reader: r, to: to}
	r.streams = append(r.streams, s)
	return s
}

const longestLine = 1 << 20

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for rest := p; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n') + 1
		if end == 0 {
			end = len(rest)
		}
		s.line = append(s.line, rest[:end]...)
		rest = rest[end:]
		if s.line[len(s.line)-1] == '\n' {
			s.read()
			s.line = s.line[:0]
		} else if len(s.line) > longestLine { // of which the end may be half of a ticket
			s.read()
			s.line = append(s.line[:0], s.line[len(s.line)-longestTicket:]...)
		}
	}
	return s.to.Write(p)
}

// marks are how package testing says whose output follows.
var marks = regexp.MustCompile(`^\x16?(?:=== (?:RUN|NAME|CONT) +|\s*--- (?:FAIL|PASS|SKIP): )([^\s/]*)`)

func (s *stream) read() {
	if m := marks.FindSubmatch(s.line); m != nil {
		s.test = string(m[1])
	}
	if places := Find(s.line); len(places) > 0 && !slices.Contains(s.exempt, s.test) {
		by := ""
		if s.test != "" {
			by = " by " + s.test
		}
		s.found = append(s.found, by+": "+cut(s.line, places))
	}
}

// end reads the lines that were begun, and returns what was found.
func (r *reader) end() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.streams {
		s.read()
	}
	return r.found
}
