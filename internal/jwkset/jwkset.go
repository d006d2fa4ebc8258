// Package jwkset reads and writes the keyring file: a JWK Set ([RFC 7517]) of
// symmetric keys with nothing in it but what the ticket format allows. The JSON is
// walked strictly here and every rule is enforced here; jwx decodes and encodes
// the key material, and is never shown a member it could read more loosely.
//
// [RFC 7517]: https://www.rfc-editor.org/rfc/rfc7517
package jwkset

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/lestrrat-go/jwx/v3/jwk"

	"github.com/wsticket/wsticket/internal/jsonscan"
)

const (
	MaxKeys  = 1024    // keys in one set
	MaxBytes = 1 << 20 // length of one set's JSON
	maxDepth = 64      // levels of JSON, unknown members included
)

// Never is the Expires of a key without exp.
const Never = math.MaxInt64

// Key is one key of a set. Times are seconds since 1970. It redacts itself in
// fmt, log/slog and JSON; Secret itself does not.
type Key struct {
	KeyID  string
	Alg    string // HS256, HS384 or HS512
	Secret []byte // at least as long as the output of Alg's hash

	IssuedAt  int64 // iat; 0 when absent
	NotBefore int64 // nbf: it signs from then on; 0 when absent
	Expires   int64 // exp: it neither signs nor verifies from then on; Never when absent

	Signs bool // key_ops is absent or holds sign

	use   bool     // use was given, and so is "sig"
	extra []member // key_ops and the members the format does not know, as they came
}

// Set is a valid set: between 1 and MaxKeys keys that keep every rule of the
// format. It is not safe for use while Rotate or Revoke runs.
type Set struct {
	keys  []Key
	extra []member
}

type member struct {
	name  string
	value []byte
}

// Keys returns the keys in the order of the file. The slice is the caller's, the
// secrets in it are shared.
func (s *Set) Keys() []Key { return slices.Clone(s.keys) }

// Parse reads a set. It reports every fault it finds, joined, each naming its
// key and what to do, and puts no value from data but legal kids into the text.
func Parse(data []byte) (*Set, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("the key set is %d bytes long: the limit is %d: take out keys that have expired", len(data), MaxBytes)
	}
	if isUTF16(data) {
		return nil, errors.New("the key set is UTF-16, as > of Windows PowerShell writes it: save it as UTF-8 without a byte order mark")
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("the key set is empty: make one with \"wsticket keys generate\"")
	}
	var set Set
	var list []byte
	single := false
	err := jsonscan.Object(data, maxDepth, func(name string, value []byte) error {
		switch name {
		case "keys":
			list = value
		default:
			single = single || name == "kty"
			set.extra = append(set.extra, member{name, bytes.Clone(value)})
		}
		return nil
	})
	switch {
	case errors.Is(err, jsonscan.ErrSyntax):
		return nil, syntaxError(data)
	case err != nil:
		return nil, duplicate(err, "the key set")
	case list == nil && single:
		return nil, errors.New("this is a single key, not a key set: write it as {\"keys\":[ ... ]}")
	case list == nil:
		return nil, errors.New("the key set has no member \"keys\": write it as {\"keys\":[ ... ]}")
	}

	var faults []error
	err = jsonscan.Array(list, maxDepth, func(i int, value []byte) error {
		if i >= MaxKeys {
			return fmt.Errorf("the key set has more than %d keys: take out those that have expired", MaxKeys)
		}
		key, errs := parseKey(i, value)
		faults = append(faults, errs...)
		set.keys = append(set.keys, key)
		return nil
	})
	switch {
	case errors.Is(err, jsonscan.ErrSyntax):
		faults = append(faults, errors.New("the member \"keys\" is not an array: write it as {\"keys\":[ ... ]}"))
	case err != nil:
		faults = append(faults, err)
	case len(set.keys) == 0:
		faults = append(faults, errors.New("the key set has no key: make one with \"wsticket keys generate\""))
	}
	faults = append(faults, set.clashes()...)
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return &set, nil
}

// parseKey reads the key at index i. What it could read is in key even when
// there are faults, so that keys can be compared with each other.
func parseKey(i int, data []byte) (key Key, faults []error) {
	key = Key{Expires: Never, Signs: true}
	who := fmt.Sprintf("keys[%d]", i)
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf(who+": "+format, args...))
	}
	known := make(map[string][]byte, len(knownMembers))
	err := jsonscan.Object(data, maxDepth, func(name string, value []byte) error {
		if slices.Contains(knownMembers, name) {
			known[name] = value
			if name != "key_ops" {
				return nil
			}
		}
		key.extra = append(key.extra, member{name, bytes.Clone(value)})
		return nil
	})
	if kid, ok := jsonscan.Text(known["kid"]); ok && LegalKeyID(kid) {
		key.KeyID = kid
		who += fmt.Sprintf(" (kid %q)", kid)
	} else if err == nil {
		fault("kid must be a string of 1 to 64 characters of A-Z a-z 0-9 - . _ ~: give the key such a name")
	}
	if errors.Is(err, jsonscan.ErrSyntax) {
		fault("not a JSON object: each element of \"keys\" is one key, {\"kty\":\"oct\", ... }")
		return key, faults
	} else if err != nil {
		faults = append(faults, duplicate(err, who))
		return key, faults
	}

	if kty, _ := jsonscan.Text(known["kty"]); kty != "oct" {
		fault("kty must be \"oct\": tickets are signed with symmetric keys only, take the key out")
	}
	alg, _ := jsonscan.Text(known["alg"])
	size, ok := sizes[alg]
	if ok {
		key.Alg = alg
	} else {
		fault("alg must be \"HS256\", \"HS384\" or \"HS512\": say which one the key is for")
	}
	if value, given := known["use"]; given {
		key.use = true
		if use, _ := jsonscan.Text(value); use != "sig" {
			fault("use must be \"sig\" or absent: a key for anything else does not belong here")
		}
	}
	if value, given := known["key_ops"]; given {
		if key.Signs, err = signs(value); err != nil {
			fault("%w", err)
		}
	}
	if secret, err := decodeSecret(known["k"]); err != nil {
		fault("%w", err)
	} else if key.Secret = secret; len(secret) < size {
		fault("k is too short: %d bytes, %s needs at least %d: make a new key with \"wsticket keys generate -alg %s\"", len(secret), alg, size, alg)
	}
	for _, t := range []struct {
		name string
		dst  *int64
	}{{"iat", &key.IssuedAt}, {"nbf", &key.NotBefore}, {"exp", &key.Expires}} {
		value, given := known[t.name]
		if !given {
			continue
		}
		seconds, ok := jsonscan.Integer(value)
		if !ok {
			fault("%s must be an integer of seconds since 1970, without quotes, sign or fraction: write it as such or leave it out", t.name)
			continue
		}
		if seconds > jsonscan.LatestTime {
			fault("%s lies beyond the year 9999: it looks like milliseconds, and seconds since 1970 are wanted: divide it by 1000", t.name)
			continue
		}
		*t.dst = seconds
	}
	if _, given := known["nbf"]; given && key.Expires <= key.NotBefore {
		fault("exp is not after nbf: the key would never sign; correct one of them")
	}
	return key, faults
}

var knownMembers = []string{"kty", "kid", "alg", "use", "key_ops", "k", "iat", "nbf", "exp"}

var sizes = map[string]int{"HS256": 32, "HS384": 48, "HS512": 64}

// signs reads key_ops ([RFC 7517 section 4.3]). Operations that mean nothing here may
// stand in it.
//
// [RFC 7517 section 4.3]: https://www.rfc-editor.org/rfc/rfc7517#section-4.3
func signs(value []byte) (sign bool, err error) {
	verify, text := false, true
	err = jsonscan.Array(value, maxDepth, func(_ int, value []byte) error {
		op, ok := jsonscan.Text(value)
		text = text && ok
		sign = sign || op == "sign"
		verify = verify || op == "verify"
		return nil
	})
	switch {
	case err != nil || !text:
		return false, errors.New("key_ops must be an array of strings: write [\"sign\",\"verify\"], [\"verify\"], or leave it out")
	case !verify:
		return false, errors.New("key_ops must list \"verify\": add it, or take the key out")
	}
	return sign, nil
}

// decodeSecret reads k. jwx takes padding and the other alphabet too; that the
// text is what these bytes encode to shuts both out, and stray white space.
func decodeSecret(value []byte) ([]byte, error) {
	text, ok := jsonscan.Text(value)
	if !ok || text == "" {
		return nil, errors.New("k is missing, empty or not a string: it holds the secret, in base64url without padding")
	}
	bad := errors.New("k is not canonical base64url without padding (A-Z a-z 0-9 - _): encode the secret again")
	minimal, err := json.Marshal(map[string]string{"kty": "oct", "k": text})
	if err != nil {
		return nil, bad
	}
	parsed, err := jwk.ParseKey(minimal)
	if err != nil {
		return nil, bad // jwx's own text may quote what it was given
	}
	symmetric, ok := parsed.(jwk.SymmetricKey)
	if !ok {
		return nil, bad
	}
	secret, ok := symmetric.Octets()
	if !ok || base64.RawURLEncoding.EncodeToString(secret) != text {
		return nil, bad
	}
	return secret, nil
}

// clashes compares the keys with each other.
func (s *Set) clashes() (faults []error) {
	kids := make(map[string]int, len(s.keys))
	secrets := make(map[string]int, len(s.keys))
	for i := range s.keys {
		key := &s.keys[i]
		if key.KeyID != "" {
			if first, taken := kids[key.KeyID]; taken {
				faults = append(faults, fmt.Errorf("keys[%d] (kid %q): keys[%d] has the same kid: give each key one of its own", i, key.KeyID, first))
			} else {
				kids[key.KeyID] = i
			}
		}
		if key.Secret != nil {
			same := effective(key)
			first, taken := secrets[same]
			if !taken {
				first, taken = secrets[string(key.Secret)]
			}
			if taken {
				faults = append(faults, fmt.Errorf("keys[%d] (kid %q): keys[%d] (kid %q) has the same secret: take one of the two out", i, key.KeyID, first, s.keys[first].KeyID))
			} else {
				secrets[same], secrets[string(key.Secret)] = i, i
			}
		}
	}
	return faults
}

// effective is the key that HMAC makes of a secret ([RFC 2104 section 2]): hashed
// when longer than a block, then filled up with zeros. Secrets that come to the
// same key are one secret.
//
// [RFC 2104 section 2]: https://www.rfc-editor.org/rfc/rfc2104#section-2
func effective(key *Key) string {
	secret := key.Secret
	switch {
	case key.Alg == "HS256" && len(secret) > sha256.BlockSize:
		sum := sha256.Sum256(secret)
		secret = sum[:]
	case key.Alg == "HS384" && len(secret) > sha512.BlockSize:
		sum := sha512.Sum384(secret)
		secret = sum[:]
	case key.Alg == "HS512" && len(secret) > sha512.BlockSize:
		sum := sha512.Sum512(secret)
		secret = sum[:]
	}
	return string(bytes.TrimRight(secret, "\x00"))
}

// LegalKeyID says whether kid may name a key: 1 to 64 of A-Z a-z 0-9 - . _ ~.
func LegalKeyID[T string | []byte](kid T) bool {
	if len(kid) < 1 || len(kid) > 64 {
		return false
	}
	for i := range len(kid) {
		switch c := kid[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '.', c == '_', c == '~':
		default:
			return false
		}
	}
	return true
}

// duplicate words the fault of a member given twice. Its name is repeated only
// when it is one of ours: a stray name could be a secret in the wrong place.
func duplicate(err error, who string) error {
	var dup *jsonscan.DuplicateError
	if errors.As(err, &dup) && (dup.Name == "keys" || slices.Contains(knownMembers, dup.Name)) {
		return fmt.Errorf("%s: member %q is given twice: take one of the two out", who, dup.Name)
	}
	return fmt.Errorf("%s: a member is given twice: take one of the two out", who)
}

// isUTF16 says whether data opens like JSON in UTF-16 (or in UTF-32): with its byte
// order mark, or with a zero beside the first letter, which UTF-8 never has there.
func isUTF16(data []byte) bool {
	return len(data) >= 2 && (data[0] == 0xff && data[1] == 0xfe || data[0] == 0xfe && data[1] == 0xff || (data[0] == 0) != (data[1] == 0))
}

// syntaxError says where the JSON ends to be JSON, and never what is there.
func syntaxError(data []byte) error {
	const what = "the key set is not valid JSON"
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		return errors.New(what + ": it opens with a byte order mark: save it as UTF-8 without one")
	}
	var syntax *json.SyntaxError
	var all json.RawMessage
	if err := json.Unmarshal(data, &all); errors.As(err, &syntax) && syntax.Offset <= int64(len(data)) {
		before := data[:syntax.Offset]
		line := 1 + bytes.Count(before, []byte("\n"))
		column := len(before) - 1 - bytes.LastIndexByte(before, '\n')
		return fmt.Errorf(what+": line %d, column %d: correct it there, or it was cut off", line, column)
	}
	if trimmed := bytes.TrimSpace(data); trimmed[0] != '{' {
		return errors.New(what + " object: write it as {\"keys\":[ ... ]}")
	}
	return fmt.Errorf(what+": invalid UTF-8, a lone surrogate or more than %d levels", maxDepth)
}
