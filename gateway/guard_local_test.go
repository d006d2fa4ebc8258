package gateway

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// A state that names another file, the keyring say, is an error and costs nobody the file.
// What an earlier process saved of which no sessions are left, goes.
func TestStateThatIsNone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	c := &Config{State: path, Peak: 100, MaxTTL: time.Minute, Leeway: 2 * time.Second, since: time.Now()}
	const keyring = `{"keys":[]}`
	for _, sessions := range []string{"", "[]"} {
		if err := os.WriteFile(path, []byte(keyring), 0o600); err != nil {
			t.Fatal(err)
		}
		if sessions != "" {
			if err := os.WriteFile(path+".sessions", []byte(sessions), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := newLocal(c, func(error) {}); err == nil {
			t.Error("it is taken")
		}
		if left, err := os.ReadFile(path); err != nil || string(left) != keyring {
			t.Errorf("it has become %q, %v", left, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	saved, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 100})
	if err != nil {
		t.Fatal(err)
	}
	if err := saved.Save(path); err != nil {
		t.Fatal(err)
	}
	g, err := newLocal(c, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	if g.ReadyAt().Before(c.since) {
		t.Error("it goes on from a state without its sessions")
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the state is still there: %v", err)
	}
}
