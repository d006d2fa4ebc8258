package wsticket

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestVectors runs every file of testdata/vectors; README.md there says what a
// file means.
func TestVectors(t *testing.T) {
	vectors := readVectors(t)
	if len(vectors) < 120 {
		t.Fatalf("%d vectors, want at least 120", len(vectors))
	}
	refused := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(vectors)) {
		v := vectors[name]
		t.Run(strings.TrimSuffix(name, ".txt"), func(t *testing.T) {
			switch kind := v.one(t, "kind"); kind {
			case "ticket":
				runTicketVector(t, v)
				refused[v.one(t, "expect")]++
			case "keyring":
				runKeyringVector(t, v)
			case "reload":
				runReloadVector(t, v)
			case "signing":
				runSigningVector(t, v)
			default:
				t.Fatalf("unknown kind %q", kind)
			}
		})
	}
	for _, code := range []Error{ErrMalformed, ErrUnknownKey, ErrBadSignature, ErrExpired, ErrNotYetValid, ErrTTLTooLong, ErrAudience, ErrIssuer, ErrScope, ErrOrigin, ErrPath, ErrIP} {
		if refused[code.Code()] == 0 {
			t.Errorf("no vector is refused as %s", code.Code())
		}
	}
}

// TestVectorsAreGenerated fails when a file differs from what the generator writes.
func TestVectorsAreGenerated(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	out, err := exec.Command("go", "run", "./testdata/vectors/generate.go", "-check").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// ticketVector is the verifier of a vector, with a guard that allows all, and what
// it is asked.
func ticketVector(t *testing.T, v vectorFile) (*Verifier, *recordingGuard, Request, time.Time) {
	t.Helper()
	guard := &recordingGuard{}
	verifier, err := NewVerifier(VerifierConfig{
		Keys:          mustKeyring(t, v.one(t, "keyring")),
		Replay:        guard,
		Audiences:     v["audience"],
		SoleAudience:  string(v.bytes("sole-audience")),
		Issuers:       v["issuer"],
		RequireScopes: v["require-scope"],
		MaxTTL:        v.seconds(t, "max-ttl"),
		Leeway:        v.leeway(t),
		MaxLen:        v.integer(t, "max-len"),
	})
	if err != nil {
		t.Fatal(err)
	}
	request := Request{Ticket: []byte(v.one(t, "ticket")), Origin: v.bytes("origin"), Path: v.bytes("path")}
	if ip := v.bytes("ip"); ip != nil {
		if request.Addr, err = netip.ParseAddr(string(ip)); err != nil {
			t.Fatal(err)
		}
	}
	return verifier, guard, request, v.now(t)
}

func runTicketVector(t *testing.T, v vectorFile) {
	verifier, guard, request, now := ticketVector(t, v)

	// One Ticket for both, so that the second has leftovers of the first to show.
	var ticket Ticket
	for _, how := range []struct {
		name   string
		verify func() error
	}{
		{"PeekAt", func() error { return verifier.PeekAt(now, request, &ticket) }},
		{"RedeemAt", func() error { return verifier.RedeemAt(context.Background(), now, request, &ticket) }},
	} {
		err := how.verify()
		got := "ok"
		if err != nil {
			code, ok := CodeOf(err)
			if !ok {
				t.Fatalf("%s: no refusal code in %v", how.name, err)
			}
			got = code.Code()
		}
		if want := v.one(t, "expect"); got != want {
			t.Fatalf("%s: %s, want %s\n%s", how.name, got, want, v["comment"])
		}
		want := []byte(nil)
		if err == nil {
			want = []byte(v.one(t, "payload"))
		}
		if !bytes.Equal(ticket.Payload(), want) {
			t.Errorf("%s: payload %q, want %q", how.name, ticket.Payload(), want)
		}
	}
	if v.one(t, "expect") != "ok" {
		if len(guard.spent) > 0 {
			t.Error("a refused ticket was spent")
		}
		return
	}
	if len(guard.spent) != 1 {
		t.Fatalf("spent %d times by one PeekAt and one RedeemAt", len(guard.spent))
	}
	if got := hex.EncodeToString(guard.spent[0].Identity[:]); got != v.one(t, "identity") {
		t.Errorf("identity %s, want %s", got, v.one(t, "identity"))
	}
}

func runKeyringVector(t *testing.T, v vectorFile) {
	jwks := []byte(v.one(t, "keyring"))
	if v["keyring-pad"] != nil {
		pad := v.integer(t, "keyring-pad")
		jwks = append(jwks, bytes.Repeat([]byte(" "), pad-len(jwks))...)
	}
	_, err := ParseKeyring(jwks)
	checkKeyring(t, v, err)
}

func runReloadVector(t *testing.T, v vectorFile) {
	keyring := mustKeyring(t, v.one(t, "keyring"))
	before := keyring.Keys()
	err := keyring.Replace([]byte(v.one(t, "replacement")))
	checkKeyring(t, v, err)
	if err != nil && !slices.Equal(keyring.Keys(), before) {
		t.Error("a refused replacement changed the keyring in force")
	}
}

// checkKeyring compares a verdict on a keyring with the vector. An error names the key
// at fault and never shows a secret.
func checkKeyring(t *testing.T, v vectorFile, err error) {
	t.Helper()
	if v.one(t, "expect") == "ok" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	if err == nil {
		t.Fatalf("taken, want %s refused\n%s", v.one(t, "fault"), v["comment"])
	}
	if key := v.bytes("key"); key != nil && !strings.Contains(err.Error(), strconv.Quote(string(key))) {
		t.Errorf("the error does not name the key %q: %v", key, err)
	}
	for _, secret := range secretsOf(v) {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows a secret: %v", err)
		}
	}
}

func runSigningVector(t *testing.T, v vectorFile) {
	signer, err := NewSigner(SignerConfig{Keys: mustKeyring(t, v.one(t, "keyring")), TTL: v.seconds(t, "ttl"), Leeway: v.leeway(t)})
	if v.one(t, "expect") == "refused" {
		if err == nil {
			t.Error("a signer takes the keyring")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := signer.AppendTicketAt(nil, v.now(t), &Claims{Subject: "user-1"})
	if v.one(t, "expect") == "none" {
		if !errors.Is(err, ErrNoSigningKey) {
			t.Errorf("ticket %q, error %v, want %v", ticket, err, ErrNoSigningKey)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	encoded, _, _ := bytes.Cut(ticket, []byte("."))
	header, err := base64.RawURLEncoding.DecodeString(string(encoded))
	if err != nil {
		t.Fatal(err)
	}
	var named struct{ Kid string }
	if err := json.Unmarshal(header, &named); err != nil {
		t.Fatal(err)
	}
	if want := v.one(t, "kid"); named.Kid != want {
		t.Errorf("signed by %q, want %q", named.Kid, want)
	}
}

// A recordingGuard allows everything and remembers what it was asked.
type recordingGuard struct{ spent []Use }

func (g *recordingGuard) Spend(_ context.Context, s Use) error {
	g.spent = append(g.spent, s)
	return nil
}

func (g *recordingGuard) Covers() (maxTTL, leeway time.Duration) { return 24 * time.Hour, time.Hour }

func mustKeyring(t *testing.T, jwks string) *Keyring {
	t.Helper()
	keyring, err := ParseKeyring([]byte(jwks))
	if err != nil {
		t.Fatal(err)
	}
	return keyring
}

// secretsOf returns the secrets of a vector's keyrings that are long enough to
// be told from other text, however badly the keyring is written.
func secretsOf(v vectorFile) []string {
	var secrets []string
	for _, jwks := range append(slices.Clone(v["keyring"]), v["replacement"]...) {
		for _, after := range strings.Split(jwks, `"k":"`)[1:] {
			if secret, _, _ := strings.Cut(after, `"`); len(secret) >= 16 {
				secrets = append(secrets, secret)
			}
		}
	}
	return secrets
}

// A vectorFile holds the values of each name, in the order of the file.
type vectorFile map[string][]string

// vectorNames are the names that a file may have; true where one may come again.
var vectorNames = map[string]bool{
	"kind": false, "comment": false, "keyring": false, "now": false, "leeway": false, "max-ttl": false, "max-len": false, "audience": true, "sole-audience": false, "issuer": true, "require-scope": true,
	"origin": false, "path": false, "ip": false, "header": false, "payload": false, "ticket": false, "expect": false, "identity": false,
	"keyring-pad": false, "replacement": false, "fault": false, "key": false, "ttl": false, "kid": false,
}

func readVectors(t *testing.T) map[string]vectorFile {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "vectors", "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	vectors := make(map[string]vectorFile, len(paths))
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		v, err := parseVector(string(content))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		vectors[filepath.Base(path)] = v
	}
	return vectors
}

func parseVector(content string) (vectorFile, error) {
	if !strings.HasSuffix(content, "\n") {
		return nil, errors.New("the last line is cut short")
	}
	v := vectorFile{}
	for line := range strings.Lines(content) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok {
			return nil, fmt.Errorf("no colon in %q", line)
		}
		value = strings.TrimPrefix(value, " ")
		if plain, ok := strings.CutSuffix(name, "-hex"); ok {
			decoded, err := hex.DecodeString(value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			name, value = plain, string(decoded)
		}
		again, known := vectorNames[name]
		if !known || v[name] != nil && !again {
			return nil, fmt.Errorf("%q is unknown or comes twice", name)
		}
		v[name] = append(v[name], value)
	}
	return v, nil
}

// one is the value of a name that must be there.
func (v vectorFile) one(t *testing.T, name string) string {
	t.Helper()
	if v[name] == nil {
		t.Fatalf("no %s", name)
	}
	return v[name][0]
}

// bytes is the value of a name that may be missing.
func (v vectorFile) bytes(name string) []byte {
	if v[name] == nil {
		return nil
	}
	return []byte(v[name][0])
}

func (v vectorFile) integer(t *testing.T, name string) int {
	t.Helper()
	n, err := strconv.Atoi(v.one(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (v vectorFile) now(t *testing.T) time.Time {
	t.Helper()
	n, err := strconv.ParseInt(v.one(t, "now"), 10, 64) // beyond an int of 32 bits
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(n, 0)
}

func (v vectorFile) seconds(t *testing.T, name string) time.Duration {
	t.Helper()
	return time.Duration(v.integer(t, name)) * time.Second
}

// leeway is 0 in a file where the configuration says NoLeeway.
func (v vectorFile) leeway(t *testing.T) time.Duration {
	t.Helper()
	if d := v.seconds(t, "leeway"); d > 0 {
		return d
	}
	return NoLeeway
}
