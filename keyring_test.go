package wsticket

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func jwks(keys ...string) []byte { return []byte(`{"keys":[` + strings.Join(keys, ",") + `]}`) }

func kids(k *Keyring) string {
	var list []string
	for _, key := range k.Keys() {
		list = append(list, key.ID)
	}
	return strings.Join(list, " ")
}

var (
	keyA = testJWK("a", "A"+testSecret, "")
	keyB = testJWK("b", "B"+testSecret, `,"nbf":1795219200,"exp":4795219200`)
	keyC = testJWK("c", "C"+testSecret, `,"nbf":1795219300`)
)

func TestKeysDescribesWithoutSecrets(t *testing.T) {
	k := testKeyring(t, keyA, keyB)
	got := fmt.Sprintf("%+v", k.Keys())
	want := fmt.Sprintf("%+v", []Key{
		{ID: "b", Algorithm: "HS256", NotBefore: time.Unix(1795219200, 0), Expires: time.Unix(4795219200, 0), Signs: true},
		{ID: "a", Algorithm: "HS256", Signs: true},
	})
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReplace(t *testing.T) {
	k := testKeyring(t, keyA, keyB)
	for name, c := range map[string]struct {
		set  []byte
		word string
	}{
		"half":         {jwks(keyA, keyB)[:40], ""},
		"empty":        {nil, ""},
		"no key":       {jwks(), ""},
		"other secret": {jwks(testJWK("a", "Z"+testSecret, ""), keyB), "another secret"},
		"other alg":    {jwks(keyB, strings.Replace(testJWK("a", strings.Repeat("A", 64), ""), "HS256", "HS512", 1)), "with alg"},
	} {
		err := k.Replace(c.set)
		if err == nil || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), testSecret) {
			t.Errorf("%s: the error holds a secret", name)
		}
		if kids(k) != "b a" {
			t.Errorf("%s: in force are %s", name, kids(k))
		}
	}
	if err := k.Replace(jwks(keyB, keyC)); err != nil || kids(k) != "c b" {
		t.Errorf("%v, in force are %s", err, kids(k))
	}
}

// TestReplaceReachesVerifiers: a ticket of a key that was taken out is refused
// from then on, one of a key that came in is taken.
func TestReplaceReachesVerifiers(t *testing.T) {
	keyring := testKeyring(t, keyA)
	v := testVerifier(t, func(c *VerifierConfig) { c.Keys = keyring })
	sign := func(key string) []byte {
		s := testSigner(t, func(c *SignerConfig) { c.Keys = testKeyring(t, key) })
		text, err := s.SignAt(testNow, &Claims{Subject: "ada"})
		if err != nil {
			t.Fatal(err)
		}
		return []byte(text)
	}
	byA, byB := sign(keyA), sign(keyB)
	var ticket Ticket
	judge := func(text []byte) error { return v.PeekAt(testNow, Request{Ticket: text}, &ticket) }
	if a, b := judge(byA), judge(byB); a != nil || !errors.Is(b, ErrUnknownKey) {
		t.Errorf("before: %v, %v", a, b)
	}
	if err := keyring.Replace(jwks(keyB)); err != nil {
		t.Fatal(err)
	}
	if a, b := judge(byA), judge(byB); !errors.Is(a, ErrUnknownKey) || b != nil {
		t.Errorf("after: %v, %v", a, b)
	}
}

func TestSignerKeepsItsKeyringAbleToSign(t *testing.T) {
	mute := testJWK("mute", "M"+testSecret, `,"key_ops":["verify"]`)
	gone := testJWK("gone", "G"+testSecret, `,"exp":1795219200`)
	k := testKeyring(t, keyA)
	if err := k.Replace(jwks(mute)); err != nil {
		t.Errorf("a verifier's keyring needs no signing key: %v", err)
	}
	if err := k.Replace(jwks(keyA)); err != nil {
		t.Fatal(err)
	}
	testSigner(t, func(c *SignerConfig) { c.Keys = k })
	for _, set := range [][]byte{jwks(mute), jwks(gone)} {
		if err := k.replaceAt(testNow, set); err == nil || !strings.Contains(err.Error(), "no key signs") {
			t.Errorf("%v", err)
		}
	}
	if err := k.replaceAt(testNow, jwks(keyC)); err != nil {
		t.Errorf("a key that signs later is enough: %v", err)
	}
}

func TestReturnedKeysAreReported(t *testing.T) {
	k := testKeyring(t, keyA, keyB)
	steps := []struct {
		set  []byte
		want string
	}{
		{jwks(keyA, keyB), "[]"},
		{jwks(keyB), "[]"},
		{jwks(keyA, keyB), "[a]"},
		{jwks(keyA, keyB, keyC), "[a]"},
		{jwks(keyC), "[]"},
		{jwks(keyA, keyB, keyC), "[a b]"},
	}
	for i, step := range steps {
		if err := k.replaceAt(testNow, step.set); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(k.Returned()); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
	// One that had expired and comes back with a later end.
	short := testJWK("s", "S"+testSecret, `,"exp":1795219200`)
	long := testJWK("s", "S"+testSecret, `,"exp":1795219999`)
	k = testKeyring(t, keyA, short)
	if err := k.replaceAt(testNow, jwks(keyA, short)); err != nil || len(k.Returned()) != 0 {
		t.Errorf("still expired: %v, %v", k.Returned(), err)
	}
	if err := k.replaceAt(testNow, jwks(keyA, long)); err != nil || fmt.Sprint(k.Returned()) != "[s]" {
		t.Errorf("came back: %v, %v", k.Returned(), err)
	}
}

func TestLoadKeyringFaults(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for path, word := range map[string]string{
		filepath.Join(dir, "absent"):            "no such file",
		dir:                                     "is a directory",
		write("empty", nil):                     "is empty",
		write("half", jwks(keyA)[:50]):          "half",
		write("large", make([]byte, 1<<20+100)): "limit",
		"/dev/null":                             "not a regular file",
	} {
		if _, err := LoadKeyring(path); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if k, err := LoadKeyring(write("good", jwks(keyA))); err != nil || kids(k) != "a" {
		t.Error(err)
	}
}

// watchTest runs Watch on a file in a bubble with a clock of its own.
type watchTest struct {
	t       *testing.T
	keyring *Keyring
	path    string
	mu      sync.Mutex
	reports []error
}

func (w *watchTest) reported() string {
	time.Sleep(2 * time.Second) // of the bubble's clock: two looks
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	var texts []string
	for _, err := range w.reports {
		texts = append(texts, err.Error())
	}
	w.reports = nil
	return strings.Join(texts, "|")
}

func (w *watchTest) expect(step, inForce, report string) {
	w.t.Helper()
	got := w.reported()
	if kids(w.keyring) != inForce || (report == "") != (got == "") || !strings.Contains(got, report) || strings.Contains(got, "|") {
		w.t.Errorf("%s: in force %s, want %s; reported %q, want one with %q", step, kids(w.keyring), inForce, got, report)
	}
}

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keyring.json")
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(content []byte) { t.Helper(); do(os.WriteFile(path, content, 0o600)) }
	put(jwks(keyA))
	synctest.Test(t, func(t *testing.T) {
		keyring, err := LoadKeyring(path)
		do(err)
		w := &watchTest{t: t, keyring: keyring, path: path}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- keyring.Watch(ctx, path, time.Second, func(err error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.reports = append(w.reports, err)
			})
		}()
		w.expect("unchanged", "a", "")
		put(jwks(keyA, keyB))
		w.expect("written in place", "b a", "")
		put(jwks(keyA, keyB, keyC)[:100])
		w.expect("half-written", "b a", "keyring.json")
		w.expect("still half-written", "b a", "")
		put(jwks(keyA, keyB, keyC))
		w.expect("whole", "c b a", "")
		put(nil)
		w.expect("empty", "c b a", "is empty")
		do(os.Remove(path))
		w.expect("gone", "c b a", "no such file")
		do(os.Mkdir(path, 0o700))
		w.expect("a directory", "c b a", "is a directory")
		do(os.Remove(path))
		put(jwks(keyA, keyB, keyC))
		w.expect("back", "c b a", "")

		fresh := filepath.Join(dir, "fresh")
		do(os.WriteFile(fresh, jwks(keyB, keyC), 0o600))
		do(os.Rename(fresh, path))
		w.expect("renamed over", "c b", "")

		// The way a Kubernetes secret is mounted: the file is a link through a
		// directory link that is swapped.
		do(os.Mkdir(filepath.Join(dir, "..1"), 0o700))
		do(os.Mkdir(filepath.Join(dir, "..2"), 0o700))
		do(os.WriteFile(filepath.Join(dir, "..1", "keyring.json"), jwks(keyB, keyC), 0o600))
		do(os.WriteFile(filepath.Join(dir, "..2", "keyring.json"), jwks(keyC), 0o600))
		do(os.Symlink("..1", filepath.Join(dir, "..data")))
		do(os.Remove(path))
		do(os.Symlink(filepath.Join("..data", "keyring.json"), path))
		w.expect("linked", "c b", "")
		do(os.Symlink("..2", filepath.Join(dir, "..tmp")))
		do(os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
		w.expect("link swapped", "c", "")

		do(os.Remove(path))
		put(jwks(keyA, keyC))
		w.expect("a dropped key returns", "c a", "a had been dropped")
		put(jwks(testJWK("a", "X"+testSecret, ""), keyC))
		w.expect("another secret", "c a", "another secret")

		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch ended with %v", err)
		}
	})
	if err := testKeyring(t).Watch(context.Background(), path, 0, nil); err == nil {
		t.Error("an interval of nothing is taken")
	}
}

// TestReplaceBesideReaders: under the race detector, readers see one whole set
// or the other.
func TestReplaceBesideReaders(t *testing.T) {
	keyring := testKeyring(t, keyA, keyB)
	v := testVerifier(t, func(c *VerifierConfig) { c.Keys = keyring })
	text, err := testSigner(t, func(c *SignerConfig) { c.Keys = testKeyring(t, keyA) }).SignAt(testNow, &Claims{Subject: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			var ticket Ticket
			for range 500 {
				if err := v.PeekAt(testNow, Request{Ticket: []byte(text)}, &ticket); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 100 {
		if err := keyring.Replace([][]byte{jwks(keyA, keyC), jwks(keyB, keyA)}[i&1]); err != nil {
			t.Error(err)
		}
	}
	readers.Wait()
}

func TestFailedSignerLeavesTheKeyringAlone(t *testing.T) {
	k := testKeyring(t, keyA)
	if _, err := NewSigner(SignerConfig{Keys: k, TTL: time.Millisecond}); err == nil {
		t.Fatal("a TTL of a millisecond is taken")
	}
	if err := k.Replace(jwks(testJWK("mute", "M"+testSecret, `,"key_ops":["verify"]`))); err != nil {
		t.Errorf("no Signer uses the keyring: %v", err)
	}
}

// TestWatchTriesAgain: a file that was refused for what is in force is taken once
// that has gone.
func TestWatchTriesAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	if err := os.WriteFile(path, jwks(testJWK("a", "X"+testSecret, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &watchTest{t: t, keyring: testKeyring(t, keyA), path: path}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go w.keyring.Watch(ctx, path, time.Second, func(err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.reports = append(w.reports, err)
		})
		w.expect("another secret in force", "a", "another secret")
		if err := w.keyring.Replace(jwks(keyC)); err != nil {
			t.Fatal(err)
		}
		w.expect("no longer in force", "a", "had been dropped")
	})
}

func TestOneSecretUnderTwoAlgorithms(t *testing.T) {
	for _, n := range []int{64, 65, 100, 128, 129, 200} {
		secret := strings.Repeat("s", n)
		a := testJWK("a", secret, "")
		b := strings.Replace(testJWK("b", secret, ""), "HS256", "HS512", 1)
		if _, err := ParseKeyring(jwks(a, b)); err == nil || !strings.Contains(err.Error(), "same secret") {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestReplaceOneOfMany: of many who bring a key of the same kid with secrets of their
// own at the same moment, one succeeds; the others find it in force.
func TestReplaceOneOfMany(t *testing.T) {
	const writers = 4
	many := make([]string, 100) // so that the comparison takes its time
	for i := range many {
		many[i] = testJWK(fmt.Sprintf("k%d", i), fmt.Sprintf("%03d", i)+testSecret, "")
	}
	sets := make([][]byte, writers)
	for i := range sets {
		sets[i] = jwks(append([]string{testJWK("x", fmt.Sprint(i)+testSecret, "")}, many...)...)
	}
	k := testKeyring(t, many...)
	rounds := 10
	if raceEnabled {
		rounds = 2
	}
	for round := range rounds {
		if err := k.Replace(jwks(many...)); err != nil {
			t.Fatal(err)
		}
		var start, done sync.WaitGroup
		var won atomic.Int32
		start.Add(1)
		for _, set := range sets {
			done.Go(func() {
				start.Wait()
				if err := k.Replace(set); err == nil {
					won.Add(1)
				} else if !strings.Contains(err.Error(), "another secret") {
					t.Error(err)
				}
			})
		}
		start.Done()
		done.Wait()
		if n := won.Load(); n != 1 {
			t.Fatalf("round %d: %d of %d succeed", round, n, writers)
		}
	}
}

// TestReplaceWaitsItsTurn: nothing is compared with the keys in force, or put in
// their place, while another replacement is at work.
func TestReplaceWaitsItsTurn(t *testing.T) {
	k := testKeyring(t, keyA)
	k.state.mu.Lock()
	ended := make(chan error, 1)
	go func() { ended <- k.Replace(jwks(keyB)) }()
	for deadline := time.Now().Add(100 * time.Millisecond); time.Now().Before(deadline); runtime.Gosched() {
		if kids(k) != "a" {
			t.Error("put in force beside another replacement")
			break
		}
	}
	k.state.mu.Unlock()
	if err := <-ended; err != nil || kids(k) != "b" {
		t.Errorf("in force %s, %v", kids(k), err)
	}
}
