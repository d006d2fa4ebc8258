package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestCauses(t *testing.T) {
	for _, c := range Causes() {
		text, err := c.MarshalText()
		var back Cause
		if err != nil || back.UnmarshalText(text) != nil || back != c {
			t.Errorf("%v comes back as %v, %v", c, back, err)
		}
		if !strings.Contains(c.Error(), c.String()) || c.Reason() == "" || len(c.Reason()) > 123 {
			t.Errorf("%v says %q and %q", c, c.Error(), c.Reason())
		}
	}
	for c, code := range map[Cause]uint16{Expired: 3000, Ended: 3000, Forbidden: 3003, GoingAway: 1001, Busy: 1013} {
		if c.CloseCode() != code {
			t.Errorf("%v closes with %d, want %d", c, c.CloseCode(), code)
		}
	}
	for _, c := range []Cause{0, causeEnd, 255} {
		if _, err := c.MarshalText(); err == nil {
			t.Errorf("%d is written", c)
		}
	}
	var c Cause
	if c.UnmarshalText([]byte("none")) == nil || c.UnmarshalText(nil) == nil {
		t.Error("what is no cause is read as one")
	}
}

// TestEndingJSON pins what goes over the wire between nodes of different versions.
func TestEndingJSON(t *testing.T) {
	for want, e := range map[string]Ending{
		`{"sid":"s","cause":"ended","at":1795219200}`:                     {SessionID: "s", Cause: Ended, At: 1795219200},
		`{"sub":"ada","cause":"forbidden","at":1795219200}`:               {Subject: "ada", Cause: Forbidden, At: 1795219200},
		`{"all":true,"cause":"going_away","spread":5000000000,"at":1795}`: {All: true, Cause: GoingAway, Spread: 5 * time.Second, At: 1795},
	} {
		text, err := json.Marshal(e)
		if err != nil || string(text) != want {
			t.Errorf("%s, %v, want %s", text, err, want)
		}
		var back Ending
		if err := json.Unmarshal(text, &back); err != nil || back != e {
			t.Errorf("%s comes back as %#v, %v", text, back, err)
		}
		if err := back.Check(); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestEndingCheck(t *testing.T) {
	good := Ending{SessionID: "s", Cause: Ended, At: 1}
	for name, e := range map[string]Ending{
		"zero":            {},
		"of nothing":      {Cause: Ended, At: 1},
		"of two":          {SessionID: "s", Subject: "ada", Cause: Ended, At: 1},
		"of all and one":  {SessionID: "s", All: true, Cause: Ended, At: 1},
		"no cause":        {SessionID: "s", At: 1},
		"no time":         {SessionID: "s", Cause: Ended},
		"in milliseconds": {SessionID: "s", Cause: Ended, At: 253402300800},
		"spread":          {All: true, Cause: Ended, At: 1, Spread: -1},
		"long spread":     {All: true, Cause: Ended, At: 1, Spread: 25 * time.Hour},
	} {
		if e.Check() == nil {
			t.Errorf("%s passes", name)
		}
	}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}

func TestEndingRedacts(t *testing.T) {
	e := Ending{SessionID: "secret", Subject: "secret", Cause: Ended}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "e", e)
	for _, text := range []string{fmt.Sprint(e), fmt.Sprintf("%+v %#v %s %x", e, e, e, e), log.String()} {
		if strings.Contains(text, "secret") || strings.Contains(text, "736563726574") {
			t.Errorf("%s", text)
		}
	}
}

func TestMemoryBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus MemoryBus
		publish := func(sid string) {
			t.Helper()
			if err := bus.Publish(t.Context(), Ending{SessionID: sid, Cause: Ended, At: time.Now().Unix()}); err != nil {
				t.Fatal(err)
			}
		}
		publish("too old")
		time.Sleep(time.Minute)
		publish("a")
		ctx, cancel := context.WithCancel(t.Context())
		var got [2][]string
		var asOf [2]time.Time
		var ended [2]error
		for i := range got {
			go func() {
				ended[i] = bus.Follow(ctx, time.Minute-time.Second, Follower{
					Ended:    func(e Ending) { got[i] = append(got[i], e.SessionID) },
					CaughtUp: func(at time.Time) { asOf[i] = at },
				})
			}()
		}
		synctest.Wait()
		publish("b")
		publish("c")
		synctest.Wait()
		time.Sleep(2 * time.Hour) // what is forgotten was told
		publish("d")
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		for i := range got {
			if want := []string{"a", "b", "c", "d"}; !reflect.DeepEqual(got[i], want) {
				t.Errorf("%v, want %v", got[i], want)
			}
			if late := time.Since(asOf[i]); late > time.Second {
				t.Errorf("caught up %v ago", late)
			}
		}
		if len(bus.kept) != 1 {
			t.Errorf("keeps %d", len(bus.kept))
		}
		cancel()
		synctest.Wait()
		for _, err := range ended {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("ends with %v", err)
			}
		}
		if bus.Publish(t.Context(), Ending{}) == nil {
			t.Error("what is no ending is published")
		}
	})
}
