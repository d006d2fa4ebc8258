package redisguard

import (
	"crypto/tls"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

func TestConfig(t *testing.T) {
	cache := newCache(t, time.Now())
	for name, tt := range map[string]struct {
		config Config
		wants  []string // every one in the error; none: no error
	}{
		"least":      {Config{URL: "redis://a"}, nil},
		"all set":    {Config{URL: "rediss://u:p@a:1/2", TLS: &tls.Config{}, Prefix: "x/", MaxTTL: time.Hour, Leeway: 5 * time.Minute, MaxSkew: time.Minute, Timeout: time.Minute, WaitReplicas: 2, MaxPending: 1}, nil},
		"sentinels":  {Config{URL: "redis://a:26379?addr=b:26379&master_set=main", SentinelUser: "u", SentinelPassword: "p"}, nil},
		"no leeway":  {Config{URL: "unix:///a/b?db=1", Leeway: wsticket.NoLeeway}, nil},
		"valkey":     {Config{URL: "valkey://a"}, nil},
		"local":      {Config{URL: "redis://a", DangerouslyAcceptLocally: cache}, nil},
		"short time": {Config{URL: "redis://a", MaxSkew: time.Second}, nil},
		"nothing":    {Config{}, []string{"neither URL nor Client"}},
		"everything": {
			Config{URL: "http://a", Prefix: "a{b}", MaxTTL: -1, Leeway: -2, MaxSkew: time.Millisecond, Timeout: time.Hour, WaitReplicas: -1, MaxPending: -1},
			[]string{"URL", "redis://", "Prefix", "MaxTTL", "Leeway", "MaxSkew", "Timeout", "WaitReplicas", "MaxPending"},
		},
		"fractions":         {Config{URL: "redis://a", MaxTTL: 1500 * time.Millisecond, Leeway: 2500 * time.Millisecond}, []string{"MaxTTL is 1.5s", "Leeway is 2.5s"}},
		"Timeout":           {Config{URL: "redis://a", Timeout: 3 * time.Second}, []string{"Timeout is 3s", "MaxSkew"}},
		"both":              {Config{URL: "redis://a", Client: fakeClient{}}, []string{"both URL and Client"}},
		"TLS beside client": {Config{Client: fakeClient{}, TLS: &tls.Config{}}, []string{"TLS"}},
		"TLS without s":     {Config{URL: "redis://a", TLS: &tls.Config{}}, []string{"rediss://"}},
		"sentinel user":     {Config{URL: "redis://a", SentinelUser: "u"}, []string{"master_set"}},
		"local too small":   {Config{URL: "redis://a", MaxTTL: 2 * time.Minute, DangerouslyAcceptLocally: cache}, []string{"DangerouslyAcceptLocally covers"}},
		"skip_verify":       {Config{URL: "rediss://a?skip_verify=1"}, []string{"skip_verify"}},
		"parameter":         {Config{URL: "redis://a?max_retries=3"}, []string{"max_retries"}},
		"path":              {Config{URL: "redis://a/b"}, []string{"database"}},
		"fragment":          {Config{URL: "redis://:secret#word@a"}, []string{"percent-encoded"}},
		"password":          {Config{URL: "redis://:secret%word@a"}, []string{"percent-encoded"}},
		"control":           {Config{URL: "redis://:secret\n@a"}, []string{"URL"}},
		"no scheme":         {Config{URL: "secret@a:6379"}, []string{"URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tt.config.guard()
			if len(tt.wants) == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("taken")
			}
			for _, want := range tt.wants {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
	if _, err := NewBus(t.Context(), BusConfig{URL: "x", Prefix: " ", Keep: -1, Timeout: 1, WaitReplicas: 1000, MaxSkew: 1}); err == nil {
		t.Error("taken")
	} else {
		for _, want := range []string{"URL", "Prefix", "Keep", "Timeout", "WaitReplicas", "MaxSkew"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error does not say %q: %v", want, err)
			}
		}
	}
}

type fakeClient struct{ rueidis.Client }

// Two of the rules that every claim has to keep, at their edges.
func TestRules(t *testing.T) {
	r := rules{maxTTL: 10, leeway: 2, maxSkew: 3}
	const now = 1_795_219_200
	for _, tt := range []struct {
		issued, expires, now int64
		want                 bool
	}{
		{now, now + 10, now, true},
		{now, now + 11, now, false}, // too long
		{now, now, now, false},
		{now + 1, now, now, false},
		{now + 2, now + 12, now, true},
		{now + 3, now + 12, now, false}, // ahead by more than the leeway
		{now - 11, now - 1, now, true},
		{now - 12, now - 2, now, false}, // expired
		{-1, 5, 1, false},
		{now, now + 5, -1, false},
		{1 << 62, 1<<62 + 5, 1 << 62, false},
	} {
		if got := r.within(wsticket.Use{Issued: tt.issued, Expires: tt.expires, Now: tt.now}); got != tt.want {
			t.Errorf("issued %+d, expires %+d, at %+d: %v, want %v", tt.issued-now, tt.expires-now, tt.now-now, got, tt.want)
		}
	}
	for ahead, want := range map[int64]bool{-1: true, 0: true, 8: true, 9: false} {
		if got := r.early(now+ahead, now*1000); got != want {
			t.Errorf("issued %d s after the epoch: early is %v, want %v", ahead, got, want)
		}
	}
	if r.early(now+8, now*1000-1) {
		t.Error("the epoch's milliseconds are lost")
	}
}

// The tags of the lanes are spread evenly over the slots, and every node has the same.
func TestLaneTags(t *testing.T) {
	for i, tag := range laneTags {
		if slot := clusterSlot(tag); slot/(clusterSlots/clusterLanes) != i {
			t.Errorf("lane %d has tag %q of slot %d", i, tag, slot)
		}
	}
	// From the specification of Redis Cluster.
	if got := clusterSlot("123456789"); got != 0x31C3 {
		t.Errorf("slot of 123456789 is %#x, want 0x31C3", got)
	}
	if laneTags[0] == "" || laneTags[0] != "10" {
		t.Errorf("the first tag is %q: other tags than before make keys that older nodes do not know", laneTags[0])
	}
}

func TestSpentTable(t *testing.T) {
	var table spentTable
	table.init()
	zero := [16]byte{}
	if table.has(&zero) {
		t.Error("knows what it was not told")
	}
	table.add(&zero)
	if !table.has(&zero) {
		t.Error("does not know zero")
	}
	const n = 20_000
	ids := make([][16]byte, n)
	for i := range ids {
		ids[i] = ticket(5).Identity
		table.add(&ids[i])
	}
	lost := 0
	for i := range ids {
		if !table.has(&ids[i]) {
			lost++
		}
	}
	if lost > n/100 {
		t.Errorf("%d of %d lost", lost, n)
	}
	for range n {
		id := ticket(5).Identity
		if table.has(&id) {
			t.Fatal("knows what it was not told")
		}
	}
	if n := testing.AllocsPerRun(100, func() { table.add(&ids[0]); table.has(&ids[0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The user that docs/many-nodes-redis.md describes may do what is needed and no more
// than it says.
func TestUser(t *testing.T) {
	t.Parallel()
	slow(t)
	page, err := os.ReadFile("../docs/" + userPage)
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^    ACL SETUSER gateway (.*)$`).FindStringSubmatch(string(page))
	if lines == nil {
		t.Fatal("the page does not say what the user must be allowed")
	}
	s := startServer(t)
	s.must(append([]string{"ACL", "SETUSER", "gateway"}, strings.Fields(lines[1])...)...)
	remember(t, s)
	rememberEndings(t, s)
	url := "redis://gateway:change-me@" + s.addr()
	config := shortest(url)
	g := newGuard(t, config)
	a := newAccount(t)
	a.showAgain(a.mustAccept(5, 10, g), g)
	s.must("FLUSHALL")
	a.acceptsAgain(backSoon, g)
	b := newBus(t, busConfig(url))
	f := follow(t, b, time.Minute)
	if err := b.Publish(t.Context(), live.Ending{SessionID: "a", Cause: live.Ended, At: 1}); err != nil {
		t.Fatal(err)
	}
	within(t, backSoon, "told", func() bool { return f.has("a") })
	replica := startServer(t)
	replica.replicate(s)
	config.WaitReplicas = 1
	a.acceptsAgain(backSoon, newGuard(t, config))
	if s.must("ACL", "LOG") != "" {
		t.Errorf("something was refused: %s", s.must("ACL", "LOG"))
	}
}

const userPage = "many-nodes-redis.md"
