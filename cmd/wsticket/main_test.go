package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/internal/jwkset"
	"github.com/wsticket/wsticket/wstickettest/notickets"
)

// The commands themselves are tested by the scripts of the interop module.

// beTheProgram makes the test's own executable behave as wsticket.
const beTheProgram = "WSTICKET_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(beTheProgram) != "" {
		main()
	}
	notickets.Main(m)
}

// try runs the program at a fixed time.
func try(now time.Time, stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	var out, fault bytes.Buffer
	code = run(context.Background(), args, stdin, &out, &fault, func() time.Time { return now })
	return code, out.String(), fault.String()
}

func keyringFile(t *testing.T) string {
	t.Helper()
	set, err := jwkset.Generate("HS256", "first", 1_795_219_200)
	if err != nil {
		t.Fatal(err)
	}
	text, err := set.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRotateAtOnce has many rotate one file while others read it: no key is lost,
// and nobody sees half a keyring.
func TestRotateAtOnce(t *testing.T) {
	path := keyringFile(t)
	now := time.Unix(1_795_219_200, 0)
	const rotations = 12
	done := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := wsticket.LoadKeyring(path); err != nil {
					t.Errorf("a reader gets: %v", err)
					return
				}
			}
		})
	}
	for range rotations {
		writers.Go(func() {
			if code, _, stderr := try(now, nil, "keys", "rotate", "-keys", path); code != 0 {
				t.Errorf("exit %d: %s", code, stderr)
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	keys, err := wsticket.LoadKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(keys.Keys()); n != 1+rotations {
		t.Errorf("%d keys after %d rotations of one", n, rotations)
	}
	if files, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(files) != 1 {
		t.Errorf("left behind: %q", files)
	}
}

// TestEditThatFails leaves the file alone, and nothing beside it.
func TestEditThatFails(t *testing.T) {
	path := keyringFile(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := try(time.Unix(1_795_219_200, 0), nil, "keys", "revoke", "-keys", path, "-kid", "first")
	after, err := os.ReadFile(path)
	if code != 1 || stdout != "" || strings.Count(stderr, "\n") != 1 || err != nil || !bytes.Equal(before, after) {
		t.Errorf("exit %d, %q, %q, %v", code, stdout, stderr, err)
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
	// What cannot be put in place does not stay beside it.
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "keys.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(filepath.Join(dir, "keys.json"), []byte("text")); err == nil {
		t.Error("a directory is replaced by a file")
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

// TestLines holds where lines end, at lengths about those of a ticket and of the
// reader's buffer.
func TestLines(t *testing.T) {
	long := strings.Repeat("x", wsticket.MaxTicketLen)
	for input, want := range map[string][]string{
		"":                                     nil,
		"\n":                                   {""},
		"a":                                    {"a"},
		"a\n":                                  {"a"},
		"a\n\n":                                {"a", ""},
		"\n\na":                                {"", "", "a"},
		"a\r\nb\r":                             {"a", "b\r"},
		"\r\n\r\na\rb\r\r\n":                   {"", "", "a\rb\r"},
		long + "\r\n" + long + "\r\n":          {long, long},
		long + "y\r\nz":                        {long + "y", "z"},
		long + "\ryz\n":                        {long + "\r"},
		strings.Repeat("x", 1<<16-1) + "\r\nz": {long + "x", "z"},
		strings.Repeat("x", 1<<16-2) + "\r\nz": {long + "x", "z"},
		long + "\n" + long:                     {long, long},
		long + "y\nz":                          {long + "y", "z"},
		long + "yz\n\n":                        {long + "y", ""},
		strings.Repeat("x", 1<<16) + "\nz\n":   {long + "x", "z"},
		strings.Repeat("x", 1<<16-1) + "\nz":   {long + "x", "z"},
		strings.Repeat("x", 3<<16):             {long + "x"},
	} {
		var got []string
		e := &env{stdin: strings.NewReader(input), stdout: io.Discard}
		if err := e.eachLine(func(line []byte) (string, bool) {
			got = append(got, string(line))
			return "", true
		}); err != nil {
			t.Error(err)
		}
		if strings.Join(got, "|") != strings.Join(want, "|") || len(got) != len(want) {
			t.Errorf("%.20q of %d bytes: %d lines, want %d", input, len(input), len(got), len(want))
		}
	}
}

// TestAnswersAtOnce wants the answer to a line before there is another.
func TestAnswersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails when both sides wait
		toProgram, fromUs := io.Pipe()
		toUs, fromProgram := io.Pipe()
		ended := make(chan int)
		go func() {
			ended <- run(context.Background(), []string{"inspect", "-"}, toProgram, fromProgram, io.Discard, time.Now)
		}()
		for range 3 {
			if _, err := io.WriteString(fromUs, "nothing\n"); err != nil {
				t.Fatal(err)
			}
			answer := make([]byte, len("malformed\n"))
			if _, err := io.ReadFull(toUs, answer); err != nil || string(answer) != "malformed\n" {
				t.Fatalf("%q, %v", answer, err)
			}
		}
		fromUs.Close()
		if code := <-ended; code != exitRefused {
			t.Errorf("exit %d", code)
		}
	})
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, os.ErrClosed }
func (brokenPipe) Read([]byte) (int, error)  { return 0, os.ErrClosed }

// TestBrokenPipes end in an error and not in silence.
func TestBrokenPipes(t *testing.T) {
	path := keyringFile(t)
	for _, args := range [][]string{
		{"keys", "generate"}, {"keys", "list", "-keys", path}, {"mint", "-keys", path, "-sub", "a"}, {"inspect", "-"}, {"help"}, {"mint", "-h"},
	} {
		var stderr bytes.Buffer
		if code := run(context.Background(), args, strings.NewReader("a\n"), brokenPipe{}, &stderr, time.Now); code != 1 || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%q: exit %d, %q", args, code, &stderr)
		}
	}
	if code, _, stderr := try(time.Now(), brokenPipe{}, "inspect", "-"); code != 1 || stderr == "" {
		t.Errorf("standard input that cannot be read: exit %d, %q", code, stderr)
	}
}

// TestOneLine wants an error in one line, whatever is in it.
func TestOneLine(t *testing.T) {
	code, _, stderr := try(time.Now(), nil, "keys", "list", "-keys", "no\nsuch\x1b[31mfile\x9b")
	if code != 1 || strings.Count(stderr, "\n") != 1 || strings.ContainsAny(strings.TrimSuffix(stderr, "\n"), "\n\x1b") {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

// A process that was killed in the middle leaves a whole keyring behind, which the
// next one removes; other files it leaves alone.
func TestLeftoversAreRemoved(t *testing.T) {
	path := keyringFile(t)
	dir := filepath.Dir(path)
	names := map[string]bool{ // whether it stays
		".keys.json.123456.tmp": false, ".keys.json.tmp": true, ".keys.json.12x.tmp": true, ".other.json.123.tmp": true, "keys.json.123.tmp": true,
	}
	for name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, stderr := try(time.Unix(1_795_219_200, 0), nil, "keys", "rotate", "-keys", path); code != 0 {
		t.Fatal(stderr)
	}
	for name, stays := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != stays {
			t.Errorf("%s: %v, want it to stay: %v", name, err, stays)
		}
	}
}
