package wsticket

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"
)

func partsOf(r *http.Request) Parts {
	return Parts{Method: r.Method, Target: r.RequestURI, Proto: r.Proto, Host: r.Host, Headers: linesOf(r.Header)}
}

func linesOf(h http.Header) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for name, values := range h {
			for _, value := range values {
				if !yield(strings.ToLower(name), value) {
					return
				}
			}
		}
	}
}

func TestFinder(t *testing.T) {
	k := newGateKit(t)
	finder, err := NewFinder(FinderConfig{Origins: []string{"https://app.example"}, Protocols: []string{"app.v1"},
		Carriers: CarrierQuery | CarrierSubprotocol | CarrierBearer | CarrierCookie})
	if err != nil {
		t.Fatal(err)
	}
	T := k.mint(t)
	for _, c := range []struct {
		name    string
		request *http.Request
		carrier Carriers
		query   string
		header  string
		lines   []string
	}{
		{"query", handshakeOf("/ws?a=1&ticket=" + T), CarrierQuery, "a=1", "", nil},
		{"protocol", handshakeOf("/ws?a=1", "Sec-Websocket-Protocol", "app.v1, ticket."+T, "Sec-Websocket-Protocol", "app.v2"), CarrierSubprotocol, "a=1", "Sec-WebSocket-Protocol", []string{"app.v1", "app.v2"}},
		{"bearer", handshakeOf("/ws", "Authorization", "Bearer "+T), CarrierBearer, "", "Authorization", nil},
		{"cookie", handshakeOf("/ws", "Cookie", "a=1; __Host-ws-ticket="+T), CarrierCookie, "", "Cookie", []string{"a=1"}},
	} {
		found, err := finder.Find(partsOf(c.request))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if string(found.Ticket) != T || string(found.Path) != "/ws" || string(found.Origin) != "https://app.example" ||
			found.Carrier != c.carrier || found.Query != c.query || found.Header != c.header || !slices.Equal(found.Lines, c.lines) {
			t.Errorf("%s: %q %q %+v", c.name, found.Path, found.Origin, []any{found.Carrier, found.Query, found.Header, found.Lines})
		}
		if wants := c.name == "protocol"; (found.Protocol == "app.v1") != wants {
			t.Errorf("%s: selects %q", c.name, found.Protocol)
		}
		parts := partsOf(c.request)
		logged := new(strings.Builder)
		slog.New(slog.NewTextHandler(logged, nil)).Info("x", "found", found, "parts", parts)
		encoded, err := json.Marshal([]any{found, parts})
		if text := fmt.Sprintf("%v %+v %#v %d %v %+v %#v %s %s", found, found, &found, found, parts, &parts, parts, logged, encoded); err != nil || strings.Contains(text, T) || strings.Contains(text, fmt.Sprint([]byte(T))[1:50]) {
			t.Errorf("%s: it prints the ticket: %v %s", c.name, err, text)
		}
		var ticket Ticket
		if err := k.config.Verifier.Peek(found.Request, &ticket); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := NewFinder(FinderConfig{Carriers: 128, Origins: []string{"x"}}); err == nil {
		t.Error("a faulty configuration is taken")
	}
}

// TestFinderAsGate: the verdicts, the answers and what is left of a request are those
// of a Gate.
func TestFinderAsGate(t *testing.T) {
	k := newGateKit(t)
	k.config.Carriers = CarrierQuery | CarrierSubprotocol | CarrierBearer | CarrierCookie
	var verdict error
	k.config.OnRefuse = func(_ *http.Request, r Refusal) { verdict = r.Code }
	gate, err := NewGate(k.config)
	if err != nil {
		t.Fatal(err)
	}
	finder, err := NewFinder(FinderConfig{Origins: k.config.Origins, Protocols: k.config.Protocols, Carriers: k.config.Carriers})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gate.Wrap(k))
	defer server.Close()
	change := func(f func(*http.Request)) func(string) *http.Request {
		return func(T string) *http.Request { r := handshakeOf("/ws?ticket=" + T); f(r); return r }
	}
	for name, make := range map[string]func(T string) *http.Request{
		"good":     change(func(r *http.Request) {}),
		"none":     func(string) *http.Request { return handshakeOf("/ws") },
		"two":      change(func(r *http.Request) { r.Header.Add("Cookie", "__Host-ws-ticket=x") }),
		"tampered": func(T string) *http.Request { return handshakeOf("/ws?ticket=" + T[:len(T)-2]) },
		"cookie, foreign": func(T string) *http.Request {
			r := handshakeOf("/ws", "Cookie", "__Host-ws-ticket="+T)
			r.Header.Del("Origin")
			return r
		},
		"origin":        change(func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }),
		"two origins":   change(func(r *http.Request) { r.Header.Add("Origin", "https://app.example") }),
		"post":          change(func(r *http.Request) { r.Method = "POST" }),
		"no upgrade":    change(func(r *http.Request) { r.Header.Del("Upgrade") }),
		"version 8":     change(func(r *http.Request) { r.Header.Set("Sec-Websocket-Version", "8") }),
		"no key":        change(func(r *http.Request) { r.Header.Del("Sec-Websocket-Key") }),
		"bad key":       change(func(r *http.Request) { r.Header.Set("Sec-Websocket-Key", "x") }),
		"no connection": change(func(r *http.Request) { r.Header.Set("Connection", "close") }),
		"bad protocols": change(func(r *http.Request) { r.Header.Set("Sec-Websocket-Protocol", "a b") }),
		"ticket only":   func(T string) *http.Request { return handshakeOf("/ws", "Sec-Websocket-Protocol", "ticket."+T) },
	} {
		byGate, byFinder := make(k.mint(t)), make(k.mint(t))
		// The Gate, through a server.
		verdict = nil
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		byGate.Host = "gateway.example"
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: gateway.example\r\n", byGate.Method, byGate.RequestURI)
		byGate.Header.Write(conn)
		io.WriteString(conn, "\r\n")
		answer, err := http.ReadResponse(bufio.NewReader(conn), byGate)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, _ := io.ReadAll(answer.Body)
		conn.Close()

		byFinder.Host = "gateway.example"
		found, err := finder.Find(partsOf(byFinder))
		if err == nil {
			err = k.config.Verifier.Redeem(context.Background(), found.Request, new(Ticket))
		}
		got, _ := CodeOf(err)
		want, _ := CodeOf(verdict)
		if got != want {
			t.Errorf("%s: %v, want %v", name, err, verdict)
		}
		if err == nil {
			continue
		}
		a := AnswerTo(err)
		if a.Status != answer.StatusCode || a.Body != string(body) {
			t.Errorf("%s: %d %s, want %d %s", name, a.Status, a.Body, answer.StatusCode, body)
		}
		for _, h := range a.Header {
			if h[0] != "Connection" && answer.Header.Get(h[0]) != h[1] {
				t.Errorf("%s: %q, want %q", name, h, answer.Header.Get(h[0]))
			}
		}
	}
}

func TestFinderAnyRequest(t *testing.T) {
	k := newGateKit(t)
	finder, err := NewFinder(FinderConfig{AnyRequest: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Parts{
		{Method: "GET", Target: "/events?ticket=" + k.mint(t), Proto: "HTTP/2.0", Host: "h"},
		{Method: "POST", Target: "/rpc?ticket=" + k.mint(t), Proto: "HTTP/1.1", Host: "h"},
	} {
		if found, err := finder.Find(p); err != nil || found.Query != "" {
			t.Errorf("%s: %q, %v", p.Target[:5], found.Query, err)
		}
	}
	for _, p := range []Parts{{}, {Method: "GET", Proto: "HTTP/1.1", Target: "\x00"}} {
		if _, err := finder.Find(p); err == nil {
			t.Errorf("%q is taken", p.Target)
		}
	}
	if a := AnswerTo(io.EOF); a.Status != 503 {
		t.Errorf("%+v", a)
	}
}

func FuzzFinder(f *testing.F) {
	finder, err := NewFinder(FinderConfig{Carriers: 15, Protocols: []string{"app.v1"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("GET", "/ws?ticket=x", "HTTP/1.1", "h", "Cookie", "__Host-ws-ticket=x")
	f.Add("GET", "/ws", "HTTP/1.1", "h", "Sec-WebSocket-Protocol", "app.v1, ticket.x,")
	f.Add("", "http://h/?ticket=x#", "HTTP/1.", "", "\x00", "\r\n")
	f.Fuzz(func(t *testing.T, method, target, proto, host, name, value string) {
		r := handshakeOf("/")
		r.Header.Del("Origin")
		p := Parts{Method: method, Target: target, Proto: proto, Host: host, Headers: func(yield func(name, value string) bool) {
			for n, v := range linesOf(r.Header) {
				if !yield(n, v) {
					return
				}
			}
			yield(name, value)
		}}
		found, err := finder.Find(p)
		if err != nil {
			if _, ok := CodeOf(err); !ok {
				t.Fatalf("no code: %v", err)
			}
			return
		}
		if found.Ticket == nil || found.Carrier == 0 || !strings.HasPrefix(string(found.Path), "/") {
			t.Fatalf("%v %q", found.Carrier, found.Path)
		}
	})
}

// TestFoundOwnsItsBytes: of the parts, which a server such as fasthttp may write the next
// request over, nothing is kept. Only unsafe lends a string; nothing but this test has it.
func TestFoundOwnsItsBytes(t *testing.T) {
	k := newGateKit(t)
	finder, err := NewFinder(FinderConfig{Origins: k.config.Origins, Protocols: k.config.Protocols, Carriers: CarrierQuery | CarrierSubprotocol | CarrierCookie})
	if err != nil {
		t.Fatal(err)
	}
	T := k.mint(t)
	for name, r := range map[string]*http.Request{
		"query":    handshakeOf("/ws?a=1&ticket=" + T),
		"protocol": handshakeOf("/ws?a=1", "Sec-Websocket-Protocol", "app.v1, ticket."+T, "Sec-Websocket-Protocol", "app.v2"),
		"cookie":   handshakeOf("/ws?a=1", "Cookie", "b=2; __Host-ws-ticket="+T, "Cookie", "c=3"),
	} {
		var memory [][]byte
		lend := func(text string) string {
			b := []byte(text)
			memory = append(memory, b)
			return unsafe.String(unsafe.SliceData(b), len(b))
		}
		parts := Parts{Method: lend(r.Method), Target: lend(r.RequestURI), Proto: lend(r.Proto), Host: lend(r.Host), Headers: func(yield func(name, value string) bool) {
			for n, v := range linesOf(r.Header) {
				if !yield(lend(n), lend(v)) {
					return
				}
			}
		}}
		found, err := finder.Find(parts)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		shown := func() string {
			return fmt.Sprint(string(found.Ticket), string(found.Path), string(found.Origin), []any{found.Protocol, found.Query, found.Header, found.Lines})
		}
		before := shown()
		for _, b := range memory {
			for i := range b {
				b[i] = 'x'
			}
		}
		if after := shown(); after != before {
			t.Errorf("%s: what was found has changed from %s to %s", name, strings.ReplaceAll(before, T, "TICKET"), strings.ReplaceAll(after, T, "TICKET"))
		}
	}
}

// Rules of a Gate that the ticket alone does not show are a Finder's too.
func TestFinderIsAGateway(t *testing.T) {
	k := newGateKit(t)
	finder, err := NewFinder(FinderConfig{Origins: k.config.Origins})
	if err != nil {
		t.Fatal(err)
	}
	verdict := func(p Parts) error {
		found, err := finder.Find(p)
		if err == nil {
			err = k.config.Verifier.Redeem(context.Background(), found.Request, new(Ticket))
		}
		return err
	}
	for path, want := range map[string]error{"/a/..;/b": ErrPath, "/a/%2e%2e%3b/b": ErrPath, "/a/b;x": nil} {
		ticket, err := k.signer.Sign(&Claims{Subject: "ada", Path: "/a/*"})
		if err != nil {
			t.Fatal(err)
		}
		if err := verdict(partsOf(handshakeOf(path + "?ticket=" + ticket))); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
		if err := verdict(partsOf(handshakeOf(path + "?ticket=" + k.mint(t)))); err != nil {
			t.Errorf("%s, not bound: %v", path, err)
		}
	}
	for _, c := range []struct {
		lines []string
		want  error
	}{
		{[]string{"0"}, nil}, {[]string{"0", "0"}, ErrBadHandshake}, {[]string{"1"}, ErrBadHandshake}, {[]string{"00"}, ErrBadHandshake}, {[]string{"0, 0"}, ErrBadHandshake},
	} {
		r := handshakeOf("/?ticket=" + k.mint(t))
		r.Header["Content-Length"] = c.lines
		if err := verdict(partsOf(r)); !errors.Is(err, c.want) {
			t.Errorf("Content-Length %q: %v, want %v", c.lines, err, c.want)
		}
	}
}
