package wsticket

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/wsticket/wsticket/internal/jose"
	"github.com/wsticket/wsticket/internal/jwkset"
	"github.com/wsticket/wsticket/internal/mac"
)

// A Keyring is the set of keys that sign and verify tickets: a JWK Set ([RFC 7517]) of
// oct keys, shared by every node that mints or verifies. It is a secret: whoever has it
// can mint.
//
// Readers see one consistent set of keys without a lock; [Keyring.Replace] swaps
// in another one whole. A Keyring may be used by any number of Signers and
// Verifiers at once, copies share the keys in force, and it redacts itself in
// fmt, slog and JSON. Make one with [ParseKeyring] or [LoadKeyring].
//
// [RFC 7517]: https://www.rfc-editor.org/rfc/rfc7517
type Keyring struct{ state *keyringState }

type keyringState struct {
	inForce atomic.Pointer[keyset]
	mints   atomic.Bool // a Signer depends on it

	mu       sync.Mutex                       // one replacement at a time
	gone     *simplelru.LRU[string, struct{}] // kids dropped or expired in this process
	returned []string                         // of the keys in force, those that were gone
	health   KeyringHealth
}

// remembered bounds how many dropped kids a Keyring can recognise.
const remembered = 4096

// ParseKeyring reads a JWK Set. All its faults are reported together, each with
// the key it concerns and never with a secret.
func ParseKeyring(jwks []byte) (*Keyring, error) {
	keys, err := newKeyset(jwks)
	if err != nil {
		return nil, err
	}
	gone, err := simplelru.NewLRU[string, struct{}](remembered, nil)
	if err != nil {
		return nil, fmt.Errorf("wsticket: keyring: %w", err)
	}
	k := &Keyring{&keyringState{gone: gone}}
	k.state.inForce.Store(keys)
	now := time.Now()
	k.state.health = KeyringHealth{LoadedAt: now, CheckedAt: now}
	return k, nil
}

// Replace puts the keys of another JWK Set in force, all or nothing: with an
// error the keys in force stay. Beyond the faults of [ParseKeyring] it refuses a
// kid in force that comes with another algorithm or secret and, where a Signer
// uses the keyring, a set without a key that signs now or later.
func (k *Keyring) Replace(jwks []byte) error { return k.replaceAt(time.Now(), jwks) }

func (k *Keyring) replaceAt(now time.Time, jwks []byte) error {
	err := k.state.replace(now, jwks)
	k.state.checked(now, err)
	return err
}

func (s *keyringState) replace(now time.Time, jwks []byte) error {
	next, err := newKeyset(jwks)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	current := s.inForce.Load()
	var f faults
	for _, old := range current.keys {
		switch key := next.byID[old.id]; {
		case key == nil:
		case key.mac.Alg() != old.mac.Alg():
			f.addf("key %q is in force with alg %v and cannot become %v; give the new key a kid of its own", old.id, old.mac.Alg(), key.mac.Alg())
		case !bytes.Equal(key.secret, old.secret):
			f.addf("key %q is in force with another secret; give the new key a kid of its own", old.id)
		}
	}
	if s.mints.Load() && !next.signsFrom(now.Unix()) {
		f.addf("no key signs now or later; add one, a Signer uses this keyring")
	}
	if err := f.err("keyring"); err != nil {
		return err
	}
	for _, old := range current.keys {
		key := next.byID[old.id]
		if key == nil || old.exp <= now.Unix() {
			s.gone.Add(old.id, struct{}{})
		}
		if key != nil {
			key.stretched = old.stretched // the same secret: not computed again
		}
	}
	s.returned = nil
	for _, key := range next.keys {
		if s.gone.Contains(key.id) && key.exp > now.Unix() {
			s.returned = append(s.returned, key.id)
		}
	}
	slices.Sort(s.returned)
	s.inForce.Store(next)
	if next.sum != current.sum {
		s.health.LoadedAt = now
	}
	return nil
}

// Returned names the keys in force that this process had seen dropped or expired
// before. A key that was taken out for cause and comes back is worth a look.
func (k *Keyring) Returned() []string {
	k.state.mu.Lock()
	defer k.state.mu.Unlock()
	return slices.Clone(k.state.returned)
}

// A Key describes one key of a keyring. It has no secret in it.
type Key struct {
	ID        string
	Algorithm string    // HS256, HS384 or HS512
	NotBefore time.Time // signs from then on; zero means always
	Expires   time.Time // neither signs nor verifies from then on; zero means never
	Signs     bool      // false for a key that only verifies
}

// Keys describes the keys in force, in the order of their NotBefore, the latest first.
func (k *Keyring) Keys() []Key {
	set := k.state.inForce.Load()
	list := make([]Key, len(set.keys))
	for i, key := range set.keys {
		list[i] = Key{ID: key.id, Algorithm: key.mac.Alg().String(), Signs: key.signs}
		if key.nbf != 0 {
			list[i].NotBefore = time.Unix(key.nbf, 0)
		}
		if key.exp != math.MaxInt64 {
			list[i].Expires = time.Unix(key.exp, 0)
		}
	}
	return list
}

// String says how many keys there are, and nothing of them.
func (k Keyring) String() string {
	if k.state == nil {
		return "wsticket.Keyring(empty)"
	}
	return fmt.Sprintf("wsticket.Keyring(%d keys, redacted)", len(k.state.inForce.Load().keys))
}

// Format redacts the keyring under every verb.
func (k Keyring) Format(f fmt.State, _ rune) { f.Write([]byte(k.String())) }

// LogValue redacts the keyring in slog.
func (k Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText redacts the keyring in JSON and in every other encoding of text.
func (k Keyring) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// A keyset is the keys in force between two replacements. It never changes.
type keyset struct {
	sum       [sha256.Size]byte // of the JWK Set
	keys      []*key            // in the order in which they are asked to sign
	byID      map[string]*key
	spellings map[string]spelling
}

type key struct {
	id       string
	mac      *mac.Key
	secret   []byte
	nbf, exp int64
	signs    bool
	header   string      // the signer's encoded header and its dot
	prefix   *mac.Prefix // of that header

	stretched func() []byte // what its fingerprints are made of; slow once
}

// A spelling is one encoded header that names a key, absorbed ahead of time.
type spelling struct {
	key    *key
	prefix *mac.Prefix
}

// headerOrders are the compact spellings of a header; the signer's is the first.
var headerOrders = [...]string{
	`{"alg":"ALG","kid":"KID","typ":"TYP"}`,
	`{"alg":"ALG","typ":"TYP","kid":"KID"}`,
	`{"kid":"KID","alg":"ALG","typ":"TYP"}`,
	`{"kid":"KID","typ":"TYP","alg":"ALG"}`,
	`{"typ":"TYP","alg":"ALG","kid":"KID"}`,
	`{"typ":"TYP","kid":"KID","alg":"ALG"}`,
}

func newKeyset(jwks []byte) (*keyset, error) {
	parsed, err := jwkset.Parse(jwks)
	if err != nil {
		return nil, fmt.Errorf("wsticket: keyring: %w", err)
	}
	keys := parsed.Keys()
	set := &keyset{
		sum:       sha256.Sum256(jwks),
		byID:      make(map[string]*key, len(keys)),
		spellings: make(map[string]spelling, len(keys)*len(headerOrders)),
	}
	for _, parsedKey := range keys {
		alg, ok := mac.ParseAlg([]byte(parsedKey.Alg))
		if !ok {
			return nil, fmt.Errorf("wsticket: keyring: key %q: alg %q is none of HS256, HS384 and HS512", parsedKey.KeyID, parsedKey.Alg)
		}
		k := &key{
			id:     parsedKey.KeyID,
			mac:    mac.NewKey(alg, parsedKey.Secret),
			secret: parsedKey.Secret,
			nbf:    parsedKey.NotBefore,
			exp:    parsedKey.Expires,
			signs:  parsedKey.Signs,
		}
		k.stretched = sync.OnceValue(k.stretch)
		fill := strings.NewReplacer("ALG", alg.String(), "KID", k.id, "TYP", jose.Type)
		for i, order := range headerOrders {
			header := base64.RawURLEncoding.EncodeToString([]byte(fill.Replace(order)))
			prefix := k.mac.Absorb(header + ".")
			set.spellings[header] = spelling{k, prefix}
			if i == 0 {
				k.header, k.prefix = header+".", prefix
			}
		}
		set.keys = append(set.keys, k)
		set.byID[k.id] = k
	}
	slices.SortFunc(set.keys, func(a, b *key) int {
		if a.nbf != b.nbf {
			if a.nbf > b.nbf {
				return -1
			}
			return 1
		}
		return strings.Compare(b.id, a.id)
	})
	return set, nil
}

// signer returns the key that signs, at now, a ticket that lives until end (its
// expiry and the leeway): the one with the greatest nbf, then the greater kid.
func (s *keyset) signer(now, end int64) *key {
	for _, k := range s.keys {
		if k.signs && k.nbf <= now && k.exp > now && end <= k.exp {
			return k
		}
	}
	return nil
}

// signsFrom says whether a key signs at now or will later.
func (s *keyset) signsFrom(now int64) bool {
	return slices.ContainsFunc(s.keys, func(k *key) bool { return k.signs && k.exp > now })
}
