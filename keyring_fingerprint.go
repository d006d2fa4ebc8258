package wsticket

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
)

// A KeyFingerprint is the fingerprint of one key: of its kid, its algorithm and its
// secret.
type KeyFingerprint struct {
	KeyID       string
	Fingerprint string // ten hexadecimal digits
}

// Fingerprint returns a short digest of the keys in force, for people and monitors that
// compare nodes: nodes that show the same one have the same keys. keyring covers what
// decides about tickets, which is kid, algorithm, secret, nbf, exp and key_ops of each
// key. It covers neither the order of the keys nor the rest of the file. keys has one
// fingerprint for each key, in the order of [Keyring.Keys]. The command "wsticket keys
// fingerprint" shows the same.
//
// A fingerprint may be shown to people who must not have the secrets. It is 40 bits of
// the secret put through 100,000 rounds of PBKDF2 ([RFC 8018 section 5.2]), with the
// kid as salt. Of a random secret it tells nothing. A secret that a person made up can
// be guessed with it, as it can with any ticket; but each guess costs 200,000 hashes
// where a ticket costs a few, and never more than 40 bits become known. The 40 bits
// tell apart keyrings that differ by accident. They do not tell apart keyrings that
// somebody made to look alike, but whoever can do that has the keys and can mint.
//
// The first call after a key came in takes some 30 to 100 milliseconds for each new
// key; later calls have the result at hand. Fingerprint is safe for concurrent use.
//
// [RFC 8018 section 5.2]: https://www.rfc-editor.org/rfc/rfc8018#section-5.2
func (k *Keyring) Fingerprint() (keyring string, keys []KeyFingerprint) {
	set := k.state.inForce.Load()
	keys = make([]KeyFingerprint, len(set.keys))
	lines := make([]string, len(set.keys))
	for i, key := range set.keys {
		digest := key.stretched()
		keys[i] = KeyFingerprint{KeyID: key.id, Fingerprint: shorten(digest)}
		line := append([]byte(key.id), 0) // a kid has no zero, so lines sort by kid and are read in one way
		line = append(line, digest...)
		line = binary.BigEndian.AppendUint64(line, uint64(key.nbf))
		line = binary.BigEndian.AppendUint64(line, uint64(key.exp))
		if key.signs {
			line = append(line, 1)
		} else {
			line = append(line, 0)
		}
		lines[i] = string(line)
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "")))
	return shorten(sum[:]), keys
}

const (
	fingerprintRounds = 100_000
	fingerprintBytes  = 5
	fingerprintLabel  = "wsticket keyring fingerprint 1\x00"
)

// stretch makes of the key what its fingerprints are cut from.
func (k *key) stretch() []byte {
	salt := fingerprintLabel + k.mac.Alg().String() + "\x00" + k.id
	digest, err := pbkdf2.Key(sha256.New, string(k.secret), []byte(salt), fingerprintRounds, sha256.Size)
	if err != nil {
		// Only where FIPS 140 is enforced and finds the salt or the secret too short,
		// and neither can be. No fingerprint equals no other.
		panic("wsticket: pbkdf2: " + err.Error())
	}
	return digest
}

func shorten(digest []byte) string { return hex.EncodeToString(digest[:fingerprintBytes]) }
