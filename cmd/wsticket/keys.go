package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/internal/jwkset"
)

func keysGenerate(e *env, f *flags) error {
	alg := f.String("alg", "HS256", "HS256, HS384 or HS512")
	kid := f.String("kid", "", "name of the key (default: the date and random letters)")
	if ok, err := f.parse(e, 0); !ok {
		return err
	}
	if err := checkKey(f, *alg, *kid); err != nil {
		return err
	}
	set, err := jwkset.Generate(*alg, *kid, e.now().Unix())
	if err != nil {
		return fmt.Errorf("keys generate: %w", err)
	}
	return e.writeSet(set)
}

func keysImport(e *env, f *flags) error {
	alg := f.String("alg", "HS256", "HS256, HS384 or HS512; a JWK has its own")
	kid := f.String("kid", "", "name of the key; a JWK may have its own")
	path := f.String("secret-file", "", "file that holds the secret; - is standard input")
	encoding := f.String("encoding", "", "how the file holds it: "+strings.Join(jwkset.Encodings, ", ")+" (default: raw, where it cannot be one of the others)")
	if ok, err := f.parse(e, 0); !ok {
		return err
	}
	if f.given("encoding") && !slices.Contains(jwkset.Encodings, *encoding) {
		return f.wrong("-encoding is %q: give one of %s", *encoding, strings.Join(jwkset.Encodings, ", "))
	}
	if err := f.require("secret-file"); err != nil {
		return err
	}
	if *encoding != "jwk" || f.given("kid") {
		if err := f.require("kid"); err != nil {
			return err
		}
	}
	if err := checkKey(f, *alg, *kid); err != nil {
		return err
	}
	data, name, err := e.readSecret(*path)
	if err != nil {
		return fmt.Errorf("keys import: %w", err)
	}
	set, err := importSecret(data, *encoding, *alg, *kid, f.given("alg"), e.now().Unix())
	if err != nil {
		return fmt.Errorf("keys import: %s: %w", name, err)
	}
	return e.writeSet(set)
}

func importSecret(data []byte, encoding, alg, kid string, algGiven bool, now int64) (*jwkset.Set, error) {
	if encoding == "jwk" {
		if !algGiven {
			alg = ""
		}
		return jwkset.ImportJWK(data, alg, kid, now)
	}
	secret, err := jwkset.DecodeSecret(data, encoding)
	if err != nil {
		return nil, err
	}
	return jwkset.Import(alg, kid, secret, now)
}

// readSecret reads a secret as long as a keyring may be.
func (e *env) readSecret(path string) (secret []byte, name string, err error) {
	in, name := e.stdin, "standard input"
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, path, err
		}
		defer file.Close()
		in, name = file, path
	}
	secret, err = io.ReadAll(io.LimitReader(in, jwkset.MaxBytes/2+1))
	if err == nil && len(secret) > jwkset.MaxBytes/2 {
		err = fmt.Errorf("%s is longer than %d bytes: no keyring could hold it", name, jwkset.MaxBytes/2)
	}
	return secret, name, err
}

func keysRotate(e *env, f *flags) error {
	path := f.String("keys", "", "keyring file, which is replaced")
	activateIn := f.Duration("activate-in", time.Minute, "how long until the new key signs: more than the slowest node takes to load the file, and the difference of the clocks")
	maxTTL := f.Duration("max-ttl", wsticket.DefaultMaxTTL, "the longest TTL of a signer or max TTL of a verifier")
	leeway := f.Duration("leeway", wsticket.DefaultLeeway, "the longest leeway of a signer or verifier")
	if ok, err := f.parse(e, 0); !ok {
		return err
	}
	if err := f.require("keys"); err != nil {
		return err
	}
	if *activateIn < 0 {
		return f.wrong("-activate-in is %v: give 0s or more", *activateIn)
	}
	if *maxTTL < time.Second {
		return f.wrong("-max-ttl is %v: give 1s or more", *maxTTL)
	}
	if *leeway < 0 {
		return f.wrong("-leeway is %v: give 0s or more", *leeway)
	}
	var fresh jwkset.Key
	var from, to int64 // in which no key signs
	err := e.editSet(*path, func(set *jwkset.Set) (err error) {
		fresh, err = set.Rotate(jwkset.Rotation{
			Now:        e.now().Unix(),
			ActivateIn: roundUp(*activateIn),
			MaxTTL:     roundUp(*maxTTL),
			Leeway:     roundUp(*leeway),
		})
		from, to = set.Unsigned(e.now().Unix(), fresh.NotBefore, roundUp(*maxTTL)+roundUp(*leeway))
		return err
	})
	if err != nil {
		return fmt.Errorf("keys rotate: %w", err)
	}
	if from != to {
		e.warn("from %s to %s no key signs tickets of %s, because the exp of the key that signs now is earlier than the rotation needs: rotate again with -activate-in 0s to close that gap", stamp(from), stamp(to), brief(*maxTTL))
	}
	_, err = fmt.Fprintf(e.stdout, "added %s, %s, signs from %s\n", fresh.KeyID, fresh.Alg, stamp(fresh.NotBefore))
	return err
}

func keysRevoke(e *env, f *flags) error {
	path := f.String("keys", "", "keyring file, which is replaced")
	kid := f.String("kid", "", "name of the key to take out")
	if ok, err := f.parse(e, 0); !ok {
		return err
	}
	if err := f.require("keys", "kid"); err != nil {
		return err
	}
	err := e.editSet(*path, func(set *jwkset.Set) error { return set.Revoke(*kid, e.now().Unix()) })
	if err != nil {
		return fmt.Errorf("keys revoke: %q: %w", *kid, err)
	}
	_, err = fmt.Fprintf(e.stdout, "revoked %s\n", *kid)
	return err
}

// A listedKey is a key as "keys list -json" shows it: times in seconds since 1970,
// as the keyring has them, and left out where it has none.
type listedKey struct {
	KeyID     string `json:"kid"`
	Alg       string `json:"alg"`
	State     string `json:"state"`
	Signs     bool   `json:"signs"`
	IssuedAt  int64  `json:"iat,omitempty"`
	NotBefore int64  `json:"nbf,omitempty"`
	Expires   int64  `json:"exp,omitempty"`
}

func keysList(e *env, f *flags) error {
	path := f.String("keys", "", "keyring file; - is standard input")
	asJSON := f.Bool("json", false, "answer in JSON")
	if ok, err := f.parse(e, 0); !ok {
		return err
	}
	if err := f.require("keys"); err != nil {
		return err
	}
	data, name, err := e.readKeyring(*path)
	if err != nil {
		return fmt.Errorf("keys list: %w", err)
	}
	set, err := jwkset.Parse(data)
	if err != nil {
		return fmt.Errorf("keys list: %s: %w", name, err)
	}
	e.warnOfReaders(*path)
	states := set.States(e.now().Unix(), roundUp(wsticket.DefaultTTL+wsticket.DefaultLeeway))
	keys := make([]listedKey, len(states))
	for i, key := range set.Keys() {
		keys[i] = listedKey{key.KeyID, key.Alg, string(states[i]), key.Signs, key.IssuedAt, key.NotBefore, key.Expires}
		if key.Expires == jwkset.Never {
			keys[i].Expires = 0
		}
	}
	if *asJSON {
		return e.writeJSON(map[string][]listedKey{"keys": keys})
	}
	rows := []string{"KID\tALG\tSTATE\tISSUED\tSIGNS FROM\tEXPIRES"}
	for _, key := range keys {
		from := when(key.NotBefore)
		if !key.Signs {
			from = "never"
		} else if key.NotBefore == 0 {
			from = "always"
		}
		rows = append(rows, strings.Join([]string{key.KeyID, key.Alg, key.State, when(key.IssuedAt), from, when(key.Expires)}, "\t"))
	}
	return e.writeTable(rows)
}

func keysFingerprint(e *env, f *flags) error {
	path := f.String("keys", "", "keyring file; - is standard input")
	asJSON := f.Bool("json", false, "answer in JSON")
	if ok, err := f.parse(e, 0); !ok {
		return err
	}
	if err := f.require("keys"); err != nil {
		return err
	}
	keyring, err := e.loadKeyring(*path)
	if err != nil {
		return fmt.Errorf("keys fingerprint: %w", err)
	}
	e.warnOfReaders(*path)
	whole, keys := keyring.Fingerprint()
	if *asJSON {
		type fingerprint struct {
			KeyID       string `json:"kid"`
			Fingerprint string `json:"fingerprint"`
		}
		list := make([]fingerprint, len(keys))
		for i, key := range keys {
			list[i] = fingerprint(key)
		}
		return e.writeJSON(struct {
			Keyring string        `json:"keyring"`
			Keys    []fingerprint `json:"keys"`
		}{whole, list})
	}
	rows := []string{"keyring\t" + whole}
	for _, key := range keys {
		rows = append(rows, "key "+key.KeyID+"\t"+key.Fingerprint)
	}
	return e.writeTable(rows)
}

// writeTable writes rows whose columns are parted by tabs.
func (e *env) writeTable(rows []string) error {
	var b bytes.Buffer
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(table, row)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := e.stdout.Write(b.Bytes())
	return err
}

func checkKey(f *flags, alg, kid string) error {
	switch alg {
	case "HS256", "HS384", "HS512":
	default:
		return f.wrong("-alg is %q: give HS256, HS384 or HS512", alg)
	}
	if f.given("kid") && !jwkset.LegalKeyID(kid) {
		return f.wrong("-kid must be 1 to 64 characters of A-Z a-z 0-9 - . _ ~")
	}
	return nil
}

func (e *env) writeSet(set *jwkset.Set) error {
	text, err := set.Marshal()
	if err != nil {
		return err
	}
	_, err = e.stdout.Write(text)
	return err
}

// roundUp is d in whole seconds.
func roundUp(d time.Duration) int64 {
	n := int64(d / time.Second)
	if d%time.Second > 0 {
		n++
	}
	return n
}

// when is a time of a key, which may have none.
func when(seconds int64) string {
	if seconds == 0 {
		return "-"
	}
	return stamp(seconds)
}
