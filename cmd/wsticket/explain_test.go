package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// Members of the application's own, whatever they are called and whatever they hold, do
// not change what explain says of the claims.
func TestExplainReadsTheClaimsAlone(t *testing.T) {
	keys := keyringFile(t)
	now := time.Unix(1_795_219_200, 0)
	explained := func(at time.Duration, flags []string, claims ...string) string {
		t.Helper()
		args := []string{"mint", "-keys", keys, "-sub", "ada", "-aud", "chat", "-origin", "https://app.example"}
		for _, claim := range claims {
			args = append(args, "-claim", claim)
		}
		code, ticket, stderr := try(now, nil, args...)
		if code != 0 {
			t.Fatal(stderr)
		}
		_, stdout, _ := try(now.Add(at), nil, append(append([]string{"explain", "-json", "-keys", keys}, flags...), strings.TrimSpace(ticket))...)
		if !json.Valid([]byte(stdout)) || strings.Count(stdout, "\n") != 1 {
			t.Errorf("no object a line: %q", stdout)
		}
		return stdout
	}
	for _, at := range []time.Duration{0, time.Minute, -time.Minute} {
		for _, flags := range [][]string{nil, {"-aud", "chat"}, {"-aud", "chat", "-origin", "https://evil.example"}} {
			want := explained(at, flags)
			for _, claim := range []string{`issued="soon"`, `Expires="never"`, `NotBefore=[]`, `sessionends={}`, `AUD=1`, `Origin=7`, `PATH=null`, `Scope=[1]`, `ISS=true`, `IP=1`, `audience="x"`} {
				if got := explained(at, flags, claim); got != want {
					t.Errorf("at %v, %v, with %s:\n%swithout:\n%s", at, flags, claim, got, want)
				}
			}
		}
	}
}

func TestAtInMilliseconds(t *testing.T) {
	keys := keyringFile(t)
	for _, at := range []string{"1795219210000", "253402300800", "-1", "x", "1e9"} {
		if code, _, stderr := try(time.Now(), nil, "explain", "-keys", keys, "-at", at, "x"); code != exitUsage || !strings.Contains(stderr, "seconds") {
			t.Errorf("%s: %d, %q", at, code, stderr)
		}
	}
	if code, _, stderr := try(time.Now(), nil, "explain", "-keys", keys, "-at", "253402300799", "x"); code != exitRefused {
		t.Errorf("%d, %q", code, stderr)
	}
}
