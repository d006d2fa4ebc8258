package gateway

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The snippets of Go in the documentation compile, with what the text around them says
// is there. Those of README.md, docs/integrations.md and docs/metrics.md are code that is
// run, and are compared with it elsewhere.
func TestSnippets(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	text.WriteString(snippetHead)
	n := 0
	for _, page := range pages {
		if base := filepath.Base(page); base == "integrations.md" || base == "metrics.md" {
			continue
		}
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?ms)^```go\n(.*?)^```").FindAllSubmatchIndex(content, -1) {
			code := string(content[m[2]:m[3]])
			if strings.HasPrefix(code, "func ") { // quoted from a program: TestDocsQuotes of the root module
				continue
			}
			line := 1 + strings.Count(string(content[:m[2]]), "\n")
			n++
			function, err := wrapSnippet(code)
			if err != nil {
				t.Errorf("%s:%d: %v", page, line, err)
				continue
			}
			fmt.Fprintf(&text, "\nfunc _() {\n//line %s:%d\n%s}\n", filepath.Base(page), line, function)
		}
	}
	if n < 8 {
		t.Fatalf("only %d snippets were found", n)
	}
	dir := t.TempDir()
	file, overlay := filepath.Join(dir, "snippets.go"), filepath.Join(dir, "overlay.json")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(here, "snippets", "snippets.go"): file}})
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{file: []byte(text.String()), overlay: replace} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("go", "build", "-overlay", overlay, "-o", os.DevNull, "./snippets").CombinedOutput(); err != nil {
		t.Errorf("a snippet does not compile: %v\n%s", err, out)
	}
}

const snippetHead = `package snippets

import (
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/client"
	"github.com/wsticket/wsticket/etcdguard"
	"github.com/wsticket/wsticket/live"
	"github.com/wsticket/wsticket/redisguard"
	"github.com/wsticket/wsticket/wstickettest"
)

var (
	_ io.Writer
	_ netip.Addr
	_ = log.Print
	_ = slog.Info
	_ = client.Handler
	_ etcdguard.Config
	_ redisguard.Config
	_ live.Config
	_ = wstickettest.New
)

// What the pages say is there already.
var (
	ctx      context.Context
	t        *testing.T
	keys     *wsticket.Keyring
	verifier *wsticket.Verifier
	cache    *wsticket.ReplayCache
	gate     *wsticket.Gate
	mux      *http.ServeMux
	handler  http.Handler
	conn     net.Conn
	h        wsticket.Handshake
	now      time.Time
	server   http.Server
	logged   func(http.Handler) http.Handler
)
`

// wrapSnippet makes statements of a snippet: of a field, a literal or statements.
func wrapSnippet(code string) (string, error) {
	if regexp.MustCompile(`^[A-Z]\w*: `).MatchString(code) {
		config := "UpgraderConfig"
		if strings.Contains(code, "*http.Request") {
			config = "GateConfig"
		}
		return "_ = wsticket." + config + "{\n" + code + "}\n", nil
	}
	if _, err := parser.ParseExpr(code); err == nil && !strings.Contains(code, "(") {
		return "_ = " + code, nil
	}
	file, err := parser.ParseFile(token.NewFileSet(), "", "package p\nfunc _() {\n"+code+"}\n", 0)
	if err != nil {
		return "", err
	}
	// What a snippet declares it need not use.
	for _, s := range file.Decls[0].(*ast.FuncDecl).Body.List {
		if a, ok := s.(*ast.AssignStmt); ok && a.Tok == token.DEFINE {
			for _, to := range a.Lhs {
				if name := to.(*ast.Ident).Name; name != "_" {
					code += "_ = " + name + "\n"
				}
			}
		}
	}
	return code, nil
}
