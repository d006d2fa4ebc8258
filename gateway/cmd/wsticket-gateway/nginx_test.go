package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/wsticket/wsticket"
)

// TestBesideNginx measures the gateway and nginx in turns, in one run, in front of the
// same backend: so a machine that is busy or slow is so for both. It prints a report,
// and writes it to WSTICKET_REPORT if that names a file. docs/benchmarks has one.
//
// WSTICKET_ONLY takes one part of it: latency, throughput, handshakes or idle.
// WSTICKET_CPUPROFILE names a file for a profile of the gateway.
//
// A ratio that misses its budget is told, and fails nothing: it depends on what else the
// machine does. What each idle connection may hold is a test.
func TestBesideNginx(t *testing.T) {
	if os.Getenv("WSTICKET_SLOW") != "1" {
		t.Skip("takes long: set WSTICKET_SLOW=1")
	}
	b := newBeside(t)
	b.say("go test -run TestBesideNginx ./cmd/wsticket-gateway, with WSTICKET_SLOW=1, in gateway/")
	b.say("%s, %d cores, %s %s/%s, nginx %s", processor(), runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, b.nginxVersion)
	b.say("load before: %s", load())
	b.say("")
	for _, part := range []struct {
		name    string
		measure func()
	}{{"latency", func() { b.latency(1, 4000); b.latency(16, 4000) }}, {"throughput", func() { b.throughput(1 << 10); b.throughput(64 << 10) }},
		{"handshakes", b.handshakes}, {"idle", b.idle}} {
		if only := os.Getenv("WSTICKET_ONLY"); only == "" || only == part.name {
			part.measure()
		}
	}
	b.say("")
	b.say("load after: %s", load())
	if path := os.Getenv("WSTICKET_REPORT"); path != "" {
		if err := os.WriteFile(path, []byte(b.report.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// beside is a backend, a gateway and an nginx, each a process of its own.
type beside struct {
	*testing.T
	report                strings.Builder
	signer                *wsticket.Signer
	gateway               *process
	nginx, nginxVersion   string // its address
	nginxPid, connections int
}

func newBeside(t *testing.T) *beside {
	path, err := exec.LookPath("nginx")
	if err != nil {
		const message = "no nginx on PATH; get it, for instance with: apt-get install nginx"
		if os.Getenv("CI") == "true" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys.json")
	put(t, keys, `{"keys":[`+keyring("a", "a")+`]}`)
	loaded, err := wsticket.LoadKeyring(keys)
	if err != nil {
		t.Fatal(err)
	}
	b := &beside{T: t}
	if b.signer, err = wsticket.NewSigner(wsticket.SignerConfig{Keys: loaded, TTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
	// Two descriptors for each connection at the gateway, and a few for itself.
	b.connections = min(10_000, (mostFiles(t)-400)/2)
	backend := startAs(t, "echo")
	b.gateway = start(t, "serve", "-listen", "127.0.0.1:0", "-leeway", "1s", "-keys", keys, "-upstream", "http://"+backend.addr,
		"-drain", "0s", "-verify-path", "/verify", "-trusted-proxy", "127.0.0.1", "-peak", "5000", "-timeout", "20s")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.nginx = l.Addr().String()
	l.Close()
	conf := filepath.Join(dir, "nginx.conf")
	put(t, conf, fmt.Sprintf(`daemon off;
user root;
worker_processes %d;
worker_rlimit_nofile %d;
pid %[3]s/pid;
error_log %[3]s/error.log crit;
events { worker_connections %[2]d; }
http {
	client_body_temp_path %[3]s/a; proxy_temp_path %[3]s/b; fastcgi_temp_path %[3]s/c; uwsgi_temp_path %[3]s/d; scgi_temp_path %[3]s/e;
	access_log off;
	upstream gateway { server %[5]s; keepalive 64; }
	server {
		listen %[4]s backlog=4096;
		proxy_http_version 1.1;
		proxy_read_timeout 1h;
		location / {
			proxy_pass http://%[6]s;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection "upgrade";
			proxy_set_header Host $host;
		}
		location /checked {
			auth_request /verify;
			auth_request_set $subject $upstream_http_ticket_subject;
			proxy_set_header Ticket-Subject $subject;
			proxy_pass http://%[6]s;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection "upgrade";
			proxy_set_header Host $host;
		}
		location = /verify {
			internal;
			proxy_pass http://gateway/verify;
			proxy_pass_request_body off;
			proxy_set_header Content-Length "";
			proxy_set_header Connection "";
			proxy_set_header X-Original-URI $request_uri;
		}
	}
}
`, runtime.NumCPU(), mostFiles(t), dir, b.nginx, b.gateway.addr, backend.addr))
	var out strings.Builder
	p := exec.Command(path, "-p", dir, "-c", conf)
	p.Stderr = &out
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	b.nginxPid = p.Process.Pid
	t.Cleanup(func() { p.Process.Signal(syscall.SIGTERM); p.Wait() })
	for deadline := time.Now().Add(20 * time.Second); ; {
		conn, err := net.Dial("tcp", b.nginx)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nginx does not listen: ", out.String())
		}
		time.Sleep(10 * time.Millisecond) // another process
	}
	version, _ := exec.Command(path, "-v").CombinedOutput()
	_, name, _ := strings.Cut(strings.TrimSpace(string(version)), "/")
	b.nginxVersion = name
	return b
}

func (b *beside) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	b.Log(line)
	b.report.WriteString(line + "\n")
}

// ratio tells one result. least says whether the ratio is to be at least the budget, or
// at most.
func (b *beside) ratio(what string, ours, theirs string, ratio, budget float64, least bool) {
	word, missed := "at most", ratio > budget
	if least {
		word, missed = "at least", ratio < budget
	}
	verdict := ""
	if missed {
		verdict = "  MISSED"
	}
	b.say("%-34s gateway %14s  nginx %14s  ratio %.2f (%s %.2f)%s", what, ours, theirs, ratio, word, budget, verdict)
}

// targets are what is measured in turns.
func (b *beside) targets() [2]func() net.Conn {
	return [2]func() net.Conn{
		func() net.Conn { return b.open(b.gateway.addr, "/ws") },
		func() net.Conn { return b.open(b.nginx, "/ws") },
	}
}

func (b *beside) open(addr, path string) net.Conn {
	b.Helper()
	conn, err := b.handshake(addr, path)
	if err != nil {
		b.Fatal(err)
	}
	return conn
}

func (b *beside) ticket() string {
	ticket, err := b.signer.Sign(&wsticket.Claims{Subject: "ada", SessionID: "s3"})
	if err != nil {
		b.Fatal(err)
	}
	return ticket
}

func (b *beside) handshake(addr, path string) (net.Conn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := upgrade(conn, addr, path+"?ticket="+b.ticket()); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// upgrade shakes hands as a browser does, and wants nothing behind the answer.
func upgrade(conn net.Conn, host, target string) error {
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	defer conn.SetDeadline(time.Time{})
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", target, host); err != nil {
		return err
	}
	// Nothing comes behind the head of a 101, so it may be read in pieces. The client
	// shares the machine with what is measured, and does as little as it can.
	var head [1 << 10]byte
	for n := 0; ; {
		more, err := conn.Read(head[n:])
		if err != nil {
			return err
		}
		n += more
		if bytes.HasSuffix(head[:n], []byte("\r\n\r\n")) && bytes.HasPrefix(head[:n], []byte("HTTP/1.1 101 ")) {
			return nil
		}
		if n > 12 && !bytes.HasPrefix(head[:n], []byte("HTTP/1.1 101 ")) {
			return fmt.Errorf("%q", head[:n])
		}
	}
}

// frame is a masked binary frame, as a client sends it.
func frame(size int) []byte {
	f, err := ws.CompileFrame(ws.MaskFrame(ws.NewBinaryFrame(make([]byte, size))))
	if err != nil {
		panic(err)
	}
	return f
}

// latency measures echoes of 64 bytes, over so many connections at a time.
func (b *beside) latency(connections, messages int) {
	const rounds = 20
	// A busy machine spoils some rounds, for both. So what counts is the median round.
	parts := [2]int{50, 99}
	var at [2][2][]float64 // of each part, for each of both
	var broken atomic.Bool
	var all [2][]net.Conn
	for i, open := range b.targets() {
		for range connections {
			all[i] = append(all[i], open())
		}
	}
	message := frame(64)
	for round := range rounds {
		for turn := range 2 {
			i := (round + turn) % 2
			var took []time.Duration
			var mu sync.Mutex
			var running sync.WaitGroup
			for _, conn := range all[i] {
				running.Go(func() {
					mine := make([]time.Duration, 0, messages/rounds)
					back := make([]byte, len(message))
					for range messages / rounds {
						began := time.Now()
						_, err := conn.Write(message)
						if err == nil {
							_, err = io.ReadFull(conn, back)
						}
						if err != nil {
							b.Error(err)
							broken.Store(true)
							return
						}
						mine = append(mine, time.Since(began))
					}
					mu.Lock()
					took = append(took, mine...)
					mu.Unlock()
				})
			}
			running.Wait()
			if broken.Load() {
				return
			}
			slices.Sort(took)
			for k, p := range parts {
				at[k][i] = append(at[k][i], float64(took[len(took)*p/100]))
			}
		}
	}
	for i := range all {
		for _, conn := range all[i] {
			conn.Close()
		}
	}
	for k, p := range parts {
		var ratios []float64
		for round := range rounds {
			ratios = append(ratios, at[k][0][round]/at[k][1][round])
		}
		shown := func(i int) string { return time.Duration(median(at[k][i])).Round(100 * time.Nanosecond).String() }
		b.ratio(fmt.Sprintf("echo of 64 B, %d at a time, p%d", connections, p), shown(0), shown(1), median(ratios), 1.3, false)
	}
}

// throughput measures messages that stream to the backend and back, over one
// connection.
func (b *beside) throughput(size int) {
	const rounds, each = 10, 500 * time.Millisecond
	message := frame(size)
	var rates [2][]float64
	var ratios []float64
	for round := range rounds {
		var rate [2]float64
		for turn := range 2 {
			i := (round + turn) % 2
			conn := b.targets()[i]()
			done := make(chan int64)
			go func() {
				n, _ := io.CopyBuffer(io.Discard, struct{ io.Reader }{conn}, make([]byte, 256<<10))
				done <- n
			}()
			// A client writes several small messages at once where it can.
			block := message
			for len(block) < 64<<10 {
				block = append(block, message...)
			}
			began := time.Now()
			for time.Since(began) < each {
				if _, err := conn.Write(block); err != nil {
					b.Error(err)
					break
				}
			}
			conn.(*net.TCPConn).CloseWrite()
			n := <-done
			rate[i] = float64(n) / time.Since(began).Seconds()
			rates[i] = append(rates[i], rate[i])
			conn.Close()
		}
		ratios = append(ratios, rate[0]/rate[1])
	}
	mb := func(i int) string { return fmt.Sprintf("%.0f MB/s", median(rates[i])/1e6) }
	b.ratio(fmt.Sprintf("stream of %d KB messages", size>>10), mb(0), mb(1), median(ratios), 0.9, true)
}

// handshakes measures whole handshakes, each on a connection of its own: those of the
// gateway, and those of nginx that asks the gateway's /verify.
func (b *beside) handshakes() {
	const rounds, each, clients = 10, 400, 8
	var rates [2][]float64
	var ratios []float64
	var spent [2]time.Duration // of the processor: by the gateway, and by nginx with the gateway
	for round := range rounds {
		var rate [2]float64
		for turn := range 2 {
			i := (round + turn) % 2
			addr, path := b.gateway.addr, "/ws"
			if i == 1 {
				addr, path = b.nginx, "/checked"
			}
			targets := make([]string, each)
			for j := range targets {
				targets[j] = path + "?ticket=" + b.ticket()
			}
			var next atomic.Int64
			var running sync.WaitGroup
			before := b.processorTime(b.gateway.Process.Pid) + b.processorTime(b.nginxPid)
			began := time.Now()
			for range clients {
				running.Go(func() {
					for {
						j := int(next.Add(1)) - 1
						if j >= each {
							return
						}
						conn, err := net.Dial("tcp", addr)
						if err == nil {
							err = upgrade(conn, addr, targets[j])
							conn.Close()
						}
						if err != nil {
							b.Errorf("%s: %v", path, err)
							return
						}
					}
				})
			}
			running.Wait()
			rate[i] = each / time.Since(began).Seconds()
			rates[i] = append(rates[i], rate[i])
			spent[i] += b.processorTime(b.gateway.Process.Pid) + b.processorTime(b.nginxPid) - before
		}
		ratios = append(ratios, rate[0]/rate[1])
	}
	each1 := func(i int) string { return fmt.Sprintf("%.0f /s", median(rates[i])) }
	b.ratio("handshakes, nginx by auth_request", each1(0), each1(1), median(ratios), 1, true)
	cpu := func(i int) string { return (spent[i] / (rounds * each)).Round(time.Microsecond).String() }
	b.say("%-34s gateway %14s  nginx %14s  ratio %.2f (its /verify included)", "processor time for each of them", cpu(0), cpu(1), float64(spent[0])/float64(spent[1]))
}

// processorTime is what a process and its children have spent so far.
func (b *beside) processorTime(pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("no /proc here: " + err.Error())
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var total time.Duration
	for _, field := range fields[11:13] { // user and system, in hundredths
		n, _ := strconv.Atoi(field)
		total += time.Duration(n) * 10 * time.Millisecond
	}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	for _, child := range strings.Fields(string(children)) {
		if n, err := strconv.Atoi(child); err == nil {
			total += b.processorTime(n)
		}
	}
	return total
}

// idle measures what is resident for each of many idle connections.
func (b *beside) idle() {
	var each [2]int
	for i, open := range b.targets() {
		pid := b.gateway.Process.Pid
		if i == 1 {
			pid = b.nginxPid
		}
		var conns []net.Conn
		for range 100 {
			conns = append(conns, open())
		}
		before := b.resident(pid)
		var mu sync.Mutex
		var running sync.WaitGroup
		var next atomic.Int64
		for range 8 {
			running.Go(func() {
				for next.Add(1) <= int64(b.connections)-100 {
					addr := []string{b.gateway.addr, b.nginx}[i]
					conn, err := b.handshake(addr, "/ws")
					if err != nil {
						b.Error(err)
						return
					}
					mu.Lock()
					conns = append(conns, conn)
					mu.Unlock()
				}
			})
		}
		running.Wait()
		for deadline := time.Now().Add(20 * time.Second); ; {
			each[i] = (b.resident(pid) - before) / (len(conns) - 100)
			if i == 1 || each[i] <= 12<<10 || time.Now().After(deadline) {
				break
			}
			time.Sleep(500 * time.Millisecond) // the collector of another process returns memory when it likes
		}
		for _, conn := range conns {
			conn.Close()
		}
	}
	b.say("%-34s gateway %14s  nginx %14s  (at most %d B)", fmt.Sprintf("resident for each of %d idle", b.connections), fmt.Sprintf("%d B", each[0]), fmt.Sprintf("%d B", each[1]), 16<<10)
	if each[0] > 16<<10 {
		b.Errorf("%d bytes resident for each idle connection, want at most %d", each[0], 16<<10)
	}
}

// resident is the memory of a process and of its children.
func (b *beside) resident(pid int) int {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip("no /proc here: " + err.Error())
	}
	_, line, _ := strings.Cut(string(status), "VmRSS:")
	var kb int
	fmt.Sscan(line, &kb)
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	total := kb << 10
	for _, child := range strings.Fields(string(children)) {
		if n, err := strconv.Atoi(child); err == nil {
			total += b.resident(n)
		}
	}
	return total
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	_, rest, _ := strings.Cut(string(info), "model name")
	_, name, _ := strings.Cut(rest, ": ")
	name, _, _ = strings.Cut(name, "\n")
	return name
}

func load() string {
	average, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(average))[:3], " ")
}

// echoServer upgrades whoever asks, and sends every byte back: the backend of the
// measurements, which does as little as a backend can.
func echoServer() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "listening on "+l.Addr().String())
	for {
		conn, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() {
			defer conn.Close()
			if _, err := (ws.Upgrader{}).Upgrade(conn); err == nil {
				// io.Copy alone would splice, and hold a pipe for each that is idle.
				io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{conn}, make([]byte, 64<<10))
			}
		}()
	}
}
