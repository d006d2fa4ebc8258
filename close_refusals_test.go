package wsticket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// closeRefusals turns them on.
func closeRefusals(c *UpgraderConfig) { c.CloseRefusals = true }

// closeFrame is a whole answer: a 101 and a close frame.
func closeFrame(protocol string, number int, reason string) string {
	if protocol != "" {
		protocol = "Sec-WebSocket-Protocol: " + protocol + "\r\n"
	}
	return switching + protocol + "\r\n\x88" + string([]byte{byte(2 + len(reason)), byte(number >> 8), byte(number)}) + reason
}

// TestCloseCode: what docs/embedding.md, docs/client.md and IANA's registry say.
func TestCloseCode(t *testing.T) {
	page, err := os.ReadFile("docs/embedding.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range Codes() {
		want := map[Class]uint16{ClassInvalidTicket: 3000, ClassForbidden: 3003, ClassBadRequest: 3003, ClassUnavailable: 1013}[code.Class()]
		class := string(code.Class())
		if code == ErrTimeout {
			want, class = 3008, "unavailable"
		}
		if got := code.CloseCode(); got != want {
			t.Errorf("%s: %d, want %d", code.Code(), got, want)
		}
		if row := fmt.Sprintf("| %d | `%s` |", want, class); !strings.Contains(string(page), row) {
			t.Errorf("docs/embedding.md has no row %s", row)
		}
		if n := len(appendClose(nil, code)); n > maxCloseFrame {
			t.Errorf("%s: the frame has %d bytes, and there is room for %d", code.Code(), n, maxCloseFrame)
		}
	}
}

// A closeCase is a handshake that is refused.
type closeCase struct {
	name string
	head string
	want string
	code Error
}

// closeCases are for a door with CloseRefusals and an AllowOrigin that lets in
// https://asked.example, which is not listed.
func closeCases(t *testing.T, d *door) []closeCase {
	good := func() string { return d.ticket(t, Claims{}) }
	q := func(ticket string, lines ...string) string {
		return request("/?ticket="+ticket, append([]string{fromApp}, lines...)...)
	}
	old, err := d.signer.SignAt(time.Now().Add(-time.Minute), &Claims{Subject: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	const asked = "Origin: https://asked.example"
	return []closeCase{
		{"no ticket", request("/", fromApp), closeFrame("", 3000, "invalid_ticket"), ErrMissing},
		{"malformed", q("a.b.c"), closeFrame("", 3000, "invalid_ticket"), ErrMalformed},
		{"expired", q(old), closeFrame("", 3000, "invalid_ticket"), ErrExpired},
		{"forbidden", q(d.ticket(t, Claims{Path: "/room"})), closeFrame("", 3003, "forbidden"), ErrPath},
		{"bound to another origin", q(d.ticket(t, Claims{Origin: "https://b.example"})), closeFrame("", 3003, "forbidden"), ErrOrigin},
		{"two tickets", q("a&ticket=b"), closeFrame("", 3003, "bad_request"), ErrAmbiguous},
		{"an origin that is asked for", request("/?ticket="+old, asked), closeFrame("", 3000, "invalid_ticket"), ErrExpired},
		{"no room for it", q(d.ticket(t, Claims{Subject: "busy"})), closeFrame("", 1013, "unavailable"), ErrOverloaded},
		{"no from the application", q(d.ticket(t, Claims{Subject: "mallory"})), closeFrame("", 3003, "forbidden"), ErrUnauthorized},
		{"with a protocol", q(old, "Sec-WebSocket-Protocol: other, app.v2, app.v1"), closeFrame("app.v2", 3000, "invalid_ticket"), ErrExpired},
		{"by subprotocol", request("/", fromApp, "Sec-WebSocket-Protocol: app.v1, ticket."+old), closeFrame("app.v1", 3000, "invalid_ticket"), ErrExpired},
		{"by subprotocol, alone", request("/", fromApp, "Sec-WebSocket-Protocol: ticket."+good()), closeFrame("", 3003, "bad_request"), ErrBadHandshake},
		{"by cookie", request("/", fromApp, "Cookie: __Host-ws-ticket="+old), closeFrame("", 3000, "invalid_ticket"), ErrExpired},

		{"a program, which sends no Origin", request("/?ticket=" + old), refusalOf(401), ErrExpired},
		{"a program that sends one", request("/", fromApp, "Authorization: Bearer "+old), refusalOf(401), ErrExpired},
		{"a page that may not", request("/?ticket="+good(), "Origin: https://evil.example"), refusalOf(403), ErrOrigin},
		{"a page of no origin", request("/?ticket="+good(), "Origin: null"), refusalOf(403), ErrOrigin},
		{"a page that may not by cookie", request("/", asked, "Cookie: __Host-ws-ticket="+good()), refusalOf(403), ErrOrigin},
		{"a bad list of protocols", q(good(), "Sec-WebSocket-Protocol: a b"), refusalOf(400), ErrBadHandshake},
		{"POST", strings.Replace(q(good()), "GET", "POST", 1), refusalOf(405), ErrBadHandshake},
		{"no handshake", "GET / HTTP/1.1\r\nHost: gw.example\r\n" + fromApp + "\r\n\r\n", refusalOf(426), ErrBadHandshake},
		{"another version", strings.Replace(q(good()), ": 13", ": 8", 1), refusalOf(426), ErrBadHandshake},
		{"a bad key", strings.Replace(q(good()), sampleKey, "c2hvcnQ=", 1), refusalOf(400), ErrBadHandshake},
		{"a body", q(good(), "Content-Length: 1"), refusalOf(400), ErrBadHandshake},
	}
}

// authorizeByName has a no for some.
func authorizeByName(t *Ticket) error {
	switch string(t.Subject()) {
	case "busy":
		return ErrOverloaded
	case "mallory":
		return errors.New("not today")
	}
	return nil
}

func newCloseDoor(t *testing.T) *door {
	return newDoor(t, func(c *UpgraderConfig) {
		c.CloseRefusals = true
		c.AllowOrigin = func(origin, _ []byte) bool { return string(origin) == "https://asked.example" }
		c.Authorize = func(_ context.Context, h *Handshake) error { return authorizeByName(&h.Ticket) }
	})
}

// writesConn counts the writes.
type writesConn struct {
	*memConn
	writes int
}

func (c *writesConn) Write(p []byte) (int, error) { c.writes++; return c.memConn.Write(p) }

func TestUpgraderCloseRefusals(t *testing.T) {
	d := newCloseDoor(t)
	var told Error
	d.Upgrader.config.OnRefuse = func(r Refusal) { told = r.Code }
	for _, c := range closeCases(t, d) {
		before := d.Stats()
		conn := &writesConn{memConn: newMemConn([]byte(c.head))}
		var h Handshake
		if err := d.Upgrade(context.Background(), conn, &h); !errors.Is(err, c.code) {
			t.Errorf("%s: %v, want %s", c.name, err, c.code.Code())
		}
		if string(conn.out) != c.want {
			t.Errorf("%s: answered %q, want %q", c.name, conn.out, c.want)
		}
		if conn.writes != 1 || !conn.closed {
			t.Errorf("%s: %d writes, closed for writing %v", c.name, conn.writes, conn.closed)
		}
		if after := d.Stats(); told != c.code || after.Refused(c.code) != before.Refused(c.code)+1 || after.Accepted() != 0 {
			t.Errorf("%s: told %v, counted %v", c.name, told, after.Map())
		}
		if len(strings.Trim(string(h.buf), "\x00")) != 0 || h.page || h.Protocol != "" {
			t.Errorf("%s: something is left in the handshake", c.name)
		}
	}
	if d.guard.spent != 0 {
		t.Errorf("%d tickets were spent", d.guard.spent)
	}
	if err := d.Upgrade(context.Background(), newMemConn([]byte(request("/?ticket="+d.ticket(t, Claims{}), fromApp))), new(Handshake)); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

// Bytes that come too early are no browser's, also where they are let pass.
func TestCloseRefusalsEarly(t *testing.T) {
	for _, allow := range []bool{false, true} {
		d := newDoor(t, func(c *UpgraderConfig) { c.CloseRefusals, c.AllowEarly = true, allow })
		conn := newMemConn([]byte(request("/", fromApp) + "\x81\x80mask"))
		err := d.Upgrade(context.Background(), conn, new(Handshake))
		if !strings.HasPrefix(string(conn.out), "HTTP/1.1 40") {
			t.Errorf("allowed %v: %v, answered %q", allow, err, conn.out)
		}
	}
}

// The 101 of a refusal has the header lines of every 101.
func TestCloseRefusalsResponseHeader(t *testing.T) {
	d := newDoor(t, func(c *UpgraderConfig) {
		c.CloseRefusals, c.ResponseHeader = true, http.Header{"X-Node": {strings.Repeat("n", 3000)}}
	})
	conn := newMemConn([]byte(request("/", fromApp, "Sec-WebSocket-Protocol: app.v1")))
	var h Handshake
	if err := d.Upgrade(context.Background(), conn, &h); !errors.Is(err, ErrMissing) {
		t.Fatal(err)
	}
	want := strings.Replace(closeFrame("app.v1", 3000, "invalid_ticket"), "\r\n\r\n", "\r\nX-Node: "+strings.Repeat("n", 3000)+"\r\n\r\n", 1)
	if string(conn.out) != want {
		t.Errorf("answered %q", conn.out)
	}
}

// TestCloseRefusalsAllocs: nothing is allocated where a refusal is told by a close frame.
func TestCloseRefusalsAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	frames := 0
	for _, c := range allocCases(t) {
		if c.want == nil || c.want == ErrOverloaded {
			continue
		}
		config := c.u.config
		config.CloseRefusals = true
		u, err := NewUpgrader(config)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(c.head, "Origin:") {
			c.head = strings.Replace(c.head, "Host: gw.example\r\n", "Host: gw.example\r\n"+fromApp+"\r\n", 1)
		}
		conn := newReplayConn(c.head, false)
		if c.late {
			conn.in = io.MultiReader(conn.in, late{})
		}
		start := conn.in
		var h Handshake
		if n := testing.AllocsPerRun(20, func() {
			conn.rewind()
			conn.in = start
			if err := u.Upgrade(context.Background(), conn, &h); err != c.want && !errors.Is(err, c.want) {
				t.Fatalf("%s: %v", c.name, err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
		if strings.HasPrefix(string(conn.out), switching) {
			frames++
		}
	}
	if frames < 12 {
		t.Errorf("only %d were told by a close frame", frames)
	}
}

// A halfPipe is a connection in memory that can be closed for writing.
type halfPipe struct{ net.Conn }

func (halfPipe) CloseWrite() error { return nil }

// TestCloseRefusalsDeadline: a client that sends on and never closes is read to the
// deadline, and nothing that it sends is answered.
func TestCloseRefusalsDeadline(t *testing.T) {
	for _, half := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d := newDoor(t, closeRefusals)
			client, server := net.Pipe()
			defer client.Close()
			conn := server
			if half {
				conn = halfPipe{server}
			}
			heard := make(chan string)
			var sending sync.WaitGroup
			defer sending.Wait()
			go func() {
				io.WriteString(client, request("/", fromApp))
				var answer [512]byte
				n, _ := client.Read(answer[:])
				sending.Go(func() { // an application that does not know yet, and no end of it
					for {
						if _, err := client.Write([]byte("\x81\x82maskhi")); err != nil {
							return
						}
						time.Sleep(100 * time.Millisecond)
					}
				})
				rest, _ := io.ReadAll(client)
				heard <- string(answer[:n]) + string(rest)
			}()
			start := time.Now()
			if err := d.Upgrade(context.Background(), conn, new(Handshake)); !errors.Is(err, ErrMissing) {
				t.Error(err)
			}
			if took := time.Since(start); took != defaultTimeout {
				t.Errorf("half-closed %v: it took %v", half, took)
			}
			server.Close()
			if got := <-heard; got != closeFrame("", 3000, "invalid_ticket") {
				t.Errorf("half-closed %v: the client heard %q", half, got)
			}
		})
	}
}

// TestCloseRefusalsLate: a refusal that is decided when the time is over.
func TestCloseRefusalsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, func(c *UpgraderConfig) {
			c.CloseRefusals, c.Timeout = true, time.Second
			c.Authorize = func(context.Context, *Handshake) error { time.Sleep(2 * time.Second); return nil }
		})
		client, server := net.Pipe()
		heard := make(chan string)
		go func() {
			io.WriteString(client, request("/?ticket="+d.ticket(t, Claims{}), fromApp))
			answer, _ := io.ReadAll(client)
			heard <- string(answer)
		}()
		if err := d.Upgrade(context.Background(), server, new(Handshake)); !errors.Is(err, ErrTimeout) {
			t.Error(err)
		}
		server.Close()
		if got := <-heard; got != closeFrame("", 3008, "unavailable") {
			t.Errorf("the client heard %q", got)
		}
		if d.guard.spent != 0 {
			t.Error("the ticket is spent")
		}
	})
}

// exchange sends a head to a server and returns all that comes back, until the server
// closes or the answer by a status is whole.
func exchange(t *testing.T, address, head string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	var answer strings.Builder
	for buf := make([]byte, 512); ; {
		n, err := conn.Read(buf)
		answer.Write(buf[:n])
		if err != nil {
			if err != io.EOF {
				t.Errorf("reading the answer: %v", err)
			}
			return answer.String()
		}
		if strings.Contains(answer.String(), "\r\n\r\n{") {
			return answer.String()
		}
		if strings.Contains(answer.String(), "\r\n\r\n\x88") { // as a browser answers it
			conn.Write([]byte("\x81\x82maskhi" + "\x88\x82mask\x03\xe8"))
		}
	}
}

// statusLine is where an answer by status begins.
func statusLine(answer string) string { line, _, _ := strings.Cut(answer, "\r\n"); return line }

func TestGateCloseRefusals(t *testing.T) {
	d := newCloseDoor(t)
	codes := make(chan Error, 1)
	g := newGate(t, d, func(c *GateConfig) {
		c.CloseRefusals, c.AllowOrigin = true, d.config.AllowOrigin
		c.Authorize = func(_ *http.Request, t *Ticket) error { return authorizeByName(t) }
		c.OnRefuse = func(_ *http.Request, r Refusal) { codes <- r.Code }
	})
	let := make(chan bool, 1)
	for name, handler := range map[string]http.Handler{
		"Wrap":            g.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { let <- true })),
		"Redeem, Refuse":  http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, err := g.Redeem(r); g.Refuse(w, r, err) }),
		"Conceal outside": Conceal(g.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { let <- true }))),
	} {
		server := httptest.NewServer(handler)
		defer server.Close()
		for _, c := range closeCases(t, d) {
			before := g.Stats().Refused(c.code)
			got := exchange(t, server.Listener.Addr().String(), c.head)
			if strings.HasPrefix(c.want, switching) {
				if got != c.want {
					t.Errorf("%s: %s: answered %q, want %q", name, c.name, got, c.want)
				}
			} else if statusLine(got) != statusLine(c.want) {
				t.Errorf("%s: %s: answered %q, want %q", name, c.name, got, c.want)
			}
			if got := <-codes; got != c.code || g.Stats().Refused(c.code) != before+1 {
				t.Errorf("%s: %s: told %v, want %v", name, c.name, got, c.code)
			}
		}
	}
	if len(let) > 0 || d.guard.spent != 0 {
		t.Errorf("somebody was let in, or %d tickets were spent", d.guard.spent)
	}
}

// TestGateCloseRefusalsElse: where a close frame cannot be, or must not be.
func TestGateCloseRefusalsElse(t *testing.T) {
	d := newCloseDoor(t)
	g := newGate(t, d, func(c *GateConfig) { c.CloseRefusals, c.AnyRequest = true, true })
	handler := g.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("let in") }))

	w := httptest.NewRecorder() // cannot be hijacked
	handler.ServeHTTP(w, parsed(request("/", fromApp)))
	if w.Code != 401 || !strings.Contains(w.Body.String(), "invalid_ticket") {
		t.Errorf("without a Hijacker: %d %s", w.Code, w.Body)
	}

	hijackable := newHijackable() // an event stream is no handshake
	handler.ServeHTTP(hijackable, parsed("GET / HTTP/1.1\r\nHost: gw.example\r\n"+fromApp+"\r\n\r\n"))
	if hijackable.Code != 401 {
		t.Errorf("an event stream: %d", hijackable.Code)
	}

	hijackable = newHijackable() // Refuse without Redeem
	g.Refuse(hijackable, parsed(request("/", "Origin: https://evil.example")), ErrUnauthorized)
	if hijackable.Code != 403 {
		t.Errorf("a page that may not: %d", hijackable.Code)
	}

	server := httptest.NewServer(handler) // what comes too early is no browser's
	defer server.Close()
	if got := exchange(t, server.Listener.Addr().String(), request("/", fromApp)+"\x81\x80mask"); got != refusalOf(401) {
		t.Errorf("early bytes: %q", got)
	}
	off := newGate(t, d, nil)
	hijackable = newHijackable()
	off.Wrap(handler).ServeHTTP(hijackable, parsed(request("/", fromApp)))
	if hijackable.Code != 401 {
		t.Errorf("without CloseRefusals: %d", hijackable.Code)
	}
}

// TestGateCloseRefusalsDeadline: a page that does not close is not waited for longer
// than the Timeout.
func TestGateCloseRefusalsDeadline(t *testing.T) {
	d := newCloseDoor(t)
	g := newGate(t, d, func(c *GateConfig) { c.CloseRefusals, c.Timeout = true, 300*time.Millisecond })
	returned := make(chan time.Duration, 1)
	handler := g.Wrap(http.NotFoundHandler())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		handler.ServeHTTP(w, r)
		returned <- time.Since(began)
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, request("/", fromApp))
	if got, err := io.ReadAll(conn); err != nil || string(got) != closeFrame("", 3000, "invalid_ticket") {
		t.Errorf("%q, %v", got, err)
	}
	select { // the client stays, half-closed by the server
	case took := <-returned:
		if took < 300*time.Millisecond {
			t.Errorf("the Gate left after %v: what the page still sends would reset the connection", took)
		}
	case <-time.After(20 * time.Second):
		t.Error("the Gate waits for a client that does not close")
	}
}

func TestGateDeny(t *testing.T) {
	d := newDoor(t, nil)
	ticket := d.ticket(t, Claims{Subject: "ada", Path: "/room"})
	calls, own := 0, true
	var g *Gate
	g = newGate(t, d, func(c *GateConfig) {
		c.Deny = func(w http.ResponseWriter, r *http.Request, refusal Refusal) {
			calls++
			if got := fmt.Sprint(r.URL, r.RequestURI, r.Header); strings.Contains(got, ticket) {
				t.Errorf("Deny sees the ticket: %s", got)
			}
			if refusal.Code != ErrPath || string(refusal.Subject) != "ada" || ReasonOf(refusal.Err) == "" || refusal.Remote == nil {
				t.Errorf("refusal %+v", refusal)
			}
			if own {
				w.WriteHeader(http.StatusTeapot)
				io.WriteString(w, string(refusal.Code.Class()))
			} else {
				g.Refuse(w, r, refusal.Err)
			}
		}
	})
	handler := g.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("let in") }))
	for _, c := range carried {
		head := strings.Replace(c.head(ticket), "GET /room", "GET /elsewhere", 1)
		own = true
		w := newHijackable()
		handler.ServeHTTP(w, parsed(head))
		if w.Code != http.StatusTeapot || w.Body.String() != "forbidden" {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
		own = false
		w = newHijackable()
		handler.ServeHTTP(w, parsed(head))
		if w.Code != 403 || !strings.Contains(w.Body.String(), `"forbidden"`) {
			t.Errorf("%s: by Refuse: %d %s", c.name, w.Code, w.Body)
		}
	}
	if want := 2 * len(carried); calls != want || int(g.Stats().Refused(ErrPath)) != want || d.guard.spent != 0 {
		t.Errorf("%d calls, %v, %d spent", calls, g.Stats().Map(), d.guard.spent)
	}
	if _, err := g.Redeem(parsed(request("/x?ticket=" + ticket))); !errors.Is(err, ErrPath) || calls != 2*len(carried) {
		t.Errorf("Redeem: %v, %d calls", err, calls)
	}
}

// With both, the close frame is for pages and Deny for everybody else.
func TestGateDenyAndCloseRefusals(t *testing.T) {
	d := newCloseDoor(t)
	g := newGate(t, d, func(c *GateConfig) {
		c.CloseRefusals = true
		c.Deny = func(w http.ResponseWriter, _ *http.Request, r Refusal) { w.WriteHeader(http.StatusTeapot) }
	})
	server := httptest.NewServer(g.Wrap(http.NotFoundHandler()))
	defer server.Close()
	address := server.Listener.Addr().String()
	if got := exchange(t, address, request("/", fromApp)); got != closeFrame("", 3000, "invalid_ticket") {
		t.Errorf("a page: %q", got)
	}
	if got := exchange(t, address, request("/", "Connection: close")); statusLine(got) != "HTTP/1.1 418 I'm a teapot" {
		t.Errorf("a program: %q", got)
	}
}

// orderConn notes in which order it is read and closed for writing.
type orderConn struct {
	net.Conn
	pieces []string
	order  string
}

func (c *orderConn) Read(p []byte) (int, error) {
	if len(c.pieces) == 0 {
		c.order += "r"
		return 0, io.EOF
	}
	n := copy(p, c.pieces[0])
	c.pieces = c.pieces[1:]
	c.order += "R"
	return n, nil
}

func (c *orderConn) CloseWrite() error { c.order += "W"; return nil }

// TestSeeOffPage: the end comes behind the page's close frame, and at once.
func TestSeeOffPage(t *testing.T) {
	for _, c := range []struct {
		pieces []string
		want   string
	}{
		{[]string{"\x81\x82maskhi", "\x88\x82mask", "\x03\xe8", "more"}, "RRRW"},
		{[]string{"\x81\x82maskhi"}, "RrW"},
		{nil, "rW"},
	} {
		conn := &orderConn{pieces: c.pieces}
		seeOffPage(conn, make([]byte, 64), nil, true)
		if conn.order != c.want {
			t.Errorf("%q: %s, want %s", c.pieces, conn.order, c.want)
		}
	}
	conn := &orderConn{} // nobody waits for a page that was told of a timeout
	seeOffPage(conn, make([]byte, 64), nil, false)
	if conn.order != "W" {
		t.Errorf("after a timeout: %s", conn.order)
	}
}
