package gateway

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsticket/wsticket"
)

// lines counts those of a log by message and code, and what they say was skipped.
func lines(t *testing.T, log string) (written, skipped map[string]int) {
	t.Helper()
	written, skipped = map[string]int{}, map[string]int{}
	for line := range strings.Lines(log) {
		var l struct {
			Msg, Of, Code string
			Refusal       struct{ Code string }
			Skipped       int
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if l.Of == "" {
			written[l.Msg+" "+l.Code+l.Refusal.Code]++
		}
		key := l.Msg + l.Of + " " + l.Code + l.Refusal.Code
		key = strings.TrimPrefix(key, "lines left out")
		skipped[key] += l.Skipped
	}
	return written, skipped
}

// TestLogUnderFlood: the lines a second are bounded, every line left out is told, and
// one flood does not hide what comes beside it.
func TestLogUnderFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out syncBuffer
		l, err := newLogger(&out, "json", "info")
		if err != nil {
			t.Fatal(err)
		}
		const seconds, each = 10, 2000
		replayed := sampleKey{"refused", "replayed"}
		for range seconds * each {
			l.sampledBy(replayed, slog.LevelWarn, slog.String("code", "replayed"))
			time.Sleep(time.Second / each)
		}
		l.sampledBy(sampleKey{"refused", "origin"}, slog.LevelWarn, slog.String("code", "origin"))
		for range 100 {
			l.sampled(slog.LevelDebug, "not written at all")
		}
		written, _ := lines(t, out.String())
		if n := written["refused replayed"]; n > linesAtOnce+seconds*linesPerSecond+1 || n < linesAtOnce {
			t.Errorf("%d lines in %d seconds", n, seconds)
		}
		if written["refused origin"] != 1 {
			t.Error("the flood hides another refusal")
		}
		time.Sleep(tellAfter + time.Second)
		synctest.Wait()
		written, skipped := lines(t, out.String())
		if n := written["refused replayed"] + skipped["refused replayed"]; n != seconds*each {
			t.Errorf("%d of %d lines are written or told of", n, seconds*each)
		}
		if l.skipped.Load() != uint64(skipped["refused replayed"]) {
			t.Errorf("%d skipped, and %d told of", l.skipped.Load(), skipped["refused replayed"])
		}
		for range 60 {
			l.sampledBy(replayed, slog.LevelWarn, slog.String("code", "replayed"))
		}
		before := len(out.String())
		l.tellAll() // at the end of the program
		if !strings.Contains(out.String()[before:], `"skipped":`) {
			t.Error("at the end nobody tells what was left out")
		}
		time.Sleep(time.Minute)
	})
}

// TestRefusalsUnderFlood: the same through the gateway, with what the clients did.
func TestRefusalsUnderFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const clients, each = 8, 250
	var all sync.WaitGroup
	began := time.Now()
	for range clients {
		all.Go(func() {
			for range each {
				r, _ := http.NewRequest("GET", "http://"+w.addr+"/ws?ticket=hunter2", nil)
				r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Cookie": {"session=hunter2"}}
				response, err := http.DefaultTransport.RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				response.Body.Close()
				if response.StatusCode != 401 {
					t.Errorf("status %d", response.StatusCode)
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	w.stop()
	log := w.logs.String()
	written, skipped := 0, 0
	for line := range strings.Lines(log) {
		var l struct {
			Msg, Of string
			Skipped int
		}
		if json.Unmarshal([]byte(line), &l) == nil && (l.Msg == "refused" || l.Of == "refused") {
			skipped += l.Skipped
			if l.Of == "" {
				written++
			}
		}
	}
	if most := linesAtOnce + int(took.Seconds()+1)*linesPerSecond; written > most {
		t.Errorf("%d lines in %v, want at most %d", written, took, most)
	}
	if written+skipped != clients*each {
		t.Errorf("%d written and %d told of, of %d", written, skipped, clients*each)
	}
	if strings.Contains(log, "hunter2") {
		t.Errorf("a ticket or a cookie is in the log:\n%s", log)
	}
}

// TestNoTicketInLog: a ticket that a client puts where none belongs is not written
// down either.
func TestNoTicketInLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ticket := w.ticket(wsticket.Claims{})
	w.dial("/ws/"+ticket+"/x?ticket=x", http.Header{"Origin": {"https://" + ticket}, "User-Agent": {ticket}, "Cookie": {"t=" + ticket}})
	w.backend.Close()
	w.dial("/"+ticket+"?ticket="+w.ticket(wsticket.Claims{}), nil)
	w.stop()
	log := w.logs.String()
	if !strings.Contains(log, "refused") || !strings.Contains(log, "upstream failed") {
		t.Errorf("the log:\n%s", log)
	}
	for i := 0; i+16 < len(ticket); i += 8 {
		if strings.Contains(log, ticket[i:i+16]) {
			t.Errorf("a piece of the ticket is in the log:\n%s", log)
			break
		}
	}
}
