package interop

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	jwkv2 "github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"github.com/wsticket/wsticket"
)

// TestTheirKeySets loads key sets that other libraries wrote.
func TestTheirKeySets(t *testing.T) {
	keys := []secretKey{newSecretKey(t, "HS256"), newSecretKey(t, "HS384"), newSecretKey(t, "HS512")}
	type member struct {
		name  string
		value any
	}
	members := func(i int) []member {
		list := []member{{"kid", keys[i].id}, {"alg", keys[i].alg}, {"use", "sig"}, {"iat", now.Unix() - 7200}}
		switch i {
		case 0: // retired
			list = append(list, member{"exp", now.Unix() + 90})
		case 2: // next
			list = append(list, member{"nbf", now.Unix() + 60}, member{"comment", "rotated & <signed> by ops"})
		}
		return list
	}
	for name, write := range map[string]func() ([]byte, error){
		"jwx v2": func() ([]byte, error) {
			set := jwkv2.NewSet()
			for i := range keys {
				key, err := jwkv2.FromRaw(keys[i].secret)
				for _, m := range members(i) {
					err = errors.Join(err, key.Set(m.name, m.value))
				}
				if err = errors.Join(err, set.AddKey(key)); err != nil {
					return nil, err
				}
			}
			return json.Marshal(set)
		},
		"jwx v3": func() ([]byte, error) {
			set := jwk.NewSet()
			for i := range keys {
				key, err := jwk.Import(keys[i].secret)
				for _, m := range members(i) {
					err = errors.Join(err, key.Set(m.name, m.value))
				}
				if err = errors.Join(err, set.AddKey(key)); err != nil {
					return nil, err
				}
			}
			return json.MarshalIndent(set, "", "\t")
		},
		"jwx v3, key_ops": func() ([]byte, error) {
			set := jwk.NewSet()
			for i := range keys {
				key, err := jwk.Import(keys[i].secret)
				for _, m := range members(i) {
					if m.name != "use" {
						err = errors.Join(err, key.Set(m.name, m.value))
					}
				}
				err = errors.Join(err, key.Set(jwk.KeyOpsKey, jwk.KeyOperationList{jwk.KeyOpSign, jwk.KeyOpVerify}))
				if err = errors.Join(err, set.AddKey(key)); err != nil {
					return nil, err
				}
			}
			return json.Marshal(set)
		},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := write()
			if err != nil {
				t.Fatal(err)
			}
			keyring, err := wsticket.ParseKeyring(text)
			if err != nil {
				t.Fatal(err)
			}
			want := []wsticket.Key{
				{ID: keys[2].id, Algorithm: "HS512", NotBefore: now.Add(time.Minute), Signs: true},
				{ID: keys[1].id, Algorithm: "HS384", Signs: true},
				{ID: keys[0].id, Algorithm: "HS256", Expires: now.Add(90 * time.Second), Signs: true},
			}
			got := keyring.Keys()
			slices.SortFunc(got, func(a, b wsticket.Key) int { return strings.Compare(b.Algorithm, a.Algorithm) })
			if !reflect.DeepEqual(got, want) {
				t.Errorf("the keyring holds %v, want %v", got, want)
			}
			for _, k := range keys {
				takes(t, keyring, k)
			}
		})
	}
	t.Run("go-jose", func(t *testing.T) { // which has no place for nbf and exp
		var set jose.JSONWebKeySet
		for _, k := range keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.secret, KeyID: k.id, Algorithm: k.alg, Use: "sig"})
		}
		keyring, err := wsticket.ParseKeyring(toJSON(t, set))
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			takes(t, keyring, k)
		}
	})
}

// takes wants the keyring to take what each library signs with k.
func takes(t *testing.T, keyring *wsticket.Keyring, k secretKey) {
	t.Helper()
	for _, p := range peers {
		minted, err := p.mint(k, ticketHeader(k), full)
		if err != nil {
			t.Fatal(err)
		}
		var got wsticket.Ticket
		if err := verifierOf(t, keyring).PeekUnboundAt(now, []byte(minted), &got); err != nil {
			t.Errorf("%s, signed by %s: %v", k.alg, p.name, err)
		}
	}
}

// TestOurKeySets has other libraries load what the command line writes, and sign
// with it.
func TestOurKeySets(t *testing.T) {
	run := func(args ...string) []byte {
		t.Helper()
		text, err := exec.Command(command(t), args...).Output()
		if err != nil {
			t.Fatalf("wsticket %q: %v", args, err)
		}
		return text
	}
	for _, alg := range algorithms {
		t.Run(alg, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "keyring")
			if err := os.WriteFile(file, run("keys", "generate", "-alg", alg, "-kid", "first-"+alg), 0o600); err != nil {
				t.Fatal(err)
			}
			run("keys", "rotate", "-keys", file)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			keyring, err := wsticket.ParseKeyring(text)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(keyring.Keys()); n != 2 {
				t.Fatalf("%d keys, want 2", n)
			}

			setV2, err := jwkv2.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			setV3, err := jwk.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			var setJose jose.JSONWebKeySet
			if err := json.Unmarshal(text, &setJose); err != nil {
				t.Fatal(err)
			}
			for _, key := range keyring.Keys() {
				k := secretKey{id: key.ID, alg: key.Algorithm}
				v2, ok := setV2.LookupKeyID(key.ID)
				if !ok {
					t.Fatalf("jwx v2 has no key %q", key.ID)
				}
				v3, ok := setV3.LookupKeyID(key.ID)
				if !ok {
					t.Fatalf("jwx v3 has no key %q", key.ID)
				}
				goJose := setJose.Key(key.ID)
				if len(goJose) != 1 {
					t.Fatalf("go-jose has %d keys %q", len(goJose), key.ID)
				}
				algV3, _ := v3.Algorithm()
				if v2.Algorithm().String() != alg || algV3.String() != alg || goJose[0].Algorithm != alg {
					t.Errorf("alg is %v, %v, %v, want %s", v2.Algorithm(), algV3, goJose[0].Algorithm, alg)
				}
				for name, export := range map[string]func() error{
					"jwx v2":  func() error { return v2.Raw(&k.secret) },
					"jwx v3":  func() error { return jwk.Export(v3, &k.secret) },
					"go-jose": func() error { k.secret = goJose[0].Key.([]byte); return nil },
				} {
					k.secret = nil
					if err := export(); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					takes(t, keyring, k)
				}
			}

			// And the sets as they are verify what is signed with the keyring.
			signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keyring})
			if err != nil {
				t.Fatal(err)
			}
			ticket, err := signer.Sign(&wsticket.Claims{Subject: "u&1"})
			if err != nil {
				t.Fatal(err)
			}
			for name, verify := range setVerifiers {
				subject, err := verify(text, ticket)
				if err != nil || subject != "u&1" {
					t.Errorf("%s: %q, %v", name, subject, err)
				}
			}
		})
	}
}
