package wsticket

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket/internal/claims"
)

// TestDocsWorkedExample computes every block of the worked example in
// docs/ticket-format.md anew and has a Verifier accept its ticket.
func TestDocsWorkedExample(t *testing.T) {
	page := readDoc(t, "docs/ticket-format.md")
	_, example, ok := strings.Cut(page, "\n## A worked example\n")
	if !ok {
		t.Fatal("the section is gone")
	}
	var blocks []string
	for i, part := range strings.Split(example, "```\n") {
		if i%2 == 1 {
			blocks = append(blocks, strings.TrimSuffix(part, "\n"))
		}
	}
	if len(blocks) != 10 {
		t.Fatalf("%d blocks, want 10", len(blocks))
	}
	keyring, header, payload := blocks[0], blocks[1], blocks[3]
	var set struct {
		Keys []struct{ Kid, Alg, K string }
	}
	if err := json.Unmarshal([]byte(keyring), &set); err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	secret, err := base64.RawURLEncoding.DecodeString(set.Keys[0].K)
	if err != nil {
		t.Fatal(err)
	}
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(signed))
	tag := h.Sum(nil)
	for i, want := range map[int]string{
		2: encode([]byte(header)),
		4: hex.EncodeToString([]byte(payload)),
		5: encode([]byte(payload)),
		6: hex.EncodeToString(tag),
		7: encode(tag),
		8: signed + "." + encode(tag),
		9: hex.EncodeToString(tag[:16]),
	} {
		if blocks[i] != want {
			t.Errorf("block %d is\n%s\nwant\n%s", i, blocks[i], want)
		}
	}
	for _, n := range []string{
		fmt.Sprintf("The header, %d bytes.", len(header)), fmt.Sprintf("The header in base64url, %d characters.", len(blocks[2])),
		fmt.Sprintf("The payload, %d bytes.", len(payload)), fmt.Sprintf("The payload in base64url, %d characters.", len(blocks[5])),
		fmt.Sprintf("over the %d bytes", len(signed)), fmt.Sprintf("The MAC in base64url, %d characters.", len(blocks[7])), fmt.Sprintf("The ticket, %d bytes.", len(blocks[8])),
	} {
		if !strings.Contains(example, n) {
			t.Errorf("the example does not say %q", n)
		}
	}

	guard := &recordingGuard{}
	verifier, err := NewVerifier(VerifierConfig{Keys: mustKeyring(t, keyring), Replay: guard, Audiences: []string{"chat"}})
	if err != nil {
		t.Fatal(err)
	}
	request := Request{Ticket: []byte(blocks[8]), Origin: []byte("https://app.example"), Path: []byte("/ws/room-7")}
	lastSecond := time.Date(2026, 11, 21, 0, 0, 11, 0, time.UTC)
	var ticket Ticket
	if err := verifier.RedeemAt(context.Background(), lastSecond, request, &ticket); err != nil {
		t.Fatal(err)
	}
	if string(ticket.Payload()) != payload {
		t.Errorf("payload %s", ticket.Payload())
	}
	if got := hex.EncodeToString(guard.spent[0].Identity[:]); got != blocks[9] {
		t.Errorf("identity %s, want %s", got, blocks[9])
	}
	if err := verifier.PeekAt(lastSecond.Add(time.Second), request, &ticket); !errors.Is(err, ErrExpired) {
		t.Errorf("a second later: %v, want %v", err, ErrExpired)
	}

	vector := readVectors(t)["accept-worked-example.txt"]
	if vector.one(t, "ticket") != blocks[8] || vector.one(t, "keyring") != keyring {
		t.Error("the vector accept-worked-example is about another ticket")
	}
}

// TestDocsKeyringExample parses the keyring that docs/ticket-format.md explains.
func TestDocsKeyringExample(t *testing.T) {
	_, section, _ := strings.Cut(readDoc(t, "docs/ticket-format.md"), "\n## Keyring\n")
	_, jwks, ok := strings.Cut(section, "\n    {")
	if !ok {
		t.Fatal("the example is gone")
	}
	jwks, _, _ = strings.Cut("{"+jwks, "\n")
	mustKeyring(t, jwks)
}

// TestDocsRefusals compares the table of docs/ticket-format.md with the codes.
func TestDocsRefusals(t *testing.T) {
	page := readDoc(t, "docs/ticket-format.md")
	_, section, _ := strings.Cut(page, "\n## Refusals\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|.*\\| ([0-9]{3}) \\| `([a-z_]+)` \\|$").FindAllStringSubmatch(section, -1)
	codes := Codes()
	if len(rows) != len(codes) {
		t.Fatalf("%d rows, want %d", len(rows), len(codes))
	}
	for i, code := range codes {
		got := strings.Join(rows[i][1:], " ")
		if want := fmt.Sprintf("%s %d %s", code.Code(), code.Status(), code.Class()); got != want {
			t.Errorf("row %d is %s, want %s", i, got, want)
		}
	}
}

// TestDocsLinks follows every link of the Markdown files to another file of the
// repository, and to a heading where it names one.
func TestDocsLinks(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"*.md", "*/*.md", "testdata/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	if len(pages) < 5 {
		t.Fatalf("only %v", pages)
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range pages {
		for _, m := range link.FindAllStringSubmatch(readDoc(t, page), -1) {
			if strings.Contains(m[1], ":") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", page, err)
			} else if anchor != "" && !headings(readDoc(t, target))[anchor] {
				t.Errorf("%s: no heading #%s in %s", page, anchor, target)
			}
		}
	}
}

// headings returns the anchors of a page, as GitHub makes them.
func headings(page string) map[string]bool {
	anchors := map[string]bool{}
	drop := regexp.MustCompile(`[^a-z0-9 _-]`)
	fenced := false
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if title := strings.TrimLeft(line, "#"); !fenced && title != line {
			anchors[strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-")] = true
		}
	}
	return anchors
}

func readDoc(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsRune(content, '\r') {
		t.Errorf("%s has CR in it", path)
	}
	return string(content)
}

// TestDocsTroubleshooting compares the tables of docs/troubleshooting.md with the
// reasons that there are: every code has its rows, and what a row quotes is said by a
// refusal of that code. TestTroubleshooting in interop makes the lines of the log.
func TestDocsTroubleshooting(t *testing.T) {
	page := readDoc(t, "docs/troubleshooting.md")
	said := map[string][]string{}
	for _, code := range Codes() {
		said[code.Code()] = []string{code.meaning()}
	}
	for _, e := range reasons[errEnd:] {
		said[e.code.Code()] = append(said[e.code.Code()], e.text)
	}
	var codes, quotes []string
	for _, row := range tableUnder(t, page, "Every code") {
		if row[0] != "" {
			codes = append(codes, strings.Trim(row[0], "`"))
		}
		code := codes[len(codes)-1]
		if row[3] == "" && code != "unauthorized" && !strings.Contains(row[1], "client went away") && !strings.Contains(row[1], "closed within") {
			t.Errorf("%s: nothing to change: %q", code, row)
		}
		for _, quoted := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(row[1], -1) {
			quotes = append(quotes, quoted[1])
			if code != "unauthorized" && !slices.ContainsFunc(said[code], func(text string) bool { return strings.HasPrefix(text, quoted[1]) }) {
				t.Errorf("no refusal as %s says %q", code, quoted[1])
			}
		}
	}
	// The faults of ticket headers, claims and base64 are too many for a page: of each
	// kind of them one stands there, and all others do.
	shown := func(e *refusalError) bool {
		return e != nil && slices.ContainsFunc(quotes, func(q string) bool { return strings.HasPrefix(e.text, q) })
	}
	many := map[*refusalError]bool{}
	for _, list := range [][]*refusalError{headerText[:], macText[:], payloadText[:], headerFaults[:]} {
		for _, e := range list {
			many[e] = true
		}
		if !slices.ContainsFunc(list, shown) {
			t.Errorf("none of its kind is in the table: %v", list[1])
		}
	}
	for kind, list := range claimFaults {
		for _, e := range list {
			many[e] = true
		}
		if kind > int(claims.Sound) && !slices.ContainsFunc(list[:], shown) {
			t.Errorf("none of its kind is in the table: %v", list)
		}
	}
	for _, e := range reasons[errEnd:] {
		if !many[e] && !shown(e) {
			t.Errorf("not in the table: %s: %s", e.code.Code(), e.text)
		}
	}
	var want []string
	for _, code := range Codes() {
		want = append(want, code.Code())
	}
	if !slices.Equal(codes, want) {
		t.Errorf("the table has the codes\n%q, want\n%q", codes, want)
	}

	var minting []string
	for _, row := range tableUnder(t, page, "The mint endpoint") {
		for _, quoted := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(row[1], -1) {
			minting = append(minting, row[0]+" "+quoted[1])
		}
	}
	for _, e := range mintReasons[1:] {
		if row := fmt.Sprintf("%d %s", e.status, e.text); !slices.Contains(minting, row) {
			t.Errorf("not in the table of the mint endpoint: %s", row)
		}
	}
	if len(minting) != len(mintReasons)-1 {
		t.Errorf("%d reasons of the mint endpoint, want %d: %q", len(minting), len(mintReasons)-1, minting)
	}
}

// tableUnder returns the cells of the table in a section, without its head.
func tableUnder(t *testing.T, page, heading string) (rows [][]string) {
	t.Helper()
	_, section, ok := strings.Cut(page, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	if len(rows) < 3 {
		t.Fatalf("no table under %q", heading)
	}
	return rows[2:]
}
