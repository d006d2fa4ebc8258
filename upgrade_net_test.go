package wsticket

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// What waits on the clock runs in a bubble, where five seconds take no time.

func TestUpgradeDeadlines(t *testing.T) {
	for name, client := range map[string]func(c net.Conn, ticket string){
		"idle": func(c net.Conn, _ string) {},
		"slow bytes": func(c net.Conn, ticket string) {
			for _, b := range []byte(carried[0].head(ticket)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		},
		"slow lines": func(c net.Conn, ticket string) {
			for line := range strings.Lines(carried[0].head(ticket)) {
				if _, err := io.WriteString(c, line); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		},
		"lines without end": func(c net.Conn, _ string) {
			io.WriteString(c, "GET / HTTP/1.1\r\n")
			for {
				if _, err := io.WriteString(c, "a: b\r\n"); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		},
		"a TLS hello": func(c net.Conn, _ string) {
			c.Write(append([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\x01\r\n\x02"), make([]byte, 500)...))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDoor(t, nil)
				ticket := d.ticket(t, Claims{})
				there, here := net.Pipe()
				var answer bytes.Buffer
				go func() {
					go io.Copy(&answer, there)
					client(there, ticket)
				}()
				start := time.Now()
				var h Handshake
				err := d.Upgrade(context.Background(), here, &h)
				if !errors.Is(err, ErrTimeout) {
					t.Errorf("%v, want %v", err, ErrTimeout)
				}
				if took := time.Since(start); took < 5*time.Second || took > 5*time.Second+grace {
					t.Errorf("took %v", took)
				}
				here.Close()
				there.Close()
				time.Sleep(2 * time.Second) // the client finds out
				synctest.Wait()
				if answer.String() != refusalOf(408) {
					t.Errorf("answered %q", answer.String())
				}
				if d.guard.spent != 0 || d.Pending() != 0 || h.n != 0 {
					t.Errorf("%d spent, %d pending, %d bytes kept", d.guard.spent, d.Pending(), h.n)
				}
			})
		})
	}
}

// A client that never reads holds a handshake up until the deadline at most.
func TestUpgradeNeverRead(t *testing.T) {
	for _, c := range []struct {
		name string
		head func(d *door) string
		want error
		more time.Duration // it may have been decided at the last moment
	}{
		{"the 101", func(d *door) string { return carried[0].head(d.ticket(t, Claims{})) }, ErrTimeout, 0},
		{"a refusal", func(*door) string { return request("/") }, ErrMissing, 100 * time.Millisecond},
		{"a 408", func(*door) string { return "GET / HTTP/1.1\r\n" }, ErrTimeout, 100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told := 0
				d := newDoor(t, func(c *UpgraderConfig) {
					c.Timeout = 3 * time.Second
					c.OnRefuse = func(Refusal) { told++ }
				})
				there, here := net.Pipe()
				go io.WriteString(there, c.head(d))
				start := time.Now()
				if err := d.Upgrade(context.Background(), here, new(Handshake)); !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
				if took := time.Since(start); took != 3*time.Second+c.more {
					t.Errorf("took %v", took)
				}
				if code, _ := CodeOf(c.want); told != 1 || d.Stats().Refused(code) != 1 || d.Stats().Accepted() != 0 {
					t.Errorf("told %d times, counted %v", told, d.Stats().Map())
				}
				here.Close()
				there.Close()
			})
		})
	}
}

func TestUpgradeContextDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, nil)
		there, here := net.Pipe()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		start := time.Now()
		go io.Copy(io.Discard, there)
		if err := d.Upgrade(ctx, here, new(Handshake)); !errors.Is(err, ErrTimeout) || time.Since(start) > time.Second+grace {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		here.Close()
		there.Close()
		synctest.Wait()
	})
}

// A refused client that sends on is drained until the deadline, or until it was
// enough, and no longer.
func TestUpgradeDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, nil)
		there, here := net.Pipe()
		var sent atomic.Int64
		go func() {
			io.WriteString(there, request("/"))
			io.ReadFull(there, make([]byte, len(refusalOf(401))))
			for {
				n, err := there.Write(make([]byte, 100))
				sent.Add(int64(n))
				if err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		}()
		start := time.Now()
		if err := d.Upgrade(context.Background(), here, new(Handshake)); !errors.Is(err, ErrMissing) {
			t.Error(err)
		}
		if took := time.Since(start); took != 5*time.Second || sent.Load() < 4000 {
			t.Errorf("took %v, read %d bytes", took, sent.Load())
		}
		here.Close()
		there.Close()
		time.Sleep(time.Second) // the client finds out
	})
}

// After a 408 nothing more is read: the client has had its time.
func TestUpgradeTimeoutDoesNotDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, nil)
		there, here := net.Pipe()
		go io.Copy(io.Discard, there)
		go func() {
			for {
				if _, err := there.Write([]byte("a")); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}()
		start := time.Now()
		if err := d.Upgrade(context.Background(), closing{here, nil}, new(Handshake)); !errors.Is(err, ErrTimeout) || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		here.Close()
		there.Close()
		time.Sleep(time.Second)
	})
}

// A pending handshake takes memory for what has come of its head.
func TestUpgradeMemoryOfPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, nil)
		head := padded(t, defaultHeadBytes, d.ticket(t, Claims{}))
		for _, n := range []int{0, 1, 1000, 2047, 2048, 2049, 4000, 6000, 10_000, 16_000, 16_383} {
			there, here := net.Pipe()
			var h Handshake
			done := make(chan error)
			go func() { done <- d.Upgrade(context.Background(), here, &h) }()
			io.WriteString(there, head[:n])
			synctest.Wait()
			if got, most := len(h.buf), max(firstBuffer, 2*n); got > most+d.reserve || got > defaultHeadBytes+d.reserve {
				t.Errorf("%d bytes of a head take %d", n, got)
			}
			there.Close()
			if err := <-done; err == nil {
				t.Errorf("%d bytes are a handshake", n)
			}
			here.Close()
		}
	})
}

// Where Authorize takes too long nothing is spent, and where the ticket ends
// meanwhile neither.
func TestUpgradeSlowAuthorize(t *testing.T) {
	for name, c := range map[string]struct {
		takes, timeout time.Duration
		want           error
	}{
		"beyond the deadline": {6 * time.Second, 5 * time.Second, ErrTimeout},
		"beyond the ticket":   {13 * time.Second, 20 * time.Second, ErrExpired},
		"in time":             {4 * time.Second, 5 * time.Second, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDoor(t, func(u *UpgraderConfig) {
					u.Timeout = c.timeout
					u.Authorize = func(context.Context, *Handshake) error { time.Sleep(c.takes); return nil }
				})
				err := d.Upgrade(context.Background(), newMemConn([]byte(carried[0].head(d.ticket(t, Claims{})))), new(Handshake))
				if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					t.Errorf("%v, want %v", err, c.want)
				}
				if (d.guard.spent == 1) != (c.want == nil) {
					t.Errorf("%d spent", d.guard.spent)
				}
			})
		})
	}
}

// The Gate and the Hooks ask the application too.
func TestSlowAuthorizeElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, nil)
		gate := newGate(t, d, func(c *GateConfig) {
			c.Timeout = 20 * time.Second
			c.Authorize = func(*http.Request, *Ticket) error { time.Sleep(13 * time.Second); return nil }
		})
		if _, err := gate.Redeem(parsed(request("/?ticket=" + d.ticket(t, Claims{})))); !errors.Is(err, ErrExpired) {
			t.Errorf("the Gate: %v", err)
		}
		hooks := newHooks(t, d, func(c *HooksConfig) {
			c.Timeout = 20 * time.Second
			c.Upgrader.OnBeforeUpgrade = func() (ws.HandshakeHeader, error) { time.Sleep(13 * time.Second); return nil, nil }
		})
		if _, err := hooks.Upgrade(context.Background(), newMemConn([]byte(request("/?ticket="+d.ticket(t, Claims{})))), new(Ticket)); !errors.Is(err, ErrExpired) {
			t.Errorf("the Hooks: %v", err)
		}
		if d.guard.spent != 0 {
			t.Errorf("%d spent", d.guard.spent)
		}
	})
}

func TestUpgradeOverloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, func(c *UpgraderConfig) { c.MaxPending = 2 })
		var waiting sync.WaitGroup
		for range 2 {
			there, here := net.Pipe()
			waiting.Go(func() {
				d.Upgrade(context.Background(), here, new(Handshake))
				here.Close()
			})
			go io.Copy(io.Discard, there)
		}
		synctest.Wait()
		conn := newMemConn([]byte(carried[0].head(d.ticket(t, Claims{}))))
		if err := d.Upgrade(context.Background(), conn, new(Handshake)); !errors.Is(err, ErrOverloaded) || string(conn.out) != refusalOf(503) {
			t.Errorf("%v, answered %q", err, conn.out)
		}
		if left := conn.in.(*bytes.Reader).Len(); left == 0 {
			t.Error("it was read")
		}
		there, here := net.Pipe() // one that does not take the answer
		start := time.Now()
		if err := d.Upgrade(context.Background(), here, new(Handshake)); !errors.Is(err, ErrOverloaded) || time.Since(start) > grace {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		there.Close()
		if n := d.Stats().Refused(ErrOverloaded); n != 2 {
			t.Errorf("%d counted", n)
		}
		waiting.Wait()
		conn = newMemConn([]byte(carried[0].head(d.ticket(t, Claims{}))))
		if err := d.Upgrade(context.Background(), conn, new(Handshake)); err != nil || d.Pending() != 0 {
			t.Errorf("later: %v, %d pending", err, d.Pending())
		}
	})
}

// listen serves every connection with handle on the loopback interface.
func listen(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() { l.Close(); conns.Wait() })
	return l.Addr().String()
}

// echo sends the first message back.
func echo(conn net.Conn) {
	if msg, op, err := wsutil.ReadClientData(conn); err == nil {
		wsutil.WriteServerMessage(conn, op, msg)
	}
}

func TestUpgradeTCP(t *testing.T) {
	d := newDoor(t, nil)
	addr := listen(t, func(conn net.Conn) {
		var h Handshake
		if d.Upgrade(context.Background(), conn, &h) == nil {
			echo(conn)
		}
	})
	conn, _, _, err := ws.Dial(context.Background(), "ws://"+addr+"/?ticket="+d.ticket(t, Claims{IP: "127.0.0.0/8"}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := wsutil.WriteClientText(conn, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got, err := wsutil.ReadServerText(conn); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

// A refusal must reach the client whole though it has sent more than was read:
// a reset would take it away.
func TestUpgradeNoReset(t *testing.T) {
	d := newDoor(t, nil)
	addr := listen(t, func(conn net.Conn) { d.Upgrade(context.Background(), conn, new(Handshake)) })
	for name, c := range map[string]struct {
		sends  string
		status int
	}{
		"a long head":      {request("/", "a: "+strings.Repeat("a", 7000)), 401},
		"a body behind":    {request("/", "Content-Length: 100000") + strings.Repeat("b", 100_000), 400},
		"far over a limit": {request("/", "a: "+strings.Repeat("a", 200_000)), 431},
	} {
		for range 20 {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, c.sends); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got, err := io.ReadAll(conn)
			if err != nil || string(got) != refusalOf(c.status) {
				t.Fatalf("%s: %q, %v", name, got, err)
			}
			conn.Close()
		}
	}
}

func TestUpgradeTLS(t *testing.T) {
	config, pool := certificate(t)
	d := newDoor(t, nil)
	addr := listen(t, func(conn net.Conn) {
		conn = tls.Server(conn, config)
		defer conn.Close()
		var h Handshake
		if d.Upgrade(context.Background(), conn, &h) == nil {
			echo(conn)
		}
	})
	dial := func(target string) (net.Conn, error) {
		conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, ServerName: "gw.example"})
		if err == nil {
			_, err = io.WriteString(conn, request(target))
		}
		return conn, err
	}
	conn, err := dial("/?ticket=" + d.ticket(t, Claims{IP: "127.0.0.1"}))
	if err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len(switching)+2)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != switching+"\r\n" {
		t.Fatalf("%q, %v", answer, err)
	}
	wsutil.WriteClientText(conn, []byte("hello"))
	if got, err := wsutil.ReadServerText(conn); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	conn.Close()

	if conn, err = dial("/"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != refusalOf(401) {
		t.Errorf("%q, %v", got, err)
	}
	conn.Close()

	// Who speaks no TLS is not answered in HTTP.
	plain, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(plain, request("/"))
	if got, _ := io.ReadAll(plain); strings.Contains(string(got), "invalid_ticket") {
		t.Errorf("%q", got)
	}
	plain.Close()
}

// certificate makes a self-signed one for gw.example.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"gw.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

// Thousands of clients that send a byte a second are ended by the deadline, and
// cost little until then; good ones connect beside them.
func TestUpgradeSlowClients(t *testing.T) {
	const clients = 5000
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, nil)
		ticket := d.ticket(t, Claims{})
		goroutines := inBubbles()
		var before, during runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var slow sync.WaitGroup
		var ended, timeouts atomic.Int64
		start := time.Now()
		for range clients {
			conn := &dripping{memConn: memConn{remote: &net.TCPAddr{}}, head: []byte(carried[0].head(ticket))}
			slow.Go(func() {
				var h Handshake
				if err := d.Upgrade(context.Background(), conn, &h); errors.Is(err, ErrTimeout) {
					timeouts.Add(1)
				}
				if string(conn.out) != refusalOf(408) {
					t.Errorf("answered %q", conn.out)
				}
				ended.Add(1)
			})
		}
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		if d.Pending() != clients {
			t.Errorf("%d pending", d.Pending())
		}
		runtime.GC()
		runtime.ReadMemStats(&during)
		if !raceEnabled {
			used := float64(during.HeapAlloc+during.StackInuse-before.HeapAlloc-before.StackInuse) / clients
			t.Logf("%.0f bytes a pending handshake, its goroutine and its test connection included", used)
			if used > 12<<10 { // 9.4 to 10.4 KB are seen, by the processor and by chance
				t.Errorf("%.0f bytes a pending handshake", used)
			}
		}
		for range 100 {
			if err := d.Upgrade(context.Background(), newMemConn([]byte(carried[0].head(d.ticket(t, Claims{})))), new(Handshake)); err != nil {
				t.Errorf("a good client: %v", err)
			}
		}
		slow.Wait()
		if took := time.Since(start); ended.Load() != clients || timeouts.Load() != clients || took > 5*time.Second+grace {
			t.Errorf("%d ended, %d by the deadline, after %v", ended.Load(), timeouts.Load(), took)
		}
		synctest.Wait()
		if n := inBubbles(); n != goroutines || d.Pending() != 0 {
			t.Errorf("%d goroutines, %d before; %d pending", n, goroutines, d.Pending())
		}
	})
}

// inBubbles counts the goroutines of the bubble that a test runs in. Others may begin
// and end meanwhile: those of the runtime, and what an earlier test has left to end.
func inBubbles() (n int) {
	stacks := make([]byte, 1<<20)
	for stack := range bytes.SplitSeq(stacks[:runtime.Stack(stacks, true)], []byte("\n\n")) {
		head, _, _ := bytes.Cut(stack, []byte("\n"))
		if bytes.Contains(head, []byte("synctest bubble")) {
			n++
		}
	}
	return n
}

// dripping is a connection that brings a byte a second.
type dripping struct {
	memConn
	head []byte
}

func (c *dripping) Read(p []byte) (int, error) {
	wait := time.Second
	if left := time.Until(c.deadline); left < wait {
		time.Sleep(left)
		return 0, errDeadline
	}
	time.Sleep(wait)
	p[0] = c.head[0]
	c.head = c.head[1:]
	return 1, nil
}

var errDeadline = &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}

// The same over real sockets, with a second's worth of seconds.
func TestUpgradeSlowClientsTCP(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as the deadline")
	}
	const clients, timeout = 5000, 3 * time.Second
	before := runtime.NumGoroutine()
	d := newDoor(t, func(c *UpgraderConfig) { c.Timeout = timeout })
	var serving sync.WaitGroup
	addr := listen(t, func(conn net.Conn) {
		serving.Add(1)
		defer serving.Done()
		var h Handshake
		if d.Upgrade(context.Background(), conn, &h) == nil {
			echo(conn)
		}
	})
	slow := make([]net.Conn, clients)
	for i := range slow {
		conn, err := net.Dial("tcp", addr)
		if errors.Is(err, syscall.EMFILE) && os.Getenv("CI") == "" {
			t.Skipf("%d connections need more open files: ulimit -n %d", clients, 2*clients+1000)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		slow[i] = conn
	}
	start := time.Now()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	head := carried[0].head(d.ticket(t, Claims{}))
	for sent := 0; time.Since(start) < timeout; sent++ {
		for _, conn := range slow {
			io.WriteString(conn, head[sent:sent+1]) // fails once the gateway has had enough
		}
		for range 20 {
			conn, _, _, err := ws.Dial(context.Background(), "ws://"+addr+"/?ticket="+d.ticket(t, Claims{}))
			if err != nil {
				t.Fatalf("a good client: %v", err)
			}
			conn.Close()
		}
		<-second.C
	}
	for _, conn := range slow {
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		// A byte sent after the answer may have reset the connection behind it.
		if got, _ := io.ReadAll(conn); string(got) != refusalOf(408) {
			t.Fatalf("answered %q", got)
		}
	}
	serving.Wait()
	if st := d.Stats(); st.Refused(ErrTimeout) != clients || d.Pending() != 0 {
		t.Errorf("%d of %d ended by the deadline, %d pending", st.Refused(ErrTimeout), clients, d.Pending())
	}
	for _, conn := range slow {
		conn.Close()
	}
	// Those of the connections end some time after their clients are gone.
	for start := time.Now(); runtime.NumGoroutine() > before+10; runtime.Gosched() {
		if time.Since(start) > 30*time.Second {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// What a TLS client asked for stands in the errors of crypto/tls, whole: the error of
// the Upgrader, which people log, says as much of it as fits.
func TestErrorsOfTLSAreShort(t *testing.T) {
	config, pool := certificate(t)
	config.NextProtos = []string{"http/1.1"}
	var told []error
	d := newDoor(t, func(c *UpgraderConfig) { c.OnRefuse = func(r Refusal) { told = append(told, r.Err) } })
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		client := tls.Client(there, &tls.Config{RootCAs: pool, ServerName: "gw.example", NextProtos: slices.Repeat([]string{strings.Repeat("\x1b[31m", 40)}, 100)})
		if client.Handshake() == nil {
			t.Error("the client is in")
		}
	}()
	err := d.Upgrade(context.Background(), tls.Server(here, config), new(Handshake))
	here.Close()
	if err == nil || len(err.Error()) > 300 || strings.Contains(err.Error(), "\x1b") || !strings.Contains(err.Error(), "tls: client requested unsupported application protocols") {
		t.Errorf("%d bytes: %.400v", len(err.Error()), err)
	}
	if _, refused := CodeOf(err); refused || len(told) > 0 {
		t.Errorf("told %v", told)
	}
	// Within the head, it is a refusal.
	broken := errors.New("\u202e\x1b" + strings.Repeat("x", 5000))
	err = readError(broken, 1)
	if len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\u202e\x1b") || !errors.Is(err, broken) || !errors.Is(err, ErrBadHandshake) {
		t.Errorf("%d bytes: %.400v", len(err.Error()), err)
	}
	usual := &net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")}
	for n := range 2 {
		if err := readError(usual, n); !strings.HasSuffix(err.Error(), usual.Error()) || !errors.Is(err, usual) {
			t.Errorf("%v", err)
		}
	}
}
