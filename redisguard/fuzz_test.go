package redisguard

import (
	"errors"
	"strings"
	"testing"

	"github.com/wsticket/wsticket"
)

// What the store says is read without a panic, and what is none of ours is refused.

func FuzzClaimReply(f *testing.F) {
	f.Add("1795219200000 1795219200001 cresu OOM command not allowed", 5)
	f.Add("0 1 s ", 1)
	f.Add("", 0)
	f.Add("1 2 ", 1)
	f.Add("-1 2 c ", 1)
	f.Fuzz(func(t *testing.T, text string, n int) {
		if n < 0 || n > 1000 {
			return
		}
		r, err := parseClaimReply(text, n)
		if err != nil {
			if !errors.Is(err, wsticket.ErrReplayUnavailable) {
				t.Errorf("%v", err)
			}
			return
		}
		if r.since < 0 || r.now < 0 {
			t.Errorf("%+v", r)
		}
		for i := range n {
			err := r.verdict(i)
			if (err == nil) != (r.verdicts[i] == 'c') {
				t.Errorf("%q: %v", r.verdicts[i], err)
			}
		}
	})
}

func FuzzLook(f *testing.F) {
	f.Add("1795219200000 1795219200001 0 7.0.15 0 noeviction")
	f.Add("1 2 3 4 5")
	f.Add("1 2 -3 4 5 6")
	f.Fuzz(func(t *testing.T, text string) {
		if l, err := parseLook(text); err == nil && (l.since < 0 || l.now < 0 || strings.Contains(l.policy, " ")) {
			t.Errorf("%q is %+v", text, l)
		}
	})
}

func FuzzStreamState(f *testing.F) {
	f.Add("1795219200000 1795219200001 1795219200000-1 1795219200000-0 5 6")
	f.Add("0 0 0-0 0-0 0 0")
	f.Add("0 0 0 0 0 0")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseStreamState(text)
		if err != nil {
			return
		}
		if again, err := parseStreamID(s.last.String()); err != nil || again != s.last {
			t.Errorf("%v comes back as %v, %v", s.last, again, err)
		}
		if s.length < 0 || s.added < 0 || s.last.less(s.last) {
			t.Errorf("%q is %+v", text, s)
		}
	})
}

func FuzzEnding(f *testing.F) {
	f.Add(`{"sid":"s","cause":"ended","at":1795219200}`)
	f.Add(`{"all":true,"cause":"going_away","spread":5000000000,"at":1795}`)
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, text string) {
		if e, err := parseEnding(text); err == nil && e.Check() != nil {
			t.Errorf("%q is taken", text)
		}
	})
}

func FuzzURL(f *testing.F) {
	for _, url := range []string{"redis://u:sesame@a:1/2", "rediss://a?addr=b&addr=c:2", "unix:///x?db=3", "redis://a?master_set=m", "redis://%", "valkeys://[::1]:6"} {
		f.Add(url)
	}
	f.Fuzz(func(t *testing.T, text string) {
		option, err := parseURL(text)
		if err == nil && len(option.InitAddress) == 0 {
			t.Errorf("%q has no address", text)
		}
		if err != nil && strings.Contains(text, "sesame") && strings.Contains(err.Error(), "sesame") {
			t.Errorf("the error shows it: %v", err)
		}
	})
}
