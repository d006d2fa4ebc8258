package jwkset

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/wsticket/wsticket/internal/jsonscan"
)

// Encodings are the ways in which a file may hold a secret.
var Encodings = []string{"raw", "base64", "base64url", "hex", "jwk"}

// DecodeSecret returns the secret that data holds in one of the encodings but jwk
// (see [ImportJWK]). Services that share a secret must take the same bytes for it,
// and many a string can be read in two ways, so an empty encoding stands for raw
// only where the data looks like nothing else. No error quotes the data.
func DecodeSecret(data []byte, encoding string) ([]byte, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("it is empty")
	}
	switch encoding {
	case "":
		if err := plainText(data); err != nil {
			return nil, err
		}
		return rawSecret(data), nil
	case "raw":
		return rawSecret(data), nil
	case "hex":
		if secret, ok := fromHex(without(data, white)); ok {
			return secret, nil
		}
		return nil, errors.New("it is not hex: an even number of the digits 0-9 a-f, and white space")
	case "base64", "base64url":
		secret, found, ok := fromBase64(without(data, white))
		switch {
		case !ok:
			return nil, fmt.Errorf("it is not %s: a letter or the length does not fit", encoding)
		case found != "" && found != encoding:
			return nil, fmt.Errorf("it is not %s but %s, as its letters show: give -encoding %s if the service reads it so", encoding, found, found)
		}
		return secret, nil
	}
	return nil, fmt.Errorf("-encoding must be one of %s", strings.Join(Encodings, ", "))
}

// rawSecret is the bytes as they are, but for the line break that ends a file of
// text: nobody means that as part of the secret. A random secret of 32 bytes is
// such a text once in 10^13.
func rawSecret(data []byte) []byte {
	line := bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	if !utf8.Valid(line) || bytes.ContainsFunc(line, unicode.IsControl) {
		return data
	}
	return line
}

var (
	pem        = regexp.MustCompile(`^\s*-----BEGIN `)
	assignment = regexp.MustCompile(`^\s*(export\s+)?[A-Z][A-Z0-9_]*=`)
	spelledHex = regexp.MustCompile(`^\s*(0[xX][0-9A-Fa-f]+|([0-9A-Fa-f]{2}:\s*)+[0-9A-Fa-f]{2}:?)\s*$`)
	laravel    = regexp.MustCompile(`^\s*base64:[A-Za-z0-9+/_-]+={0,2}\s*$`)
	quotes     = regexp.MustCompile(`^\s*("[^"]*"|'[^']*')\s*$`)
)

// plainText is nil when data can only be the secret itself.
func plainText(data []byte) error {
	const rawToo = ", or give -encoding raw to take the bytes of the file as they are"
	switch {
	case isText16(data):
		return errors.New("it is text in UTF-16, as > of Windows PowerShell writes it: save it as UTF-8 without a byte order mark" + rawToo)
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) && utf8.Valid(data):
		return errors.New("it opens with a byte order mark, which no other service means as part of the secret: save it as UTF-8 without one" + rawToo)
	case isJWK(data, "keys"):
		return errors.New("it is a JWK Set: give -encoding jwk if it holds one key, or use it as the keyring file that it is" + rawToo)
	case isJWK(data, "kty"):
		return errors.New("it is a JWK: give -encoding jwk" + rawToo)
	case pem.Match(data):
		return errors.New("it is PEM, which holds keys and certificates of other kinds, and tickets are signed with a shared secret: give that" + rawToo)
	case quotes.Match(data):
		return errors.New("it stands in quotation marks: take them out" + rawToo)
	case spelledHex.Match(data):
		return errors.New("it is hex with 0x before it or with colons in it: take those out and give -encoding hex" + rawToo)
	case laravel.Match(data):
		return errors.New("it opens with base64:, as Laravel writes its APP_KEY: take that out and give -encoding base64, if the service that has the secret decodes it" + rawToo)
	case assignment.Match(data):
		return errors.New("it looks like a line NAME=value of an environment file: write the value alone into the file" + rawToo)
	}
	raw := rawSecret(data)
	if len(raw) < sizes["HS256"] {
		return nil // too short in whatever way it is read
	}
	text := without(raw, "\r\n") // tools break long lines
	var kinds, flags []string
	could := func(what, flag string, n int) {
		kinds, flags = append(kinds, fmt.Sprintf("%s (%d bytes)", what, n)), append(flags, flag)
	}
	if secret, ok := fromHex(text); ok {
		could("hex", "hex", len(secret))
	}
	if secret, found, ok := fromBase64(text); ok {
		if found == "" {
			found = "base64"
		}
		could(found, found, len(secret))
	}
	if len(kinds) == 0 {
		if len(raw) != len(bytes.TrimSpace(raw)) && utf8.Valid(raw) {
			return errors.New("it opens or ends with white space, which may not be meant as part of the secret: take it out" + rawToo)
		}
		return nil
	}
	could("the text itself", "raw", len(raw))
	return fmt.Errorf("it could be %s, and each would be another secret: give -encoding %s, whichever the service that has the secret reads it as", anyOf(kinds), anyOf(flags))
}

// anyOf joins words as a sentence does.
func anyOf(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

const white = " \t\r\n"

// without is data without the given letters.
func without(data []byte, letters string) []byte {
	return bytes.Map(func(r rune) rune {
		if strings.ContainsRune(letters, r) {
			return -1
		}
		return r
	}, data)
}

func fromHex(text []byte) ([]byte, bool) {
	secret, err := hex.DecodeString(string(text))
	return secret, err == nil && len(secret) > 0
}

// fromBase64 decodes either alphabet, with padding or without, and says which one it
// was if that shows. Bits to spare in the last letter are dropped, as nearly every
// decoder does: what counts is to come to the bytes that the other service has.
func fromBase64(text []byte) (secret []byte, alphabet string, ok bool) {
	letters := bytes.TrimRight(text, "=")
	if padding := len(text) - len(letters); padding > 2 || padding > 0 && len(text)%4 != 0 {
		return nil, "", false
	}
	encoding := base64.RawStdEncoding
	switch standard, url := bytes.ContainsAny(letters, "+/"), bytes.ContainsAny(letters, "-_"); {
	case standard:
		alphabet = "base64"
	case url:
		alphabet, encoding = "base64url", base64.RawURLEncoding
	}
	secret, err := encoding.DecodeString(string(letters))
	return secret, alphabet, err == nil && len(secret) > 0
}

// isText16 says whether data is ASCII text in UTF-16. Random bytes are not, unless
// they are very few.
func isText16(data []byte) bool {
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case len(data) < 4 || len(data)%2 != 0:
		return false
	case data[0] == 0xff && data[1] == 0xfe:
		data = data[2:]
	case data[0] == 0xfe && data[1] == 0xff:
		data, order = data[2:], binary.BigEndian
	case data[0] == 0:
		order = binary.BigEndian
	}
	for ; len(data) > 0; data = data[2:] {
		if c := order.Uint16(data); c >= 0x7f || c < 0x20 && c != '\n' && c != '\r' && c != '\t' {
			return false
		}
	}
	return true
}

// isJWK says whether data is a JSON object with such a member.
func isJWK(data []byte, member string) (found bool) {
	err := jsonscan.Object(data, maxDepth, func(name string, _ []byte) error {
		found = found || name == member
		return nil
	})
	var dup *jsonscan.DuplicateError
	return found && (err == nil || errors.As(err, &dup))
}

// ImportJWK makes a set of one key from a JWK ([RFC 7517]), or from a JWK Set with
// one key in it. What the JWK says stays; a kid and an alg may be given beside it,
// the alg only where it has the same or none. HS256 stands in for both.
//
// [RFC 7517]: https://www.rfc-editor.org/rfc/rfc7517
func ImportJWK(data []byte, alg, kid string, now int64) (*Set, error) {
	if isJWK(data, "keys") {
		one, err := onlyKey(data)
		if err != nil {
			return nil, err
		}
		data = one
	}
	if !isJWK(data, "kty") {
		return nil, errors.New("it is not a JWK: a JSON object with \"kty\":\"oct\" and the secret in \"k\"")
	}
	members := make(map[string][]byte)
	var names []string
	err := jsonscan.Object(data, maxDepth, func(name string, value []byte) error {
		names = append(names, name)
		members[name] = value
		return nil
	})
	if err != nil {
		return nil, duplicate(err, "the JWK")
	}
	put := func(name string, value any) error {
		text, err := json.Marshal(value)
		if err == nil && members[name] == nil {
			names = append(names, name)
		}
		members[name] = text
		return err
	}
	switch has, given := jsonscan.Text(members["alg"]); {
	case members["alg"] == nil:
		if alg == "" {
			alg = "HS256"
		}
		err = put("alg", alg)
	case alg != "" && !(given && has == alg):
		err = fmt.Errorf("its alg is not %s: leave -alg out", alg)
	}
	if kid != "" {
		err = errors.Join(err, put("kid", kid))
	} else if members["kid"] == nil {
		err = errors.Join(err, errors.New("it has no kid: give -kid"))
	}
	if members["iat"] == nil && now > 0 {
		err = errors.Join(err, put("iat", now))
	}
	if err != nil {
		return nil, err
	}
	set := []byte(`{"keys":[{`)
	for i, name := range names {
		if i > 0 {
			set = append(set, ',')
		}
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		set = append(append(append(set, quoted...), ':'), members[name]...)
	}
	return Parse(append(set, "}]}"...))
}

// onlyKey returns the one key of a JWK Set.
func onlyKey(data []byte) (only []byte, err error) {
	var list []byte
	if err := jsonscan.Object(data, maxDepth, func(name string, value []byte) error {
		if name == "keys" {
			list = value
		}
		return nil
	}); err != nil {
		return nil, duplicate(err, "the JWK Set")
	}
	n := 0
	if err := jsonscan.Array(list, maxDepth, func(_ int, value []byte) error {
		n++
		only = value
		return nil
	}); err != nil {
		return nil, errors.New("its member \"keys\" is not an array")
	}
	if n != 1 {
		return nil, fmt.Errorf("it is a JWK Set of %d keys, and one is wanted: leave one in it, or use it as the keyring file that it is", n)
	}
	return only, nil
}
