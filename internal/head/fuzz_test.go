package head

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

var heads = []string{
	chrome, firefox, safari, plain,
	with("", "Connection: keep-alive\r\n"),
	with("/ ", "/a%2fb/../c?ticket=x&y#z "), with("/ ", "//h/%00 "), with("/ ", "/a;b?c?d "),
	with("", "A: b\r\n c\r\n"), with("", "A : b\r\n"), with("", "A: \x00\r\n"), with("Host: h", "Host:"),
	strings.ReplaceAll(plain, "\r\n", "\n"), with("HTTP/1.1", "HTTP/1.?"), with("", "Content-Length: 3\r\n") + "abc",
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
	if got := string(h.Path.Of(head)); uri != got && uri != got+"?"+string(h.Query.Of(head)) {
		t.Fatalf("target %q, gobwas %q", got, uri)
	}
	if host != string(h.Host.Of(head)) {
		t.Fatalf("host %q, gobwas %q", h.Host.Of(head), host)
	}
}

func checkNetHTTP(t *testing.T, h *Head, head []byte) {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		t.Fatalf("net/http refuses what was accepted: %v\n%q", err, head)
	}
	path := string(h.Path.Of(head))
	decoded, err := url.PathUnescape(path)
	if err != nil || decoded != r.URL.Path {
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
