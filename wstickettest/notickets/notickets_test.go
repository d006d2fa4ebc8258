package notickets_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket/internal/jose"
	"github.com/wsticket/wsticket/wstickettest/notickets"
)

func TestMain(m *testing.M) { notickets.Main(m, "TestExempt") }

// made is what a ticket looks like. Its MAC is none.
func made(header string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(`{"jti":"0123456789","iat":1,"exp":2}`)) + "." + strings.Repeat("A", 43)
}

var ticket = made(`{"alg":"HS256","kid":"a","typ":"` + jose.Type + `"}`)

func TestFind(t *testing.T) {
	for text, want := range map[string]string{
		"plain " + ticket:                                        ticket,
		"GET /ws?ticket=" + ticket + "&a=b HTTP":                 ticket,
		"ticket." + ticket + ", app.v1":                          ticket,
		`{"url":"` + ticket + `"}`:                               ticket,
		"x_" + ticket:                                            ticket,
		made("{ \"typ\": \"" + jose.Type + "\", \"kid\":\"a\"}"): made("{ \"typ\": \"" + jose.Type + "\", \"kid\":\"a\"}"),
		made(`{"alg":"HS256","kid":"a","typ":"JWT"}`):            "", // somebody else's
		strings.Replace(ticket, ".", " ", 1):                     "",
		ticket[:len(ticket)-1]:                                   "",
		"":                                                       "",
	} {
		places := notickets.Find([]byte(text))
		got := ""
		if len(places) == 1 {
			got = text[places[0][0]:places[0][1]]
		}
		if got != want || len(places) > 1 {
			t.Errorf("in %.20s…: %v", text, places)
		}
	}
	if places := notickets.Find([]byte(ticket + " " + ticket)); len(places) != 2 {
		t.Errorf("of two: %v", places)
	}
}

// TestLeaks runs this binary again, with tests that leak in every way there is.
func TestLeaks(t *testing.T) {
	for _, way := range []string{"log", "stdout", "stderr", "panic", "child", "partial", "long", "fatal"} {
		out, code := leak(t, way, "TestLeaking")
		if code == 0 || !strings.Contains(out, "notickets: a ticket was printed") || !strings.Contains(out, "<a ticket>") {
			t.Errorf("%s: exit code %d:\n%s", way, code, strings.ReplaceAll(out, ticket, "TICKET"))
		}
		passed := ticket
		if way == "partial" { // the other stream may come between
			passed = ticket[:50]
		}
		if !strings.Contains(out, passed) {
			t.Errorf("%s: the output is not passed on", way)
		}
	}
	if out, _ := leak(t, "log", "TestLeaking"); !strings.Contains(out, "printed by TestLeaking: ") {
		t.Errorf("it does not say whose:\n%s", strings.ReplaceAll(out, ticket, "TICKET"))
	}
	for way, test := range map[string]string{"none": "TestLeaking", "log": "TestExempt"} {
		if out, code := leak(t, way, test); code != 0 || strings.Contains(out, "notickets:") {
			t.Errorf("%s in %s: exit code %d:\n%s", way, test, code, strings.ReplaceAll(out, ticket, "TICKET"))
		}
	}
	if out, code := leak(t, "fail", "TestLeaking"); code != 1 || strings.Contains(out, "notickets:") {
		t.Errorf("a test that fails: exit code %d:\n%s", code, out)
	}
}

// TestOutlived: a program that a test has started and left holds the output. The tests
// end all the same, and fail.
func TestOutlived(t *testing.T) {
	began := time.Now()
	out, code := leak(t, "daemon", "TestLeaking")
	if code != 1 || !strings.Contains(out, "outlives the tests") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestFindIsQuick: a line of a megabyte that looks like the header of a ticket.
func TestFindIsQuick(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has a time of its own")
	}
	line := strings.Repeat("eyJh", 1<<18) + ticket[strings.IndexByte(ticket, '.'):]
	began := time.Now()
	if places := notickets.Find([]byte(line)); len(places) > 0 {
		t.Errorf("%v", places)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func leak(t *testing.T, way, test string) (out string, code int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.v")
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "WSTICKET_NOTICKETS=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "LEAK="+way)
	stdin, err := cmd.StdinPipe() // open until all is over
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(20*time.Second, func() { stdin.Close() })
	defer stuck.Stop()
	cmd.Wait()
	return text.String(), cmd.ProcessState.ExitCode()
}

func TestLeaking(t *testing.T) { leaks(t) }

func TestExempt(t *testing.T) { leaks(t) }

// leaks prints a ticket in the way that the environment says.
func leaks(t *testing.T) {
	switch os.Getenv("LEAK") {
	case "log":
		t.Log("a ticket", ticket)
	case "stdout":
		fmt.Println(ticket)
	case "stderr":
		log.Print("url: /ws?ticket=" + ticket)
	case "panic":
		panic(ticket)
	case "child":
		cmd := exec.Command(os.Args[0], "-test.run=^TestLeaking$")
		cmd.Env = append(os.Environ(), "LEAK=stdout")
		cmd.Stdout = os.Stderr
		cmd.Run()
	case "partial": // a line without an end, in pieces
		fmt.Fprint(os.Stderr, ticket[:50])
		fmt.Fprint(os.Stderr, ticket[50:])
	case "long": // where a line is too long to be kept whole
		os.Stdout.WriteString(strings.Repeat(" ", 33<<15-len(ticket)/2))
		fmt.Println(ticket)
	case "daemon": // a program that outlives the tests, with their output
		cmd := exec.Command(os.Args[0], "-test.run=^TestLeaking$")
		cmd.Env = append(os.Environ(), "LEAK=stay")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	case "stay":
		io.Copy(io.Discard, os.Stdin)
	case "fatal":
		t.Fatal(ticket)
	case "fail":
		t.Fatal("for another reason")
	}
}

// TestCheck fails the test, and shows no ticket.
func TestCheck(t *testing.T) {
	var tb recorder
	notickets.Check(&tb, "a log", []byte("all is well\nurl="+ticket+" bad\n"))
	if got := tb.String(); got != "there is a ticket in a log: url=<a ticket> bad\n" {
		t.Errorf("%q", strings.ReplaceAll(got, ticket, "TICKET"))
	}
}

type recorder struct {
	testing.TB
	bytes.Buffer
}

func (*recorder) Helper()                        {}
func (r *recorder) Errorf(f string, args ...any) { fmt.Fprintf(r, f+"\n", args...) }

// TestEverywhere: every package of the repository that has tests is tested so.
func TestEverywhere(t *testing.T) {
	const root = "../.."
	watched := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && (name == "node_modules" || name == "testdata" || len(name) > 2 && name[0] == '.') {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		watched[dir] = watched[dir] || bytes.Contains(text, []byte("notickets.Main(m")) || bytes.Contains(text, []byte("exampletest.Main(m")) || bytes.Contains(text, []byte("notickets.Run("))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, yes := range watched {
		if !yes {
			t.Errorf("%s has no TestMain with notickets.Main", dir)
		}
	}
	if len(watched) < 30 {
		t.Errorf("only %d packages", len(watched))
	}
}
