package gateway

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// TestRestart: the next process refuses no fresh ticket, takes none twice, and knows
// which sessions ended. Without the files, or with damaged ones, it begins anew.
func TestRestart(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	w := newWorld(t, func(c *Config) { c.State, c.Drain = state, 500*time.Millisecond })
	admin := httptest.NewServer(w.g.admin())
	defer admin.Close()
	used, fresh, over := w.ticket(wsticket.Claims{}), w.ticket(wsticket.Claims{}), w.ticket(wsticket.Claims{SessionID: "over"})
	w.echoes(w.mustDial("/ws?ticket="+used, nil))
	response, err := http.Post(admin.URL+"/close", "", strings.NewReader(`{"sid":"over"}`))
	if err != nil || response.StatusCode != 200 {
		t.Fatal(response, err)
	}
	config := w.g.state.Load().config
	config.since = time.Time{}
	// Before the first has saved, a second would find nothing, and a third what is old then.
	if g, err := New(t.Context(), config, w.logs); err == nil || !strings.HasPrefix(err.Error(), "state: ") {
		t.Errorf("a second process beside the first: %v, %v", g, err)
	}
	w.stop()
	for _, path := range []string{state, state + ".sessions"} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v, %v", path, info, err)
		}
	}
	began := time.Now()
	w.start(config)
	if waited := time.Since(began); waited > 2*time.Second {
		t.Errorf("it took %v until it was ready", waited)
	}
	w.echoes(w.mustDial("/ws?ticket="+fresh, nil))
	for _, ticket := range []string{used, fresh, over} {
		_, err := w.dial("/ws?ticket="+ticket, nil)
		w.wantStatus(err, 401)
	}
	for _, path := range []string{state, state + ".sessions"} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still there: a second process could load it", path)
		}
	}
	w.stop()

	// A start that fails leaves the state to the next, and so does one that is ended at once.
	fresh, used = w.ticket(wsticket.Claims{}), fresh
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, set := range map[string]func(*Config){
		"listen: ": func(c *Config) { c.Listen = taken.Addr().String() },
		"admin: ":  func(c *Config) { c.Admin = taken.Addr().String() },
	} {
		fails := config
		set(&fails)
		if _, err := New(t.Context(), fails, w.logs); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%v, want %s", err, name)
		}
	}
	g, err := New(t.Context(), config, w.logs)
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := g.Serve(ended, func(string) {}); err != nil {
		t.Error(err)
	}
	w.start(config)
	w.echoes(w.mustDial("/ws?ticket="+fresh, nil))
	for _, ticket := range []string{used, fresh, over} {
		_, err := w.dial("/ws?ticket="+ticket, nil)
		w.wantStatus(err, 401)
	}
	w.stop()

	// Any doubt, and it begins anew: what was issued before is refused.
	config.Leeway = 0 // so that it is ready soon; another leeway is doubt enough
	before := w.ticket(wsticket.Claims{})
	w.start(config)
	_, err = w.dial("/ws?ticket="+before, nil)
	w.wantStatus(err, 401)
	w.stop()
	write(t, state+".sessions", "{")
	w.start(config)
	_, err = w.dial("/ws?ticket="+before, nil)
	w.wantStatus(err, 401)
	if log := w.logs.String(); !strings.Contains(log, "damaged") || !strings.Contains(log, "was not used") {
		t.Errorf("the log:\n%s", log)
	}
}
