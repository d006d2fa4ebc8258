package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// Members of the application's own, whatever they are called and whatever they hold, do
// not change what explain says of the claims.
func TestExplainReadsTheClaimsAlone(t *testing.T) {
	keys := keyringFile(t)
	now := time.Unix(1_795_219_200, 0)
	explained := func(at time.Duration, flags []string, claims ...string) string {
		t.Helper()
		args := []string{"mint", "-keys", keys, "-sub", "ada", "-aud", "chat", "-origin", "https://app.example"}
		for _, claim := range claims {
			args = append(args, "-claim", claim)
		}
		code, ticket, stderr := try(now, nil, args...)
		if code != 0 {
			t.Fatal(stderr)
		}
		_, stdout, _ := try(now.Add(at), nil, append(append([]string{"explain", "-json", "-keys", keys}, flags...), strings.TrimSpace(ticket))...)
		if !json.Valid([]byte(stdout)) || strings.Count(stdout, "\n") != 1 {
			t.Errorf("no object a line: %q", stdout)
		}
		return stdout
	}
	for _, at := range []time.Duration{0, time.Minute, -time.Minute} {
		for _, flags := range [][]string{nil, {"-aud", "chat"}, {"-aud", "chat", "-origin", "https://evil.example"}} {
			want := explained(at, flags)
			for _, claim := range []string{`issued="soon"`, `Expires="never"`, `NotBefore=[]`, `sessionends={}`, `AUD=1`, `Origin=7`, `PATH=null`, `Scope=[1]`, `ISS=true`, `IP=1`, `audience="x"`} {
				if got := explained(at, flags, claim); got != want {
					t.Errorf("at %v, %v, with %s:\n%swithout:\n%s", at, flags, claim, got, want)
				}
			}
		}
	}
}

func TestAtInMilliseconds(t *testing.T) {
	keys := keyringFile(t)
	for _, at := range []string{"1795219210000", "253402300800", "-1", "x", "1e9"} {
		if code, _, stderr := try(time.Now(), nil, "explain", "-keys", keys, "-at", at, "x"); code != exitUsage || !strings.Contains(stderr, "seconds") {
			t.Errorf("%s: %d, %q", at, code, stderr)
		}
	}
	if code, _, stderr := try(time.Now(), nil, "explain", "-keys", keys, "-at", "253402300799", "x"); code != exitRefused {
		t.Errorf("%d, %q", code, stderr)
	}
}

// The advice is on what the reason says, and not on a word that stands in it by chance,
// or in a value that it shows.
func TestMalformedAdvice(t *testing.T) {
	for reason, want := range map[string]string{
		"alg is not that of the key that kid names: key \"k1\", alg HS256": "sign with the alg that the keyring has for this kid",
		"alg is none, want HS256, HS384 or HS512":                          "sign with HS256, HS384 or HS512",
		"alg is missing": "sign with HS256, HS384 or HS512",
		"the header has a member beside alg, kid and typ":             "take it out of the header",
		"the header has a member beside alg, kid and typ: path is \"": "take it out of the header",
		"kid is missing":                     "let the minter name its key",
		"typ is \"JWT\", want ws-ticket+jwt": "let the minter set the header \"typ\"",
		"jti is longer than 128 bytes":       "give each ticket a jti",
		"jti is empty":                       "give each ticket a jti",
		"jti is missing":                     "give each ticket a jti",
		"the ticket is longer than the verifier's MaxLen: 3000 bytes, MaxLen 2048":                     "put less into the ticket",
		"aud is neither a string nor an array of strings with at least one in it ([\"ip \"])":          "correct it where",
		"sub is not a string (\"the MAC\")":                                                            "correct it where",
		"path does not begin with / (\"kid \")":                                                        "mint a path",
		"ip is neither an address nor a prefix (\"x\")":                                                "mint an address",
		"iat is not an integer of seconds (1.5)":                                                       "mint whole seconds",
		"session_exp lies beyond the year 9999; give seconds, not milliseconds (1795219210000)":        "divide by 1000",
		"exp is not after iat: iat 5, exp 5":                                                           "let the minter set exp",
		"duplicate member \"kid\" of the header":                                                       "write the member once",
		"the ticket does not have two dots: it has 0":                                                  "give the ticket alone and whole",
		"the MAC is not base64url: no number of bytes makes that many characters":                      "give the ticket as it was minted",
		"the MAC does not have the length of its alg: 12 characters; HS256 has 43, HS384 64, HS512 86": "give the ticket whole",
		"the payload is not valid JSON (at byte 3)":                                                    "correct it where",
	} {
		if got := malformedAdvice(reason); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", reason, got)
		}
	}
}

// When the session is over, a new ticket is of no use, also in the last seconds of the
// old one.
func TestExplainSessionOver(t *testing.T) {
	path := keyringFile(t)
	keys, err := wsticket.LoadKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_795_219_200, 0)
	ticket, err := signer.SignAt(now, &wsticket.Claims{Subject: "ada", SessionExpires: now.Add(5 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]string{5 * time.Second: "let the user log in again", 11 * time.Second: "let the user log in again", 12 * time.Second: "mint a new one"} {
		if _, stdout, _ := try(now.Add(after), nil, "explain", "-keys", path, ticket); !strings.Contains(stdout, "change: "+want) {
			t.Errorf("after %v: %s", after, stdout)
		}
	}
}
