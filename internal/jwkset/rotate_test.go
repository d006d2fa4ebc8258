package jwkset

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/wsticket/wsticket/internal/jsonscan"
)

const now = 1_795_219_200

func mustParse(t *testing.T, text string) *Set {
	t.Helper()
	s, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGenerate(t *testing.T) {
	seen := map[string]bool{}
	for alg, size := range map[string]int{"HS256": 32, "HS384": 48, "HS512": 64} {
		s, err := Generate(alg, "", now)
		if err != nil {
			t.Fatal(err)
		}
		k := s.Keys()[0]
		if len(k.Secret) != size || k.Alg != alg || k.IssuedAt != now || k.NotBefore != 0 || k.Expires != Never || !k.Signs {
			t.Errorf("%s: %v, secret of %d bytes, iat %d", alg, k, len(k.Secret), k.IssuedAt)
		}
		if !strings.HasPrefix(k.KeyID, "2026-11-21-") || !LegalKeyID(k.KeyID) || seen[k.KeyID] || seen[string(k.Secret)] {
			t.Errorf("kid %q or its secret", k.KeyID)
		}
		seen[k.KeyID], seen[string(k.Secret)] = true, true
		out, err := s.Marshal()
		if err != nil || bytes.Contains(out, []byte(`"nbf"`)) || bytes.Contains(out, []byte(`"exp"`)) {
			t.Errorf("%v: %s", err, out)
		}
	}
	for _, c := range [][2]string{{"hs256", "a"}, {"", "a"}, {"none", "a"}, {"HS256", "a b"}, {"HS256", strings.Repeat("a", 65)}} {
		if _, err := Generate(c[0], c[1], now); err == nil {
			t.Errorf("Generate(%q, %q) succeeds", c[0], c[1])
		}
	}
	if _, err := Import("HS256", "a", make([]byte, 31), now); err == nil {
		t.Error("a short secret is imported")
	}
}

func TestRotate(t *testing.T) {
	r := Rotation{Now: now, ActivateIn: 60, MaxTTL: 60, Leeway: 2}
	const starts, retires = now + 60, now + 60 + 60 + 2 + 10
	type after struct {
		kid           string
		nbf, exp, iat int64
	}
	const fresh = "(new)"
	for name, c := range map[string]struct {
		keys []string
		alg  string
		want []after
	}{
		"the signing key retires": {
			[]string{key("a", 'a', "")}, "HS256",
			[]after{{"a", 0, retires, 0}, {fresh, starts, Never, now}}},
		"an earlier exp stays": {
			[]string{key("a", 'a', fmt.Sprintf(`,"exp":%d`, retires-1))}, "HS256",
			[]after{{"a", 0, retires - 1, 0}, {fresh, starts, Never, now}}},
		"a later exp comes forward": {
			[]string{key("a", 'a', fmt.Sprintf(`,"exp":%d`, retires+1))}, "HS256",
			[]after{{"a", 0, retires, 0}, {fresh, starts, Never, now}}},
		"the expired are dropped": {
			[]string{key("a", 'a', fmt.Sprintf(`,"exp":%d`, now)), key("b", 'b', fmt.Sprintf(`,"exp":%d`, now+1))}, "HS256",
			[]after{{"b", 0, now + 1, 0}, {fresh, starts, Never, now}}},
		"the alg is that of the key that signs": {
			[]string{strings.NewReplacer("HS256", "HS384", b64('a', 32), b64('a', 48)).Replace(key("a", 'a', `,"nbf":2`)), key("b", 'b', `,"nbf":1`), key("c", 'c', fmt.Sprintf(`,"nbf":%d`, now+3600))}, "HS384",
			[]after{{"a", 2, retires, 0}, {"b", 1, retires, 0}, {"c", now + 3600, Never, 0}, {fresh, starts, Never, now}}},
		"a next key that starts before the new one retires too": {
			[]string{key("a", 'a', ""), key("n", 'n', fmt.Sprintf(`,"nbf":%d`, starts))}, "HS256",
			[]after{{"a", 0, retires, 0}, {"n", starts, retires, 0}, {fresh, starts, Never, now}}},
		"keys that only verify stay": {
			[]string{key("a", 'a', ""), key("v", 'v', `,"key_ops":["verify"]`)}, "HS256",
			[]after{{"a", 0, retires, 0}, {"v", 0, Never, 0}, {fresh, starts, Never, now}}},
		"none signs now": {
			[]string{strings.NewReplacer("HS256", "HS512", b64('a', 32), b64('a', 64)).Replace(key("a", 'a', `,"exp":5`))}, "HS512",
			[]after{{fresh, starts, Never, now}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustParse(t, set(c.keys...))
			k, err := s.Rotate(r)
			if err != nil {
				t.Fatal(err)
			}
			if k.Alg != c.alg || len(k.Secret) != sizes[c.alg] || !k.Signs {
				t.Errorf("the new key is %v", k)
			}
			var got []after
			for _, key := range s.Keys() {
				if key.KeyID == k.KeyID {
					key.KeyID = fresh
				}
				got = append(got, after{key.KeyID, key.NotBefore, key.Expires, key.IssuedAt})
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
			if _, err := s.Marshal(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRotateRefuses(t *testing.T) {
	verifiers := mustParse(t, set(key("v", 'v', `,"key_ops":["verify"]`)))
	if _, err := verifiers.Rotate(Rotation{Now: now, MaxTTL: 60}); err == nil {
		t.Error("a key set that never signs is rotated")
	}
	for _, r := range []Rotation{{Now: now}, {Now: now, MaxTTL: -1}, {Now: now, MaxTTL: 1, ActivateIn: -1}, {Now: now, MaxTTL: 1, Leeway: -1},
		{Now: now, MaxTTL: jsonscan.LatestTime}, {Now: now, MaxTTL: 1 << 62, ActivateIn: 1 << 62}} {
		s := mustParse(t, set(key("a", 'a', "")))
		if _, err := s.Rotate(r); err == nil || len(s.keys) != 1 || s.keys[0].Expires != Never {
			t.Errorf("%+v: %v, %v", r, err, s)
		}
	}
	full := mustParse(t, set(key("a", 'a', "")))
	for range MaxKeys - 1 {
		if _, err := full.Rotate(Rotation{Now: now, MaxTTL: 60}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := full.Rotate(Rotation{Now: now, MaxTTL: 60}); err == nil || len(full.keys) != MaxKeys {
		t.Errorf("a full key set takes another: %v, %d keys", err, len(full.keys))
	}
}

func TestRevoke(t *testing.T) {
	for name, c := range map[string]struct {
		keys []string
		kid  string
		want string // in the error; "" when the key goes
	}{
		"the old one":           {[]string{key("a", 'a', ""), key("b", 'b', "")}, "a", ""},
		"unknown":               {[]string{key("a", 'a', ""), key("b", 'b', "")}, "c", "a, b"},
		"the only one":          {[]string{key("a", 'a', "")}, "a", "only key"},
		"the last that signs":   {[]string{key("a", 'a', ""), key("v", 'v', `,"key_ops":["verify"]`), key("x", 'x', `,"exp":5`)}, "a", "last key that signs"},
		"next stays":            {[]string{key("a", 'a', ""), key("n", 'n', fmt.Sprintf(`,"nbf":%d`, now+9))}, "a", ""},
		"none signs in any way": {[]string{key("v", 'v', `,"key_ops":["verify"]`), key("w", 'w', `,"key_ops":["verify"]`)}, "v", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustParse(t, set(c.keys...))
			err := s.Revoke(c.kid, now)
			switch {
			case c.want == "" && (err != nil || s.index(c.kid) >= 0 || len(s.keys) != len(c.keys)-1):
				t.Errorf("%v, %v", err, s)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || len(s.keys) != len(c.keys)):
				t.Errorf("%v, %v", err, s)
			}
		})
	}
}

func TestStates(t *testing.T) {
	s := mustParse(t, set(
		key("old", 'o', fmt.Sprintf(`,"exp":%d`, now)),
		key("a", 'a', `,"nbf":5`), key("b", 'b', `,"nbf":5`),
		key("ends", 'e', fmt.Sprintf(`,"nbf":6,"exp":%d`, now+11)),
		key("next", 'n', fmt.Sprintf(`,"nbf":%d`, now+1)),
		key("v", 'v', fmt.Sprintf(`,"nbf":%d,"key_ops":["verify"]`, now+1))))
	for _, c := range []struct {
		now, lives int64
		want       []State
	}{
		{now, 12, []State{Expired, Verifying, Signing, Verifying, Next, Verifying}},
		{now, 11, []State{Expired, Verifying, Verifying, Signing, Next, Verifying}},
		{now + 1, 12, []State{Expired, Verifying, Verifying, Verifying, Signing, Verifying}},
		{now - 1, 1, []State{Verifying, Verifying, Verifying, Signing, Next, Verifying}},
		{now + 11, 0, []State{Expired, Verifying, Verifying, Expired, Signing, Verifying}},
	} {
		if got := s.States(c.now, c.lives); !reflect.DeepEqual(got, c.want) {
			t.Errorf("at %d for %d s:\ngot  %v\nwant %v", c.now, c.lives, got, c.want)
		}
	}
}

// TestUnsigned compares Unsigned with a look at every second.
func TestUnsigned(t *testing.T) {
	const until, lives = now + 60, 12
	for name, keys := range map[string][]string{
		"for ever":              {key("a", 'a', "")},
		"ends later":            {key("a", 'a', fmt.Sprintf(`,"exp":%d`, until+lives))},
		"ends a second early":   {key("a", 'a', fmt.Sprintf(`,"exp":%d`, until+lives-2))},
		"ends early":            {key("a", 'a', fmt.Sprintf(`,"exp":%d`, now+30))},
		"has ended":             {key("a", 'a', fmt.Sprintf(`,"exp":%d`, now))},
		"ends, another is next": {key("a", 'a', fmt.Sprintf(`,"exp":%d`, now+30)), key("b", 'b', fmt.Sprintf(`,"nbf":%d`, now+19))},
		"a gap between":         {key("a", 'a', fmt.Sprintf(`,"exp":%d`, now+30)), key("b", 'b', fmt.Sprintf(`,"nbf":%d`, now+20))},
		"two gaps":              {key("a", 'a', fmt.Sprintf(`,"nbf":%d,"exp":%d`, now+10, now+30)), key("b", 'b', fmt.Sprintf(`,"nbf":%d`, now+50))},
		"one only verifies":     {key("a", 'a', `,"key_ops":["verify"]`), key("b", 'b', fmt.Sprintf(`,"nbf":%d`, until))},
		"the next one overlaps": {key("a", 'a', fmt.Sprintf(`,"exp":%d`, now+30)), key("b", 'b', fmt.Sprintf(`,"nbf":%d,"exp":%d`, now+10, now+40)), key("c", 'c', fmt.Sprintf(`,"nbf":%d`, now+29))},
	} {
		s := mustParse(t, set(keys...))
		var from, to int64
		for at := int64(now); at < until; at++ {
			if s.signing(at, lives) == nil {
				if from == 0 {
					from = at
				}
				to = at + 1
			} else if from != 0 {
				break
			}
		}
		if gotFrom, gotTo := s.Unsigned(now, until, lives); gotFrom != from || gotTo != to {
			t.Errorf("%s: %d to %d, want %d to %d", name, gotFrom, gotTo, from, to)
		}
	}
}
