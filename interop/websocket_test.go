package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"github.com/wsticket/wsticket"
)

// TestGate puts the Gate before the servers of two libraries, which look at the
// request once more behind it, and connects with the clients of both.
func TestGate(t *testing.T) {
	carried := []struct {
		name      string
		query     string
		protocols []string
		header    http.Header
		selected  string
		left      string // of the request line
	}{
		{"query", "?a=%26&ticket=TICKET&b=2", nil, nil, "", "/room/1?a=%26&b=2"},
		{"query and a protocol", "?ticket=TICKET", []string{"app.v2", "app.v1"}, nil, "app.v1", "/room/1"},
		{"subprotocol", "?a=1", []string{"app.v1", "ticket.TICKET"}, nil, "app.v1", "/room/1?a=1"},
		{"subprotocol, ticket first", "", []string{"ticket.TICKET", "app.v2", "app.v1"}, nil, "app.v1", "/room/1"},
		{"bearer", "", nil, http.Header{"Authorization": {"Bearer TICKET"}}, "", "/room/1"},
		{"bearer and a protocol", "", []string{"app.v1"}, http.Header{"Authorization": {"Bearer TICKET"}}, "app.v1", "/room/1"},
	}
	for server, serve := range websocketServers {
		for client, dial := range websocketClients {
			for _, c := range carried {
				t.Run(fmt.Sprintf("server=%s/client=%s/%s", server, client, c.name), func(t *testing.T) {
					d := newGated(t, wsticket.GateConfig{
						Carriers:  wsticket.DefaultCarriers | wsticket.CarrierBearer,
						Protocols: []string{"app.v1"},
					}, serve)
					put := strings.NewReplacer("TICKET", d.ticket).Replace
					o := offer{url: d.url + put(c.query), header: http.Header{"Origin": {d.site}}}
					for _, p := range c.protocols {
						o.protocols = append(o.protocols, put(p))
					}
					for name, values := range c.header {
						o.header.Set(name, put(values[0]))
					}

					conn, answer, err := dial(t.Context(), o)
					if err != nil {
						t.Fatalf("%v, %v", err, answer)
					}
					if got := conn.protocol; got != c.selected {
						t.Errorf("the selected protocol is %q, want %q", got, c.selected)
					}
					for _, message := range []string{"grüezi", strings.Repeat("long ", 30_000)} {
						if err := conn.echoes(message); err != nil {
							t.Error(err)
						}
					}
					if err := conn.close(); err != nil {
						t.Errorf("closing: %v", err)
					}
					if subject := <-d.subjects; subject != "user-4711" {
						t.Errorf("the handler has a ticket of %q", subject)
					}
					if seen := <-d.requests; strings.Contains(seen, d.ticket) || strings.Contains(seen, "ticket") || strings.Contains(seen, "Bearer") {
						t.Errorf("the handler sees the ticket:\n%s", seen)
					} else if !strings.HasPrefix(seen, "GET "+c.left+" HTTP/1.1\r\n") {
						t.Errorf("the handler sees a request for another target than %s:\n%s", c.left, seen)
					}

					// Once is once, and the answer says no more than the class.
					if _, answer, err = dial(t.Context(), o); err == nil {
						t.Fatal("the same ticket is let in again")
					}
					wantProblem(t, answer, 401, `{"type":"invalid_ticket","status":401}`)
					if got := answer.Header.Get("WWW-Authenticate"); got != "Bearer" {
						t.Errorf("WWW-Authenticate is %q, want Bearer", got)
					}
					d.counts(t, 1, wsticket.ErrReplayed)
				})
			}
		}
	}
}

// TestGateRefusesFirst: what the Gate refuses never reaches the library, and the
// ticket stays good.
func TestGateRefusesFirst(t *testing.T) {
	for server, serve := range websocketServers {
		t.Run("server="+server, func(t *testing.T) {
			d := newGated(t, wsticket.GateConfig{Protocols: []string{"app.v1"}}, serve)
			dial := websocketClients["gorilla"]
			for _, c := range []struct {
				name   string
				offer  offer
				status int
				body   string
				code   wsticket.Error
			}{
				{"another origin", offer{url: d.url + "?ticket=" + d.ticket, header: http.Header{"Origin": {"https://evil.example"}}}, 403, `{"type":"forbidden","status":403}`, wsticket.ErrOrigin},
				{"no ticket", offer{url: d.url}, 401, `{"type":"invalid_ticket","status":401}`, wsticket.ErrMissing},
				{"twice", offer{url: d.url + "?ticket=" + d.ticket, protocols: []string{"app.v1", "ticket." + d.ticket}}, 400, `{"type":"bad_request","status":400}`, wsticket.ErrAmbiguous},
				{"no protocol to select", offer{url: d.url, protocols: []string{"other", "ticket." + d.ticket}}, 400, `{"type":"bad_request","status":400}`, wsticket.ErrBadHandshake},
			} {
				_, answer, err := dial(t.Context(), c.offer)
				if err == nil {
					t.Fatalf("%s: it is let in", c.name)
				}
				wantProblem(t, answer, c.status, c.body)
				d.counts(t, 0, c.code)
			}
			conn, _, err := dial(t.Context(), offer{url: d.url + "?ticket=" + d.ticket})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(conn.echoes("still good"), conn.close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLibraryRefusesAfter: the libraries have an origin policy of their own. One
// that is narrower than the Gate's refuses after the ticket was spent; both must
// be told of the same pages.
func TestLibraryRefusesAfter(t *testing.T) {
	page := http.Header{"Origin": {"https://app.example"}}
	for server, serve := range websocketServers {
		for _, told := range []bool{false, true} {
			t.Run(fmt.Sprintf("server=%s/told=%t", server, told), func(t *testing.T) {
				d := newGated(t, wsticket.GateConfig{Origins: []string{"https://app.example"}}, func(w http.ResponseWriter, r *http.Request, _ bool) {
					serve(w, r, told)
				})
				conn, answer, err := websocketClients["gorilla"](t.Context(), offer{url: d.url + "?ticket=" + d.ticket, header: page})
				if told {
					if err != nil {
						t.Fatal(err)
					}
					if err := errors.Join(conn.echoes("from another host"), conn.close()); err != nil {
						t.Error(err)
					}
					return
				}
				if err == nil || answer.StatusCode != http.StatusForbidden || strings.Contains(answer.Header.Get("Content-Type"), "problem") {
					t.Fatalf("%v, %v, want a 403 of the library's own", err, answer)
				}
				if got := d.gate.Stats().Accepted(); got != 1 {
					t.Errorf("the Gate has accepted %d, want 1", got)
				}
			})
		}
	}
}

// websocketServers echo what they are sent. With anyPage they are told of
// https://app.example, else they go by their defaults.
var websocketServers = map[string]func(w http.ResponseWriter, r *http.Request, anyPage bool){
	"coder": func(w http.ResponseWriter, r *http.Request, anyPage bool) {
		options := &coder.AcceptOptions{Subprotocols: []string{"app.v1"}}
		if anyPage {
			options.OriginPatterns = []string{"https://app.example"}
		}
		conn, err := coder.Accept(w, r, options)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		conn.SetReadLimit(1 << 20)
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil || conn.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	},
	"gorilla": func(w http.ResponseWriter, r *http.Request, anyPage bool) {
		upgrader := gorilla.Upgrader{Subprotocols: []string{"app.v1"}}
		if anyPage {
			upgrader.CheckOrigin = func(r *http.Request) bool { return r.Header.Get("Origin") == "https://app.example" }
		}
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil || conn.WriteMessage(kind, message) != nil {
				return
			}
		}
	},
}

// An offer is what a client asks for.
type offer struct {
	url       string
	protocols []string
	header    http.Header
}

// A websocketConn is one of either library.
type websocketConn struct {
	protocol string
	echoes   func(message string) error
	close    func() error
}

var websocketClients = map[string]func(context.Context, offer) (*websocketConn, *http.Response, error){
	"coder": func(ctx context.Context, o offer) (*websocketConn, *http.Response, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		transport := new(http.Transport)
		conn, answer, err := coder.Dial(ctx, o.url, &coder.DialOptions{
			HTTPClient: &http.Client{Transport: transport}, Subprotocols: o.protocols, HTTPHeader: o.header,
		})
		if err != nil {
			cancel()
			transport.CloseIdleConnections()
			return nil, answer, err
		}
		conn.SetReadLimit(1 << 20)
		return &websocketConn{
			protocol: conn.Subprotocol(),
			echoes: func(message string) error {
				if err := conn.Write(ctx, coder.MessageText, []byte(message)); err != nil {
					return err
				}
				_, got, err := conn.Read(ctx)
				return sameMessage(string(got), message, err)
			},
			close: func() error {
				defer cancel()
				return conn.Close(coder.StatusNormalClosure, "")
			},
		}, answer, nil
	},
	"gorilla": func(ctx context.Context, o offer) (*websocketConn, *http.Response, error) {
		dialer := gorilla.Dialer{Subprotocols: o.protocols, HandshakeTimeout: 10 * time.Second}
		conn, answer, err := dialer.DialContext(ctx, o.url, o.header)
		if err != nil {
			return nil, answer, err
		}
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		return &websocketConn{
			protocol: conn.Subprotocol(),
			echoes: func(message string) error {
				if err := conn.WriteMessage(gorilla.TextMessage, []byte(message)); err != nil {
					return err
				}
				_, got, err := conn.ReadMessage()
				return sameMessage(string(got), message, err)
			},
			close: func() error {
				defer conn.Close()
				if err := conn.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(gorilla.CloseNormalClosure, "")); err != nil {
					return err
				}
				if _, _, err := conn.ReadMessage(); !gorilla.IsCloseError(err, gorilla.CloseNormalClosure) {
					return fmt.Errorf("the server does not close in return: %w", err)
				}
				return nil
			},
		}, answer, nil
	},
}

func sameMessage(got, want string, err error) error {
	if err == nil && got != want {
		err = fmt.Errorf("the echo of %d bytes is %d other ones", len(want), len(got))
	}
	return err
}

func wantProblem(t *testing.T, answer *http.Response, status int, body string) {
	t.Helper()
	if answer == nil {
		t.Fatal("there is no answer")
	}
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Errorf("reading the answer: %v", err)
	}
	if kind := answer.Header.Get("Content-Type"); answer.StatusCode != status || string(got) != body || kind != "application/problem+json" {
		t.Errorf("the answer is %d %s %s, want %d application/problem+json %s", answer.StatusCode, kind, got, status, body)
	}
}

// gated is a WebSocket server behind a Gate, with a ticket for it.
type gated struct {
	gate      *wsticket.Gate
	site, url string
	ticket    string
	requests  chan string // that came through, as the handler sees them
	subjects  chan string
}

func newGated(t *testing.T, config wsticket.GateConfig, serve func(w http.ResponseWriter, r *http.Request, anyPage bool)) *gated {
	t.Helper()
	leavesNothing(t)
	d := &gated{requests: make(chan string, 8), subjects: make(chan string, 8)}
	k := newSecretKey(t, "HS256")
	cache, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 100, Since: time.Unix(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if config.Verifier, err = wsticket.NewVerifier(wsticket.VerifierConfig{Keys: k.keyring(t), Replay: cache}); err != nil {
		t.Fatal(err)
	}
	if d.gate, err = wsticket.NewGate(config); err != nil {
		t.Fatal(err)
	}
	if d.ticket, err = k.signer(t).Sign(&wsticket.Claims{Subject: "user-4711", TTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
	handler := d.gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dump, err := httputil.DumpRequest(r, false)
		if err != nil {
			t.Error(err)
		}
		d.requests <- fmt.Sprintf("%s%s %v %v", dump, r.URL, r.Cookies(), r.Header)
		ticket, ok := wsticket.TicketFrom(r.Context())
		if !ok {
			t.Error("the context holds no ticket")
			return
		}
		serve(w, r, false)
		// The ticket is the connection's own, also when it has lived a while.
		d.subjects <- string(ticket.Subject())
	}))
	server := httptest.NewServer(handler)
	d.site = server.URL
	d.url = "ws" + strings.TrimPrefix(server.URL, "http") + "/room/1"
	t.Cleanup(server.Close)
	return d
}

// counts wants the Gate to have let in so many, and refused one with code.
func (d *gated) counts(t *testing.T, accepted uint64, code wsticket.Error) {
	t.Helper()
	stats := d.gate.Stats()
	if stats.Accepted() != accepted || stats.Refused(code) != 1 {
		t.Errorf("the Gate counts %v, want %d accepted and one %s", stats.Map(), accepted, code.Code())
	}
}
