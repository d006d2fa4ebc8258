package wsticket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket/internal/answer"
)

// memConn is a connection in memory: it gives what the client sent and takes the
// answer.
type memConn struct {
	net.Conn  // nil: what is not expected panics
	in        io.Reader
	out       []byte
	deadline  time.Time
	remote    net.Addr
	closed    bool // for writing
	readAfter int  // bytes read after the answer
}

func newMemConn(in []byte) *memConn {
	return &memConn{in: bytes.NewReader(in), remote: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}}
}

func (c *memConn) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	if len(c.out) > 0 {
		c.readAfter += n
	}
	return n, err
}
func (c *memConn) Write(p []byte) (int, error)   { c.out = append(c.out, p...); return len(p), nil }
func (c *memConn) SetDeadline(t time.Time) error { c.deadline = t; return nil }
func (c *memConn) RemoteAddr() net.Addr          { return c.remote }
func (c *memConn) CloseWrite() error             { c.closed = true; return nil }

// door is a gateway in miniature: a signer, and a verifier of single use behind
// an Upgrader.
type door struct {
	*Upgrader
	config   UpgraderConfig
	keys     *Keyring
	signer   *Signer
	verifier *Verifier
	guard    *countingGuard
}

// countingGuard counts what reaches the guard.
type countingGuard struct {
	ReplayGuard
	mu    sync.Mutex
	spent int
}

func (g *countingGuard) Spend(ctx context.Context, s Use) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spent++
	return g.ReplayGuard.Spend(ctx, s)
}

func newDoor(t testing.TB, alter func(*UpgraderConfig)) *door {
	t.Helper()
	cache, err := NewReplayCache(ReplayConfig{PeakPerSecond: 1000, Since: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	d := &door{keys: benchKeyring(t, "HS256", 1), guard: &countingGuard{ReplayGuard: cache}}
	if d.signer, err = NewSigner(SignerConfig{Keys: d.keys}); err != nil {
		t.Fatal(err)
	}
	if d.verifier, err = NewVerifier(VerifierConfig{Keys: d.keys, Replay: d.guard}); err != nil {
		t.Fatal(err)
	}
	d.config = UpgraderConfig{
		Verifier:  d.verifier,
		Origins:   []string{"https://app.example"},
		Carriers:  CarrierQuery | CarrierSubprotocol | CarrierBearer | CarrierCookie,
		Protocols: []string{"app.v1", "app.v2"},
	}
	if alter != nil {
		alter(&d.config)
	}
	if d.Upgrader, err = NewUpgrader(d.config); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *door) ticket(t testing.TB, c Claims) string {
	t.Helper()
	if c.Subject == "" {
		c.Subject = "ada"
	}
	ticket, err := d.signer.Sign(&c)
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
	switching    = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + sampleAccept + "\r\n"
)

// request is a handshake for target with these header lines besides its own.
func request(target string, lines ...string) string {
	head := "GET " + target + " HTTP/1.1\r\nHost: gw.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + sampleKey + "\r\n"
	for _, l := range lines {
		head += l + "\r\n"
	}
	return head + "\r\n"
}

const fromApp = "Origin: https://app.example"

// carried are handshakes that bring the ticket by each carrier.
var carried = []struct {
	name string
	head func(ticket string) string
}{
	{"query", func(t string) string { return request("/room?a=1&ticket="+t+"&b=2", fromApp, "Cookie: theme=dark") }},
	{"subprotocol", func(t string) string {
		return request("/room?a=1&b=2", "Sec-WebSocket-Protocol: ticket."+t+", app.v1", fromApp, "Cookie: theme=dark")
	}},
	{"bearer", func(t string) string {
		return request("/room?a=1&b=2", "Authorization: bearer "+t, "Cookie: theme=dark")
	}},
	{"cookie", func(t string) string {
		return request("/room?a=1&b=2", fromApp, "Cookie: theme=dark; __Host-ws-ticket="+t)
	}},
}

func TestUpgradeAccepts(t *testing.T) {
	for _, c := range carried {
		t.Run(c.name, func(t *testing.T) {
			d := newDoor(t, nil)
			ticket := d.ticket(t, Claims{Subject: "ada", Origin: "", Path: "/room"})
			conn := newMemConn([]byte(c.head(ticket)))
			var h Handshake
			if err := d.Upgrade(context.Background(), conn, &h); err != nil {
				t.Fatal(err)
			}
			want, protocol := switching+"\r\n", ""
			if c.name == "subprotocol" {
				protocol = "app.v1"
				want = switching + "Sec-WebSocket-Protocol: app.v1\r\n\r\n"
			}
			if string(conn.out) != want {
				t.Errorf("answered %q, want %q", conn.out, want)
			}
			if !conn.deadline.IsZero() {
				t.Error("the deadline stays")
			}
			if h.Protocol != protocol || h.Extensions != nil || string(h.Ticket.Subject()) != "ada" {
				t.Errorf("protocol %q, extensions %v, subject %q", h.Protocol, h.Extensions, h.Ticket.Subject())
			}
			if string(h.Path()) != "/room" || string(h.Query()) != "a=1&b=2" || string(h.Host()) != "gw.example" {
				t.Errorf("path %q, query %q, host %q", h.Path(), h.Query(), h.Host())
			}
			if got := string(h.Header("COOKIE")); got != "theme=dark" {
				t.Errorf("Cookie is %q", got)
			}
			if c.name == "bearer" && h.Header("Authorization") != nil {
				t.Errorf("Authorization is %q", h.Header("Authorization"))
			}
			if got := string(h.Header("Sec-WebSocket-Protocol")); got != protocol {
				t.Errorf("Sec-WebSocket-Protocol is %q", got)
			}
			n := 0
			for name, value := range h.Headers() {
				if n++; len(name) == 0 || len(value) == 0 {
					t.Errorf("header %q: %q", name, value)
				}
			}
			if want := strings.Count(c.head(""), "\r\n") - 2; n != want && !(c.name == "bearer" && n == want-1) {
				t.Errorf("%d headers, want %d", n, want)
			}
			if bytes.Contains(h.buf, []byte(ticket[len(ticket)-20:])) {
				t.Error("the ticket is still in the head")
			}
			if s := d.Stats(); s.Accepted() != 1 || d.Pending() != 0 || d.guard.spent != 1 {
				t.Errorf("%d accepted, %d pending, %d spent", s.Accepted(), d.Pending(), d.guard.spent)
			}

			again := newMemConn([]byte(c.head(ticket)))
			if err := d.Upgrade(context.Background(), again, &h); !errors.Is(err, ErrReplayed) {
				t.Errorf("the second time: %v", err)
			}
			if h.n != 0 || h.Protocol != "" || h.Ticket.Subject() != nil || h.Header("Host") != nil || len(bytes.Trim(h.buf, "\x00")) != 0 {
				t.Error("the handshake is not empty after an error")
			}
		})
	}
}

// refusalOf is what goes over the wire for a status.
func refusalOf(status int) string { return string(answer.Of(status).Bytes()) }

func TestUpgradeRefuses(t *testing.T) {
	var err error
	d := newDoor(t, nil)
	good := func() string { return d.ticket(t, Claims{}) }
	other, third := newDoor(t, nil), newDoor(t, nil)
	if third.signer, err = NewSigner(SignerConfig{Keys: benchKeyring(t, "HS256", 2)}); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good(), ".")
	late, err := d.signer.SignAt(time.Now().Add(-time.Minute), &Claims{Subject: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	soon, err := d.signer.SignAt(time.Now().Add(time.Minute), &Claims{Subject: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	used := good()
	if err := d.Upgrade(context.Background(), newMemConn([]byte(request("/?ticket="+used))), new(Handshake)); err != nil {
		t.Fatal(err)
	}
	q := func(ticket string, lines ...string) string { return request("/?ticket="+ticket, lines...) }
	bad := func(old, repl string) string {
		head := q(good())
		if !strings.Contains(head, old) {
			panic(old)
		}
		return strings.Replace(head, old, repl, 1)
	}
	for name, c := range map[string]struct {
		head   string
		code   Error
		status int
	}{
		"missing":                 {request("/"), ErrMissing, 401},
		"missing: xticket":        {request("/?xticket=" + good()), ErrMissing, 401},
		"missing: Basic":          {request("/", "Authorization: Basic YTpi"), ErrMissing, 401},
		"ambiguous: twice":        {q(good() + "&ticket=" + good()), ErrAmbiguous, 400},
		"ambiguous: Ticket":       {request("/?Ticket=" + good()), ErrAmbiguous, 400},
		"ambiguous: %74icket":     {request("/?%74icket=" + good()), ErrAmbiguous, 400},
		"ambiguous: two ways":     {q(good(), "Authorization: Bearer "+good()), ErrAmbiguous, 400},
		"ambiguous: two ways, 2":  {q(good(), "Sec-WebSocket-Protocol: app.v1, ticket."+good()), ErrAmbiguous, 400},
		"ambiguous: two ways, 3":  {q(good(), fromApp, "Cookie: __Host-ws-ticket="+good()), ErrAmbiguous, 400},
		"ambiguous: two headers":  {request("/", "Authorization: Bearer "+good(), "Authorization: Bearer "+good()), ErrAmbiguous, 400},
		"ambiguous: two cookies":  {request("/", fromApp, "Cookie: __Host-ws-ticket=a; __Host-ws-ticket=b"), ErrAmbiguous, 400},
		"malformed: empty":        {q(""), ErrMalformed, 401},
		"malformed: no value":     {request("/?ticket"), ErrMalformed, 401},
		"malformed: Bearer":       {request("/", "Authorization: Bearer "), ErrMalformed, 401},
		"malformed: =":            {q(good() + "="), ErrMalformed, 401},
		"malformed: %2E":          {q(strings.Replace(good(), ".", "%2E", 1)), ErrMalformed, 401},
		"malformed: +":            {q("+" + good()), ErrMalformed, 401},
		"malformed: a cookie":     {request("/", fromApp, "Cookie: __Host-ws-ticket="), ErrMalformed, 401},
		"malformed: a protocol":   {request("/", "Sec-WebSocket-Protocol: app.v1, ticket."), ErrMalformed, 401},
		"bad_signature: theirs":   {q(other.ticket(t, Claims{})), ErrBadSignature, 401}, // both call their key the same
		"unknown_key":             {q(third.ticket(t, Claims{})), ErrUnknownKey, 401},
		"bad_signature":           {q(parts[0] + "." + parts[1] + "." + strings.Repeat("A", 43)), ErrBadSignature, 401},
		"expired":                 {q(late), ErrExpired, 401},
		"not_yet_valid":           {q(soon), ErrNotYetValid, 401},
		"replayed":                {q(used), ErrReplayed, 401},
		"audience":                {q(d.ticket(t, Claims{Audiences: []string{"x"}})), ErrAudience, 403},
		"origin: the policy":      {q(good(), "Origin: https://evil.example"), ErrOrigin, 403},
		"origin: null":            {q(good(), "Origin: null"), ErrOrigin, 403},
		"origin: empty":           {q(good(), "Origin:"), ErrOrigin, 403},
		"origin: a suffix":        {q(good(), "Origin: https://app.example.evil"), ErrOrigin, 403},
		"origin: a prefix":        {q(good(), "Origin: https://xapp.example"), ErrOrigin, 403},
		"origin: the claim":       {q(d.ticket(t, Claims{Origin: "https://b.example"}), fromApp), ErrOrigin, 403},
		"origin: the claim, none": {q(d.ticket(t, Claims{Origin: "https://app.example"})), ErrOrigin, 403},
		"origin: cookie, none":    {request("/", "Cookie: __Host-ws-ticket="+good()), ErrOrigin, 403},
		"origin before carriers":  {request("/", "Origin: null"), ErrOrigin, 403},
		"path":                    {q(d.ticket(t, Claims{Path: "/room"})), ErrPath, 403},
		"path: encoded slash":     {request("/a%2fb?ticket=" + d.ticket(t, Claims{Path: "/a/*"})), ErrPath, 403},
		"ip":                      {q(d.ticket(t, Claims{IP: "198.51.100.0/24"})), ErrIP, 403},

		"bad_handshake: no app protocol": {request("/", "Sec-WebSocket-Protocol: ticket."+good()), ErrBadHandshake, 400},
		"bad_handshake: another's":       {request("/", "Sec-WebSocket-Protocol: x, ticket."+good()), ErrBadHandshake, 400},
		"bad_handshake: a bad list":      {q(good(), "Sec-WebSocket-Protocol: a b"), ErrBadHandshake, 400},
		"bad_handshake: before origin":   {q(good(), "Sec-WebSocket-Protocol: a b", "Origin: null"), ErrBadHandshake, 400},
		"bad_handshake: early bytes":     {q(good()) + "\x81", ErrBadHandshake, 400},
		"bad_handshake: bare LF":         {strings.ReplaceAll(q(good()), "\r\n", "\n"), ErrBadHandshake, 400},
		"bad_handshake: folded":          {q(good(), "A: b", " c: d"), ErrBadHandshake, 400},
		"bad_handshake: Host :":          {bad("Host:", "Host :"), ErrBadHandshake, 400},
		"bad_handshake: no name":         {q(good(), ": x"), ErrBadHandshake, 400},
		"bad_handshake: control name":    {q(good(), "a\x01: x"), ErrBadHandshake, 400},
		"bad_handshake: NUL":             {q(good(), "a: \x00"), ErrBadHandshake, 400},
		"bad_handshake: CR":              {q(good(), "a: \rb"), ErrBadHandshake, 400},
		"bad_handshake: two Host":        {q(good(), "Host: gw.example"), ErrBadHandshake, 400},
		"bad_handshake: two keys":        {q(good(), "Sec-WebSocket-Key: "+sampleKey), ErrBadHandshake, 400},
		"bad_handshake: two Origin":      {q(good(), fromApp, fromApp), ErrBadHandshake, 400},
		"bad_handshake: no base64":       {bad(sampleKey, "!!!!IHNhbXBsZSBub25jZQ=="), ErrBadHandshake, 400},
		"bad_handshake: 24, not 16":      {bad(sampleKey, "dGhlIHNhbXBsZSBub25jZQAA"), ErrBadHandshake, 400},
		"bad_handshake: empty Host":      {bad("Host: gw.example", "Host:"), ErrBadHandshake, 400},
		"bad_handshake: empty target":    {bad("GET /?", "GET  /?"), ErrBadHandshake, 400},
		"bad_handshake: *":               {request("*"), ErrBadHandshake, 400},
		"bad_handshake: other host":      {request("http://gw.example:80/?ticket=" + good()), ErrBadHandshake, 400},
		"bad_handshake: other scheme":    {request("ws://gw.example/?ticket=" + good()), ErrBadHandshake, 400},
		"bad_handshake: NUL in target":   {request("/\x00?ticket=" + good()), ErrBadHandshake, 400},
		"bad_handshake: bad escape":      {request("/%zz?ticket=" + good()), ErrBadHandshake, 400},
		"bad_handshake: HTTP/1.?":        {bad("HTTP/1.1", "HTTP/1.?"), ErrBadHandshake, 400},
		"bad_handshake: huge major":      {bad("HTTP/1.1", "HTTP/18446744073709551617.1"), ErrBadHandshake, 400},
		"bad_handshake: a body":          {q(good(), "Content-Length: 1"), ErrBadHandshake, 400},
		"bad_handshake: twice no body":   {q(good(), "Content-Length: 0", "Content-Length: 0"), ErrBadHandshake, 400},
		"bad_handshake: chunked":         {q(good(), "Transfer-Encoding: chunked"), ErrBadHandshake, 400},
		"bad_handshake: half a head":     {q(good())[:60], ErrBadHandshake, 400},
		"bad_handshake: POST":            {bad("GET", "POST"), ErrBadHandshake, 405},
		"bad_handshake: version 8":       {bad(": 13", ": 8"), ErrBadHandshake, 426},
		"bad_handshake: a page":          {"GET / HTTP/1.1\r\nHost: gw.example\r\n\r\n", ErrBadHandshake, 426},
		"bad_handshake: HTTP/1.9":        {bad("HTTP/1.1", "HTTP/1.9"), ErrBadHandshake, 505},
		"bad_handshake: HTTP/1.0":        {bad("HTTP/1.1", "HTTP/1.0"), ErrBadHandshake, 505},
		"bad_handshake: the preface":     {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ErrBadHandshake, 505},
		"head_too_large: headers":        {q(good(), strings.Repeat("a: b\r\n", 59)+"a: b"), ErrHeadTooLarge, 431},
		"head_too_large: bytes":          {padded(t, 16385, good()), ErrHeadTooLarge, 431},
		"head_too_large: a line":         {q(good(), "a: "+strings.Repeat("b", 1<<20)), ErrHeadTooLarge, 431},
	} {
		t.Run(name, func(t *testing.T) {
			spent, before := d.guard.spent, d.Stats()
			readers := []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader}
			if c.code == ErrBadHandshake && strings.HasSuffix(c.head, "\x81") {
				readers[1] = readers[0] // read singly, that byte is not seen, and stays where it is
			}
			for _, r := range readers {
				conn := newMemConn(nil)
				conn.in = r(strings.NewReader(c.head))
				var h Handshake
				err := d.Upgrade(context.Background(), conn, &h)
				if code, _ := CodeOf(err); code != c.code || !errors.Is(err, c.code) {
					t.Fatalf("refused as %v, want %v", err, c.code)
				}
				if string(conn.out) != refusalOf(c.status) {
					t.Fatalf("answered %q, want %q", conn.out, refusalOf(c.status))
				}
				if !conn.closed {
					t.Error("not closed for writing")
				}
				if conn.readAfter > 300<<10 { // 256 KiB, and one read more
					t.Errorf("drained %d bytes", conn.readAfter)
				}
				if name != "head_too_large: a line" {
					if rest, _ := io.ReadAll(conn.in); len(rest) != 0 {
						t.Errorf("%d bytes were not drained", len(rest))
					}
				}
				if h.n != 0 || h.Header("Host") != nil || len(h.Ticket.Payload()) != 0 || len(bytes.Trim(h.buf, "\x00")) != 0 {
					t.Error("the handshake is not empty")
				}
				if conn.deadline.IsZero() {
					t.Error("the deadline was cleared")
				}
			}
			if c.code != ErrReplayed && d.guard.spent != spent {
				t.Error("a ticket was spent")
			}
			if n := d.Stats().Refused(c.code) - before.Refused(c.code); n != 2 || d.Pending() != 0 {
				t.Errorf("counted %d, %d pending", n, d.Pending())
			}
		})
	}
}

// padded is a good handshake of exactly n bytes.
func padded(t testing.TB, n int, ticket string) string {
	t.Helper()
	head := request("/?ticket="+ticket, "Padding: ")
	return strings.Replace(head, "Padding: ", "Padding: "+strings.Repeat("p", n-len(head)), 1)
}

func TestUpgradeLimits(t *testing.T) {
	d := newDoor(t, nil)
	for name, head := range map[string]string{
		"16383 bytes": padded(t, 16383, d.ticket(t, Claims{})),
		"16384 bytes": padded(t, 16384, d.ticket(t, Claims{})),
		"64 headers":  request("/?ticket="+d.ticket(t, Claims{}), strings.Repeat("a: b\r\n", 58)+"a: b"),
	} {
		if err := d.Upgrade(context.Background(), newMemConn([]byte(head)), new(Handshake)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	d = newDoor(t, func(c *UpgraderConfig) { c.HeadBytes, c.MaxHeaders = 600, 8 })
	for name, c := range map[string]struct {
		head string
		want error
	}{
		"600 bytes": {padded(t, 600, d.ticket(t, Claims{})), nil},
		"601 bytes": {padded(t, 601, d.ticket(t, Claims{})), ErrHeadTooLarge},
		"8 headers": {request("/?ticket="+d.ticket(t, Claims{}), "a: b", "a: b", "a: b"), nil},
		"9 headers": {request("/?ticket="+d.ticket(t, Claims{}), "a: b", "a: b", "a: b", "a: b"), ErrHeadTooLarge},
	} {
		if err := d.Upgrade(context.Background(), newMemConn([]byte(c.head)), new(Handshake)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// How the head is cut into reads makes no difference.
func TestUpgradeEverySplit(t *testing.T) {
	d := newDoor(t, nil)
	d.allowReplay(t)
	head := carried[1].head(d.ticket(t, Claims{}))
	var h Handshake
	for cut := range len(head) {
		conn := newMemConn(nil)
		conn.in = io.MultiReader(strings.NewReader(head[:cut]), strings.NewReader(head[cut:]))
		if err := d.Upgrade(context.Background(), conn, &h); err != nil || !strings.HasPrefix(string(conn.out), "HTTP/1.1 101 ") {
			t.Fatalf("cut at %d: %v, %q", cut, err, conn.out)
		}
	}
	conn := newMemConn(nil)
	conn.in = iotest.OneByteReader(strings.NewReader(head))
	if err := d.Upgrade(context.Background(), conn, &h); err != nil {
		t.Fatalf("byte by byte: %v", err)
	}
}

// allowReplay makes d let a ticket in as often as it is shown.
func (d *door) allowReplay(t testing.TB) {
	t.Helper()
	v, err := NewVerifier(VerifierConfig{Keys: d.keys, Replay: DangerouslyAllowReplay})
	if err != nil {
		t.Fatal(err)
	}
	d.config.Verifier = v
	if d.Upgrader, err = NewUpgrader(d.config); err != nil {
		t.Fatal(err)
	}
}

func TestUpgradeEarlyBytes(t *testing.T) {
	d := newDoor(t, func(c *UpgraderConfig) { c.AllowEarly = true })
	var h Handshake
	conn := newMemConn([]byte(carried[0].head(d.ticket(t, Claims{})) + "early"))
	if err := d.Upgrade(context.Background(), conn, &h); err != nil || string(h.Early()) != "early" || cap(h.Early()) != len("early") {
		t.Errorf("%v, %q of %d", err, h.Early(), cap(h.Early()))
	}
	if string(conn.out) != switching+"\r\n" {
		t.Errorf("answered %q", conn.out)
	}
	conn = newMemConn([]byte(carried[0].head(d.ticket(t, Claims{}))))
	if err := d.Upgrade(context.Background(), conn, &h); err != nil || h.Early() != nil {
		t.Errorf("%v, %q", err, h.Early())
	}
}

func TestUpgradeFrames(t *testing.T) {
	d := newDoor(t, nil)
	for _, c := range carried {
		client, server := net.Pipe()
		done := make(chan error, 1)
		go func() {
			defer server.Close()
			var h Handshake
			if err := d.Upgrade(context.Background(), server, &h); err != nil {
				done <- err
				return
			}
			msg, op, err := wsutil.ReadClientData(server)
			if err == nil {
				err = wsutil.WriteServerMessage(server, op, append(h.Ticket.Subject(), msg...))
			}
			done <- err
		}()
		io.WriteString(client, c.head(d.ticket(t, Claims{})))
		head := make([]byte, 4096)
		if n, err := client.Read(head); err != nil || !strings.HasPrefix(string(head[:n]), "HTTP/1.1 101") {
			t.Fatalf("%s: %q, %v", c.name, head[:n], err)
		}
		wsutil.WriteClientText(client, []byte(" says hello"))
		if got, err := wsutil.ReadServerText(client); err != nil || string(got) != "ada says hello" {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		if err := <-done; err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		client.Close()
	}
}

func TestUpgradeAuthorize(t *testing.T) {
	mine := errors.New("not on the list")
	var say error
	var seen string
	d := newDoor(t, func(c *UpgraderConfig) {
		c.Authorize = func(_ context.Context, h *Handshake) error {
			seen = fmt.Sprintf("%s %s %s %s", h.Ticket.Subject(), h.Path(), h.Query(), h.Protocol)
			return say
		}
	})
	ticket := d.ticket(t, Claims{})
	head := request("/room?x=1&ticket="+ticket, "Sec-WebSocket-Protocol: app.v2")
	for _, c := range []struct {
		say    error
		code   Error
		status int
	}{
		{mine, ErrUnauthorized, 403},
		{ErrUnauthorized, ErrUnauthorized, 403},
		{fmt.Errorf("the room is full: %w", ErrOverloaded), ErrOverloaded, 503},
	} {
		say = c.say
		conn := newMemConn([]byte(head))
		err := d.Upgrade(context.Background(), conn, new(Handshake))
		if !errors.Is(err, c.code) || !errors.Is(err, c.say) || string(conn.out) != refusalOf(c.status) {
			t.Errorf("%v: %v, answered %q", c.say, err, conn.out)
		}
		if seen != "ada /room x=1 app.v2" {
			t.Errorf("Authorize saw %q", seen)
		}
	}
	if d.guard.spent != 0 {
		t.Error("a no spent the ticket")
	}
	say = nil
	if err := d.Upgrade(context.Background(), newMemConn([]byte(head)), new(Handshake)); err != nil {
		t.Errorf("the ticket that was not spent: %v", err)
	}
	seen = ""
	if err := d.Upgrade(context.Background(), newMemConn([]byte(request("/?ticket="+d.ticket(t, Claims{Path: "/x"})))), new(Handshake)); !errors.Is(err, ErrPath) || seen != "" {
		t.Errorf("%v; Authorize ran before the bindings held: %q", err, seen)
	}
}

func TestUpgradeAuthorizePanics(t *testing.T) {
	d := newDoor(t, func(c *UpgraderConfig) {
		c.Authorize = func(context.Context, *Handshake) error { panic("mine") }
	})
	var h Handshake
	func() {
		defer func() {
			if r := recover(); r != "mine" {
				t.Errorf("recovered %v", r)
			}
		}()
		d.Upgrade(context.Background(), newMemConn([]byte(carried[0].head(d.ticket(t, Claims{})))), &h)
	}()
	if d.Pending() != 0 || d.guard.spent != 0 {
		t.Errorf("%d pending, %d spent", d.Pending(), d.guard.spent)
	}
	if h.n != 0 || len(bytes.Trim(h.buf, "\x00")) != 0 || len(h.Ticket.Payload()) != 0 || bytes.ContainsFunc(h.Ticket.buf[:], func(r rune) bool { return r != 0 }) {
		t.Error("the handshake is not empty")
	}
}

func TestUpgradeOnRefuse(t *testing.T) {
	type told struct {
		code          Error
		kid, jti, sub string
		age           time.Duration
		remote        string
	}
	var got *told
	d := newDoor(t, func(c *UpgraderConfig) {
		c.OnRefuse = func(r Refusal) {
			if got != nil || !errors.Is(r.Err, r.Code) {
				t.Errorf("told twice, or of %v as %v", r.Err, r.Code)
			}
			got = &told{r.Code, string(r.KeyID), string(r.ID), string(r.Subject), r.Age, r.Remote.String()}
		}
	})
	const kid = "2026-11-21-000"
	late, err := d.signer.SignAt(time.Now().Add(-time.Hour), &Claims{Subject: "ada", ID: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	bound := d.ticket(t, Claims{ID: "n2", Path: "/x"})
	for name, c := range map[string]struct {
		head string
		want told
		age  time.Duration
	}{
		"missing":       {request("/"), told{code: ErrMissing}, 0},
		"bad_signature": {request("/?ticket=" + late[:len(late)-43] + strings.Repeat("A", 43)), told{code: ErrBadSignature}, 0},
		"expired":       {request("/?ticket=" + late), told{code: ErrExpired, kid: kid, jti: "n1", sub: "ada"}, time.Hour},
		"path":          {request("/?ticket=" + bound), told{code: ErrPath, kid: kid, jti: "n2", sub: "ada"}, 0},
		"bad_handshake": {"GET / HTTP/1.1\r\n\r\n", told{code: ErrBadHandshake}, 0},
	} {
		got = nil
		d.Upgrade(context.Background(), newMemConn([]byte(c.head)), new(Handshake))
		if got == nil {
			t.Errorf("%s: not told", name)
			continue
		}
		if got.age < c.age-2*time.Second || got.age > c.age+2*time.Second {
			t.Errorf("%s: age %v, want about %v", name, got.age, c.age)
		}
		got.age, c.want.remote = 0, "192.0.2.7:4711"
		if *got != c.want {
			t.Errorf("%s: told %+v, want %+v", name, *got, c.want)
		}
	}
	got = nil
	if err := d.Upgrade(context.Background(), newMemConn(nil), new(Handshake)); !errors.Is(err, io.EOF) || got != nil {
		t.Errorf("a connection that says nothing: %v, told %v", err, got)
	}
	if _, ok := CodeOf(d.Upgrade(context.Background(), newMemConn(nil), new(Handshake))); ok {
		t.Error("it has a code")
	}
}

func TestUpgradePeerAddr(t *testing.T) {
	d := newDoor(t, nil)
	if err := d.Upgrade(context.Background(), newMemConn([]byte(request("/?ticket="+d.ticket(t, Claims{IP: "192.0.2.0/24"})))), new(Handshake)); err != nil {
		t.Error(err)
	}
	pipe := newMemConn([]byte(request("/?ticket=" + d.ticket(t, Claims{IP: "192.0.2.0/24"}))))
	pipe.remote = &net.UnixAddr{Name: "@", Net: "unix"}
	if err := d.Upgrade(context.Background(), pipe, new(Handshake)); !errors.Is(err, ErrIP) {
		t.Errorf("a peer without an address: %v", err)
	}
	forwarded := request("/?ticket="+d.ticket(t, Claims{IP: "198.51.100.1"}), "X-Forwarded-For: 198.51.100.1", "Forwarded: for=198.51.100.1")
	if err := d.Upgrade(context.Background(), newMemConn([]byte(forwarded)), new(Handshake)); !errors.Is(err, ErrIP) {
		t.Errorf("a header was believed: %v", err)
	}
	d.config.PeerAddr = func(_ net.Conn, h *Handshake) netip.Addr {
		addr, _ := netip.ParseAddr(string(h.Header("X-Forwarded-For")))
		return addr
	}
	d.Upgrader, _ = NewUpgrader(d.config)
	if err := d.Upgrade(context.Background(), newMemConn([]byte(forwarded)), new(Handshake)); err != nil {
		t.Errorf("the application supplied the address: %v", err)
	}
}

func TestUpgradeSameHost(t *testing.T) {
	d := newDoor(t, func(c *UpgraderConfig) { c.Origins = nil })
	for origin, want := range map[string]error{
		"Origin: https://gw.example":     nil,
		"Origin: https://gw.example:443": nil,
		"Origin: http://gw.example":      nil,
		"X: y":                           nil,
		"Origin: https://app.example":    ErrOrigin,
		"Origin: https://gw.example:444": ErrOrigin,
	} {
		if err := d.Upgrade(context.Background(), newMemConn([]byte(request("/?ticket="+d.ticket(t, Claims{}), origin))), new(Handshake)); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, want %v", origin, err, want)
		}
	}
	cookie := request("/", "Origin: https://gw.example", "Cookie: __Host-ws-ticket="+d.ticket(t, Claims{}))
	if err := d.Upgrade(context.Background(), newMemConn([]byte(cookie)), new(Handshake)); !errors.Is(err, ErrOrigin) {
		t.Errorf("a cookie without a list of origins: %v", err)
	}
}

func TestUpgradeDefaultCarriers(t *testing.T) {
	d := newDoor(t, func(c *UpgraderConfig) { c.Carriers = 0 })
	for _, c := range carried {
		want := error(nil)
		if c.name == "bearer" || c.name == "cookie" {
			want = ErrMissing
		}
		if err := d.Upgrade(context.Background(), newMemConn([]byte(c.head(d.ticket(t, Claims{})))), new(Handshake)); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, want %v", c.name, err, want)
		}
	}
	// One that is off is neither counted nor removed.
	var h Handshake
	head := request("/?ticket="+d.ticket(t, Claims{}), "Authorization: Bearer mine", "Cookie: __Host-ws-ticket=a")
	if err := d.Upgrade(context.Background(), newMemConn([]byte(head)), &h); err != nil || string(h.Header("authorization")) != "Bearer mine" || string(h.Header("cookie")) != "__Host-ws-ticket=a" {
		t.Errorf("%v, %q, %q", err, h.Header("authorization"), h.Header("cookie"))
	}
}

func TestUpgradeOnlyOnce(t *testing.T) {
	d := newDoor(t, nil)
	for range 20 {
		head := []byte(carried[0].head(d.ticket(t, Claims{})))
		var in, replayed sync.WaitGroup
		results := make(chan error, 16)
		in.Add(1)
		for range cap(results) {
			replayed.Go(func() {
				in.Wait()
				results <- d.Upgrade(context.Background(), newMemConn(head), new(Handshake))
			})
		}
		in.Done()
		replayed.Wait()
		close(results)
		accepted := 0
		for err := range results {
			if err == nil {
				accepted++
			} else if !errors.Is(err, ErrReplayed) {
				t.Error(err)
			}
		}
		if accepted != 1 {
			t.Fatalf("%d accepted", accepted)
		}
	}
}

// A Handshake that is used again shows nothing of the connection before.
func TestHandshakeReuse(t *testing.T) {
	d := newDoor(t, nil)
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() {
			var h Handshake
			for i := range 50 {
				sub := fmt.Sprintf("user-%d-%d", w, i)
				lines := []string{"X-Sub: " + sub}
				if i%2 == 0 {
					lines = append(lines, "X-Long: "+strings.Repeat("long", i*10), "Sec-WebSocket-Protocol: app.v1")
				}
				if err := d.Upgrade(context.Background(), newMemConn([]byte(request("/"+sub+"?ticket="+d.ticket(t, Claims{Subject: sub}), lines...))), &h); err != nil {
					t.Error(err)
					return
				}
				if string(h.Ticket.Subject()) != sub || string(h.Header("x-sub")) != sub || string(h.Path()) != "/"+sub || len(h.Query()) != 0 {
					t.Errorf("%s sees %s, %s, %s, %s", sub, h.Ticket.Subject(), h.Header("x-sub"), h.Path(), h.Query())
				}
				if i%2 == 1 && (h.Header("X-Long") != nil || h.Protocol != "") {
					t.Error("something of the one before")
				}
			}
		})
	}
	workers.Wait()
}

// A buffer that became too small is left behind empty.
func TestHandshakeGrows(t *testing.T) {
	var h Handshake
	h.room(8)
	h.n = copy(h.buf, "a ticket")
	old := h.buf
	h.room(16)
	if string(h.buf[:h.n]) != "a ticket" || len(bytes.Trim(old, "\x00")) != 0 {
		t.Errorf("%q in the new buffer, %q in the old", h.buf, old)
	}
}

func TestHandshakeRedacts(t *testing.T) {
	d := newDoor(t, nil)
	var h Handshake
	if err := d.Upgrade(context.Background(), newMemConn([]byte(request("/secret?x=secret&ticket="+d.ticket(t, Claims{Subject: "secret"}), "Cookie: secret"))), &h); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+"\n", h, &h)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "h", h, "p", &h)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "h", h, "p", &h)
	if err := json.NewEncoder(&out).Encode([]any{h, &h, map[string]any{"h": &h}}); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"secret", "736563726574", "115 101 99", "[115"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("shows %q:\n%s", secret, out.String())
		}
	}
	if !strings.Contains(out.String(), redactedHandshake) {
		t.Error("says nothing at all")
	}
}

func TestNewUpgraderFaults(t *testing.T) {
	_, err := NewUpgrader(UpgraderConfig{
		Origins: []string{"*"}, Carriers: 64, Protocols: []string{"a b", "ticket.x", "y", "y"},
		ResponseHeader: http.Header{"Upgrade": {"x"}, "A b": {"x"}, "C": {"x\r\ny"}, "sec-websocket-protocol": {"x"}},
		HeadBytes:      1 << 16, MaxHeaders: 2, Timeout: -1, MaxPending: -1,
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"Verifier", "Origins", "Carriers", "Protocols holds \"a b\"", "ticket.x", "twice", "Upgrade", "A b", "ResponseHeader C", "sec-websocket-protocol",
		"HeadBytes", "MaxHeaders", "Timeout", "MaxPending"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("says nothing of %s:\n%v", want, err)
		}
	}
}

func TestUpgradeResponseHeader(t *testing.T) {
	d := newDoor(t, func(c *UpgraderConfig) { c.ResponseHeader = http.Header{"Server": {"gw"}, "X-A": {"1", "2"}} })
	conn := newMemConn([]byte(request("/?ticket="+d.ticket(t, Claims{}), "Sec-WebSocket-Protocol: x, app.v2, app.v1")))
	var h Handshake
	if err := d.Upgrade(context.Background(), conn, &h); err != nil {
		t.Fatal(err)
	}
	if want := switching + "Sec-WebSocket-Protocol: app.v2\r\nServer: gw\r\nX-A: 1\r\nX-A: 2\r\n\r\n"; string(conn.out) != want {
		t.Errorf("answered %q, want %q", conn.out, want)
	}
}

func TestUpgradeEndedContext(t *testing.T) {
	d := newDoor(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	conn := newMemConn([]byte(carried[0].head(d.ticket(t, Claims{}))))
	if err := d.Upgrade(ctx, conn, new(Handshake)); !errors.Is(err, context.Canceled) || len(conn.out) != 0 {
		t.Errorf("%v, answered %q", err, conn.out)
	}
}

// What Authorize saw stays where it is until the Handshake is used again.
func TestUpgradeViewsStay(t *testing.T) {
	var path, header []byte
	d := newDoor(t, func(c *UpgraderConfig) {
		c.Authorize = func(_ context.Context, h *Handshake) error {
			path, header = h.Path(), h.Header("X-User")
			return nil
		}
	})
	for size := 700; size < 7700; size += 301 {
		conn := newMemConn([]byte(request("/rooms/7?ticket="+d.ticket(t, Claims{}), "X-User: ada", "X-Fill: "+strings.Repeat("x", size))))
		var h Handshake
		if err := d.Upgrade(context.Background(), conn, &h); err != nil {
			t.Fatalf("%d: %v", size, err)
		}
		if string(path) != "/rooms/7" || string(header) != "ada" {
			t.Fatalf("%d: path %q, header %q after the upgrade", size, path, header)
		}
	}
}

// A code that is none is no refusal of Authorize that anybody could count.
func TestUpgradeAuthorizeWithoutCode(t *testing.T) {
	for _, no := range []error{Error(0), Error(99), errors.New("no")} {
		d := newDoor(t, func(c *UpgraderConfig) {
			c.Authorize = func(context.Context, *Handshake) error { return no }
		})
		err := d.Upgrade(context.Background(), newMemConn([]byte(carried[0].head(d.ticket(t, Claims{})))), new(Handshake))
		if !errors.Is(err, ErrUnauthorized) || d.Stats().Refused(ErrUnauthorized) != 1 {
			t.Errorf("%v: got %v, counted %d", no, err, d.Stats().Refused(ErrUnauthorized))
		}
	}
}

// A guard that asks somebody else has as long as the handshake.
func TestUpgradeGuardHasADeadline(t *testing.T) {
	d := newDoor(t, func(c *UpgraderConfig) { c.Timeout = time.Minute })
	var left time.Duration
	v, err := NewVerifier(VerifierConfig{Keys: d.keys, Replay: guardWith(func(ctx context.Context) error {
		if end, ok := ctx.Deadline(); ok {
			left = time.Until(end)
		}
		return nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	d.config.Verifier = v
	u, err := NewUpgrader(d.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Upgrade(context.Background(), newMemConn([]byte(carried[0].head(d.ticket(t, Claims{})))), new(Handshake)); err != nil {
		t.Fatal(err)
	}
	if left <= 0 || left > time.Minute {
		t.Errorf("the guard has %v", left)
	}
}

type guardWith func(context.Context) error

func (g guardWith) Spend(ctx context.Context, _ Use) error { return g(ctx) }
func (guardWith) Covers() (maxTTL, leeway time.Duration)   { return time.Hour, time.Hour }

// What is read after a refusal is cleared too, where it is longer than the head was.
func TestUpgradeClearsWhatItDrains(t *testing.T) {
	d := newDoor(t, nil)
	conn := newMemConn(nil)
	conn.in = io.MultiReader(strings.NewReader(request("/")), strings.NewReader(strings.Repeat("secret", 300)))
	var h Handshake
	if err := d.Upgrade(context.Background(), conn, &h); !errors.Is(err, ErrMissing) || conn.readAfter != 1800 {
		t.Fatalf("%v, %d bytes drained", err, conn.readAfter)
	}
	if left := bytes.Trim(h.buf, "\x00"); len(left) != 0 {
		t.Errorf("%q is left in the buffer", left)
	}
}

// Reset leaves nothing behind: not the head, not the answer, and no view of either.
func TestHandshakeReset(t *testing.T) {
	for _, c := range carried {
		d := newDoor(t, func(c *UpgraderConfig) { c.AllowEarly = true })
		var h Handshake
		if err := d.Upgrade(context.Background(), newMemConn([]byte(c.head(d.ticket(t, Claims{}))+"early")), &h); err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(h.buf, []byte(sampleAccept)) {
			t.Fatalf("%s: the answer is not where this test looks for it", c.name)
		}
		h.Reset()
		if left := bytes.Trim(h.buf, "\x00"); len(left) != 0 {
			t.Errorf("%s: %q is left in the buffer", c.name, left)
		}
		for what, b := range map[string][]byte{"path": h.Path(), "query": h.Query(), "host": h.Host(), "early": h.Early(), "header": h.Header("Host"), "payload": h.Ticket.Payload(), "origin": h.origin()} {
			if len(b) != 0 {
				t.Errorf("%s: there is a %s: %q", c.name, what, b)
			}
		}
		for name := range h.Headers() {
			t.Errorf("%s: there is a header %q", c.name, name)
		}
		for _, f := range h.head.Fields[:cap(h.head.Fields)] {
			if f.Value.Len() != 0 {
				t.Errorf("%s: a span of %d bytes is left", c.name, f.Value.Len())
			}
		}
		if h.Protocol != "" || h.answered != 0 {
			t.Errorf("%s: protocol %q, %d bytes answered", c.name, h.Protocol, h.answered)
		}
	}
}

// A connection that reads nothing and says nothing of it is given up.
func TestUpgradeNoProgress(t *testing.T) {
	d := newDoor(t, nil)
	for _, start := range []string{"", "GET / HTTP/1.1\r\n"} {
		conn := newMemConn(nil)
		reads := 0
		conn.in = io.MultiReader(strings.NewReader(start), readerFunc(func([]byte) (int, error) { reads++; return 0, nil }))
		err := d.Upgrade(context.Background(), conn, new(Handshake))
		if !errors.Is(err, io.ErrNoProgress) || reads > 1000 {
			t.Errorf("%q: %v after %d reads", start, err, reads)
		}
		if _, coded := CodeOf(err); coded != (start != "") || (len(conn.out) > 0) != coded {
			t.Errorf("%q: %v, answered %q", start, err, conn.out)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Of what was not read from a ticket there is nothing, which is not the same as
// something empty.
func TestRefusalOfNoTicket(t *testing.T) {
	var told Refusal
	d := newDoor(t, func(c *UpgraderConfig) { c.OnRefuse = func(r Refusal) { told = r } })
	for name, head := range map[string]string{"missing": request("/"), "malformed": request("/?ticket=x"), "bad_signature": request("/?ticket=" + newDoor(t, nil).ticket(t, Claims{}))} {
		told = Refusal{}
		d.Upgrade(context.Background(), newMemConn([]byte(head)), new(Handshake))
		if told.Code.Code() != name || told.KeyID != nil || told.ID != nil || told.Subject != nil || told.Age != 0 {
			t.Errorf("%s: told %v of %q, %q, %q, %v", name, told.Code, told.KeyID, told.ID, told.Subject, told.Age)
		}
	}
}

// A configuration belongs to who made it: what becomes of its slices changes nothing.
func TestConfigurationIsCopied(t *testing.T) {
	protocols, origins := []string{"app.v1"}, []string{"https://app.example"}
	ways := threeWays(t, func(c *wayConfig) { c.Protocols, c.Origins = protocols, origins })
	protocols[0], origins[0] = "evil.v1", "https://evil.example"
	for _, w := range ways {
		w.wants(t, "as configured", request("/", fromApp, "Sec-WebSocket-Protocol: app.v1, ticket.$T"), 0, Claims{})
		w.wants(t, "as changed", request("/", fromApp, "Sec-WebSocket-Protocol: evil.v1, ticket.$T"), ErrBadHandshake, Claims{})
		w.wants(t, "as changed", request("/?ticket=$T", "Origin: https://evil.example"), ErrOrigin, Claims{})
	}
}

func TestPeerAddrs(t *testing.T) {
	for _, w := range threeWays(t, func(c *wayConfig) { c.PeerAddr = func() netip.Addr { return netip.MustParseAddr("198.51.100.1") } }) {
		w.wants(t, "the address that was supplied", request("/?ticket=$T"), 0, Claims{IP: "198.51.100.1"})
		w.wants(t, "the address of the connection", request("/?ticket=$T"), ErrIP, Claims{IP: "192.0.2.7"})
	}
	for _, w := range threeWays(t, func(c *wayConfig) { c.PeerAddr = func() netip.Addr { return netip.Addr{} } }) {
		w.wants(t, "no address", request("/?ticket=$T"), ErrIP, Claims{IP: "192.0.2.7"})
		w.wants(t, "no address, and not bound", request("/?ticket=$T"), 0, Claims{})
	}
}
