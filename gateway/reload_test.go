package gateway

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsticket/wsticket/live"
)

// TestReloadToMinting: a gateway that only verified may begin to mint, with a keyring
// that has a key which signs.
func TestReloadToMinting(t *testing.T) {
	t.Parallel()
	var signing string
	w := newWorld(t, func(c *Config) {
		content, err := os.ReadFile(c.Keys)
		if err != nil {
			t.Fatal(err)
		}
		signing = string(content)
		c.MintAuth = ""
	})
	config := w.g.state.Load().config
	config.Keys = filepath.Join(t.TempDir(), "verifying.json")
	write(t, config.Keys, strings.Replace(signing, `"alg"`, `"key_ops":["verify"],"alg"`, 1))
	if err := w.g.Reload(config); err != nil {
		t.Fatal(err)
	}
	config.Keys, config.MintAuth = filepath.Join(t.TempDir(), "signing.json"), w.backend.URL+"/me"
	write(t, config.Keys, strings.ReplaceAll(signing, "k1", "k2"))
	if err := w.g.Reload(config); err != nil {
		t.Fatal(err)
	}
	w.mint(200)
	config.Timeout++ // the server has it since the start
	if err := w.g.Reload(config); err == nil || !strings.Contains(err.Error(), "timeout: cannot change") {
		t.Error(err)
	}
}

// A busThatFails cannot go on at first, as where the store refuses the user.
type busThatFails struct{ asked atomic.Int64 }

func (b *busThatFails) Publish(context.Context, live.Ending) error { return nil }
func (b *busThatFails) Follow(ctx context.Context, _ time.Duration, f live.Follower) error {
	if b.asked.Add(1) == 1 {
		return errors.New("NOPERM")
	}
	f.CaughtUp(time.Now())
	<-ctx.Done()
	return ctx.Err()
}

type guardWithBus struct {
	guard
	on live.Bus
}

func (g guardWithBus) bus() live.Bus { return g.on }

// TestFollowAgain: what ended on other nodes is listened to again after a failure that
// somebody has to mend.
func TestFollowAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	config := w.g.state.Load().config
	w.stop()
	g, err := New(t.Context(), config, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	b := &busThatFails{}
	g.guard = guardWithBus{g.guard, b}
	if g.registry, err = live.New(live.Config{Bus: b}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(ctx, func(string) {}) }()
	w.wait(func() bool { return b.asked.Load() > 1 })
	if n := g.registry.Stats().Missed; n != 1 {
		t.Errorf("%d times endings were missed, want 1", n)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
