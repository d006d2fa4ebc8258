package wsticket

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What a handshake does when the time is over, in bubbles where seconds take no time.

// Whatever is decided when the time is over is answered all the same, within a
// moment: by all three, whether the application or the guard took too long.
func TestLateRefusalsAreAnswered(t *testing.T) {
	const timeout = 300 * time.Millisecond
	later := func(err error) func() error { return func() error { time.Sleep(350 * time.Millisecond); return err } }
	heeds := guardWith(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	heedsNot := func(err error) ReplayGuard {
		return guardWith(func(context.Context) error { time.Sleep(350 * time.Millisecond); return err })
	}
	frozen := guardWith(func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			return errors.New("it would wait for ever")
		}
		<-ctx.Done()
		return ctx.Err()
	})
	for name, c := range map[string]struct {
		alter  func(*wayConfig)
		want   Error // 0 for accepted
		within time.Duration
		spent  int
	}{
		"the application says no late":  {func(c *wayConfig) { c.Agrees = later(ErrUnauthorized) }, ErrUnauthorized, timeout + grace, 0},
		"the application says yes late": {func(c *wayConfig) { c.Agrees = later(nil) }, ErrTimeout, timeout + grace, 0},
		"a guard waits for its context": {func(c *wayConfig) { c.Guard = heeds }, ErrReplayUnavailable, timeout, 1},
		"a guard is frozen":             {func(c *wayConfig) { c.Guard = frozen }, ErrReplayUnavailable, timeout, 1},
		"a guard says no late":          {func(c *wayConfig) { c.Guard = heedsNot(ErrReplayed) }, ErrReplayed, timeout + grace, 1},
		"a guard fails late":            {func(c *wayConfig) { c.Guard = heedsNot(io.ErrUnexpectedEOF) }, ErrReplayUnavailable, timeout + grace, 1},
		"a guard says yes late":         {func(c *wayConfig) { c.Guard = heedsNot(nil) }, 0, timeout + grace, 1}, // the ticket is spent: let it count
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, w := range threeWays(t, func(config *wayConfig) {
					config.Timeout = timeout
					c.alter(config)
				}) {
					start := time.Now()
					answered, err := w.overPipe(t, request("/?ticket="+w.door.ticket(t, Claims{}), fromApp), timeout)
					took := time.Since(start)
					var want string
					switch {
					case w.name == "Hooks" && name == "the application says no late":
						// The answer to the user's own no is gobwas's, and written as the
						// connection's deadline has it.
						if !errors.Is(err, ErrUnauthorized) || w.door.guard.spent != 0 {
							t.Errorf("%s: %v, %d spent", w.name, err, w.door.guard.spent)
						}
						continue
					case c.want == 0:
						want = "HTTP/1.1 101 "
					default:
						want = refusalOf(c.want.Status())[:len("HTTP/1.1 xxx ")]
					}
					if c.want == 0 && err != nil || c.want != 0 && !errors.Is(err, c.want) || !strings.HasPrefix(answered, want) {
						t.Errorf("%s: %v, answered %q, want %q", w.name, err, answered, want)
					}
					if took > max(c.within, 350*time.Millisecond) || w.door.guard.spent != c.spent {
						t.Errorf("%s: took %v, %d spent", w.name, took, w.door.guard.spent)
					}
				}
			})
		})
	}
}

// overPipe has a client that reads all it gets, until the gateway closes. The Hooks'
// caller gives the connection a little more time than the Hooks have.
func (w *way) overPipe(t *testing.T, head string, timeout time.Duration) (answered string, err error) {
	t.Helper()
	if w.name == "Gate" {
		return w.try(head)
	}
	there, here := net.Pipe()
	var got bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		go io.WriteString(there, strings.Replace(head, "keep-alive, ", "", 1))
		io.Copy(&got, there)
	}()
	if w.name == "Hooks" {
		here.SetDeadline(time.Now().Add(timeout + grace))
	}
	err = w.conn(here)
	here.Close()
	<-done
	there.Close()
	return got.String(), err
}

// The Timeout is 5 s where none is given, for all three, and a deadline of the
// context that is later does not make it longer.
func TestTimeoutDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var left time.Duration
		guard := guardWith(func(ctx context.Context) error {
			end, _ := ctx.Deadline()
			left = time.Until(end)
			return nil
		})
		for _, w := range threeWays(t, func(c *wayConfig) { c.Guard = guard }) {
			left = 0
			w.wants(t, "default", request("/?ticket=$T"), 0, Claims{})
			if left > defaultTimeout-grace || left < defaultTimeout-2*grace {
				t.Errorf("%s: the guard has %v", w.name, left)
			}
		}
		for _, timeout := range []time.Duration{-1, -time.Hour} {
			d := newDoor(t, nil)
			_, err1 := NewUpgrader(UpgraderConfig{Verifier: d.verifier, Timeout: timeout})
			_, err2 := NewGate(GateConfig{Verifier: d.verifier, Timeout: timeout})
			_, err3 := NewHooks(HooksConfig{Verifier: d.verifier, Timeout: timeout})
			for _, err := range []error{err1, err2, err3} {
				if err == nil || !strings.Contains(err.Error(), "Timeout is -") {
					t.Errorf("Timeout %v: %v", timeout, err)
				}
			}
		}
	})
}

// A deadline of the context counts where it is earlier, and only there.
func TestContextDeadlineCounts(t *testing.T) {
	for _, c := range []struct{ context, timeout, want time.Duration }{
		{time.Second, 3 * time.Second, time.Second},
		{time.Hour, 3 * time.Second, 3 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), c.context)
			defer cancel()
			d := newDoor(t, func(u *UpgraderConfig) { u.Timeout = c.timeout })
			there, here := net.Pipe()
			go io.Copy(io.Discard, there)
			start := time.Now()
			if err := d.Upgrade(ctx, here, new(Handshake)); !errors.Is(err, ErrTimeout) || time.Since(start) != c.want {
				t.Errorf("%v, %v: the Upgrader took %v: %v", c.context, c.timeout, time.Since(start), err)
			}
			here.Close()
			there.Close()

			guarded := newDoor(t, nil)
			guarded.guard.ReplayGuard = guardWith(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
			start = time.Now()
			g := newGate(t, guarded, func(g *GateConfig) { g.Verifier, g.Timeout = guarded.verifier, c.timeout })
			if _, err := g.Redeem(parsed(request("/?ticket=" + guarded.ticket(t, Claims{}))).WithContext(ctx)); !errors.Is(err, ErrReplayUnavailable) && c.context > c.timeout || time.Since(start) > c.want {
				t.Errorf("%v, %v: the Gate took %v: %v", c.context, c.timeout, time.Since(start), err)
			}
			start = time.Now()
			h := newHooks(t, guarded, func(h *HooksConfig) { h.Timeout = c.timeout })
			if _, err := h.Upgrade(ctx, newMemConn([]byte(request("/?ticket="+guarded.ticket(t, Claims{})))), new(Ticket)); err == nil || time.Since(start) > c.want {
				t.Errorf("%v, %v: the Hooks took %v: %v", c.context, c.timeout, time.Since(start), err)
			}
		})
	}
}

// A Gate with a frozen guard behind a real server: answered in time, and nothing is
// left running.
func TestGateFrozenGuard(t *testing.T) {
	d := newDoor(t, nil)
	var guards sync.WaitGroup
	d.guard.ReplayGuard = guardWith(func(ctx context.Context) error {
		guards.Add(1)
		defer guards.Done()
		<-ctx.Done()
		return ctx.Err()
	})
	g := newGate(t, d, func(c *GateConfig) { c.Verifier, c.Timeout = d.verifier, 300*time.Millisecond })
	server := httptest.NewServer(g.Wrap(nil))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	start := time.Now()
	io.WriteString(conn, request("/?ticket="+d.ticket(t, Claims{})))
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	answered := make([]byte, len("HTTP/1.1 503"))
	if _, err := io.ReadFull(conn, answered); err != nil || string(answered) != "HTTP/1.1 503" {
		t.Errorf("%q, %v", answered, err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	guards.Wait()
}

// The time at which a ticket was judged is the time at which it is spent: a guard
// must not see another.
func TestSpendsAtTheTimeOfTheJudgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at int64
		for _, w := range threeWays(t, func(c *wayConfig) {
			c.Timeout = time.Minute
			c.Guard = guardFunc(func(u Use) error { at = u.Now; return nil })
			c.Agrees = func() error { time.Sleep(3 * time.Second); return nil }
		}) {
			w.wants(t, "spends", request("/?ticket=$T"), 0, Claims{})
			if now := time.Now().Unix(); at != now {
				t.Errorf("%s: spent at %d, now is %d", w.name, at, now)
			}
		}
	})
}

// A client that waits for the close is not kept on a connection that cannot be
// closed for writing alone, and one that still sends is heard to its end.
func TestNoCloseWrite(t *testing.T) {
	for name, c := range map[string]struct {
		conn  func(net.Conn) net.Conn
		sends time.Duration // how long the client goes on sending
		min   time.Duration
		max   time.Duration
	}{
		"a client that waits":            {func(c net.Conn) net.Conn { return c }, 0, linger, linger},
		"a client that sends on":         {func(c net.Conn) net.Conn { return c }, 2 * time.Second, 2 * time.Second, 2*time.Second + linger},
		"one that sends for ever":        {func(c net.Conn) net.Conn { return c }, time.Hour, 5 * time.Second, 5 * time.Second},
		"a CloseWrite that fails":        {func(c net.Conn) net.Conn { return closing{c, errors.ErrUnsupported} }, 0, linger, linger},
		"a CloseWrite, and who waits on": {func(c net.Conn) net.Conn { return closing{c, nil} }, 0, 5 * time.Second, 5 * time.Second},
		"a health check":                 {func(c net.Conn) net.Conn { return c }, 0, linger, linger},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDoor(t, func(c *UpgraderConfig) { c.HealthPath = "/healthz" })
				head, want, wire := request("/"), error(ErrMissing), refusalOf(401)
				if name == "a health check" {
					head, want, wire = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", ErrHealthCheck, "HTTP/1.1 200 OK"
				}
				there, here := net.Pipe()
				var got bytes.Buffer
				closed := make(chan struct{})
				go func() {
					io.WriteString(there, head)
					go func() {
						for start := time.Now(); time.Since(start) < c.sends; time.Sleep(100 * time.Millisecond) {
							if _, err := there.Write([]byte("more")); err != nil {
								return
							}
						}
					}()
					io.Copy(&got, there)
					close(closed)
				}()
				start := time.Now()
				if err := d.Upgrade(context.Background(), c.conn(here), new(Handshake)); !errors.Is(err, want) {
					t.Error(err)
				}
				if took := time.Since(start); took < c.min || took > c.max {
					t.Errorf("took %v, want %v to %v", took, c.min, c.max)
				}
				here.Close()
				<-closed
				there.Close()
				if !strings.HasPrefix(got.String(), wire) {
					t.Errorf("answered %q", got.String())
				}
				time.Sleep(time.Second) // the client finds out
			})
		})
	}
}

// closing is a connection with a CloseWrite that does nothing.
type closing struct {
	net.Conn
	err error
}

func (c closing) CloseWrite() error { return c.err }

// A TLS client that takes nothing more holds a refusal up for a moment at each step,
// and not for the five seconds that crypto/tls gives an alert; nor does the Close that
// comes after.
func TestTLSAlertStuck(t *testing.T) {
	config, pool := certificate(t)
	for name, c := range map[string]struct {
		reads int // bytes of the answer that the client still reads
		takes time.Duration
	}{
		"the answer is stuck": {0, 5*time.Second + grace}, // the write ends with the deadline
		"the alert is stuck":  {len(refusalOf(401)), grace + linger},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDoor(t, nil)
				there, here := net.Pipe()
				stop := make(chan struct{})
				go func() {
					client := tls.Client(there, &tls.Config{RootCAs: pool, ServerName: "gw.example", MaxVersion: tls.VersionTLS12})
					io.WriteString(client, request("/"))
					io.ReadFull(client, make([]byte, c.reads))
					<-stop
					there.Close()
				}()
				conn := tls.Server(here, config)
				start := time.Now()
				if err := d.Upgrade(context.Background(), conn, new(Handshake)); !errors.Is(err, ErrMissing) {
					t.Error(err)
				}
				upgraded := time.Since(start)
				conn.Close()
				if took := time.Since(start); upgraded > c.takes || took > upgraded {
					t.Errorf("Upgrade took %v, Close %v more; want %v", upgraded, took-upgraded, c.takes)
				}
				close(stop)
			})
		})
	}
}

// The same where the alert is late in setting its own deadline: the first try to
// end it comes too early.
func TestTLSAlertStuckLate(t *testing.T) {
	config, pool := certificate(t)
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, nil)
		there, here := net.Pipe()
		stop := make(chan struct{})
		go func() {
			client := tls.Client(there, &tls.Config{RootCAs: pool, ServerName: "gw.example", MaxVersion: tls.VersionTLS12})
			io.WriteString(client, request("/"))
			io.ReadFull(client, make([]byte, len(refusalOf(401))))
			<-stop
			there.Close()
		}()
		slow := &slowDeadline{Conn: here}
		conn := tls.Server(slow, config)
		start := time.Now()
		if err := d.Upgrade(context.Background(), conn, new(Handshake)); !errors.Is(err, ErrMissing) {
			t.Error(err)
		}
		conn.Close()
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
		close(stop)
	})
}

// slowDeadline takes its time to set a deadline for writing.
type slowDeadline struct{ net.Conn }

func (c *slowDeadline) SetWriteDeadline(t time.Time) error {
	time.Sleep(grace + grace/2)
	return c.Conn.SetWriteDeadline(t)
}

// An overloaded gateway says nothing over TLS: it would have to shake hands first.
func TestOverloadedTLS(t *testing.T) {
	config, _ := certificate(t)
	d := newDoor(t, func(c *UpgraderConfig) { c.MaxPending = 1 })
	d.pending.Store(1)
	under := newMemConn(nil)
	if err := d.Upgrade(context.Background(), tls.Server(under, config), new(Handshake)); !errors.Is(err, ErrOverloaded) || len(under.out) != 0 || !under.deadline.IsZero() {
		t.Errorf("%v, said %q, deadline %v", err, under.out, under.deadline)
	}
}

// The default of OnError: one line a minute, with the cure and without the ticket.
func TestGateLogsFaults(t *testing.T) {
	var out bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	defer slog.SetDefault(before)
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, nil)
		g := newGate(t, d, nil)
		ticket := d.ticket(t, Claims{TTL: time.Minute})
		fail := func() int {
			w := httptest.NewRecorder()
			g.Wrap(http.NotFoundHandler()).ServeHTTP(w, parsed(request("/?ticket="+ticket)))
			if w.Code != 500 {
				t.Errorf("answered %d", w.Code)
			}
			return strings.Count(out.String(), "\n")
		}
		for range 10 {
			if n := fail(); n != 1 {
				t.Fatalf("%d lines:\n%s", n, out.String())
			}
		}
		time.Sleep(59 * time.Second)
		if n := fail(); n != 1 {
			t.Errorf("%d lines after 59 s", n)
		}
		time.Sleep(time.Second)
		ticket = d.ticket(t, Claims{})
		if n := fail(); n != 2 {
			t.Errorf("%d lines after a minute", n)
		}
		if text := out.String(); !strings.Contains(text, "*httptest.ResponseRecorder") || !strings.Contains(text, "Unwrap") || strings.Contains(text, ticket[:20]) {
			t.Error(text)
		}
		if g.Broken() != 12 {
			t.Errorf("%d broken", g.Broken())
		}
	})
}
