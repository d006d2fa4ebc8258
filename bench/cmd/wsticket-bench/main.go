// Command wsticket-bench measures wsticket beside what people use instead, on this machine,
// and writes a report with charts. It also puts load on a gateway that runs.
//
//	wsticket-bench [-quick] [-out DIR] [-only ID,…]
//	wsticket-bench load -url ws://127.0.0.1:8080/ws -keys keys.json [-rate N] [-for 30s]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/wsticket/wsticket/bench"
)

func main() {
	bench.Child()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "wsticket-bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	if len(args) > 0 && args[0] == "load" {
		return load(ctx, args[1:], out, progress)
	}
	flags := flag.NewFlagSet("wsticket-bench", flag.ContinueOnError)
	flags.SetOutput(progress)
	quick := flags.Bool("quick", false, "a first look within two minutes; without, ten minutes")
	dir := flags.String("out", "wsticket-bench", "the `folder` for report.md, report.json and the charts")
	only := flags.String("only", "", "sections, by commas: "+strings.Join(bench.IDs(), ", "))
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is no command; there is load, or flags alone", flags.Arg(0))
	}
	o := bench.Options{Quick: *quick, Progress: progress}
	if *only != "" {
		o.Only = strings.Split(*only, ",")
	}
	report, err := bench.Run(ctx, o)
	if err != nil {
		return err
	}
	if err := report.Write(*dir); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\nwritten to %s\n", report.Markdown(), *dir)
	return err
}

func load(ctx context.Context, args []string, out, progress io.Writer) error {
	c := bench.LoadConfig{Progress: progress}
	flags := flag.NewFlagSet("wsticket-bench load", flag.ContinueOnError)
	flags.SetOutput(progress)
	flags.StringVar(&c.URL, "url", "", "the gateway: ws://HOST:PORT/PATH or wss://…")
	flags.StringVar(&c.Keys, "keys", "", "the keyring `file`, to mint with")
	flags.Float64Var(&c.Rate, "rate", 500, "handshakes a second")
	flags.IntVar(&c.Connections, "connections", 64, "handshakes at the same time, at most")
	flags.DurationVar(&c.For, "for", 30*time.Second, "how long")
	flags.StringVar(&c.Carrier, "carrier", "query", "where the ticket goes: query, subprotocol, bearer")
	flags.StringVar(&c.Protocol, "protocol", "", "the subprotocol that is offered beside a ticket in one")
	flags.StringVar(&c.Audience, "aud", "", "the audience of the tickets")
	flags.StringVar(&c.Origin, "origin", "", "the Origin header; by default that of the gateway's host")
	flags.BoolVar(&c.Insecure, "insecure", false, "take any certificate")
	flags.BoolVar(&c.OwnTarget, "i-own-the-target", false, "the target is another machine, and yours")
	if err := flags.Parse(args); err != nil {
		return err
	}
	result, err := bench.Load(ctx, c)
	if result != nil {
		fmt.Fprintf(out, "%d handshakes in %.1f s: %.0f a second\n", result.Sent, result.Took.Seconds(), float64(result.Sent)/result.Took.Seconds())
		for _, status := range slices.Sorted(maps.Keys(result.Statuses)) {
			name := fmt.Sprint(status)
			if status == 0 {
				name = "no answer"
			}
			fmt.Fprintf(out, "  %-9s %d\n", name, result.Statuses[status])
		}
		h := result.Latency
		if h.TotalCount() > 0 {
			fmt.Fprint(out, "latency from when each was due:")
			for _, q := range []float64{50, 90, 99, 99.9, 100} {
				fmt.Fprintf(out, "  p%v %v", q, time.Duration(h.ValueAtQuantile(q))*time.Microsecond)
			}
			fmt.Fprintln(out)
		}
		for _, text := range result.Errors {
			fmt.Fprintln(out, "error:", text)
		}
	}
	if err != nil {
		return err
	}
	if result.Statuses[101] == 0 {
		return errors.New("no handshake was accepted; the gateway's log says why")
	}
	return nil
}
