package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
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
	alg := f.String("alg", "HS256", "HS256, HS384 or HS512")
	kid := f.String("kid", "", "name of the key")
	path := f.String("secret-file", "", "file that holds the secret: its bytes as they are, but for the line break at the end of a text")
	if ok, err := f.parse(e, 0); !ok {
		return err
	}
	if err := f.require("kid", "secret-file"); err != nil {
		return err
	}
	if err := checkKey(f, *alg, *kid); err != nil {
		return err
	}
	secret, err := readSecret(*path)
	if err != nil {
		return fmt.Errorf("keys import: %w", err)
	}
	set, err := jwkset.Import(*alg, *kid, secret, e.now().Unix())
	if err != nil {
		return fmt.Errorf("keys import: %s: %w", *path, err)
	}
	return e.writeSet(set)
}

func keysRotate(e *env, f *flags) error {
	path := f.String("keys", "", "keyring file")
	activateIn := f.Duration("activate-in", time.Minute, "how long until the new key signs: more than the slowest node takes to load the file")
	maxTTL := f.Duration("max-ttl", wsticket.DefaultMaxTTL, "the longest max TTL among the verifiers")
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
	var fresh jwkset.Key
	err := e.editSet(*path, func(set *jwkset.Set) (err error) {
		fresh, err = set.Rotate(jwkset.Rotation{
			Now:        e.now().Unix(),
			ActivateIn: roundUp(*activateIn),
			MaxTTL:     roundUp(*maxTTL),
			Leeway:     roundUp(wsticket.DefaultLeeway),
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("keys rotate: %w", err)
	}
	_, err = fmt.Fprintf(e.stdout, "added %s, %s, signs from %s\n", fresh.KeyID, fresh.Alg, stamp(fresh.NotBefore))
	return err
}

func keysRevoke(e *env, f *flags) error {
	path := f.String("keys", "", "keyring file")
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

func keysList(e *env, f *flags) error {
	path := f.String("keys", "", "keyring file")
	if ok, err := f.parse(e, 0); !ok {
		return err
	}
	if err := f.require("keys"); err != nil {
		return err
	}
	data, err := jwkset.ReadFile(*path)
	if err != nil {
		return fmt.Errorf("keys list: %w", err)
	}
	set, err := jwkset.Parse(data)
	if err != nil {
		return fmt.Errorf("keys list: %s: %w", *path, err)
	}
	e.warnOfReaders(*path)
	var b bytes.Buffer
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KID\tALG\tSTATE\tISSUED\tSIGNS FROM\tEXPIRES")
	states := set.States(e.now().Unix(), roundUp(wsticket.DefaultTTL+wsticket.DefaultLeeway))
	for i, key := range set.Keys() {
		from := stamp(key.NotBefore)
		if !key.Signs {
			from = "never"
		} else if key.NotBefore == 0 {
			from = "always"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", key.KeyID, key.Alg, states[i], stamp(key.IssuedAt), from, stamp(key.Expires))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err = e.stdout.Write(b.Bytes())
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

// readSecret reads a secret as long as a keyring may be. A file of printable
// text ends in a line break that nobody means as part of the secret; a random
// one of 32 bytes is printable once in 10^13.
func readSecret(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	secret, err := io.ReadAll(io.LimitReader(file, jwkset.MaxBytes/2+1))
	if err != nil {
		return nil, err
	}
	if len(secret) > jwkset.MaxBytes/2 {
		return nil, fmt.Errorf("%s is longer than %d bytes: no keyring could hold it", path, jwkset.MaxBytes/2)
	}
	line := bytes.TrimSuffix(bytes.TrimSuffix(secret, []byte("\n")), []byte("\r"))
	printable := func(b byte) bool { return 0x20 <= b && b < 0x7f }
	for _, b := range line {
		if !printable(b) {
			return secret, nil
		}
	}
	if len(line) == 0 {
		return nil, errors.New(path + " is empty")
	}
	return line, nil
}

// roundUp is d in whole seconds.
func roundUp(d time.Duration) int64 {
	n := int64(d / time.Second)
	if d%time.Second > 0 {
		n++
	}
	return n
}

func stamp(seconds int64) string {
	if seconds == 0 || seconds == math.MaxInt64 {
		return "-"
	}
	return time.Unix(seconds, 0).UTC().Format(time.RFC3339)
}
