package etcdguard

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/wsticket/wsticket"
)

func TestConfig(t *testing.T) {
	for _, test := range []struct {
		config Config
		faults []string
	}{
		{Config{}, []string{"there is no member; give a URL such as etcd://a:2379"}},
		{Config{URL: "redis://a:1"}, []string{"URL: it begins with neither etcd:// nor etcds://"}},
		{Config{URL: "etcd://a:1", MaxTTL: -1, Leeway: 1500 * time.Millisecond, MaxSkew: time.Hour, Timeout: time.Millisecond, MaxPending: -1, Prefix: "a b"},
			[]string{"MaxTTL is -1ns", "Leeway is 1.5s; give whole seconds", "MaxSkew is 1h", "Timeout is 1ms", "MaxPending is -1", `Prefix is "a b"`}},
		{Config{URL: "etcd://u:p@a:1/x/", Prefix: "y/", Client: clientv3.Config{Username: "v"}}, []string{"both URL and Client have a user", "both URL and Prefix have a prefix"}},
	} {
		_, err := New(t.Context(), test.config)
		if err == nil {
			t.Errorf("%+v passes", test.config)
			continue
		}
		for _, fault := range test.faults {
			if !strings.Contains(err.Error(), fault) {
				t.Errorf("%v does not say %q", err, fault)
			}
		}
		if n := strings.Count(err.Error(), "\n") + 1; n != len(test.faults) {
			t.Errorf("%d faults, want %d: %v", n, len(test.faults), err)
		}
	}
	g, client, err := Config{URL: "etcds://u:p@a:1,b:2", Client: clientv3.Config{Endpoints: []string{"c:3"}}}.guard()
	if err != nil {
		t.Fatal(err)
	}
	if ttl, leeway := g.Covers(); ttl != wsticket.DefaultMaxTTL || leeway != wsticket.DefaultLeeway || g.maxSkew != 2 || g.timeout != 2*time.Second || g.maxPending != 16384 || g.keys.prefix != "wsticket/" {
		t.Errorf("the defaults are %v, %v, %+v", ttl, leeway, g.keys)
	}
	if !slices.Equal(client.Endpoints, []string{"c:3"}) || client.Username != "u" || client.Password != "p" {
		t.Errorf("the client is %v", client.Endpoints)
	}
	if g, _, _ := (Config{URL: "etcd://a:1", Leeway: wsticket.NoLeeway}).guard(); g.leeway != 0 {
		t.Error("NoLeeway is one")
	}
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]location{
		"etcd://a:2379":                         {endpoints: []string{"http://a:2379"}},
		"etcds://a:2379,[::1]:2380,10.0.0.1:1/": {endpoints: []string{"https://a:2379", "https://[::1]:2380", "https://10.0.0.1:1"}},
		"etcd://u:p%40%2F%3a@a:1/x/y/":          {endpoints: []string{"http://a:1"}, user: "u", password: "p@/:", prefix: "x/y/"},
		"etcd://a:1/a%20b":                      {endpoints: []string{"http://a:1"}, prefix: "a b"},
	} {
		got, err := parseURL(text)
		if err != nil || !slices.Equal(got.endpoints, want.endpoints) || got.user != want.user || got.password != want.password || got.prefix != want.prefix {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "a:1", "http://a:1", "etcd://", "etcd://a", "etcd://a:", "etcd://:1", "etcd://a:0", "etcd://a:65536", "etcd://a:1,", "etcd://a:1,b", "etcd://a:1;b:2",
		"etcd://sesame@a:1", "etcd://u:@a:1", "etcd://:sesame@a:1", "etcd://u:%zzsesame@a:1", "etcd://a:1?x=sesame", "etcd://a:1#sesame", "etcd://a:1/%zz", "etcd://a :1", "etcd://::1:1"} {
		if l, err := parseURL(text); err == nil {
			t.Errorf("%q passes: %+v", text, l)
		} else if strings.Contains(err.Error(), "sesame") {
			t.Errorf("%v shows what may be a password", err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("etcd://u:p%40@a:2379,[::1]:2380/wsticket/")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parseURL(text)
		if err == nil && (len(l.endpoints) == 0 || (l.user == "") != (l.password == "")) {
			t.Errorf("%q: %+v", text, l)
		}
	})
}

// A store that cannot be reached is an error within the time, and a guard that is closed
// refuses.
func TestNoStore(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	began := time.Now()
	_, err := New(ctx, Config{URL: "etcd://127.0.0.1:1,127.0.0.1:2", Timeout: 200 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "the store gives no answer") {
		t.Errorf("%v", err)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
}

// Whatever a use ends with is counted once, and what is no acceptance not as one.
func TestCount(t *testing.T) {
	var c counters
	for _, err := range []error{nil, wsticket.ErrReplayed, wsticket.ErrIssuedBeforeStart, errReplayedHere, errGone, late(nil), errSlotOver, errOtherStore, errors.New("odd")} {
		c.count(err)
	}
	want := Stats{Claimed: 1, Replayed: 1, ReplayedHere: 1, IssuedBeforeStart: 1, Timeout: 1, Gone: 1, Unavailable: 2, Late: 1}
	if got := c.stats(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
