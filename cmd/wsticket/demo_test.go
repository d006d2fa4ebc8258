package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// TestDemoServesTheClient: the demo's page uses the file that npm delivers, byte for
// byte, and its policy lets that run.
func TestDemoServesTheClient(t *testing.T) {
	file, err := os.ReadFile("../../client/index.js")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(newTestDemo(t))
	defer server.Close()
	if script, _ := get(t, server.URL+"/wsticket.js"); script != string(file) {
		t.Errorf("/wsticket.js has %d bytes and is not client/index.js", len(script))
	}
	page, header := get(t, server.URL+"/")
	if !strings.Contains(page, `import { connect } from "./wsticket.js"`) {
		t.Error("the page does not use the client")
	}
	if strings.Contains(page, "{{") {
		t.Error("the page has a gap that was not filled in")
	}
	if policy := header.Get("Content-Security-Policy"); !strings.Contains(policy, "script-src 'self' 'sha256-") || strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %q", policy)
	}
}

// TestDemoSessions: a session gives tickets until its end, and nobody else ends it.
func TestDemoSessions(t *testing.T) {
	d := newTestDemo(t)
	server := httptest.NewServer(d)
	defer server.Close()
	post := func(path, origin string) int {
		t.Helper()
		r, err := http.NewRequest("POST", server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if origin != "" {
			r.Header.Set("Origin", origin)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	for range maxSessions + 5 {
		if status := post("/session", ""); status != 200 {
			t.Fatalf("a login is %d", status)
		}
	}
	if len(d.sessions) != maxSessions {
		t.Errorf("%d sessions are kept, want %d", len(d.sessions), maxSessions)
	}
	id := d.sessions[0]
	for _, c := range []struct {
		path, origin string
		status       int
	}{
		{"/ticket?session=" + id, "", 200},
		{"/ticket?session=nobody", "", 401},
		{"/logout?session=" + id, "https://evil.example", 403},
		{"/drop?attempt=a", "https://evil.example", 403},
		{"/session", "https://evil.example", 403},
		{"/ticket?session=" + id, "", 200},
		{"/drop?attempt=nobody", "", 204},
		{"/drop", "", 204},
		{"/logout?session=" + id, "", 204},
		{"/ticket?session=" + id, "", 401},
		{"/logout?session=" + id, "", 204},
	} {
		if status := post(c.path, c.origin); status != c.status {
			t.Errorf("%s from %q: %d, want %d", strings.ReplaceAll(c.path, id, "ID"), c.origin, status, c.status)
		}
	}
}

func newTestDemo(t *testing.T) *demoServer {
	t.Helper()
	keys, since, err := (&env{now: time.Now}).demoKeys("")
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDemoServer(keys, wsticket.DangerouslyAllowReplay, since)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func get(t *testing.T, url string) (string, http.Header) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 200 {
		t.Fatalf("%s: %v, %v", url, response.Status, err)
	}
	return string(body), response.Header
}
