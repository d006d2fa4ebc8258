package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/gateway"
)

const gatewaySource = "../../bench/gateway.go"

// gatewayBesideNginx measures what stands in front of a backend.
func gatewayBesideNginx(r *run) (*Section, error) {
	s := &Section{
		Title: "The gateway beside nginx",
		Asks:  "What does wsticket-gateway cost in front of a backend, beside nginx that lets everybody in, and nginx that asks wsticket-gateway about each handshake (auth_request)?",
		Columns: []Column{
			{Name: "handshakes a second", Better: 1},
			{Name: "CPU µs each, of what is in front", Digits: 1, Better: -1},
			{Name: "p50 µs, echo of 64 B", Digits: 1, Better: -1},
			{Name: "p99 µs", Digits: 1, Better: -1},
			{Name: "MB a second, messages of 1 KB", Better: 1},
			{Name: "bytes, idle connection", Better: -1},
			{Name: "tickets let in twice, of 100", Better: -1},
		},
		Notes: []string{fmt.Sprintf("The backend takes every handshake and sends back what it gets; it, the client and what is in front share the cores. Handshakes: %d in flight, each on a connection of its own, which opens another to the backend. "+
			"Echo: one message at a time on one connection. Stream: one connection, there and back. Memory: resident, without the kernel's buffers. For nginx with auth_request the CPU time of the gateway that it asks is in the figure.", inFlight)},
	}
	dir, err := os.MkdirTemp("", "wsticket-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	all, err := startFronts(r, dir, s)
	defer func() {
		for _, f := range slices.Backward(all) {
			f.stop()
		}
	}()
	if err != nil {
		return nil, err
	}
	tickets, err := fileSigner()
	if err != nil {
		return nil, err
	}
	for _, f := range all {
		s.Rows = append(s.Rows, Row{Name: f.name, Ours: f.ours, Floor: f.floor, Source: gatewaySource})
		if err := f.waitFor(r, tickets); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	for turn := range pick(r, 3, 11) {
		for i := range all {
			// Each comes first as often as the others.
			i = (i + turn) % len(all)
			if r.Err() != nil {
				return nil, r.Err()
			}
			if err := r.front(&s.Rows[i], all[i], tickets, turn); err != nil {
				return nil, fmt.Errorf("%s: %w", all[i].name, err)
			}
		}
		r.say("turn %d", turn+1)
	}
	return s, nil
}

// A front is what the client connects to.
type front struct {
	name        string
	ours, floor bool
	addr, path  string
	used        func() (time.Duration, error) // CPU time until now of what is in front
	resident    func() (int64, error)         // of the processes that hold a connection
	stop        func()
}

func (f *front) dialer() *dialer {
	return &dialer{addr: f.addr, request: func(ticket string) []byte {
		return request(f.path+"?ticket="+ticket, f.addr, "http://"+f.addr)
	}}
}

// startFronts starts a backend and all that may stand before it. What it returns is to be
// stopped, also with an error.
func startFronts(r *run, dir string, s *Section) (all []*front, err error) {
	backend, err := startChild(r, &fronts[0], schemeConfig{Dir: dir}, false)
	if err != nil {
		return nil, err
	}
	none := func() (time.Duration, error) { return 0, errUnmeasured }
	all = append(all, &front{name: "floor: the backend alone", floor: true, addr: backend.addr, path: "/ws", used: none, resident: backend.resident, stop: backend.stop})
	keys := filepath.Join(dir, "keys.json")
	if err := os.WriteFile(keys, keyringFile(), 0o600); err != nil {
		return all, err
	}
	gate, err := startChild(r, &fronts[1], schemeConfig{Dir: dir, Arguments: []string{
		"-listen", "127.0.0.1:0", "-keys", keys, "-upstream", "http://" + backend.addr, "-aud", audience, "-peak", "10000", "-leeway", "1s", "-drain", "0s",
		"-verify-path", "/verify", "-trusted-proxy", "127.0.0.1", "-log-level", "error",
	}}, false)
	if err != nil {
		return all, err
	}
	all = append(all, &front{name: "wsticket-gateway", ours: true, addr: gate.addr, path: "/ws", used: gate.used, resident: gate.resident, stop: gate.stop})
	proxy, err := startNginx(dir, backend.addr, gate.addr)
	if errors.Is(err, exec.ErrNotFound) {
		s.Notes = append(s.Notes, "Without the rows of nginx: there is none here (apt-get install nginx).")
		return all, nil
	} else if err != nil {
		return all, err
	}
	s.Notes = append(s.Notes, "nginx "+proxy.version+", a worker for each core.")
	return append(all,
		&front{name: "nginx, which lets everybody in", addr: proxy.addr, path: "/open", used: proxy.used, resident: proxy.resident, stop: func() { _ = proxy.stop() }},
		&front{name: "nginx, auth_request", addr: proxy.addr, path: "/checked", resident: proxy.resident, stop: func() {}, used: func() (time.Duration, error) {
			nginx, err := proxy.used()
			if err != nil {
				return 0, err
			}
			asked, err := gate.used()
			return nginx + asked, err
		}}), nil
}

// waitFor waits until tickets are let in.
func (f *front) waitFor(ctx context.Context, tickets func() (string, error)) error {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ticket, err := tickets()
		if err != nil {
			return err
		}
		status, err := f.dialer().shake(ticket)
		switch {
		case err == nil && status == 101:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(end):
			return fmt.Errorf("a fresh ticket is answered %d: %w", status, err)
		}
	}
}

// front is one turn of one front.
func (r *run) front(row *Row, f *front, tickets func() (string, error), turn int) error {
	some := func(n int) (all []string, err error) {
		for range n {
			ticket, err := tickets()
			if err != nil {
				return nil, err
			}
			all = append(all, ticket)
		}
		return all, nil
	}
	d := f.dialer()
	n := pick(r, 500, 2000)
	warm, err := some(n / 8)
	if err != nil {
		return err
	}
	if _, err := d.all(r, warm, inFlight); err != nil {
		return err
	}
	minted, err := some(n)
	if err != nil {
		return err
	}
	before, err := f.used()
	if err != nil && !errors.Is(err, errUnmeasured) {
		return err
	}
	measured := err == nil
	took, err := d.all(r, minted, inFlight)
	if err != nil {
		return err
	}
	each := math.NaN()
	if measured {
		after, err := f.used()
		if err != nil {
			return err
		}
		each = float64((after - before).Nanoseconds()) / 1e3 / float64(n)
	}
	p50, p99, err := d.echo(tickets, pick(r, 500, 2000))
	if err != nil {
		return fmt.Errorf("echo: %w", err)
	}
	stream, err := d.stream(tickets, pick(r, 32, 128)<<20)
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	idle, twice := math.NaN(), math.NaN()
	// Once, and for one of the two that share a process: nginx keeps what it has had.
	if turn == 0 && f.path != "/checked" {
		if idle, err = f.idle(tickets, pick(r, 500, 4000)); err != nil {
			return fmt.Errorf("idle connections: %w", err)
		}
	}
	if turn == 0 && !f.floor && f.path != "/open" {
		const many, times = 100, 8
		minted, err := some(many)
		if err != nil {
			return err
		}
		double, never, err := d.doubles(minted, times)
		if err != nil {
			return err
		}
		if never > 0 {
			return fmt.Errorf("%d fresh tickets were not accepted on any connection", never)
		}
		twice = float64(double)
	}
	row.add(float64(n)/took.Seconds(), each, p50, p99, stream, idle, twice)
	return nil
}

// connect opens a connection that stays.
func (d *dialer) connect(tickets func() (string, error)) (net.Conn, error) {
	ticket, err := tickets()
	if err != nil {
		return nil, err
	}
	conn, status, err := d.open(ticket)
	if err != nil {
		return nil, err
	}
	if status != 101 {
		conn.Close()
		return nil, fmt.Errorf("a fresh ticket is answered %d", status)
	}
	return conn, conn.SetDeadline(time.Now().Add(time.Minute))
}

// echo sends messages of 64 bytes one after the other, and says how many microseconds
// they took there and back.
func (d *dialer) echo(tickets func() (string, error), n int) (p50, p99 float64, err error) {
	conn, err := d.connect(tickets)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	message := masked(64)
	back := make([]byte, len(message))
	took := make([]float64, 0, n)
	for range n {
		began := time.Now()
		if _, err := conn.Write(message); err != nil {
			return 0, 0, err
		}
		if _, err := io.ReadFull(conn, back); err != nil {
			return 0, 0, err
		}
		took = append(took, float64(time.Since(began).Nanoseconds())/1e3)
	}
	if !bytes.Equal(back, message) {
		return 0, 0, errors.New("what came back is not what was sent")
	}
	slices.Sort(took)
	return took[n/2], took[n*99/100], nil
}

// stream sends so many bytes in messages of 1 KB and reads them back, and says how many
// megabytes a second went either way.
func (d *dialer) stream(tickets func() (string, error), size int) (float64, error) {
	conn, err := d.connect(tickets)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	block := bytes.Repeat(masked(1<<10), 64) // a client writes small messages together where it can
	blocks := size / len(block)
	began := time.Now()
	var wrote error
	var writing sync.WaitGroup
	writing.Go(func() {
		for range blocks {
			if _, wrote = conn.Write(block); wrote != nil {
				return
			}
		}
	})
	n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{io.LimitReader(conn, int64(blocks*len(block)))}, make([]byte, 256<<10))
	took := time.Since(began)
	if err != nil || n < int64(blocks*len(block)) {
		conn.Close()
		writing.Wait()
		return 0, fmt.Errorf("%d of %d bytes came back: %w", n, blocks*len(block), errors.Join(err, wrote))
	}
	writing.Wait()
	return float64(n) / 1e6 / took.Seconds(), wrote
}

// idle says how many resident bytes each of n connections takes.
func (f *front) idle(tickets func() (string, error), n int) (float64, error) {
	files, err := openFiles()
	if err != nil {
		return 0, err
	}
	n = min(n, (files-400)/4) // two descriptors each in front, half of them at most
	before, err := f.resident()
	if errors.Is(err, errUnmeasured) {
		return math.NaN(), nil
	} else if err != nil {
		return 0, err
	}
	d := f.dialer()
	for range n {
		conn, err := d.connect(tickets)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
	}
	after, err := f.resident()
	return float64(after-before) / float64(n), err
}

// masked is a message as a client sends it.
func masked(size int) []byte {
	f, err := ws.CompileFrame(ws.MaskFrame(ws.NewBinaryFrame(make([]byte, size))))
	if err != nil {
		panic(err)
	}
	return f
}

// fileSigner signs with the keys that the gateway reads.
func fileSigner() (func() (string, error), error) {
	keys, err := keyring()
	if err != nil {
		return nil, err
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys, TTL: wsticket.DefaultMaxTTL, Audiences: []string{audience}})
	if err != nil {
		return nil, err
	}
	return func() (string, error) { return signer.Sign(&claims) }, nil
}

// fronts are the processes of this section that are ours.
var fronts = []scheme{{name: "backend", start: backend}, {name: "wsticket-gateway", start: gatewayProgram}}

// backend answers every handshake with 101, and then sends back what it gets.
func backend(schemeConfig) (*running, error) {
	return &running{serve: accept(blind(), func(conn net.Conn) { _, _ = io.Copy(conn, conn) })}, nil
}

// gatewayProgram is wsticket-gateway with flags of its own, as its command runs it.
func gatewayProgram(c schemeConfig) (*running, error) {
	loaded, err := gateway.Load(c.Arguments, nil, io.Discard)
	if err != nil {
		return nil, err
	}
	g, err := gateway.New(context.Background(), loaded.Config, os.Stderr)
	if err != nil {
		return nil, err
	}
	return &running{listens: func(ready func(addr string)) error { return g.Serve(context.Background(), ready) }}, nil
}

// An nginxProcess is one with its workers.
type nginxProcess struct {
	*server
	version string
}

func startNginx(dir, backend, gateway string) (*nginxProcess, error) {
	path, err := exec.LookPath("nginx")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			return nil, exec.ErrNotFound
		}
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, []byte(strings.NewReplacer("DIR", dir, "ADDR", addr, "BACKEND", backend, "GATEWAY", gateway).Replace(nginxConfig)), 0o600); err != nil {
		return nil, err
	}
	// "nginx version: nginx/1.22.1", on its standard error
	version, _ := exec.Command(path, "-v").CombinedOutput()
	_, number, _ := strings.Cut(strings.TrimSpace(string(version)), "/")
	nginx, err := startServer(addr, path, "-p", dir, "-e", "stderr", "-c", conf, "-g", directives())
	if err != nil {
		return nil, err
	}
	return &nginxProcess{nginx, number}, nil
}

// directives are those that depend on who runs it: workers of a master that is root would
// be somebody else, who may not write in the folder of this run.
func directives() string {
	if os.Getuid() == 0 {
		return "daemon off; user root;"
	}
	return "daemon off;"
}

const nginxConfig = `worker_processes auto;
worker_rlimit_nofile 20000;
pid DIR/nginx.pid;
error_log stderr crit;
events { worker_connections 10000; }
http {
	client_body_temp_path DIR/a; proxy_temp_path DIR/b; fastcgi_temp_path DIR/c; uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;
	access_log off;
	upstream gateway { server GATEWAY; keepalive 64; }
	server {
		listen ADDR backlog=4096;
		proxy_http_version 1.1;
		proxy_read_timeout 1h;
		proxy_set_header Upgrade $http_upgrade;
		proxy_set_header Connection "upgrade";
		proxy_set_header Host $http_host;
		location /open { proxy_pass http://BACKEND; }
		location /checked {
			auth_request /verify;
			auth_request_set $subject $upstream_http_ticket_subject;
			proxy_set_header Ticket-Subject $subject;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection "upgrade";
			proxy_set_header Host $http_host;
			proxy_pass http://BACKEND;
		}
		location = /verify {
			internal;
			proxy_pass http://gateway/verify;
			proxy_pass_request_body off;
			proxy_set_header Content-Length "";
			proxy_set_header Connection "";
			proxy_set_header Upgrade "";
			proxy_set_header Host $http_host;
			proxy_set_header X-Original-URI $request_uri;
			proxy_set_header X-Forwarded-Host $http_host;
			proxy_set_header X-Forwarded-Proto $scheme;
			proxy_set_header X-Forwarded-For $remote_addr;
		}
	}
}
`

// errUnmeasured is of a figure that there is none of.
var errUnmeasured = errors.New("not measured")

// used and resident are those of a child, and of nginx with its workers, which Linux tells.
func (p *child) used() (time.Duration, error) {
	a, err := p.ask(childAsk{})
	return a.CPU, err
}

func (p *child) resident() (int64, error) {
	a, err := p.settled()
	return a.RSS, err
}

func (p *nginxProcess) used() (all time.Duration, err error) {
	err = p.each(func(pid string) error {
		// What the scheduler has given it: nanoseconds on a processor come first.
		text, err := os.ReadFile("/proc/" + pid + "/schedstat")
		if err != nil {
			return errUnmeasured
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		all += time.Duration(ns)
		return err
	})
	return all, err
}

func (p *nginxProcess) resident() (all int64, err error) {
	err = p.each(func(pid string) error {
		n, err := residentOf(pid)
		all += n
		return err
	})
	return all, err
}

func (p *nginxProcess) each(do func(pid string) error) error {
	workers, err := os.ReadFile("/proc/" + p.pid + "/task/" + p.pid + "/children")
	if err != nil {
		return errUnmeasured
	}
	for _, pid := range append(strings.Fields(string(workers)), p.pid) {
		if err := do(pid); err != nil {
			return err
		}
	}
	return nil
}
