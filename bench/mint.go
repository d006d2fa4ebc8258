package bench

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

func mints(r *run) (*Section, error) {
	s := &Section{
		Title: "The mint endpoint",
		Asks:  "What does it cost to hand out a ticket over HTTP, on connections that stay open?",
		Chart: 1,
		Columns: []Column{
			{Name: "tickets a second", Better: 1},
			{Name: "CPU µs each, of the server", Digits: 1, Better: -1},
		},
		Notes: []string{"MintHandler also checks where the request comes from; the others answer with a ticket and no more."},
	}
	dir, err := os.MkdirTemp("", "wsticket-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	config := schemeConfig{Dir: dir}
	stop, err := startRedis(&config)
	if err != nil {
		s.Notes = append(s.Notes, "Without the rows that need it: "+err.Error()+".")
	}
	defer stop()
	names := map[string]string{
		"wsticket.Upgrader":                 "wsticket.MintHandler",
		"gorilla/websocket, golang-jwt":     "golang-jwt",
		"gorilla/websocket, UUID in Redis":  "UUID in Redis",
		"gorilla/websocket, UUID in SQLite": "UUID in SQLite",
	}
	var children []*child
	defer func() {
		for _, c := range children {
			c.stop()
		}
	}()
	for i := range schemes {
		k := &schemes[i]
		name := names[k.name]
		if name == "" || k.redis && config.Redis == "" {
			continue
		}
		c, err := startChild(r, k, config, false)
		if err != nil {
			return nil, err
		}
		children = append(children, c)
		s.Rows = append(s.Rows, Row{Name: name, Ours: k.ours, Source: k.source})
	}
	n := pick(r, 3000, 10000)
	for range pick(r, 3, 11) {
		for i, c := range children {
			if r.Err() != nil {
				return nil, r.Err()
			}
			if _, err := post(c.mints, n/10); err != nil {
				return nil, err
			}
			before, err := c.ask(childAsk{})
			if err != nil {
				return nil, err
			}
			took, err := post(c.mints, n)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.Rows[i].Name, err)
			}
			after, err := c.ask(childAsk{})
			if err != nil {
				return nil, err
			}
			s.Rows[i].add(float64(n)/took.Seconds(), float64((after.CPU-before.CPU).Nanoseconds())/1e3/float64(n))
		}
	}
	return s, nil
}

// post asks for n tickets, sixteen at a time.
func post(addr string, n int) (time.Duration, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: inFlight}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: connectTimeout}
	var next atomic.Int64
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	start := time.Now()
	for range inFlight {
		wg.Go(func() {
			for next.Add(1) <= int64(n) && failed.Load() == nil {
				res, err := client.Post("http://"+addr+"/ticket", "application/json", nil)
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
					if err == nil && res.StatusCode != http.StatusOK {
						err = fmt.Errorf("the mint answers %d", res.StatusCode)
					}
				}
				if err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return time.Since(start), nil
}
