// Command wsticket-gateway stands in front of a backend in any language: it takes
// WebSocket handshakes, lets in who brings a ticket, and hands the connection on.
//
// Run "wsticket-gateway help". The exit code is 0 when all went well, 1 when the
// configuration has faults or something failed, and 2 for wrong use.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/wsticket/wsticket/gateway"
)

const usage = `wsticket-gateway authenticates WebSockets in front of a backend in any language.

  wsticket-gateway serve [flags]                 take connections until SIGTERM; SIGHUP reads the configuration again
  wsticket-gateway check [-config FILE] [flags]  name every fault of a configuration, and exit with 1 if there is one
  wsticket-gateway print-config [flags]          write the configuration in force and where each value came from
  wsticket-gateway help                          this; "serve -h" explains the flags
`

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run is the whole program: it returns the exit code.
func run(args, environ []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		io.WriteString(stderr, usage)
		return 2
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		io.WriteString(stdout, usage)
		return 0
	case "serve", "check", "print-config":
	default:
		fmt.Fprintf(stderr, "wsticket-gateway: there is no command %q; there are serve, check and print-config\n", args[0])
		return 2
	}
	load := func() (*gateway.Loaded, error) { return gateway.Load(args[1:], environ, stdout) }
	loaded, err := load()
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		if loaded != nil && args[0] != "print-config" {
			err = errors.Join(err, loaded.Check())
		}
		return complain(stderr, err)
	}
	switch args[0] {
	case "print-config":
		if err := loaded.Print(stdout); err != nil {
			return complain(stderr, err)
		}
		return 0
	case "check":
		if err := loaded.Check(); err != nil {
			return complain(stderr, err)
		}
		for _, warning := range loaded.Warnings() {
			fmt.Fprintln(stderr, "wsticket-gateway: warning: "+warning)
		}
		fmt.Fprintln(stdout, "ok")
		return 0
	}
	if err := serve(loaded, load, stderr); err != nil {
		return complain(stderr, err)
	}
	return 0
}

func serve(loaded *gateway.Loaded, load func() (*gateway.Loaded, error), stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// A second signal does not wait for the drain.
	defer context.AfterFunc(ctx, stop)()
	// Who reads the log may go away; the connections stay.
	signal.Ignore(syscall.SIGPIPE)
	logs := &later{to: stderr}
	// Before the making, which may wait for a store: until here SIGHUP would end it.
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	g, err := gateway.New(ctx, loaded.Config, logs)
	if err != nil {
		return err
	}
	go func() {
		for range reload {
			next, err := load()
			if err == nil {
				err = g.Reload(next.Config)
			}
			if err != nil {
				// As the first fault would be at the start, but on lines of the log.
				g.Log().Error("configuration not loaded; the one in force stays", "why", oneLine(err))
				continue
			}
			g.Log().Info("configuration loaded")
		}
	}()
	defer logs.open()
	// Who waits longer than usual wants to know what for.
	defer time.AfterFunc(15*time.Second, logs.open).Stop()
	return g.Serve(ctx, func(addr string) {
		fmt.Fprintln(stderr, "listening on "+addr)
		logs.open()
	})
}

// later holds lines back until the first one is out that scripts wait for.
type later struct {
	to   io.Writer
	mu   sync.Mutex
	held []byte
	is   bool // open
}

func (l *later) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.is {
		return l.to.Write(line)
	}
	if len(l.held) < 64<<10 {
		l.held = append(l.held, line...)
	}
	return len(line), nil
}

func (l *later) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.is = true
	l.to.Write(l.held)
	l.held = nil
}

// complain writes each fault on a line.
func complain(stderr io.Writer, err error) int {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(stderr, "wsticket-gateway: "+line)
	}
	return 1
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
