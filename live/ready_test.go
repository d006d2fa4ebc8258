package live

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsticket/wsticket"
)

func TestReadyAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		if want := time.Now().Add(2*wsticket.DefaultLeeway + time.Second).Truncate(time.Second); !r.ReadyAt().Equal(want) {
			t.Errorf("%v, want %v", r.ReadyAt(), want)
		}
		if r, err = New(Config{Since: time.Unix(0, 0)}); err != nil || r.ReadyAt().After(time.Now()) {
			t.Errorf("%v, %v", r.ReadyAt(), err)
		}

		var bus MemoryBus
		if r, err = New(Config{Bus: &bus}); err != nil || !r.ReadyAt().After(time.Now()) {
			t.Errorf("before it is heard: %v, %v", r.ReadyAt(), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go r.Follow(ctx)
		synctest.Wait()
		if r.ReadyAt().After(time.Now()) {
			t.Errorf("when it is heard: %v", r.ReadyAt())
		}
		r.missed(errors.New("test"))
		if wait := time.Until(r.ReadyAt()); wait < 2*wsticket.DefaultLeeway || wait > 2*wsticket.DefaultLeeway+2*time.Second {
			t.Errorf("after a loss: %v", wait)
		}
		cancel()
		synctest.Wait()
	})
}
