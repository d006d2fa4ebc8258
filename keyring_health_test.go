package wsticket

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// keyringFile is a keyring file that a test writes.
type keyringFile struct {
	t    *testing.T
	path string
}

func newKeyringFile(t *testing.T, content []byte) *keyringFile {
	f := &keyringFile{t, filepath.Join(t.TempDir(), "keyring.json")}
	f.put(content)
	return f
}

func (f *keyringFile) put(content []byte) {
	f.t.Helper()
	if err := os.WriteFile(f.path, content, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *keyringFile) load() *Keyring {
	f.t.Helper()
	k, err := LoadKeyring(f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	return k
}

func TestReload(t *testing.T) {
	file := newKeyringFile(t, jwks(keyA))
	k := file.load()
	for _, step := range []struct {
		name    string
		content []byte
		inForce string
		fault   string
	}{
		{"unchanged", jwks(keyA), "a", ""},
		{"a key more", jwks(keyA, keyB), "b a", ""},
		{"cut off", jwks(keyA, keyC)[:60], "b a", "keyring.json"},
		{"still cut off", jwks(keyA, keyC)[:60], "b a", "keyring.json"},
		{"empty", nil, "b a", "is empty"},
		{"another secret", jwks(testJWK("a", "X"+testSecret, "")), "b a", "another secret"},
		{"a key less", jwks(keyB), "b", ""},
		{"one that returns", jwks(keyA, keyB), "b a", "a had been dropped"},
	} {
		file.put(step.content)
		err := k.Reload(file.path)
		if kids(k) != step.inForce || (err == nil) != (step.fault == "") || err != nil && !strings.Contains(err.Error(), step.fault) {
			t.Errorf("%s: in force %s, %v; want %s, %q", step.name, kids(k), err, step.inForce, step.fault)
		}
	}
	var returned *ReturnedKeysError
	file.put(jwks(keyB))
	if err := k.Reload(file.path); err != nil {
		t.Error(err)
	}
	file.put(jwks(keyA, keyB))
	if err := k.Reload(file.path); !errors.As(err, &returned) || fmt.Sprint(returned.KeyIDs) != "[a]" {
		t.Errorf("%v", err)
	}
	// What the program put in force by other means gives way to the file.
	if err := k.Replace(jwks(keyC)); err != nil || kids(k) != "c" {
		t.Fatal(err)
	}
	if err := k.Reload(file.path); kids(k) != "b a" {
		t.Errorf("in force %s, %v", kids(k), err)
	}
	if err := k.Reload(filepath.Dir(file.path)); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("%v", err)
	}
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := newKeyringFile(t, jwks(keyA))
		start := time.Now()
		k := file.load()
		second := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
		expect := func(step string, loaded, checked, failing int, failures uint64, fault string) {
			t.Helper()
			h := k.Health()
			since := time.Time{}
			if failing >= 0 {
				since = second(failing)
			}
			text := fmt.Sprint(h.LastError)
			if !h.LoadedAt.Equal(second(loaded)) || !h.CheckedAt.Equal(second(checked)) || !h.FailingSince.Equal(since) || h.Failures != failures ||
				(h.LastError == nil) != (fault == "") || !strings.Contains(text, fault) {
				t.Errorf("%s: %+v", step, h)
			}
			if strings.Contains(text, testSecret) {
				t.Errorf("%s: a secret is shown", step)
			}
		}
		at := func(n int) { time.Sleep(time.Until(second(n))) }
		reload := func() { k.Reload(file.path) }

		expect("loaded", 0, 0, -1, 0, "")
		at(1)
		reload()
		expect("looked at", 0, 1, -1, 0, "")
		at(2)
		file.put(jwks(keyA, keyB))
		reload()
		expect("replaced", 2, 2, -1, 0, "")
		at(3)
		file.put(jwks(keyA)[:40])
		reload()
		expect("cut off", 2, 2, 3, 1, "keyring.json")
		at(4)
		reload()
		expect("still cut off", 2, 2, 3, 2, "keyring.json")
		at(5)
		k.Replace(jwks(testJWK("a", "X"+testSecret, "")))
		expect("another secret", 2, 2, 3, 3, "another secret")
		at(6)
		os.Remove(file.path)
		reload()
		expect("gone", 2, 2, 3, 4, "no such file")
		at(7)
		file.put(jwks(keyA, keyB))
		reload()
		expect("back as it was", 2, 7, -1, 4, "")
		at(8)
		k.Replace(jwks(keyA, keyB))
		expect("replaced by itself", 2, 8, -1, 4, "")
		at(9)
		k.Replace(jwks(keyB))
		expect("replaced by a call", 9, 9, -1, 4, "")
		at(10)
		reload()
		expect("a key returns: no failure", 10, 10, -1, 4, "")

		// Watch keeps it too, every time that it looks.
		ctx, cancel := context.WithCancel(t.Context())
		go k.Watch(ctx, file.path, 10*time.Second, nil)
		time.Sleep(25 * time.Second)
		expect("watched", 10, 30, -1, 4, "")
		file.put(nil)
		time.Sleep(40 * time.Second) // looks at 40, 40.2, 50.2, 60.2 and 70.2
		h := k.Health()
		if want := second(40).Add(settleTime); !h.FailingSince.Equal(want) || h.Failures != 8 || !h.CheckedAt.Equal(second(30)) {
			t.Errorf("broken under Watch: %+v", h)
		}
		cancel()
		synctest.Wait()
	})
}

// TestWatchWaitsForAFileToStandStill: a writer who goes over the file in place leaves
// a mixture for a moment that is a keyring. Taken, it would lock the real one out,
// whose key c has another secret.
func TestWatchWaitsForAFileToStandStill(t *testing.T) {
	mixture := jwks(keyA, testJWK("c", "M"+testSecret, ""))
	file := newKeyringFile(t, jwks(keyA))
	synctest.Test(t, func(t *testing.T) {
		w := &watchTest{t: t, keyring: file.load(), path: file.path}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go w.keyring.Watch(ctx, file.path, time.Second, func(err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.reports = append(w.reports, err)
		})
		time.Sleep(900 * time.Millisecond)
		file.put(mixture)
		time.Sleep(250 * time.Millisecond) // Watch has met it once
		file.put(jwks(keyA, keyC))
		w.expect("the whole file", "c a", "")

		// The same for a fault: one that is gone at the second look is none.
		file.put(nil)
		time.Sleep(300 * time.Millisecond) // one look has met it
		file.put(jwks(keyC))
		w.expect("emptied, then written", "c", "")

		// A file that never stands still is judged in the end.
		time.Sleep(13 * time.Millisecond) // no look in the middle of a write
		stop := time.Now().Add(5 * time.Second)
		for i := 0; time.Now().Before(stop); i++ {
			file.put(append(jwks(keyB, keyC), strings.Repeat(" ", i)...))
			time.Sleep(50 * time.Millisecond)
		}
		if got := kids(w.keyring); got != "c b" {
			t.Errorf("restless: in force %s", got)
		}
		w.expect("at rest", "c b", "")
		if h := w.keyring.Health(); h.Failures != 0 {
			t.Errorf("%+v", h)
		}
	})
	// Where Watch looks more often than that, it waits no longer than it would anyway.
	synctest.Test(t, func(t *testing.T) {
		file := newKeyringFile(t, jwks(keyA))
		k := file.load()
		go k.Watch(t.Context(), file.path, 10*time.Millisecond, nil)
		synctest.Wait()
		file.put(jwks(keyB))
		time.Sleep(25 * time.Millisecond)
		synctest.Wait()
		if kids(k) != "b" {
			t.Errorf("in force %s", kids(k))
		}
	})
}

// TestEachFaultIsReportedAgain: a fault that was mended and comes back is news.
func TestEachFaultIsReportedAgain(t *testing.T) {
	file := newKeyringFile(t, jwks(keyA))
	w := watched{keyring: file.load(), path: file.path}
	look := func(step string, content []byte, want string) {
		t.Helper()
		file.put(content)
		var said []string
		for range 2 { // until it is judged
			if settled, err := w.look(time.Now()); err != nil {
				said = append(said, err.Error())
			} else if settled {
				break
			}
		}
		if got := strings.Join(said, "|"); (got == "") != (want == "") || !strings.Contains(got, want) || strings.Contains(got, "|") {
			t.Errorf("%s: %q, want one with %q", step, got, want)
		}
	}
	broken := jwks(keyA)[:40]
	look("broken", broken, "keyring.json")
	look("the one in force again", jwks(keyA), "")
	look("broken again", broken, "keyring.json")
	look("another one", jwks(keyB), "")
	look("broken after it", broken, "keyring.json")
	look("still broken", broken, "")
}
