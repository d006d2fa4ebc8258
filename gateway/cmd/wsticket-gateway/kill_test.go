package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/wsticket/wsticket"
)

// A site is a backend that counts which tickets reach it, and gateways in front of it,
// one after the other.
type site struct {
	*testing.T
	signer *wsticket.Signer
	addr   string
	args   []string

	mu      sync.Mutex
	reached map[string]int // by the id of the ticket
}

func newSite(t *testing.T) *site {
	if os.Getenv("WSTICKET_SLOW") != "1" {
		t.Skip("takes long: set WSTICKET_SLOW=1")
	}
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys.json")
	put(t, keys, `{"keys":[`+keyring("a", "a")+`]}`)
	loaded, err := wsticket.LoadKeyring(keys)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{T: t, reached: map[string]int{}}
	if s.signer, err = wsticket.NewSigner(wsticket.SignerConfig{Keys: loaded, TTL: 50 * time.Second}); err != nil {
		t.Fatal(err)
	}
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.reached[r.Header.Get("Ticket-Id")]++
		s.mu.Unlock()
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err == nil {
			defer conn.Close()
			var b [1]byte
			conn.Read(b[:])
		}
	}))
	t.Cleanup(backend.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	l.Close()
	s.args = []string{"serve", "-listen", s.addr, "-leeway", "1s", "-keys", keys, "-upstream", backend.URL, "-state", filepath.Join(dir, "state"), "-drain", "2s", "-log-level", "error"}
	return s
}

func (s *site) ticket() string {
	ticket, err := s.signer.Sign(&wsticket.Claims{Subject: "ada"})
	if err != nil {
		s.Fatal(err)
	}
	return ticket
}

// errSent says that a handshake broke off when its ticket was on the way already.
var errSent = errors.New("broke off")

// try shows a ticket, and returns the status of the answer. An error that is no errSent
// means that the ticket was not sent.
func (s *site) try(ticket string) (status int, err error) {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	err = upgrade(conn, s.addr, "/ws?ticket="+ticket)
	if err == nil {
		return 101, nil
	}
	if _, scanErr := fmt.Sscanf(err.Error(), `"HTTP/1.1 %d `, &status); scanErr == nil {
		return status, nil
	}
	return 0, errSent
}

// TestKilledUnderLoad kills a gateway that works at full load, three times, and starts
// the next at once. Clients show every ticket over and over, to each of the gateways,
// and none reaches the backend twice, or is let in twice.
func TestKilledUnderLoad(t *testing.T) {
	s := newSite(t)
	var tickets, in, again atomic.Int64
	stop := make(chan struct{})
	var running sync.WaitGroup
	var mu sync.Mutex
	old := []string{} // tickets of all times, shown again and again
	for i := range 6 {
		running.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				ticket := s.ticket()
				tickets.Add(1)
				mu.Lock()
				if n%4 == 0 {
					old = append(old, ticket)
				}
				seen := old[(n*7+i)%max(len(old), 1)]
				mu.Unlock()
				mine := 0
				var both sync.WaitGroup
				var hits atomic.Int64
				for range 2 { // at the same time
					both.Go(func() {
						if status, _ := s.try(ticket); status == 101 {
							hits.Add(1)
						}
					})
				}
				both.Wait()
				mine += int(hits.Load())
				if status, err := s.try(ticket); status == 101 {
					mine++
				} else if err != nil {
					time.Sleep(5 * time.Millisecond) // it was killed, and the next is about to start
				}
				if mine > 1 {
					t.Errorf("a ticket was let in %d times", mine)
				}
				in.Add(int64(mine))
				s.try(seen)
				again.Add(1)
			}
		})
	}
	for range 3 {
		p := start(t, s.args...)
		time.Sleep(1500 * time.Millisecond) // under load
		p.Process.Kill()
		<-p.done
	}
	last := start(t, s.args...)
	mu.Lock()
	all := slices.Clone(old)
	mu.Unlock()
	for _, ticket := range all { // also those that were let in by the killed ones
		s.try(ticket)
	}
	close(stop)
	running.Wait()
	last.Process.Kill()
	s.mu.Lock()
	defer s.mu.Unlock()
	most := slices.Max(slices.Collect(maps.Values(s.reached)))
	t.Logf("%d tickets, %d of them let in, %d reached the backend, old ones shown %d times; no ticket more than %d times", tickets.Load(), in.Load(), len(s.reached), again.Load()+int64(len(all)), most)
	if most > 1 {
		t.Errorf("a ticket reached the backend %d times", most)
	}
	if in.Load() < 100 {
		t.Errorf("only %d were let in: that is no load", in.Load())
	}
}

// TestRestartUnderLoad ends a gateway by SIGTERM under load, three times, and starts the
// next: no fresh ticket that was not sent yet, or was answered 503, is refused by the
// next, and none is let in twice.
func TestRestartUnderLoad(t *testing.T) {
	s := newSite(t)
	p := start(t, s.args...) // the first has no saved memory, and refuses what is older
	var in, waited atomic.Int64
	stop := make(chan struct{})
	var running sync.WaitGroup
	for range 6 {
		running.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ticket := s.ticket()
				for tries := 0; ; tries++ {
					status, err := s.try(ticket)
					if status == 101 {
						in.Add(1)
						if tries > 0 {
							waited.Add(1)
						}
						if status, _ := s.try(ticket); status == 101 {
							t.Error("a ticket was let in twice")
						}
						break
					}
					if errors.Is(err, errSent) {
						break // it may be spent
					}
					if err == nil && status != http.StatusServiceUnavailable {
						t.Errorf("a fresh ticket is answered %d after %d tries", status, tries)
						break
					}
					time.Sleep(20 * time.Millisecond) // until the next gateway listens
					select {
					case <-stop:
						return
					default:
					}
				}
			}
		})
	}
	for i := range 3 {
		if i > 0 {
			p = start(t, s.args...)
		}
		time.Sleep(1500 * time.Millisecond) // under load
		p.Process.Signal(syscall.SIGTERM)
		began := time.Now()
		<-p.done
		if code := p.ProcessState.ExitCode(); code != 0 {
			t.Errorf("exit code %d: %s", code, p.logged())
		}
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("it took %v to drain in 2 s", took)
		}
	}
	began := time.Now()
	last := start(t, s.args...)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the next takes %v to be ready", took)
	}
	time.Sleep(500 * time.Millisecond)
	close(stop)
	running.Wait()
	if log := last.logged(); strings.Contains(log, "not used") {
		t.Errorf("the saved memory was not used:\n%s", log)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	most := slices.Max(slices.Collect(maps.Values(s.reached)))
	t.Logf("%d let in, %d of them after a wait for the next gateway; none more than %d times", in.Load(), waited.Load(), most)
	if most > 1 || in.Load() < 100 || waited.Load() == 0 {
		t.Errorf("%d let in, %d after a wait, one %d times", in.Load(), waited.Load(), most)
	}
}
