package jwkset

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wsticket/wsticket/internal/jsonscan"
)

// Generate makes a set of one new key that signs at once and never expires. An
// empty kid stands for one made of the date of now and random letters.
func Generate(alg, kid string, now int64) (*Set, error) {
	size, ok := sizes[alg]
	if !ok {
		return nil, errAlg
	}
	return Import(alg, kid, newSecret(size), now)
}

// Import makes a set of one key from a secret that exists already.
func Import(alg, kid string, secret []byte, now int64) (*Set, error) {
	size, ok := sizes[alg]
	if !ok {
		return nil, errAlg
	}
	if kid == "" {
		kid = newKeyID(now)
	}
	if !LegalKeyID(kid) {
		return nil, errors.New("kid must be 1 to 64 characters of A-Z a-z 0-9 - . _ ~")
	}
	if len(secret) < size {
		return nil, fmt.Errorf("the secret is too short: %d bytes, %s needs at least %d", len(secret), alg, size)
	}
	return &Set{keys: []Key{{KeyID: kid, Alg: alg, Secret: slices.Clone(secret), IssuedAt: now, Expires: Never, Signs: true, use: true}}}, nil
}

var errAlg = errors.New("alg must be HS256, HS384 or HS512")

// Rotation says how to rotate. All but Now are seconds.
type Rotation struct {
	Now        int64 // seconds since 1970
	ActivateIn int64 // until the new key signs: longer than the slowest node takes to load the file
	MaxTTL     int64 // the greatest max TTL of all verifiers
	Leeway     int64 // the greatest leeway of all verifiers
}

// clockSkew is how many seconds a retired key lives longer for clocks that differ.
const clockSkew = 10

// Rotate adds a new key with the alg of the one that signs now. Every key that
// may sign before the new one does so expires as soon as no ticket of it can be
// good any more, or earlier if it did already; keys that have expired are
// dropped. It returns the new key. After an error the set is as it was.
func (s *Set) Rotate(r Rotation) (Key, error) {
	starts := r.Now + r.ActivateIn
	retires := starts + r.MaxTTL + r.Leeway + clockSkew
	if r.Now < 0 || r.ActivateIn < 0 || r.MaxTTL < 1 || r.Leeway < 0 ||
		max(r.Now, r.ActivateIn, r.MaxTTL, r.Leeway) > jsonscan.LatestTime || retires > jsonscan.LatestTime {
		return Key{}, errors.New("a rotation needs times of 0 or more that end before the year 10000, and a max TTL of at least one second")
	}
	model := s.newest(r.Now)
	if model == nil {
		return Key{}, errors.New("no key of this set may sign: rotate the file that the signers use")
	}
	fresh := Key{Alg: model.Alg, Secret: newSecret(sizes[model.Alg]), IssuedAt: r.Now, NotBefore: starts, Expires: Never, Signs: true, use: true}
	for fresh.KeyID == "" || s.index(fresh.KeyID) >= 0 {
		fresh.KeyID = newKeyID(r.Now)
	}
	keys := make([]Key, 0, len(s.keys)+1)
	for _, key := range s.keys {
		if key.Expires <= r.Now {
			continue
		}
		if key.Signs && key.NotBefore <= starts {
			key.Expires = min(key.Expires, retires)
		}
		keys = append(keys, key)
	}
	if len(keys) >= MaxKeys {
		return Key{}, fmt.Errorf("the key set has %d keys already, and no more are allowed: revoke some first", len(keys))
	}
	s.keys = append(keys, fresh)
	return fresh, nil
}

// Revoke takes a key out. It refuses to leave a set that those who hold the key
// in force would not load, for they would then keep it: one without a key, and
// one without a key that signs now or later where there was such a key.
func (s *Set) Revoke(kid string, now int64) error {
	i := s.index(kid)
	if i < 0 {
		var known []string
		for _, key := range s.keys {
			known = append(known, key.KeyID)
		}
		return fmt.Errorf("no key has that kid: the key set has %s", strings.Join(known, ", "))
	}
	rest := slices.Delete(slices.Clone(s.keys), i, i+1)
	signs := func(key Key) bool { return key.Signs && key.Expires > now }
	switch {
	case len(rest) == 0:
		return errors.New("it is the only key, and nodes keep the keys they have rather than load a set without any: rotate with -activate-in 0s first, then revoke")
	case slices.ContainsFunc(s.keys, signs) && !slices.ContainsFunc(rest, signs):
		return errors.New("it is the last key that signs, and signers keep the keys they have rather than load a set without any: rotate with -activate-in 0s first, then revoke")
	}
	s.keys = rest
	return nil
}

// State is what a key does at a given time.
type State string

const (
	Next      State = "next"      // signs later, verifies already
	Signing   State = "signing"   // signs and verifies
	Verifying State = "verifying" // verifies only
	Expired   State = "expired"   // does neither
)

// States returns the state at now of each key, in the order of Keys. The one
// that signs is the one that signs a ticket which lives for the given seconds,
// its verifiers' leeway included.
func (s *Set) States(now, lives int64) []State {
	signing := s.signing(now, lives)
	states := make([]State, len(s.keys))
	for i := range s.keys {
		switch key := &s.keys[i]; {
		case key.Expires <= now:
			states[i] = Expired
		case key == signing:
			states[i] = Signing
		case key.Signs && key.NotBefore > now:
			states[i] = Next
		default:
			states[i] = Verifying
		}
	}
	return states
}

// signing returns the key that signs at now a ticket that lives for so many
// seconds, or nil.
func (s *Set) signing(now, lives int64) (best *Key) {
	for i := range s.keys {
		key := &s.keys[i]
		if key.Signs && key.NotBefore <= now && key.Expires > now && key.Expires-now >= lives && (best == nil || later(key, best)) {
			best = key
		}
	}
	return best
}

// Unsigned returns the first time, between now and until, in which no key signs a ticket
// that lives for so many seconds: from and to, or zeros where there is none.
func (s *Set) Unsigned(now, until, lives int64) (from, to int64) {
	// What signs can change only at these seconds.
	changes := []int64{now, until}
	for i := range s.keys {
		key := &s.keys[i]
		changes = append(changes, key.NotBefore, key.Expires-lives+1, key.Expires)
	}
	slices.Sort(changes)
	for _, at := range changes {
		switch signs := s.signing(at, lives) != nil; {
		case at < now:
		case at >= until && from != 0, signs && from != 0:
			return from, min(at, until)
		case at >= until:
			return 0, 0
		case !signs && from == 0:
			from = at
		}
	}
	return 0, 0
}

// newest returns the key that signs at now, else the one that would sign last,
// be it in the future or expired.
func (s *Set) newest(now int64) *Key {
	best := s.signing(now, 0)
	if best != nil {
		return best
	}
	for i := range s.keys {
		if key := &s.keys[i]; key.Signs && (best == nil || later(key, best)) {
			best = key
		}
	}
	return best
}

func later(a, b *Key) bool {
	return a.NotBefore > b.NotBefore || a.NotBefore == b.NotBefore && a.KeyID > b.KeyID
}

func (s *Set) index(kid string) int {
	return slices.IndexFunc(s.keys, func(key Key) bool { return key.KeyID == kid })
}

func newSecret(size int) []byte {
	secret := make([]byte, size)
	rand.Read(secret) // never fails: crypto/rand ends the process instead
	return secret
}

// newKeyID is random behind the date because a kid must not come back with
// another secret, not even when the key it named was taken out the same day.
func newKeyID(now int64) string {
	return time.Unix(now, 0).UTC().Format(time.DateOnly) + "-" + strings.ToLower(rand.Text()[:8])
}
