package wsticket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMintHandlerSaysWhy(t *testing.T) {
	rates := errors.New("the store of rates is down, its password is hunter2")
	alter := func(c *MintConfig) {
		c.Allow = func(_ *http.Request, c *Claims) error {
			switch c.Subject {
			case "carol":
				return TooManyRequests(time.Second)
			case "dave":
				return rates
			}
			return nil
		}
	}
	listed := func(c *MintConfig) { alter(c); c.Origins = []string{"https://page.example"} }
	hurried := func(c *MintConfig) {
		alter(c)
		c.Authenticate = func(*http.Request) (*Claims, error) { return nil, TooManyRequests(3 * time.Second) }
	}
	evil := []string{"Origin", "https://evil.example\u202e", "Sec-Fetch-Site", "cross-site"}
	preflight := []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST"}
	for name, c := range map[string]struct {
		alter   func(*MintConfig)
		method  string
		cookie  string
		host    string
		headers []string
		status  int
		why     string
		subject string
		cause   error
	}{
		"method":               {method: "GET", cookie: "alice", status: 405, why: `the method is not POST: method "GET"`},
		"made up method":       {method: "X" + strings.Repeat("Y", 99), status: 405, why: `the method is not POST: method "X` + strings.Repeat("Y", 63) + `"…`},
		"cross-origin":         {method: "POST", cookie: "alice", headers: evil, status: 403, why: `cross-origin request, and its Origin is not listed: Origin "https://evil.example\u202e", Host "app.example", Sec-Fetch-Site "cross-site"`},
		"another port":         {method: "POST", cookie: "alice", headers: []string{"Origin", "https://app.example:8443"}, status: 403, why: `cross-origin request, and its Origin is not listed: Origin "https://app.example:8443", Host "app.example"`},
		"ticket as the Origin": {method: "POST", headers: []string{"Origin", "https://eyJhbGciOiJIUzI1NiJ9"}, status: 403, why: `cross-origin request, and its Origin is not listed: Origin (not shown: it holds a piece of a ticket), Host "app.example"`},
		"no host":              {method: "POST", cookie: "alice", host: "-", headers: []string{"Origin", "null"}, status: 403, why: `the request names no Host, so nothing can be said of its Origin: Origin "null"`},
		"no host, no origin":   {method: "POST", cookie: "alice", host: "-", status: 403, why: `the request names no Host, so nothing can be said of its Origin`},
		"no host, listed":      {alter: listed, method: "POST", cookie: "alice", host: "-", headers: []string{"Origin", "https://page.example"}, status: 403, why: `the request names no Host, so nothing can be said of its Origin: Origin "https://page.example"`},
		"preflight":            {alter: listed, method: "OPTIONS", headers: preflight, status: 403, why: `preflight of a page whose Origin is not listed: Origin "https://evil.example", Host "app.example"`},
		"nobody":               {method: "POST", status: 401, why: "Authenticate knows nobody by this request"},
		"old session":          {method: "POST", cookie: "old", status: 401, why: "Authenticate knows nobody by this request", cause: ErrUnauthenticated},
		"nameless":             {method: "POST", cookie: "nameless", status: 401, why: "Authenticate returned claims without a Subject, which is nobody"},
		"banned":               {method: "POST", cookie: "banned", status: 403, why: "Authenticate forbids a ticket", cause: ErrForbidden},
		"broken":               {method: "POST", cookie: "broken", status: 500, why: "Authenticate failed"},
		"too often":            {method: "POST", cookie: "carol", status: 429, why: "Allow says that it is too often", subject: "carol", cause: ErrTooManyRequests},
		"too often to look":    {alter: hurried, method: "POST", cookie: "alice", status: 429, why: "Authenticate says that it is too often", cause: ErrTooManyRequests},
		"rates are down":       {method: "POST", cookie: "dave", status: 500, why: "Allow failed", subject: "dave", cause: rates},
		"unsignable":           {method: "POST", cookie: "unsignable", status: 500, why: "the Signer failed", subject: "alice"},
	} {
		t.Run(name, func(t *testing.T) {
			var told []MintRefusal
			h := mintHandler(t, func(config *MintConfig) {
				if alter(config); c.alter != nil {
					c.alter(config)
				}
				config.OnError = func(*http.Request, error) {}
				config.OnRefuse = func(r *http.Request, m MintRefusal) {
					if r.URL.Path != "/ticket" {
						t.Error("told of another request")
					}
					told = append(told, m)
				}
			})
			r := httptest.NewRequest(c.method, "https://app.example/ticket", nil)
			if c.host == "-" {
				r.Host = ""
			}
			if c.cookie != "" {
				r.AddCookie(&http.Cookie{Name: "session", Value: c.cookie})
			}
			for i := 0; i < len(c.headers); i += 2 {
				r.Header.Add(c.headers[i], c.headers[i+1])
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.status || len(told) != 1 {
				t.Fatalf("%d, told %v", w.Code, told)
			}
			m := told[0]
			if m.Status != c.status || m.Err.Error() != "wsticket: mint: "+c.why || ReasonOf(m.Err) != c.why || m.Subject != c.subject || m.Remote.String() != "192.0.2.1:1234" {
				t.Errorf("told %+v,\nwant %s", m, c.why)
			}
			if c.cause != nil && !errors.Is(m.Err, c.cause) {
				t.Errorf("%v is not %v", m.Err, c.cause)
			}
			s := h.Stats()
			if s.Minted() != 0 || s.Refused(c.status) != 1 || s.Map()[fmt.Sprint(c.status)] != 1 {
				t.Errorf("counted %v", s.Map())
			}
			last := s.LastRefusal()
			if last.Err == nil || !errors.Is(m.Err, last.Err) && m.Err != last.Err || !strings.HasPrefix(c.why, ReasonOf(last.Err)) || last.OnlyRefusalsSince.IsZero() || strings.Contains(last.Err.Error(), "example") {
				t.Errorf("kept %+v", last)
			}
		})
	}
}

func TestMintStats(t *testing.T) {
	h := mintHandler(t, nil)
	if s := h.Stats(); s.Minted() != 0 || s.LastRefusal() != (LastRefusal{}) || len(s.Map()) != 7 || s.Refused(200) != 0 {
		t.Errorf("%+v", s)
	}
	for _, cookie := range []string{"alice", "", "nameless", "banned"} {
		ask(h, "POST", cookie)
	}
	ask(h, "OPTIONS", "alice")
	if got := fmt.Sprint(h.Stats().Map()); got != "map[401:2 403:1 405:1 429:0 500:0 503:0 minted:1]" {
		t.Error(got)
	}
	if l := h.Stats().LastRefusal(); !errors.Is(l.Err, errMintMethod) || l.SameReasonSince != l.At {
		t.Errorf("%+v", l)
	}
	ask(h, "POST", "alice")
	if l := h.Stats().LastRefusal(); !errors.Is(l.Err, errMintMethod) || !l.SameReasonSince.IsZero() || !l.OnlyRefusalsSince.IsZero() {
		t.Errorf("%+v", l)
	}
	if len(mintReasons) > len(h.refused) {
		t.Errorf("%d reasons, room for %d", len(mintReasons), len(h.refused))
	}
}

func TestMintRefusalInALog(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, nil))
	h := mintHandler(t, func(c *MintConfig) {
		c.OnRefuse = func(_ *http.Request, r MintRefusal) { logger.Warn("no ticket", "r", r) }
		c.Allow = func(_ *http.Request, c *Claims) error { c.Subject += "\u2028"; return ErrTooManyRequests }
		c.OnError = func(*http.Request, error) {}
	})
	for cookie, want := range map[string]string{
		"alice":  `r.status=429 r.why="Allow says that it is too often" r.remote=192.0.2.1:1234 r.sub=alice\u2028` + "\n",
		"broken": `r.status=500 r.why="Authenticate failed" r.remote=192.0.2.1:1234` + "\n",
	} {
		out.Reset()
		ask(h, "POST", cookie)
		if got := strings.ReplaceAll(out.String(), `\\`, `\`); !strings.HasSuffix(got, want) {
			t.Errorf("logged %s, want %s", got, want)
		}
	}
}

// Without OnError the default logger hears of a 500, once a minute, and never what the
// error says.
func TestMintHandlerLogsFaults(t *testing.T) {
	var out bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	synctest.Test(t, func(t *testing.T) {
		h, other := mintHandler(t, nil), mintHandler(t, nil)
		lines := func() (n int) {
			n = strings.Count(out.String(), "\n")
			if strings.Contains(out.String(), "hunter2") || strings.Contains(out.String(), "session=") {
				t.Errorf("logged %s", out.String())
			}
			out.Reset()
			return n
		}
		ask(h, "POST", "broken")
		if got := out.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, `why="Authenticate failed" type=*errors.errorString count=1`) || !strings.Contains(got, "OnError") {
			t.Errorf("logged %s", got)
		}
		if lines() != 1 {
			t.Error("not one line")
		}
		time.Sleep(59 * time.Second)
		ask(h, "POST", "broken")
		ask(h, "POST", "unsignable")
		ask(h, "POST", "banned")
		if n := lines(); n != 0 {
			t.Errorf("%d lines within a minute", n)
		}
		ask(other, "POST", "broken")
		if n := lines(); n != 1 {
			t.Errorf("%d lines of another handler", n)
		}
		time.Sleep(time.Second)
		ask(h, "POST", "unsignable")
		if got := out.String(); !strings.Contains(got, `why="the Signer failed"`) || !strings.Contains(got, "count=3") {
			t.Errorf("logged %s", got)
		}
		if lines() != 1 {
			t.Error("not one line")
		}
	})
}

func TestTypesOf(t *testing.T) {
	err := fmt.Errorf("hunter2: %w", fmt.Errorf("hunter2: %w", context.DeadlineExceeded))
	if got := typesOf(err); got != "*fmt.wrapError: *fmt.wrapError: context.deadlineExceededError" {
		t.Error(got)
	}
	for range 20 {
		err = fmt.Errorf("%w", err)
	}
	if got := typesOf(err); strings.Count(got, ":") != 8 {
		t.Error(got)
	}
}

func TestTooManyRequests(t *testing.T) {
	for after, want := range map[time.Duration]int64{
		0: 0, -time.Second: 0, 1: 1, time.Second: 1, time.Second + 1: 2, 90 * time.Second: 90,
	} {
		err := fmt.Errorf("rates: %w", TooManyRequests(after))
		if got := retryAfter(err); got != want || !errors.Is(err, ErrTooManyRequests) {
			t.Errorf("TooManyRequests(%v) is told as %d, want %d", after, got, want)
		}
	}
	if retryAfter(ErrTooManyRequests) != 0 {
		t.Error("a time where there is none")
	}
}
