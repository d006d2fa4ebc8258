package head

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

var heads = []string{
	chrome, firefox, safari, plain,
	with("", "Connection: keep-alive\r\n"),
	with("/ ", "/a%2fb/../c?ticket=x&y#z "), with("/ ", "//h/%00 "), with("/ ", "/a;b?c?d "),
	with("", "A: b\r\n c\r\n"), with("", "A : b\r\n"), with("", "A: \x00\r\n"), with("Host: h", "Host:"),
	strings.ReplaceAll(plain, "\r\n", "\n"), with("HTTP/1.1", "HTTP/1.?"), with("", "Content-Length: 3\r\n") + "abc", with("", "Content-Length: 0\r\n"),
	with("/ ", "http://h/a%20b?c "), with("/ ", "hTTps://h?c/d "), with("/ ", "http://h "), with("/ ", "http://h@i/ "), with("/ ", "http:///h "),
	with("Connection: Upgrade", "Connection: \"upgrade\", upgrade"), with("Connection: Upgrade", "Connection: (upgrade"),
	with("Connection: Upgrade", "Connection: a/b, upgrade"), with("Connection: Upgrade", "Connection: ,,upgrade ,"),
}

// memory is a connection that gives in and takes out.
type memory struct {
	in  io.Reader
	out bytes.Buffer
}

func (m *memory) Read(p []byte) (int, error)  { return m.in.Read(p) }
func (m *memory) Write(p []byte) (int, error) { return m.out.Write(p) }

// FuzzScan: what is accepted here gobwas accepts too, with the same Accept value,
// and net/http sees the same request in it; and how the bytes were cut into reads
// changes nothing.
func FuzzScan(f *testing.F) {
	for _, in := range heads {
		f.Add([]byte(in), uint16(len(in)/2))
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		if len(in) > MaxBytes {
			return
		}
		var h, pieces Head
		done := scanAll(&h, in)
		mid := int(cut) % (len(in) + 1)
		if again := scanAll(&pieces, in, mid); again != done || pieces.Fault() != h.Fault() || pieces.End != h.End ||
			pieces.Path != h.Path || pieces.Query != h.Query || len(pieces.Fields) != len(h.Fields) {
			t.Fatalf("cut at %d: %v %+v, whole: %v %+v", mid, again, pieces, done, h)
		}
		if !done || h.Fault() != NoFault {
			return
		}
		head := in[:h.End]
		checkGobwas(t, &h, head)
		checkNetHTTP(t, &h, head)
	})
}

func checkGobwas(t *testing.T, h *Head, head []byte) {
	t.Helper()
	connections := 0
	for _, f := range h.Fields {
		if f.Kind == Connection {
			connections++
		}
	}
	if connections > 1 {
		return // gobwas wants upgrade in each of them
	}
	conn := &memory{in: bytes.NewReader(head)}
	var uri, host string
	n := 0
	_, err := ws.Upgrader{
		ReadBufferSize: len(head) + 16,
		OnRequest:      func(u []byte) error { uri = string(u); return nil },
		OnHost:         func(h []byte) error { host = string(h); return nil },
		OnHeader:       func(_, _ []byte) error { n++; return nil },
	}.Upgrade(conn)
	if err != nil {
		t.Fatalf("gobwas refuses what was accepted: %v\n%q", err, head)
	}
	sw := NewSwitching("", "")
	if got := sw.Append(nil, h.Key.Of(head)); !bytes.Equal(got, conn.out.Bytes()) {
		t.Fatalf("answers %q, gobwas %q", got, conn.out.Bytes())
	}
	authority, path, query, _ := cutTarget(uri)
	if string(h.Path.Of(head)) != path || string(h.Query.Of(head)) != query {
		t.Fatalf("path %q, query %q, gobwas's target %q", h.Path.Of(head), h.Query.Of(head), uri)
	}
	if authority != "" && authority != host {
		t.Fatalf("a target of another host than %q, gobwas's target %q", host, uri)
	}
	if host != string(h.Host.Of(head)) {
		t.Fatalf("host %q, gobwas %q", h.Host.Of(head), host)
	}
}

// cutTarget is SplitTarget in other words.
func cutTarget(target string) (authority, path, query string, ok bool) {
	if m := absoluteForm.FindStringSubmatch(target); m != nil {
		authority, target = m[1], m[2]
		if !strings.HasPrefix(target, "/") {
			target = "/" + target
		}
	}
	path, query, _ = strings.Cut(target, "?")
	return authority, path, query, strings.HasPrefix(path, "/")
}

var absoluteForm = regexp.MustCompile(`^(?i:https?)://([^/?%]+)([/?].*|)$`)

func checkNetHTTP(t *testing.T, h *Head, head []byte) {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if _, bad := url.Parse("http://" + string(h.authority.Of(head))); err != nil && bad != nil {
		return // of a Host such as "[", which it takes, in a target it is particular
	}
	if err != nil {
		t.Fatalf("net/http refuses what was accepted: %v\n%q", err, head)
	}
	path := string(h.Path.Of(head))
	decoded, err := url.PathUnescape(path)
	if err != nil || decoded != r.URL.Path && !(path == "/" && r.URL.Path == "" && r.URL.Host != "") {
		t.Fatalf("path %q decodes to %q, %v; net/http has %q", path, decoded, err, r.URL.Path)
	}
	if got := string(h.Query.Of(head)); got != r.URL.RawQuery {
		t.Fatalf("query %q, net/http %q", got, r.URL.RawQuery)
	}
	if got := string(h.Host.Of(head)); got != r.Host {
		t.Fatalf("host %q, net/http %q", got, r.Host)
	}
	want := map[string][]string{}
	for _, f := range h.Fields {
		name := http.CanonicalHeaderKey(string(f.Name.Of(head)))
		want[name] = append(want[name], string(f.Value.Of(head)))
	}
	delete(want, "Host")
	for name, values := range want {
		if strings.Join(values, "\x00") != strings.Join(r.Header[name], "\x00") {
			t.Fatalf("%s: %q, net/http %q", name, values, r.Header[name])
		}
	}
	if want["Pragma"] != nil && want["Cache-Control"] == nil {
		delete(r.Header, "Cache-Control") // net/http adds it for old clients
	}
	if len(want) != len(r.Header) {
		t.Fatalf("headers %v, net/http %v", want, r.Header)
	}
}

// FuzzTarget: a target is split as a regular expression splits it, its parts lie
// within it, and net/url reads the same path and query from it.
func FuzzTarget(f *testing.F) {
	for _, target := range []string{"/", "/a?b?c", "http://h", "http://h?q", "https://h:8443/a%2Fb?c", "HTTP://h//", "http://", "http://?", "*", "h:80", "//h/a", "/%zz", "ws://h/"} {
		f.Add([]byte(target))
	}
	f.Fuzz(func(t *testing.T, target []byte) {
		got, ok := SplitTarget(target)
		authority, path, query, want := cutTarget(string(target))
		if !ok {
			return
		}
		if !want || string(got.Authority) != authority || string(got.Path) != path || string(got.Query) != query {
			t.Fatalf("%q is split into %q, %q, %q", target, got.Authority, got.Path, got.Query)
		}
		if authority != "" && !ValidHost(authority) {
			return // it equals no Host
		}
		u, err := url.ParseRequestURI(string(target))
		if err != nil && authority != "" {
			return // a host that net/url refuses, such as one with half a bracket
		}
		decoded, unescapeErr := url.PathUnescape(path)
		if err != nil || unescapeErr != nil || u.RawQuery != query || u.Path != decoded && !(authority != "" && u.Path == "" && path == "/") {
			t.Fatalf("%q: path %q, query %q, net/url %v, %v", target, path, query, u, err)
		}
	})
}
