package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/wsticket/wsticket"
)

const commandLinePage = "../docs/command-line.md"

// TestCommandLinePage runs every example of docs/command-line.md, one after the other
// in one directory, and compares what comes out. "…" on the page is any text.
func TestCommandLinePage(t *testing.T) {
	t.Parallel()
	bash := installed(t, "bash", "apt-get install bash openssl", "bash")
	installed(t, "OpenSSL", "apt-get install openssl", "openssl")
	page, err := os.ReadFile(commandLinePage)
	if err != nil {
		t.Fatal(err)
	}
	type example struct {
		command, want string
		code          int
	}
	var examples []example
	exitCode := regexp.MustCompile(` # exit code (\d)$`)
	for i, block := range strings.Split(string(page), "```") {
		text, isExample := strings.CutPrefix(block, "console\n")
		if i%2 == 0 || !isExample {
			continue
		}
		for _, part := range strings.Split("\n"+text, "\n$ ")[1:] {
			command, want, _ := strings.Cut(part, "\n")
			x := example{command: command, want: strings.TrimSuffix(want, "\n")}
			if code := exitCode.FindStringSubmatch(command); code != nil {
				x.code, _ = strconv.Atoi(code[1])
			}
			examples = append(examples, x)
		}
	}
	const mark = "--- end of an answer, exit code "
	var script strings.Builder
	for _, x := range examples {
		fmt.Fprintf(&script, "%s\necho '%s'$?\n", x.command, mark)
	}
	run := exec.Command(bash, "-c", "exec 2>&1\n"+script.String())
	run.Dir = t.TempDir()
	run.Env = append(os.Environ(), "PATH="+filepath.Dir(command(t))+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := run.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rest := string(out)
	for _, x := range examples {
		got, after, ok := strings.Cut(rest, mark)
		if !ok {
			t.Fatalf("no answer to %q: %q", x.command, rest)
		}
		code, after, _ := strings.Cut(after, "\n")
		rest = after
		if code != strconv.Itoa(x.code) {
			t.Errorf("%s\nexit code %s, want %d", x.command, code, x.code)
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(x.want), "…", "(?s:.*)")
		pattern = regexp.MustCompile(` {2,}`).ReplaceAllString(pattern, " +") // columns are as wide as what is in them
		if got = strings.TrimSuffix(got, "\n"); !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
			t.Errorf("%s\nsays\n%s\nthe page has\n%s", x.command, got, x.want)
		}
	}
	if len(examples) < 20 {
		t.Errorf("%d examples", len(examples))
	}
}

// TestCommandLinePageIsWhole: every command has a section on the page with an example,
// and every flag with its default.
func TestCommandLinePageIsWhole(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(commandLinePage)
	if err != nil {
		t.Fatal(err)
	}
	wsticket := command(t)
	help := func(args ...string) string {
		out, err := exec.Command(wsticket, append([]string{"help"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	sections := make(map[string]string)
	for _, section := range strings.Split(string(page), "\n## wsticket ")[1:] {
		name, text, _ := strings.Cut(section, "\n")
		text, _, _ = strings.Cut(text, "\n## ")
		sections[name] = text
	}
	names := regexp.MustCompile(`(?m)^  wsticket ((?:keys )?[a-z]+)`).FindAllStringSubmatch(help(), -1)
	if len(names) != len(sections) {
		t.Errorf("%d commands, %d sections", len(names), len(sections))
	}
	for _, match := range names {
		name := match[1]
		section, ok := sections[name]
		if !ok {
			t.Errorf("%s is not on the page", name)
			continue
		}
		if !strings.Contains(section, "```console\n") && !strings.Contains(section, "```sh\nwsticket "+name) {
			t.Errorf("%s has no example", name)
		}
		var table []string
		for _, line := range strings.Split(section, "\n") {
			if strings.HasPrefix(line, "| `-") {
				table = append(table, line)
			}
		}
		// The help gives a flag and its text, which may go on in the lines below.
		var flags []string
		entries := regexp.MustCompile(`(?m)^  -([a-z-]+)(?:.*\n)(?:^ {21}.*\n)*`).FindAllStringSubmatch(help(strings.Fields(name)...), -1)
		for _, entry := range entries {
			flags = append(flags, entry[1])
			i := slices.IndexFunc(table, func(row string) bool { return regexp.MustCompile("`-" + entry[1] + "[ `]").MatchString(row) })
			if i < 0 {
				t.Errorf("%s: -%s is not in the table", name, entry[1])
				continue
			}
			text := strings.Join(strings.Fields(entry[0]), " ")
			if _, value, ok := strings.Cut(text, "(default "); ok {
				if value, _, _ = strings.Cut(value, ")"); !strings.Contains(table[i], value) {
					t.Errorf("%s: the default of -%s is %s, the table has %s", name, entry[1], value, table[i])
				}
			}
		}
		for _, row := range table {
			names, _, _ := strings.Cut(row[2:], "|")
			for _, flag := range regexp.MustCompile("`-([a-z-]+)").FindAllStringSubmatch(names, -1) {
				if !slices.Contains(flags, flag[1]) && flag[1] != "encoding" {
					t.Errorf("%s has no -%s", name, flag[1])
				}
			}
		}
	}
}

// TestSharedSecrets: what the table of docs/command-line.md says of libraries that are
// at hand. Each signs with the secret as the table writes it; the keyring that
// "keys import" makes with the encoding of the table takes its ticket, and the one of
// another encoding does not.
func TestSharedSecrets(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(commandLinePage)
	if err != nil {
		t.Fatal(err)
	}
	const (
		hexSecret = "6f1c0e7d5b2a49388f7e6d5c4b3a29180f1e2d3c4b5a69788796a5b4c3d2e1f0"
		b64Secret = "b2RkIHNlY3JldHMgYXJlIGJldHRlciB0aGFuIG5vbmUsIHNheXMgPz8/Pg=="
		urlSecret = "b2RkIHNlY3JldHMgYXJlIGJldHRlciB0aGFuIG5vbmUsIHNheXMgPz8_Pg"
		jwkSecret = `{"kty":"oct","k":"` + urlSecret + `"}`
	)
	now := time.Now().Unix()
	claims := fmt.Sprintf(`{"jti":"n","iat":%d,"exp":%d,"sub":"ada"}`, now, now+30)
	header := map[string]string{"kid": "shared", "typ": "ws-ticket+jwt"}
	python := func(expression string) func(t *testing.T, secret string) string {
		return func(t *testing.T, secret string) string {
			program := installed(t, "Python 3 of Debian", "apt-get install python3 python3-jwt", "/usr/bin/python3", "python3")
			if exec.Command(program, "-c", "import jwt").Run() != nil {
				missing(t, "no PyJWT for "+program+"; get it, for instance with: apt-get install python3-jwt")
			}
			return outputOf(t, program, "-c", `
import base64, json, jwt, sys
SECRET, claims = sys.argv[1], json.loads(sys.argv[2])
token = jwt.encode(claims, `+expression+`, algorithm="HS256", headers={"kid": "shared", "typ": "ws-ticket+jwt"})
print(token if isinstance(token, str) else token.decode())`, secret, claims)
		}
	}
	ruby := func(t *testing.T, secret string) string {
		program := installed(t, "Ruby", "apt-get install ruby ruby-jwt", "ruby")
		if exec.Command(program, "-e", "require 'jwt'").Run() != nil {
			missing(t, "no ruby-jwt; get it, for instance with: apt-get install ruby-jwt")
		}
		return outputOf(t, program, "-e", `require "jwt"; require "json"
print JWT.encode(JSON.parse(ARGV[1]), ARGV[0], "HS256", kid: "shared", typ: "ws-ticket+jwt")`, secret, claims)
	}
	perl := func(t *testing.T, secret string) string {
		program := installed(t, "Perl", "apt-get install perl libcrypt-jwt-perl", "perl")
		if exec.Command(program, "-MCrypt::JWT", "-e", "1").Run() != nil {
			missing(t, "no Crypt::JWT; get it, for instance with: apt-get install libcrypt-jwt-perl")
		}
		return outputOf(t, program, "-MCrypt::JWT=encode_jwt", "-MJSON::PP", "-e",
			`print encode_jwt(payload => decode_json($ARGV[1]), alg => "HS256", key => $ARGV[0], extra_headers => {kid => "shared", typ => "ws-ticket+jwt"})`, secret, claims)
	}
	golang := func(t *testing.T, secret string) string {
		var set jwt.MapClaims
		if err := json.Unmarshal([]byte(claims), &set); err != nil {
			t.Fatal(err)
		}
		set["iat"], set["exp"] = now, now+30
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, set)
		for name, value := range header {
			token.Header[name] = value
		}
		text, err := token.SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	modules, fetched := t.TempDir(), false
	node := func(expression string) func(t *testing.T, secret string) string {
		return func(t *testing.T, secret string) string {
			if os.Getenv("WSTICKET_SLOW") != "1" {
				t.Skip("installs packages of npm: set WSTICKET_SLOW=1")
			}
			program := installed(t, "Node", "apt-get install nodejs npm", "node")
			npm := installed(t, "npm", "apt-get install npm", "npm")
			if !fetched {
				if out, err := exec.Command(npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", modules, "jose@6.2.18", "jsonwebtoken@9.0.2").CombinedOutput(); err != nil {
					missing(t, fmt.Sprintf("npm install jose jsonwebtoken: %v\n%s", err, out))
				}
				fetched = true
			}
			file := filepath.Join(modules, "sign.mjs")
			if err := os.WriteFile(file, []byte(`
import jwt from "jsonwebtoken"
import { SignJWT, base64url, importJWK } from "jose"
const [SECRET, text] = process.argv.slice(2), claims = JSON.parse(text)
const old = key => jwt.sign(claims, key, { algorithm: "HS256", keyid: "shared", header: { typ: "ws-ticket+jwt" } })
const sign = async key => new SignJWT(claims).setProtectedHeader({ alg: "HS256", kid: "shared", typ: "ws-ticket+jwt" }).sign(await key)
console.log(await `+expression+`)`), 0o600); err != nil {
				t.Fatal(err)
			}
			return outputOf(t, program, file, secret, claims)
		}
	}
	for _, c := range []struct {
		row, encoding, secret string // row: what the page writes there
		sign                  func(t *testing.T, secret string) string
	}{
		{`jwt.encode(claims, "SECRET")`, "raw", hexSecret, python("SECRET")},
		{`jwt.encode(claims, "SECRET")`, "raw", b64Secret, python("SECRET")},
		{`jwt.encode(claims, base64.b64decode("SECRET"))`, "base64", b64Secret, python("base64.b64decode(SECRET)")},
		{`jwt.encode(claims, bytes.fromhex("SECRET"))`, "hex", hexSecret, python("bytes.fromhex(SECRET)")},
		{`JWT.encode(claims, "SECRET", "HS256")`, "raw", hexSecret, ruby},
		{`encode_jwt(key => "SECRET", …)`, "raw", b64Secret, perl},
		{`[]byte("SECRET")`, "raw", hexSecret, golang},
		{`jwt.sign(claims, "SECRET")`, "raw", hexSecret, node("old(SECRET)")},
		{`jwt.sign(claims, Buffer.from("SECRET", "base64"))`, "base64", b64Secret, node(`old(Buffer.from(SECRET, "base64"))`)},
		{`jwt.sign(claims, Buffer.from("SECRET", "hex"))`, "hex", hexSecret, node(`old(Buffer.from(SECRET, "hex"))`)},
		{`new TextEncoder().encode("SECRET")`, "raw", b64Secret, node("sign(new TextEncoder().encode(SECRET))")},
		{`base64url.decode("SECRET")`, "base64url", urlSecret, node("sign(base64url.decode(SECRET))")},
		{`importJWK({kty: "oct", k: …})`, "jwk", jwkSecret, node(`sign(importJWK(JSON.parse(SECRET), "HS256"))`)},
	} {
		t.Run(c.row+" "+c.secret[:2], func(t *testing.T) {
			row := "`" + c.row + "`"
			i := strings.Index(string(page), row)
			if i < 0 {
				t.Fatalf("the page has no %s", row)
			}
			line, _, _ := strings.Cut(string(page[i:]), "\n")
			if !strings.HasSuffix(line, "| `"+c.encoding+"` |") {
				t.Errorf("the page says %s", line)
			}
			token := strings.TrimSpace(c.sign(t, c.secret))
			file := filepath.Join(t.TempDir(), "secret.txt")
			if err := os.WriteFile(file, []byte(c.secret+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(command(t), "keys", "import", "-secret-file", file, "-kid", "shared").CombinedOutput(); err == nil || !strings.Contains(string(out), "give -encoding") {
				t.Errorf("without -encoding: %v, %s", err, out)
			}
			others := 0
			for _, encoding := range []string{"raw", "base64", "base64url", "hex", "jwk"} {
				text, err := exec.Command(command(t), "keys", "import", "-secret-file", file, "-kid", "shared", "-encoding", encoding).Output()
				if err != nil {
					if encoding == c.encoding {
						t.Fatalf("%s: %v", encoding, err)
					}
					continue // it cannot be that
				}
				keys, err := wsticket.ParseKeyring(text)
				if err != nil {
					t.Fatal(err)
				}
				verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: wsticket.DangerouslyAllowReplay})
				if err != nil {
					t.Fatal(err)
				}
				var ticket wsticket.Ticket
				err = verifier.PeekAt(time.Unix(now, 0), wsticket.Request{Ticket: []byte(token)}, &ticket)
				if code, _ := wsticket.CodeOf(err); (err == nil) != (encoding == c.encoding) || err != nil && code != wsticket.ErrBadSignature {
					t.Errorf("imported as %s: %v", encoding, err)
				}
				others++
			}
			if others < 2 && c.encoding != "jwk" {
				t.Error("no other encoding was tried")
			}
		})
	}
}

// outputOf runs a program and returns what it writes.
func outputOf(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return string(out)
}
