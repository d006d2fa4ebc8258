// Command wsticket makes and rotates keyrings, mints, verifies, explains and
// inspects tickets, and shows them at work on a page of its own.
//
// Run "wsticket help" for its commands. The exit code is 0 when all went well, 1
// when a ticket was refused or a file could not be used, and 2 for wrong use. What
// went wrong stands in one line on standard error; a refusal that was asked for in
// another form, as JSON, a line for each ticket or an explanation, stands on
// standard output alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, time.Now))
}

const (
	exitRefused = 1
	exitUsage   = 2
)

// run is the whole program: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, now func() time.Time) int {
	e := &env{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr, now: now}
	err := e.dispatch(args)
	var wrong usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errRefused):
		return exitRefused
	case errors.As(err, &wrong):
		e.say(err)
		return exitUsage
	default:
		e.say(err)
		return exitRefused
	}
}

// env is what a command has of the world.
type env struct {
	ctx            context.Context // ends a command that would run for ever
	stdin          io.Reader
	stdout, stderr io.Writer
	now            func() time.Time
}

// A usageError is wrong use: the caller's line, not the world, is at fault.
type usageError string

func (e usageError) Error() string { return string(e) }

func usagef(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

// errRefused ends a command that has said itself what it refused.
var errRefused = errors.New("refused")

// dispatch finds the command that args open with and runs it.
func (e *env) dispatch(args []string) error {
	if len(args) == 0 {
		return usagef("give a command: %s; see wsticket help", commandNames(""))
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		return e.help(args[1:])
	case "-version", "--version":
		args[0] = "version"
	}
	name, rest := args[0], args[1:]
	if name == "keys" {
		if len(rest) == 0 {
			return usagef("keys: give a command: %s; see wsticket help keys", commandNames("keys "))
		}
		switch rest[0] {
		case "help", "-h", "-help", "--help":
			return e.help(append([]string{"keys"}, rest[1:]...))
		}
		name, rest = "keys "+rest[0], rest[1:]
	}
	c, found := commandNamed(name)
	if !found {
		return usagef("no such command: %q; there are %s; see wsticket help", name, commandNames(""))
	}
	return c.run(e, newFlags(c, rest))
}

// flags are the flags of one command.
type flags struct {
	*flag.FlagSet
	command command
	args    []string
}

func newFlags(c command, args []string) *flags {
	f := &flags{flag.NewFlagSet(c.name, flag.ContinueOnError), c, args}
	f.SetOutput(io.Discard)
	return f
}

// parse reads the flags and wants so many arguments behind them. It returns
// false when the flags only asked for help, which it has then given.
func (f *flags) parse(e *env, arguments int) (bool, error) {
	err := f.Parse(f.args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return false, e.helpCommand(f)
	case err != nil:
		if slip := unitless.FindStringSubmatch(err.Error()); slip != nil {
			return false, f.wrong("-%s is %s: give a time with its unit, such as 10s or 5m", slip[2], slip[1])
		}
		return false, f.wrong("%v", err)
	case f.NArg() < arguments:
		return false, f.wrong("give a ticket, or - to read tickets from standard input")
	case f.NArg() > arguments && arguments == 0:
		for name, what := range map[string]string{"keys": "keyring", "secret-file": "secret"} {
			if g := f.Lookup(name); g != nil && g.Value.String() == "" {
				return false, f.wrong("it takes flags only: give the %s as -%s FILE", what, name)
			}
		}
		return false, f.wrong("it takes flags only, and something stands behind them")
	case f.NArg() > arguments:
		return false, f.wrong("it takes one ticket, behind the flags, and there are %d arguments", f.NArg())
	}
	return true, nil
}

// unitless is how package flag words a time that it cannot read.
var unitless = regexp.MustCompile(`^invalid value (".*") for flag -([a-z-]+): parse error$`)

// wrong is wrong use of the command.
func (f *flags) wrong(format string, args ...any) error {
	return usagef("%s: %s; see wsticket help %s", f.command.name, fmt.Sprintf(format, args...), f.command.name)
}

// given says whether the flag was on the command line, be it empty.
func (f *flags) given(name string) (found bool) {
	f.Visit(func(g *flag.Flag) { found = found || g.Name == name })
	return found
}

// require wants the named flags, none of them empty.
func (f *flags) require(names ...string) error {
	for _, name := range names {
		if f.Lookup(name).Value.String() == "" {
			return f.wrong("-%s is missing", name)
		}
	}
	return nil
}

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

// say writes an error as one line.
func (e *env) say(err error) { e.line("", err.Error()) }

func (e *env) warn(format string, args ...any) { e.line("warning: ", fmt.Sprintf(format, args...)) }

func (e *env) line(kind, text string) {
	text = strings.ReplaceAll(strings.TrimSpace(text), "wsticket: ", "") // what the library's errors open with
	fmt.Fprintf(e.stderr, "wsticket: %s%s\n", kind, visible(strings.ReplaceAll(text, "\n", "; ")))
}
