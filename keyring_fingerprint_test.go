package wsticket

import (
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestFingerprint(t *testing.T) {
	if raceEnabled {
		t.Skip("nothing runs beside it, and the race detector makes PBKDF2 forty times as slow")
	}
	prints := func(keys ...string) (keyring, first string) {
		t.Helper()
		keyring, list := testKeyring(t, keys...).Fingerprint()
		if len(list) != len(keys) || !regexp.MustCompile(`^[0-9a-f]{10}$`).MatchString(keyring) {
			t.Fatalf("%q, %v", keyring, list)
		}
		return keyring, list[0].Fingerprint
	}
	// Fixed, for nodes of different versions are compared by it. Computed with
	// hashlib.pbkdf2_hmac and hashlib.sha256 of Python.
	a := testJWK("a", "A"+testSecret, "")
	alone, ofA := prints(a)
	if ofA != "b3ca0d86ee" {
		t.Errorf("key a: %s, want %s", ofA, "b3ca0d86ee")
	}
	if got, _ := prints(a, keyB); got != "fc21273965" {
		t.Errorf("keyring: %s, want %s", got, "fc21273965")
	}
	if got, _ := prints(keyB, a); got != "fc21273965" {
		t.Error("the order of the file counts")
	}
	if got, _ := prints(testJWK("a", "A"+testSecret, `,"iat":7,"use":"sig","note":"mine","key_ops":["sign","verify"]`)); got != alone {
		t.Error("what decides nothing counts")
	}
	seen := map[string]string{alone: "the key itself"}
	for name, key := range map[string]string{
		"another kid":    testJWK("b", "A"+testSecret, ""),
		"another secret": testJWK("a", "B"+testSecret, ""),
		"another alg":    strings.Replace(testJWK("a", "A"+testSecret+testSecret, ""), "HS256", "HS384", 1),
		"a start":        testJWK("a", "A"+testSecret, `,"nbf":5`),
		"an end":         testJWK("a", "A"+testSecret, `,"exp":5`),
		"a later end":    testJWK("a", "A"+testSecret, `,"exp":6`),
		"no signing":     testJWK("a", "A"+testSecret, `,"key_ops":["verify"]`),
	} {
		keyring, own := prints(key)
		if other, taken := seen[keyring]; taken {
			t.Errorf("%s and %s look alike", name, other)
		}
		seen[keyring] = name
		times := strings.Contains("a start, an end, a later end, no signing", name)
		if same := own == ofA; same != times {
			t.Errorf("%s: the key's own fingerprint is the same: %v", name, same)
		}
	}
}

// TestFingerprintIsComputedOnce: a monitor may ask every few seconds, and a rotation
// costs the new key alone.
func TestFingerprintIsComputedOnce(t *testing.T) {
	if raceEnabled {
		t.Skip("as above")
	}
	k := testKeyring(t, keyA)
	before, _ := k.Fingerprint()
	rounds := 0
	for _, key := range k.state.inForce.Load().keys {
		slow := key.stretched
		key.stretched = func() []byte { rounds++; return slow() }
	}
	if err := k.Replace(jwks(keyA, keyB)); err != nil {
		t.Fatal(err)
	}
	after, keys := k.Fingerprint()
	if rounds != 1 || after == before || len(keys) != 2 || keys[0].KeyID != "b" || keys[0].Fingerprint == keys[1].Fingerprint {
		t.Errorf("asked %d times for the key that stayed; %s, %s, %v", rounds, before, after, keys)
	}
	fresh := testKeyring(t, keyA, keyB)
	if want, _ := fresh.Fingerprint(); want != after {
		t.Errorf("%s after a replacement, %s when loaded", after, want)
	}
	if n := testing.AllocsPerRun(1, func() { fresh.Fingerprint() }); n > 50 {
		t.Errorf("%v allocations for what is known", n)
	}
	once := func(k *Keyring) time.Duration {
		start := time.Now()
		k.Fingerprint()
		return time.Since(start)
	}
	k = testKeyring(t, keyC)
	slow := once(k)
	fast := slow
	for range 20 { // any of them may be held up by other programs, but not all
		fast = min(fast, once(k))
	}
	if fast > slow/10 {
		t.Errorf("the first call took %v, the fastest of twenty more %v", slow, fast)
	}
}

// TestFingerprintBesideReplace: under the race detector, whoever asks gets the
// fingerprint of one whole keyring.
func TestFingerprintBesideReplace(t *testing.T) {
	k := testKeyring(t, keyA)
	var readers sync.WaitGroup
	var mu sync.Mutex
	seen := make(map[string]int)
	for range 4 {
		readers.Go(func() {
			for range 3 {
				keyring, keys := k.Fingerprint()
				mu.Lock()
				seen[keyring] = len(keys)
				mu.Unlock()
			}
		})
	}
	if err := k.Replace(jwks(keyA, testJWK("v", "V"+testSecret, ""))); err != nil {
		t.Error(err)
	}
	readers.Wait()
	last, _ := k.Fingerprint()
	if seen[last] = 2; len(seen) > 2 {
		t.Errorf("%v", seen)
	}
}
