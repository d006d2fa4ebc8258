package wsticket

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

func newHooks(t *testing.T, d *door, alter func(*HooksConfig)) *Hooks {
	t.Helper()
	config := HooksConfig{Origins: d.config.Origins, Carriers: d.config.Carriers, Protocols: d.config.Protocols}
	if alter != nil {
		alter(&config)
	}
	config.Verifier = d.verifier
	h, err := NewHooks(config)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHooksAccept(t *testing.T) {
	for _, c := range carried {
		d := newDoor(t, nil)
		var seen []string
		hooks := newHooks(t, d, func(c *HooksConfig) {
			c.Upgrader = ws.Upgrader{
				OnRequest: func(uri []byte) error { seen = append(seen, "request"); return nil },
				OnHost:    func(host []byte) error { seen = append(seen, string(host)); return nil },
				OnHeader:  func(k, v []byte) error { seen = append(seen, string(k)); return nil },
				OnBeforeUpgrade: func() (ws.HandshakeHeader, error) {
					return ws.HandshakeHeaderString("X-Mine: 1\r\n"), nil
				},
			}
		})
		head := c.head(d.ticket(t, Claims{Subject: "ada", Path: "/room", IP: "192.0.2.7"}))
		head = strings.Replace(head, "Connection: keep-alive, Upgrade", "Connection: Upgrade", 1)
		conn := newMemConn([]byte(head))
		var ticket Ticket
		hs, err := hooks.Upgrade(context.Background(), conn, &ticket)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		want, protocol := switching, ""
		if c.name == "subprotocol" {
			protocol = "app.v1"
			want += "Sec-WebSocket-Protocol: app.v1\r\n"
		}
		if got := string(conn.out); got != want+"X-Mine: 1\r\n\r\n" {
			t.Errorf("%s: answered %q", c.name, got)
		}
		if hs.Protocol != protocol || string(ticket.Subject()) != "ada" {
			t.Errorf("%s: protocol %q, subject %q", c.name, hs.Protocol, ticket.Subject())
		}
		if got := strings.Join(seen, " "); !strings.HasPrefix(got, "request gw.example") || !strings.Contains(got, "Cookie") {
			t.Errorf("%s: the callbacks saw %s", c.name, got)
		}
		if _, err := hooks.Upgrade(context.Background(), newMemConn([]byte(head)), &ticket); !errors.Is(err, ErrReplayed) || ticket.Subject() != nil {
			t.Errorf("%s: the second time: %v, ticket of %q", c.name, err, ticket.Subject())
		}
		if s := hooks.Stats(); s.Accepted() != 1 || s.Refused(ErrReplayed) != 1 {
			t.Errorf("%s: counted %v", c.name, s.Map())
		}
	}
}

func TestHooksRefuse(t *testing.T) {
	d := newDoor(t, nil)
	mine := ws.RejectConnectionError(ws.RejectionStatus(402))
	pay := false
	var told Refusal
	hooks := newHooks(t, d, func(c *HooksConfig) {
		c.OnRefuse = func(r Refusal) { told = r }
		c.Upgrader.OnBeforeUpgrade = func() (ws.HandshakeHeader, error) {
			if pay {
				return nil, mine
			}
			return nil, nil
		}
	})
	good := d.ticket(t, Claims{})
	for name, c := range map[string]struct {
		head   string
		want   Error
		status string
	}{
		"missing":            {request("/"), ErrMissing, "401 "},
		"ambiguous":          {request("/?ticket="+good, "Authorization: Bearer "+good), ErrAmbiguous, "400 "},
		"second line":        {request("/?ticket="+good, "Sec-WebSocket-Protocol: app.v1", "Sec-WebSocket-Protocol: ticket."+good), ErrAmbiguous, "400 "},
		"origin":             {request("/?ticket="+good, "Origin: https://evil.example"), ErrOrigin, "403 "},
		"two origins":        {request("/?ticket="+good, fromApp, fromApp), ErrBadHandshake, "400 "},
		"two hosts":          {request("/?ticket="+good, "Host: x"), ErrBadHandshake, "400 "},
		"another host":       {request("http://gw.example:80/?ticket=" + good), ErrBadHandshake, "400 "},
		"another scheme":     {request("ws://gw.example/?ticket=" + good), ErrBadHandshake, "400 "},
		"no app protocol":    {request("/", "Sec-WebSocket-Protocol: ticket."+good), ErrBadHandshake, "400 "},
		"cookie, no origin":  {request("/", "Cookie: __Host-ws-ticket="+good), ErrOrigin, "403 "},
		"a bad host":         {strings.Replace(request("/?ticket="+good), "Host: gw.example", "Host: gw.example/x", 1), ErrBadHandshake, "400 "},
		"an empty host":      {strings.Replace(request("/?ticket="+good), "Host: gw.example", "Host:", 1), ErrBadHandshake, "400 "},
		"an empty origin":    {request("/?ticket="+good, "Origin:"), ErrOrigin, "403 "},
		"path, not the same": {request("/y?ticket=" + d.ticket(t, Claims{Path: "/x"})), ErrPath, "403 "},
	} {
		conn := newMemConn([]byte(c.head))
		told = Refusal{}
		_, err := hooks.Upgrade(context.Background(), conn, new(Ticket))
		if !errors.Is(err, c.want) || told.Code != c.want {
			t.Errorf("%s: %v, told %v", name, err, told.Code)
		}
		if got := string(conn.out); strings.Count(got, "Content-Type: ") != 1 || strings.Count(got, "Content-Length: ") != 1 {
			t.Errorf("%s: answered %q", name, got)
		}
		if got := string(conn.out); !strings.HasPrefix(got, "HTTP/1.1 "+c.status) || !strings.Contains(got, "Connection: close\r\n") ||
			!strings.HasSuffix(got, string(refusalOf(c.want.Status())[strings.Index(refusalOf(c.want.Status()), "{"):])) {
			t.Errorf("%s: answered %q", name, got)
		}
	}
	pay = true
	if _, err := hooks.Upgrade(context.Background(), newMemConn([]byte(request("/?ticket="+good))), new(Ticket)); err != mine {
		t.Errorf("the user's no: %v", err)
	}
	if d.guard.spent != 0 {
		t.Error("a ticket was spent")
	}
	if _, err := hooks.Upgrade(context.Background(), newMemConn(nil), new(Ticket)); err != io.EOF {
		t.Errorf("a connection that says nothing: %v", err)
	}
	if _, err := NewHooks(HooksConfig{Upgrader: ws.Upgrader{Protocol: func([]byte) bool { return true }}, Origins: []string{"*"}}); err == nil ||
		!strings.Contains(err.Error(), "Protocols") || !strings.Contains(err.Error(), "Origins") {
		t.Errorf("faults: %v", err)
	}
}

func TestHooksAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	d := newDoor(t, nil)
	d.allowReplay(t)
	d.verifier = d.config.Verifier
	hooks := newHooks(t, d, nil)
	ticket := d.ticket(t, Claims{})
	for _, c := range carried {
		conn := newReplayConn(strings.Replace(c.head(ticket), "keep-alive, ", "", 1), false)
		var tk Ticket
		if n := testing.AllocsPerRun(20, func() {
			conn.rewind()
			if _, err := hooks.Upgrade(context.Background(), conn, &tk); err != nil {
				t.Fatal(err)
			}
		}); n > 1 {
			t.Errorf("%s: %v allocations, want gobwas's one", c.name, n)
		}
	}
}

// What one client made large is not kept for the others.
func TestHooksKeepNothingLarge(t *testing.T) {
	s := &hooksSession{Hooks: &Hooks{}, buf: make([]byte, 5*defaultHeadBytes), values: make([]hooksValue, 5*defaultMaxHeaders)}
	s.reset()
	if cap(s.buf) > defaultHeadBytes || cap(s.values) > defaultMaxHeaders {
		t.Errorf("kept: %d bytes, %d values", cap(s.buf), cap(s.values))
	}
}

// What a session held is gone when it is used for the next client.
func TestHooksSessionReset(t *testing.T) {
	s := &hooksSession{Hooks: &Hooks{}}
	at := s.keep([]byte("/?ticket=secret"))
	s.path, s.authority, s.origin, s.hosts, s.origins, s.lengths = at, at, at, 1, 1, 1
	buf := s.buf
	s.reset()
	if left := strings.Trim(string(buf), "\x00"); left != "" {
		t.Errorf("%q is left in the buffer", left)
	}
	if len(s.of(s.path))+len(s.of(s.authority))+len(s.of(s.origin))+s.hosts+s.origins+s.lengths != 0 {
		t.Error("something of the one before")
	}
}

// A ticket of the handshake before is no part of what is told of the next.
func TestHooksTicketOfTheOneBefore(t *testing.T) {
	var told Refusal
	d := newDoor(t, nil)
	hooks := newHooks(t, d, func(c *HooksConfig) { c.OnRefuse = func(r Refusal) { told = r } })
	var ticket Ticket
	if _, err := hooks.Upgrade(context.Background(), newMemConn([]byte(request("/?ticket="+d.ticket(t, Claims{})))), &ticket); err != nil {
		t.Fatal(err)
	}
	if _, err := hooks.Upgrade(context.Background(), newMemConn([]byte(request("/"))), &ticket); !errors.Is(err, ErrMissing) {
		t.Fatal(err)
	}
	if told.KeyID != nil || told.Subject != nil || told.Age != 0 {
		t.Errorf("told of %q, %q", told.KeyID, told.Subject)
	}
}

func TestNewHooksFaults(t *testing.T) {
	d := newDoor(t, nil)
	for name, u := range map[string]ws.Upgrader{
		"Protocol":       {Protocol: func([]byte) bool { return true }},
		"ProtocolCustom": {ProtocolCustom: func([]byte) (string, bool) { return "", true }},
	} {
		if _, err := NewHooks(HooksConfig{Verifier: d.verifier, Upgrader: u}); err == nil || !strings.Contains(err.Error(), "give Protocols instead") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
