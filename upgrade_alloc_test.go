package wsticket

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// replayConn is a memory connection that can be played again without allocating.
type replayConn struct {
	memConn
	whole bytes.Reader
}

func newReplayConn(head string, singly bool) *replayConn {
	c := &replayConn{memConn: *newMemConn(nil)}
	c.out = make([]byte, 0, 512)
	c.whole.Reset([]byte(head))
	c.in = &c.whole
	if singly {
		c.in = iotest.OneByteReader(&c.whole)
	}
	return c
}

func (c *replayConn) rewind() {
	c.whole.Seek(0, io.SeekStart)
	c.out = c.out[:0]
}

func TestUpgradeAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	d := newDoor(t, func(c *UpgraderConfig) {
		c.OnRefuse = func(Refusal) {}
		c.Authorize = func(context.Context, *Handshake) error { return nil }
	})
	spentOnce := d.ticket(t, Claims{})
	once := d.Upgrader
	if err := once.Upgrade(context.Background(), newMemConn([]byte(request("/?ticket="+spentOnce))), new(Handshake)); err != nil {
		t.Fatal(err)
	}
	d.allowReplay(t)
	ticket := d.ticket(t, Claims{})
	cases := []struct {
		name string
		u    *Upgrader
		head string
		want error
	}{
		{"replayed", once, request("/?ticket=" + spentOnce), ErrReplayed},
		{"missing", d.Upgrader, request("/"), ErrMissing},
		{"ambiguous", d.Upgrader, request("/?ticket&ticket"), ErrAmbiguous},
		{"malformed", d.Upgrader, request("/?ticket=a.b.c"), ErrMalformed},
		{"bad_signature", d.Upgrader, request("/?ticket=" + ticket[:len(ticket)-43] + strings.Repeat("A", 43)), ErrBadSignature},
		{"origin", d.Upgrader, request("/?ticket="+ticket, "Origin: null"), ErrOrigin},
		{"path", d.Upgrader, request("/?ticket=" + d.ticket(t, Claims{Path: "/x"})), ErrPath},
		{"bad_handshake", d.Upgrader, "POST / HTTP/1.1\r\n\r\n", ErrBadHandshake},
		{"bad_handshake, bad list", d.Upgrader, request("/?ticket="+ticket, "Sec-WebSocket-Protocol: a b"), ErrBadHandshake},
		{"head_too_large", d.Upgrader, padded(t, 9000, ticket), ErrHeadTooLarge},
		{"a long head", d.Upgrader, padded(t, 8192, ticket), nil},
	}
	for _, c := range carried {
		cases = append(cases, struct {
			name string
			u    *Upgrader
			head string
			want error
		}{c.name, d.Upgrader, c.head(ticket), nil})
	}
	for _, singly := range []bool{false, true} {
		for _, c := range cases {
			conn := newReplayConn(c.head, singly)
			var h Handshake
			ctx := context.Background()
			if n := testing.AllocsPerRun(20, func() {
				conn.rewind()
				if err := c.u.Upgrade(ctx, conn, &h); err != c.want && !errors.Is(err, c.want) {
					t.Fatalf("%s: %v", c.name, err)
				}
			}); n != 0 {
				t.Errorf("%s, byte by byte %v: %v allocations", c.name, singly, n)
			}
		}
	}
}

// On real sockets too: what is counted is the server's side alone, so the client
// writes from memory that is there.
func TestUpgradeAllocsTCP(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	d := newDoor(t, nil)
	d.allowReplay(t)
	ticket := d.ticket(t, Claims{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		name, head string
		want       error
	}{
		{"query", carried[0].head(ticket), nil},
		{"subprotocol", carried[1].head(ticket), nil},
		{"bearer", carried[2].head(ticket), nil},
		{"cookie", carried[3].head(ticket), nil},
		{"bad_signature", carried[0].head(ticket[:len(ticket)-43] + strings.Repeat("A", 43)), ErrBadSignature},
	} {
		const runs = 20
		var servers []net.Conn
		for range runs + 1 {
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			io.WriteString(client, c.head)
			if c.want != nil { // or the drain would wait for the deadline
				client.(*net.TCPConn).CloseWrite()
			}
			server.SetReadDeadline(time.Now().Add(time.Minute)) // makes the timer that a later deadline sets
			servers = append(servers, server)
		}
		var h Handshake
		i := 0
		if n := testing.AllocsPerRun(runs, func() {
			if err := d.Upgrade(context.Background(), servers[i], &h); err != c.want && !errors.Is(err, c.want) {
				t.Fatalf("%s: %v", c.name, err)
			}
			i++
		}); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}
