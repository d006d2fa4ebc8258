package gateway

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLoadOrder(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	write(t, file, `# comment
listen: 127.0.0.1:1
origin: [https://a.example, https://b.example]
max-ttl: 30s
peak: 7
keys: file.json
protocols: app.v1,app.v2
single-use: redis://user:hunter2@store:6379/0
`)
	l, err := Load([]string{"-config", file, "-listen", "127.0.0.1:3", "-aud", "x", "-aud", "y"},
		[]string{"WSTICKET_LISTEN=127.0.0.1:2", "WSTICKET_PEAK=8", "WSTICKET_ORIGIN=https://c.example", "OTHER=1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l.Listen != "127.0.0.1:3" || l.Peak != 8 || l.MaxTTL != 30*time.Second || strings.Join(l.Origins, " ") != "https://c.example" ||
		strings.Join(l.Audiences, " ") != "x y" || strings.Join(l.Protocols, " ") != "app.v1 app.v2" || l.Timeout != 5*time.Second {
		t.Errorf("%+v", l.Config)
	}
	var printed strings.Builder
	if err := l.Print(&printed); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"listen: 127.0.0.1:3", "# flag", "peak: 8", "# environment WSTICKET_PEAK", "max-ttl: 30s", "gateway.yaml:4", "timeout: 5s", "# default"} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("no %q in\n%s", want, printed.String())
		}
	}
	if strings.Contains(printed.String(), "hunter2") {
		t.Errorf("the password is printed:\n%s", printed.String())
	}
	// What is printed is a file of the same meaning.
	again := filepath.Join(t.TempDir(), "again.yaml")
	write(t, again, strings.ReplaceAll(printed.String(), "xxxxx", "hunter2"))
	l2, err := Load([]string{"-config", again}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var reprinted strings.Builder
	l2.Print(&reprinted)
	values := func(s string) (all string) {
		for line := range strings.Lines(s) {
			value, _, _ := strings.Cut(line, " #")
			all += strings.TrimSpace(value) + "\n"
		}
		return all
	}
	if values(printed.String()) != values(reprinted.String()) {
		t.Errorf("%s\nis not\n%s", reprinted.String(), printed.String())
	}
}

func TestLoadFaults(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	write(t, file, "lisen: 1\norigins: https://a.example\npeak: many\nmax_ttl: 3s\ntimeout: 5\nkeys: [a, b]\naud: {a: b}\nlisten: a\nlisten: b\n")
	_, err := Load([]string{"-config", file, "-leeway", "2"}, []string{"WSTICKET_DRAIN=soon"}, nil)
	if err == nil {
		t.Fatal("no fault")
	}
	for _, want := range []string{`:1: there is no setting "lisen"`, "did you mean origin?", `peak (` + file + `:3): "many"`, "did you mean max-ttl?", "write it with its unit",
		"keys: want one value", "aud: want a text or a list", "listen is given twice", "leeway (flag)", "drain (environment WSTICKET_DRAIN)"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
	// The rest can be looked at as well, unless none of it was read.
	l, err := Load([]string{"-peak", "many", "-aud", "x"}, nil, nil)
	if err == nil || l == nil || l.Audiences[0] != "x" {
		t.Errorf("%v, %v", l, err)
	}
	two := filepath.Join(t.TempDir(), "two.yaml")
	write(t, two, "aud: x\n---\npeak: 7\n")
	if l, err := Load([]string{"-config", two}, nil, nil); err == nil || l != nil {
		t.Errorf("of two documents: %v, %v", l, err)
	}
	if _, err := Load([]string{"-key", "a"}, nil, nil); err == nil || !strings.HasSuffix(err.Error(), "did you mean keys?") {
		t.Error(err)
	}
	for _, args := range [][]string{{"-nonsense"}, {"extra"}, {"-config", "/nowhere"}, {"-listen", "a", "-listen", "b"}} {
		if _, err := Load(args, nil, nil); err == nil {
			t.Errorf("%v passes", args)
		}
	}
	var help bytes.Buffer
	if _, err := Load([]string{"-h"}, nil, &help); !errors.Is(err, flag.ErrHelp) {
		t.Error(err)
	}
	for _, o := range options {
		if !strings.Contains(help.String(), "  -"+o.name+" ") {
			t.Errorf("the help does not tell of -%s", o.name)
		}
	}
}

// FuzzLoadFile: no file makes it panic, or hide a fault.
func FuzzLoadFile(f *testing.F) {
	f.Add("listen: a\norigin: [b, c]\n")
	f.Add("a: &x {b: *x}\n")
	f.Add("- 1\n")
	f.Fuzz(func(t *testing.T, content string) {
		file := filepath.Join(t.TempDir(), "g.yaml")
		write(t, file, content)
		Load([]string{"-config", file}, nil, nil)
	})
}

func write(t testing.TB, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
