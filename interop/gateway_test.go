package interop

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket"
)

// A gateway is a raw one on a loopback port of its own: an Upgrader, and an echo
// behind it. It keeps a list of verdicts, "accepted" or the code.
type gateway struct {
	addr     string
	verdicts chan string

	t        *testing.T
	listener net.Listener
	signer   *wsticket.Signer
}

// startGateway starts one whose keys are new, and stops it with the test.
func startGateway(t *testing.T, config wsticket.UpgraderConfig) *gateway {
	t.Helper()
	g := newGateway(t, &config.Verifier)
	upgrader, err := wsticket.NewUpgrader(config)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.listener, g.addr = listener, listener.Addr().String()
	serveRaw(t, listener, func(conn net.Conn) {
		var h wsticket.Handshake
		err := upgrader.Upgrade(context.Background(), conn, &h)
		if err == nil {
			g.verdicts <- "accepted"
			for {
				message, op, err := wsutil.ReadClientData(conn)
				if err != nil || wsutil.WriteServerMessage(conn, op, message) != nil {
					return
				}
			}
		}
		// A browser may open a connection that it then has no use for.
		if code, ok := wsticket.CodeOf(err); ok {
			g.verdicts <- code.Code()
		}
	})
	return g
}

// newGateway makes one without a listener, and the verifier of its keys.
func newGateway(t *testing.T, verifier **wsticket.Verifier) *gateway {
	t.Helper()
	k := newSecretKey(t, "HS256")
	cache, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 100, Since: time.Unix(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	*verifier, err = wsticket.NewVerifier(wsticket.VerifierConfig{Keys: k.keyring(t), Replay: cache})
	if err != nil {
		t.Fatal(err)
	}
	return &gateway{t: t, signer: k.signer(t), verdicts: make(chan string, 1000)}
}

// serveRaw hands every connection to serve on a goroutine of its own, and closes
// it after. When the test ends it closes all and waits.
func serveRaw(tb testing.TB, listener net.Listener, serve func(net.Conn)) {
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		open = map[net.Conn]bool{}
	)
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					tb.Errorf("accepting: %v", err)
				}
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			all.Go(func() {
				defer func() {
					conn.Close()
					mu.Lock()
					delete(open, conn)
					mu.Unlock()
				}()
				serve(conn)
			})
		}
	})
	tb.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for conn := range open {
			conn.Close()
		}
		mu.Unlock()
		all.Wait()
	})
}

// ticket signs one now, with changes to its claims.
func (g *gateway) ticket(change ...func(*wsticket.Claims)) string {
	return g.ticketAt(time.Now(), change...)
}

func (g *gateway) ticketAt(at time.Time, change ...func(*wsticket.Claims)) string {
	g.t.Helper()
	c := wsticket.Claims{Subject: "user-4711", TTL: time.Minute}
	for _, f := range change {
		f(&c)
	}
	ticket, err := g.signer.SignAt(at, &c)
	if err != nil {
		g.t.Fatal(err)
	}
	return ticket
}

// verdict waits for the next one.
func (g *gateway) verdict() string {
	g.t.Helper()
	select {
	case v := <-g.verdicts:
		return v
	case <-time.After(10 * time.Second):
		return "nothing: no handshake came"
	}
}

// silent wants no verdict that was not asked for.
func (g *gateway) silent() {
	g.t.Helper()
	select {
	case v := <-g.verdicts:
		g.t.Errorf("the gateway has a verdict too many: %s", v)
	default:
	}
}

// leavesNothing wants as many goroutines at the end of the test, after what is
// cleaned up from here on, as there are now.
func leavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(10 * time.Second)
		for runtime.NumGoroutine() > before {
			if time.Now().After(deadline) {
				stacks := make([]byte, 1<<20)
				t.Errorf("there are %d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}
