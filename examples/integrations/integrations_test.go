package integrations

import (
	"bufio"
	"bytes"
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
	"time"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
	"github.com/gofiber/fiber/v3"
	"github.com/lxzan/gws"
	"github.com/valyala/fasthttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
	"github.com/wsticket/wsticket/wstickettest"
)

var protocols = []string{"app.v1"}

// A house is what an integration is built into, and who mints for it.
type house struct {
	t           *testing.T
	kit         *wstickettest.Kit
	connections *live.Registry
	minted      []string
	log         output // whatever was logged
}

// output is written to by servers and read by tests.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func newHouse(t *testing.T) *house {
	connections, err := live.New(live.Config{Since: time.Unix(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return &house{t: t, kit: wstickettest.New(t, wsticket.VerifierConfig{}), connections: connections}
}

func (h *house) gate(anyRequest bool) *wsticket.Gate {
	gate, err := wsticket.NewGate(wsticket.GateConfig{
		Verifier: h.kit.Verifier, Origins: []string{"https://app.example"}, Protocols: protocols, AnyRequest: anyRequest,
		Authorize: func(_ *http.Request, t *wsticket.Ticket) error { return h.connections.Admit(t) },
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return gate
}

func (h *house) mint(session string) string {
	ticket := h.kit.Mint(time.Now(), wsticket.Claims{Subject: "ada", SessionID: session})
	h.minted = append(h.minted, ticket)
	return ticket
}

// noTicket looks for every ticket, or the part of one that makes it good, in a text.
func (h *house) noTicket(what, text string) {
	h.t.Helper()
	for _, ticket := range h.minted {
		if strings.Contains(text, ticket[strings.LastIndexByte(ticket, '.')+1:]) {
			h.t.Errorf("%s has a ticket in it:\n%s", what, text)
			return
		}
	}
}

func (h *house) serve(handler http.Handler) (addr string) {
	server := httptest.NewUnstartedServer(handler)
	server.Start()
	h.t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func (h *house) listen(serve func(net.Listener)) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	go serve(l)
	h.t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// servers are the integrations that speak WebSocket, by name.
func (h *house) servers() map[string]func() (addr string) {
	coder := func() http.Handler { return Coder(h.connections, []string{"app.example"}, protocols) }
	gorilla := func() http.Handler { return Gorilla(h.connections, protocols) }
	return map[string]func() string{
		"coder":   func() string { return h.serve(h.gate(false).Wrap(coder())) },
		"gorilla": func() string { return h.serve(h.gate(false).Wrap(gorilla())) },
		"chi":     func() string { return h.serve(Chi(h.gate(false), gorilla(), &h.log)) },
		"gin":     func() string { return h.serve(Gin(h.gate(false), gorilla(), &h.log)) },
		"echo":    func() string { return h.serve(Echo(h.gate(false), coder(), &h.log)) },
		"otelhttp": func() string {
			spans := tracetest.NewInMemoryExporter()
			provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
			h.t.Cleanup(func() {
				exported := spans.GetSpans()
				if len(exported) < 5 {
					h.t.Errorf("only %d spans", len(exported))
				}
				h.noTicket("a span", fmt.Sprintf("%+v", exported))
			})
			return h.serve(Otelhttp(h.gate(false), gorilla(), provider))
		},
		"fasthttp": func() string {
			server := &fasthttp.Server{Handler: h.fasthttp()}
			return h.listen(func(l net.Listener) { server.Serve(l) })
		},
		"fiber": func() string {
			app, handler := fiber.New(), h.fasthttp()
			app.Get("/rooms/:room", func(c fiber.Ctx) error { handler(c.RequestCtx()); return nil })
			return h.listen(func(l net.Listener) { app.Listener(l, fiber.ListenConfig{DisableStartupMessage: true}) })
		},
		"gws": func() string {
			up, err := wsticket.NewUpgrader(wsticket.UpgraderConfig{Verifier: h.kit.Verifier, Origins: []string{"https://app.example"}, Protocols: protocols})
			if err != nil {
				h.t.Fatal(err)
			}
			frames := gws.NewUpgrader(&gwsEcho{}, &gws.ServerOption{ReadMaxPayloadSize: 64 << 10})
			return h.listen(func(l net.Listener) {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go GWS(context.Background(), up, new(wsticket.Handshake), frames, h.connections, conn)
				}
			})
		},
	}
}

func (h *house) fasthttp() fasthttp.RequestHandler {
	finder, err := wsticket.NewFinder(wsticket.FinderConfig{Origins: []string{"https://app.example"}, Protocols: protocols})
	if err != nil {
		h.t.Fatal(err)
	}
	return Fasthttp(finder, h.kit.Verifier, h.connections, protocols)
}

type gwsEcho struct{ gws.BuiltinEventHandler }

func (*gwsEcho) OnMessage(conn *gws.Conn, m *gws.Message) {
	defer m.Close()
	conn.WriteMessage(m.Opcode, m.Bytes())
}

// TestServers drives each with a real client, as a page would.
func TestServers(t *testing.T) {
	for name := range newHouse(t).servers() {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			url := "ws://" + h.servers()[name]() + "/rooms/7"
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			dial := func(query string, protocols ...string) (*websocket.Conn, int) {
				t.Helper()
				conn, answer, err := websocket.Dial(ctx, url+query, &websocket.DialOptions{Subprotocols: protocols, HTTPHeader: http.Header{"Origin": {"https://app.example"}}})
				if answer == nil {
					t.Fatal(err)
				}
				if err == nil {
					t.Cleanup(func() { conn.CloseNow() })
				}
				return conn, answer.StatusCode
			}
			echoes := func(conn *websocket.Conn) {
				t.Helper()
				for _, message := range []string{"grüezi", strings.Repeat("long ", 5000)} {
					if err := conn.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
						t.Fatal(err)
					}
					if _, got, err := conn.Read(ctx); err != nil || string(got) != message {
						t.Fatalf("%.20s, %v", got, err)
					}
				}
			}
			used := h.mint("s")
			a, status := dial("?a=1&ticket=" + used)
			if status != 101 {
				t.Fatalf("a good ticket: %d", status)
			}
			a.SetReadLimit(1 << 20)
			echoes(a)
			b, status := dial("", "app.v1", "ticket."+h.mint("t"))
			if status != 101 || b.Subprotocol() != "app.v1" {
				t.Fatalf("as a subprotocol: %d", status)
			}
			b.SetReadLimit(1 << 20)
			echoes(b)
			for what, query := range map[string]string{"used": "?ticket=" + used, "none": "", "tampered": "?ticket=" + wstickettest.Tamper(h.mint("s"))} {
				if _, status := dial(query); status != 401 {
					t.Errorf("%s: %d", what, status)
				}
			}
			unspent := h.mint("s")
			if err := h.connections.CloseSession(ctx, "s"); err != nil {
				t.Fatal(err)
			}
			wantClose := func(what string, conn *websocket.Conn) {
				t.Helper()
				_, _, err := conn.Read(ctx)
				var closed websocket.CloseError
				if !errors.As(err, &closed) || closed.Code != 3000 || closed.Reason != "session ended" {
					t.Errorf("%s: %v", what, err)
				}
			}
			wantClose("after the logout", a)
			if conn, status := dial("?ticket=" + unspent); status == 101 { // where nothing asks before
				wantClose("an unspent ticket", conn)
			} else if status != 401 {
				t.Errorf("an unspent ticket: %d", status)
			}
			echoes(b)
			b.Close(websocket.StatusNormalClosure, "")
			for deadline := time.Now().Add(10 * time.Second); h.connections.Stats().Connections > 0; {
				if time.Now().After(deadline) {
					t.Fatalf("%+v", h.connections.Stats())
				}
				time.Sleep(5 * time.Millisecond)
			}
			h.noTicket("the log", h.log.String())
			if strings.Contains("chi gin echo", name) && strings.Count(h.log.String(), "/rooms/7") < 3 {
				t.Errorf("nothing was logged: %s", h.log.String())
			}
		})
	}
}

func TestSSE(t *testing.T) {
	h := newHouse(t)
	addr := h.serve(wsticket.Conceal(h.gate(true).Wrap(SSE(h.connections, 10*time.Millisecond))))
	get := func(ticket string) (*http.Response, *bufio.Scanner) {
		t.Helper()
		answer, err := http.Get("http://" + addr + "/events?ticket=" + ticket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { answer.Body.Close() })
		return answer, bufio.NewScanner(answer.Body)
	}
	used := h.mint("s")
	answer, lines := get(used)
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatal(answer.Status)
	}
	heard := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("it ends before %q", want)
	}
	heard("data: ada")
	heard("event: time")
	if answer, _ := get(used); answer.StatusCode != 401 {
		t.Errorf("used: %s", answer.Status)
	}
	h.connections.CloseSession(t.Context(), "s")
	heard("event: end")
	heard("data: ended")
	if lines.Scan(); lines.Scan() {
		t.Errorf("after its end: %q", lines.Text())
	}
	if answer, _ := get(h.mint("s")); answer.StatusCode != 401 {
		t.Errorf("a ticket of the session: %s", answer.Status)
	}
	io.Copy(io.Discard, answer.Body)
}

// TestClientThatStays: a client that answers no close frame and closes nothing is gone
// all the same, soon after the logout.
func TestClientThatStays(t *testing.T) {
	for name := range newHouse(t).servers() {
		if name == "otelhttp" { // wants more spans than this; its connections are gorilla's
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			conn, err := net.Dial("tcp", h.servers()[name]())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			fmt.Fprintf(conn, "GET /rooms/7?ticket=%s HTTP/1.1\r\nHost: gw.example\r\nOrigin: https://app.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\n\r\n", h.mint("s"))
			r := bufio.NewReader(conn)
			for line := "?"; line != "\r\n"; {
				if line, err = r.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			for deadline := time.Now().Add(10 * time.Second); h.connections.Stats().Connections == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("it is not in the registry")
				}
			}
			h.connections.CloseSession(t.Context(), "s")
			began := time.Now()
			io.Copy(io.Discard, r)
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("it was there for %v", took)
			}
		})
	}
}

// TestGinParam: the line of docs/integrations.md for handlers that need the gin.Context.
func TestGinParam(t *testing.T) {
	h := newHouse(t)
	gate := h.gate(true)
	room := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ticket, _ := wsticket.TicketFrom(r.Context())
			fmt.Fprintf(w, "%s in %s", ticket.Subject(), name)
		})
	}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.GET("/rooms/:room", func(c *gin.Context) { gate.Wrap(room(c.Param("room"))).ServeHTTP(c.Writer, c.Request) })
	answer, err := http.Get("http://" + h.serve(wsticket.Conceal(engine)) + "/rooms/7?ticket=" + h.mint("s"))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); string(body) != "ada in 7" {
		t.Errorf("%s: %s", answer.Status, body)
	}
	page, err := os.ReadFile("../../docs/integrations.md")
	if err != nil || !strings.Contains(string(page), `engine.GET("/rooms/:room", func(c *gin.Context) { gate.Wrap(room(c.Param("room"))).ServeHTTP(c.Writer, c.Request) })`) {
		t.Error("docs/integrations.md does not show the line", err)
	}
}

// TestFasthttpEnd: once the handler has returned, nothing writes to its connection, which
// here is none at all.
func TestFasthttpEnd(t *testing.T) {
	e := new(fasthttpEnd)
	e.returns()
	e.tell(live.Ended)
}

// TestFasthttpTakesOut: what comes behind redeem finds no ticket, spent or refused.
func TestFasthttpTakesOut(t *testing.T) {
	h := newHouse(t)
	finder, err := wsticket.NewFinder(wsticket.FinderConfig{Protocols: protocols, Carriers: wsticket.CarrierQuery | wsticket.CarrierSubprotocol | wsticket.CarrierBearer})
	if err != nil {
		t.Fatal(err)
	}
	for _, carrier := range []string{"query", "subprotocol", "bearer"} {
		used := h.mint("s")
		for _, want := range []error{nil, wsticket.ErrReplayed} {
			var r fasthttp.Request
			r.Header.SetHost("gw.example")
			for name, value := range map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "MTIzNDU2Nzg5MDEyMzQ1Ng=="} {
				r.Header.Set(name, value)
			}
			switch carrier {
			case "query":
				r.SetRequestURI("/rooms/7?a=1&ticket=" + used)
			case "subprotocol":
				r.SetRequestURI("/rooms/7?a=1")
				r.Header.Set("Sec-WebSocket-Protocol", "app.v1, ticket."+used)
			case "bearer":
				r.SetRequestURI("/rooms/7?a=1")
				r.Header.Set("Authorization", "Bearer "+used)
			}
			var ctx fasthttp.RequestCtx
			ctx.Init(&r, nil, nil)
			if err := redeem(&ctx, finder, h.kit.Verifier, new(wsticket.Ticket)); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", carrier, err, want)
			}
			h.noTicket(carrier, ctx.Request.String()+string(ctx.RequestURI())+ctx.URI().String()+ctx.QueryArgs().String())
			if uri := string(ctx.RequestURI()); uri != "/rooms/7?a=1" || string(ctx.Path()) != "/rooms/7" {
				t.Errorf("%s: %s is left", carrier, uri)
			}
			if offered := string(ctx.Request.Header.Peek("Sec-WebSocket-Protocol")); carrier == "subprotocol" && offered != "app.v1" {
				t.Errorf("it offers %q", offered)
			}
		}
	}
}
