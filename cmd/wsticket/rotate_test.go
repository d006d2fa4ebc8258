package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/internal/jwkset"
)

// writeKeyring writes a keyring file of mode 0600.
func writeKeyring(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRotationLeavesNoGap: between the rotation and the end of the old key there is
// no second in which a signer has no key for its tickets, if the rotation was told
// the longest TTL and leeway.
func TestRotationLeavesNoGap(t *testing.T) {
	const start = 1_795_219_200
	for name, c := range map[string]struct {
		flags       []string
		ttl, leeway time.Duration
		ends        int64 // of the old key, in seconds from now
	}{
		"defaults":            {nil, wsticket.DefaultMaxTTL, wsticket.DefaultLeeway, 60 + 60 + 2 + 10},
		"long leeway":         {[]string{"-leeway", "60s"}, 60 * time.Second, 60 * time.Second, 60 + 60 + 60 + 10},
		"all that there is":   {[]string{"-leeway", "5m", "-max-ttl", "1h", "-activate-in", "1h"}, time.Hour, 5 * time.Minute, 3600 + 3600 + 300 + 10},
		"at once, no leeway":  {[]string{"-leeway", "0s", "-activate-in", "0s"}, 60 * time.Second, wsticket.NoLeeway, 60 + 10},
		"parts of seconds up": {[]string{"-leeway", "1500ms", "-max-ttl", "100ms", "-activate-in", "1ns"}, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := keyringFile(t)
			code, _, stderr := try(time.Unix(start, 0), nil, append([]string{"keys", "rotate", "-keys", path}, c.flags...)...)
			if c.ends == 0 {
				if code != exitUsage {
					t.Errorf("exit %d: %s", code, stderr)
				}
				return
			}
			if code != 0 {
				t.Fatal(stderr)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			set, err := jwkset.Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			if got := set.Keys()[0].Expires - start; got != c.ends {
				t.Errorf("the old key ends %d s from now, want %d", got, c.ends)
			}
			keys, err := wsticket.LoadKeyring(path)
			if err != nil {
				t.Fatal(err)
			}
			signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys, TTL: c.ttl, MaxTTL: c.ttl, Leeway: c.leeway})
			if err != nil {
				t.Fatal(err)
			}
			for s := int64(0); s <= c.ends+5; s++ {
				if _, err := signer.SignAt(time.Unix(start+s, 0), &wsticket.Claims{Subject: "ada"}); err != nil {
					t.Fatalf("%d s after the rotation: %v", s, err)
				}
			}
		})
	}
	// Told less, there is one: what the flag is for.
	path := keyringFile(t)
	try(time.Unix(start, 0), nil, "keys", "rotate", "-keys", path)
	keys, err := wsticket.LoadKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys, TTL: time.Minute, Leeway: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	gap := 0
	for s := range int64(200) {
		if _, err := signer.SignAt(time.Unix(start+s, 0), &wsticket.Claims{Subject: "ada"}); err != nil {
			gap++
		}
	}
	if gap != 47 {
		t.Errorf("a gap of %d s", gap)
	}
}

// An exp that is earlier than a rotation would have it stays, and may leave a time in
// which nobody signs: the command says so.
func TestRotateWarnsOfAGap(t *testing.T) {
	now := time.Unix(1_795_219_200, 0)
	for exp, want := range map[int64]string{
		now.Unix() + 3600:    "",
		now.Unix() + 60 + 62: "",
		now.Unix() + 60 + 61: "",
		now.Unix() + 60 + 60: "warning: from 2026-11-21T00:00:59Z to 2026-11-21T00:01:00Z no key signs tickets of 1m",
		now.Unix() + 70:      "warning: from 2026-11-21T00:00:09Z to 2026-11-21T00:01:00Z no key signs tickets of 1m",
		now.Unix():           "warning: from 2026-11-21T00:00:00Z to 2026-11-21T00:01:00Z no key signs tickets of 1m",
	} {
		path := keyringFile(t)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.Replace(text, []byte(`"kid":`), fmt.Appendf(nil, `"exp":%d,"kid":`, exp), 1)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := try(now, nil, "keys", "rotate", "-keys", path)
		if code != 0 || (stderr == "") != (want == "") || !strings.Contains(stderr, want) {
			t.Errorf("exp %d: %d, %q, want %q", exp-now.Unix(), code, stderr, want)
		}
	}
}
