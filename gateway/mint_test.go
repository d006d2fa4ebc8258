package gateway

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

func TestReadClaims(t *testing.T) {
	t.Parallel()
	got, err := readClaims([]byte(` {"sub":"ada","sid":"s3","session_exp":1795219210,"scope":"a b","aud":["x","y"],"iss":"i",
		"origin":"https://app.example","path":"/ws","ip":"192.0.2.1","role":{"admin":true},"n":1.50} `))
	want := &wsticket.Claims{Subject: "ada", SessionID: "s3", SessionExpires: time.Unix(1795219210, 0), Scope: "a b", Audiences: []string{"x", "y"},
		Issuer: "i", Origin: "https://app.example", Path: "/ws", IP: "192.0.2.1",
		Extra: []wsticket.Member{{Name: "role", JSON: []byte(`{"admin":true}`)}, {Name: "n", JSON: []byte(`1.50`)}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for body, says := range map[string]string{
		``:                                 "no JSON object",
		`[]`:                               "no JSON object",
		`"ada"`:                            "no JSON object",
		`{"sub":"ada"`:                     "no JSON object",
		`{"sub":"ada"}x`:                   "behind the object",
		`{"sub":"ada"}{}`:                  "behind the object",
		`{}`:                               "no sub",
		`{"sub":""}`:                       "empty",
		`{"sub":null}`:                     "not a string",
		`{"sub":7}`:                        "not a string",
		`{"sub":["ada"]}`:                  "not a string",
		`{"sub":"ada","sub":"eve"}`:        "twice",
		`{"sub":"ada","\u0073ub":"eve"}`:   "twice",
		`{"sub":"ada","session_exp":"1"}`:  "seconds",
		`{"sub":"ada","session_exp":1.5}`:  "seconds",
		`{"sub":"ada","session_exp":-1}`:   "seconds",
		`{"sub":"ada","session_exp":null}`: "seconds",
		`{"sub":"ada","session_exp":1795219210000}`: "milliseconds",
		`{"sub":"ada","aud":[]}`:                    "aud",
		`{"sub":"ada","aud":7}`:                     "aud",
		`{"sub":"ada","exp":1795219210}`:            "sets",
		`{"sub":"ada","Sub":"eve"}`:                 "could be taken for sub",
		`{"sub":"ada","SESSION_EXP":1}`:             "could be taken for session_exp",
		`{"sub":"a\ud800"}`:                         "half of a character",
		`{"sub":"ad\ufffd"}`:                        "half of a character",
		"{\"sub\":\"a\xff\"}":                       "not UTF-8",
		`{"sub":"ada","jti":"x"}`:                   "sets",
	} {
		if _, err := readClaims([]byte(body)); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "ada") {
			t.Errorf("%s: %v, want %q", body, err, says)
		}
	}
}

// FuzzReadClaims: no panic, and what is read has a subject that encoding/json reads
// too.
func FuzzReadClaims(f *testing.F) {
	f.Add([]byte(`{"sub":"ada","aud":["x"],"session_exp":1,"x":[1,{"y":null}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := readClaims(body)
		if err != nil {
			return
		}
		var plain map[string]any // a struct would take SUB for sub
		if json.Unmarshal(body, &plain) != nil || plain["sub"] != c.Subject || c.Subject == "" {
			t.Errorf("%s: sub %q and %q", body, plain["sub"], c.Subject)
		}
	})
}

func TestAsk(t *testing.T) {
	t.Parallel()
	var answers atomic.Pointer[http.HandlerFunc]
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*answers.Load())(w, r) }))
	defer backend.Close()
	target, err := url.Parse(backend.URL + "/me")
	if err != nil {
		t.Fatal(err)
	}
	ask := newAsker(target, time.Second, nil)
	r := httptest.NewRequest("POST", "/ticket", strings.NewReader("body"))
	r.Header = http.Header{"Cookie": {"a=1", "b=2"}, "Authorization": {"Bearer x"}, "X-Secret": {"s"}, "X-Forwarded-For": {"6.6.6.6"}}
	say := func(status int, kind, body string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method != "GET" || r.URL.Path != "/me" || !reflect.DeepEqual(r.Header["Cookie"], []string{"a=1", "b=2"}) ||
				r.Header.Get("Authorization") != "Bearer x" || r.Header["X-Secret"] != nil || r.Header.Get("X-Forwarded-For") != "192.0.2.1" || r.ContentLength > 0 {
				t.Errorf("asked by %s %s %v", r.Method, r.URL, r.Header)
			}
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			w.Write([]byte(body))
		}
	}
	first := http.HandlerFunc(say(200, "application/json; charset=utf-8", `{"sub":"ada"}`))
	answers.Store(&first)
	if c, err := ask.claims(r); err != nil || c.Subject != "ada" {
		t.Errorf("%v, %v", c, err)
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		is     error
		says   string
	}{
		"stranger":  {say(401, "text/plain", ""), wsticket.ErrUnauthenticated, ""},
		"forbidden": {say(403, "text/plain", ""), wsticket.ErrForbidden, ""},
		"html":      {say(200, "text/html", `{"sub":"ada"}`), errAnswer, "application/json"},
		"500":       {say(500, "application/json", `{"sub":"secret text"}`), errAnswer, "status 500"},
		"404":       {say(404, "application/json", `{"sub":"secret text"}`), errAnswer, "status 404"},
		"long":      {say(200, "application/json", `{"sub":"`+strings.Repeat("a", maxClaims)+`"}`), errAnswer, "longer"},
		"gzip": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			w.(http.Flusher).Flush() // compressing takes longer than may be waited, on a busy machine
			z := gzip.NewWriter(w)
			z.Write(append([]byte(`{"sub":"ada","x":"`), bytes.Repeat([]byte(" "), 1<<24)...))
			z.Close()
		}, errAnswer, "compressed"},
		"asked for gzip": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200 + len(r.Header["Accept-Encoding"])) // 201 where it was
		}, errAnswer, "application/json"},
		"long head": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
			say(200, "application/json", `{"sub":"ada"}`)(w, r)
		}, nil, "exceeded"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/login", http.StatusFound)
		}, errAnswer, "status 302"},
		"late": {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, nil, "deadline"},
		"cut": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "100")
			w.Write([]byte(`{"sub":"ada"}`))
		}, errAnswer, "broke off"},
	} {
		next := http.HandlerFunc(c.answer)
		answers.Store(&next)
		claims, err := ask.claims(r)
		if claims != nil || err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) ||
			strings.Contains(err.Error(), "secret text") || strings.Contains(err.Error(), "ada") {
			t.Errorf("%s: %v, %v", name, claims, err)
		}
	}
}

// TestMintRates: a subject, and an address whoever it is, are told to wait, with some
// chance in it; an address that asks too often does not reach the backend.
func TestMintRates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.MintRate = 1; c.TrustedProxies = []string{"127.0.0.1"} })
	var asked atomic.Int64
	w.backend.mu.Lock()
	w.backend.me = func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Cookie") == "" {
			w.WriteHeader(401)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"sub":%q}`, r.Header.Get("Cookie"))
	}
	w.backend.mu.Unlock()
	mint := func(from, cookie string) (status int, after string) {
		r, err := http.NewRequest("POST", "http://"+w.addr+"/ticket", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-For", from)
		if cookie != "" {
			r.Header.Set("Cookie", cookie)
		}
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		return response.StatusCode, response.Header.Get("Retry-After")
	}
	waits := map[string]bool{}
	limited := 0
	for i := range 30 { // from many addresses
		status, after := mint(fmt.Sprintf("192.0.2.%d", i), "ada")
		switch {
		case status == 429 && after != "" && after != "0":
			waits[after] = true
			limited++
		case status != 200:
			t.Errorf("status %d", status)
		}
	}
	if limited != 29 {
		t.Errorf("a subject was told to wait %d times of 30, want 29", limited)
	}
	if len(waits) < 3 {
		t.Errorf("all are told to wait for the same times: %v", waits)
	}
	if status, _ := mint("192.0.2.1", "bob"); status != 200 {
		t.Errorf("another subject: %d", status)
	}
	before := asked.Load()
	refused := 0
	for range 30 { // nobody, from one address
		if status, _ := mint("198.51.100.1", ""); status == 429 {
			refused++
		}
	}
	if n := asked.Load() - before; n > 6 || refused != int(30-n) {
		t.Errorf("the backend was asked %d times by one address, and %d were refused", n, refused)
	}
	before, refused = asked.Load(), 0
	for i := range 30 { // from 30 addresses that are one network, as anybody has it
		if status, _ := mint(fmt.Sprintf("2001:db8:0:7::%x", i), ""); status == 429 {
			refused++
		}
	}
	if n := asked.Load() - before; n > 6 || refused != int(30-n) {
		t.Errorf("the backend was asked %d times by one network, and %d were refused", n, refused)
	}
	if status, _ := mint("198.51.100.2", "cy"); status != 200 {
		t.Errorf("another address: %d", status)
	}

	// A reload gives nobody anew what is used up, unless it sets another limit.
	config := w.g.state.Load().config
	for rate, want := range []int{429, 200} {
		config.MintRate += rate
		if err := w.g.Reload(config); err != nil {
			t.Fatal(err)
		}
		if status, _ := mint(fmt.Sprintf("198.51.100.%d", 3+rate), "ada"); status != want {
			t.Errorf("after a reload with %d more a minute: %d, want %d", rate, status, want)
		}
	}
}

// TestUnfitClaims: claims that fit into no ticket are a fault of the backend as any
// other, which the page waits out.
func TestUnfitClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, claims := range map[string]string{
		"ip":        `{"sub":"ada","ip":"nowhere"}`,
		"origin":    `{"sub":"ada","origin":"not an origin"}`,
		"long":      `{"sub":"ada","x":"` + strings.Repeat("x", 3900) + `"}`,
		"empty aud": `{"sub":"ada","aud":[""]}`,
		"no aud":    `{"sub":"ada","aud":["a",null]}`,
		"half aud":  `{"sub":"ada","aud":"\ud800"}`,
		"half auds": `{"sub":"ada","aud":["\ud800"]}`,
		"deep":      `{"sub":"ada","x":` + strings.Repeat("[", 1900) + strings.Repeat("]", 1900) + `}`,
		"over":      `{"sub":"ada","session_exp":1}`,
	} {
		w.backend.mu.Lock()
		w.backend.me = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, claims)
		}
		w.backend.mu.Unlock()
		response, err := http.Post("http://"+w.addr+"/ticket", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %s %.200s", name, response.Status, body)
		}
	}
}
