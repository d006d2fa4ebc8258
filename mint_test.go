package wsticket

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// mintKeys is a keyring of one key.
func mintKeys(t *testing.T) *Keyring {
	t.Helper()
	keys, err := ParseKeyring(fmt.Appendf(nil, `{"keys":[{"kty":"oct","kid":"mint","alg":"HS256","k":%q}]}`,
		base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("m", 32)))))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// mintHandler is a handler that knows alice by a cookie, and what else the
// cookie may say.
func mintHandler(t *testing.T, alter func(*MintConfig)) *MintHandler {
	t.Helper()
	signer, err := NewSigner(SignerConfig{Keys: mintKeys(t)})
	if err != nil {
		t.Fatal(err)
	}
	config := MintConfig{
		Signer: signer,
		Authenticate: func(r *http.Request) (*Claims, error) {
			cookie, err := r.Cookie("session")
			if err != nil {
				return nil, nil
			}
			switch cookie.Value {
			case "old":
				return nil, fmt.Errorf("session: %w", ErrUnauthenticated)
			case "banned":
				return nil, fmt.Errorf("banned: %w", ErrForbidden)
			case "broken":
				return nil, errors.New("the database password is hunter2")
			case "long":
				return &Claims{Subject: "alice", TTL: 30 * time.Second}, nil
			case "nameless":
				return &Claims{}, nil
			case "unsignable":
				return &Claims{Subject: "alice", Path: "no/slash"}, nil
			}
			return &Claims{Subject: cookie.Value}, nil
		},
	}
	if alter != nil {
		alter(&config)
	}
	h, err := NewMintHandler(config)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ask sends a request with the given cookie and headers, two strings each.
func ask(h http.Handler, method, cookie string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, "https://app.example/ticket", nil)
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: "session", Value: cookie})
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func readAll(t *testing.T, r *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestMintHandlerMints(t *testing.T) {
	keys := mintKeys(t)
	verifier, err := NewVerifier(VerifierConfig{Keys: keys, Replay: DangerouslyAllowReplay})
	if err != nil {
		t.Fatal(err)
	}
	h := mintHandler(t, nil)
	for cookie, ttl := range map[string]int64{"alice": 10, "long": 30} {
		before := time.Now().Unix()
		r := ask(h, "POST", cookie)
		after := time.Now().Unix()
		if r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%s: %d %v", cookie, r.StatusCode, r.Header)
		}
		decoder := json.NewDecoder(strings.NewReader(readAll(t, r)))
		decoder.DisallowUnknownFields()
		var answer struct {
			Ticket    string `json:"ticket"`
			ExpiresIn int64  `json:"expires_in"`
			ExpiresAt int64  `json:"expires_at"`
		}
		if err := decoder.Decode(&answer); err != nil {
			t.Fatal(err)
		}
		var ticket Ticket
		if err := verifier.Peek(Request{Ticket: []byte(answer.Ticket)}, &ticket); err != nil {
			t.Fatal(err)
		}
		if string(ticket.Subject()) != "alice" || ticket.Expires().Unix() != answer.ExpiresAt || answer.ExpiresIn != ttl ||
			answer.ExpiresAt < before+ttl || answer.ExpiresAt > after+ttl {
			t.Errorf("%s: %+v for %s, minted between %d and %d", cookie, answer, ticket.Payload(), before, after)
		}
		if len(r.Header["Access-Control-Allow-Origin"]) > 0 {
			t.Error("CORS headers without Origins")
		}
	}
}

// The answer says where to show the ticket, where MintConfig.URL does.
func TestMintHandlerURL(t *testing.T) {
	for url, want := range map[string]string{
		"":                                 `}`,
		"wss://gw-1.example/ws?room=a\"\\": `,"url":"wss://gw-1.example/ws?room=a\"\\"}`,
		"/nodes/2/ws":                      `,"url":"/nodes/2/ws"}`,
	} {
		h := mintHandler(t, func(c *MintConfig) {
			c.URL = func(r *http.Request, claims *Claims) string {
				if claims.Subject != "alice" || r.URL.Path != "/ticket" {
					t.Errorf("it is asked for %v of %v", claims, r.URL)
				}
				return url
			}
		})
		r := ask(h, "POST", "alice")
		text := readAll(t, r)
		if r.StatusCode != 200 || !strings.HasSuffix(text, want+"\n") || strings.Contains(text, "url") != (url != "") {
			t.Errorf("%q: %d with ...%s", url, r.StatusCode, text[strings.Index(text, "expires_at"):])
		}
		var answer map[string]any
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Errorf("%q: %v", url, err)
		} else if got, _ := answer["url"].(string); got != url {
			t.Errorf("%q comes out as %q", url, got)
		}
	}
	for _, cookie := range []string{"", "banned", "broken"} {
		h := mintHandler(t, func(c *MintConfig) {
			c.URL = func(*http.Request, *Claims) string { t.Error("asked about a refusal"); return "" }
		})
		ask(h, "POST", cookie)
	}
}

func TestMintHandlerRefuses(t *testing.T) {
	slow := func(c *MintConfig) {
		c.Allow = func(_ *http.Request, c *Claims) error {
			switch c.Subject {
			case "alice":
				return fmt.Errorf("alice has asked 1000 times: %w", TooManyRequests(1100*time.Millisecond))
			case "carol":
				return ErrTooManyRequests
			case "dave":
				return errors.New("the store of rates is down")
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		alter   func(*MintConfig)
		method  string
		cookie  string
		headers []string
		status  int
		class   string

		retryAfter string
	}{
		"GET":                {method: "GET", cookie: "alice", status: 405, class: "bad_request"},
		"HEAD":               {method: "HEAD", cookie: "alice", status: 405, class: "bad_request"},
		"PUT":                {method: "PUT", cookie: "alice", status: 405, class: "bad_request"},
		"OPTIONS":            {method: "OPTIONS", cookie: "alice", headers: []string{"Origin", "https://app.example", "Access-Control-Request-Method", "POST"}, status: 405, class: "bad_request"},
		"nobody":             {method: "POST", status: 401, class: "invalid_ticket"},
		"old session":        {method: "POST", cookie: "old", status: 401, class: "invalid_ticket"},
		"banned":             {method: "POST", cookie: "banned", status: 403, class: "forbidden"},
		"broken":             {method: "POST", cookie: "broken", status: 500, class: "unavailable"},
		"nameless":           {method: "POST", cookie: "nameless", status: 401, class: "invalid_ticket"},
		"claims unsignable":  {method: "POST", cookie: "unsignable", status: 500, class: "unavailable"},
		"too often":          {alter: slow, method: "POST", cookie: "alice", status: 429, class: "unavailable", retryAfter: "2"},
		"too often, no time": {alter: slow, method: "POST", cookie: "carol", status: 429, class: "unavailable"},
		"rates are down":     {alter: slow, method: "POST", cookie: "dave", status: 500, class: "unavailable"},
		"cross-site":         {method: "POST", cookie: "alice", headers: []string{"Sec-Fetch-Site", "cross-site"}, status: 403, class: "forbidden"},
		"same-site":          {method: "POST", cookie: "alice", headers: []string{"Sec-Fetch-Site", "same-site"}, status: 403, class: "forbidden"},
		"other origin":       {method: "POST", cookie: "alice", headers: []string{"Origin", "https://evil.example"}, status: 403, class: "forbidden"},
		"null origin":        {method: "POST", cookie: "alice", headers: []string{"Origin", "null"}, status: 403, class: "forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			r := ask(mintHandler(t, c.alter), c.method, c.cookie, c.headers...)
			want := fmt.Sprintf(`{"type":"%s","status":%d}`, c.class, c.status)
			if got := readAll(t, r); r.StatusCode != c.status || got != want {
				t.Errorf("%d %s, want %d %s", r.StatusCode, got, c.status, want)
			}
			if r.Header.Get("Content-Type") != "application/problem+json" || r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", r.Header)
			}
			if got := r.Header.Get("Retry-After"); got != c.retryAfter {
				t.Errorf("Retry-After %q, want %q", got, c.retryAfter)
			}
			if (c.status == 405) != (r.Header.Get("Allow") == "POST") || (c.status == 401) != (r.Header.Get("WWW-Authenticate") == "Bearer") {
				t.Errorf("headers %v", r.Header)
			}
		})
	}
	if r := ask(mintHandler(t, slow), "POST", "bob"); r.StatusCode != 200 {
		t.Errorf("bob, whom Allow allows, gets %d", r.StatusCode)
	}
}

func TestMintHandlerCORS(t *testing.T) {
	h := mintHandler(t, func(c *MintConfig) { c.Origins = []string{"https://page.example", "http://localhost:3000"} })
	post := func(headers ...string) *http.Response { return ask(h, "POST", "alice", headers...) }
	for _, origin := range []string{"https://page.example", "http://localhost:3000"} {
		r := post("Origin", origin, "Sec-Fetch-Site", "cross-site")
		if r.StatusCode != 200 || r.Header.Get("Access-Control-Allow-Origin") != origin || r.Header.Get("Access-Control-Allow-Credentials") != "true" || r.Header.Get("Vary") != "Origin" {
			t.Errorf("%s: %d %v", origin, r.StatusCode, r.Header)
		}
		// A page must be able to read that its user is to log in.
		if r := ask(h, "POST", "", "Origin", origin); r.StatusCode != 401 || r.Header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s, unauthenticated: %d %v", origin, r.StatusCode, r.Header)
		}
		r = ask(h, "OPTIONS", "", "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,x-csrf-token")
		if r.StatusCode != 204 || r.Header.Get("Access-Control-Allow-Origin") != origin || r.Header.Get("Access-Control-Allow-Methods") != "POST" ||
			r.Header.Get("Access-Control-Allow-Headers") != "authorization,x-csrf-token" || r.Header.Get("Access-Control-Allow-Credentials") != "true" {
			t.Errorf("%s, preflight: %d %v", origin, r.StatusCode, r.Header)
		}
	}
	for _, origin := range []string{"https://page.example.evil.example", "https://page.example:444", "http://page.example", "null", "https://PAGE.example", "https://evil.example"} {
		for _, r := range []*http.Response{post("Origin", origin), ask(h, "OPTIONS", "", "Origin", origin, "Access-Control-Request-Method", "POST")} {
			if r.StatusCode != 403 || len(r.Header["Access-Control-Allow-Origin"]) > 0 || r.Header.Get("Vary") != "Origin" {
				t.Errorf("%s: %d %v", origin, r.StatusCode, r.Header)
			}
		}
	}
	if r := post(); r.StatusCode != 200 || r.Header.Get("Vary") != "Origin" {
		t.Errorf("without Origin: %d %v", r.StatusCode, r.Header)
	}
	if r := ask(h, "OPTIONS", ""); r.StatusCode != 405 || r.Header.Get("Allow") != "OPTIONS, POST" {
		t.Errorf("OPTIONS that is no preflight: %d %v", r.StatusCode, r.Header)
	}
	if r := ask(h, "OPTIONS", "", "Origin", "https://page.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x:y"); len(r.Header["Access-Control-Allow-Headers"]) > 0 {
		t.Errorf("what is no header name is allowed: %v", r.Header)
	}
}

func TestMintHandlerTellsOnError(t *testing.T) {
	var told []string
	h := mintHandler(t, func(c *MintConfig) {
		c.OnError = func(_ *http.Request, err error) { told = append(told, err.Error()) }
	})
	for _, cookie := range []string{"broken", "unsignable", "nameless", "banned", "old", "alice"} {
		ask(h, "POST", cookie)
	}
	if len(told) != 2 || !strings.Contains(told[0], "hunter2") || !strings.Contains(told[1], "Path") {
		t.Errorf("told %q", told)
	}
}

func TestNewMintHandlerReportsAllFaults(t *testing.T) {
	_, err := NewMintHandler(MintConfig{Origins: []string{"https://ok.example", "page.example", "https://page.example/"}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"Signer", "Authenticate", `"page.example"`, `"https://page.example/"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %q", want, err)
		}
	}
}

func TestMintHandlerCORSOddities(t *testing.T) {
	h := mintHandler(t, func(c *MintConfig) { c.Origins = []string{"https://page.example"} })
	// Nobody knows which of two Origins a reader in between would take.
	r := ask(h, "POST", "alice", "Origin", "https://page.example", "Origin", "https://evil.example")
	if len(r.Header["Access-Control-Allow-Origin"]) > 0 || len(r.Header["Access-Control-Allow-Credentials"]) > 0 {
		t.Errorf("two Origins: %v", r.Header)
	}
	if r := ask(h, "OPTIONS", "", "Origin", "https://page.example"); r.StatusCode != 405 || r.Header.Get("Allow") != "OPTIONS, POST" {
		t.Errorf("OPTIONS without Access-Control-Request-Method: %d %v", r.StatusCode, r.Header)
	}
	for n, allowed := range map[int]bool{1024: true, 1025: false} {
		names := strings.Repeat("x", n)
		r := ask(h, "OPTIONS", "", "Origin", "https://page.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", names)
		if r.StatusCode != 204 || (r.Header.Get("Access-Control-Allow-Headers") == names) != allowed {
			t.Errorf("%d bytes of header names: %d %v", n, r.StatusCode, r.Header)
		}
	}
	r = ask(h, "POST", "alice", "Origin", "https://page.example")
	if r.StatusCode != 200 || r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Access-Control-Expose-Headers") != "Retry-After" {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
}

// TestMintUnavailable: who cannot tell for now is asked again in a moment.
func TestMintUnavailable(t *testing.T) {
	var told error
	signer, err := NewSigner(SignerConfig{Keys: mintKeys(t)})
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewMintHandler(MintConfig{Signer: signer, OnError: func(_ *http.Request, err error) { told = err },
		Authenticate: func(*http.Request) (*Claims, error) {
			return nil, fmt.Errorf("the store of sessions: %w", ErrUnavailable)
		}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/ticket", nil))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `"unavailable"`) || strings.Contains(w.Body.String(), "store") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if !errors.Is(told, ErrUnavailable) || h.Stats().Refused(503) != 1 {
		t.Errorf("OnError hears %v; %d counted", told, h.Stats().Refused(503))
	}
}

// TestMintIsAsOldAsTheQuestion: a session that ends while Authenticate takes its time ends
// its ticket too, since the ticket was issued when the question was asked. What the page is
// told is how long the ticket still lives.
func TestMintIsAsOldAsTheQuestion(t *testing.T) {
	for took, want := range map[time.Duration]int{3500 * time.Millisecond: 200, 9 * time.Second: 200, 10 * time.Second: 503, time.Minute: 503} {
		synctest.Test(t, func(t *testing.T) {
			h := mintHandler(t, func(c *MintConfig) {
				c.Authenticate = func(*http.Request) (*Claims, error) {
					time.Sleep(took)
					return &Claims{Subject: "alice"}, nil
				}
			})
			asked := time.Now().Unix()
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", "/ticket", nil))
			if w.Code != want {
				t.Fatalf("after %v: status %d", took, w.Code)
			}
			if want != 200 {
				if w.Header().Get("Retry-After") == "" || h.Stats().Refused(503) != 1 || strings.Contains(w.Body.String(), "ticket\":") {
					t.Errorf("%v %s", w.Header(), w.Body)
				}
				return
			}
			var answer struct {
				Ticket  string
				Expires int64 `json:"expires_in"`
				At      int64 `json:"expires_at"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
				t.Fatal(err)
			}
			verifier, err := NewVerifier(VerifierConfig{Keys: mintKeys(t), Replay: DangerouslyAllowReplay})
			if err != nil {
				t.Fatal(err)
			}
			var ticket Ticket
			if err := verifier.Peek(Request{Ticket: []byte(answer.Ticket)}, &ticket); err != nil {
				t.Fatal(err)
			}
			if ticket.IssuedAt().Unix() != asked || answer.At != asked+10 || answer.Expires != answer.At-time.Now().Unix() {
				t.Errorf("asked %d, issued %d; expires at %d, in %d", asked, ticket.IssuedAt().Unix(), answer.At, answer.Expires)
			}
		})
	}
}
