package interop

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// A mintingLanguage is one that docs/minting.md has a program in. run says how to run
// it, and skips the test where it cannot be run.
type mintingLanguage struct {
	fence, file string
	run         func(t *testing.T, dir string) []string
}

var mintingLanguages = []mintingLanguage{
	{"python", "mint.py", func(t *testing.T, _ string) []string {
		python := installed(t, "Python 3 of Debian", "apt-get install python3 python3-jwt", "/usr/bin/python3", "python3")
		if exec.Command(python, "-c", "import jwt").Run() != nil {
			missing(t, "no PyJWT for "+python+"; get it, for instance with: apt-get install python3-jwt")
		}
		return []string{python}
	}},
	{"js", "mint.mjs", func(t *testing.T, dir string) []string {
		node := installed(t, "Node", "apt-get install nodejs npm", "node")
		npm := installed(t, "npm", "apt-get install npm", "npm")
		install := exec.Command(npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", dir, "jose@6.2.18")
		if out, err := install.CombinedOutput(); err != nil {
			missing(t, fmt.Sprintf("npm install jose: %v\n%s", err, out))
		}
		return []string{node}
	}},
	{"ruby", "mint.rb", func(t *testing.T, _ string) []string {
		ruby := installed(t, "Ruby", "apt-get install ruby ruby-jwt", "ruby")
		if exec.Command(ruby, "-e", "require 'jwt'").Run() != nil {
			missing(t, "no ruby-jwt; get it, for instance with: apt-get install ruby-jwt")
		}
		return []string{ruby}
	}},
	{"perl", "mint.pl", func(t *testing.T, _ string) []string {
		perl := installed(t, "Perl", "apt-get install perl libcrypt-jwt-perl", "perl")
		if exec.Command(perl, "-MCrypt::JWT", "-e", "1").Run() != nil {
			missing(t, "no Crypt::JWT; get it, for instance with: apt-get install libcrypt-jwt-perl")
		}
		return []string{perl}
	}},
	{"java", "Mint.java", func(t *testing.T, _ string) []string {
		java := installed(t, "JDK", "apt-get install default-jdk-headless libjackson2-databind-java", "java")
		if _, err := os.Stat("/usr/share/java/jackson-databind.jar"); err != nil {
			missing(t, "no Jackson in /usr/share/java; get it, for instance with: apt-get install libjackson2-databind-java")
		}
		// Java reads its arguments in the encoding of the locale.
		return []string{"env", "LC_ALL=C.UTF-8", java, "-XX:TieredStopAtLevel=1", "-cp", "/usr/share/java/*"}
	}},
	{"php", "mint.php", func(t *testing.T, _ string) []string {
		return []string{installed(t, "PHP", "apt-get install php-cli", "php")}
	}},
}

// program is the one on the page.
func (l *mintingLanguage) program(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/minting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, ok := strings.Cut(string(page), "```"+l.fence+"\n")
	code, _, closed := strings.Cut(code, "```\n")
	if !ok || !closed {
		t.Fatalf("the page has no program in %s", l.fence)
	}
	return code
}

// TestMintingPrograms runs every program of docs/minting.md, and lets in the
// ticket that it prints: for HS256 and HS512, and with a keyring in the middle of
// a rotation, where only one of the keys may sign.
func TestMintingPrograms(t *testing.T) {
	t.Parallel()
	for _, language := range mintingLanguages {
		t.Run(language.fence, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			argv := append(language.run(t, dir), filepath.Join(dir, language.file))
			if err := os.WriteFile(filepath.Join(dir, language.file), []byte(language.program(t)), 0o600); err != nil {
				t.Fatal(err)
			}
			for name, keyring := range mintingKeyrings() {
				t.Run(name, func(t *testing.T) {
					file := filepath.Join(t.TempDir(), "keyring.json")
					if err := os.WriteFile(file, []byte(keyring), 0o600); err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					defer cancel()
					out, err := exec.CommandContext(ctx, argv[0], append(argv[1:len(argv):len(argv)], file, "ada \"Lovelace\" é")...).Output()
					if err != nil {
						t.Fatalf("%v: %v", argv, err)
					}
					keys, err := wsticket.LoadKeyring(file)
					if err != nil {
						t.Fatal(err)
					}
					cache, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 10, Since: time.Unix(0, 0)})
					if err != nil {
						t.Fatal(err)
					}
					verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: cache})
					if err != nil {
						t.Fatal(err)
					}
					var ticket wsticket.Ticket
					request := wsticket.Request{Ticket: []byte(strings.TrimSpace(string(out)))}
					if err := verifier.Redeem(t.Context(), request, &ticket); err != nil {
						t.Fatal(err)
					}
					if string(ticket.KeyID()) != "signs" || string(ticket.Subject()) != "ada \"Lovelace\" é" || len(ticket.ID()) < 22 {
						t.Errorf("kid %s, sub %s, jti %s", ticket.KeyID(), ticket.Subject(), ticket.ID())
					}
				})
			}
		})
	}
}

// missing skips a test for what is not installed, and fails it on a build server.
func missing(t *testing.T, message string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(message)
	}
	t.Skip(message)
}

// mintingKeyrings are keyrings in which only the key "signs" may sign now.
func mintingKeyrings() map[string]string {
	now := time.Now().Unix()
	key := func(kid, alg string, more map[string]any) map[string]any {
		secret := []byte(strings.Repeat(kid+alg+"\xfb\xff", 12)[:64]) // has - and _ in base64url
		all := map[string]any{"kty": "oct", "kid": kid, "alg": alg, "k": base64.RawURLEncoding.EncodeToString(secret)}
		for name, value := range more {
			all[name] = value
		}
		return all
	}
	ring := func(keys ...map[string]any) string {
		text, err := json.Marshal(map[string]any{"keys": keys})
		if err != nil {
			panic(err)
		}
		return string(text)
	}
	return map[string]string{
		"HS256": ring(key("signs", "HS256", nil)),
		"HS512": ring(key("signs", "HS512", nil)),
		"rotation": ring(
			key("old", "HS256", nil),
			key("signs", "HS512", map[string]any{"nbf": now - 100}),
			key("waits", "HS256", map[string]any{"nbf": now + 1000}),
			key("only-verifies", "HS256", map[string]any{"nbf": now - 50, "key_ops": []string{"verify"}}),
			key("ends", "HS256", map[string]any{"nbf": now - 20, "exp": now + 8}),
		),
		"tie": ring(key("signs", "HS256", map[string]any{"nbf": now - 100}), key("signr", "HS512", map[string]any{"nbf": now - 100})),
	}
}
