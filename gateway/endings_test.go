package gateway

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket/live"
)

// TestCloseAfterSave: nobody is told that a session is over when the next process lets
// its tickets in.
func TestCloseAfterSave(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.State = filepath.Join(t.TempDir(), "state") })
	w.stop()
	answer := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "http://localhost/close", strings.NewReader(`{"sid":"late"}`))
	w.g.admin().ServeHTTP(answer, r)
	if answer.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d", answer.Code)
	}
}

// TestEndingsClock: a clock that was ahead for a moment makes no process believe that it
// knows which sessions ended.
func TestEndingsClock(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	path := filepath.Join(t.TempDir(), "sessions")
	e := endings{keep: time.Minute}
	ending := func(sid string, at time.Time) live.Ending {
		return live.Ending{SessionID: sid, Cause: live.Ended, At: at.Unix()}
	}
	e.add(now, ending("a", now))
	e.add(now.Add(time.Hour), ending("b", now.Add(time.Hour))) // and it is set back
	if err := e.save(now.Add(time.Second), path); !errors.Is(err, errClockBack) {
		t.Errorf("saved without the first: %v", err)
	}
	if err := e.save(now.Add(2*time.Minute), path); err != nil {
		t.Error(err)
	}
}

// TestClose: a body that is not exactly one call ends nobody, and the answer says why.
func TestClose(t *testing.T) {
	for body, why := range map[string]string{
		"":                            "no JSON object",
		`["sid"]`:                     "no JSON object",
		`{"sid":"a"`:                  "no JSON object",
		`{"sid":"a"}{"sub":"b"}`:      "behind the object",
		`{"sid":"a","sid":"b"}`:       `"sid" twice`,
		`{"sid":"a","sub":"b"}`:       "exactly one",
		`{}`:                          "exactly one",
		`{"all":false}`:               "exactly one",
		`{"sid":""}`:                  "exactly one",
		`{"SID":"a"}`:                 `"SID", which this call does not know`,
		`{"sid":"a","nope":1}`:        `"nope"`,
		`{"sid":7}`:                   "sid that is no string",
		`{"sub":null}`:                "sub that is no string",
		`{"all":"true"}`:              "neither true nor false",
		`{"all":true,"spread":"x"}`:   "spread is no duration",
		`{"sid":"a","cause":"x"}`:     "cause",
		`{"sid":"a\ud800"}`:           "half of a character",
		"{\"sub\":\"a\xff\"}":         "UTF-8",
		`{"all":true,"spread":"48h"}`: "Spread",
	} {
		if _, err := readClose([]byte(body)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %s", body, err, why)
		}
	}
	for body, want := range map[string]live.Ending{
		`{"sid":"a"}`:                   {SessionID: "a", Cause: live.Ended},
		` {"sub":"b"} `:                 {Subject: "b", Cause: live.Forbidden},
		`{"spread":"30s","all":true}`:   {All: true, Cause: live.GoingAway, Spread: 30 * time.Second},
		`{"sub":"b","cause":"ended"}`:   {Subject: "b", Cause: live.Ended},
		`{"sid":"\u00e4 \ud83d\ude00"}`: {SessionID: "ä 😀", Cause: live.Ended},
	} {
		ending, err := readClose([]byte(body))
		want.At = ending.At
		if err != nil || ending != want || time.Since(time.Unix(ending.At, 0)) > time.Minute {
			t.Errorf("%s: %v, %v", body, ending, err)
		}
	}
}

// TestMappedProxies: an IPv4 network in the notation of IPv6 is the same network.
func TestMappedProxies(t *testing.T) {
	config := Default()
	config.TrustedProxies = []string{"::ffff:10.0.0.0/104", "::ffff:192.0.2.1"}
	out := &compiled{}
	config.checkProxies(out, func(key, format string, args ...any) { t.Errorf(key+": "+format, args...) })
	for _, peer := range []string{"10.1.2.3:5", "192.0.2.1:5"} {
		if !out.proxies.trust(peer) {
			t.Errorf("%s is not trusted", peer)
		}
	}
}
